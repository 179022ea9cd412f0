"""Training rows as bin numbers: 256 quantiles of each feature, at most, are fine enough to split at."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from job.learning.forests.counts import Counts, Floats, Ints, draw_counts

Codes = npt.NDArray[np.uint8]
Matrix = npt.NDArray[np.float32]

MAX_BINS: Final = 256


@dataclass(frozen=True)
class Binned:
    """Training rows as bin numbers: `codes[feature, row] <= k` iff the value is `<= edges[feature][k]`.

    Codes lie feature by feature, since nodes read few features of many rows. `counts` are what one draw of each row
    counts, see `counts.py`. Trees draw rows with chances in proportion to `weight`, with equal ones where it is None.
    """

    codes: Codes
    edges: list[Floats]
    counts: Counts
    weight: Floats | None = None

    @cached_property
    def bins(self) -> int:
        """Most bins of any feature."""
        return max(map(len, self.edges)) + 1

    @cached_property
    def varying(self) -> Ints:
        """Features that have more than one value."""
        return np.flatnonzero([len(edges) > 0 for edges in self.edges])


def bin_rows(matrix: Matrix, label: npt.NDArray[Any], weight: Floats | None = None) -> Binned:
    """Bin every column by edges halfway between distinct values: all of them if few, else those near 255 quantiles.

    Values are finite.
    """
    rows, edges = len(matrix), list[Floats]()
    codes = np.empty(matrix.T.shape, dtype=np.uint8)
    for code, column in zip(codes, matrix.T, strict=True):
        # NumPy sorts whole numbers of 16 bits by radix, several times faster than others: so rows are sorted by the
        # lower half of their values' bits, and then by the upper half. Of negative values, larger bits are lower ones.
        bits = column.view(np.int32)
        ascending = bits ^ ((bits >> 31) & 0x7FFFFFFF)
        order = ascending.astype(np.uint16).argsort(kind="stable")
        order = order.take((ascending >> 16).astype(np.int16).take(order).argsort(kind="stable"))
        ordered = column.take(order)
        rises = np.flatnonzero(ordered[1:] > ordered[:-1])
        if len(rises) >= MAX_BINS:
            quantiles = np.arange(1, MAX_BINS) * rows / MAX_BINS
            rises = rises[np.unique(np.minimum(np.searchsorted(rises, quantiles), len(rises) - 1))]
        edges.append((ordered[rises].astype(np.float64) + ordered[rises + 1]) / 2)
        ends = np.append(rises + 1, rows)
        code[order] = np.repeat(np.arange(len(ends), dtype=np.uint8), np.diff(ends, prepend=0))
    return Binned(codes, edges, draw_counts(label), weight)
