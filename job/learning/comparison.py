"""Two versions of a model on the same bars: which one is better, and whether the difference is more than noise.

`a` is the version that stands, `b` the one that would take its place; a difference is b - a.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import scipy

from job.learning.anytime import log_e, sequences
from job.learning.evidence import Evidence, gather
from job.learning.metrics import MIN_BLOCKS, FloatArray, LabelArray, predicted, row_log_loss
from job.learning.times import IntArray

Verdict = Literal["better", "not worse", "undecided", "worse", "cannot tell"]
VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
Test = Literal["fixed", "sequential"]

ALPHA: Final = 0.05
MARGIN: Final = 0.001
LARGEST_LOG: Final = 700.0
"""Of an e-value, which JSON and floating point can hold."""
ROUNDING: Final = 1e-12
"""A result smaller than this share of the numbers that it was computed from is rounding."""


@dataclass(frozen=True)
class SeedVariance:
    """Variance of a version's mean log-loss over the seeds of its fit, and the degrees of freedom of the estimate."""

    variance: float
    freedom: float


@dataclass(frozen=True)
class Comparison:
    """Version b against version a on the same rows; log-losses in nats per row, intervals of 1 - `alpha`.

    `low`, `high` and `p` of the difference are by `test`: fixed is right at one look, sequential at any number of them.
    The sequential one has an e-value, too, which is what models are judged together by: where the luck of seeds is part
    of the difference, 1 / p is none.

    A `difference` below 0 favors b, as does an `accuracy_difference` above 0. `p` is two-sided and agrees with the
    interval of the difference. `seed_error` is the standard error that the luck of both versions' seeds adds, part of
    interval and p; null where it is not known. Null are, too, the ends of intervals and p with fewer than two blocks, p
    where the losses never vary, the Diebold-Mariano test where one horizon covers all rows or the losses never vary,
    and McNemar's test where several rows share a time, as these are not independent draws.
    """

    rows: int
    log_loss_a: float
    log_loss_b: float
    difference: float
    low: float | None
    high: float | None
    p: float | None
    dm_statistic: float | None
    dm_p: float | None
    accuracy_a: float
    accuracy_b: float
    accuracy_difference: float
    accuracy_low: float | None
    accuracy_high: float | None
    mcnemar_p: float | None
    blocks: int
    alpha: float = ALPHA
    seed_error: float | None = 0.0
    test: Test = "fixed"
    e: float | None = None

    @property
    def underpowered(self) -> bool:
        """Too few independent blocks for the interval to be relied on."""
        return self.blocks < MIN_BLOCKS

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {**asdict(self), "underpowered": self.underpowered}


def row_sums(up: LabelArray, p_a: FloatArray, p_b: FloatArray) -> FloatArray:
    """Return what each row adds to an `Evidence`: float64 [rows, `evidence.SUMS`]."""
    loss_a, loss_b = row_log_loss(up, p_a), row_log_loss(up, p_b)
    right_a, right_b = predicted(p_a) == (up == 1), predicted(p_b) == (up == 1)
    return np.column_stack([np.ones(len(up)), loss_a, loss_b - loss_a, right_a, right_b.astype(np.float64) - right_a])


def compare(
    up: LabelArray,
    p_a: FloatArray,
    p_b: FloatArray,
    *,
    horizon: int,
    times: IntArray | None = None,
    evidence: Evidence | None = None,
    seeds: Sequence[SeedVariance] | None = (),
    alpha: float = ALPHA,
    test: Test = "fixed",
) -> Comparison:
    """Compare two versions by their probabilities of up on the same rows, which are in time order.

    Args:
        up: labels, 1 is up, one per row; at least one row.
        p_a: probability of up by version a, float64, as it is scored: shrunk.
        p_b: the same by version b.
        horizon: bars after a row within which its label is resolved.
        times: of the rows; several rows of a pooled model may share one. By default no two rows do.
        evidence: of these rows and earlier ones; by default of these rows.
        seeds: of each version whose fit draws random numbers; None if one of them is not known.
        alpha: level of the intervals.
        test: of the difference in log-loss.

    All but two tests are about the rows of `evidence`: `diebold_mariano`, of the log-loss, and `mcnemar`, of the
    predicted classes, are about the rows that are given.
    """
    rows = np.arange(len(up)) if times is None else times
    sums = row_sums(up, p_a, p_b)
    found = gather(rows, sums, horizon=horizon) if evidence is None else evidence
    statistic, dm_p = diebold_mariano(sums[:, 2], horizon=horizon, times=rows)
    right_a, right_b = sums[:, 3] == 1, sums[:, 3] + sums[:, 4] == 1
    return replace(
        compare_evidence(found, seeds, alpha=alpha, test=test),
        dm_statistic=statistic,
        dm_p=dm_p,
        mcnemar_p=mcnemar(right_a[::horizon], right_b[::horizon]) if len(np.unique(rows)) == len(rows) else None,
    )


