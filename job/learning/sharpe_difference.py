"""Whether one book's Sharpe ratio differs from another's on the same days (Ledoit and Wolf 2008)."""

import math
from typing import Final

import numpy as np

from job.learning.metrics import FloatArray
from job.learning.sharpe import CONFIDENCE, LEAST_VARIANCE, MIN_DAYS, long_run_covariance, sharpe_slope

RESAMPLES: Final = 999
SEED: Final = 2008
"""Equal returns always give equal numbers."""
BLOCK_DAYS: Final = 5
"""Days of a block, a week of most markets; more where positions are held longer."""

NAMES: Final = ("sharpe_difference", "sharpe_difference_low", "sharpe_difference_high", "sharpe_difference_p")


def sharpe_difference(
    daily: FloatArray, base: FloatArray, *, days_per_year: float, held_days: float
) -> dict[str, float | None]:
    """Return the Sharpe ratio of `daily` less that of `base`, per year, its 95% interval, and p that there is none.

    Interval and p (two-sided) are those of the studentized circular block bootstrap of daily returns, which needs
    neither normal nor independent ones. All are None for fewer than 60 days, where a book's returns never vary, and
    where both are the same.
    """
    days = len(daily)
    moments = np.stack([daily, daily**2, base, base**2], axis=1)
    if days < MIN_DAYS or not np.ptp(daily) or not np.ptp(base):
        return dict.fromkeys(NAMES)
    block = min(max(BLOCK_DAYS, 2 * math.ceil(held_days)), days // 6)
    difference, slope = _difference(moments.mean(axis=0))
    variance = float(slope @ long_run_covariance(moments, lags=block - 1) @ slope)
    if variance < LEAST_VARIANCE:
        return dict.fromkeys(NAMES)
    error, year, blocks = math.sqrt(variance / days), math.sqrt(days_per_year), days // block
    running = np.concatenate([np.zeros((1, 4)), np.cumsum(np.concatenate([moments, moments[: block - 1]]), axis=0)])
    means = (running[block:] - running[:-block]) / block  # of the blocks that begin on each day and wrap around
    drawn = means[np.random.default_rng(SEED).integers(0, days, (RESAMPLES, blocks))]
    center = drawn.mean(axis=1)
    resampled, slope = _difference(center)
    # Blocks are independent of each other, so their means alone tell the error of a resample.
    off = np.einsum("rbm,rm->rb", drawn - center[:, None], slope)
    errors = np.sqrt(np.maximum((off**2).mean(axis=1), LEAST_VARIANCE) / blocks)
    far = np.abs((resampled - difference) / errors)
    half_width = float(np.quantile(far, CONFIDENCE)) * error
    return {
        "sharpe_difference": float(difference) * year,
        "sharpe_difference_low": (float(difference) - half_width) * year,
        "sharpe_difference_high": (float(difference) + half_width) * year,
        "sharpe_difference_p": (1 + int((far >= abs(difference) / error).sum())) / (RESAMPLES + 1),
    }


def _difference(moments: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the difference of two Sharpe ratios (ddof 0), and its derivatives, by mean and square of both books."""
    mean, square, base_mean, base_square = np.moveaxis(moments, -1, 0)
    ratios = mean / np.sqrt(square - mean**2) - base_mean / np.sqrt(base_square - base_mean**2)
    slopes = sharpe_slope(mean, square), -sharpe_slope(base_mean, base_square)
    return ratios, np.concatenate(slopes, axis=-1)
