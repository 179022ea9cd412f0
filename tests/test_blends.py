"""Blends: weights that saw no open label, members that are what they are alone, and mistakes told in one line."""

from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import polars as pl
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit, rel_entr
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression

from job.config.settings import load_config
from job.core.errors import ConfigError, RegistryError
from job.learning.blend import Blend, fit_weights
from job.learning.blending import weigh_members
from job.learning.estimators import ALGORITHMS
from job.learning.fitting import Evaluated, evaluate, predict_proba, probability_of_up
from job.learning.metrics import fit_shrink, log_loss, shrink
from job.learning.rows import read_rows
from job.learning.scikit_learn import LOGISTIC_C
from job.learning.splits import walk_forward
from job.learning.training import train
from job.registry.blends import dump, parse
from job.registry.fingerprints import Recipe
from job.train.plan import make_plan, plan_tasks
from job.worker.scorer import load_scorer
from tests.algorithms import each
from tests.oracles_training import FEATURES, KEY, made_samples, model_spec
from tests.test_planning import series
from tests.test_scoring import KEY as SCORED_KEY
from tests.test_scoring import commit, config
from tests.worlds import in_two_processes, model_of, samples_for, specs, world

THREE = ["random_forest", "hist_gradient_boosting", "logistic_regression"]


def likelihood(weight: float, label: Any, p: Any, horizon: int) -> float:
    """Return the log-posterior of the first of two members' weight, written out."""
    blended = expit(weight * logit(p[:, 0]) + (1 - weight) * logit(p[:, 1]))
    prior = sum((each - 0.5) ** 2 for each in (weight, 1 - weight)) / (2 / 12)
    return -float(np.log(np.where(label == 1, blended, 1 - blended)).sum()) / horizon + prior


def told_by(random: np.random.Generator, rows: int, noise: Sequence[float]) -> tuple[Any, Any]:
    """Return labels, and probabilities of members that see what decides them through so much noise."""
    odds = random.normal(size=rows)
    label = (random.uniform(size=rows) < expit(odds)).astype(np.int8)
    return label, np.column_stack([expit(odds + each * random.normal(size=rows)) for each in noise])


@pytest.mark.parametrize(("rows", "noise"), [(60, (0.5, 1.0)), (500, (0.1, 0.9)), (500, (2.0, 0.1)), (40, (1.0, 1.0))])
@pytest.mark.parametrize("horizon", [1, 10])
def test_weights_are_the_likeliest_on_a_grid(rows: int, noise: tuple[float, ...], horizon: int) -> None:
    label, p = told_by(np.random.default_rng(rows), rows, noise)
    first, second = fit_weights(label, p, horizon_bars=horizon)
    grid = np.linspace(0, 1, 2_001)
    best = grid[np.argmin([likelihood(weight, label, p, horizon) for weight in grid])]
    assert first == pytest.approx(best, abs=1e-3)
    assert first + second == pytest.approx(1, abs=1e-12)


def test_weights_are_shares_and_follow_the_better_member() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        members = int(random.integers(2, 6))
        label, p = told_by(random, int(random.integers(10, 3_000)), random.uniform(0, 3, members).tolist())
        weights = fit_weights(label, p, horizon_bars=int(random.integers(1, 20)))
        assert len(weights) == members
        assert min(weights) >= 0
        assert sum(weights) == pytest.approx(1, abs=1e-12)
    label, p = told_by(np.random.default_rng(1), 20_000, (0.1, 2.0, 2.0))
    assert fit_weights(label, p, horizon_bars=1)[0] > 0.9


def free_pool(label: Any, p: Any, *, intercept: bool) -> Any:
    """Return weights of 0 or more that may add up to anything, and an intercept, by greatest likelihood."""
    odds = np.column_stack([logit(p), np.full(len(p), float(intercept))])
    sign = np.where(label == 1, -1.0, 1.0)
    bounds = [(0, None)] * p.shape[1] + [(None, None)]
    start = np.append(np.full(p.shape[1], 1 / p.shape[1]), 0.0)

    def loss(free: Any) -> float:
        return float(np.logaddexp(0, sign * (odds @ free)).sum())

    return minimize(loss, start, bounds=bounds).x


