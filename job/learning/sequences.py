"""Rows that a model sees together with the bars before them: a view of the bars, which are stored once."""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """Rows of features, each with the bars before it; stands where other models take a matrix.

    Row i is the `length` bars that end with bar `ends[i]`, which are neighbors in one segment of one series. `bars` is
    float32 [bars, features], contiguous by row, the bars of one series behind those of another.
    """

    bars: Matrix
    ends: IntArray
    length: int

    @classmethod
    def of_run(cls, matrix: npt.NDArray[np.floating[Any]], length: int) -> Self:
        """Return every row of a matrix of neighboring bars, before which all features are 0: their mean, if scaled."""
        bars = np.zeros((len(matrix) + length - 1, matrix.shape[1]), np.float32)
        bars[length - 1 :] = matrix
        return cls(bars, np.arange(length - 1, len(bars)), length)

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self.ends), self.bars.shape[1]

    def at(self, index: IntArray) -> Self:
        """Return the rows at `index`; their bars are the same, without those that are before or behind all of them."""
        ends = self.ends[index]
        first = int(ends.min()) - self.length + 1
        return replace(self, bars=self.bars[first : int(ends.max()) + 1], ends=ends - first)

    def apart(self, index: IntArray) -> Self:
        """Return the rows at `index`, each with a copy of its bars of its own, one row's behind another's."""
        offsets = np.arange(1 - self.length, 1)
        bars = self.bars[(self.ends[index][:, None] + offsets).ravel()]
        return replace(self, bars=bars, ends=self.length * np.arange(1, len(index) + 1) - 1)
