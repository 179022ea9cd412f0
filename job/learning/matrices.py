"""Features of rows: one matrix, or one whose rows several workers hold, who fit and score a model on it together.

All workers of a group run the same code on the same times and labels; only features are shared out. Whatever depends on
these goes through `Workers.gather`, so all of them have the same sums, models and probabilities, to the last bit.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeVar, overload

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler

from job.learning.times import IntArray

Array = npt.NDArray[Any]
T = TypeVar("T")


class Workers(Protocol):
    """The workers of a group as one of them sees them: its own number `rank`, from 0, and the address of its node."""

    @property
    def rank(self) -> int: ...  # noqa: D102

    @property
    def host(self) -> str: ...  # noqa: D102

    def gather(self, part: T) -> list[T]:
        """Return what every worker gave, in the order of their ranks; each of them calls it equally often."""


@dataclass(frozen=True)
class SpreadMatrix:
    """A matrix [rows, features] of which this worker holds the rows `own`, at the ascending positions `at`."""

    own: Array
    at: IntArray
    rows: int
    workers: Workers

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, key: Any) -> Array:
        """Return rows at ascending positions, or one column of these as (positions, column), from all workers."""
        index, column = key if isinstance(key, tuple) else (key, slice(None))
        part = self.take(index)
        return part.whole(part.own[:, column])

    def take(self, index: IntArray) -> Self:
        """Return the matrix of the rows at ascending positions; nothing is sent."""
        place = np.searchsorted(index, self.at)
        found = np.flatnonzero(index[np.minimum(place, len(index) - 1)] == self.at)
        return replace(self, own=take(self.own, found), at=place[found], rows=len(index))

    def whole(self, values: Array) -> Array:
        """Return something of every row, in their order, given that of this worker's own rows."""
        parts = self.workers.gather((self.at, values))
        found = np.empty((self.rows, *values.shape[1:]), values.dtype, order="F")
        for at, part in parts:
            found[at] = part
        return found

    def record(self) -> dict[str, Any]:
        """Return, as JSON values, how many workers there are, and the rows of each."""
        rows = self.workers.gather(len(self.own))
        return {"workers": len(rows), "rows": rows}

    def total(self, values: Array) -> Array:
        """Return the sum over all workers of something that each has computed of its own rows."""
        found: Array = np.sum(self.workers.gather(values), axis=0)
        return found


@overload
def take(matrix: Array, index: IntArray) -> Array: ...
@overload
def take(matrix: SpreadMatrix, index: IntArray) -> SpreadMatrix: ...
def take(matrix: Array | SpreadMatrix, index: IntArray) -> Array | SpreadMatrix:
    """Return rows in column order, as `matrix` is; a view where `index`, which ascends, has no holes."""
    if isinstance(matrix, SpreadMatrix):
        return matrix.take(index)
    if not len(index):
        return matrix[:0]
    first, last = int(index[0]), int(index[-1])
    if last - first + 1 == len(index):
        return matrix[first : last + 1]
    return np.asfortranarray(matrix[index])


def fit_scaler(training: Array | SpreadMatrix) -> StandardScaler:
    """Return a scaler fitted on rows; where several workers hold these, on what each knows of its own.

    Means and variances add up by the formula of Chan, Golub and LeVeque (1983). Two rows a standard deviation to
    either side of the mean have the mean and the variance of all.
    """
    if not isinstance(training, SpreadMatrix):
        return _fit_by_column(training)
    features, rows = training.own.shape[1], len(training.own)
    known = _fit_by_column(training.own) if rows else None
    nothing = np.zeros(features)
    parts = training.workers.gather((rows, known.mean_ if known else nothing, known.var_ if known else nothing))
    count, mean, variance = (np.array(part) for part in zip(*parts, strict=True))
    share = (count / count.sum())[:, None]
    center = (share * mean).sum(axis=0)
    deviation = np.sqrt((share * (variance + np.square(mean - center))).sum(axis=0))
    scaler = StandardScaler().fit(np.stack([center - deviation, center + deviation]))
    scaler.n_samples_seen_ = np.int64(count.sum())
    return scaler


def _fit_by_column(training: Array) -> StandardScaler:
    """Return `StandardScaler().fit(training)`, bit for bit, of float32 rows in column order, in half the time.

    scikit-learn's own makes float64 copies of the whole matrix; here each column goes through the same two passes.
    """
    rows = float(len(training))
    mean, variance = 0.0 + training.sum(axis=0, dtype=np.float64) / rows, np.empty(training.shape[1])
    scaler = StandardScaler()
    if not np.isfinite(mean).all():
        return scaler.fit(training)  # which passes over NaN, and says where values are infinite
    for column, values in enumerate(training.T):
        centered = values - mean[column]
        correction = centered.sum()
        variance[column] = (np.square(centered, out=centered).sum() - correction**2 / rows) / rows
    epsilon = np.finfo(np.float64).eps
    rounding = rows * epsilon * variance + (rows * mean * epsilon) ** 2
    scaler.n_features_in_, scaler.n_samples_seen_ = training.shape[1], np.float64(rows)
    scaler.mean_, scaler.var_ = mean, variance
    scaler.scale_ = np.where(variance <= rounding, 1.0, np.sqrt(variance))
    return scaler