@pytest.mark.parametrize("strength", [0.0, 0.05, 0.1])
def test_where_bars_tell_little_every_further_number_costs_more_than_it_wins(strength: float) -> None:
    """Divergence from the truth, for which nothing but the members' probabilities is known, in 2,500 rows."""
    excess = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        truth = strength * random.normal(size=5_000)
        label = (random.uniform(size=5_000) < expit(truth)).astype(np.int8)
        p = np.column_stack([expit(truth + noise * random.normal(size=5_000)) for noise in (0.05, 0.1)])
        known, fresh = slice(0, 2_500), slice(2_500, None)
        weights = np.array(fit_weights(label[known], p[known], horizon_bars=1))
        blended = expit(logit(p) @ weights)
        shrunk = shrink(blended[fresh], 0.5, fit_shrink(label[known], blended[known], np.full(2_500, 0.5)))
        free, most = (free_pool(label[known], p[known], intercept=intercept) for intercept in (False, True))
        tried = [shrunk, expit(logit(p[fresh]) @ free[:2]), expit(logit(p[fresh]) @ most[:2] + most[2])]
        chance = expit(truth[fresh])
        excess.append([float((rel_entr(chance, each) + rel_entr(1 - chance, 1 - each)).mean()) for each in tried])
    ours, without_bounds, with_intercept = np.mean(excess, axis=0)
    assert ours < without_bounds < with_intercept


def test_members_of_which_nothing_is_known_weigh_the_same() -> None:
    label = np.array([0, 1] * 50, dtype=np.int8)
    alike = np.full((100, 4), 0.5)
    assert fit_weights(label, alike, horizon_bars=1) == pytest.approx((0.25,) * 4, abs=1e-6)


def windows(samples: pl.DataFrame, **settings: Any) -> tuple[list[Evaluated], list[Evaluated]]:
    """Return folds and holdout of a blend before and after its weights are fitted."""
    spec = model_spec("blend", **settings)
    rows = read_rows(samples, FEATURES)
    splits = walk_forward(rows.available_at, rows.label_end, test_size=spec.test_size, folds=spec.cv_folds)
    made = [evaluate(rows, fold, spec, n_jobs=1) for fold in (*splits.folds, splits.holdout)]
    return made, weigh_members(made, horizon_bars=spec.label.horizon)


def test_weights_of_a_window_see_no_label_that_is_open_when_it_begins() -> None:
    """Labels of a window, and of earlier rows that reach into it, are turned around: its own weights stay."""
    made, weighed = windows(made_samples(900, signal=1.0, horizon=40), cv_folds=4)
    assert weighed[0].model.weights == (0.5, 0.5)
    for position, window in enumerate(made):
        open_ = [
            replace(one, label=np.where(np.isin(one.fold.test, window.fold.train), one.label, 1 - one.label))
            for one in made
        ]
        assert sum(int((a.label != b.label).sum()) for a, b in zip(made[:position], open_[:position], strict=True)) == (
            39 if 0 < position < len(made) - 1 else 0
        ), "rows of the fold before reach into this one; none reaches into the holdout"
        again = weigh_members(open_, horizon_bars=3)
        assert again[position].model.weights == weighed[position].model.weights
        assert np.array_equal(again[position].p_raw, weighed[position].p_raw)
        if position:
            known = [replace(one, label=1 - one.label) for one in made]
            assert weigh_members(known, horizon_bars=3)[position].model.weights != weighed[position].model.weights


def test_the_holdout_is_weighed_by_all_folds() -> None:
    made, weighed = windows(made_samples(900, signal=1.0))
    label = np.concatenate([one.label for one in made[:-1]])
    p = np.concatenate([one.p_members for one in made[:-1]])
    assert weighed[-1].model.weights == fit_weights(label, p, horizon_bars=3)
    blended = expit(logit(made[-1].p_members) @ np.array(weighed[-1].model.weights))
    assert weighed[-1].p_raw == pytest.approx(blended, abs=1e-12)


