"""The one splitter: expanding walk-forward folds and a holdout, cut by clock time and purged."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from job.core.errors import TrainingError
from job.learning.times import IntArray, numbered

SHARED: Final = 20
"""Test windows share a fit that begin within this part of the time between the first and the last."""


@dataclass(frozen=True)
class Fold:
    """Row numbers, ascending, of a training window and of the test window that follows it."""

    train: IntArray
    test: IntArray


@dataclass(frozen=True)
class Splits:
    """Cross-validation folds in time order, all of their rows inside `holdout.train`, and the holdout."""

    folds: tuple[Fold, ...]
    holdout: Fold


def holdout_start(times: int, test_size: float) -> int:
    """Return the position of the holdout's first time among `times` ≥ 2 distinct ones; neither side is empty."""
    return times - min(max(1, round(test_size * times)), times - 1)


def walk_forward(
    available_at: IntArray,
    label_end: IntArray,
    *,
    test_size: float,
    folds: int,
    embargo_us: int = 0,
    holdout_from: int | None = None,
) -> Splits:
    """Split samples by the clock, the same boundaries for every series that they come from.

    The holdout is the last `test_size` of the distinct times; with `holdout_from`, for samples some of which were left
    out before it, it is all rows from that time on. The rows that may train for it are cut, again at distinct times,
    into `folds` + 1 windows of equal length: fold i tests on window i + 1 and trains on all before.
    A row trains iff its `label_end` + `embargo_us` ≤ `available_at` of the first test row, both µs since the epoch.
    Test rows of folds are purged against the holdout in the same way, since shrinking is fitted on them.

    Raises:
        TrainingError: a window would be empty.
    """
    rows = np.arange(len(available_at))
    if holdout_from is None:
        times, _ = numbered(available_at)
        if len(times) < 2:
            raise TrainingError(f"samples at {len(times)} distinct times cannot be split: give more bars")
        holdout_from = int(times[holdout_start(len(times), test_size)])
    known = _where(is_known(available_at, label_end, holdout_from, embargo_us), rows)
    holdout = Fold(train=known, test=_where(available_at >= holdout_from, rows))
    available_at, label_end = available_at[known], label_end[known]
    times, _ = numbered(available_at)
    if len(times) <= folds:
        raise TrainingError(
            f"{len(times)} distinct times before the holdout are too few for {folds} folds: "
            "give more bars, or lower cv_folds"
        )
    starts = [int(times[len(times) * i // (folds + 1)]) for i in range(1, folds + 1)]
    cross_validation = []
    for start, stop in pairwise([*starts, int(times[-1]) + 1]):
        train = _where(is_known(available_at, label_end, start, embargo_us), known)
        if not len(train):
            raise TrainingError(
                "no sample's label is known before the first test window: give more bars, lower cv_folds or embargo, "
                "or use a label with a shorter horizon"
            )
        test = _where((available_at >= start) & (available_at < stop), known)
        cross_validation.append(Fold(train=train, test=test))
    return Splits(folds=tuple(cross_validation), holdout=holdout)


def last_part(available_at: IntArray, label_end: IntArray, *, share: float) -> Fold | None:
    """Split a training window for a fit that must know when to stop: the last `share` of its times judge the rest.

    It is cut and purged as `walk_forward` cuts the holdout. None where one side would be empty.
    """
    times, _ = numbered(available_at)
    if len(times) < 2:
        return None
    rows, start = np.arange(len(available_at)), int(times[holdout_start(len(times), share)])
    known = _where(is_known(available_at, label_end, start, 0), rows)
    return Fold(train=known, test=_where(available_at >= start, rows)) if len(known) else None


def fit_times(starts: Iterable[int], wanted: Iterable[int]) -> list[int]:
    """Return when fits must end, in ascending order, given when the test windows of all series begin (µs).

    Each window takes the latest fit that ended when it began, which knows all but a twentieth of the windows' time at
    most: a fit for each of many series' windows would take as long as all else. Fits are left out that none of the
    windows takes which begin at the `wanted` ones of all `starts`.
    """
    ordered, times = sorted(starts), list[int]()
    for start in ordered:
        if not times or start > times[-1] + (ordered[-1] - ordered[0]) // SHARED:
            times.append(start)
    return sorted({times[bisect_right(times, start) - 1] for start in wanted})


def is_known(available_at: IntArray, label_end: IntArray, start: int, embargo_us: int) -> npt.NDArray[np.bool_]:
    """Return which rows are known, label included, when the window that begins at `start` begins."""
    return (available_at < start) & (label_end + embargo_us <= start)


def _where(chosen: npt.NDArray[np.bool_], rows: IntArray) -> IntArray:
    """Return the chosen rows, as a view where they are neighbors, so that all windows share one array."""
    count = int(chosen.sum())
    first = int(chosen.argmax()) if count else 0
    neighbors = slice(first, first + count)
    return rows[neighbors] if chosen[neighbors].all() else rows[chosen]
