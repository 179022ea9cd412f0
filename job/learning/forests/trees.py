"""Shallow classification trees grown on binned features, level by level and many at a time, as scikit-learn trees.

Bootstrap, candidate features, Gini gain and stopping rules are scikit-learn's. Splits are searched in histograms of at
most 256 bins (Ke et al. 2017) instead of sorted rows; all sums are of whole numbers, so their order changes no bit.
Nearly all time goes into them, a few passes over the rows for every candidate, so that what is counted is one number.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.tree._tree import NODE_DTYPE, Tree

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.uint8]
Complexes = npt.NDArray[np.complex128]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Matrix = npt.NDArray[np.float32]

MAX_BINS: Final = 256
LEAF: Final = -1
"""Child of a node without children."""
NO_FEATURE: Final = -2
"""Feature and threshold of a leaf."""
UP: Final = 2.0**26
"""What a row of class 1 counts in sums, where one of class 0 counts 1: both classes' sums are then one float64, exact
for up to 67 million rows."""


@dataclass(frozen=True)
class TreeParams:
    """When a node may be split, and from how many features, drawn at random, it chooses."""

    max_depth: int | None
    min_samples_leaf: int
    candidates: int


@dataclass(frozen=True)
class Binned:
    """Training rows as bin numbers: `codes[feature, row] <= k` iff the value is `<= edges[feature][k]`.

    Codes lie feature by feature, since nodes read few features of many rows. Trees draw rows with chances in proportion
    to `weight`, with equal ones where it is None.
    """

    codes: Codes
    edges: list[Floats]
    label: Ints
    weight: Floats | None = None

    @cached_property
    def bins(self) -> int:
        """Most bins of any feature."""
        return max(map(len, self.edges)) + 1

    @cached_property
    def varying(self) -> Ints:
        """Features that have more than one value."""
        return np.flatnonzero([len(edges) > 0 for edges in self.edges])


@dataclass(frozen=True)
class BootstrapRows:
    """One entry for each row that a tree has drawn and whose node may still be split.

    `node` is the node's position in its level, `weight` how often the tree drew the row, times `UP` if its class is 1.
    Its imaginary part is 1, so that sums of it count the distinct rows.
    """

    row: Ints
    node: Ints
    weight: Complexes

    def keep(self, chosen: Ints, node: Ints) -> "BootstrapRows":
        """Return the entries at `chosen`, moved to `node`."""
        return BootstrapRows(self.row.take(chosen), node, self.weight.take(chosen))


@dataclass(frozen=True)
class Level:
    """Nodes of one depth in a batch of trees: their tree, distinct rows, and weight of each class; (n), (n), (n, 2)."""

    tree: Ints
    rows: Ints
    weight: Floats


@dataclass(frozen=True)
class Splits:
    """The split of each node of a level: rows with a code of `feature` ≤ `bin` go left. `NO_FEATURE` marks leaves."""

    feature: Ints
    bin: Ints

    @property
    def is_inner(self) -> Bools:
        """Whether each node has children."""
        is_inner: Bools = self.feature != NO_FEATURE
        return is_inner


def bin_rows(matrix: Matrix, label: npt.NDArray[Any], weight: Floats | None = None) -> Binned:
    """Bin every column by edges halfway between distinct values: all of them if few, else those near 255 quantiles."""
    rows, features = matrix.shape
    edges: list[Floats] = []
    codes = np.empty((features, rows), dtype=np.uint8)
    for code, column in zip(codes, matrix.T, strict=True):
        order = sorted_rows(column)
        ordered = column.take(order)
        rises = np.flatnonzero(ordered[1:] > ordered[:-1])
        if len(rises) >= MAX_BINS:
            quantiles = np.arange(1, MAX_BINS) * rows / MAX_BINS
            rises = rises[np.unique(np.minimum(np.searchsorted(rises, quantiles), len(rises) - 1))]
        edges.append((ordered[rises].astype(np.float64) + ordered[rises + 1]) / 2)
        ends = np.append(rises + 1, rows)
        code[order] = np.repeat(np.arange(len(ends), dtype=np.uint8), np.diff(ends, prepend=0))
    return Binned(codes, edges, label.astype(np.intp), weight)


def sorted_rows(column: Matrix) -> Ints:
    """Return the numbers of the rows in ascending order of their values, which are finite.

    NumPy sorts whole numbers of 16 bits by radix, several times faster than others: so the rows are sorted by the lower
    half of their values' bits, and then by the upper half.
    """
    bits = column.view(np.int32)
    ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # of negative numbers, larger bits are lower values
    order = ascending.astype(np.uint16).argsort(kind="stable")
    return order.take((ascending >> 16).astype(np.int16).take(order).argsort(kind="stable"))


def bootstrap(binned: Binned, trees: int, random: np.random.Generator) -> BootstrapRows:
    """Draw as many rows as there are, with replacement, for each tree's root."""
    rows = len(binned.label)
    if binned.weight is None:
        drawn = random.integers(rows, size=(trees, rows)) + rows * np.arange(trees)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=trees * rows)
    else:
        counts = np.concatenate([weighted_draws(binned.weight, random) for _ in range(trees)])
    chosen = np.flatnonzero(counts)
    tree, row = np.divmod(chosen, rows)
    weight = np.full(len(chosen), 1j)
    weight.real = counts[chosen] * np.where(binned.label, UP, 1.0)[row]
    return BootstrapRows(row, tree, weight)


