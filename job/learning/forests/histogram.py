"""Random forests with large leaves, grown from histograms; the result is a plain scikit-learn forest.

scikit-learn sorts the rows of every node by every candidate feature, and spends milliseconds a tree before it begins.
Where leaves hold a good share of the rows, trees are shallow and 255 quantiles are fine enough to split at: the forest
is the same, except for the random numbers and the rounding of thresholds, and grows several times faster.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier
from sklearn.tree._tree import Tree

from job.learning.forests.binning import Matrix, bin_rows
from job.learning.forests.counts import Floats
from job.learning.forests.engines import leaf_rows
from job.learning.forests.trees import TreeParams, grow_batch

BATCH_ENTRIES: Final = 200_000
"""Rows times trees that grow at a time: few enough for the CPU's caches, many enough that calls cost little."""
BATCH_CELLS: Final = 2_000_000
"""Nodes times bins of a level at a time."""


def grow(
    forest: RandomForestClassifier, matrix: Matrix, label: npt.NDArray[Any], sample_weight: Floats | None = None
) -> None:
    """Fit `forest` on `matrix` (float32, finite) and labels 0 and 1; the same bits whatever the number of threads.

    It follows the parameters in `engines.SUPPORTED_PARAMS`. As scikit-learn's forest does since 1.9, trees draw rows
    with chances in proportion to `sample_weight`, float64 above 0; leaves are limited by the number of distinct rows.
    """
    binned = bin_rows(matrix, label, sample_weight)
    leaf = leaf_rows(forest.min_samples_leaf, len(label))
    params = TreeParams(forest.max_depth, leaf, candidates(forest.max_features, matrix.shape[1]))
    random = np.random.default_rng(forest.random_state)
    widest = max(1, len(label) // leaf)  # most nodes of a level
    batch = max(1, min(BATCH_ENTRIES // len(label), BATCH_CELLS // (widest * binned.bins)))
    trees: list[Tree] = []
    while len(trees) < forest.n_estimators:
        trees += grow_batch(binned, min(batch, forest.n_estimators - len(trees)), params, random)
    set_fitted_attributes(forest, trees, matrix, np.unique(label))


def candidates(wanted: str | float | None, features: int) -> int:
    """Return how many features a node chooses from, as scikit-learn reads `max_features`."""
    if wanted is None:
        return features
    if isinstance(wanted, str):
        return max(1, int(math.sqrt(features) if wanted == "sqrt" else math.log2(features)))
    return wanted if isinstance(wanted, int) else max(1, int(wanted * features))


def set_fitted_attributes(
    forest: RandomForestClassifier, trees: list[Tree], matrix: Matrix, classes: npt.NDArray[Any]
) -> None:
    """Give `forest` the attributes that scikit-learn's own `fit` leaves on it."""
    shared = {name: getattr(forest, name) for name in forest.estimator_params} | {"random_state": None}
    forest.n_features_in_, forest.n_outputs_ = matrix.shape[1], 1
    forest.classes_, forest.n_classes_ = classes, len(classes)
    forest._n_samples = forest._n_samples_bootstrap = len(matrix)
    forest._sample_weight = None
    forest.estimator_ = DecisionTreeClassifier()
    forest.estimators_ = []
    for tree in trees:
        estimator = DecisionTreeClassifier(**shared)
        estimator.n_features_in_, estimator.n_outputs_ = matrix.shape[1], 1
        estimator.classes_, estimator.n_classes_ = classes.astype(np.float64), len(classes)
        estimator.max_features_, estimator.tree_ = candidates(forest.max_features, matrix.shape[1]), tree
        forest.estimators_.append(estimator)
