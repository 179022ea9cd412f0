"""The retrain policy: what it decides, what a plan knows without reading, how often a loop trains, what predicts."""

import json
import os
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from job.api.trainer import RayModelTrainer
from job.cli import main
from job.config.policies import PredictionSettings, RetrainSettings
from job.config.settings import Config, load_config
from job.core.errors import ConfigError, RegistryError
from job.core.keys import Key
from job.core.synth import make_bars
from job.predict.plan import Request
from job.predict.plan import plan as plan_predictions
from job.predict.run import run as run_predictions
from job.predict.task import Predicted
from job.registry.catalog import list_summaries, open_registry, rebuild
from job.registry.fingerprints import listing_fingerprint
from job.registry.listings import Continued, carry_growth, read_growth
from job.registry.model_age import check_age
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.registry.versions import list_versions, read_metadata
from job.storage.files import Storage
from job.train.plan import plan as plan_training
from job.train.policy import Decision, Held, TrainedOn, decide
from job.train.record import TrainingRecord
from job.train.run import run as run_on_ray
from job.train.task import Plan
from tests.here import run_here as run
from tests.here import without_ray

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
KEY = Key("synthetic", "SYN00USDT", "15m", "analyst")
ONE_KIND = {"enable_tactician_models": False, "cv_folds": 1, "test_size": 0.3}
FAST: dict[str, Any] = {"analyst_models": {"timeframes": ["15m"], "algorithm": "logistic_regression"}, **ONE_KIND}
"""One model per series, trained in a blink."""


def held(*, age: timedelta, end: datetime = EPOCH, alarm: datetime | None = None) -> Held:
    return Held("v", EPOCH, EPOCH + age, {"x/A": TrainedOn("0" * 64, end)}, alarm)


durations = st.timedeltas(timedelta(0), timedelta(days=40))


@given(
    min_new_bars=st.none() | st.integers(1, 100),
    max_age=st.none() | st.timedeltas(timedelta(days=1), timedelta(days=30)).map(lambda one: timedelta(one.days)),
    on_evidence=st.booleans(),
    age=durations,
    added=durations,
    alarm=st.none() | st.datetimes(datetime(2023, 12, 1), datetime(2024, 1, 31), timezones=st.just(UTC)),
)
def test_a_model_is_trained_once_a_trigger_is_reached_and_never_before(  # noqa: PLR0917 - hypothesis names them
    min_new_bars: int | None,
    max_age: timedelta | None,
    on_evidence: bool,
    age: timedelta,
    added: timedelta,
    alarm: datetime | None,
) -> None:
    policy = RetrainSettings(min_new_bars=min_new_bars, max_age=max_age, on_evidence=on_evidence)
    decision = decide(policy, "1h", held(age=age, alarm=alarm), added=added)
    enough = min_new_bars is not None and added >= min_new_bars * HOUR
    old = max_age is not None and age >= max_age
    flagged = on_evidence and alarm is not None and alarm > EPOCH
    assert decision.train == (added > timedelta(0) and (enough or old or flagged))
    assert decision.version == ("" if decision.train else "v")
    if decision.train:
        return
    # What it says of the future is true: at that time, or with these bars, it is trained, and not a moment before.
    later = added + HOUR
    if decision.until is not None:
        assert decide(policy, "1h", held(age=decision.until - EPOCH, alarm=alarm), added=later).train
        if max_age is not None and not enough and later < (min_new_bars or 1000) * HOUR:
            before = decision.until - EPOCH - timedelta(microseconds=1)
            assert not decide(policy, "1h", held(age=before, alarm=alarm), added=later).train
    if decision.until_bars is not None:
        assert decide(policy, "1h", held(age=age, alarm=alarm), added=decision.until_bars - EPOCH).train