def test_members_are_what_they_are_alone() -> None:
    samples = made_samples(900, signal=1.0)
    params = {"of": THREE, "random_forest": {"max_features": 1}}
    blend = train(samples, model_spec("blend", params=params), key=KEY)
    described = blend.metadata["blend"]["members"]
    for name in THREE:
        alone = train(samples, model_spec(name, params=params.get(name, {})), key=KEY)
        p = predict_proba(blend.model.members[name], blend.scaler, samples, FEATURES)
        assert np.array_equal(p, predict_proba(alone.model, alone.scaler, samples, FEATURES))
        told = described[name]
        assert told["shrink"] == alone.scores["shrink"]
        assert told["scores"] == {score: alone.scores[score] for score in told["scores"]}
        assert {what: told[what] for what in ("algorithm", "engine", "parameters")} == {
            what: alone.metadata[what] for what in ("algorithm", "engine", "parameters")
        }
    assert [told["weight"] for told in described.values()] == list(blend.model.weights)
    assert described["random_forest"]["parameters"]["max_features"] == 1
    assert blend.metadata["parameters"] == params


@pytest.mark.parametrize("name", each("lightgbm", "xgboost"))
def test_members_keep_formats_of_their_own(name: str, tmp_path: Path) -> None:
    registry, trained, _ = commit(tmp_path, config(algorithm="blend", params={"of": [name, "logistic_regression"]}))
    data = dump(trained.model)
    with ZipFile(BytesIO(data)) as archive:
        assert archive.namelist() == ["blend.json", f"0.{ALGORITHMS[name].format}", "1.skops"]
    assert dump(parse(data)) == data
    matrix = np.random.default_rng(3).normal(size=(200, len(trained.features))).astype(np.float32)
    raw = probability_of_up(trained.model, trained.scaler.transform(matrix))
    assert load_scorer(registry, SCORED_KEY).raw_probabilities(matrix).tolist() == raw.tolist()
    assert name in trained.metadata["blend"]["members"]


