"""Trading one bar after the other, as a broker's statement would have it."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from transforms.labels import Label, TripleBarrier


@dataclass
class Statement:
    """What a broker tells of every real bar, and of every trade once it is closed, by the signal's real bar."""

    position: list[float] = field(default_factory=list)
    gross: list[float] = field(default_factory=list)
    turnover: list[float] = field(default_factory=list)
    trades: dict[int, float] = field(default_factory=dict)


@dataclass
class Holding:
    """One open trade: the signal's bar, by its number among real bars and among all; side, entry price and barriers."""

    row: int
    place: int
    side: int
    entry: float
    upper: float = math.inf
    lower: float = -math.inf
    over: bool = False


def statement(bars: pl.DataFrame, label: Label) -> Statement:
    """Trade the signals of one series, sorted by time, bar by bar; bars that were filled are seen by nobody."""
    every: list[dict[str, Any]] = bars.to_dicts()
    rows = [{**bar, "place": place} for place, bar in enumerate(every) if not bar["filled"]]
    told, open_trades = Statement(), list[Holding]()
    size = 1 / label.horizon
    for number, bar in enumerate(rows):
        before = rows[number - 1] if number else bar
        after = rows[number + 1] if number + 1 < len(rows) else None
        over_gap = before["contiguous_run"] != bar["contiguous_run"]
        jumps = not over_gap and before["segment"] != bar["segment"]
        net = 0.0
        for trade in list(open_trades):
            if bar["place"] > trade.place + label.horizon or over_gap or trade.over:
                open_trades.remove(trade)
                told.trades[trade.row] = trade.side * (bar["open"] / trade.entry - 1)
                net -= trade.side * size
        in_time = not over_gap and before["place"] < bar["place"] <= before["place"] + label.horizon
        if in_time and (trade_now := enter(before, bar, number - 1, label)):
            open_trades.append(trade_now)
            net += trade_now.side * size
        turnover, closed, gross = abs(net), 0.0, 0.0
        told.position.append(sum(trade.side for trade in open_trades) * size)
        for trade in list(open_trades):
            trade.over = trade.over or jumps or bar["high"] >= trade.upper or bar["low"] <= trade.lower
            paid = bar["close"] if after is None else after["open"]
            gross += trade.side * size * (paid - bar["open"]) / bar["open"]
            if after is None:
                closed += trade.side * size
                open_trades.remove(trade)
                told.trades[trade.row] = trade.side * (paid / trade.entry - 1)
        told.gross.append(gross)
        told.turnover.append(turnover + abs(closed))
    return told


def enter(signal: dict[str, Any], bar: dict[str, Any], row: int, label: Label) -> Holding | None:
    """Return the trade that a real bar's signal begins at the open of the next one, if it does."""
    if signal["p"] is None or signal["p"] == signal["p_base"]:
        return None
    side = 1 if signal["p"] > signal["p_base"] else -1
    if not isinstance(label, TripleBarrier):
        return Holding(row, signal["place"], side, bar["open"])
    if not signal["barrier"]:
        return None
    base = signal["close"] if label.entry == "close" else bar["open"]
    upper, lower = base * np.exp(signal["barrier"]), base * np.exp(-signal["barrier"])
    return Holding(row, signal["place"], side, bar["open"], upper, lower)
