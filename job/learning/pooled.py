"""A model over many series as a member of the blend of each of them: what it may know, and which rows it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import StandardScaler

from job.core.errors import TrainingError
from job.learning.times import IntArray, time_of

FloatRow = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pooled:
    """A fitted model that takes rows as a blend's scaler makes them, and scales them by its own.

    `model` is of the algorithm called `algorithm`. It sees the blend's columns at the positions `columns`, each times
    `factor`, plus `shift`; a blend has `n_features_in_` columns. It was fitted on `rows` samples of `series` series, of
    which no label ended after `until`, in µs since the epoch.
    """

    algorithm: str
    model: Any
    columns: IntArray
    factor: FloatRow
    shift: FloatRow
    n_features_in_: int
    until: int
    rows: int
    series: int

    def rescaled(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return a blend's rows as the model takes them: float32 [rows, features], by column."""
        return np.asfortranarray(matrix[:, self.columns] * self.factor + self.shift, dtype=np.float32)

    def predict_proba(self, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the probabilities of down and up of a blend's rows."""
        found: npt.NDArray[np.float64] = self.model.predict_proba(self.rescaled(matrix))
        return found

    def record(self) -> dict[str, Any]:
        """Return, as JSON values, what it was fitted on."""
        return {"series": self.series, "rows": self.rows, "until": time_of(self.until)}

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The classes, down and up."""
        found: npt.NDArray[Any] = self.model.classes_
        return found


@dataclass(frozen=True, eq=False)
class PoolFit:
    """A model and its scaler, fitted on all of many series' samples, `rows`, that were known at `until` (µs)."""

    until: int
    model: Any
    scaler: StandardScaler
    rows: int


@dataclass(frozen=True, eq=False)
class Pool:
    """One model over many series as it was at several times, earliest first.

    It sees `features`, those that each of its `series` can give. `error` says why there is none.
    """

    algorithm: str
    features: tuple[str, ...] = ()
    fits: tuple[PoolFit, ...] = ()
    series: int = 0
    error: str | None = None

    def member(self, time: int | None, scaler: StandardScaler, features: Sequence[str]) -> Pooled:
        """Return the latest fit that knows nothing of what came after a time (µs); without a time, the latest of all.

        It is a member of a blend that sees these features, scaled by `scaler`.

        Raises:
            TrainingError: there is no such fit, or the series lacks a feature that all others have.
        """
        if self.error is not None:
            raise TrainingError(f"its pooled member could not be fitted: {self.error}")
        known = [one for one in self.fits if time is None or one.until <= time]
        if not known:
            when = "" if time is None else f" before {time_of(time)}"
            raise TrainingError(f"the series hold no labels of both classes{when}, so its pooled member knows nothing")
        fit, names = known[-1], list(features)
        if absent := [name for name in self.features if name not in names]:
            raise TrainingError(f"its pooled member sees {absent[0]}, which cannot be made of these bars: leave it out")
        columns = np.array([names.index(name) for name in self.features], dtype=np.int64)
        mean, scale = scaler.mean_[columns], scaler.scale_[columns]
        return Pooled(
            self.algorithm,
            fit.model,
            columns,
            factor=(scale / fit.scaler.scale_).astype(np.float32),
            shift=((mean - fit.scaler.mean_) / fit.scaler.scale_).astype(np.float32),
            n_features_in_=len(names),
            until=fit.until,
            rows=fit.rows,
            series=self.series,
        )
