"""What another seed of the same fit would change: told from trees, from stages, or by a second fit."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from scipy.stats import binom
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from job.core.keys import Key
from job.learning.algorithms import Algorithm, Window
from job.learning.comparison import SeedVariance, compare, verdict
from job.learning.estimators import ALGORITHMS, build
from job.learning.fitting import fit_scaled, predict_proba
from job.learning.metrics import FloatArray, log_loss, shrink
from job.learning.rows import feature_matrix
from job.learning.seeds import influence_of, seed_variance
from job.learning.spec import ModelSpec
from job.learning.training import Trained, train
from tests.algorithms import PRESENT, each, quick
from tests.worlds import in_two_processes, samples_for, specs, world

KEY = Key("synthetic", "SYN00USDT", "5m", "analyst")
FOREST = ALGORITHMS["random_forest"]
DRAWN = Algorithm("drawn", FOREST.path, FOREST.defaults, "impurity", version=1, seconds_per_row=1e-6)
"""A user's algorithm, of whose seed nothing is known but what a second fit tells."""


class Projection(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A logistic regression on random projections, whose seed is a parameter of another name, or nobody's."""

    def __init__(self, seed: int | None = None) -> None:
        self.seed = seed

    def fit(self, matrix: FloatArray, label: npt.NDArray[np.int8]) -> Self:
        self.projection_ = np.random.default_rng(self.seed).normal(size=(matrix.shape[1], 8))
        self.inner_ = LogisticRegression(C=0.01).fit(np.tanh(matrix @ self.projection_), label)
        self.classes_ = self.inner_.classes_
        return self

    def predict_proba(self, matrix: FloatArray) -> FloatArray:
        found: FloatArray = self.inner_.predict_proba(np.tanh(matrix @ self.projection_))
        return found


def projection(seed_of: Callable[[ModelSpec], int | None]) -> Algorithm:
    path, defaults = f"{__name__}:Projection", (lambda spec, _window: {"seed": seed_of(spec)})
    return Algorithm("projection", path, defaults, "permutation", version=1, seconds_per_row=1e-6, artifact="pkl")


NAMED = projection(lambda spec: spec.random_state)
UNSEEDED = projection(lambda _spec: None)
FIXED = projection(lambda _spec: 7)

DRAWING = ("random_forest", "extra_trees", "gradient_boosting", "blend")
"""Algorithms that draw by default, and whose fits take no minutes; a second seed tells of networks as of `DRAWN`."""


def spec_of(algorithm: str, **changes: Any) -> Any:
    (found,) = (spec for kind, timeframe, spec in specs() if (kind, timeframe) == ("analyst", "5m"))
    engine = found.engine if algorithm == "random_forest" else "sklearn"
    return found.model_copy(
        update={"algorithm": algorithm, "engine": engine, "cv_folds": 2, "n_estimators": 50, **changes}
    )


def halves(symbol: int, *, days: int, kind: Literal["noise", "signal"]) -> tuple[pl.DataFrame, pl.DataFrame]:
    samples = samples_for(world(symbol, days=days, kind=kind), "5m", spec_of("random_forest"))
    return samples[: samples.height // 2], samples[samples.height // 2 + 10 :]


def scored(trained: Trained, later: pl.DataFrame) -> tuple[FloatArray, SeedVariance | None]:
    """Return the probabilities of a version on later rows, and their variance over seeds as one version tells it."""
    base_rate, weight = trained.metadata["base_rate"], trained.metadata["shrink"]["model"]
    p = shrink(predict_proba(trained.model, trained.scaler, later, trained.features), base_rate, weight)
    later = later.tail(len(p))  # the first rows of a model of sequences lack the bars before them
    scaled, up = trained.scaler.transform(feature_matrix(later, trained.features)), later["label"].to_numpy()
    influence = influence_of(trained.metadata, trained.model, scaled, up, base_rate=base_rate, weight=weight)
    return p, seed_variance([influence], later.height)


def by_seed(symbol: int, *, algorithm: str, kind: Literal["noise", "signal"]) -> list[bool]:
    """Return of each pair among five fits that differ by seed only whether they are called different."""
    early, later = halves(symbol, days=20, kind=kind)
    fits = [train(early, spec_of(algorithm, random_state=100 * symbol + seed), key=KEY) for seed in range(5)]
    told = []
    for (p_a, a), (p_b, b) in itertools.combinations([scored(one, later) for one in fits], 2):
        assert a is not None
        assert b is not None
        found = compare(later["label"].to_numpy(), p_a, p_b, horizon=10, seeds=[a, b])
        told.append(verdict(found, found.p) in {"better", "worse"})
    return told


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm",
    [*each(*DRAWING), "tests.test_seeds:DRAWN", "tests.test_seeds:NAMED", "tests.test_seeds:UNSEEDED"],
)
def test_versions_that_differ_by_seed_only_are_rarely_called_different(algorithm: str) -> None:
    """At most in 5% of pairs. The ten pairs of five fits share their rows, so they count as two."""
    told: list[bool] = []
    for kind in ("noise", "signal"):
        by_symbol = in_two_processes(partial(by_seed, algorithm=algorithm, kind=kind), range(4))
        told += itertools.chain.from_iterable(by_symbol)
    independent = len(told) // 5
    assert sum(told) / 5 <= binom.ppf(0.99, independent, 0.05), f"{sum(told)} of {len(told)}"


@pytest.mark.parametrize("algorithm", ["random_forest", "extra_trees", "gradient_boosting", "blend"])
def test_one_fit_tells_how_much_many_seeds_vary(algorithm: str) -> None:
    early, later = halves(1, days=10, kind="signal")
    fits = [
        train(early, spec_of(algorithm, calibrate="none", cv_folds=1, n_estimators=20, random_state=seed), key=KEY)
        for seed in range(20)
    ]
    found = [scored(one, later) for one in fits]
    spread = np.std([log_loss(later["label"].to_numpy(), p) for p, _ in found], ddof=1)
    told = math.sqrt(np.median([variance.variance for _, variance in found if variance is not None]))
    assert 0.6 < told / spread < 1.6


@pytest.mark.parametrize("algorithm", each())
def test_what_draws_no_numbers_has_no_variance_and_what_does_has(algorithm: str) -> None:
    early, later = halves(1, days=5, kind="signal")
    one, other = (
        train(early, spec_of(algorithm, n_estimators=5, random_state=seed, params=quick(algorithm)), key=KEY)
        for seed in (1, 2)
    )
    (p_one, first), (p_other, second) = scored(one, later), scored(other, later)
    assert first is not None
    assert second is not None
    if one.metadata["seeds"]["drawn"]:
        assert algorithm in DRAWING or ALGORITHMS[algorithm].extra == "torch", "its pairs are to be tested, too"
        assert not np.array_equal(p_one, p_other)
        assert min(first.variance, second.variance) > 0
    else:
        assert np.array_equal(p_one, p_other)
        assert first == second == SeedVariance(0.0, 1.0)


@pytest.mark.parametrize(
    ("algorithm", "params"),
    [
        ("hist_gradient_boosting", {"max_features": 0.5}),
        ("logistic_regression", {"solver": "saga"}),
        *((name, {"subsample": 0.5}) for name in ("lightgbm", "xgboost") if name in PRESENT),
    ],
)
def test_parameters_can_make_a_fit_draw_numbers(algorithm: str, params: dict[str, Any]) -> None:
    early, later = halves(1, days=5, kind="signal")
    trained = train(early, spec_of(algorithm, params=params), key=KEY)
    assert trained.metadata["seeds"]["log_loss_change"] != 0
    _, variance = scored(trained, later)
    assert variance is not None
    assert variance.variance > 0


@pytest.mark.parametrize("algorithm", each("hist_gradient_boosting", "lightgbm"))
def test_bins_of_many_rows_are_the_same_for_all_seeds(algorithm: str) -> None:
    """Else pairs that differ by nothing but the sample would be other models, while their seed error says 0."""
    random = np.random.default_rng(1)
    matrix = random.exponential(size=(210_000, 1))
    label = (random.exponential(size=len(matrix)) < matrix[:, 0]).astype(np.int8)
    found = []
    for seed in (42, 43):
        spec = spec_of(algorithm, n_estimators=2, random_state=seed)
        fitted = fit_scaled(matrix, label, spec, pooled=False, n_jobs=1)
        found.append(fitted.predict_proba(matrix[:2_000])[:, 1])
    assert np.array_equal(*found)
    spec = spec_of("hist_gradient_boosting", params={"max_features": 0.5}, random_state=43)
    assert build(spec, Window(len(matrix))).get_params()["random_state"] == 43


def test_members_tell_of_their_seeds_together_or_by_a_second_fit() -> None:
    early, later = halves(1, days=5, kind="signal")

    def told(*members: str, **params: Any) -> tuple[dict[str, Any], SeedVariance | None]:
        trained = train(early, spec_of("blend", params={"of": [*members], **params}), key=KEY)
        return trained.metadata["seeds"], scored(trained, later)[1]

    seeds, together = told("random_forest", "gradient_boosting", "logistic_regression", random_forest={"max_depth": 3})
    assert seeds == {"drawn": True, "influence": {"random_forest": "trees", "gradient_boosting": "stages"}}
    assert together is not None
    assert together.freedom == 48, "50 trees, and the 49 differences of 50 stages"
    drawn = {"max_features": 0.5}
    seeds, _ = told("random_forest", "hist_gradient_boosting", hist_gradient_boosting=drawn)
    assert seeds["log_loss_change"] != 0
    seeds, without = told("hist_gradient_boosting", "logistic_regression")
    assert seeds == {"drawn": False}
    assert without == SeedVariance(0.0, 1.0)


def test_without_a_cheaper_way_a_second_seed_tells() -> None:
    early, later = halves(1, days=5, kind="signal")
    spec = spec_of("tests.test_seeds:DRAWN")
    one = train(early, spec, key=KEY)
    other = train(early, spec.model_copy(update={"random_state": spec.random_state + 1}), key=KEY)
    label = one.holdout["label"].to_numpy()
    p = shrink(other.holdout["p_raw"].to_numpy(), one.metadata["base_rate"], one.metadata["shrink"]["model"])
    change = log_loss(label, p) - log_loss(label, one.holdout["p"].to_numpy())
    assert one.metadata["seeds"] == {"drawn": True, "log_loss_change": pytest.approx(change)}
    _, variance = scored(one, later)
    assert variance is not None
    assert variance.variance == pytest.approx(change**2 / 2)
    assert variance.freedom == 1, "two draws"


@pytest.mark.parametrize(("name", "drawn"), [("NAMED", True), ("UNSEEDED", True), ("FIXED", False)])
@pytest.mark.parametrize("blended", [False, True])
def test_a_second_fit_finds_out_whether_an_algorithm_of_ones_own_draws(
    name: str, *, drawn: bool, blended: bool
) -> None:
    early, later = halves(1, days=5, kind="signal")
    path = f"tests.test_seeds:{name}"
    spec = spec_of("blend", params={"of": [path, "logistic_regression"]}) if blended else spec_of(path)
    trained = train(early, spec, key=KEY)
    assert trained.metadata["seeds"]["drawn"] is drawn
    _, variance = scored(trained, later)
    assert variance is not None
    assert (variance.variance > 0) == drawn


def test_what_earlier_releases_stored_is_known_of_our_own_algorithms_only() -> None:
    early, later = halves(1, days=5, kind="signal")
    trained = train(early, spec_of("gradient_boosting", n_estimators=10), key=KEY)
    _, now = scored(trained, later)
    del trained.metadata["seeds"]
    assert scored(trained, later)[1] == now
    trained.metadata["algorithm"]["path"] = "mypackage.models:ALGORITHM"
    assert scored(trained, later)[1] is None


def test_influences_add_up_over_series() -> None:
    parts = [np.array([1.0, -2.0, 1.0]), np.array([3.0, 0.0, -3.0])]
    assert seed_variance(parts, 10) == SeedVariance(float(np.var([0.4, -0.2, -0.2], ddof=1)) / 3, 2.0)
    assert seed_variance([parts[0], None], 10) is None
    assert seed_variance([np.zeros(1), np.zeros(1)], 10) == SeedVariance(0.0, 1.0)
