"""Tasks, bundles and fingerprints."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.cli.plan import describe_plan
from job.cluster.bundles import bundle, by_series
from job.config.settings import Config, load_config
from job.core.errors import ConfigError
from job.core.keys import Key
from job.registry.fingerprints import Recipe
from job.sources.series import Series, SourceFile
from job.train.plan import make_plan, notes_on, plan_tasks
from job.train.resume import known_of
from job.train.task import Plan, Task
from job.worker.messages import Bundle
from transforms.labels import Direction


def series(symbol: str, exchange: str = "binance", rows: int = 43_200) -> Series:
    file = SourceFile(url=f"/bars/{symbol}-1m.feather", size=rows * 24, stamp="", format="feather")
    return Series(exchange=exchange, symbol=symbol, timeframe="1m", files=(file,))


def test_a_task_for_every_model_of_every_series() -> None:
    tasks = plan_tasks([series("ETH"), series("BTC")], Config())
    assert len(tasks) == 10
    assert [task.key for task in tasks] == sorted(task.key for task in tasks)
    assert {task.key.symbol for task in tasks} == {"BTC", "ETH"}
    hour = next(task for task in tasks if task.key.stem == "analyst_1h")
    minute = next(task for task in tasks if task.key.stem == "analyst_1m")
    assert minute.rows == pytest.approx(60 * hour.rows, rel=0.01)
    assert minute.seconds > hour.seconds
    assert minute.memory > hour.memory


def test_a_lookback_caps_the_estimated_rows() -> None:
    config = load_config({"data": {"lookback_days": 7}})
    (task, *_) = (task for task in plan_tasks([series("BTC")], config) if task.key.timeframe == "1m")
    assert task.rows == 7 * 1440


@pytest.mark.parametrize(
    ("group_by", "keys"),
    [
        ("timeframe", {("pooled", "all")}),
        ("exchange,timeframe", {("pooled", "binance"), ("pooled", "kraken")}),
        ("timeframe,symbol,exchange", {("binance", "BTC"), ("binance", "ETH"), ("kraken", "BTC")}),
    ],
)
def test_groupings(group_by: str, keys: set[tuple[str, str]]) -> None:
    config = load_config({"model_trainer": {"group_by": group_by}})
    tasks = plan_tasks([series("BTC"), series("ETH"), series("BTC", "kraken")], config)
    assert {(task.key.exchange, task.key.symbol) for task in tasks} == keys
    assert len(tasks) == 5 * len(keys)


def test_pooled_rows_are_capped() -> None:
    config = load_config({"model_trainer": {"group_by": "timeframe", "max_samples": 50_000}})
    tasks = {task.key.stem: task for task in plan_tasks([series("BTC"), series("ETH")], config)}
    assert (tasks["analyst_1m"].rows, tasks["analyst_1m"].capped) == (50_000, True)
    assert not tasks["analyst_1h"].capped
    roomy = load_config({"model_trainer": {"group_by": "timeframe", "max_samples": 100_000}})
    minute = next(task for task in plan_tasks([series("BTC"), series("ETH")], roomy) if task.key.stem == "analyst_1m")
    assert minute.capped, "86,400 rows are an estimate from file sizes: twice as many must still be thinned"


def test_bundles_of_pooled_tasks_name_their_own_series_only() -> None:
    config = load_config({"model_trainer": {"group_by": "timeframe"}})
    bundles = by_series(plan_tasks([series("ETH"), series("BTC")], config))
    assert [one.series.symbol for one in bundles] == ["BTC", "ETH"]
    assert all(task.series == (one.series,) for one in bundles for task in one.tasks)
    assert [len(one.tasks) for one in bundles] == [5, 5]


def task(symbol: str, number: int, seconds: float) -> Task:
    spec = next(iter(Config().model_specs()))[2]
    key = Key("binance", symbol, f"{number}m", "analyst")
    return Task(key=key, spec=spec, series=(series(symbol),), rows=1, seconds=seconds, memory=1)


@given(
    costs=st.lists(st.tuples(st.sampled_from("ABC"), st.floats(0.01, 100)), min_size=1, max_size=40),
    cpus=st.integers(1, 64),
)
def test_bundles_hold_every_task_once_and_stay_short(costs: list[tuple[str, float]], cpus: int) -> None:
    tasks = [task(symbol, number + 1, seconds) for number, (symbol, seconds) in enumerate(costs)]
    bundles = bundle(tasks, cpus=cpus)
    assert sorted(one.key for part in bundles for one in part.tasks) == sorted(one.key for one in tasks)
    assert [part.seconds for part in bundles] == sorted((part.seconds for part in bundles), reverse=True)
    limit = min(30.0, sum(one.seconds for one in tasks) / (3 * cpus))
    for part in bundles:
        assert {one.series[0] for one in part.tasks} == {part.series}
        assert len(part.tasks) == 1 or part.seconds <= limit * (1 + 1e-9)


def test_five_models_of_one_symbol_use_both_cores() -> None:
    bundles = bundle(plan_tasks([series("BTC")], Config()), cpus=2)
    assert len(bundles) >= 2


def test_known_versions_reach_their_task() -> None:
    tasks = [task("A", 1, 1.0), task("B", 1, 1.0)]
    summaries = [
        {"version": f"v{number}", "key": ["binance", "A", "1m", "analyst"], "fingerprint": f"f{number}"}
        for number in (1, 2)
    ]
    a, b = (told.of(task) for task, told in known_of(tasks, summaries, {}, Config(), verify=False))
    assert a.known == (("f1", "v1"), ("f2", "v2"))
    assert b.known == ()


def test_a_fingerprint_changes_with_what_decides_the_model_and_with_nothing_else() -> None:
    config = Config()
    spec = next(iter(config.model_specs()))[2]

    def of(spec: object = spec, *, content: str = "abc", **changes: object) -> str:
        return Recipe(spec, **{"timeframe": "1h", "data": config.data, **changes}).fingerprint(content)  # type: ignore[arg-type]

    assert of() == of()
    assert of(data=config.data.model_copy(update={"input": "elsewhere", "symbols": ("BTC",)})) == of()
    assert of(data=config.data.model_copy(update={"max_fill": 6})) != of()
    assert of(content="abd") != of()
    end = {"end": datetime(2024, 2, 1, tzinfo=UTC)}
    back = config.data.model_copy(update={"lookback_days": 3.0})
    assert of(data=config.data.model_copy(update=end)) == of(), "the bars' digest says where they end"
    assert of(data=back.model_copy(update=end)) != of(data=back), "the days count from the end, not from the last bar"
    assert of(timeframe="5m") != of()
    for field, value in {"n_estimators": 7, "features": spec.features[1:], "random_state": 1, "test_size": 0.3}.items():
        assert of(spec=spec.model_copy(update={field: value})) != of(), field
    assert of(spec=spec.model_copy(update={"label": Direction(horizon=3)})) != of()


def test_a_plan_without_input_says_what_to_set() -> None:
    with pytest.raises(ConfigError, match=r"data\.input is not set"):
        make_plan(Config())


def test_parameters_that_an_estimator_does_not_take_are_refused_before_anything_is_read() -> None:
    params = {"tactician_models": {"params": {"learning_rat": 0.1}}}
    config = load_config({"data": {"input": "nowhere"}, "model_trainer": params})
    with pytest.raises(ConfigError, match=r"learning_rat.*did you mean 'learning_rate'"):
        make_plan(config)


def test_a_plan_is_described_by_kind() -> None:
    described = describe_plan(Plan(tuple(plan_tasks([series("BTC"), series("ETH")], Config()))))
    assert described["models"] == 10
    assert [kind["models"] for kind in described["kinds"]] == [2] * 5
    assert described["cpu_seconds"] > 0


def test_bundles_know_their_cost() -> None:
    assert Bundle(series("A"), (task("A", 1, 1.5), task("A", 2, 2.0))).seconds == 3.5


def test_timeframes_that_bars_do_not_make_are_noted_once_for_all_series() -> None:
    coarse = [replace(series(f"S{number}"), timeframe="15m") for number in range(5)]
    tasks = plan_tasks([*coarse, series("BTC")], Config())
    (note,) = notes_on(tasks, Config())
    assert note.startswith(
        "binance/S0, binance/S1, binance/S2 and 2 more: bars of 15m do not make 5m, 1m; those models"
    )


def test_kinds_are_described_from_the_longest_timeframe_to_the_shortest() -> None:
    kinds = describe_plan(Plan(tuple(plan_tasks([series("BTC")], Config()))))["kinds"]
    assert [kind["timeframe"] for kind in kinds] == ["1h", "15m", "5m", "1m", "1m"]
