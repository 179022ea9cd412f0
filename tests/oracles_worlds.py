"""What can be known beforehand about the synthetic worlds: a rule, how often it is right, and slow ways to a path."""

import math
from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

PRICES = ("open", "high", "low", "close")


def rule_rate(hurst: float) -> float:
    """Chance that the sign of the last return is the sign of the next one of equal length.

    Adjacent increments of fractional Brownian motion correlate by r = 2^(2H-1) - 1 whatever their length, and two
    Gaussians that correlate by r agree in sign with probability 1/2 + arcsin(r)/pi.
    """
    return 0.5 + math.asin(2 ** (2 * hurst - 1) - 1) / math.pi


def best_rate(hurst: float, horizon: int, past: int = 400) -> float:
    """Chance that the best forecast from the last `past` returns has the sign of the next `horizon` returns' sum.

    The best forecast of a Gaussian is its linear regression on what is known; its correlation with the truth gives
    the rate as in `rule_rate`. A model that beats this rate by more than chance looks ahead.
    """
    covariance = fractional_noise_covariance(past + horizon, hurst)
    known, both = covariance[:past, :past], covariance[:past, past:].sum(axis=1)
    correlation = math.sqrt(both @ np.linalg.solve(known, both) / horizon ** (2 * hurst))
    return 0.5 + math.asin(correlation) / math.pi


def last_return_rule(bars: pl.DataFrame, *, bar: timedelta, horizon: int) -> pl.DataFrame:
    """Forecast that the next `horizon` bars go the way of the last `horizon` bars.

    A missing bar counts as flat: the last close before it stands.

    Returns:
        `timestamp`, `available_at`, `rule` Int8: 1 up, 0 down, null where the price stood still or there is no past.
    """
    past = bars.select(pl.col("timestamp") + horizon * bar, past="close").sort("timestamp")
    change = pl.col("close") - pl.col("past")
    return (
        bars.sort("timestamp")
        .join_asof(past, on="timestamp", strategy="backward")
        .select(
            "timestamp",
            (pl.col("timestamp") + bar).alias("available_at"),
            rule=pl.when(change != 0).then((change > 0).cast(pl.Int8)),
        )
    )


def rule_accuracy(labeled: pl.DataFrame, rule: pl.DataFrame, *, on: str = "available_at") -> float:
    """Share of the rows of `labeled` (`label` 1 or 0) that the rule foretells, among those on which it speaks."""
    hits = labeled.join(rule, on=on).select((pl.col("label") == pl.col("rule")).mean())
    return float(hits.item())


def join_bars(bars: pl.DataFrame, every: str) -> pl.DataFrame:
    """Join bars into coarser ones, labeled by their open time."""
    return bars.group_by_dynamic("timestamp", every=every).agg(
        pl.col("open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    )


def fractional_noise_covariance(size: int, hurst: float) -> npt.NDArray[np.float64]:
    """Covariance matrix of unit increments, from the covariance of fractional Brownian motion itself."""
    times = np.arange(size + 1, dtype=np.float64)
    s, t = times[:, None], times[None, :]
    motion = (s ** (2 * hurst) + t ** (2 * hurst) - np.abs(s - t) ** (2 * hurst)) / 2
    return np.diff(np.diff(motion, axis=0), axis=1)


def walk(steps: Sequence[Sequence[float]], first: float) -> list[tuple[float, float, float, float]]:
    """Open, high, low and close of each bar of a path, one step after the other."""
    bars, level = [], 0.0
    for inside in steps:
        seen = [level]
        for step in inside:
            seen.append(seen[-1] + step)
        level = seen[-1]
        bars.append(tuple(first * math.exp(x) for x in (seen[0], max(seen), min(seen), level)))
    return bars  # type: ignore[return-value]  # four values each
