"""Which of many settings of a model to use: paired comparisons of their out-of-fold losses. Needs no model library."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import scipy  # not its parts, which load on first use: the driver imports this

SHRINK_WEIGHTS: Final = tuple(step / 10 for step in range(11))
"""Weights of shrinking at which losses are known; around the best one, a tenth makes next to no difference."""
FIRST_FOLDS_SHARE: Final = 0.2
"""Share of the cost of all folds after which settings may be given up."""
ERRORS: Final = 1.0
"""Standard errors by which settings must win, or lose to be given up."""

CHANCE: Final = 0.1
"""Probability that settings without any merit replace the default."""

Losses = Mapping[str, Mapping[str, Sequence[float]]]
"""Log-loss by series and block of days: {series: {block's number since the epoch: [rows, sum in nats]}}."""
State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class FoldLoss:
    """Log-loss on the test rows of a fold by block of days: `sums` has a list per weight of `SHRINK_WEIGHTS`."""

    blocks: list[int]
    rows: list[int]
    sums: list[list[float]]


@dataclass(frozen=True)
class Trial:
    """One setting of a study and what became of it.

    `first` are the losses on the first folds, each series shrunk by what they say; it is all that
    is known of a `pruned` trial. `losses` are those of all folds but the last, on which `shrink`, the weight of each
    series, was found. A `failed` trial has an `error` instead.
    """

    number: int
    params: dict[str, Any]
    state: State
    first: Losses = field(default_factory=dict)
    losses: Losses = field(default_factory=dict)
    shrink: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @property
    def mean(self) -> float:
        """Mean log-loss of a row; of a pruned trial, on the first folds."""
        return mean_loss(self.losses or self.first)

    @classmethod
    def complete(
        cls, number: int, params: Mapping[str, Any], first: Losses, folds: Mapping[str, Sequence[FoldLoss]]
    ) -> Self:
        """Return a trial from the losses of all its folds, by series: the last fold shrinks the others."""
        weights = {series: shrink_weight(own[-1:]) for series, own in folds.items()}
        return cls(
            number,
            dict(params),
            "complete",
            first=first,
            losses={series: by_block(own[:-1], weights[series]) for series, own in folds.items()},
            shrink={series: SHRINK_WEIGHTS[weight] for series, weight in weights.items()},
        )


@dataclass(frozen=True)
class Gain:
    """Log-loss saved per row against other settings on the same rows; None for an error that nothing tells."""

    mean: float
    error: float | None


@dataclass(frozen=True)
class Choice:
    """What a study chose: `winner` is its `best` trial, or the default, trial 0.

    `gain` is that of the best over the default, `required` what it had to exceed.
    """

    winner: int
    best: int
    gain: Gain
    required: float | None


def first_folds(folds: int) -> int:
    """Return how many folds come first; as windows grow by equal steps, m of n folds cost m(m + 1) / n(n + 1) of all.

    At least one, and two of five.
    """
    affordable = (m for m in range(1, folds) if m * (m + 1) <= FIRST_FOLDS_SHARE * folds * (folds + 1))
    return max(affordable, default=1)


def shrink_weight(folds: Sequence[FoldLoss]) -> int:
    """Return the position in `SHRINK_WEIGHTS` nearest to the posterior mean of the weight, given the rows of folds.

    The prior is flat. The mean, as in `metrics.fit_shrink`: where rows say little, the mode jumps between 0 and 1.
    """
    losses = np.array([sum(math.fsum(fold.sums[weight]) for fold in folds) for weight in range(len(SHRINK_WEIGHTS))])
    # Relative to the least loss, since exp(-loss) of many rows underflows.
    mean = np.average(SHRINK_WEIGHTS, weights=np.exp(losses.min() - losses))
    return round(float(mean) * (len(SHRINK_WEIGHTS) - 1))


def by_block(folds: Iterable[FoldLoss], weight: int) -> dict[str, list[float]]:
    """Return the losses of one series at a weight of shrinking; a block that two folds share is one block."""
    found: dict[str, list[float]] = {}
    for fold in folds:
        for block, rows, loss in zip(fold.blocks, fold.rows, fold.sums[weight], strict=True):
            before = found.get(str(block), (0, 0.0))
            found[str(block)] = [before[0] + rows, before[1] + loss]
    return found


def mean_loss(losses: Losses) -> float:
    """Return the mean log-loss of a row."""
    cells = [cell for blocks in losses.values() for cell in blocks.values()]
    return math.fsum(cell[1] for cell in cells) / sum(cell[0] for cell in cells)


def gain(losses: Losses, other: Losses) -> Gain:
    """Compare two settings row by row: how much less one loses than the other, on the rows that both have.

    Symbols move together and neighboring bars share labels, so the variance of the mean is clustered both by series and
    by block of time: that of either sum less that of their cells (Cameron, Gelbach and Miller 2011), and never less
    than that by time or by series alone, which few clusters make possible. One series is clustered by time only.
    """
    series = sorted(losses)
    blocks = sorted({block for own in losses.values() for block in own}, key=int)
    place = {block: number for number, block in enumerate(blocks)}
    saved, rows = np.zeros((len(series), len(blocks))), np.zeros((len(series), len(blocks)))
    for row, name in enumerate(series):
        for block, (count, loss) in losses[name].items():
            rows[row, place[block]] = count
            saved[row, place[block]] = other[name][block][1] - loss
    total = rows.sum()
    mean = float(saved.sum() / total)
    residual = saved - mean * rows
    by_time, by_series = _variance(residual.sum(axis=0)), _variance(residual.sum(axis=1))
    if by_time is None:
        return Gain(mean, None)
    if by_series is None:
        return Gain(mean, math.sqrt(by_time) / float(total))
    both = by_time + by_series - float(np.square(residual).sum())
    return Gain(mean, math.sqrt(max(both, by_time, by_series)) / float(total))


def _variance(sums: npt.NDArray[np.float64]) -> float | None:
    """Return the variance of the total of independent sums with mean 0; None of a single one."""
    count = len(sums)
    return float(np.square(sums).sum()) * count / (count - 1) if count > 1 else None


def is_hopeless(first: Losses, best: Losses) -> bool:
    """Return whether settings lose to the best ones so far by more than a standard error, on the first folds."""
    found = gain(first, best)
    return found.error is not None and found.mean < -ERRORS * found.error


def choose(trials: Sequence[Trial]) -> Choice:
    """Return which settings to use: the best ones where their gain over the default, trial 0, is no accident.

    Of many settings without any merit, the best wins by more than one standard error nearly always. So its gain must
    exceed one standard error, and so many that the best of as many independent ones without merit would not be as good
    in nine of ten studies (Šidák 1967). Settings that were given up count: they were tried.
    """
    default = trials[0]
    best = min((one for one in trials if one.state == "complete"), key=lambda one: (one.mean, one.number))
    found = gain(best.losses, default.losses)
    if found.error is None or best is default:
        return Choice(0, best.number, found, None)
    tried = sum(one.state != "failed" for one in trials) - 1
    required = max(ERRORS, float(scipy.special.ndtri((1 - CHANCE) ** (1 / tried)))) * found.error
    return Choice(best.number if found.mean > required else 0, best.number, found, required)