@pytest.mark.parametrize("name", each("lightgbm", "xgboost"))
def test_a_blend_whose_member_lacks_its_library_names_the_extra(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, _, _ = commit(tmp_path, config(algorithm="blend", params={"of": [name, "logistic_regression"]}))
    absent = replace(ALGORITHMS[name], path="no_such_library:Model")
    monkeypatch.setitem(ALGORITHMS, name, absent)
    with pytest.raises(RegistryError, match=rf"\.blend, member {name}: algorithm {name}: cannot import .*\[{name}\]"):
        load_scorer(registry, SCORED_KEY)


def test_scores_of_the_folds_are_of_their_own_weights() -> None:
    _, weighed = windows(made_samples(900, signal=1.0))
    trained = train(made_samples(900, signal=1.0), model_spec("blend"), key=KEY)
    assert trained.metadata["blend"]["weights_by_fold"] == [[*one.model.weights] for one in weighed[:-1]]
    for fold, one in zip(trained.metadata["split"]["folds"], weighed, strict=False):
        shrunk = shrink(one.p_raw, one.base, trained.scores["shrink"])  # type: ignore[arg-type]
        assert fold["scores"]["log_loss"] == pytest.approx(log_loss(one.label, shrunk))


def test_the_benchmark_is_a_member_for_free(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = []
    fit = LogisticRegression.fit

    def counted(self: LogisticRegression, *arguments: Any) -> LogisticRegression:
        fits.append(self.C)
        fitted: LogisticRegression = fit(self, *arguments)
        return fitted

    samples = made_samples(900, signal=1.0)
    forest = train(samples, model_spec("random_forest"), key=KEY)
    monkeypatch.setattr(LogisticRegression, "fit", counted)
    blend = train(samples, model_spec("blend"), key=KEY)
    assert fits == [LOGISTIC_C] * 4, "three folds and the holdout"
    assert blend.holdout["p_benchmark"].equals(forest.holdout["p_benchmark"])
    fits.clear()
    other = train(samples, model_spec("blend", params={"logistic_regression": {"C": 1.0}}), key=KEY)
    assert sorted(fits) == [LOGISTIC_C] * 4 + [1.0] * 4
    assert other.holdout["p_benchmark"].equals(forest.holdout["p_benchmark"])


def test_a_refitted_blend_keeps_its_weights() -> None:
    samples = made_samples(900, signal=1.0)
    scored, refitted = (train(samples, model_spec("blend", refit=refit), key=KEY) for refit in (False, True))
    assert refitted.model.weights == scored.model.weights
    assert refitted.scores == scored.scores
    one, other = (predict_proba(each.model, each.scaler, samples, FEATURES) for each in (scored, refitted))
    assert not np.array_equal(one, other)


def test_weighted_rows_reach_every_member() -> None:
    samples = made_samples(900, signal=1.0)
    plain, aged = (
        train(samples, model_spec("blend", params={"of": THREE}, weights=weights), key=KEY)
        for weights in ("none", {"half_life_days": 0.05})
    )
    for name in THREE:
        one, other = (predict_proba(each.model.members[name], each.scaler, samples, FEATURES) for each in (plain, aged))
        assert not np.array_equal(one, other), name


def test_rows_of_a_blend_are_pooled_alike_whatever_stands_beside_them() -> None:
    p = np.random.default_rng(3).uniform(size=(1_000, 3))
    blend = Blend.of(dict.fromkeys("abc"))
    together = blend.pool(p)
    assert [blend.pool(p[row : row + 1])[0] for row in range(1_000)] == together.tolist()
    assert blend.pool(p[:0]).tolist() == []


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"of": ["random_forest"]}, r"of: a blend is of two algorithms or more, got \[random_forest\]: name another"),
    ({"of": []}, r"of: a blend is of two algorithms or more, got \[\]: name another"),
    ({"of": ["random_forest", "blend"]}, "of: a blend is no member of a blend: name its members instead"),
    ({"of": ["random_forest", "random_forest"]}, "of: random_forest is named twice: leave one out"),
    (
        {"of": ["random_forest", "logistic"]},
        r"unknown algorithm 'logistic'; did you mean 'logistic_regression'\? \(known: ",
    ),
    ({"of": "random_forest"}, r"of: expected a list of algorithms, such as \[random_forest, logistic_regression\]"),
    ({"of": ["random_forest", "no.such:THING"]}, "no.such:THING: no module 'no' on node"),
    ({"of": [1, 2]}, r"of: expected a number, text, true, false or null"),
    ({"max_depth": 3}, r"max_depth is no member of this blend \(members: random_forest, logistic_regression\)"),
    ({"random_forst": {}}, "random_forst is no member of this blend; did you mean 'random_forest'"),
    ({"extra_trees": {"max_depth": 3}}, "extra_trees is no member of this blend"),
    ({"random_forest": 3}, r"random_forest: expected a mapping of parameters, such as \{max_depth: 6\}"),
    ({"random_forest": {"max_depth": [3]}}, "random_forest: of its values: expected a number, text, true, false or nu"),
)


@pytest.mark.parametrize(("params", "message"), REFUSED)
def test_blends_that_are_none_are_refused_by_the_settings(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=rf"analyst_models\.params(\.\w+)?: ({message}|{message.partition(': ')[2]})"):
        config(algorithm="blend", params=params)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"random_forest": {"max_dept": 3}},
            "unknown parameter params.max_dept of random_forest; did you mean 'm",
        ),
        ({"random_forest": {"n_jobs": 3}}, "params.n_jobs of random_forest cannot be set: it follows from the CPUs"),
        ({"logistic_regression": {"C": -1.0}}, "params of logistic_regression: The 'C' parameter"),
    ],
)
def test_parameters_of_members_are_checked_before_anything_is_read(
    params: dict[str, Any], message: str, tmp_path: Path
) -> None:
    settings = config(algorithm="blend", params=params)
    data = settings.data.model_copy(update={"input": str(tmp_path / "absent")})
    with pytest.raises(ConfigError, match=message):
        make_plan(settings.model_copy(update={"data": data}))


