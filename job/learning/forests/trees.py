"""Shallow classification trees grown on binned features, level by level and many at a time, as scikit-learn trees.

Bootstrap, candidate features, Gini gain and stopping rules are scikit-learn's. Splits are searched in histograms of at
most 256 bins (Ke et al. 2017) instead of sorted rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sklearn.tree._tree import NODE_DTYPE, Tree

from job.learning.forests.binning import Binned
from job.learning.forests.counts import Counts, Ints, by_class, distinct_rows, has_rows, row_counts

Bools = npt.NDArray[np.bool_]

LEAF: Final = -1
"""Child of a node without children."""
NO_FEATURE: Final = -2
"""Feature and threshold of a leaf."""
BLOCK_CELLS: Final = 2**15
"""Cells of histograms that are searched at a time: few enough for the CPU's caches, many enough that calls cost
little."""
LARGE_NODE: Final = 1_500
"""Mean rows of nodes above which the histograms of each are filled apart, and else together: a call of NumPy takes as
long as hundreds of rows, but rows of several nodes need to be told apart."""


@dataclass(frozen=True)
class TreeParams:
    """When a node may be split, and from how many features, drawn at random, it chooses."""

    max_depth: int | None
    min_samples_leaf: int
    candidates: int


@dataclass(frozen=True)
class NodeRows:
    """The rows that a tree has drawn into a node: their numbers, which ascend, and what each of them counts."""

    row: Ints
    counts: Counts

    def keep(self, chosen: Ints) -> "NodeRows":
        """Return the rows at `chosen`."""
        return NodeRows(self.row.take(chosen), self.counts.take(chosen))


@dataclass(frozen=True)
class Splits:
    """Splits of nodes: rows with a code of `feature` ≤ `bin` go left, and `left` is the sum of their counts.

    `NO_FEATURE` marks nodes without one.
    """

    feature: Ints
    bin: Ints
    left: Counts

    @classmethod
    def none(cls, total: Counts) -> "Splits":
        """Return those of nodes that have none, given the sums of their counts."""
        return cls(np.full(len(total), NO_FEATURE), np.zeros(len(total), dtype=np.intp), np.zeros_like(total))

    @property
    def is_inner(self) -> Bools:
        """Whether each node has children."""
        is_inner: Bools = self.feature != NO_FEATURE
        return is_inner

    def put(self, place: Ints | slice, splits: "Splits") -> None:
        """Replace those at `place`."""
        self.feature[place], self.bin[place], self.left[place] = splits.feature, splits.bin, splits.left


@dataclass(frozen=True)
class Level:
    """Nodes of one depth in a batch of trees: their tree, the sum of their rows' counts, and their split."""

    tree: Ints
    total: Counts
    splits: Splits


def bootstrap(binned: Binned, random: np.random.Generator) -> NodeRows:
    """Draw as many rows as there are, with replacement and chances in proportion to any weight, for a tree's root."""
    rows = len(binned.counts)
    if binned.weight is None:
        draws = np.bincount(random.integers(rows, size=rows), minlength=rows)
    else:
        # A draw is a uniform number that falls into the row's part of [0, 1). Sums of exponential gaps are uniform
        # numbers in ascending order (Devroye 1986, ch. V), several times faster to place than unordered ones.
        gaps = random.exponential(size=rows + 1).cumsum()
        ends = binned.weight.cumsum()
        below = np.searchsorted(gaps[:-1] / gaps[-1], ends / ends[-1])
        below[-1] = rows
        draws = np.diff(below, prepend=0)
    drawn = (draws != 0).nonzero()[0]  # of booleans several times faster than of whole numbers
    return NodeRows(drawn, row_counts(binned.counts.take(drawn), draws.take(drawn)))


