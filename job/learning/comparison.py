"""Two versions of a model on the same bars: which one is better, and whether the difference is more than noise.

`a` is the version that stands, `b` the one that would take its place; a difference is b - a.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import scipy

from job.learning.metrics import MIN_BLOCKS, FloatArray, LabelArray, accuracy, block_half_width, predicted, row_log_loss
from job.learning.splits import IntArray

Verdict = Literal["better", "worse", "no difference"]

ALPHA: Final = 0.05
ROUNDING: Final = 1e-12
"""A result smaller than this share of the numbers that it was computed from is rounding."""


@dataclass(frozen=True)
class Comparison:
    """Version b against version a on the same rows; log-losses in nats per row, intervals of 95%.

    A `difference` below 0 favors b, as does an `accuracy_difference` above 0. The ends of intervals are null where
    the rows make fewer than two blocks, the Diebold-Mariano test where one horizon covers all rows or the losses never
    vary, and McNemar's test where several rows share a time, as these are not independent draws.
    """

    rows: int
    log_loss_a: float
    log_loss_b: float
    difference: float
    low: float | None
    high: float | None
    dm_statistic: float | None
    dm_p: float | None
    accuracy_a: float
    accuracy_b: float
    accuracy_difference: float
    accuracy_low: float | None
    accuracy_high: float | None
    mcnemar_p: float | None
    blocks: int

    @property
    def underpowered(self) -> bool:
        """Too few independent blocks for the interval to be relied on."""
        return self.blocks < MIN_BLOCKS

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {**asdict(self), "underpowered": self.underpowered}


def compare(
    up: LabelArray, p_a: FloatArray, p_b: FloatArray, *, horizon: int, times: IntArray | None = None
) -> Comparison:
    """Compare two versions by their probabilities of up on the same rows, which are in time order.

    Args:
        up: labels, 1 is up, one per row; at least one row.
        p_a: probability of up by version a, float64, as it is scored: shrunk.
        p_b: the same by version b.
        horizon: bars after a row within which its label is resolved.
        times: of the rows, for a pooled model, several of whose rows may share a time; by default no two rows do.

    Intervals are those of `metrics.skill`: circular block bootstrap by time. `diebold_mariano` tests the log-loss,
    `mcnemar` the predicted classes.
    """
    rows = np.arange(len(up)) if times is None else times
    change = row_log_loss(up, p_b) - row_log_loss(up, p_a)
    right_a, right_b = predicted(p_a) == (up == 1), predicted(p_b) == (up == 1)
    gained = right_b.astype(np.float64) - right_a
    difference, low, high, blocks = mean_with_interval(rows, change, horizon=horizon)
    accuracy_difference, accuracy_low, accuracy_high, _ = mean_with_interval(rows, gained, horizon=horizon)
    statistic, p_value = diebold_mariano(change, horizon=horizon, times=rows)
    return Comparison(
        rows=len(up),
        log_loss_a=float(row_log_loss(up, p_a).mean()),
        log_loss_b=float(row_log_loss(up, p_b).mean()),
        difference=difference,
        low=low,
        high=high,
        dm_statistic=statistic,
        dm_p=p_value,
        accuracy_a=accuracy(up, p_a),
        accuracy_b=accuracy(up, p_b),
        accuracy_difference=accuracy_difference,
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        mcnemar_p=mcnemar(right_a[::horizon], right_b[::horizon]) if len(np.unique(rows)) == len(rows) else None,
        blocks=blocks,
    )


def mean_with_interval(
    times: IntArray, values: FloatArray, *, horizon: int
) -> tuple[float, float | None, float | None, int]:
    """Return the mean of the rows' `values`, the ends of its block-bootstrap interval, and the number of blocks."""
    mean = float(values.mean())
    half_width, blocks = block_half_width(times, values - mean, len(values), horizon_bars=horizon)
    if half_width is None:
        return mean, None, None, blocks
    return mean, mean - half_width, mean + half_width, blocks


def diebold_mariano(
    change: FloatArray, *, horizon: int, times: IntArray | None = None
) -> tuple[float | None, float | None]:
    """Test whether the mean of a loss difference is zero; return the statistic and the two-sided p.

    Rows of one of `times` count as one observation; by default each row has a time of its own.

    The statistic is the mean over its standard error from the autocovariances up to lag h - 1, h the horizon, which is
    as far as labels overlap (Diebold and Mariano 1995), times sqrt((n + 1 - 2h + h(h - 1)/n) / n), and is compared to
    Student's t(n - 1) (Harvey, Leybourne and Newbold 1997). Autocovariances enter unweighted: weights would leave out
    a third of the variance that overlapping labels cause. Unweighted, they may add up to nothing or less; then
    Bartlett's weights 1 - k/h take over, with which they cannot (Newey and West 1987; the other estimator of Diebold
    and Mariano).

    A difference that is zero throughout gives (0, 1). Both are null where n ≤ h, and where the difference is the same
    on every row, so that its variance is unknown.
    """
    if times is not None:
        # One number per time, with the mean over rows as their plain mean, and the spread of the times' sums.
        _, position, counts = np.unique(times, return_inverse=True, return_counts=True)
        mean = float(change.mean())
        sums = np.bincount(position, weights=change - mean).astype(np.float64)
        change = mean + sums * (len(counts) / len(change))
    n = len(change)
    if not change.any():
        return 0.0, 1.0
    if n <= horizon or float(np.ptp(change)) <= ROUNDING * float(np.abs(change).max()):
        return None, None
    centered = change - change.mean()
    covariances = np.array([centered[lag:] @ centered[: n - lag] for lag in range(horizon)]) / n
    variance = covariances[0] + 2 * covariances[1:].sum()
    if variance <= ROUNDING * covariances[0]:
        variance = covariances[0] + 2 * (covariances[1:] * (1 - np.arange(1, horizon) / horizon)).sum()
    correction = (n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n
    statistic = float(change.mean() / np.sqrt(variance / n) * np.sqrt(correction))
    return statistic, float(2 * scipy.stats.t.sf(abs(statistic), n - 1))


def mcnemar(right_a: npt.NDArray[np.bool_], right_b: npt.NDArray[np.bool_]) -> float:
    """Return the exact p of McNemar's test that two classifiers are right equally often, given independent rows.

    If they are, each is right on half of the rows on which only one is: a binomial test (McNemar 1947).
    """
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return float(scipy.stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


def false_discovery(p_values: Sequence[float | None]) -> list[float | None]:
    """Return a q for each test: the share of false discoveries if all with a q as low are called discoveries.

    Benjamini and Hochberg (1995). Tests without a p do not count, and get no q.
    """
    known = [p for p in p_values if p is not None]
    adjusted = iter(scipy.stats.false_discovery_control(known).tolist() if known else [])
    return [None if p is None else next(adjusted) for p in p_values]


def verdict(comparison: Comparison, q: float | None, *, alpha: float = ALPHA) -> Verdict:
    """Say whether version b is better or worse than a; `q` is `dm_p`, by `false_discovery` where models are many.

    It is only if two tests agree, as each has its blind spot: q is below `alpha`, and the interval of the difference,
    from enough blocks, leaves out zero.
    """
    low, high = comparison.low, comparison.high
    if q is None or q >= alpha or low is None or high is None or comparison.underpowered or low <= 0 <= high:
        return "no difference"
    return "better" if comparison.difference < 0 else "worse"
