"""What trading a model's signals would have earned: positions, profit and loss per bar, and their scores.

Each signal is one trade: bought or sold short at the next bar's open, with 1/h of the capital, h being the label's
horizon, so that the position is the mean of the last h signals. Capital is constant: profits are withdrawn, losses
refilled, and returns add up. Returns are simple ones: on unpredictable prices any position then earns 0 on average,
while log returns would pay short positions half the variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from job.learning.metrics import FloatArray
from job.learning.sharpe import sharpe_scores
from job.learning.sharpe_difference import sharpe_difference
from job.learning.splits import IntArray
from transforms.bars import PRICES, duration_us
from transforms.labels import Label, TripleBarrier, first_touch

BoolArray = npt.NDArray[np.bool_]

DAY_US: Final = 86_400_000_000
YEAR_US: Final = 365.25 * DAY_US
BPS: Final = 1e4
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
    high: FloatArray
    low: FloatArray
    close: FloatArray
    mark: FloatArray
    last: BoolArray
    jump: BoolArray
    until: IntArray


@dataclass(frozen=True)
class Trades:
    """One trade per signal: `side` is 1 or -1, `row` the signal's bar; it is entered at the open of `row` + 1.

    It is held through bar `held`, and left at `price`: inside that bar where `inside`, otherwise where it ends.
    """

    row: IntArray
    side: IntArray
    held: IntArray
    price: FloatArray
    inside: BoolArray


@dataclass(frozen=True)
class Ledger:
    """For each bar: position at its open as a share of the capital, gross return on the capital, and turnover."""

    position: FloatArray
    gross: FloatArray
    turnover: FloatArray


@dataclass(frozen=True)
class Books:
    """What was earned on a model's probabilities, and always on the base rate, as shares of the capital.

    `net` and `base_net` are returns after costs at each of `times` (µs, ascending), `made` is the return of each trade
    before costs; `turnover` and `gross` return are sums over all `years`. `held_days` is how long a position is held.
    """

    cost_bps: float
    years: float
    held_days: float
    made: FloatArray
    turnover: float
    gross: float
    times: IntArray
    net: FloatArray
    base_net: FloatArray


def trading_scores(
    bars: pl.DataFrame,
    *,
    label: Label,
    timeframe: str,
    cost_bps: float,
    versions_scored: int = 1,
    other_sharpes: Sequence[float] = (),
) -> dict[str, float | int | None]:
    """Return what trading on `p` would have earned after `cost_bps` per side, as JSON values.

    Args:
        bars: every bar of the time that is scored, filled ones too: timestamp (open time, µs UTC), open, high, low,
            close, filled, contiguous_run, segment (see `transforms.segments`), `barrier` (see `transforms.labels`),
            `p`: Float64, probability of up, null where there is none; `p_base`: Float64, the base rate of the rows that
            the model was trained on; and `series` where there are several, which get equal shares of the capital.
        label: what the model was trained on.
        timeframe: of the bars.
        cost_bps: cost of turnover, in basis points: fee, half the spread, slippage.
        versions_scored: how many versions were scored on these bars, this one included.
        other_sharpes: Sharpe ratios of other versions that were, per year, as far as they are known.

    Returns:
        cost_bps, versions_scored, days (UTC, with a bar), bars_a_year; `signals` traded; `hit_rate`: share of trades
        that made money before costs; `edge_bps`: their mean return before costs; per year: `turnover` in units of the
        capital, `gross_return`, `net_return`; `max_drawdown` of the capital after costs; `sharpe_scores` of daily net
        returns; `base_net_return` and `base_sharpe` of always trading on the base rate; and `sharpe_difference` from
        it. None stands for numbers that need signals or more days.
    """
    books = keep_books(bars, label=label, timeframe=timeframe, cost_bps=cost_bps)
    return score_books(books, versions_scored=versions_scored, other_sharpes=other_sharpes)


def keep_books(bars: pl.DataFrame, *, label: Label, timeframe: str, cost_bps: float) -> Books:
    """Return what trading on `p` and on `p_base` did at each time; the arguments are those of `trading_scores`."""
    if "series" not in bars.columns:
        bars = bars.with_columns(series=pl.lit(""))
    bars = bars.sort("series", "timestamp")
    market, bars = read_market(bars, label.horizon), bars.filter(~pl.col("filled"))
    trades, base_trades = (make_trades(bars, side, market, label) for side in (signals(bars), base_signals(bars)))
    ledger = keep_ledger(market, trades, label.horizon)
    series = bars["series"].n_unique()
    times, position = np.unique(bars["timestamp"].to_physical().to_numpy(), return_inverse=True)
    net, base_net = (
        np.bincount(position, weights=one.gross - cost_bps / BPS * one.turnover) / series
        for one in (ledger, keep_ledger(market, base_trades, label.horizon))
    )
    return Books(
        cost_bps=cost_bps,
        years=float(times[-1] - times[0] + duration_us(timeframe)) / YEAR_US,
        held_days=label.horizon * duration_us(timeframe) / DAY_US,
        made=trades.side * (trades.price / market.open[trades.row + 1] - 1),
        turnover=float(ledger.turnover.sum() / series),
        gross=float(ledger.gross.sum() / series),
        times=times,
        net=net,
        base_net=base_net,
    )


def score_books(
    books: Books, *, versions_scored: int, other_sharpes: Sequence[float] = ()
) -> dict[str, float | int | None]:
    """Return what `trading_scores` returns."""
    made, years = books.made, books.years
    return {
        "cost_bps": books.cost_bps,
        "bars_a_year": len(books.times) / years,
        "signals": len(made),
        "hit_rate": float((made > 0).mean()) if len(made) else None,
        "edge_bps": float(made.mean() * BPS) if len(made) else None,
        "turnover": books.turnover / years,
        "gross_return": books.gross / years,
        "max_drawdown": max_drawdown(books.net),
        **daily_scores(
            books.times,
            books.net,
            books.base_net,
            years=years,
            held_days=books.held_days,
            versions_scored=versions_scored,
            other_sharpes=other_sharpes,
        ),
    }


def daily_scores(
    times: IntArray,
    net: FloatArray,
    base_net: FloatArray,
    *,
    years: float,
    held_days: float,
    versions_scored: int,
    other_sharpes: Sequence[float],
) -> dict[str, float | int | None]:
    """Return the scores of net returns by day, with those of the base rate's book beside them, given both by time."""
    day, day_of = np.unique(times // DAY_US, return_inverse=True)
    daily, base_daily = (sum_at(day_of, each, len(day)) for each in (net, base_net))
    per_year = len(day) / years
    return {
        "days": len(day),
        "versions_scored": versions_scored,
        "net_return": float(net.sum() / years),
        **sharpe_scores(
            daily,
            days_per_year=per_year,
            versions_scored=versions_scored,
            held_days=held_days,
            other_sharpes=other_sharpes,
        ),
        "base_net_return": float(base_net.sum() / years),
        "base_sharpe": sharpe_scores(base_daily, days_per_year=per_year, versions_scored=1, held_days=held_days)[
            "sharpe"
        ],
        **sharpe_difference(daily, base_daily, days_per_year=per_year, held_days=held_days),
    }


def read_market(bars: pl.DataFrame, horizon: int) -> Market:
    """Return as arrays the real ones of bars sorted by series and time; `horizon` is that of the label, in bars."""
    real = ~bars["filled"].to_numpy()
    series, run, segment = (
        bars.select(pl.struct("series", *columns).rle_id()).to_series().to_numpy()[real]
        for columns in ((), ("contiguous_run",), ("contiguous_run", "segment"))
    )
    prices = {name: bars[name].to_numpy()[real] for name in PRICES}
    rows, place = np.arange(len(run)), np.flatnonzero(real)
    # Nobody can leave before a gap or a jump, which nobody foresees: after a gap a trade is left at the first open, and
    # a jump ends it where the bar of the jump does.
    jump = (np.diff(segment, prepend=segment[0]) != 0) & (np.diff(run, prepend=run[0]) == 0)
    jumps = np.append(np.flatnonzero(jump), len(rows))
    ends = np.searchsorted(place, place + horizon, side="right") - 1, np.searchsorted(run, run, side="right") - 1
    last = np.append(np.diff(series) != 0, True)
    return Market(
        **prices,
        mark=np.where(last, prices["close"], np.roll(prices["open"], -1)),
        last=last,
        jump=jump,
        until=np.minimum(np.minimum(*ends), jumps[np.searchsorted(jumps, rows, side="right")]),
    )


def signals(bars: pl.DataFrame) -> IntArray:
    """Return the side that each bar speaks for: the sign of p - p_base, 0 where there is no p or nothing between them.

    Not of p - 1/2: p is shrunk to the base rate, so that sign would mostly be the drift of the training rows.
    """
    away = (bars["p"] - bars["p_base"]).fill_null(0.0).to_numpy()
    side: IntArray = (np.sign(away) * (np.abs(away) > ROUNDING)).astype(np.int64)
    return side


def base_signals(bars: pl.DataFrame) -> IntArray:
    """Return the side that the base rate alone speaks for, wherever there is a p."""
    away = bars.select(pl.when(pl.col("p").is_not_null()).then(pl.col("p_base") - 0.5).fill_null(0.0)).to_series()
    side: IntArray = np.sign(away.to_numpy()).astype(np.int64)
    return side


def make_trades(bars: pl.DataFrame, side: IntArray, market: Market, label: Label) -> Trades:
    """Return the trades of the signals in `side` that a bar follows at whose open to enter, before they would end.

    A trade ends after `horizon` bars, at the first open after a gap, after the bar of a jump, or, under a triple
    barrier, at the first touch. Without a barrier for its row, or with one at distance zero, a signal of such a label
    is not traded. `bars` are the real ones.
    """
    held, price, inside = market.until, market.mark[market.until], np.zeros(bars.height, dtype=np.bool_)
    if isinstance(label, TripleBarrier):
        side = side * bars["barrier"].is_not_null().to_numpy()
        held, price, inside = stop_at_barriers(bars, market, label, side)
    row = np.flatnonzero((side != 0) & (held > np.arange(bars.height)))
    return Trades(row, side[row], held[row], price[row], inside[row])


def stop_at_barriers(
    bars: pl.DataFrame, market: Market, label: TripleBarrier, side: IntArray
) -> tuple[IntArray, FloatArray, BoolArray]:
    """Return `held`, `price` and `inside` of trades that end at the first touch of a barrier of their label, if any.

    Where a bar opens beyond a barrier, the trade is left at that open; if it would be entered at that open, it is not
    made at all. Where one bar reaches both barriers, the trade loses: which came first is unknown. In the bar of a jump
    no order that loses is filled at its barrier: the trade is left where the bar ends.
    """
    priced = bars.select(
        "high",
        "low",
        upper=label.entry_price() * pl.col("barrier").exp(),
        lower=label.entry_price() * (-pl.col("barrier")).exp(),
    )
    # Of real bars there are no more within the horizon than of all; a touch after the trade's end is none.
    touch, rows = first_touch(priced, label.horizon), np.arange(bars.height)
    at = np.minimum(rows + touch, market.until)
    touched = (touch > 0) & (rows + touch <= market.until)
    upper, lower = priced["upper"].to_numpy(), priced["lower"].to_numpy()
    # A bar that opens beyond a barrier fills at its open: the trade was held through the bar before. Where that is the
    # signal's own bar, `held` equals its row, and `make_trades` drops the trade.
    gapped = touched & ((market.open[at] >= upper) | (market.open[at] <= lower))
    loses = np.where(side > 0, market.low[at] <= lower, market.high[at] >= upper)
    inside = touched & ~gapped & ~(loses & market.jump[at])
    barrier = np.where(loses == (side > 0), lower, upper)
    # An open beyond a barrier is a price at the end of the bar before, so the trade is held for one bar less.
    held = np.where(gapped, at - 1, np.where(touched, at, market.until))
    return held, np.where(gapped, market.open[at], np.where(inside, barrier, market.mark[held])), inside


def keep_ledger(market: Market, trades: Trades, horizon: int) -> Ledger:
    """Return position, gross return and turnover of every bar; trades that meet at an open are netted."""
    # The position only changes at opens, so it is the running sum of entries less exits. A trade that a barrier ends
    # inside a bar counts as held until the bar's end; `missed` corrects its return, `left` what remains afterwards.
    rows = len(market.open)
    change = sum_at(trades.row + 1, trades.side, rows + 1) - sum_at(trades.held + 1, trades.side, rows + 1)
    position = np.cumsum(change)[:rows] / horizon
    at, side = trades.held[trades.inside], trades.side[trades.inside] / horizon
    missed = sum_at(at, side * (trades.price[trades.inside] - market.mark[at]), rows)
    left = position - sum_at(at, side, rows)
    # What changes hands: at the open the difference from what the bar before left, inside the bar what barriers end,
    # and at a series' last close everything.
    carried = np.roll(np.where(market.last, 0.0, left), 1)
    turnover = np.abs(position - carried) + sum_at(at, np.abs(side), rows) + np.where(market.last, np.abs(left), 0.0)
    return Ledger(position, position * (market.mark / market.open - 1) + missed / market.open, turnover)


def sum_at(rows: IntArray, values: npt.NDArray[Any], length: int) -> FloatArray:
    """Add up `values` by the rows that they belong to."""
    return np.bincount(rows, weights=values, minlength=length).astype(np.float64)


def max_drawdown(returns: FloatArray) -> float:
    """Return the deepest fall of the running sum of returns from its highest point so far, the start included."""
    capital = np.cumsum(np.concatenate(([0.0], returns)))
    return float((np.maximum.accumulate(capital) - capital).max())
