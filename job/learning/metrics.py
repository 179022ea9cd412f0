"""Scores of class-1 probabilities, their shrinking to the base rate, and the uncertainty of skill.

Everywhere `label` is 0 or 1 (1 is up), `p` the probability of 1 as float64, one per row.

Scores are computed here and agree with `sklearn.metrics` to 1e-12, by a test. Calling scikit-learn instead would cost
about 10 ms of checks for each window (some 4% of training), while all scores here take .4 ms; and its AUC and Brier
score sum in another order, which changes the last bit.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import scipy  # not its parts, which load on first use: the driver scores nothing, and needs none

from job.learning.times import numbered

FloatArray = npt.NDArray[np.float64]
LabelArray = npt.NDArray[np.integer[Any]]

PROBABILITY_FLOOR: Final = 1e-15
"""Probabilities are kept this far from 0 and 1, so that one certain and wrong row costs 34.5 nats, not infinity."""
MIN_BLOCKS: Final = 8
"""An interval from fewer blocks is flagged as underpowered."""
CONFIDENCE: Final = 0.95
QUADRATURE_NODES: Final = 24
_quadrature: Final = cache(lambda nodes: np.polynomial.legendre.leggauss(nodes))  # noqa: PLW0108 - loads on first use
"""Gauss and Legendre's nodes and weights, which take longer to find than sums over a thousand rows."""
SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")


def clip(p: FloatArray) -> FloatArray:
    """Return `p` inside [floor, 1 - floor]."""
    return np.clip(p, PROBABILITY_FLOOR, 1 - PROBABILITY_FLOOR)


def predicted(p: FloatArray) -> npt.NDArray[np.bool_]:
    """Class 1 where `p` > 0.5; a tie goes to class 0, as in scikit-learn's `predict`."""
    return p > 0.5


def row_log_loss(label: LabelArray, p: FloatArray) -> FloatArray:
    """Negative log-likelihood of each row, in nats."""
    return -np.log(clip(np.where(label == 1, p, 1 - p)))


def log_loss(label: LabelArray, p: FloatArray) -> float:
    """Mean negative log-likelihood, in nats."""
    return float(row_log_loss(label, p).mean())


def accuracy(label: LabelArray, p: FloatArray) -> float:
    """Share of rows whose predicted class is right."""
    return float((predicted(p) == (label == 1)).mean())


def precision(label: LabelArray, p: FloatArray) -> float:
    """Share of predicted ups that were up; 0 where none was predicted."""
    called = predicted(p)
    return _ratio(int((called & (label == 1)).sum()), int(called.sum()))


def recall(label: LabelArray, p: FloatArray) -> float:
    """Share of ups that were predicted; 0 where there was none."""
    return _ratio(int((predicted(p) & (label == 1)).sum()), int((label == 1).sum()))


def f1(label: LabelArray, p: FloatArray) -> float:
    """Harmonic mean of precision and recall; 0 where both are."""
    called, up = predicted(p), label == 1
    return _ratio(2 * int((called & up).sum()), int(called.sum()) + int(up.sum()))


def brier(label: LabelArray, p: FloatArray) -> float:
    """Mean squared distance of `p` from the outcome."""
    return float(np.square(p - label).mean())


def roc_auc(label: LabelArray, p: FloatArray) -> float | None:
    """Probability that a random up ranks above a random down, ties half (Mann-Whitney); null with one class."""
    up = label == 1
    ups, downs = int(up.sum()), int((~up).sum())
    if not ups or not downs:
        return None
    p_up, p_down = np.sort(p[up]), np.sort(p[~up])
    below = sum(int(np.searchsorted(p_down, p_up, side).sum()) for side in SIDES)  # ties once, what ranks lower twice
    return below / 2 / (ups * downs)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


Place = Literal["catalog", "details", "table"]
"""Where a score is shown: in the catalog's summaries, by `models show`, or in the table of a run's results."""


@dataclass(frozen=True)
class Score:
    """A number that says how well probabilities of up agree with labels.

    Every score is computed for the holdout and for each fold, and stored in the metadata with its `version`, which
    must be raised whenever the same rows give another number. `of_raw` scores take probabilities before shrinking,
    others shrunk ones. `title` and `digits` are those of its column in the table. `function` returns None where the
    score is undefined.
    """

    name: str
    function: Callable[[LabelArray, FloatArray], float | None]
    version: int = 1
    shown: frozenset[Place] = frozenset()
    of_raw: bool = False
    title: str = ""
    digits: int = 4


SCORES: Final[dict[str, Score]] = {
    score.name: score
    for score in (
        Score("accuracy", accuracy, shown=frozenset({"catalog", "details", "table"}), title="acc.", digits=3),
        Score("precision", precision),
        Score("recall", recall),
        Score("f1", f1),
        Score("log_loss", log_loss, shown=frozenset({"catalog", "details", "table"}), title="log-loss"),
        Score("roc_auc", roc_auc, of_raw=True, shown=frozenset({"details", "table"}), title="AUC", digits=3),
        Score("brier", brier),
    )
}


def scores_shown(place: Place) -> list[Score]:
    """Return the scores that are shown in a place, in their order."""
    return [score for score in SCORES.values() if place in score.shown]


