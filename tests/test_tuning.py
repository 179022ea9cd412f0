"""Studies: the same trials whatever interrupts them, honest losses, a default that is replaced for a reason only."""

import random
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest

from job.config.settings import Config, load_config
from job.core.errors import ConfigError, DataError, JobError, RegistryError
from job.core.keys import Key
from job.learning.algorithms import Window
from job.learning.choice import SHRINK_WEIGHTS, Trial, choose, first_folds, gain, is_hopeless
from job.learning.estimators import ALGORITHMS, build
from job.learning.fitting import evaluate
from job.learning.metrics import row_log_loss, shrink
from job.learning.spaces import Range, Space, describe_space, parse_space
from job.learning.training import train
from job.learning.tuning import TuningRows, fold_loss, probabilities, ready, without_holdout
from job.registry.studies import Winner, read_winners
from job.storage.files import Storage
from job.train.task import Task
from job.tune import plan as planning
from job.tune.ask import ask
from job.tune.plan import plan, space_of, studies_of
from job.tune.study import conduct
from job.tune.task import Request
from tests.algorithms import each, quick
from tests.studies import Row, answer, job_of, requests, row_of, rows_of, study_of, tuned_config, winner_of
from tests.worlds import in_two_processes, samples_for, world

SPACE: Space = {"max_depth": Range(2, 12), "C": Range(1e-3, 1.0, log=True), "criterion": ("gini", "entropy")}
BAD: dict[str, dict[str, Any]] = {
    "random_forest": {"params": {"max_depth": 1, "min_samples_leaf": 0.45, "max_features": 1}},
    "logistic_regression": {"algorithm": "logistic_regression", "params": {"C": 1e-7}},
}


SEARCHED = [name for name, one in ALGORITHMS.items() if one.space]
"""Algorithms with a search space."""


def test_every_algorithm_can_be_searched_but_blends() -> None:
    assert {*SEARCHED} == {*ALGORITHMS} - {"blend"}


@pytest.fixture(scope="module")
def samples() -> pl.DataFrame:
    """Fifteen days of a symbol with something to learn."""
    config = tuned_config("memory://samples")
    return samples_for(world(3, days=15, kind="signal"), "15m", config.spec_of("analyst"))


def tuning_rows(samples: pl.DataFrame, config: Config) -> TuningRows:
    spec = config.spec_of("analyst")
    early, start = without_holdout(samples, spec)
    return TuningRows.of(early, spec, timeframe="15m", holdout_from=start)


@pytest.mark.parametrize("algorithm", each(*SEARCHED))
def test_what_is_fitted_is_what_training_fits(algorithm: str, samples: pl.DataFrame) -> None:
    config = tuned_config("memory://x", folds=2, algorithm=algorithm)
    spec, tuned = config.spec_of("analyst", quick(algorithm)), tuning_rows(samples, config)
    found = train(samples, spec, key=Key("synthetic", "SYN03", "15m", "analyst"))
    for number, (fold, described) in enumerate(zip(tuned.folds, found.metadata["split"]["folds"], strict=True)):
        windows = ready(tuned, number, spec)
        p = probabilities(windows, spec, n_jobs=1)
        expected = evaluate(tuned.rows, fold, spec, n_jobs=1)
        assert np.array_equal(p, expected.p_raw)
        assert described["test_rows"] == len(p)
        loss = fold_loss(tuned, windows, p)
        for weight, sums in zip(SHRINK_WEIGHTS, loss.sums, strict=True):
            slow = row_log_loss(expected.label, shrink(p, expected.base, weight))
            assert sum(sums) == pytest.approx(slow.sum(), rel=1e-9)
        assert sum(loss.rows) == len(p)


@pytest.mark.parametrize("algorithm", each(*SEARCHED))
def test_every_algorithm_has_a_space_that_its_estimator_takes(algorithm: str) -> None:
    config = tuned_config("memory://x", algorithm=algorithm)
    spec = config.spec_of("analyst")
    space = space_of(spec, {})
    assert parse_space(describe_space(space)) == space
    for params in ask(range(1, 6), [], space, seed=1).values():
        assert params.keys() == space.keys()
        build(config.spec_of("analyst", params), Window(500))


