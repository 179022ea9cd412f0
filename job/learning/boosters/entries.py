"""Algorithms out of libraries of their own, which are extras of this project: what they are and their defaults.

The defaults are those of histogram boosting by scikit-learn, and of the same evidence: shallow, slow, regularized.
"""

from typing import Any, Final

from job.core.environment import installed
from job.learning.algorithms import Algorithm, ArtifactFormat, Window
from job.learning.spaces import Range, Space
from job.learning.spec import ModelSpec

LEAVES: Final = 4
LEARNING_RATE: Final = 0.02
L2: Final = 10.0
LEAF_SHARE: Final = 0.05
LEAF_ROWS: Final = 20
DUMP: Final = "job.learning.boosters.estimator:dump"

XGBOOST: Final = next((name for name in ("xgboost-cpu", "xgboost") if installed(name)), "xgboost-cpu")
"""The distribution that brings XGBoost: the one for CPUs is a fortieth of the other, and fits the same."""


def _lightgbm(spec: ModelSpec, window: Window) -> dict[str, Any]:
    return {
        "n_estimators": spec.n_estimators,
        "max_depth": spec.max_depth,
        "num_leaves": LEAVES,
        "learning_rate": LEARNING_RATE,
        "min_child_samples": _leaf_rows(window),
        "reg_lambda": L2,
        "random_state": spec.random_state,
    }


def _xgboost(spec: ModelSpec, window: Window) -> dict[str, Any]:
    return {
        "n_estimators": spec.n_estimators,
        "max_depth": spec.max_depth,
        "max_leaves": LEAVES,
        "learning_rate": LEARNING_RATE,
        # It counts p (1 - p) where others count rows: a quarter where both classes are as likely.
        "min_child_weight": 0.25 * _leaf_rows(window),
        "reg_lambda": L2,
        "random_state": spec.random_state,
    }


def _leaf_rows(window: Window) -> int:
    return max(LEAF_ROWS, int(LEAF_SHARE * window.rows))


def _draws(model: Any) -> bool:
    return bool(model.subsample < 1 or model.colsample_bytree < 1)


SPACE: Final[Space] = {"learning_rate": Range(0.005, 0.2, log=True), "reg_lambda": Range(0.1, 1000.0, log=True)}

NATIVE: Final = (
    Algorithm(
        "lightgbm",
        "job.learning.boosters.lightgbm:LightGBM",
        _lightgbm,
        "permutation",
        version=1,
        seconds_per_row=3.5e-5,
        parallel=True,
        library="lightgbm",
        extra="lightgbm",
        artifact=ArtifactFormat(
            "lightgbm",
            dump=DUMP,
            parse="job.learning.boosters.lightgbm:parse",
        ),
        draws=_draws,
        spreads=True,
        space={**SPACE, "num_leaves": Range(2, 16)},
    ),
    Algorithm(
        "xgboost",
        "job.learning.boosters.xgboost:XGBoost",
        _xgboost,
        "permutation",
        version=1,
        seconds_per_row=3.5e-5,
        library=XGBOOST,
        extra="xgboost",
        artifact=ArtifactFormat(
            "xgboost",
            dump=DUMP,
            parse="job.learning.boosters.xgboost:parse",
        ),
        draws=_draws,
        spreads=True,
        space={**SPACE, "max_leaves": Range(2, 16)},
    ),
)
