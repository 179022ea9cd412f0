"""What trading a model's signals would have earned, see `positions`, and its scores.

Capital is constant: profits are withdrawn, losses refilled, and returns add up. Returns are simple ones: on
unpredictable prices any position then earns 0 on average, while log returns would pay short positions half the
variance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from job.learning.metrics import FloatArray
from job.learning.positions import keep_ledger, make_trades, read_market, signals, sum_at
from job.learning.sharpe import sharpe_scores
from job.learning.sharpe_difference import sharpe_difference
from job.learning.times import IntArray
from transforms.bars import duration_us
from transforms.labels import Label

DAY_US: Final = 86_400_000_000
YEAR_US: Final = 365.25 * DAY_US
BPS: Final = 1e4
MOST_PERIODS: Final = 36
DIGITS: Final = 6


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
    # The base rate alone speaks wherever there is a p, and against a half.
    base = bars.with_columns(p=pl.when(pl.col("p").is_not_null()).then("p_base"), p_base=pl.lit(0.5))
    trades, base_trades = (make_trades(bars, side, market, label) for side in (signals(bars), signals(base)))
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
    made, years, held_days = books.made, books.years, books.held_days
    day, day_of = np.unique(books.times // DAY_US, return_inverse=True)
    daily, base_daily = (sum_at(day_of, each, len(day)) for each in (books.net, books.base_net))
    per_year = len(day) / years
    base = sharpe_scores(base_daily, days_per_year=per_year, versions_scored=1, held_days=held_days)
    return {
        "cost_bps": books.cost_bps,
        "bars_a_year": len(books.times) / years,
        "signals": len(made),
        "hit_rate": float((made > 0).mean()) if len(made) else None,
        "edge_bps": float(made.mean() * BPS) if len(made) else None,
        "turnover": books.turnover / years,
        "gross_return": books.gross / years,
        "max_drawdown": float(drawdown(np.cumsum(books.net)).max()),
        "days": len(day),
        "versions_scored": versions_scored,
        "net_return": float(books.net.sum() / years),
        **sharpe_scores(
            daily,
            days_per_year=per_year,
            versions_scored=versions_scored,
            held_days=held_days,
            other_sharpes=other_sharpes,
        ),
        "base_net_return": float(books.base_net.sum() / years),
        "base_sharpe": base["sharpe"],
        **sharpe_difference(daily, base_daily, days_per_year=per_year, held_days=held_days),
    }


def drawdown(earned: FloatArray) -> FloatArray:
    """Return how far a running sum of returns is below its highest value so far, the 0 before all of them included."""
    below: FloatArray = np.maximum.accumulate(np.maximum(earned, 0.0)) - earned
    return below


def daily_returns(books: Books) -> dict[str, list[Any]]:
    """Return net returns by period of as many days each, but for the last, 36 periods at most, as JSON values.

    That is enough for a curve, and small enough for a version's metadata.

    `dates` has the first day (UTC) of each period; only days with a bar count. `net` and `base_net` are shares of the
    capital, rounded to millionths; but for that they add up to what was earned in all.
    """
    day, day_of = np.unique(books.times // DAY_US, return_inverse=True)
    period = np.arange(len(day)) // math.ceil(len(day) / MOST_PERIODS)
    first = np.flatnonzero(np.diff(period, prepend=-1))
    net, base_net = (
        np.round(sum_at(period[day_of], each, len(first)), DIGITS) + 0.0  # which makes -0.0 a 0.0
        for each in (books.net, books.base_net)
    )
    return {
        "dates": day[first].astype("datetime64[D]").astype(str).tolist(),
        "net": net.tolist(),
        "base_net": base_net.tolist(),
    }