def test_why_and_until_when_a_model_is_fresh_enough() -> None:
    policy = RetrainSettings(min_new_bars=24, max_age=timedelta(days=7), on_evidence=True)
    decision = decide(policy, "1h", held(age=timedelta(days=1)), added=3 * HOUR)
    assert decision.record() == {
        "why": "3 of 24 new bars, 1.0 days of 7d old, not flagged",
        "until": {"bars": "2024-01-02T00:00:00+00:00", "time": "2024-01-08T00:00:00+00:00"},
    }
    flagged = held(age=timedelta(days=1), alarm=EPOCH + HOUR)
    assert decide(policy, "1h", flagged, added=3 * HOUR) == Decision.to_train("flagged at 2024-01-01T01:00+00:00")
    assert not decide(policy, "1h", held(age=timedelta(days=1), alarm=EPOCH), added=3 * HOUR).train, "seen in training"
    assert (
        decide(policy, "1h", held(age=timedelta(days=9)), added=timedelta(0)).why == "no new bars (9.0 days of 7d old)"
    )


@pytest.mark.parametrize("value", ["a week", "7", 7, "-1d", "1.5d", "0d", "200000d", True])
def test_a_duration_is_a_number_and_a_unit(value: object) -> None:
    with pytest.raises(ConfigError, match=r"retrain.max_age: expected"):
        load_config({"retrain": {"max_age": value}})


@pytest.mark.parametrize(("text", "days"), [("7d", 7), ("36h", 1.5), ("2w", 14)])
def test_durations(text: str, days: float) -> None:
    config = load_config({}, [f"retrain.max_age={text}", "predictions.max_model_age=90d"])
    assert config.retrain.max_age == timedelta(days=days)
    assert load_config(config.model_dump()) == config
    assert config.masked()["predictions"]["max_model_age"] == "90d"
    assert config.retrain.is_set
    assert not load_config({}).retrain.is_set


@pytest.fixture(scope="module")
def bars() -> pl.DataFrame:
    return make_bars(seed=3, days=14, world="signal")


class Input:
    """A folder of bars of some symbols in one file each, which grow as a collector's do, and a registry beside it."""

    def __init__(self, folder: Path, bars: pl.DataFrame, *symbols: str) -> None:
        self.folder, self.bars, self.symbols = folder, bars, symbols
        self.stamp = 1_700_000_000

    def file(self, symbol: str) -> Path:
        return self.folder / "bars" / "exchange=synthetic" / f"symbol={symbol}" / f"{symbol}-1m.parquet"

    def hold(
        self, until: datetime, *symbols: str, change: Callable[[pl.DataFrame], pl.DataFrame] | None = None
    ) -> None:
        """Write the bars that close until a time, of all symbols unless some are named."""
        frame = self.bars.filter(pl.col("timestamp") < until)
        for symbol in symbols or self.symbols:
            self.file(symbol).parent.mkdir(parents=True, exist_ok=True)
            changed = change(frame) if change else frame
            changed.write_parquet(self.file(symbol), compression="uncompressed", statistics=False)

    def config(self, **settings: Any) -> Config:
        trainer = {**FAST, "model_directory": str(self.folder / "models"), **settings.pop("model_trainer", {})}
        data = {"input": str(self.folder / "bars"), **settings.pop("data", {})}
        return load_config({"data": data, "model_trainer": trainer, **settings}).with_absolute_paths()


@pytest.fixture
def one(tmp_path: Path, bars: pl.DataFrame) -> Input:
    return Input(tmp_path, bars, "SYN00USDT")


def day(number: float) -> datetime:
    return EPOCH + timedelta(days=number)


def answers(plan: Plan) -> tuple[int, int, int, int]:
    """Return how many models are current, fresh enough, to check and to train."""
    checks = sum(task.to_check for task in plan.tasks)
    return len(plan.current), len(plan.fresh), checks, len(plan.tasks) - checks