def test_the_holdout_is_never_looked_at(samples: pl.DataFrame) -> None:
    config = tuned_config("memory://x")
    study, draw = study_of(config, 1), np.random.default_rng(1)
    (task,) = study.tasks
    _, start = without_holdout(samples, study.spec)
    late = pl.col("available_at").to_physical() >= start
    rewritten = samples.with_columns(
        pl.when(late).then(1 - pl.col("label")).otherwise("label").cast(pl.Int8).alias("label"),
        *(
            pl.when(late).then(pl.Series(draw.normal(size=samples.height))).otherwise(name).cast(kind).alias(name)
            for name, kind in samples.schema.items()
            if name in study.spec.feature_names
        ),
    )
    assert not samples.equals(rewritten)
    specs = {number: config.spec_of("analyst", own) for number, own in ask(range(3), [], study.space, seed=1).items()}
    asked = [replace(task, request=Request(specs, tuple(range(study.spec.cv_folds))))]
    one, other = (
        answer(asked, {task.key: row_of(task, rows, config)}, job_of(config, "memory://x"))[task.key].losses
        for rows in (samples, rewritten)
    )
    assert one == other
    assert len(one[2]) == study.spec.cv_folds


def test_the_last_fold_says_how_much_to_shrink_and_nothing_else(samples: pl.DataFrame) -> None:
    config = tuned_config("memory://x")
    tuned, spec = tuning_rows(samples, config), config.spec_of("analyst")
    windows = [ready(tuned, number, spec) for number in range(spec.cv_folds)]
    folds = [fold_loss(tuned, one, probabilities(one, spec, n_jobs=1)) for one in windows]
    other = [*folds[:-1], replace(folds[-1], sums=folds[-1].sums[::-1])]
    one, two = (Trial.complete(1, {}, {}, {"A": own}) for own in (folds, other))
    assert one.shrink["A"] == pytest.approx(1 - two.shrink["A"])
    at = SHRINK_WEIGHTS.index(two.shrink["A"])
    expected = sum(sum(fold.sums[at]) for fold in folds[:-1]) / sum(sum(fold.rows) for fold in folds[:-1])
    assert two.mean == pytest.approx(expected)


@pytest.mark.parametrize(("folds", "first"), [(2, 1), (3, 1), (5, 2), (10, 4)])
def test_first_folds_cost_a_fifth(folds: int, first: int) -> None:
    assert first_folds(folds) == first


def losses_at(values: Mapping[tuple[str, int], tuple[float, float]]) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {}
    for (series, block), (rows, loss) in values.items():
        found.setdefault(series, {})[str(block)] = [rows, loss]
    return found


def test_the_error_of_a_gain_is_clustered_by_series_and_time() -> None:
    draw = np.random.default_rng(5)
    cells = [cell for cell in product("ABCDE", range(9, 21)) if cell not in {("A", 12), ("C", 20)}]
    rows = {cell: float(draw.integers(1, 9)) for cell in cells}
    symbol, day = {one: draw.normal() for one in "ABCDE"}, {one: draw.normal() for one in range(9, 21)}
    saved = {cell: rows[cell] * (symbol[cell[0]] + day[cell[1]] + draw.normal()) for cell in cells}
    losses = losses_at({cell: (rows[cell], 5.0) for cell in cells})
    other = losses_at({cell: (rows[cell], 5.0 + saved[cell]) for cell in cells})
    mean = sum(saved.values()) / sum(rows.values())
    variance = {"symbol": 0.0, "day": 0.0, "both": 0.0}
    for a, b in product(cells, cells):
        shared = (saved[a] - mean * rows[a]) * (saved[b] - mean * rows[b])
        variance["symbol"] += (a[0] == b[0]) * shared * 5 / 4
        variance["day"] += (a[1] == b[1]) * shared * 12 / 11
        variance["both"] += (a == b) * shared
    found = gain(losses, other)
    assert found.mean == pytest.approx(mean)
    expected = max(variance["symbol"] + variance["day"] - variance["both"], variance["symbol"], variance["day"])
    assert found.error == pytest.approx(np.sqrt(expected) / sum(rows.values()))


def test_a_gain_of_one_series_is_clustered_by_time_and_one_block_has_no_error() -> None:
    losses, other = ({"A": {"1": [2, 1.0 + x], "2": [2, 1.5 + 2 * x], "3": [1, 0.5]}} for x in (0.0, 0.1))
    saved, rows = np.array([0.1, 0.2, 0.0]), np.array([2, 2, 1])
    expected = np.sqrt(np.square(saved - 0.06 * rows).sum() * 3 / 2) / 5
    assert gain(losses, other).error == pytest.approx(expected)
    assert gain({"A": {"1": [2, 1.0]}}, {"A": {"1": [2, 1.2]}}).error is None
    assert is_hopeless(other, losses)
    assert not is_hopeless(losses, other)