def compare_evidence(
    evidence: Evidence, seeds: Sequence[SeedVariance] | None, *, alpha: float, test: Test
) -> Comparison:
    """Return what `compare` does, without the two tests of the rows that are given."""
    difference, gained = evidence.mean("difference"), evidence.mean("gained")
    if test == "sequential":
        low, high, p_value, e = sequential_test(evidence, seeds or (), alpha=alpha)
    else:
        (low, high, p_value), e = interval_and_p(evidence, "difference", seeds or (), alpha=alpha), None
    accuracy_low, accuracy_high, _ = interval_and_p(evidence, "gained", (), alpha=alpha)
    return Comparison(
        rows=round(evidence.total("rows")),
        log_loss_a=evidence.mean("loss_a"),
        log_loss_b=evidence.mean("loss_a") + difference,
        difference=difference,
        low=low,
        high=high,
        p=p_value,
        dm_statistic=None,
        dm_p=None,
        accuracy_a=evidence.mean("right_a"),
        accuracy_b=evidence.mean("right_a") + gained,
        accuracy_difference=gained,
        accuracy_low=accuracy_low,
        accuracy_high=accuracy_high,
        mcnemar_p=None,
        blocks=evidence.complete_blocks,
        alpha=alpha,
        seed_error=None if seeds is None else float(np.sqrt(sum(one.variance for one in seeds))),
        test=test,
        e=e,
    )


def interval_and_p(
    evidence: Evidence, name: str, seeds: Sequence[SeedVariance], *, alpha: float
) -> tuple[float | None, float | None, float | None]:
    """Return the ends of the interval of a mean, and the two-sided p that the mean is zero, which agrees with it.

    Versions that differ by seed only are two models, and enough rows tell which of them is better. That is luck of the
    draw and no reason to promote, so the variance over seeds is added to that of the rows. Degrees of freedom of the
    sum are those of Satterthwaite (1946): one refit says little, and widens accordingly.
    """
    mean, error = evidence.mean(name), evidence.error(name)
    if error is None:
        return None, None, None
    parts = [SeedVariance(error**2, evidence.complete_blocks - 1), *seeds]
    variance = sum(one.variance for one in parts)
    if variance <= (ROUNDING * mean) ** 2:
        return mean, mean, None if mean else 1.0
    freedom = variance**2 / sum(one.variance**2 / one.freedom for one in parts)
    total = float(np.sqrt(variance))
    half_width = float(scipy.stats.t.ppf(1 - alpha / 2, freedom)) * total
    return mean - half_width, mean + half_width, float(2 * scipy.stats.t.sf(abs(mean) / total, freedom))


def sequential_test(
    evidence: Evidence, seeds: Sequence[SeedVariance], *, alpha: float
) -> tuple[float | None, float | None, float | None, float | None]:
    """Return what `interval_and_p` does of the difference, but right however often it is looked at, and an e-value.

    Where the luck of seeds is part of the difference, half of alpha is for that, which no further row changes. The
    plain mean is always in the interval: the sequence is of clipped differences, and a rare large loss is no gain.
    The e-value is against both versions being as good: half of what is bet is bet on each side, see `log_e`.
    """
    running = evidence.running
    if running is None or not running.blocks:
        return None, None, None, None
    blocks, total, spread, mean = np.array(
        [[running.blocks], [running.total], [running.spread], [evidence.mean("difference")]]
    )
    variance, freedom = np.array([variance_and_freedom(seeds)]).T
    found = sequences(blocks, total, spread, mean, variance=variance, freedom=freedom, alpha=alpha)
    log_wealth = log_e(blocks, np.where(mean < 0, -total, total), spread, variance=variance, freedom=freedom)
    e = float(np.exp(min(log_wealth[0], LARGEST_LOG))) / 2
    return float(found.low[0]), float(found.high[0]), float(found.p[0]), e


def variance_and_freedom(seeds: Sequence[SeedVariance]) -> tuple[float, float]:
    """Return the variance over the seeds of all versions, and its degrees of freedom, by Satterthwaite (1946)."""
    variance = sum(one.variance for one in seeds)
    return variance, variance**2 / sum(one.variance**2 / one.freedom for one in seeds) if variance else 1.0


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
    known = np.array([p for p in p_values if p is not None])
    order = np.argsort(-known, kind="stable")  # from the largest down: q is the least of p · n / rank from there on
    q = np.empty_like(known)
    q[order] = np.minimum.accumulate(np.minimum(known[order] * len(known) / np.arange(len(known), 0, -1), 1.0))
    adjusted = iter(q.tolist())
    return [None if p is None else next(adjusted) for p in p_values]


def verdict(comparison: Comparison, q: float | None, *, margin: float = MARGIN) -> Verdict:
    """Say what is known of version b against a; `q` is `p`, by `false_discovery` where models are many.

    - better: the interval lies below 0, and q below alpha.
    - worse: the interval lies above 0. Models are not corrected for each other: a bad one is found among many, too.
    - not worse: the interval lies below `margin` (nats), which is a test of non-inferiority. Its level is alpha / 2,
      since only one end is looked at, and each model is tested for itself.
    - undecided: more rows may decide.
    - cannot tell: there are too few blocks for an interval, or nobody knows what another seed would have given.
    """
    if comparison.underpowered or comparison.p is None or comparison.seed_error is None:
        return "cannot tell"
    return verdict_of(comparison.low, comparison.high, q, alpha=comparison.alpha, margin=margin)


def verdict_of(low: float | None, high: float | None, q: float | None, *, alpha: float, margin: float) -> Verdict:
    """Return the verdict that the ends of an interval of 1 - `alpha` and q lead to, see `verdict`."""
    if low is None or high is None:
        return "cannot tell"
    if high < 0 and q is not None and q < alpha:
        return "better"
    if low > 0:
        return "worse"
    return "not worse" if high < margin else "undecided"
