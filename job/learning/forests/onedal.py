"""Random forests grown by oneDAL (scikit-learn-intelex); the result is a plain scikit-learn forest.

oneDAL splits at the edges of 256 bins, many times faster than scikit-learn where leaves are small. What it fits would
need oneDAL wherever it is loaded, and cannot be stored as skops; exported as scikit-learn trees, its leaves vote for
their majority class. Here the class probabilities are recovered, in a forest that needs scikit-learn only.
"""

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from daal4py import daalinit
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree._tree import Tree
from sklearnex.ensemble import RandomForestClassifier as OneDALForest

from job.learning.forests.binning import Matrix
from job.learning.forests.counts import Ints
from job.learning.forests.engines import leaf_rows
from job.learning.forests.histogram import set_fitted_attributes
from job.learning.forests.trees import LEAF

DRAWS_PER_ROW: Final = 1 / (1 - math.exp(-1))
"""How often a bootstrap of many rows draws a row on average, given that it draws it at all."""


def fit(forest: RandomForestClassifier, matrix: Matrix, label: npt.NDArray[Any]) -> None:
    """Fit `forest` on `matrix` (float32, finite) and labels 0 and 1; the same bits whatever its `n_jobs`.

    Threads are limited to `n_jobs` for the whole process, since scikit-learn-intelex itself does so in the main thread
    only. `min_samples_leaf` counts distinct rows in scikit-learn, draws of rows in oneDAL, so it is scaled up.
    """
    threads = forest.n_jobs or 1
    daalinit(threads)
    grown = OneDALForest(
        n_estimators=forest.n_estimators,
        max_depth=forest.max_depth,
        min_samples_leaf=max(1, int(DRAWS_PER_ROW * leaf_rows(forest.min_samples_leaf, len(label)))),
        max_features=forest.max_features,
        random_state=forest.random_state,
        n_jobs=threads,
    )
    grown.fit(matrix, label)
    trees = [estimator.tree_ for estimator in grown.estimators_]
    set_class_probabilities(trees)
    set_fitted_attributes(forest, trees, matrix, np.unique(label))


def set_class_probabilities(trees: list[Tree]) -> None:
    """Replace each node's vote by the shares of both classes among the rows that were drawn into it.

    A leaf's Gini impurity is 2p(1 - p), where p is the share of either class; its vote says which class has the larger
    share. The rows of an inner node are those of its children.
    """
    sizes = np.array([tree.node_count for tree in trees])
    roots = sizes.cumsum() - sizes
    first = np.repeat(roots, sizes)
    left = np.concatenate([tree.children_left for tree in trees])
    children = np.stack((left, np.concatenate([tree.children_right for tree in trees]))) + first
    weight = np.concatenate([tree.weighted_n_node_samples for tree in trees])
    margin = np.sqrt(np.maximum(0, 0.25 - np.concatenate([tree.impurity for tree in trees]) / 2))
    votes_up = np.concatenate([tree.value[:, 0, 1] > tree.value[:, 0, 0] for tree in trees])
    up = np.round(weight * np.where(votes_up, 0.5 + margin, 0.5 - margin))
    parents_by_depth: list[Ints] = []
    nodes = roots
    while len(nodes):
        parents_by_depth.append(nodes[left[nodes] != LEAF])
        nodes = children[:, parents_by_depth[-1]].ravel()
    # Inner nodes are summed over their children, from the deepest up, so that the counts of all levels agree.
    for parents in reversed(parents_by_depth):
        up[parents] = up[children[:, parents]].sum(axis=0)
    for tree, share in zip(trees, np.split(up / weight, roots[1:]), strict=True):
        tree.value[:, 0, 0], tree.value[:, 0, 1] = 1 - share, share