def grow_batch(binned: Binned, trees: int, params: TreeParams, random: np.random.Generator) -> list[Tree]:
    """Grow `trees` trees level by level."""
    nodes = [bootstrap(binned, random) for _ in range(trees)]
    tree, total = np.arange(trees), np.array([node.counts.sum() for node in nodes])
    is_open = may_split(total, params, depth=0)
    nodes = [node for node, one in zip(nodes, is_open, strict=True) if one]
    levels: list[Level] = []
    while len(tree):
        # Each open node draws its own candidates, without replacement, from the features that vary at all.
        order = np.argsort(random.random((len(nodes), len(binned.varying))), axis=1)
        features = binned.varying[order[:, : params.candidates]]
        found = find_splits(binned, nodes, features, total[is_open], params.min_samples_leaf)
        splits = Splits.none(total)
        splits.put(np.flatnonzero(is_open), found)
        levels.append(Level(tree, total, splits))
        # The children of the k-th inner node are 2k and 2k + 1.
        left, inner = splits.left[splits.is_inner], total[splits.is_inner]
        tree, total = np.repeat(tree[splits.is_inner], 2), np.stack((left, inner - left), axis=1).ravel()
        is_open = may_split(total, params, depth=len(levels))
        nodes = divide(binned, nodes, found, is_open)
    return assemble(levels, binned)


def may_split(total: Counts, params: TreeParams, *, depth: int) -> Bools:
    """Return which nodes may be split: they hold both classes and enough rows for two leaves, and are not too deep."""
    if params.max_depth is not None and depth >= params.max_depth:
        return np.zeros(len(total), dtype=np.bool_)
    return (np.minimum(*by_class(total)) > 0) & (distinct_rows(total) >= 2 * params.min_samples_leaf)


def divide(binned: Binned, nodes: Sequence[NodeRows], splits: Splits, is_open: Bools) -> list[NodeRows]:
    """Return the rows of those children of inner nodes that are open."""
    children = iter(is_open.reshape(-1, 2).tolist())
    divided: list[NodeRows] = []
    for node, feature, position in zip(nodes, splits.feature.tolist(), splits.bin.tolist(), strict=True):
        if feature != NO_FEATURE:
            goes_left = binned.codes[feature].take(node.row) <= position
            sides = zip((goes_left, ~goes_left), next(children), strict=True)
            divided += [node.keep(side.nonzero()[0]) for side, one_is_open in sides if one_is_open]
    return divided