def test_the_default_stays_unless_the_best_of_many_saves_more_than_chance_would() -> None:
    draw = np.random.default_rng(3)
    noise = {(series, day): draw.normal(scale=0.3) for series in "ABCD" for day in range(30)}
    default = losses_at(dict.fromkeys(noise, (24, 16.0)))

    def trial(number: int, saved: float) -> Trial:
        losses = losses_at({cell: (24, 16.0 - saved - one) for cell, one in noise.items()})
        return Trial(number, {"C": float(number)}, "complete", losses=losses)

    error = gain(trial(1, 0.0).losses, default).error
    assert error is not None
    offset = gain(trial(1, 0.0).losses, default).mean
    saving = {errors: 24 * (errors * error - offset) for errors in (1.2, 1.4, 2.4, 2.7)}
    nothing = Trial(0, {}, "complete", losses=default)
    assert choose([nothing, trial(1, saving[1.2])]).winner == 0
    assert choose([nothing, trial(1, saving[1.4])]).winner == 1, "by chance, one in ten is as good as 1.28 errors"
    hopeless = [Trial(number, {}, "pruned", first=default) for number in range(2, 20)]
    assert choose([nothing, trial(1, saving[2.4]), *hopeless]).winner == 0, "those that were given up were tried"
    assert choose([nothing, trial(1, saving[2.7]), *hopeless]).winner == 1


def known(count: int) -> list[Trial]:
    asked = ask(range(count), [], SPACE, seed=7)
    losses = {number: {"A": {"1": [1, 0.69 - 0.001 * number]}} for number in asked}
    return [
        Trial(number, params, "pruned", first=losses[number])
        if number % 3 == 2
        else Trial(number, params, "complete", losses=losses[number])
        for number, params in asked.items()
    ]


def test_what_is_asked_for_depends_on_the_seed_the_number_and_earlier_batches_only() -> None:
    trials = known(10)
    together = ask(range(10, 14), trials, SPACE, seed=7)
    assert {number: ask([number], trials, SPACE, seed=7)[number] for number in together} == together
    assert ask([0], trials, SPACE, seed=7) == {0: {}}
    assert len({str(params) for params in together.values()}) == 4
    assert ask([10], trials, SPACE, seed=8)[10] != together[10]
    assert ask([10], trials[:-1], SPACE, seed=7)[10] != together[10]
    for params in together.values():
        assert 2 <= params["max_depth"] <= 12  # type: ignore[operator]
        assert 1e-3 <= params["C"] <= 1  # type: ignore[operator]


def test_settings_that_were_tried_are_drawn_again() -> None:
    space: Space = {"max_depth": Range(2, 4)}
    tried = [Trial(number, {"max_depth": number + 1}, "complete", losses={"A": {"1": [1, 0.7]}}) for number in (1, 2)]
    assert {params["max_depth"] for params in ask(range(3, 9), tried, space, seed=1).values()} == {4}
    tried.append(Trial(3, {"max_depth": 4}, "failed", error="x"))
    assert ask([4], tried, space, seed=1)[4]["max_depth"] in {2, 3, 4}, "there is nothing else left"


def files_of(registry: Storage) -> dict[str, bytes]:
    """Return what is kept of studies, but when each chose."""
    found = registry.read_many(registry.list("tuning"))
    return {path: data.partition(b'"chosen_at"')[0] for path, data in found.items()}


@pytest.fixture(scope="module")
def undisturbed() -> tuple[Config, dict[Key, Row], dict[str, bytes], Winner]:
    """A study of three series from its beginning to its end."""
    url = "memory://undisturbed"
    config = tuned_config(url, trials=14, batch=4, algorithm="logistic_regression")
    study = study_of(config, 3)
    rows = rows_of(study, config, days=12, kind="signal")
    winner = winner_of(study, rows, config, Storage(url))
    return config, rows, files_of(Storage(url)), winner