def score_all(label: LabelArray, *, p: FloatArray, p_raw: FloatArray) -> dict[str, float | None]:
    """Return every score of `SCORES`, given shrunk probabilities `p` and those before shrinking."""
    return {name: score.function(label, p_raw if score.of_raw else p) for name, score in SCORES.items()}


def base_rate(label: LabelArray) -> float:
    """Probability of up that class frequencies alone give, with Laplace's rule: (ups + 1) / (n + 2)."""
    return float((np.count_nonzero(label == 1) + 1) / (len(label) + 2))


def shrink(p: FloatArray, base: FloatArray | float, weight: float) -> FloatArray:
    """Pull `p` towards `base` on the log-odds scale: logit p' = logit b + weight · (logit p - logit b)."""
    center = scipy.special.logit(base)
    shrunk: FloatArray = scipy.special.expit(center + weight * (scipy.special.logit(clip(p)) - center))
    return shrunk


def fit_shrink(label: LabelArray, p: FloatArray, base: FloatArray) -> float:
    """Return the posterior mean of the weight of `shrink(p, base, weight)`, given the rows and a flat prior on [0, 1].

    The mean, not the mode: where rows say little it stays near 1/2 instead of jumping to 0 or 1. Rows count in full
    even where their labels overlap, so the prior weighs less than it could. `p` must be out of fold.
    """
    center = scipy.special.logit(base)
    distance = scipy.special.logit(clip(p)) - center
    # A row's loss is log(1 + exp(offset + weight * signed)), whichever its label: the sign of both follows the label.
    signed = np.where(label == 1, -distance, distance)
    offset = np.where(label == 1, -center, center)

    @cache  # the search asks for both ends once more
    def slope(weight: float) -> float:
        return float((scipy.special.expit(offset + weight * signed) * signed).sum())

    at_zero, at_one = slope(0.0) >= 0, slope(1.0) <= 0
    mode = 0.0 if at_zero else 1.0 if at_one else float(scipy.optimize.brentq(slope, 0.0, 1.0))
    chance = scipy.special.expit(offset + mode * signed)
    information = float((chance * (1 - chance) * np.square(signed)).sum())
    deviation = 1 / math.sqrt(max(information, 1e-12))  # of a normal posterior
    # The log-posterior is concave, so nearly all of it lies within six standard deviations of its mode. There
    # Gauss-Legendre quadrature needs few nodes; over all of [0, 1] it would miss the narrow peak that many rows make.
    low, high = max(0.0, mode - 6 * deviation), min(1.0, mode + 6 * deviation)
    nodes, shares = _quadrature(QUADRATURE_NODES)
    weights = low + (high - low) * (nodes + 1) / 2
    # Logarithms of products of 16 rows' factors: each is 1 / `PROBABILITY_FLOOR` at most, of which float64 holds 20.
    products, factors = np.arange(0, len(label), 16), (1 + np.exp(offset + one * signed) for one in weights.tolist())
    losses = np.array([np.log(np.multiply.reduceat(factor, products)).sum() for factor in factors])
    # Relative to the least loss, since exp(-loss) of many rows underflows.
    return float(np.average(weights, weights=shares * np.exp(losses.min() - losses)))


@dataclass(frozen=True)
class Skill:
    """Share of the base's log-loss that a model saves, and its 95% interval (null with fewer than two blocks)."""

    value: float
    low: float | None
    high: float | None
    blocks: int

    @property
    def underpowered(self) -> bool:
        """Too few blocks for the interval to be relied on."""
        return self.blocks < MIN_BLOCKS


def block_length(times: int, horizon_bars: int) -> int:
    """Return how many times a block has: more than labels overlap, at least n^(1/3), at most a sixth of all."""
    wanted = max(5 * horizon_bars, math.ceil(float(np.cbrt(times))))
    return max(1, min(wanted, times // 6))


def skill(times: npt.NDArray[np.int64], loss: FloatArray, base_loss: FloatArray, *, horizon_bars: int) -> Skill:
    """Return 1 - sum(loss) / sum(base_loss) with the interval of a circular block bootstrap by time.

    Rows of one time stay together; blocks are runs of consecutive distinct `times`. The standard error is the one
    that infinitely many resamples would give: it has a closed form for the linearized ratio (Politis and Romano, 1992),
    so no seed is involved. It is scaled by k / (k - 1), k blocks, and the half-width uses Student's t(k - 1).
    """
    total, base_total = loss.sum(), base_loss.sum()
    value = float(1 - total / base_total)
    influence = loss - (total / base_total) * base_loss  # of the rows, which adds up to zero
    _, position = numbered(times)
    by_time = np.bincount(position, weights=influence) / base_total
    length = block_length(len(by_time), horizon_bars)
    blocks = len(by_time) // length
    if blocks < 2:
        return Skill(value, None, None, blocks)
    # The variance of the sum of a series resampled in blocks that start anywhere and wrap around.
    running = np.concatenate(([0.0], np.cumsum(np.concatenate((by_time, by_time[: length - 1])))))
    variance = float((running[length:] - running[:-length]).var() * len(by_time) / length)
    error = math.sqrt(variance * blocks / (blocks - 1))
    half_width = float(scipy.special.stdtrit(blocks - 1, (1 + CONFIDENCE) / 2)) * error
    return Skill(value, value - half_width, value + half_width, blocks)
