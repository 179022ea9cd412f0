"""What describes the algorithms out of scikit-learn, and their defaults for market bars: strongly regularized ones."""

from typing import Any, Final

import numpy as np

from job.learning.algorithms import Algorithm, Fitter, StoredType, Window
from job.learning.forests.engines import ONEDAL_LIBRARY, SMALLEST_LEAF_SHARE
from job.learning.spaces import Range, Space
from job.learning.spec import ModelSpec

FOREST_LEAF_SHARE: Final = 0.10
POOLED_LEAF_SHARE: Final = 0.05
BOOSTING_LEAF_SHARE: Final = 0.05
BOOSTING_LEAF_ROWS: Final = 20
BOOSTING_MAX_DEPTH: Final = 2
BINNED_ROWS: Final = 200_000
BINNING_SEED: Final = 42
"""Of more rows, histogram boosting bins by a random sample: the same one for all seeds, if nothing else is drawn."""
LOGISTIC: Final = "logistic_regression"
LOGISTIC_C: Final = 1e-3
LOGISTIC_SOLVER: Final = "newton-cholesky"
"""Exact in a handful of steps where columns are few."""


def _forest(spec: ModelSpec, window: Window) -> dict[str, Any]:
    share = POOLED_LEAF_SHARE if window.pooled else FOREST_LEAF_SHARE
    return {
        "n_estimators": spec.n_estimators,
        "max_depth": spec.max_depth,
        "min_samples_leaf": max(1, int(share * window.rows)),
        "random_state": spec.random_state,
    }


def _gradient_boosting(spec: ModelSpec, window: Window) -> dict[str, Any]:
    depth = BOOSTING_MAX_DEPTH if spec.max_depth is None else min(spec.max_depth, BOOSTING_MAX_DEPTH)
    return {
        "n_estimators": spec.n_estimators,
        "max_depth": depth,
        "learning_rate": 0.02,
        "subsample": 0.5,
        "max_features": "sqrt",
        "min_samples_leaf": max(1, int(BOOSTING_LEAF_SHARE * window.rows)),
        "random_state": spec.random_state,
    }


def _hist_gradient_boosting(spec: ModelSpec, window: Window) -> dict[str, Any]:
    bins_only = spec.params.get("max_features", 1.0) == 1.0
    return {
        "max_iter": spec.n_estimators,
        "max_depth": spec.max_depth,
        "max_leaf_nodes": 4,
        "learning_rate": 0.02,
        "min_samples_leaf": max(BOOSTING_LEAF_ROWS, int(BOOSTING_LEAF_SHARE * window.rows)),
        "l2_regularization": 10.0,
        "early_stopping": False,
        "random_state": BINNING_SEED if bins_only and window.rows > BINNED_ROWS else spec.random_state,
    }


FOREST_SPACE: Final[Space] = {
    "max_depth": Range(2, 12),
    "max_features": Range(0.1, 1.0),
    "min_samples_leaf": Range(SMALLEST_LEAF_SHARE, 0.3, log=True),  # smaller leaves overfit bars, and take longer
}

TREE: Final = StoredType("sklearn.tree._tree.Tree", loader="TreeNode", check="job.learning.forests.checks:check_tree")
BOOSTING_LOSS: Final = (
    StoredType("sklearn._loss._loss.CyHalfBinomialLoss", loader="LossNode"),
    StoredType("sklearn._loss.link.Interval"),
    StoredType("sklearn._loss.link.LogitLink"),
    StoredType("sklearn._loss.loss.HalfBinomialLoss"),
)

SCIKIT_LEARN: Final = (
    Algorithm(
        "random_forest",
        "sklearn.ensemble:RandomForestClassifier",
        _forest,
        "impurity",
        version=1,
        seconds_per_row=2.0e-5,
        parallel=True,
        fitters={
            "histogram": Fitter("job.learning.forests.histogram:grow"),
            "onedal": Fitter("job.learning.forests.onedal:fit", library=ONEDAL_LIBRARY),
        },
        stored_types=(TREE, StoredType("sklearn.tree._classes.DecisionTreeClassifier")),
        seed_influence="trees",
        space=FOREST_SPACE,
    ),
    Algorithm(
        "extra_trees",
        "sklearn.ensemble:ExtraTreesClassifier",
        _forest,
        "impurity",
        version=1,
        seconds_per_row=4.0e-5,
        parallel=True,
        stored_types=(TREE, StoredType("sklearn.tree._classes.ExtraTreeClassifier")),
        seed_influence="trees",
        space=FOREST_SPACE,
    ),
    Algorithm(
        "gradient_boosting",
        "sklearn.ensemble:GradientBoostingClassifier",
        _gradient_boosting,
        "permutation",
        version=1,
        seconds_per_row=1.8e-4,
        stored_types=(
            TREE,
            StoredType("sklearn.tree._classes.DecisionTreeRegressor"),
            StoredType("sklearn.dummy.DummyClassifier"),
            StoredType(
                "sklearn.ensemble._gb.GradientBoostingClassifier", check="job.learning.forests.checks:check_stages"
            ),
            *BOOSTING_LOSS,
            StoredType("sklearn._loss._loss.CyExponentialLoss", loader="LossNode"),
            StoredType("sklearn._loss.link.HalfLogitLink"),
            StoredType("sklearn._loss.loss.ExponentialLoss"),
        ),
        draws=lambda model: model.subsample < 1 or model.max_features is not None,
        seed_influence="stages",
        space={
            "learning_rate": Range(0.005, 0.1, log=True),
            "max_depth": Range(1, 4),
            "max_features": Range(0.1, 1.0),
            "min_samples_leaf": Range(0.01, 0.3, log=True),
            "subsample": Range(0.2, 0.9),
        },
    ),
    Algorithm(
        "hist_gradient_boosting",
        "sklearn.ensemble:HistGradientBoostingClassifier",
        _hist_gradient_boosting,
        "permutation",
        version=1,
        seconds_per_row=3.5e-5,
        precision=np.float64,
        by_column=True,  # it bins column by column
        stored_types=(
            StoredType(
                "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
                check="job.learning.forests.checks:check_predictor",
            ),
            StoredType("sklearn.ensemble._hist_gradient_boosting.binning._BinMapper"),
            StoredType("sklearn.preprocessing._label.LabelEncoder"),
            *BOOSTING_LOSS,
        ),
        draws=lambda model: model.max_features < 1,
        space={
            "l2_regularization": Range(0.1, 1000.0, log=True),
            "learning_rate": Range(0.005, 0.2, log=True),
            "max_leaf_nodes": Range(2, 16),
        },
    ),
    Algorithm(
        LOGISTIC,
        "sklearn.linear_model:LogisticRegression",
        lambda spec, _window: {"C": LOGISTIC_C, "solver": LOGISTIC_SOLVER, "random_state": spec.random_state},
        "absolute_coefficient",
        version=1,
        seconds_per_row=5.0e-6,
        precision=np.float64,
        draws=lambda model: model.solver in {"liblinear", "sag", "saga"},
        space={"C": Range(1e-6, 1.0, log=True)},
    ),
)
