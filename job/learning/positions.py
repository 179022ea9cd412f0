"""From signals to positions, and what these gain and cost bar by bar.

Each signal is one trade: bought or sold short at the next bar's open, with 1/h of the capital, h being the label's
horizon, so that the position is the mean of the last h signals.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from job.learning.metrics import FloatArray
from job.learning.times import IntArray
from transforms.labels import Label, TripleBarrier, first_touch

BoolArray = npt.NDArray[np.bool_]

ROUNDING: Final = 1e-12
"""Probabilities that are no further apart are the same one."""


@dataclass(frozen=True)
class Market:
    """Real bars as arrays, one series after the other; bars that were filled have no price that anyone was offered.

    `mark` is the price at which a bar ends: the open of the next one, however long it takes to come, and of the `last`
    bar of a series its close. `until` is, for each row, the last row through which the trade of its signal is held:
    that of the horizon, which counts filled bars too, the last one before a gap, or the one of a `jump`.
    """

    open: FloatArray
    mark: FloatArray
    last: BoolArray
    until: IntArray


@dataclass(frozen=True)
class Trades:
    """One trade per signal: `side` is 1 or -1, `row` the signal's bar; it is entered at the open of `row` + 1.

    It is held through bar `held`, and left at `price`, where that bar ends.
    """

    row: IntArray
    side: IntArray
    held: IntArray
    price: FloatArray


@dataclass(frozen=True)
class Ledger:
    """For each bar: position at its open as a share of the capital, gross return on the capital, and turnover."""

    position: FloatArray
    gross: FloatArray
    turnover: FloatArray


def read_market(bars: pl.DataFrame, horizon: int) -> Market:
    """Return as arrays the real ones of bars sorted by series and time; `horizon` is that of the label, in bars."""
    real = ~bars["filled"].to_numpy()
    series, run, segment = (
        bars.select(pl.struct("series", *columns).rle_id()).to_series().to_numpy()[real]
        for columns in ((), ("contiguous_run",), ("contiguous_run", "segment"))
    )
    opened, close = (bars[name].to_numpy()[real] for name in ("open", "close"))
    rows, place = np.arange(len(run)), np.flatnonzero(real)
    # Nobody can leave before a gap or a jump, which nobody foresees: after a gap a trade is left at the first open, and
    # a jump ends it where the bar of the jump does.
    jump = (np.diff(segment, prepend=segment[0]) != 0) & (np.diff(run, prepend=run[0]) == 0)
    jumps = np.append(np.flatnonzero(jump), len(rows))
    ends = np.searchsorted(place, place + horizon, side="right") - 1, np.searchsorted(run, run, side="right") - 1
    last = np.append(np.diff(series) != 0, True)
    return Market(
        open=opened,
        mark=np.where(last, close, np.roll(opened, -1)),
        last=last,
        until=np.minimum(np.minimum(*ends), jumps[np.searchsorted(jumps, rows, side="right")]),
    )


def signals(bars: pl.DataFrame) -> IntArray:
    """Return the side that each bar speaks for: the sign of p - p_base, 0 where there is no p or nothing between them.

    Not of p - 1/2: p is shrunk to the base rate, so that sign would mostly be the drift of the training rows.
    """
    away = (bars["p"] - bars["p_base"]).fill_null(0.0).to_numpy()
    side: IntArray = (np.sign(away) * (np.abs(away) > ROUNDING)).astype(np.int64)
    return side


def make_trades(bars: pl.DataFrame, side: IntArray, market: Market, label: Label) -> Trades:
    """Return the trades of the signals in `side` that a bar follows at whose open to enter, before they would end.

    A trade ends after `horizon` bars, at the first open after a gap, after the bar of a jump, or, under a triple
    barrier, after the first bar that touches one. Without a barrier for its row, or with one at distance zero, a signal
    of such a label is not traded. `bars` are the real ones.

    Orders that wait at a barrier are not taken to fill there: bars tell neither whether that price was bid or asked,
    nor which of two barriers came first, and a guess pays or costs something on prices that nobody can foretell.
    """
    rows, held = np.arange(bars.height), market.until
    if isinstance(label, TripleBarrier):
        side = side * bars["barrier"].fill_null(0.0).gt(0.0).to_numpy()
        entry, far = label.entry_price(), pl.col("barrier")
        priced = bars.select("high", "low", upper=entry * far.exp(), lower=entry * (-far).exp())
        # Of real bars there are no more within the horizon than of all; a touch after the trade's end is none.
        touch = first_touch(priced, label.horizon)
        held = np.minimum(np.where(touch > 0, rows + touch, bars.height), market.until)
    row = np.flatnonzero((side != 0) & (held > rows))
    return Trades(row, side[row], held[row], market.mark[held[row]])


def keep_ledger(market: Market, trades: Trades, horizon: int) -> Ledger:
    """Return position, gross return and turnover of every bar; trades that meet at an open are netted."""
    # The position only changes at opens, so it is the running sum of entries less exits.
    rows = len(market.open)
    change = sum_at(trades.row + 1, trades.side, rows + 1) - sum_at(trades.held + 1, trades.side, rows + 1)
    position = np.cumsum(change)[:rows] / horizon
    # What changes hands: at the open the difference from the bar before, and at a series' last close everything.
    carried = np.roll(np.where(market.last, 0.0, position), 1)
    turnover = np.abs(position - carried) + np.where(market.last, np.abs(position), 0.0)
    return Ledger(position, position * (market.mark / market.open - 1), turnover)


def sum_at(rows: IntArray, values: npt.NDArray[Any], length: int) -> FloatArray:
    """Add up `values` by the rows that they belong to."""
    return np.bincount(rows, weights=values, minlength=length).astype(np.float64)
