"""Bins of a feature's values, and how far other values are from them: the population stability index (PSI)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from job.learning.metrics import FloatArray
from job.learning.times import IntArray

BINS: Final = 10
DIGITS: Final = 4
"""Edges are rounded up to the power of ten that is so many digits below the distance between the outer ones."""
NEARLY_EVEN: Final = 0.005
"""Shares no further from a tenth are not kept: the PSI is off by .0025 at most."""
EVEN: Final = (*(1 / BINS,) * BINS, 0.0)

Values = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Bins:
    """Bins of one feature: bin i holds what is above `edges[i - 1]` and at most `edges[i]`.

    `shares` are those of the training rows: one more than edges, and at the end the share without a value. `usual` is
    the PSI that stretches of training rows on end usually stay below, None where that is not known.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    usual: float | None = None

    @classmethod
    def of(cls, values: Values) -> Self:
        """Return the bins of a feature's training rows: tenths, as far as values do not tie.

        A value that a tenth of the rows or more share is an edge once, and has a bin of its own where it is the least.
        """
        known = np.sort(values)[: np.count_nonzero(~np.isnan(values))].astype(np.float64)  # which has NaN at the end
        edges = np.empty(0)
        if len(known):
            deciles = known[(np.arange(1, BINS) * len(known) + BINS - 1) // BINS - 1]
            distance = float(deciles[-1] - deciles[0]) or abs(float(deciles[0])) or 1.0
            scale = 10.0 ** (DIGITS - math.floor(math.log10(distance)))
            # Rounded up, so that a decile stays in the bin that ends with it.
            rounded = np.unique(np.ceil(deciles * scale))
            if known[0] == deciles[0]:
                rounded = np.concatenate(([rounded[0] - 1], rounded))
            edges = np.array([float(f"{edge:.15g}") + 0.0 for edge in (rounded / scale).tolist()])  # no -0.0
        counts = np.diff(np.searchsorted(known, edges, side="right"), prepend=0, append=[len(known), len(values)])
        shares = tuple(float(f"{share:.4g}") for share in (counts / len(values)).tolist())
        even = len(shares) == len(EVEN) and np.abs(np.subtract(shares, EVEN)).max() <= NEARLY_EVEN
        return cls(tuple(edges.tolist()), EVEN if even else shares)

    @classmethod
    def read(cls, edges: Iterable[Any], shares: Iterable[Any] | None, usual: Any) -> Self:
        """Return the bins that `Reference.record` describes.

        Raises:
            TypeError, ValueError: it is something else.
        """
        limits, found = tuple(map(float, edges)), EVEN if shares is None else tuple(map(float, shares))
        if len(found) == len(limits) + 1:
            found = (*found, 0.0)
        ascending = all(low < high for low, high in pairwise((-math.inf, *limits, math.inf)))
        if not ascending or len(found) != len(limits) + 2 or not all(0 <= share <= 1 for share in found):
            raise ValueError("no bins")
        bound = None if usual is None else float(usual)
        if not math.isfinite(bound or 0.0):
            raise ValueError("no bound")
        return cls(limits, found, bound)

    @property
    def recorded_shares(self) -> list[float] | None:
        """The shares as they are recorded: none where all are a tenth, without the last where every row has a value."""
        if self.shares == EVEN:
            return None
        return list(self.shares if self.shares[-1] else self.shares[:-1])

    def psi(self, values: Values, *, rows: int) -> float:
        """Return the PSI of new values, NaN where there is none, given how many training rows there were."""
        return float(self.psi_of_groups(values, np.zeros(len(values), np.int64), groups=1, rows=rows)[0])

    def psi_of_groups(self, values: Values, group: IntArray, *, groups: int, rows: int) -> FloatArray:
        """Return the PSI of each group of rows; each has some, `group` is the number of each row's."""
        size = len(self.shares)
        counts = np.bincount(group * size + bin_of(values, np.array(self.edges)), minlength=groups * size)
        return psi(counts.reshape(groups, size), np.array(self.shares), rows=rows)


def psi(counts: npt.NDArray[np.integer[Any]], shares: FloatArray, *, rows: int) -> FloatArray:
    """Return the PSI of counts [groups, bins] against the `shares` that so many training rows have in the bins.

    It is the sum over bins of (a - e) ln(a / e), a being the share of the new rows, e that of the training rows
    (Siddiqi 2006), which is Kullback and Leibler's divergence both ways (Jeffreys 1946). A bin that is empty on one
    side counts as half a row there, one that is empty on both not at all.
    """
    new = np.maximum(counts, 0.5) / counts.sum(axis=1, keepdims=True)
    trained = np.maximum(shares, 0.5 / rows)
    terms: FloatArray = np.where((counts > 0) | (shares > 0), (new - trained) * np.log(new / trained), 0.0)
    sums: FloatArray = terms.sum(axis=1)
    return sums


def bin_of(values: Values, edges: FloatArray) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Return the bin of each value: one of the edges' bins, or the one after them for NaN."""
    # As `np.searchsorted(edges, values)`, a tenth of whose time so few comparisons of whole columns take.
    found = np.zeros(len(values), np.min_scalar_type(len(edges) + 1))
    near = edges.astype(values.dtype)
    # What float32 is above an edge is above the next float32 below it, too.
    for edge in np.where(near > edges, np.nextafter(near, -np.inf, dtype=values.dtype), near):
        found += values > edge
    found[np.isnan(values)] = len(edges) + 1
    return found
