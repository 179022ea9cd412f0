"""LightGBM's text of a model, checked: only a text that this module would write itself of the same trees is sound.

The text has a block of fields, then one for each tree, from `Tree=0` on. LightGBM jumps to the trees by `tree_sizes`,
their lengths in bytes, and takes numbers of nodes, children and features as they are. Behind the trees it writes
importances and the parameters of the fit, which no prediction needs, and which differ between machines: not stored.
"""

import re
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from job.learning.boosters.checks import check_features, check_leaves, check_links

END: Final = "end of trees\n"
LAST: Final = "shrinkage"
NUMBER: Final = r"-?(?:\d+(?:\.\d+)?(?:e[+-]\d+)?)"
NUMBERS: Final = re.compile(rf"(?:{NUMBER}(?: {NUMBER})*)?")
INTEGERS: Final = re.compile(r"(?:-?\d{1,9}(?: -?\d{1,9})*)?")
RANGES: Final = re.compile(rf"(?:none|\[{NUMBER}:{NUMBER}\])(?: (?:none|\[{NUMBER}:{NUMBER}\]))*")
NUMERIC_SPLITS: Final = (0, 2)
"""Kinds of a split that knows no category and no missing value: whether it would send one left makes the difference."""

OF_SPLITS: Final = (
    "split_feature",
    "split_gain",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "internal_value",
    "internal_weight",
    "internal_count",
)
WHOLE: Final = {name for name in OF_SPLITS if name.endswith(("feature", "type", "child", "count"))} | {"leaf_count"}
FIELDS: Final = (
    *OF_SPLITS[:6],
    *("leaf_value", "leaf_weight", "leaf_count"),
    *OF_SPLITS[6:],
)
"""Fields of a tree that hold numbers, in their order between `num_cat` and `is_linear`."""

Fields = Mapping[str, str]
Array = npt.NDArray[np.float64]


def stored(text: str) -> bytes:
    """Return the part of LightGBM's text that is stored, up to the end of the trees."""
    return (text.partition(END)[0] + END).encode("ascii")


def check(data: bytes) -> int:
    """Check what `stored` returned, and return the model's number of features.

    Raises:
        ValueError: it is anything but the text of binary, numeric, constant-leaf trees that are sound.
    """
    head, *blocks = data.decode("ascii").removesuffix(END).split("\nTree=")
    header = _fields(head)
    features = _integers(header, "max_feature_idx")[0] + 1 if _integers(header, "max_feature_idx").size else 0
    ranges = header.get("feature_infos", "")
    if features < 1 or not RANGES.fullmatch(ranges) or ranges.count(" ") != features - 1:
        raise ValueError("its features are not described as LightGBM does")
    trees = [_fields(f"Tree={block}") for block in blocks]
    for tree in trees:
        _check_tree(tree, int(features))
    if not trees or _text(int(features), ranges, trees) != data:
        raise ValueError("it is no text of a binary model as LightGBM writes it")
    return int(features)


def _check_tree(tree: Fields, features: int) -> None:
    check_leaves(max((tree[name].count(" ") for name in FIELDS if name in tree), default=0) + 1)
    numbers = {name: _numbers(tree, name) for name in FIELDS}
    leaves, splits = numbers["leaf_value"].size, numbers["threshold"].size
    if splits != leaves - 1 or any(numbers[name].size != splits for name in OF_SPLITS):
        raise ValueError("a tree's fields are not of its number of leaves")
    if numbers["leaf_count"].size != leaves or numbers["leaf_weight"].size != (leaves if splits else 0):
        raise ValueError("a tree's leaves are not described each once")
    check_features(numbers["split_feature"].astype(np.int64), features)
    if not np.isin(numbers["decision_type"], NUMERIC_SPLITS).all():
        raise ValueError("a tree splits on categories or missing values, which no model of this job does")
    # Leaves have negative numbers of their own, -1 the first: here they follow the splits.
    left, right = (
        np.where(numbers[name] < 0, splits - 1 - numbers[name], numbers[name]).astype(np.int64)
        for name in ("left_child", "right_child")
    )
    check_links(np.arange(splits), left, right, splits + leaves)
    counts = np.concatenate([numbers["internal_count"], numbers["leaf_count"]])
    if np.any(counts < 0) or np.any(counts[:splits] != counts[left] + counts[right]):
        raise ValueError("the rows of a tree's nodes are not those of their children")


def _text(features: int, ranges: str, trees: list[Fields]) -> bytes:
    """Return what LightGBM writes of such trees."""
    blocks = []
    for number, tree in enumerate(trees):
        leaves = len(tree["leaf_value"].split())
        values = "\n".join(f"{name}={tree[name]}" for name in FIELDS)
        if _numbers(tree, LAST).size != 1:
            raise ValueError("a tree does not say how much it was shrunk")
        blocks.append(
            f"Tree={number}\nnum_leaves={leaves}\nnum_cat=0\n{values}\nis_linear=0\n{LAST}={tree[LAST]}\n\n\n"
        )
    header = [
        "tree",
        "version=v4",
        "num_class=1",
        "num_tree_per_iteration=1",
        "label_index=0",
        f"max_feature_idx={features - 1}",
        "objective=binary sigmoid:1",
        f"feature_names={' '.join(f'Column_{number}' for number in range(features))}",
        f"feature_infos={ranges}",
        f"tree_sizes={' '.join(str(len(block)) for block in blocks)}",
        "\n",
    ]
    return ("\n".join(header) + "".join(blocks) + END).encode("ascii")


def _fields(block: str) -> Fields:
    """Return the fields of a block; what is none, or comes twice, makes another text of it."""
    return dict(line.split("=", 1) for line in block.split("\n") if "=" in line)


def _numbers(fields: Fields, name: str) -> Array:
    """Return the finite numbers of a field."""
    value = fields.get(name)
    if value is None or not (INTEGERS if name in WHOLE else NUMBERS).fullmatch(value):
        raise ValueError(f"its {name} is missing, or holds no such numbers as LightGBM writes")
    numbers = np.array([float(number) for number in value.split()])
    if not np.isfinite(numbers).all():
        raise ValueError(f"its {name} is beyond all numbers")
    return numbers


def _integers(fields: Fields, name: str) -> npt.NDArray[np.int64]:
    value = fields.get(name, "")
    return np.array(value.split() if INTEGERS.fullmatch(value) else [], dtype=np.int64)
