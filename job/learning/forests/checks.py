"""Checks that trees from a file are sound, as scikit-learn follows their indices in C without checking them.

Each check is named by the algorithms whose models may hold such a part; see `learning.algorithms.StoredType`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def check_tree(tree: Any, features: int) -> None:
    """Check that a `sklearn.tree._tree.Tree` has no cycle, and stays inside its arrays and the model's features.

    Children must come after their parent, as scikit-learn's builders put them, so that every path down ends.

    Raises:
        ValueError: saying which size or index is out of bounds, or that a threshold or value is no number.
    """
    # Sizes come first: scikit-learn makes the arrays below from them, over memory that ends with the nodes.
    if not 0 < tree.node_count == tree.capacity or tree.n_outputs != 1 or tree.max_n_classes < 1:
        raise ValueError("a tree's sizes are not those of its nodes")
    left, right = tree.children_left, tree.children_right
    leaf = left < 0
    _check_children(left, right, leaf)
    _check_features(tree.feature[~leaf], min(features, tree.n_features))
    _check_numbers(tree.threshold[~leaf], tree.value)
    level = np.zeros(1, np.int64)
    for _ in range(tree.max_depth + 1):
        inner = level[~leaf[level]]
        if not len(inner):
            return
        level = np.unique(np.concatenate([left[inner], right[inner]]))
    raise ValueError(f"a tree is deeper than the {tree.max_depth} levels that it says")


def check_predictor(predictor: Any, features: int) -> None:
    """Check the same of a tree of histogram boosting, a `TreePredictor`; raises ValueError."""
    nodes = predictor.nodes
    if nodes.ndim != 1 or not len(nodes):
        raise ValueError("a tree has no nodes")
    leaf = nodes["is_leaf"].astype(bool)
    _check_children(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), leaf)
    _check_features(nodes["feature_idx"][~leaf], features)
    _check_numbers(nodes["num_threshold"][~leaf], nodes["value"][leaf])
    if nodes["is_categorical"].any():
        raise ValueError("a tree splits on categories, which no model of this job does")


def check_stages(boosting: Any, features: int) -> None:
    """Check that boosting adds to as many columns as it starts with, which scikit-learn does not check.

    Raises:
        ValueError: it does not, or does not start from class frequencies.
    """
    from sklearn.dummy import DummyClassifier  # noqa: PLC0415 - slow, seldom needed

    if type(boosting.init_) is not DummyClassifier or np.ndim(boosting.estimators_) != 2:
        raise ValueError("boosting does not start as it does in this job")
    start = boosting._raw_predict_init(np.zeros((1, features), np.float32))
    if start.shape != (1, 1) or boosting.estimators_.shape[1] != 1:
        raise ValueError(f"boosting adds {boosting.estimators_.shape[1]} trees a stage to {start.shape[-1]} scores")


def _check_numbers(threshold: Array, value: Array) -> None:
    if np.isnan(threshold).any() or not np.isfinite(value).all():
        raise ValueError("a tree holds a threshold or value that is no number")


def _check_children(left: Array, right: Array, leaf: Array) -> None:
    own = np.arange(len(leaf))[~leaf]
    for name, child in (("left", left[~leaf]), ("right", right[~leaf])):
        if np.any(child <= own) or np.any(child >= len(leaf)):
            raise ValueError(f"a tree's {name} child is outside the nodes behind its parent")


def _check_features(feature: Array, features: int) -> None:
    if np.any(feature < 0) or np.any(feature >= features):
        raise ValueError(f"a tree splits on a feature outside the model's {features}")
