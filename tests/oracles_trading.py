"""Trading one bar after the other, as a broker's statement would have it."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from transforms.labels import Label, TripleBarrier


@dataclass
class Statement:
    """What a broker tells of every bar, and of every trade once it is closed."""

    position: list[float] = field(default_factory=list)
    gross: list[float] = field(default_factory=list)
    turnover: list[float] = field(default_factory=list)
    trades: dict[int, float] = field(default_factory=dict)


@dataclass
class Holding:
    """One open trade: the signal's row, its side, entry price and barriers."""

    row: int
    side: int
    entry: float
    upper: float = math.inf
    lower: float = -math.inf


def statement(bars: pl.DataFrame, label: Label) -> Statement:
    """Trade the signals of one series bar by bar."""
    rows: list[dict[str, Any]] = bars.to_dicts()
    told, open_trades = Statement(), list[Holding]()
    size = 1 / label.horizon
    for number, bar in enumerate(rows):
        before = rows[number - 1] if number else None
        after = rows[number + 1] if number + 1 < len(rows) else None
        new_stretch = before is None or before["segment"] != bar["segment"]
        ends_here = after is None or after["segment"] != bar["segment"]
        assert not (new_stretch and open_trades)
        net = 0.0
        for trade in list(open_trades):
            timeout = number == trade.row + 1 + label.horizon
            if timeout or bar["open"] >= trade.upper or bar["open"] <= trade.lower:
                open_trades.remove(trade)
                told.trades[trade.row] = trade.side * (bar["open"] / trade.entry - 1)
                net -= trade.side * size
        if before is not None and not new_stretch and (trade_now := enter(before, bar, number - 1, label)):
            open_trades.append(trade_now)
            net += trade_now.side * size
        turnover = abs(net)
        told.position.append(sum(trade.side for trade in open_trades) * size)
        mark = bar["close"] if ends_here or after is None else after["open"]
        gross, closed = 0.0, 0.0
        for trade in list(open_trades):
            above, below = bar["high"] >= trade.upper, bar["low"] <= trade.lower
            price = mark
            if above or below:
                worst = trade.lower if trade.side > 0 else trade.upper
                price = worst if above and below else trade.upper if above else trade.lower
                open_trades.remove(trade)
                told.trades[trade.row] = trade.side * (price / trade.entry - 1)
                turnover += size
            elif ends_here:
                open_trades.remove(trade)
                told.trades[trade.row] = trade.side * (price / trade.entry - 1)
                closed += trade.side * size
            gross += trade.side * size * (price - bar["open"]) / bar["open"]
        told.gross.append(gross)
        told.turnover.append(turnover + abs(closed))
    return told


def enter(signal: dict[str, Any], bar: dict[str, Any], row: int, label: Label) -> Holding | None:
    """Return the trade that a bar's signal begins at the open of the next one, if it does."""
    if signal["p"] is None or signal["p"] == 0.5:
        return None
    side = 1 if signal["p"] > 0.5 else -1
    if not isinstance(label, TripleBarrier):
        return Holding(row, side, bar["open"])
    if not signal["barrier"]:
        return None
    base = signal["close"] if label.entry == "close" else bar["open"]
    upper, lower = base * np.exp(signal["barrier"]), base * np.exp(-signal["barrier"])
    if bar["open"] >= upper or bar["open"] <= lower:
        return None
    return Holding(row, side, bar["open"], upper, lower)
