"""What must hold for trees of any native model: native code follows their indices without looking."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.integer[Any]]

MOST_LEAVES: Final = 1_000
"""Of a tree. Native code descends by recursion in places: a chain of a million nodes ends the process."""


def check_links(parent: Integers, left: Integers, right: Integers, nodes: int) -> None:
    """Check that inner nodes `parent` and their children make one tree of nodes 0 (its root) to `nodes` - 1.

    A child comes after its parent, as the libraries write them, and each node but the root is the child of one: so
    there is no cycle, no way out of the arrays, and no node that nothing leads to.

    Raises:
        ValueError: they do not.
    """
    children = np.concatenate([left, right]).astype(np.int64)
    if not np.array_equal(np.sort(children), np.arange(1, nodes)):
        raise ValueError("the children of a tree's nodes are not each of its nodes once")
    if np.any(children <= np.concatenate([parent, parent])):
        raise ValueError("a child of a tree's node does not come after its parent")


def check_leaves(leaves: int) -> None:
    """Check that a tree has leaves, and no more than a model's parameters allow; before anything is made of them.

    Raises:
        ValueError: it has not.
    """
    if not 1 <= leaves <= MOST_LEAVES:
        raise ValueError(f"a tree has {leaves} leaves, expected 1 to {MOST_LEAVES}")


def check_features(used: Integers, features: int) -> None:
    """Check that trees split on features of the model only.

    Raises:
        ValueError: one does not.
    """
    if np.any(used < 0) or np.any(used >= features):
        raise ValueError(f"a tree splits on a feature outside the model's {features}")
