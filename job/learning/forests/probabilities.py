"""Probabilities and importances of forests, as scikit-learn sums them, but without its many calls per tree."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.utils.validation import validate_data

from job.learning.forests.counts import Floats


def is_forest(model: Any) -> bool:
    """Return whether `model` is one of scikit-learn's own forests, no subclass that may predict in another way."""
    return type(model) in {ExtraTreesClassifier, RandomForestClassifier}


def mean_of_trees(forest: Any, matrix: npt.NDArray[Any]) -> Floats:
    """Return what `forest.predict_proba(matrix)` says of class 1 on one thread, bit for bit.

    Where rows are few, scikit-learn's own calls take ten times longer than the trees.

    Raises:
        ValueError: the matrix has another number of features than the forest, or infinite values.
    """
    rows = validate_data(forest, matrix, dtype=np.float32, ensure_all_finite="allow-nan", reset=False)
    total = np.zeros(len(rows))
    for tree in (estimator.tree_ for estimator in forest.estimators_):
        total += tree.value[:, 0, 1].take(tree.apply(rows))
    return total / len(forest.estimators_)


def mean_importances(forest: Any) -> Floats:
    """Return `forest.feature_importances_`, bit for bit: zeros where no tree has a split, and else of sum 1."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    found = [tree.compute_feature_importances() for tree in trees if tree.node_count > 1]
    if not found:
        return np.zeros(forest.n_features_in_)
    mean: Floats = np.mean(found, axis=0, dtype=np.float64)
    return mean / np.sum(mean)
