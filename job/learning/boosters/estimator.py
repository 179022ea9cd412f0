"""What estimators around a native model have in common."""

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import Interval

from job.learning.matrices import SpreadMatrix, Workers

Matrix = npt.NDArray[np.floating[Any]]

CLASSES: Final = (0, 1)
BOOSTER: Final = "_booster"

CONSTRAINTS: Final[dict[str, list[Any]]] = {
    "n_estimators": [Interval(Integral, 1, None, closed="left")],
    "max_depth": [Interval(Integral, 1, None, closed="left"), None],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "reg_alpha": [Interval(Real, 0, None, closed="left")],
    "reg_lambda": [Interval(Real, 0, None, closed="left")],
    "subsample": [Interval(Real, 0, 1, closed="right")],
    "colsample_bytree": [Interval(Real, 0, 1, closed="right")],
    "max_bin": [Interval(Integral, 2, 65_535, closed="both")],
    "random_state": [Interval(Integral, 0, 2**31 - 1, closed="both")],
}
"""Of the parameters that all of them have; as scikit-learn's estimators declare theirs."""


class NativeModel(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]  # scikit-learn has no types
    """A binary classifier whose fitted model is held as the bytes that are stored, and predicts from these.

    So a stored model is the one that was scored, bit for bit, and nothing of the training data is kept. Subclasses grow
    trees, and add `_booster`, the native model that is made from `artifact_` when it first predicts.
    """

    artifact_: bytes
    classes_: npt.NDArray[np.int8]
    n_features_in_: int

    def fit(
        self,
        matrix: Matrix | SpreadMatrix,
        label: npt.NDArray[np.int8],
        sample_weight: npt.NDArray[np.float64] | None = None,
    ) -> Self:
        """Fit on finite rows [rows, features] and labels 0 and 1, and return the estimator.

        Where several workers hold the rows, those that hold any grow the trees together, and all have the same model.
        """
        if not isinstance(matrix, SpreadMatrix):
            artifact = self._grow(matrix, label, sample_weight)
        else:
            weight = None if sample_weight is None else sample_weight[matrix.at]
            grown = self._grow(matrix.own, label[matrix.at], weight, matrix.workers)
            artifact = next(filter(None, matrix.workers.gather(grown)))
        return self.restore(artifact, self._check(artifact))

    def restore(self, artifact: bytes, features: int) -> Self:
        """Take a model that was checked, of so many features, and return the estimator."""
        self.artifact_ = artifact
        self.n_features_in_ = features
        self.classes_ = np.array(CLASSES, np.int8)
        self.__dict__.pop(BOOSTER, None)
        return self

    def predict_proba(self, matrix: Matrix) -> npt.NDArray[np.float64]:
        """Return the probabilities [rows, 2] of classes 0 and 1 of finite rows [rows, features]."""
        up = self._probability_of_up(matrix)
        return np.column_stack([1 - up, up])

    def predict(self, matrix: Matrix) -> npt.NDArray[np.int8]:
        """Return the more probable class of each row, 1 where both are equally so."""
        return (self._probability_of_up(matrix) >= 0.5).astype(np.int8)

    @abstractmethod
    def _grow(
        self,
        matrix: Matrix,
        label: npt.NDArray[np.int8],
        weight: npt.NDArray[np.float64] | None,
        workers: Workers | None = None,
    ) -> bytes:
        """Return the artifact of trees grown on rows and those of all other `workers`; nothing without own rows."""

    @abstractmethod
    def _check(self, artifact: bytes) -> int:
        """Check an artifact and return its number of features."""

    @abstractmethod
    def _probability_of_up(self, matrix: Matrix) -> npt.NDArray[np.float64]:
        """Return the probability of class 1 of each row."""

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != BOOSTER}


def dump(model: NativeModel) -> bytes:
    """Return the bytes of a fitted model's artifact."""
    return model.artifact_