def weighted_draws(weight: Floats, random: np.random.Generator) -> Ints:
    """Return how often each row is drawn, out of as many draws as rows, with chances in proportion to `weight`.

    A draw is a uniform number that falls into the row's part of [0, 1). Sums of exponential gaps are uniform numbers in
    ascending order (Devroye 1986, ch. V), which are several times faster to place than unordered ones.
    """
    gaps = random.exponential(size=len(weight) + 1).cumsum()
    ends = weight.cumsum()
    below = np.searchsorted(gaps[:-1] / gaps[-1], ends / ends[-1])
    below[-1] = len(weight)
    counts: Ints = np.diff(below, prepend=0)
    return counts


def grow_batch(binned: Binned, trees: int, params: TreeParams, random: np.random.Generator) -> list[Tree]:
    """Grow `trees` trees level by level."""
    entries = bootstrap(binned, trees, random)
    level = make_level(np.arange(trees), entries)
    levels: list[tuple[Level, Splits]] = []
    while len(level.tree):
        # A node may be split if it holds both classes, has enough rows for two leaves, and is not too deep.
        open_nodes = (level.weight.min(axis=1) > 0) & (level.rows >= 2 * params.min_samples_leaf)
        if params.max_depth is not None and len(levels) >= params.max_depth:
            open_nodes[:] = False
        splits = find_splits(binned, entries, open_nodes, params, random)
        levels.append((level, splits))
        entries = descend(binned, entries, splits)
        level = make_level(np.repeat(level.tree[splits.is_inner], 2), entries)
    return assemble(levels, binned)


def make_level(tree: Ints, entries: BootstrapRows) -> Level:
    """Count what the nodes of a level hold."""
    weight = np.zeros(len(tree), dtype=np.complex128)
    np.add.at(weight, entries.node, entries.weight)
    return Level(tree, weight.imag.astype(np.intp), np.stack(by_class(weight), axis=1))


def by_class(weight: Complexes) -> tuple[Floats, Floats]:
    """Return how much of sums of `BootstrapRows.weight` is of class 0, and how much of class 1."""
    up = np.floor(weight.real / UP)
    return weight.real - up * UP, up


def descend(binned: Binned, entries: BootstrapRows, splits: Splits) -> BootstrapRows:
    """Return the rows of inner nodes, moved to their children: those of the k-th inner node are 2k and 2k + 1.

    A function of its own, so that its arrays are freed before the next level allocates as much: 20% of a forest's time.
    """
    chosen = np.flatnonzero(splits.is_inner.take(entries.node))
    inside = entries.keep(chosen, entries.node.take(chosen))
    right = codes_of(binned, inside, splits.feature) > splits.bin.take(inside.node)
    left = 2 * (np.cumsum(splits.is_inner) - 1)
    return BootstrapRows(inside.row, left.take(inside.node) + right, inside.weight)


def codes_of(binned: Binned, entries: BootstrapRows, feature: Ints) -> Codes:
    """Return each entry's code of its node's feature."""
    return binned.codes.take((feature * len(binned.label)).take(entries.node) + entries.row)