def test_lists_and_mappings_are_for_blends_only() -> None:
    with pytest.raises(ConfigError, match=r"analyst_models\.params: of: expected a number, text, true, false or null"):
        config(algorithm="random_forest", params={"of": ["random_forest", "extra_trees"]})


def test_a_plan_counts_what_its_members_cost() -> None:
    def seconds(**kind: Any) -> float:
        return plan_tasks([series("BTC")], config(**kind))[0].seconds

    together = seconds(algorithm="blend", params={"of": THREE})
    assert together == pytest.approx(sum(seconds(algorithm=name) for name in THREE))


def test_members_choose_the_engine_and_bring_their_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(**kind: Any) -> str:
        settings = config(algorithm="blend", **kind)
        ((_, timeframe, spec),) = settings.model_specs()
        assert spec.engine == ("histogram" if "random_forest" in [one.algorithm for one in spec.fits] else "sklearn")
        return Recipe(spec, timeframe=timeframe, data=settings.data).fingerprint("abc")

    default = of()
    found = {
        default,
        of(params={"of": THREE}),
        of(params={"of": THREE, "logistic_regression": {"C": 0.1}}),
        of(params={"of": THREE[1:]}),
    }
    assert len(found) == 4
    monkeypatch.setitem(ALGORITHMS, "logistic_regression", replace(ALGORITHMS["logistic_regression"], version=2))
    assert of() != default
    assert of(params={"of": ["random_forest", "extra_trees"]}) not in found


def test_a_blend_is_set_as_other_algorithms_are() -> None:
    set_ = [
        "model_trainer.analyst_models.algorithm=blend",
        "model_trainer.analyst_models.params.of=[extra_trees,blend]",
    ]
    with pytest.raises(ConfigError, match="a blend is no member of a blend"):
        load_config({}, overrides=set_)


def noise_models(symbol: int) -> list[float | None]:
    """Return the lower ends of the skill's interval of blends on noise."""
    found = []
    for timeframe in ("5m", "15m"):
        (spec,) = (one for kind, each, one in specs() if (kind, each) == ("analyst", timeframe))
        blend = spec.model_copy(update={"algorithm": "blend", "params": {"of": THREE}})
        samples = samples_for(world(symbol, days=30, kind="noise"), timeframe, blend)
        found.append(model_of(samples, symbol, "analyst", timeframe, blend).scores["skill_low"])
    return found


@pytest.mark.slow
def test_blends_find_nothing_in_noise() -> None:
    models = [low for symbol in in_two_processes(noise_models, range(8)) for low in symbol]
    assert len(models) == 16
    above = [low for low in models if low is not None and low > 0]
    assert len(above) <= binom.ppf(0.99, len(models), 0.025)


def signal_models(symbol: int) -> tuple[float, float]:
    """Return the skill of a blend on a signal, and that of its best member."""
    (spec,) = (one for kind, each, one in specs() if (kind, each) == ("analyst", "5m"))
    blend = spec.model_copy(update={"algorithm": "blend"})
    trained = model_of(samples_for(world(symbol, days=30, kind="signal"), "5m", blend), symbol, "analyst", "5m", blend)
    losses = [one["scores"]["log_loss"] for one in trained.metadata["blend"]["members"].values()]
    return float(trained.scores["skill"]), 1 - min(losses) / float(trained.scores["base_log_loss"])  # type: ignore[arg-type]


@pytest.mark.slow
def test_blends_find_a_signal_as_their_best_member_does() -> None:
    found = np.array(in_two_processes(signal_models, range(6)))
    assert (found[:, 0] > 0).all()
    assert (found[:, 0] - found[:, 1]).mean() > -0.003
