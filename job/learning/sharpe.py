"""How reliable a Sharpe ratio from few, skewed days is, and how much of it remains after many versions were tried.

`sharpe` is daily: mean over standard deviation (ddof 1) of daily returns, not annualized. `kurtosis` is 3 for a
normal distribution.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy

from job.learning.metrics import FloatArray

MIN_DAYS: Final = 60
"""Fewer days give no Sharpe ratio."""
CONFIDENCE: Final = 0.95
LONG_HELD_DAYS: Final = 0.5
"""From here on enough of a position is held over midnight for the returns of two days to depend on each other."""
LEAST_TRIALS: Final = 5
"""The Sharpe ratios of fewer versions do not tell how much they vary."""
LEAST_VARIANCE: Final = 1e-12
"""Floor of the variance of a Sharpe ratio, which is zero for some returns of two values only."""

NAMES: Final = (
    "sharpe", "sharpe_low", "sharpe_high", "probabilistic_sharpe", "deflated_sharpe", "expected_best_sharpe",
)  # fmt: skip


def sharpe_scores(
    daily: FloatArray,
    *,
    days_per_year: float,
    versions_scored: int,
    held_days: float = 0.0,
    other_sharpes: Sequence[float] = (),
) -> dict[str, float | None]:
    """Return the annualized Sharpe ratio of daily returns, its 95% interval, and the probability that it is not chance.

    `probabilistic_sharpe` is the probability that the true one is above 0; `deflated_sharpe`, that it is above
    `expected_best_sharpe`, the best that so many versions without skill would show. How much these vary is told by
    `other_sharpes`, those of other versions on these days, per year, where enough are known. All are None for fewer
    than 60 days, or returns that never vary. Annualized by sqrt(`days_per_year`), which holds for serially independent
    returns (Lo 2002). Where a position is held for `held_days` of half a day or longer, days share positions, and the
    error allows for what these have in common (`dependent_error`).
    """
    days = len(daily)
    if days < MIN_DAYS or not np.ptp(daily):
        return dict.fromkeys(NAMES)
    sharpe = float(daily.mean() / daily.std(ddof=1))
    if held_days >= LONG_HELD_DAYS:
        forgotten = int(4 * (days / 100) ** (2 / 9))  # days after which returns forget each other (Newey and West 1994)
        error = dependent_error(daily, lags=max(math.ceil(held_days), forgotten))
    else:
        skew, kurtosis = float(scipy.stats.skew(daily)), float(scipy.stats.kurtosis(daily, fisher=False))
        error = sharpe_error(sharpe, days=days, skew=skew, kurtosis=kurtosis)
    half_width = float(scipy.stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    year = math.sqrt(days_per_year)
    # Versions of one model are alike: what they have in common makes none of them better than the others, so only what
    # they differ by counts. Too few do not tell; then it is that of independent versions, which deflates too much.
    trials = [sharpe, *(other / year for other in other_sharpes)]
    variance = float(np.var(trials, ddof=1)) if len(trials) >= LEAST_TRIALS else 1 / (days - 1)
    best = expected_best_sharpe(versions_scored, variance=variance)
    return {
        "sharpe": sharpe * year,
        "sharpe_low": (sharpe - half_width) * year,
        "sharpe_high": (sharpe + half_width) * year,
        "probabilistic_sharpe": probabilistic_sharpe(sharpe, 0.0, error=error),
        "deflated_sharpe": probabilistic_sharpe(sharpe, best, error=error),
        "expected_best_sharpe": best * year,
    }


def sharpe_error(sharpe: float, *, days: int, skew: float, kurtosis: float) -> float:
    """Return the standard error of a Sharpe ratio: sqrt((1 - skew·SR + (kurtosis - 1)/4·SR²) / (days - 1)).

    Mertens (2002), for serially independent returns of any distribution, over days - 1 as in Bailey and López de Prado
    (2012). Normal returns give Lo's (2002) 1 + SR²/2.
    """
    return math.sqrt(max(1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2, LEAST_VARIANCE) / (days - 1))


def dependent_error(daily: FloatArray, *, lags: int) -> float:
    """Return the standard error of the Sharpe ratio of returns that depend on those of up to `lags` days before.

    Lo (2002): the delta method on the mean and the second moment, with their long-run covariance. Without lags it is
    `sharpe_error`.
    """
    moments = np.stack([daily, daily**2], axis=1)
    slope = sharpe_slope(*moments.mean(axis=0))
    variance = float(slope @ long_run_covariance(moments, lags=lags) @ slope)
    return math.sqrt(max(variance, LEAST_VARIANCE) / (len(daily) - 1))


def sharpe_slope(mean: FloatArray, square: FloatArray) -> FloatArray:
    """Return the derivatives of mean / sqrt(square - mean²) by `mean` and by `square`, in the last dimension."""
    spread = (square - mean**2) ** 1.5
    return np.stack([square / spread, -mean / (2 * spread)], axis=-1)


def long_run_covariance(values: FloatArray, *, lags: int) -> FloatArray:
    """Return the covariance of the columns' means times the number of rows (Newey and West 1987)."""
    away = values - values.mean(axis=0)
    total: FloatArray = away.T @ away
    for lag in range(1, lags + 1):
        shared = away[lag:].T @ away[:-lag]
        total += (1 - lag / (lags + 1)) * (shared + shared.T)
    return total / len(values)


def probabilistic_sharpe(sharpe: float, benchmark: float, *, error: float) -> float:
    """Return the probability that the true Sharpe ratio is above `benchmark` (Bailey and López de Prado 2012).

    Against `expected_best_sharpe` it is the deflated Sharpe ratio (Bailey and López de Prado 2014).
    """
    return float(scipy.stats.norm.cdf((sharpe - benchmark) / error))


def expected_best_sharpe(trials: int, *, variance: float) -> float:
    """Return the best Sharpe ratio to expect of `trials` versions without skill (Bailey and López de Prado 2014).

    `variance` is that of the trials' Sharpe ratios.
    """
    if trials == 1:
        return 0.0
    likely, rare = float(scipy.stats.norm.ppf(1 - 1 / trials)), float(scipy.stats.norm.ppf(1 - 1 / (trials * math.e)))
    return math.sqrt(variance) * ((1 - np.euler_gamma) * likely + np.euler_gamma * rare)