def find_splits(
    binned: Binned,
    entries: BootstrapRows,
    open_nodes: Bools,
    params: TreeParams,
    random: np.random.Generator,
) -> Splits:
    """Return, for each open node, the split with the least Gini impurity among its candidate features."""
    splits = Splits(np.full(len(open_nodes), NO_FEATURE), np.zeros(len(open_nodes), dtype=np.intp))
    nodes = np.flatnonzero(open_nodes)
    # Each node draws its own candidates, without replacement, from the features that vary at all.
    order = np.argsort(random.random((len(nodes), len(binned.varying))), axis=1)
    features = binned.varying[order[:, : params.candidates]]
    # Histograms have a row per node, so open nodes are numbered without the closed ones, and their entries with them.
    chosen = np.flatnonzero(open_nodes.take(entries.node))
    inside = entries.keep(chosen, (np.cumsum(open_nodes) - 1).take(entries.node.take(chosen)))
    first_cell, best = inside.node * binned.bins, np.full(len(nodes), -np.inf)
    # One round per rank of candidate, for all nodes at once, each by a feature of its own. The first of equal splits
    # stays, as in scikit-learn, which also looks at candidates in the order of their draw.
    for feature in features.T:
        cell = codes_of(binned, inside, feature) + first_cell
        purity, position = best_bins(cell, inside.weight, (len(nodes), binned.bins), params.min_samples_leaf)
        better = purity > best
        best[better] = purity[better]
        splits.feature[nodes[better]], splits.bin[nodes[better]] = feature[better], position[better]
    return splits


def best_bins(cell: Ints, weight: Complexes, shape: tuple[int, int], leaf: int) -> tuple[Floats, Ints]:
    """Return each node's highest purity over the splits of one feature, and the bin; -inf where none is allowed.

    `cell` and `weight` are of the entries, `shape` is that of the cells: nodes and bins. A split is allowed that leaves
    `leaf` distinct rows on each side.

    Purity is the sum of squared class weights over the weight, of both sides: Gini impurity up to sign and constants.
    """
    histogram = np.zeros(shape, dtype=np.complex128)
    np.add.at(histogram.ravel(), cell, weight)
    left = histogram.cumsum(axis=1)
    right = left[:, -1:] - left
    allowed = (left.imag >= leaf) & (right.imag >= leaf)
    purity = np.full(shape, -np.inf)
    purity[allowed] = _purity(left[allowed]) + _purity(right[allowed])
    best = purity.argmax(axis=1)
    return purity[np.arange(len(best)), best], best


def _purity(weight: Complexes) -> Floats:
    down, up = by_class(weight)
    return (down * down + up * up) / (down + up)


def assemble(levels: list[tuple[Level, Splits]], binned: Binned) -> list[Tree]:
    """Return scikit-learn trees, their nodes in order of depth.

    Nodes come level by level, those of all trees in each level; they are described all at once, and divided by tree at
    the end.
    """
    tree = np.concatenate([level.tree for level, _ in levels])
    weight = np.concatenate([level.weight for level, _ in levels])
    nodes = np.zeros(len(tree), dtype=NODE_DTYPE)
    nodes["n_node_samples"] = np.concatenate([level.rows for level, _ in levels])
    nodes["weighted_n_node_samples"] = weight.sum(axis=1)
    share = weight / weight.sum(axis=1, keepdims=True)
    nodes["impurity"] = 1 - np.square(share).sum(axis=1)
    nodes["feature"] = np.concatenate([splits.feature for _, splits in levels])
    is_inner = nodes["feature"] != NO_FEATURE
    bins = np.concatenate([splits.bin for _, splits in levels])
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
    roots = len(levels[0][0].tree)
    nodes["left_child"] = nodes["right_child"] = LEAF
    nodes["left_child"][is_inner] = number[roots::2]
    nodes["right_child"][is_inner] = number[roots + 1 :: 2]
    trees = [Tree(len(binned.edges), np.array([2], dtype=np.intp), 1) for _ in ends]
    depth = np.repeat(np.arange(len(levels)), [len(level.tree) for level, _ in levels])
    for made, rows in zip(trees, np.split(order, ends[:-1]), strict=True):
        # In order of depth, a tree's last node is its deepest.
        state = {"max_depth": int(depth[rows[-1]]), "node_count": len(rows), "nodes": nodes[rows]}
        made.__setstate__({**state, "values": share[rows][:, None, :]})
    return trees
