"""Intervals, p and e-values of many sequential tests at once, with the luck of seeds.

Each argument that is an array has one number per test: of its blocks, `total` and `spread` are those of
`sequential.Betting`. `variance` is that of the mean over the seeds of both versions, 0 where none draws random numbers,
`freedom` the degrees of freedom of its estimate.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy

from job.learning.metrics import FloatArray
from job.learning.sequential import CLIP, gain_for, log_wealth

LEVELS: Final = np.linspace(-15, 0, 1501)
"""Decimal logarithms of the levels among which p is found where seeds count: the next one above it."""
TAILS: Final = 10.0 ** -np.arange(2, 10)
"""Probabilities of the luck of seeds that e-values allow for, an equal share of the wealth for each."""


@dataclass(frozen=True)
class Sequences:
    """Ends of confidence sequences, and the two-sided p that agree with them."""

    low: FloatArray
    high: FloatArray
    p: FloatArray


def sequences(
    blocks: FloatArray,
    total: FloatArray,
    spread: FloatArray,
    mean: FloatArray,
    *,
    variance: FloatArray,
    freedom: FloatArray,
    alpha: float,
) -> Sequences:
    """Return intervals that hold at all times with a probability of 1 - `alpha`, and p.

    They are of the mean over blocks of the clipped difference that was to be expected, in nats per row.
    Where the luck of seeds is part of the difference, half of a level is for that, which no further row changes. The
    plain `mean` over rows is always in the interval: the sequence is of clipped differences, and a rare large loss is
    no gain.
    """
    drawn = variance > 0
    toward = np.where(mean < 0, -total, total)
    rows_level = np.where(drawn, alpha / 2, alpha)
    luck = _luck(alpha / 4, variance, freedom)
    gain, count = gain_for(np.log(2 / rows_level), spread), np.maximum(blocks, 1)
    low, high = np.maximum(-CLIP, (total - gain) / count), np.minimum(CLIP, (total + gain) / count)
    p = np.minimum(1.0, 2 * np.exp(-log_wealth(toward, spread)))
    if drawn.any():
        # With luck, p is the least of `LEVELS` at which the interval is without 0, found by bisection. The last level
        # is 1, at which nothing need differ.
        lowest, highest = np.zeros(len(p), np.int64), np.full(len(p), len(LEVELS) - 1)
        while (lowest < highest).any():
            middle = (lowest + highest) // 2
            level = 10.0 ** LEVELS[middle]
            beyond = toward - blocks * _luck(level / 4, variance, freedom)
            differs = log_wealth(beyond, spread) >= np.log(4 / level)
            highest = np.where(differs, middle, highest)
            lowest = np.where(differs, lowest, np.minimum(middle + 1, highest))
        p = np.where(drawn, 10.0 ** LEVELS[highest], p)
    return Sequences(np.minimum(low - luck, mean), np.maximum(high + luck, mean), p)


def _luck(tail: Any, variance: FloatArray, freedom: FloatArray) -> FloatArray:
    """Return what the luck of seeds exceeds with a probability of `tail`."""
    found: FloatArray = np.where(variance > 0, -scipy.special.stdtrit(freedom, tail) * np.sqrt(variance), 0.0)
    return found


def log_e(
    blocks: FloatArray, toward: FloatArray, spread: FloatArray, *, variance: FloatArray, freedom: FloatArray
) -> FloatArray:
    """Return the log of e-values against a mean of 0 or on the other side of it: E e ≤ 1 whenever one stops to look.

    `toward` is -`total` to test that the mean is below 0, `total` that it is above. p of an interval with luck is no
    1 / e, and does not go through e-BH. This does: the wealth of bets on a mean beyond the luck that has a tail
    probability of t, but 1 / t at most. Without as much luck its expectation is 1 at most, with it t · 1 / t, so half
    of it is an e-value, and so is the mean over `TAILS`.
    """
    without = log_wealth(toward, spread)
    if not (variance > 0).any():
        return without
    luck = _luck(TAILS[:, None], variance, freedom)
    wealth = np.minimum(
        log_wealth(toward - blocks * luck, np.broadcast_to(spread, luck.shape)), -np.log(TAILS)[:, None]
    )
    return np.where(variance > 0, np.logaddexp.reduce(wealth, axis=0) - np.log(2 * len(TAILS)), without)
