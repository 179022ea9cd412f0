"""What trading a model's signals would have earned: positions, profit and loss per bar, and their scores.

Each signal is one trade: bought or sold short at the next bar's open, with 1/h of the capital, h being the label's
horizon, so that the position is the mean of the last h signals. Capital is constant: profits are withdrawn, losses
refilled, and returns add up. Returns are simple ones: on unpredictable prices any position then earns 0 on average,
while log returns would pay short positions half the variance.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from job.learning.metrics import FloatArray
from job.learning.sharpe import sharpe_scores
from job.learning.splits import IntArray
from transforms.bars import PRICES, duration_us
from transforms.labels import Label, TripleBarrier, first_touch

BoolArray = npt.NDArray[np.bool_]

DAY_US: Final = 86_400_000_000
YEAR_US: Final = 365.25 * DAY_US
BPS: Final = 1e4


@dataclass(frozen=True)
class Market:
    """Bars as arrays; `last` is, for each row, the row of the last bar before the next gap."""

    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    last: IntArray


@dataclass(frozen=True)
class Trades:
    """One trade per signal: `side` is 1 or -1, `row` the signal's bar; it is entered at the open of `row` + 1.

    It is held through bar `held`, and left at `price`: inside that bar where `inside`, otherwise at the next open, or
    at the close if a gap follows.
    """

    row: IntArray
    side: IntArray
    held: IntArray
    price: FloatArray
    inside: BoolArray


@dataclass(frozen=True)
class Ledger:
    """For each bar: position at its open as a share of the capital, gross return on the capital, and turnover.

    A bar lasts until the next bar's open, the last one before a gap until its close.
    """

    position: FloatArray
    gross: FloatArray
    turnover: FloatArray


def trading_scores(
    bars: pl.DataFrame, *, label: Label, timeframe: str, cost_bps: float, versions_scored: int = 1
) -> dict[str, float | int | None]:
    """Return what trading on `p` would have earned after `cost_bps` per side, as JSON values.

    Args:
        bars: every bar of the time that is scored, filled ones too: timestamp (open time, µs UTC), open, high, low,
            close, segment (see `transforms.segments`), `barrier` (see `transforms.labels`), `p`: Float64, probability
            of up, null where there is none; and `series` where there are several, which get equal shares of the
            capital.
        label: what the model was trained on.
        timeframe: of the bars.
        cost_bps: cost of turnover, in basis points: fee, half the spread, slippage.
        versions_scored: how many versions were scored on these bars, this one included.

    Returns:
        cost_bps, versions_scored, days (UTC, with a bar), bars_a_year; `signals` traded; `hit_rate`: share of trades
        that made money before costs; `edge_bps`: their mean return before costs; per year: `turnover` in units of the
        capital, `gross_return`, `net_return`; `max_drawdown` of the capital after costs; and `sharpe_scores` of daily
        net returns. None stands for numbers that need signals or more days.
    """
    bars = bars.sort("series", "timestamp") if "series" in bars.columns else bars.sort("timestamp")
    market = read_market(bars)
    trades = make_trades(bars, market, label)
    ledger = keep_ledger(market, trades, label.horizon)
    made = trades.side * (trades.price / market.open[trades.row + 1] - 1)
    series = bars["series"].n_unique() if "series" in bars.columns else 1
    times, position = np.unique(bars["timestamp"].to_physical().to_numpy(), return_inverse=True)
    net = np.bincount(position, weights=ledger.gross - cost_bps / BPS * ledger.turnover) / series
    day, day_of = np.unique(times // DAY_US, return_inverse=True)
    years = (times[-1] - times[0] + duration_us(timeframe)) / YEAR_US
    daily = np.bincount(day_of, weights=net).astype(np.float64)
    return {
        "cost_bps": cost_bps,
        "versions_scored": versions_scored,
        "days": len(day),
        "bars_a_year": float(len(times) / years),
        "signals": len(made),
        "hit_rate": float((made > 0).mean()) if len(made) else None,
        "edge_bps": float(made.mean() * BPS) if len(made) else None,
        "turnover": float(ledger.turnover.sum() / series / years),
        "gross_return": float(ledger.gross.sum() / series / years),
        "net_return": float(net.sum() / years),
        "max_drawdown": max_drawdown(net),
        **sharpe_scores(daily, days_per_year=len(day) / years, versions_scored=versions_scored),
    }


def read_market(bars: pl.DataFrame) -> Market:
    """Return sorted bars as arrays."""
    run = bars.select(pl.struct(pl.col("^series$"), "segment").rle_id()).to_series().to_numpy()
    last = np.searchsorted(run, run, side="right") - 1
    return Market(**{name: bars[name].to_numpy() for name in PRICES}, last=last)


def make_trades(bars: pl.DataFrame, market: Market, label: Label) -> Trades:
    """Return the trades of all signals, the signs of p - 1/2, that a bar follows at whose open to enter.

    A trade ends after `horizon` bars, before a gap, or, under a triple barrier, at the first touch. Without a barrier
    for its row, or with one at distance zero, a signal of such a label is not traded.
    """
    side = np.sign(bars["p"].fill_null(0.5).to_numpy() - 0.5).astype(np.int64)
    held = np.minimum(np.arange(bars.height) + label.horizon, market.last)
    price = np.where(held < market.last, np.roll(market.open, -1)[held], market.close[held])
    inside = np.zeros(bars.height, dtype=np.bool_)
    if isinstance(label, TripleBarrier):
        side *= bars["barrier"].is_not_null().to_numpy()
        held, price, inside = stop_at_barriers(bars, market, label, side, (held, price, inside))
    row = np.flatnonzero((side != 0) & (held > np.arange(bars.height)))
    return Trades(row, side[row], held[row], price[row], inside[row])


def stop_at_barriers(
    bars: pl.DataFrame,
    market: Market,
    label: TripleBarrier,
    side: IntArray,
    ends: tuple[IntArray, FloatArray, BoolArray],
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Return `held`, `price` and `inside` of trades that end at the first touch of a barrier of their label.

    Where a bar opens beyond a barrier, the trade is left at that open; if it would be entered at that open, it is not
    made at all. Where one bar reaches both barriers, the trade loses: which came first is unknown.
    """
    held, price, inside = ends
    priced = bars.select(
        "high",
        "low",
        upper=label.entry_price() * pl.col("barrier").exp(),
        lower=label.entry_price() * (-pl.col("barrier")).exp(),
    )
    # The label counts a touch by any later bar of its horizon; a trade cannot outlive the last bar before a gap.
    touch, rows = first_touch(priced, label.horizon), np.arange(bars.height)
    at = np.minimum(rows + touch, market.last)
    touched = (touch > 0) & (rows + touch <= market.last)
    upper, lower = priced["upper"].to_numpy(), priced["lower"].to_numpy()
    # A bar that opens beyond a barrier fills at its open: the trade was held through the bar before. Where that is the
    # signal's own bar, `held` equals its row, and `make_trades` drops the trade.
    gapped = touched & ((market.open[at] >= upper) | (market.open[at] <= lower))
    above, below = market.high[at] >= upper, market.low[at] <= lower
    at_upper = np.where(above & below, side < 0, above)  # of both, the barrier that loses
    inside = inside | (touched & ~gapped)
    # An open beyond a barrier is a price at the end of the bar before, so the trade is held for one bar less.
    held = np.where(gapped, at - 1, np.where(touched, at, held))
    price = np.where(gapped, market.open[at], np.where(inside, np.where(at_upper, upper, lower), price))
    return held, price, inside