@pytest.mark.parametrize("seed", range(2))
def test_a_study_that_is_stopped_at_any_request_goes_on_as_if_it_was_not(
    seed: int, undisturbed: tuple[Config, dict[Key, Row], dict[str, bytes], Winner], memory: Storage
) -> None:
    config, rows, files, expected = undisturbed
    draw, finished, tried = random.Random(seed), set[int](), list[int]()
    study = study_of(config, 3)
    winner = None
    while winner is None:
        stop = draw.randint(1, 4)
        for number, (tasks, ended) in enumerate(
            requests(conduct(study, memory, config), rows, job_of(config, memory.url))
        ):
            assert finished.isdisjoint(tasks[0].request.specs), "a finished trial is run again"
            if tasks[0].request.folds[:1] == (0,):
                tried += tasks[0].request.specs
            winner = ended
            if number == stop and ended is None:
                break
        finished = {int(path[-10:-5]) for path in memory.list("tuning") if "/trials/" in path}
    assert files_of(memory) == files
    assert replace(winner, chosen_at="") == replace(expected, chosen_at="")
    assert set(tried) == set(range(14))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"number": 2}', b'{"number": 2, "more": 1}', b"\xff"])
def test_damaged_files_of_studies_are_named(
    data: bytes, undisturbed: tuple[Config, dict[Key, Row], dict[str, bytes], Winner], memory: Storage
) -> None:
    config, rows, files, _ = undisturbed
    for name in ("trials/00002.json", "winner-00014.json"):
        for path, content in files.items():
            memory.replace(path, content)
        (path,) = (path for path in files if path.endswith(name))
        memory.replace(path, data)
        with pytest.raises(RegistryError, match=f"{name} is damaged: delete the study's folder, and tune again"):
            read_winners(memory) if "winner" in name else winner_of(study_of(config, 3), rows, config, memory)


def test_a_larger_budget_goes_on_from_the_trials_of_the_smaller(
    undisturbed: tuple[Config, dict[Key, Row], dict[str, bytes], Winner], memory: Storage
) -> None:
    config, rows, files, _ = undisturbed
    study = study_of(config, 3)
    assert winner_of(replace(study, trials=6), rows, config, memory).trials == 6
    winner_of(study, rows, config, memory)
    assert {path: data for path, data in files_of(memory).items() if "winner-00006" not in path} == files
    assert {one.trials for one in read_winners(memory).values()} == {14}


def test_series_of_bad_bars_are_left_out_and_dead_workers_stop_a_study(
    undisturbed: tuple[Config, dict[Key, Row], dict[str, bytes], Winner], memory: Storage
) -> None:
    config, rows, _, _ = undisturbed
    study = study_of(config, 3)
    one, *_ = rows
    row, samples = rows[one]
    bad = {"type": "TrainingError", "message": "too few", "where": "making samples"}
    assert winner_of(study, {**rows, one: (replace(row, error=bad), samples)}, config, memory).series == 2
    everywhere = {key: (replace(row, error=bad), None) for key in rows}
    with pytest.raises(DataError, match="analyst 15m: no series can be used: too few"):
        winner_of(study, everywhere, config, memory)
    dead = {"type": "WorkerDied", "message": "it died", "where": "making samples"}
    with pytest.raises(JobError, match="analyst 15m: it died; run it again to go on"):
        winner_of(study, {**rows, one: (replace(row, error=dead), None)}, config, memory)


def test_settings_that_cannot_be_fitted_fail_alone(
    undisturbed: tuple[Config, dict[Key, Row], dict[str, bytes], Winner], memory: Storage
) -> None:
    config, rows, _, _ = undisturbed
    study = replace(study_of(config, 3), space={"C": (1e-3, 1e-4), "solver": ("lbfgs", "nonsense")}, trials=8)
    winner = winner_of(study, rows, config, memory)
    assert 0 < winner.failed < 7
    assert winner.params.get("solver") != "nonsense"


def noise_study(number: int) -> tuple[int, float]:
    url = f"memory://noise{number}"
    config = tuned_config(url, algorithm=("random_forest", "logistic_regression")[number % 2])
    study = study_of(config, 3)
    rows = rows_of(study, config, days=12, kind="noise", first=1_000 + 3 * number)
    winner = winner_of(study, rows, config, Storage(url))
    return winner.winner, winner.gain / (winner.error or 1.0)


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_noise_keeps_the_default() -> None:
    found = in_two_processes(noise_study, range(20))
    assert sum(winner == 0 for winner, _ in found) >= 18, found


