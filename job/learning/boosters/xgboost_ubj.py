"""XGBoost's model as UBJ, checked: only bytes that this module would write itself of the same trees are sound."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from job.learning.boosters.checks import check_features, check_leaves, check_links
from job.learning.boosters.ubj import read, write

BASE_SCORE: Final = re.compile(r"\[\d(?:\.\d+)?E(?:-\d+|0)\]")
"""The probability that boosting starts from, as XGBoost writes a list of one float32."""
NO_PARENT: Final = 2**31 - 1
NEWEST: Final = 100
"""Above any part of XGBoost's version."""

FLOATS: Final = ("base_weights", "loss_changes", "split_conditions", "sum_hessian")
INTEGERS: Final = ("left_children", "parents", "right_children", "split_indices")
DTYPES: Final = dict.fromkeys(FLOATS, ">f4") | dict.fromkeys(INTEGERS, ">i4") | {"default_left": ">u1"}
"""Arrays of a tree, one value per node: where a node is a leaf, its `split_conditions` is the leaf's value."""
NONE: Final = {
    "categories": np.zeros(0, ">i4"),
    "categories_nodes": np.zeros(0, ">i4"),
    "categories_segments": np.zeros(0, ">i8"),
    "categories_sizes": np.zeros(0, ">i8"),
}
"""Categories of a tree without any."""

Tree = Mapping[str, Any]


def check(data: bytes) -> int:
    """Check bytes that XGBoost saved, and return the model's number of features.

    Raises:
        ValueError: they are anything but the UBJ of one class's numeric trees that are sound.
    """
    document = read(data)
    try:
        learner = document["learner"]
        features, base = (learner["learner_model_param"][name] for name in ("num_feature", "base_score"))
        trees, version = learner["gradient_booster"]["model"]["trees"], document["version"]
        arrays = [{name: tree[name] for name in DTYPES} for tree in trees]
    except (LookupError, TypeError):
        raise ValueError("it lacks what XGBoost writes of a model of trees") from None
    if not isinstance(features, str) or not re.fullmatch(r"[1-9]\d{0,8}", features):
        raise ValueError(f"the number of features is {features!r:.40}")
    if not isinstance(base, str) or not BASE_SCORE.fullmatch(base) or not 0 < float(base[1:-1]) < 1:
        raise ValueError(f"it starts from {base!r:.40}, which is no probability")
    if not isinstance(version, list) or len(version) != 3 or any(part not in range(NEWEST) for part in version):
        raise ValueError("it does not say which release of XGBoost wrote it")
    for tree in arrays:
        _check_tree(tree, int(features))
    if not arrays or write(_document(arrays, int(features), base, version)) != data:
        raise ValueError("it is no binary model as XGBoost writes it")
    return int(features)


def _check_tree(tree: Tree, features: int) -> None:
    nodes = len(tree["left_children"])
    for name, dtype in DTYPES.items():
        array = tree[name]
        if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != (nodes,) or not nodes:
            raise ValueError(f"a tree's {name} are not one per node")
    check_leaves((nodes + 1) // 2)
    left, right, parents = (tree[name].astype(np.int64) for name in ("left_children", "right_children", "parents"))
    leaf = left == -1
    (inner,) = np.nonzero(~leaf)
    if not np.array_equal(leaf, right == -1):
        raise ValueError("a node of a tree has one child")
    check_links(inner, left[inner], right[inner], nodes)
    if parents[0] != NO_PARENT or np.any(parents[left[inner]] != inner) or np.any(parents[right[inner]] != inner):
        raise ValueError("the parents of a tree's nodes are not those whose children they are")
    check_features(tree["split_indices"], features)
    if not all(np.isfinite(tree[name]).all() for name in FLOATS) or np.any(tree["sum_hessian"] < 0):
        raise ValueError("a tree holds a threshold, value or weight that is no number")
    if np.any(tree["default_left"] > 1):
        raise ValueError("a tree sends missing values neither left nor right")


def _document(trees: Sequence[Tree], features: int, base: str, version: list[int]) -> dict[str, Any]:
    """Return what XGBoost saves of such trees, in its order."""
    documents = []
    for number, tree in enumerate(trees):
        nodes = len(tree["left_children"])
        sizes = {"num_deleted": "0", "num_feature": str(features), "num_nodes": str(nodes), "size_leaf_vector": "1"}
        fields = {**tree, **NONE, "id": number, "split_type": np.zeros(nodes, ">u1"), "tree_param": sizes}
        documents.append(dict(sorted(fields.items())))
    return {
        "learner": {
            "attributes": {},
            "feature_names": [],
            "feature_types": [],
            "gradient_booster": {
                "model": {
                    "cats": {"enc": [], "feature_segments": np.zeros(0, ">i4"), "sorted_idx": np.zeros(0, ">i4")},
                    "gbtree_model_param": {"num_parallel_tree": "1", "num_trees": str(len(trees))},
                    "iteration_indptr": list(range(len(trees) + 1)),
                    "tree_info": [0] * len(trees),
                    "trees": documents,
                },
                "name": "gbtree",
            },
            "learner_model_param": {
                "base_score": base,
                "boost_from_average": "1",
                "num_class": "0",
                "num_feature": str(features),
                "num_target": "1",
            },
            "objective": {"name": "binary:logistic", "reg_loss_param": {"scale_pos_weight": "1"}},
        },
        "version": version,
    }