def find_splits(binned: Binned, nodes: Sequence[NodeRows], features: Ints, total: Counts, leaf: int) -> Splits:
    """Return the split of each node with the least Gini impurity among its candidate `features` (nodes, candidates).

    `total` are the sums of the nodes' counts. A split is allowed that leaves `leaf` distinct rows on each side.
    """
    splits = Splits.none(total)
    cells = features.shape[1] * binned.bins
    step = max(1, BLOCK_CELLS // max(1, cells))
    for start in range(0, len(nodes) if cells else 0, step):
        block = slice(start, start + step)
        histograms = fill_histograms(binned, nodes[block], features[block])
        splits.put(block, best_splits(histograms, features[block], total[block], leaf))
    return splits


def fill_histograms(binned: Binned, nodes: Sequence[NodeRows], features: Ints) -> Counts:
    """Return what the rows of each node count, by their codes of its candidate `features`: (nodes, candidates, bins).

    There is at least one node.
    """
    histograms = np.zeros((*features.shape, binned.bins), dtype=binned.counts.dtype)
    sizes = np.array([len(node.row) for node in nodes])
    if sizes.mean() > LARGE_NODE:
        for node, candidates, of_node in zip(nodes, features.tolist(), histograms, strict=True):
            for feature, histogram in zip(candidates, of_node, strict=True):
                np.add.at(histogram, binned.codes[feature].take(node.row).astype(np.intp), node.counts)
        return histograms
    row, counts = np.concatenate([node.row for node in nodes]), np.concatenate([node.counts for node in nodes])
    # Histograms and codes are read as flat arrays: a row's code lies behind its feature's first one by the row's
    # number, and its cell behind the first one of its node and candidate by that code.
    first_cells = np.arange(0, histograms.size, binned.bins).reshape(features.shape)
    for first_cell, first_code in zip(first_cells.T, features.T * len(binned.counts), strict=True):
        codes = binned.codes.reshape(-1).take(np.repeat(first_code, sizes) + row)
        np.add.at(histograms.reshape(-1), np.repeat(first_cell, sizes) + codes, counts)
    return histograms


def best_splits(histograms: Counts, features: Ints, total: Counts, leaf: int) -> Splits:
    """Return each node's best split, given histograms (nodes, candidates, bins) of its candidate `features`.

    Purity is the sum of squared class weights over the weight, of both sides: Gini impurity up to sign and constants.
    The first of equal splits is taken, as in scikit-learn, which also looks at candidates in the order of their draw.
    """
    left = histograms.cumsum(axis=2)
    right = total[:, None, None] - left
    # Behind an empty bin is the split before it once more.
    tried = has_rows(left, leaf) & has_rows(right, leaf) & (histograms != 0)
    allowed = tried.ravel().nonzero()[0]
    down, up = by_class(np.stack((left.take(allowed), right.take(allowed))))
    purity = np.full(left.size, -np.inf)
    purity[allowed] = ((down * down + up * up) / (down + up)).sum(axis=0)
    best = purity.reshape(len(total), -1).argmax(axis=1)
    node, (candidate, position) = np.arange(len(total)), np.divmod(best, left.shape[2])
    is_split = purity.reshape(len(total), -1)[node, best] > -np.inf
    feature = np.where(is_split, features[node, candidate], NO_FEATURE)
    return Splits(feature, np.where(is_split, position, 0), left[node, candidate, position])


def assemble(levels: list[Level], binned: Binned) -> list[Tree]:
    """Return scikit-learn trees, their nodes in order of depth.

    Nodes come level by level, those of all trees in each level; they are described all at once, and divided by tree at
    the end.
    """
    tree = np.concatenate([level.tree for level in levels])
    total = np.concatenate([level.total for level in levels])
    weight = np.stack(by_class(total), axis=1)
    nodes = np.zeros(len(tree), dtype=NODE_DTYPE)
    nodes["n_node_samples"] = distinct_rows(total)
    nodes["weighted_n_node_samples"] = weight.sum(axis=1)
    share = weight / weight.sum(axis=1, keepdims=True)
    nodes["impurity"] = 1 - np.square(share).sum(axis=1)
    nodes["feature"] = np.concatenate([level.splits.feature for level in levels])
    is_inner = nodes["feature"] != NO_FEATURE
    bins = np.concatenate([level.splits.bin for level in levels])
    split_at = zip(nodes["feature"][is_inner], bins[is_inner], strict=True)
    nodes["threshold"] = NO_FEATURE
    nodes["threshold"][is_inner] = [binned.edges[feature][position] for feature, position in split_at]
    # A stable sort by tree keeps nodes in order of depth; `number` is a node's place in its own tree, as children are
    # named in scikit-learn.
    order = np.argsort(tree, kind="stable")
    ends = np.cumsum(np.bincount(tree))
    number = np.empty_like(order)
    number[order] = np.arange(len(tree)) - np.concatenate(([0], ends[:-1]))[tree[order]]
    # Every node but the roots is a child, and levels list children in the order of their parents, left before right
    # (see `grow_batch`): so the k-th inner node has the 2k-th and the next of all nodes behind the roots.
    roots = len(levels[0].tree)
    nodes["left_child"] = nodes["right_child"] = LEAF
    nodes["left_child"][is_inner] = number[roots::2]
    nodes["right_child"][is_inner] = number[roots + 1 :: 2]
    trees = [Tree(len(binned.edges), np.array([2], dtype=np.intp), 1) for _ in ends]
    depth = np.repeat(np.arange(len(levels)), [len(level.tree) for level in levels])
    for made, rows in zip(trees, np.split(order, ends[:-1]), strict=True):
        # In order of depth, a tree's last node is its deepest.
        state = {"max_depth": int(depth[rows[-1]]), "node_count": len(rows), "nodes": nodes[rows]}
        made.__setstate__({**state, "values": share[rows][:, None, :]})
    return trees