@pytest.mark.parametrize(
    "bad",
    [pytest.param(one, marks=[pytest.mark.slow] * (name == "random_forest"), id=name) for name, one in BAD.items()],
)
def test_a_bad_default_is_replaced_where_there_is_something_to_learn(bad: dict[str, Any], memory: Storage) -> None:
    config = tuned_config(memory.url, timeframe="5m", label="direction(5)", **bad)
    study = study_of(config, 5)
    winner = winner_of(study, rows_of(study, config, days=20, kind="signal", first=50), config, memory)
    assert winner.winner
    assert winner.required is not None
    assert winner.gain > winner.required > (winner.error or 0.0)
    specs = [config.spec_of("analyst", params) for params in ({}, winner.params)]
    before, after = (
        [
            train(samples_for(world(number, days=20, kind="signal"), "5m", spec), spec, key=task.key)
            for number, task in enumerate(study.tasks, 50)
        ]
        for spec in specs
    )
    for score in ("log_loss", "accuracy"):
        worse, better = (np.mean([model.scores[score] or 0.0 for model in models]) for models in (before, after))
        assert (worse > better) == (score == "log_loss"), score


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"C": 3}, r"C: write \{low: 0.01"),
        ({"C": {"low": 2, "high": 1}}, "low must be less than high"),
        ({"C": {"low": 0, "high": 1, "log": True}}, "above 0 on a log scale"),
        ({"C": {"low": 1, "hihg": 2}}, "C: write"),
        ({"C": {"low": "1", "high": 2}}, "low and high are numbers"),
        ({"C": [1]}, "at least two different values"),
        ({"C": [1.0, float("inf")]}, "C: expected finite values"),
        ({"C": {"low": 0.1, "high": float("inf")}}, "C: expected a finite range"),
        ({"C": {"low": -1e308, "high": 1e308}}, "C: expected a finite range"),
        ({}, "expected parameters by name"),
    ],
)
def test_a_space_that_is_none_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config({"tune": {"space": {"logistic_regression": space}}})


def test_settings_of_the_space_replace_the_algorithms(undisturbed: tuple[Config, Any, Any, Any]) -> None:
    config = load_config({"tune": {"space": {"random_forest": {"max_depth": {"low": 2, "high": 5}}}}})
    spec = config.spec_of("analyst")
    assert space_of(spec, config.tune.space) == {"max_depth": Range(2, 5)}
    assert load_config(config.masked()).tune == config.tune
    with pytest.raises(ConfigError, match=r"unknown parameter params\.depth"):
        space_of(spec, {"random_forest": {"depth": Range(1, 2)}})
    with pytest.raises(
        ConfigError, match=r"algorithm random_forest has no space to search: name ranges .* in tune\.space"
    ):
        space_of(spec, {"random_forest": {}})
    with pytest.raises(ConfigError, match=r"params of random_forest: .*'criterion'"):
        space_of(spec, {"random_forest": {"criterion": ("gini", "gin", "entropy")}})
    blend = config.spec_of("analyst").model_copy(update={"algorithm": "blend", "params": {}})
    for space in ({}, {"blend": {"of": ("a", "b")}}):
        with pytest.raises(ConfigError, match=r"a blend has no parameters of its own to search: tune with algorithm: "):
            space_of(blend, space)
    with pytest.raises(ConfigError, match="unknown algorithm"):
        load_config({"tune": {"space": {"forest": {"max_depth": [1, 2]}}}})


def test_series_are_sampled_evenly_and_by_seed() -> None:
    spec = Config().spec_of("analyst")
    keys = [Key("a", f"S{number:03d}", "15m", "analyst") for number in range(100)]
    tasks = [Task(key=key, spec=spec, series=(), rows=0, seconds=0.0, memory=0) for key in keys]

    def sample(tasks: list[Task], size: int, seed: int) -> list[int]:
        config = load_config({"tune": {"series": size}, "model_trainer": {"random_state": seed}})
        (study,) = studies_of(tasks, config, per_key=False)
        return [int(task.key.symbol[1:]) for task in study.tasks]

    for seed in range(3):
        chosen = sample(tasks, 10, seed)
        assert [number // 10 for number in chosen] == list(range(10))
        assert chosen == sample(tasks[::-1], 10, seed)
    assert len({tuple(sample(tasks, 10, seed)) for seed in range(3)}) == 3
    assert sample(tasks, 200, 1) == list(range(100))


@pytest.mark.parametrize(
    ("trainer", "message"),
    [({"group_by": ["timeframe"]}, "leave out --group-by"), ({"cv_folds": 1}, "raise cv_folds")],
)
def test_what_cannot_be_tuned_is_refused(trainer: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan(load_config({"model_trainer": trainer, "data": {"input": "data/sample"}}))


def test_without_optuna_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "installed", lambda _name: None)
    with pytest.raises(ConfigError, match=r"tune needs optuna.*pip install -c constraints.txt '\.\[tune\]'"):
        plan(Config())
