"""Algorithms by name: which scikit-learn estimator each is, its default parameters and its kind of importance.

Classes are named, not imported: settings and plans need the names only, and scikit-learn takes seconds to import.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import numpy as np

from job.core.errors import ConfigError
from job.learning.forests.engines import Engine, are_large

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

Importance = Literal["impurity", "permutation", "absolute_coefficient"]

FOREST_LEAF_SHARE: Final = 0.10
POOLED_LEAF_SHARE: Final = 0.05
BOOSTING_LEAF_SHARE: Final = 0.05
BOOSTING_LEAF_ROWS: Final = 20
BOOSTING_MAX_DEPTH: Final = 2
LOGISTIC_C: Final = 1e-3
LOGISTIC_SOLVER: Final = "newton-cholesky"
"""Exact in a handful of steps where columns are few."""
RESERVED: Final = {
    "n_jobs": "it follows from the CPUs of the task",
    "early_stopping": "it holds out shuffled rows, and labels of neighbouring bars overlap",
    "n_iter_no_change": "it holds out shuffled rows, and labels of neighbouring bars overlap",
    "warm_start": "every model is fitted from nothing",
}


class Hyperparameters(Protocol):
    """What an algorithm needs to know of a model's settings."""

    @property
    def algorithm(self) -> str: ...  # noqa: D102 - fields of a protocol
    @property
    def n_estimators(self) -> int: ...  # noqa: D102
    @property
    def max_depth(self) -> int | None: ...  # noqa: D102
    @property
    def params(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def random_state(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Window:
    """The training window that an estimator is built for: its rows, and whether they come from several series."""

    rows: int
    pooled: bool = False


@dataclass(frozen=True)
class Algorithm:
    """One entry of `ALGORITHMS`; `version` moves whenever the defaults do, so that models are trained again.

    `path` is `module:name` of the estimator's class, `fitters` those of what fits it in place by engines other than its
    own `fit`. `parallel` algorithms take `n_jobs`; `precision` is that of the features which they are fitted on: their
    own, so that they hold no converted copy.
    """

    name: str
    path: str
    defaults: Callable[[Hyperparameters, Window], dict[str, Any]]
    importance: Importance
    version: int
    parallel: bool = False
    precision: type[np.floating[Any]] = np.float32
    fitters: Mapping[Engine, str] = field(default_factory=dict)

    @property
    def estimator(self) -> type["ClassifierMixin"]:
        """The estimator's class."""
        found: type[ClassifierMixin] = resolve_name(self.path)
        return found

    def engine_for(self, estimator: Any, rows: int, engine: Engine) -> Engine:
        """Return what fits `estimator` on a window of `rows`, given the engine of the model."""
        if engine not in self.fitters or (engine == "histogram" and not are_large(estimator.min_samples_leaf, rows)):
            return "sklearn"
        return engine

    def fit(self, estimator: Any, matrix: Any, label: Any, engine: Engine) -> None:
        """Fit `estimator` on rows of features and their labels, by the engine of the model."""
        chosen = self.engine_for(estimator, len(label), engine)
        fitter = estimator.fit if chosen == "sklearn" else partial(resolve_name(self.fitters[chosen]), estimator)
        fitter(matrix, label)


def build(spec: Hyperparameters, window: Window, *, n_jobs: int = 1) -> "ClassifierMixin":
    """Return the unfitted estimator that `spec` asks for; `spec.params` win over the defaults.

    Raises:
        ConfigError: a parameter is unknown to the algorithm, reserved, or has a value that it does not take.
    """
    algorithm = ALGORITHMS[spec.algorithm]
    parameters = algorithm.defaults(spec, window) | check_names(algorithm, spec.params)
    if algorithm.parallel:
        parameters["n_jobs"] = n_jobs
    estimator = algorithm.estimator(**parameters)
    try:
        estimator._validate_params()
    except ValueError as error:
        raise ConfigError(f"params of {algorithm.name}: {' '.join(str(error).split())}") from None
    return estimator


def check_names(algorithm: Algorithm, params: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` if every name is one that `algorithm` takes.

    Raises:
        ConfigError: naming the parameter, with the nearest known name or the reason why it is reserved.
    """
    known = sorted(set(algorithm.estimator().get_params()) - set(RESERVED))
    for name in params:
        if name in RESERVED:
            raise ConfigError(f"params.{name} of {algorithm.name} cannot be set: {RESERVED[name]}")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"unknown parameter params.{name} of {algorithm.name}{hint} (known: {', '.join(known)})")
    return dict(params)


def _forest(spec: Hyperparameters, window: Window) -> dict[str, Any]:
    share = POOLED_LEAF_SHARE if window.pooled else FOREST_LEAF_SHARE
    return {
        "n_estimators": spec.n_estimators,
        "max_depth": spec.max_depth,
        "min_samples_leaf": max(1, int(share * window.rows)),
        "random_state": spec.random_state,
    }


def _gradient_boosting(spec: Hyperparameters, window: Window) -> dict[str, Any]:
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


def _hist_gradient_boosting(spec: Hyperparameters, window: Window) -> dict[str, Any]:
    return {
        "max_iter": spec.n_estimators,
        "max_depth": spec.max_depth,
        "max_leaf_nodes": 4,
        "learning_rate": 0.02,
        "min_samples_leaf": max(BOOSTING_LEAF_ROWS, int(BOOSTING_LEAF_SHARE * window.rows)),
        "l2_regularization": 10.0,
        "early_stopping": False,
        "random_state": spec.random_state,
    }


def _logistic(spec: Hyperparameters, window: Window) -> dict[str, Any]:  # noqa: ARG001 - same signature as the others
    return {"C": LOGISTIC_C, "solver": LOGISTIC_SOLVER, "random_state": spec.random_state}


ALGORITHMS: Final[dict[str, Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            "random_forest",
            "sklearn.ensemble:RandomForestClassifier",
            _forest,
            "impurity",
            version=1,
            parallel=True,
            fitters={"histogram": "job.learning.forests.histogram:grow", "onedal": "job.learning.forests.onedal:fit"},
        ),
        Algorithm(
            "extra_trees", "sklearn.ensemble:ExtraTreesClassifier", _forest, "impurity", version=1, parallel=True
        ),
        Algorithm(
            "gradient_boosting",
            "sklearn.ensemble:GradientBoostingClassifier",
            _gradient_boosting,
            "permutation",
            version=1,
        ),
        Algorithm(
            "hist_gradient_boosting",
            "sklearn.ensemble:HistGradientBoostingClassifier",
            _hist_gradient_boosting,
            "permutation",
            version=1,
            precision=np.float64,
        ),
        Algorithm(
            "logistic_regression",
            "sklearn.linear_model:LogisticRegression",
            _logistic,
            "absolute_coefficient",
            version=1,
            precision=np.float64,
        ),
    )
}