def only(record: TrainingRecord) -> Outcome:
    (outcome,) = record.outcomes
    return outcome


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> Callable[[Config], TrainingRecord]:
    """Run where neither Ray may start nor bars be read."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was started, or bars were read")

    def run_without(config: Config) -> TrainingRecord:
        with monkeypatch.context() as patched:
            patched.setattr("job.cluster.session.running", refuse)
            patched.setattr("job.sources.reading.read_file", refuse)
            return run_on_ray(config)

    return run_without


NoRay = Callable[[Config], TrainingRecord]


def test_a_grown_file_is_read_once_and_then_known_to_be_fresh_enough(one: Input, no_ray: NoRay) -> None:
    config = one.config(retrain={"min_new_bars": 96})
    one.hold(day(10))
    assert only(run(config)).status == "trained"
    assert answers(plan_training(config)) == (1, 0, 0, 0)
    one.hold(day(10.5))
    assert answers(plan_training(config)) == (0, 0, 1, 0)
    outcome = only(run(config))
    assert (outcome.status, outcome.error) == ("fresh_enough", None)
    assert outcome.why == "47 of 96 new bars", "a few minutes are missing"
    assert outcome.until == {"bars": day(11).isoformat()}
    for _ in range(2):
        again = only(no_ray(config))
        assert (again.status, again.why, again.until) == (outcome.status, outcome.why, outcome.until)
        assert (again.version, again.scores) == (outcome.version, outcome.scores)
    one.hold(day(11.1))
    trained = only(run(config))
    assert (trained.status, trained.why) == ("trained", "105 of 96 new bars")
    assert only(no_ray(config)).status == "current"


def test_growing_inputs_train_as_often_as_the_policy_says(one: Input, no_ray: NoRay) -> None:
    """Three more hours each time: 12 bars of 15 minutes, of which 48 train; in between nothing unchanged starts Ray."""
    config = one.config(retrain={"min_new_bars": 48})
    one.bars = make_bars(seed=3, days=11, world="signal", dropout=0)
    statuses = []
    for number in range(26):
        one.hold(day(7) + 3 * number * HOUR)
        statuses.append(only(run(config)).status)
        if number % 8 in {0, 3}:
            assert only(no_ray(config)).status == ("current" if statuses[-1] == "trained" else "fresh_enough")
    assert statuses == ["trained" if number % 4 == 0 else "fresh_enough" for number in range(26)]
    (key,) = {outcome.key for outcome in plan_training(config).fresh}
    assert len(list_versions(open_registry(config), key)) == 7


def test_a_file_with_corrected_history_retrains_and_says_so(one: Input) -> None:
    def corrected(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(volume=pl.when(pl.int_range(pl.len()) == 5_000).then(0.5).otherwise("volume"))

    config = one.config(retrain={"min_new_bars": 96})
    one.hold(day(10))
    run(config)
    one.hold(day(10.2), change=corrected)
    trained = only(run(config))
    assert (trained.status, trained.why) == (
        "trained",
        "bars before 2024-01-11T00:00+00:00, which it was trained on, are others now",
    )
    one.hold(day(10.4), change=corrected)
    assert only(run(config)).status == "fresh_enough"
    one.hold(day(10.3), change=corrected)
    assert only(run(config)).status == "fresh_enough", "the bars that it was trained on are still there"
    one.hold(day(9), change=corrected)
    assert only(run(config)).status == "trained", "they are not"


def test_a_late_bar_within_what_was_trained_on_is_a_correction(one: Input) -> None:
    config = one.config(retrain={"min_new_bars": 96})
    one.hold(day(10), change=lambda frame: frame.filter(pl.int_range(pl.len()) != 9_000))
    run(config)
    one.hold(day(10.1))
    assert "are others now" in only(run(config)).why


def test_an_alarm_retrains_once(one: Input, no_ray: NoRay) -> None:
    config = one.config(retrain={"on_evidence": True})
    one.hold(day(10))
    run(config)
    one.hold(day(11))
    assert only(run(config)).why == "not flagged"
    alarms = {KEY: day(10.5)}
    plan = plan_training(config, alarms=alarms)
    assert (answers(plan), plan.tasks[0].why) == ((0, 0, 0, 1), "flagged at 2024-01-11T12:00+00:00")
    assert only(run(config, plan=plan)).status == "trained"
    assert answers(plan_training(config, alarms=alarms)) == (1, 0, 0, 0)
    one.hold(day(12))
    assert only(run(config, plan=plan_training(config, alarms=alarms))).status == "fresh_enough"
    assert answers(plan_training(config, alarms=alarms)) == (0, 1, 0, 0)
    assert answers(plan_training(config, alarms={KEY: day(11.5)})) == (0, 0, 0, 1), "the next alarm"
    ignored = one.config(retrain={"min_new_bars": 10_000})
    assert answers(plan_training(ignored, alarms={KEY: day(11.5)})) == (0, 1, 0, 0)
    assert only(no_ray(config)).status == "fresh_enough"


def made_earlier(config: Config, ago: timedelta) -> None:
    """Let the only version of a registry be made so much earlier."""
    folder = Path(config.model_trainer.model_directory)
    (path,) = folder.glob("synthetic/*/*.json")
    metadata = json.loads(path.read_text())
    metadata["created_at"] = (datetime.fromisoformat(metadata["created_at"]) - ago).isoformat()
    path.write_text(json.dumps(metadata))
    (folder / "model_metadata.json").unlink()


def test_an_old_version_is_trained_again_where_there_are_new_bars(one: Input, no_ray: NoRay) -> None:
    config = one.config(retrain={"max_age": "7d"})
    one.hold(day(10))
    run(config)
    one.hold(day(11))
    outcome = only(run(config))
    assert (outcome.status, outcome.why) == ("fresh_enough", "0.0 days of 7d old")

    made_earlier(config, timedelta(days=7))
    plan = plan_training(config)
    assert (answers(plan), plan.tasks[0].why) == ((0, 0, 0, 1), "7.0 days of 7d old")
    one.hold(day(10))
    assert answers(plan_training(config)) == (0, 0, 1, 0)
    assert only(run(config)).status == "current", "the same bars give the same model, however old it is"
    assert only(no_ray(config)).status == "current"


def test_force_and_verify(one: Input) -> None:
    config = one.config(retrain={"min_new_bars": 500})
    one.hold(day(10))
    run(config)
    one.hold(day(10.5))
    run(config)
    assert answers(plan_training(config)) == (0, 1, 0, 0)
    assert answers(plan_training(config, verify=True)) == (0, 0, 1, 0)
    assert only(run(config, verify=True)).status == "fresh_enough"
    assert answers(plan_training(config, force=True)) == (0, 0, 0, 1)
    assert only(run(config, force=True)).status == "trained"
    assert answers(plan_training(config)) == (1, 0, 0, 0)


def test_without_a_policy_all_is_as_it_was(one: Input) -> None:
    one.hold(day(10))
    run(one.config())
    one.hold(day(10.1))
    assert answers(plan_training(one.config())) == (0, 0, 1, 0)
    outcome = only(run(one.config()))
    assert (outcome.status, outcome.why, outcome.until) == ("trained", "", {})
    assert not list((one.folder / "models" / "listings").glob("*T*Z*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"model_trainer": {"random_state": 1}},
        {"data": {"max_fill": 1}},
        {"data": {"lookback_days": 8}},
        {"data": {"gaps": "segment"}},
        {"model_trainer": {"analyst_models": {**FAST["analyst_models"], "params": {"C": 2}}}},
    ],
    ids=str,
)  # fmt: skip
def test_another_definition_is_never_fresh_enough(grown: Input, changes: dict[str, Any]) -> None:
    assert answers(plan_training(grown.config(retrain={"min_new_bars": 500}))) == (0, 1, 0, 0)
    plan = plan_training(grown.config(retrain={"min_new_bars": 500}, **changes))
    assert (answers(plan), plan.tasks[0].why) == ((0, 0, 0, 1), "no version of this definition")


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, bars: pl.DataFrame) -> Input:
    """A model that is fresh enough, as a run has found."""
    one = Input(tmp_path_factory.mktemp("grown"), bars, "SYN00USDT")
    one.hold(day(10))
    run(one.config())
    one.hold(day(10.5))
    assert only(run(one.config(retrain={"min_new_bars": 500}))).status == "fresh_enough"
    return one


def test_another_library_is_another_definition(grown: Input, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.registry.fingerprints.versions", lambda *_: {"polars": "0"})
    assert answers(plan_training(grown.config(retrain={"min_new_bars": 500}))) == (0, 0, 0, 1)


def test_caches_may_be_lost(grown: Input, tmp_path: Path) -> None:
    """Of a copy of the registry: without its catalog it is the same, without listings the bars are read."""
    shutil.copytree(grown.folder / "models", tmp_path / "models")
    config = grown.config(retrain={"min_new_bars": 500}, model_trainer={"model_directory": str(tmp_path / "models")})
    registry = Storage(str(tmp_path / "models"))
    registry.remove("model_metadata.json")
    assert answers(plan_training(config)) == (0, 1, 0, 0)
    rebuild(registry)
    assert all(len(one["basis"]) == 14 for one in list_summaries(registry))
    registry.remove_folder("listings")
    assert answers(plan_training(config)) == (0, 0, 1, 0)


def test_versions_of_earlier_releases_are_never_fresh_enough(grown: Input, tmp_path: Path) -> None:
    shutil.copytree(grown.folder / "models", tmp_path / "models")
    (path,) = (tmp_path / "models").glob("synthetic/*/*.json")
    metadata = json.loads(path.read_text())
    del metadata["definition"], metadata["trained_on"]
    path.write_text(json.dumps(metadata))
    registry = Storage(str(tmp_path / "models"))
    registry.remove("model_metadata.json")
    config = grown.config(retrain={"min_new_bars": 500}, model_trainer={"model_directory": str(tmp_path / "models")})
    assert answers(plan_training(config)) == (0, 0, 0, 1)
    assert "basis" not in list_summaries(registry)[0]


@pytest.mark.parametrize("trained_on", [{}, [], None, {"x": 1}, {"x": {"digest": "0", "end": "soon"}}], ids=str)
def test_metadata_that_does_not_tell_the_bars_is_no_version(grown: Input, tmp_path: Path, trained_on: object) -> None:
    shutil.copytree(grown.folder / "models", tmp_path / "models")
    shutil.rmtree(tmp_path / "models" / "listings")
    (path,) = (tmp_path / "models").glob("synthetic/*/*.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trained_on": trained_on}))
    rebuild(Storage(str(tmp_path / "models")))
    config = grown.config(retrain={"min_new_bars": 500}, model_trainer={"model_directory": str(tmp_path / "models")})
    (task,) = plan_training(config).tasks
    assert task.why == "no version of this definition"


def test_what_a_version_keeps_of_its_bars(grown: Input) -> None:
    registry = open_registry(grown.config())
    (version,) = list_versions(registry, KEY)
    metadata = read_metadata(registry, KEY, version)
    trained_on = metadata["trained_on"]["synthetic/SYN00USDT"]
    assert trained_on["digest"] == metadata["data"]["content_digest"]
    assert trained_on["end"] == day(10).isoformat()
    (summary,) = list_summaries(registry)
    assert summary["basis"] == metadata["definition"][:7] + trained_on["digest"][:7]
    assert len(json.dumps(summary, separators=(",", ":"), ensure_ascii=False)) <= 400


def test_the_plan_shows_why_and_until_when(grown: Input, capsys: pytest.CaptureFixture[str]) -> None:
    config = grown.folder / "config.yaml"
    config.write_text(json.dumps({"model_trainer": FAST}))
    paths = ["--config", str(config), "--input", str(grown.folder / "bars"), "--output", str(grown.folder / "models")]
    assert main(["plan", *paths, "--json", "--set", "retrain.min_new_bars=500"]) == 0
    printed = capsys.readouterr()
    plan = json.loads(printed.out.splitlines()[-1])
    assert {name: plan[name] for name in ("models", "current", "fresh_enough", "to_check", "to_train")} == {
        "models": 1, "current": 0, "fresh_enough": 1, "to_check": 0, "to_train": 0,
    }  # fmt: skip
    (answer,) = plan["answers"]
    assert answer == {
        "exchange": "synthetic", "symbol": "SYN00USDT", "timeframe": "15m", "model_type": "analyst",
        "answer": "fresh_enough", "version": answer["version"], "why": "47 of 500 new bars",
        "until": {"bars": (day(10) + 500 * timedelta(minutes=15)).isoformat()},
    }  # fmt: skip
    assert "47 of 500 new bars" in printed.err + printed.out
    assert main(["plan", *paths, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (plan["to_train"], plan["answers"]) == (1, [])
    assert main([*paths, "--json", "--set", "retrain.min_new_bars=500"]) == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["counts"]["fresh_enough"] == 1
    (outcome,) = record["outcomes"]
    assert (outcome["status"], outcome["why"], outcome["until"]) == ("fresh_enough", answer["why"], answer["until"])


def only_change(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(volume=pl.when(pl.int_range(pl.len()) == 5_000).then(0.5).otherwise("volume"))


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_pool_is_judged_by_all_its_series(tmp_path: Path, bars: pl.DataFrame, no_ray: NoRay) -> None:
    pool = Input(tmp_path, bars, "AAA", "BBB")
    config = pool.config(model_trainer={"group_by": "timeframe"}, retrain={"min_new_bars": 96})
    pool.hold(day(10))
    run_on_ray(config)
    pool.hold(day(10.5), "AAA")
    assert answers(plan_training(config)) == (0, 0, 1, 0)
    outcome = only(run_on_ray(config))
    assert (outcome.status, outcome.why) == ("fresh_enough", "47 of 96 new bars")
    again = only(no_ray(config))
    assert (again.status, again.why, again.until) == (outcome.status, outcome.why, outcome.until)
    pool.hold(day(10.2), "BBB", change=only_change)
    trained = only(run_on_ray(config))
    assert (trained.status, "are others now" in trained.why) == ("trained", True)
    assert only(no_ray(config)).status == "current"
    pool.hold(day(10.5), "CCC")
    run_on_ray(pool.config())  # what the third series holds is listed
    assert plan_training(config).tasks[0].why == "it was not trained on synthetic/CCC"
    run_on_ray(config)
    shutil.rmtree(pool.file("AAA").parent)
    pool.hold(day(10.6), "CCC")
    trained = only(run_on_ray(config))
    assert (trained.status, trained.why) == ("trained", "it was trained on synthetic/AAA, too")


def test_a_model_that_sees_others_is_judged_by_its_own_bars(tmp_path: Path, bars: pl.DataFrame, no_ray: NoRay) -> None:
    fleet = Input(tmp_path, bars, "AAA", "BBB")
    kinds = {"analyst_models": {**FAST["analyst_models"], "context": {"symbols": ["AAA"], "features": ["change_1"]}}}
    config = fleet.config(model_trainer=kinds, retrain={"min_new_bars": 96}, data={"symbols": ["BBB"]})
    fleet.hold(day(10))
    assert only(run(config)).status == "trained"
    fleet.hold(day(10.5), "AAA")
    assert only(run(config)).why == "0 of 96 new bars"
    fleet.hold(day(10.5), "BBB")
    assert only(run(config)).why == "47 of 96 new bars"
    assert only(no_ray(config)).status == "fresh_enough"
    fleet.hold(day(11.1), "BBB")
    assert only(run(config)).status == "trained"


def test_an_end_that_moves_gives_new_bars_also_with_a_lookback(one: Input) -> None:
    one.hold(day(12))

    def until(end: float) -> Config:
        return one.config(retrain={"min_new_bars": 96}, data={"end": day(end).isoformat(), "lookback_days": 6})

    assert only(run(until(9))).status == "trained"
    assert only(run(until(9.5))).status == "fresh_enough"
    assert answers(plan_training(until(9.5))) == (0, 1, 0, 0)
    assert only(run(until(10.1))).status == "trained"
    earlier = only(run(until(8)))
    assert (earlier.status, "are others now" in earlier.why) == ("trained", True), "it must not have seen later bars"


def test_bars_that_change_behind_their_listing_are_found_by_verifying(one: Input) -> None:
    config = one.config(retrain={"min_new_bars": 500})
    one.hold(day(10))
    run(config)
    one.hold(day(10.5), change=lambda frame: frame.with_columns(volume=pl.lit(1.0)))
    path = one.file("SYN00USDT")
    assert only(run(config)).status == "trained"
    one.hold(day(10.6), change=lambda frame: frame.with_columns(volume=pl.lit(1.0)))
    assert only(run(config)).status == "fresh_enough"
    before = path.stat()
    one.hold(day(10.6), change=lambda frame: frame.with_columns(volume=pl.lit(2.0)))
    assert path.stat().st_size == before.st_size
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert answers(plan_training(config)) == (0, 1, 0, 0)
    trained = only(run(config, verify=True))
    assert (trained.status, "are others now" in trained.why) == ("trained", True)
    assert answers(plan_training(config)) == (1, 0, 0, 0)


@pytest.fixture(scope="module")
def old_model(tmp_path_factory: pytest.TempPathFactory, bars: pl.DataFrame) -> Input:
    """A model whose last label is of day 7, and bars until day 10."""
    one = Input(tmp_path_factory.mktemp("old"), bars, "SYN00USDT")
    one.hold(day(7))
    run(one.config())
    one.hold(day(10))
    return one


def predicted(one: Input, output: Path, **limits: str) -> RunRecord[Predicted]:
    config, request = one.config(predictions=limits), Request(str(output))
    with without_ray():
        return run_predictions(config, request, plan_predictions(config, request))


def test_predictions_by_a_model_that_is_too_old_are_refused_or_flagged(old_model: Input, tmp_path: Path) -> None:
    refused = predicted(old_model, tmp_path, max_model_age="2d")
    (outcome,) = refused.outcomes
    assert (outcome.status, refused.exit_status) == ("failed", 2)
    expected = (
        r"SYN00USDT analyst 15m: analyst_15m_\S+ is 3.0 days old: its last label is of 2024-01-08T00:00, the newest "
    )
    expected += r"bar to predict of 2024-01-11T00:00; predictions.max_model_age is 2d"
    assert re.search(expected, outcome.error_message)
    assert "train the model again, or predict anyway with predictions.old_models: flag" in outcome.error_message
    assert not list(tmp_path.rglob("*.parquet"))

    flagged = predicted(old_model, tmp_path, max_model_age="2d", old_models="flag")
    (outcome,) = flagged.outcomes
    assert (outcome.status, flagged.exit_status) == ("predicted", 0)
    assert re.search(expected, outcome.warnings[0])
    again = predicted(old_model, tmp_path, max_model_age="2d", old_models="flag")
    (outcome,) = again.outcomes
    assert (outcome.status, bool(re.search(expected, outcome.warnings[0]))) == ("current", True)
    assert again.cluster["nodes"] == 0

    (outcome,) = predicted(old_model, tmp_path, max_model_age="3d").outcomes
    assert (outcome.status, outcome.warnings) == ("current", ())
    with pytest.raises(RegistryError, match=expected):  # the file in place is as old as it would be now
        predicted(old_model, tmp_path, max_model_age="2d")
    touched = old_model.file("SYN00USDT")
    os.utime(touched, (1_800_000_000, 1_800_000_000))
    (outcome,) = predicted(old_model, tmp_path, max_model_age="2d").outcomes
    assert re.search(expected, outcome.error_message)


def test_frames_are_refused_alike(old_model: Input, bars: pl.DataFrame) -> None:
    with RayModelTrainer(old_model.config(predictions={"max_model_age": "2d"})) as trainer:
        with pytest.raises(RegistryError, match=r"is 3.0 days old"):
            trainer.predict(bars.filter(pl.col("timestamp") < day(10)), "analyst", "15m")
        assert trainer.predict(bars.filter(pl.col("timestamp") < day(9)), "analyst", "15m").height


def test_a_model_of_unknown_age_is_too_old() -> None:
    limits = PredictionSettings(max_model_age=timedelta(days=1))
    with pytest.raises(RegistryError, match="does not say when its last label was known"):
        check_age(None, EPOCH, limits, version="v")
    assert check_age(None, EPOCH, PredictionSettings(), version="v") == ()
    assert check_age(EPOCH, EPOCH + timedelta(days=1), limits, version="v") == ()


def test_whoever_reads_only_new_bars_can_spare_a_plan_the_reading(one: Input) -> None:
    """Three rounds of new files, of which a watcher read nothing but the new bars; in the end it is one chain."""
    config = one.config(retrain={"min_new_bars": 96})
    registry = open_registry(config)

    def listing() -> str:
        (task,) = plan_training(config, force=True).tasks
        return str(listing_fingerprint(task.series[0], config.data))

    one.hold(day(10))
    run(config)
    for number, expected in ((10.2, (0, 1, 0, 0)), (10.4, (0, 1, 0, 0)), (11.1, (0, 0, 1, 0))):
        before, end = listing(), one.bars.filter(pl.col("timestamp") < day(10))["timestamp"][-1] + timedelta(minutes=1)
        one.hold(day(number))
        added = timedelta(days=0.7 if number > 11 else 0.2)
        carry_growth(registry, [Continued(before, listing(), end, added)])
        plan = plan_training(config)
        assert answers(plan) == expected
    assert plan.tasks[0].why == "105 of 96 new bars"
    assert not plan.tasks[0].held, "it is due: nothing is left to be decided"
    assert len(read_growth(registry, [before])) == 0, "of files that are no more, nothing is kept"
    assert only(run(config)).why == "105 of 96 new bars"
