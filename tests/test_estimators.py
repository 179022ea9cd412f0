"""Defaults of estimators follow the settings; parameters win over them or are refused by name."""

from typing import Any

import pytest

from job.core.errors import ConfigError
from job.learning.algorithms import Window
from job.learning.estimators import ALGORITHMS, build
from tests.algorithms import PRESENT, each
from tests.oracles_training import model_spec


@pytest.mark.parametrize(
    ("algorithm", "rows", "pooled", "leaf"),
    [
        ("random_forest", 1_000, False, 100),
        ("extra_trees", 1_000, True, 50),
        ("random_forest", 5, False, 1),
        ("gradient_boosting", 1_000, False, 50),
        ("hist_gradient_boosting", 1_000, True, 50),
        ("hist_gradient_boosting", 100, False, 20),
    ],
)
def test_leaves_hold_a_share_of_the_training_rows(algorithm: str, rows: int, *, pooled: bool, leaf: int) -> None:
    assert build(model_spec(algorithm), Window(rows, pooled=pooled)).min_samples_leaf == leaf


OF_TREES = [
    name for name, one in ALGORITHMS.items() if name not in {"logistic_regression", "blend"} and one.extra != "torch"
]


@pytest.mark.parametrize("name", each(*OF_TREES))
def test_tree_count_and_depth_follow_the_settings(name: str) -> None:
    parameters = build(model_spec(name, n_estimators=7, max_depth=1), Window(1_000)).get_params()
    assert parameters.get("n_estimators", parameters.get("max_iter")) == 7
    assert parameters["max_depth"] == 1


def test_depth_of_exact_boosting_is_capped() -> None:
    assert build(model_spec("gradient_boosting", max_depth=10), Window(1_000)).max_depth == 2
    assert build(model_spec("gradient_boosting", max_depth=None), Window(1_000)).max_depth == 2
    deeper = model_spec("gradient_boosting", max_depth=10, params={"max_depth": 4})
    assert build(deeper, Window(1_000)).max_depth == 4


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("random_forest", {"min_samples_leaf": 3, "max_features": 0.5}),
        ("extra_trees", {"bootstrap": True}),
        ("gradient_boosting", {"learning_rate": 0.3}),
        ("hist_gradient_boosting", {"max_leaf_nodes": 31, "l2_regularization": 0.0}),
        ("logistic_regression", {"C": 2.0, "random_state": 7}),
        *((name, {"learning_rate": 0.3, "subsample": 0.5}) for name in ("lightgbm", "xgboost") if name in PRESENT),
    ],
)
def test_params_win_over_defaults(algorithm: str, params: dict[str, Any]) -> None:
    built = build(model_spec(algorithm, params=params), Window(1_000)).get_params()
    assert {name: built[name] for name in params} == params


def test_early_stopping_is_off() -> None:
    assert build(model_spec("hist_gradient_boosting"), Window(100_000)).early_stopping is False
    assert build(model_spec("gradient_boosting"), Window(100_000)).n_iter_no_change is None


def test_only_parallel_algorithms_take_cpus() -> None:
    assert build(model_spec("random_forest"), Window(1_000), n_jobs=3).n_jobs == 3
    assert "n_jobs" not in build(model_spec("hist_gradient_boosting"), Window(1_000), n_jobs=3).get_params()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"min_sample_leaf": 3},
            r"unknown parameter params.min_sample_leaf of random_forest; did you mean 'min_samples_leaf'\?",
        ),
        ({"zzz": 3}, r"unknown parameter params.zzz of random_forest \(known: bootstrap, "),
        (
            {"min_samples_leaf": "many"},
            "params of random_forest: The 'min_samples_leaf' parameter .* Got 'many' instead",
        ),
        ({"n_estimators": -1}, "params of random_forest: The 'n_estimators' parameter .* Got -1 instead"),
        ({"n_jobs": 4}, "params.n_jobs of random_forest cannot be set: it follows from the CPUs of the task"),
        ({"warm_start": True}, "params.warm_start of random_forest cannot be set: every model is fitted from nothing"),
    ],
)
def test_unusable_params_are_named(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(model_spec("random_forest", params=params), Window(1_000))


@pytest.mark.parametrize(
    ("algorithm", "name"), [("hist_gradient_boosting", "early_stopping"), ("gradient_boosting", "n_iter_no_change")]
)
def test_shuffled_validation_rows_are_refused(algorithm: str, name: str) -> None:
    with pytest.raises(ConfigError, match=f"params.{name} of {algorithm} cannot be set: it holds out shuffled rows"):
        build(model_spec(algorithm, params={name: 5}), Window(1_000))
