"""Permutation importance is the rise of log-loss when one column is shuffled; see test_algorithms for the others."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from job.learning.importances import PERMUTATION_ROWS, importances


class FirstColumn:
    """Predicts up with the probability that stands in the first column."""

    def predict_proba(self, matrix: np.ndarray) -> np.ndarray:
        return np.column_stack([1 - matrix[:, 0], matrix[:, 0]])


@pytest.mark.parametrize("rows", [300, 3 * PERMUTATION_ROWS])
def test_permutation_is_the_rise_of_log_loss(rows: int) -> None:
    random = np.random.default_rng(0)
    matrix = random.uniform(0.1, 0.9, (rows, 3)).astype(np.float32)
    before = matrix.copy()
    label = (random.uniform(size=rows) < matrix[:, 0]).astype(np.int8)
    first = importances(FirstColumn(), "permutation", matrix, label, seed="x")
    assert first[0] > 0.05
    assert first[1:] == [0.0, 0.0]
    assert np.array_equal(matrix, before)
    assert importances(FirstColumn(), "permutation", matrix, label, seed="x") == first
    assert importances(FirstColumn(), "permutation", matrix, label, seed="y") != first


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
@pytest.mark.parametrize("depth", [None, 2])
def test_importances_of_forests_are_scikit_learns(kind: type, depth: int | None) -> None:
    random = np.random.default_rng(0)
    matrix = random.standard_normal((200, 4)).astype(np.float32)
    label = (matrix[:, 1] + random.standard_normal(200) > 0).astype(np.int8)
    forest = kind(n_estimators=9, max_depth=depth, min_samples_leaf=30, random_state=0).fit(matrix, label)
    assert importances(forest, "impurity", matrix, label, seed="") == forest.feature_importances_.tolist()
    stumps = kind(n_estimators=3, min_samples_leaf=200, random_state=0).fit(matrix, label)
    assert importances(stumps, "impurity", matrix, label, seed="") == [0.0] * 4
