"""XGBoost's boosted trees as an estimator, and its UBJ as an artifact."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import cached_property
from numbers import Integral, Real
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import xgboost
from sklearn.utils._param_validation import Interval
from xgboost.collective import CommunicatorContext
from xgboost.tracker import RabitTracker

from job.learning.boosters.checks import MOST_LEAVES
from job.learning.boosters.estimator import CONSTRAINTS, Matrix, NativeModel
from job.learning.boosters.xgboost_ubj import check
from job.learning.matrices import Workers

FIXED: Final = {
    "objective": "binary:logistic",
    "tree_method": "hist",
    "grow_policy": "lossguide",
    "verbosity": 0,
    # Its threads add gradients up in parts, and the number of parts could change the last bits.
    "nthread": 1,
}


class XGBoost(NativeModel):
    """Gradient boosting of log-loss over histograms, the leaf that gains most first; on one thread.

    Parameters are named as XGBoost's own classifier names them; `max_depth` None is no limit. `min_child_weight` is a
    sum of p (1 - p) over a leaf's rows: a quarter of a row's weight where nothing is known.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **CONSTRAINTS,
        "max_leaves": [Interval(Integral, 2, MOST_LEAVES, closed="both")],
        "min_child_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        max_leaves: int = 4,
        max_depth: int | None = None,
        learning_rate: float = 0.02,
        min_child_weight: float = 5.0,
        reg_alpha: float = 0.0,
        reg_lambda: float = 10.0,
        subsample: float = 1.0,
        colsample_bytree: float = 1.0,
        max_bin: int = 256,
        random_state: int = 0,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_leaves = max_leaves
        self.max_depth = max_depth
        self.learning_rate = learning_rate
        self.min_child_weight = min_child_weight
        self.reg_alpha = reg_alpha
        self.reg_lambda = reg_lambda
        self.subsample = subsample
        self.colsample_bytree = colsample_bytree
        self.max_bin = max_bin
        self.random_state = random_state

    def _grow(
        self,
        matrix: Matrix,
        label: npt.NDArray[np.int8],
        weight: npt.NDArray[np.float64] | None,
        workers: Workers | None = None,
    ) -> bytes:
        where: Mapping[str, Any] = {}
        tracker = None
        if workers is not None:
            holders = [rank for rank, holds in enumerate(workers.gather(len(matrix) > 0)) if holds]
            if len(holders) > 1 and workers.rank == holders[0]:
                tracker = RabitTracker(len(holders), workers.host, sortby="task")
                tracker.start()
            where = workers.gather(tracker.worker_args() if tracker else {})[holders[0]]
            if not len(matrix):
                return b""
            if where:
                where = {**where, "dmlc_task_id": f"{workers.rank:06d}"}
        parameters = FIXED | {
            "max_leaves": self.max_leaves,
            "max_depth": self.max_depth or 0,
            "learning_rate": self.learning_rate,
            "min_child_weight": self.min_child_weight,
            "reg_alpha": self.reg_alpha,
            "reg_lambda": self.reg_lambda,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample_bytree,
            "max_bin": self.max_bin,
            "seed": self.random_state,
        }
        with CommunicatorContext(**where) if where else nullcontext():
            rows = xgboost.QuantileDMatrix(matrix, label, weight=weight, max_bin=self.max_bin, nthread=1)
            booster = xgboost.train(parameters, rows, self.n_estimators)
        artifact = bytes(booster.save_raw("ubj"))
        if tracker:
            tracker.wait_for()
        return artifact

    def _check(self, artifact: bytes) -> int:
        return check(artifact)

    @cached_property
    def _booster(self) -> xgboost.Booster:
        return xgboost.Booster({"nthread": 1}, model_file=bytearray(self.artifact_))

    def _probability_of_up(self, matrix: Matrix) -> npt.NDArray[np.float64]:
        return np.asarray(self._booster.inplace_predict(matrix), np.float64)


def parse(data: bytes) -> XGBoost:
    """Return the model of an artifact, whose structure is checked before XGBoost sees it.

    Raises:
        ValueError: it is unsound.
    """
    return XGBoost().restore(data, check(data))
