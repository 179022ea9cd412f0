"""Trees whose indices are sound: scikit-learn follows them in C without looking, however they came to be."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def check_trees(estimator: object) -> None:
    """See that every tree inside an estimator ends, and stays inside its arrays and its features.

    Children stand behind their parent, as scikit-learn's builders put them; so a walk down always ends.

    Raises:
        ValueError: saying which index is out of bounds.
    """
    from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor  # noqa: PLC0415 - slow, seldom needed
    from sklearn.tree._tree import Tree  # noqa: PLC0415

    features = getattr(estimator, "n_features_in_", 0)
    for part in _parts(estimator):
        if isinstance(part, Tree):
            leaf = part.children_left < 0
            _check_children(part.children_left, part.children_right, leaf)
            _check_features(part.feature[~leaf], min(features, part.n_features))
        elif isinstance(part, TreePredictor):
            nodes = part.nodes
            leaf = nodes["is_leaf"].astype(bool)
            _check_children(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), leaf)
            _check_features(nodes["feature_idx"][~leaf], features)
            if nodes["is_categorical"].any():
                raise ValueError("a tree splits on categories, which no model of this job does")


def _parts(root: object) -> Iterator[object]:
    """Yield every object that can be reached from `root` through attributes and containers."""
    seen: dict[int, object] = {}
    pending = [root]
    while pending:
        part = pending.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float):
            continue
        seen[id(part)] = part
        yield part
        pending.extend(_children(part))


def _children(part: object) -> list[Any]:
    if isinstance(part, dict):
        return list(part.values())
    if isinstance(part, list | tuple):
        return list(part)
    if isinstance(part, np.ndarray):
        return list(part.flat) if part.dtype == object else []
    return list(vars(part).values()) if hasattr(part, "__dict__") else []


def _check_children(left: Array, right: Array, leaf: Array) -> None:
    own = np.arange(len(leaf))[~leaf]
    for name, child in (("left", left[~leaf]), ("right", right[~leaf])):
        if np.any(child <= own) or np.any(child >= len(leaf)):
            raise ValueError(f"a tree's {name} child is outside the nodes behind its parent")


def _check_features(feature: Array, features: int) -> None:
    if np.any(feature < 0) or np.any(feature >= features):
        raise ValueError(f"a tree splits on a feature outside the model's {features}")
