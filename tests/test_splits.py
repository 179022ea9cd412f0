"""The splitter keeps time order and lets no training label reach into a test window."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.core.errors import TrainingError
from job.learning.splits import Splits, holdout_start, walk_forward
from tests.oracles_training import purged_train

Times = npt.NDArray[np.int64]


@st.composite
def sample_times(draw: st.DrawFn) -> tuple[Times, Times]:
    """Sorted times with gaps and repeats (several series), labels that end at any later time."""
    steps = draw(st.lists(st.sampled_from([0, 1, 1, 1, 2, 50]), min_size=30, max_size=120))
    reach = draw(st.lists(st.integers(1, 12), min_size=len(steps), max_size=len(steps)))
    available_at = np.cumsum(np.array(steps, dtype=np.int64))
    return available_at, available_at + np.array(reach, dtype=np.int64)


def windows(splits: Splits) -> list[tuple[Times, Times]]:
    return [(fold.train, fold.test) for fold in (*splits.folds, splits.holdout)]


@settings(max_examples=150, deadline=None)
@given(sample_times(), st.floats(0.05, 0.5), st.integers(1, 5), st.integers(0, 10))
def test_no_training_label_reaches_into_its_test_window(
    times: tuple[Times, Times], test_size: float, folds: int, embargo_us: int
) -> None:
    available_at, label_end = times
    try:
        splits = walk_forward(available_at, label_end, test_size=test_size, folds=folds, embargo_us=embargo_us)
    except TrainingError:
        return
    for train, test in windows(splits):
        assert len(train)
        assert len(test)
        assert label_end[train].max() + embargo_us <= available_at[test].min()
        assert available_at[train].max() < available_at[test].min()


@settings(max_examples=150, deadline=None)
@given(sample_times(), st.floats(0.05, 0.5), st.integers(1, 5), st.integers(0, 10))
def test_windows_are_all_that_purging_allows(
    times: tuple[Times, Times], test_size: float, folds: int, embargo_us: int
) -> None:
    available_at, label_end = times
    try:
        splits = walk_forward(available_at, label_end, test_size=test_size, folds=folds, embargo_us=embargo_us)
    except TrainingError:
        return
    holdout_from = available_at[splits.holdout.test[0]]
    before = purged_train(available_at, label_end, holdout_from, embargo_us)
    assert splits.holdout.train.tolist() == before
    assert splits.holdout.test.tolist() == np.flatnonzero(available_at >= holdout_from).tolist()
    for train, test in windows(splits)[:-1]:
        assert train.tolist() == [
            row for row in purged_train(available_at, label_end, available_at[test[0]], embargo_us) if row in before
        ]
    tested = np.concatenate([fold.test for fold in splits.folds])
    assert tested.tolist() == [row for row in before if available_at[row] >= available_at[tested[0]]]


def test_boundaries_are_shares_of_distinct_times() -> None:
    available_at = np.repeat(np.arange(100, dtype=np.int64), np.where(np.arange(100) < 50, 1, 7))
    splits = walk_forward(available_at, available_at + 1, test_size=0.2, folds=4)
    assert available_at[splits.holdout.test[0]] == 80
    assert [int(available_at[fold.test[0]]) for fold in splits.folds] == [16, 32, 48, 64]
    assert [int(available_at[fold.test[-1]]) for fold in splits.folds] == [31, 47, 63, 79]


def test_all_series_are_cut_at_the_same_times() -> None:
    early, late = np.arange(60, dtype=np.int64), np.arange(40, 100, dtype=np.int64)
    available_at = np.sort(np.concatenate([early, late]))
    splits = walk_forward(available_at, available_at + 1, test_size=0.2, folds=2)
    assert available_at[splits.holdout.test].min() == 80
    assert available_at[splits.holdout.train].max() == 79


def test_holdout_may_begin_at_a_given_time() -> None:
    available_at = np.arange(100, dtype=np.int64)
    splits = walk_forward(available_at, available_at + 2, test_size=0.2, folds=2, holdout_from=60)
    assert splits.holdout.test[0] == 60
    assert splits.holdout.train[-1] == 58


@pytest.mark.parametrize(("times", "test_size", "first"), [(100, 0.2, 80), (2, 0.01, 1), (2, 0.99, 1), (10, 0.25, 8)])
def test_holdout_start_leaves_both_sides_something(times: int, test_size: float, first: int) -> None:
    assert holdout_start(times, test_size) == first


def test_too_few_times_for_a_holdout() -> None:
    one = np.zeros(5, dtype=np.int64)
    with pytest.raises(TrainingError, match="samples at 1 distinct times cannot be split: give more bars"):
        walk_forward(one, one + 1, test_size=0.2, folds=2)


def test_too_few_times_for_the_folds() -> None:
    available_at = np.arange(6, dtype=np.int64)
    with pytest.raises(TrainingError, match="5 distinct times before the holdout are too few for 5 folds"):
        walk_forward(available_at, available_at + 1, test_size=0.2, folds=5)


def test_no_label_known_before_the_first_test() -> None:
    available_at = np.arange(40, dtype=np.int64)
    with pytest.raises(TrainingError, match="no sample's label is known before the first test window"):
        walk_forward(available_at, available_at + 12, test_size=0.2, folds=5)


def test_no_rows_at_all_cannot_be_split() -> None:
    none = np.empty(0, np.int64)
    with pytest.raises(TrainingError, match="0 distinct times before the holdout are too few for 2 folds"):
        walk_forward(none, none, test_size=0.2, folds=2, holdout_from=60)