def keep_ledger(market: Market, trades: Trades, horizon: int) -> Ledger:
    """Return position, gross return and turnover of every bar; trades that meet at an open are netted."""
    # The position only changes at opens, so it is the running sum of entries less exits. A trade that a barrier ends
    # inside a bar counts as held until the bar's end; `missed` corrects its return, `left` what remains afterwards.
    rows = len(market.open)
    change = sum_at(trades.row + 1, trades.side, rows + 1) - sum_at(trades.held + 1, trades.side, rows + 1)
    position = np.cumsum(change)[:rows] / horizon
    is_last = market.last == np.arange(rows)
    mark = np.where(is_last, market.close, np.roll(market.open, -1))
    at, side = trades.held[trades.inside], trades.side[trades.inside] / horizon
    missed = sum_at(at, side * (trades.price[trades.inside] - mark[at]), rows)
    left = position - sum_at(at, side, rows)
    # What changes hands: at the open the difference from what the bar before left, inside the bar what barriers end,
    # and at the close before a gap everything.
    carried = np.roll(np.where(is_last, 0.0, left), 1)
    turnover = np.abs(position - carried) + sum_at(at, np.abs(side), rows) + np.where(is_last, np.abs(left), 0.0)
    return Ledger(position, position * (mark / market.open - 1) + missed / market.open, turnover)


def sum_at(rows: IntArray, values: npt.NDArray[Any], length: int) -> FloatArray:
    """Add up `values` by the rows that they belong to."""
    return np.bincount(rows, weights=values, minlength=length).astype(np.float64)


def max_drawdown(returns: FloatArray) -> float:
    """Return the deepest fall of the running sum of returns from its highest point so far, the start included."""
    capital = np.cumsum(np.concatenate(([0.0], returns)))
    return float((np.maximum.accumulate(capital) - capital).max())
