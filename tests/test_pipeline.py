"""The whole pipeline in process, on a Ray of its own: what comes out, what stays the same, what fails alone."""

import json
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import ray.data
from ray.exceptions import ObjectLostError

from job.cli import main
from job.cluster import bundles, retries
from job.cluster.datasets import outcomes_of
from job.cluster.nodes import ask_nodes
from job.config.settings import Config, load_config
from job.core.keys import Key
from job.core.synth import make_bars, write_world
from job.registry.attempts import Attempt
from job.registry.catalog import keys, list_summaries, read_catalog
from job.registry.names import listed_versions
from job.registry.outcome import Outcome
from job.registry.versions import load
from job.storage.files import Storage
from job.train import pipeline, shuffle
from job.train.record import TrainingRecord
from job.train.run import run
from job.train.steps import load_bars
from job.train.task import Task
from job.worker.messages import Bundle, Job

pytestmark = pytest.mark.usefixtures("local_ray")

FAST = {
    "analyst_models": {"timeframes": ["15m", "1m"], "n_estimators": 10},
    "tactician_models": {"n_estimators": 10},
    "cv_folds": 2,
}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, five days."""
    folder = tmp_path_factory.mktemp("bars")
    write_world(folder, symbols=2, days=5, seed=3, world="signal")
    return folder


def config_for(bars: Path, output: Path, **settings: Any) -> Config:
    trainer = {**FAST, "model_directory": str(output), **settings.pop("model_trainer", {})}
    data = {"input": str(bars), **settings.pop("data", {})}
    return load_config({"data": data, "model_trainer": trainer, **settings}).with_absolute_paths()


def by_key(record: TrainingRecord) -> dict[tuple[str, str, str], Outcome]:
    return {(one.symbol, one.model_type, one.timeframe): one for one in record.outcomes}


@pytest.fixture(scope="module")
def trained(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRecord, Storage]:
    """A run over both symbols, and its store."""
    output = tmp_path_factory.mktemp("models")
    return run(config_for(bars, output)), Storage(str(output))


def test_every_model_is_trained_committed_and_listed(trained: tuple[TrainingRecord, Storage]) -> None:
    record, registry = trained
    assert record.exit_status == 0
    assert record.counts == {
        "trained": 6,
        "current": 0,
        "fresh_enough": 0,
        "failed": 0,
        "current_not_latest": 0,
        "not_run": 0,
    }
    assert len(keys(registry)) == 6
    assert {one["version"] for one in read_catalog(registry)} == {one.version for one in record.outcomes}
    for outcome in record.outcomes:
        model, scaler, metadata = load(registry, outcome.key)
        assert model.predict_proba(scaler.transform(np.zeros((3, len(metadata["features"])), np.float32))).shape == (
            3,
            2,
        )
        assert metadata["run_id"] == record.run_id
        assert metadata["data"]["content_digest"]
        assert metadata["scores"]["log_loss"] == outcome.scores["log_loss"]


def test_the_run_record_is_in_the_store(trained: tuple[TrainingRecord, Storage]) -> None:
    record, registry = trained
    stored = json.loads(registry.read(f"runs/{record.run_id}.json"))
    assert stored == json.loads(json.dumps(record.as_dict()))
    assert stored["status"] == "finished"
    assert stored["cluster"]["cpus"] == 2
    names = {"accuracy", "precision", "recall", "f1", "log_loss", "roc_auc", "brier", "cv_mean", "cv_std"}
    names |= {"base_accuracy", "base_log_loss", "skill", "skill_low", "skill_high", "skill_raw"}
    names |= {"benchmark_log_loss", "shrink", "underpowered"}
    for outcome in stored["outcomes"]:
        assert names <= set(outcome["scores"])
        assert outcome["cpu_seconds"] > 0
        assert outcome["peak_rss_mb"] > 100
        assert outcome["error"] is None


def test_a_second_run_trains_nothing(bars: Path, trained: tuple[TrainingRecord, Storage]) -> None:
    first, registry = trained
    config = config_for(bars, Path(registry.url))
    again = run(config)
    assert again.counts["current"] == 6
    assert {one.version for one in again.outcomes} == {one.version for one in first.outcomes}
    assert again.exit_status == 0


def test_force_adds_versions_with_the_same_predictions(bars: Path, tmp_path: Path) -> None:
    config = config_for(bars, tmp_path, data={"symbols": ["SYN00USDT"]})
    one, two = run(config), run(config, force=True)
    assert two.counts["trained"] == 3
    registry = Storage(str(tmp_path))
    assert len(list_summaries(registry)) == 6
    probe = np.random.default_rng(0).normal(size=(200, 20)).astype(np.float32)
    for key, outcome in by_key(one).items():
        assert outcome.version is not None
        (old, scaler, _), (new, _, _) = load(registry, outcome.key, outcome.version), load(registry, outcome.key)
        scaled = scaler.transform(probe)
        assert np.array_equal(old.predict_proba(scaled), new.predict_proba(scaled)), key
        assert by_key(two)[key].scores == outcome.scores


def test_the_cut_of_the_files_and_the_order_of_rows_change_nothing(
    bars: Path, trained: tuple[TrainingRecord, Storage], tmp_path: Path
) -> None:
    read_all = pl.read_parquet(next((bars / "exchange=synthetic" / "symbol=SYN00USDT").glob("*.parquet")))
    shuffled = read_all.sample(fraction=1.0, shuffle=True, seed=1)
    folder = tmp_path / "bars" / "exchange=synthetic" / "symbol=SYN00USDT"
    folder.mkdir(parents=True)
    cuts = [0, 11, 700, 4000, shuffled.height]
    for number, (start, stop) in enumerate(zip(cuts, [*cuts[1:], None], strict=True)):
        if stop is not None:
            shuffled[start:stop].write_parquet(folder / f"part-{number}-1m.parquet")
    record = run(config_for(tmp_path / "bars", tmp_path / "models"))
    before = by_key(trained[0])
    assert len(record.outcomes) == 3
    for key, outcome in by_key(record).items():
        assert outcome.scores == before[key].scores
        assert outcome.rows == before[key].rows


def test_one_bad_file_fails_alone(bars: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    good = folder / "exchange=synthetic" / "symbol=GOOD"
    good.mkdir(parents=True)
    make_bars(seed=1, days=4).write_parquet(good / "GOOD-1m.parquet")
    for name, frame in {
        "NEGATIVE": make_bars(seed=1, days=4).with_columns(pl.col("low") * -1),
        "ONEBAR": make_bars(seed=1, days=4)[:1],
        "ONECLASS": make_bars(seed=1, days=4).with_columns(
            (100 * (1 + pl.int_range(pl.len()) * 1e-6)).alias(name) for name in ("open", "high", "low", "close")
        ),
    }.items():
        path = folder / "exchange=synthetic" / f"symbol={name}"
        path.mkdir()
        frame.write_parquet(path / f"{name}-1m.parquet")
    record = run(config_for(folder, tmp_path / "models"))
    assert record.exit_status == 1
    assert {one.symbol for one in record.outcomes if one.status == "trained"} == {"GOOD"}
    messages = {one.symbol: one.error["message"] for one in record.outcomes if one.error and one.timeframe == "1m"}
    assert "non_positive_price" in messages["NEGATIVE"]
    assert "NEGATIVE" in messages["NEGATIVE"]
    assert "ONEBAR" in messages["ONEBAR"]
    assert "labels of the training window" in messages["ONECLASS"]
    assert all("\n" not in message for message in messages.values())


def test_a_few_bad_bars_are_kept_apart_and_told(tmp_path: Path) -> None:
    bars = make_bars(seed=1, days=4)
    broken = bars.with_columns(
        high=pl.when(pl.int_range(pl.len()) % 997 == 5).then(pl.col("low") / 2).otherwise("high")
    )
    broken.write_parquet(tmp_path / "BTC-1m.parquet")
    record = run(
        config_for(tmp_path / "BTC-1m.parquet", tmp_path / "models", model_trainer={"enable_tactician_models": False})
    )
    assert record.exit_status == 0
    (warning,) = {warning for one in record.outcomes for warning in one.warnings}
    assert "high_below_low 6" in warning
    rejected = pl.read_parquet(next((tmp_path / "models" / "rejected").rglob("*.parquet")))
    assert rejected.height == 6
    assert set(rejected["rule"]) == {"high_below_low"}


@pytest.fixture(scope="module")
def pooled(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainingRecord, Storage]:
    """A run of pooled models over both symbols, and its store."""
    output = tmp_path_factory.mktemp("pooled")
    settings = {"group_by": ["timeframe"], "enable_tactician_models": False}
    return run(config_for(bars, output, model_trainer=settings)), Storage(str(output))


def test_pooled_models_train_over_all_series(pooled: tuple[TrainingRecord, Storage]) -> None:
    record, registry = pooled
    assert record.exit_status == 0
    assert len(record.outcomes) == 2
    minute = by_key(record)["all", "analyst", "1m"]
    _, _, metadata = load(registry, minute.key)
    assert minute.rows > 13_000
    assert set(metadata["label"]["series"]) == {"synthetic/SYN00USDT", "synthetic/SYN01USDT"}
    assert (Path(registry.url) / "pooled" / "all").is_dir()


def test_a_cap_keeps_every_row_of_the_holdout(
    bars: Path, pooled: tuple[TrainingRecord, Storage], tmp_path: Path
) -> None:
    read_all, registry = pooled
    minutes = {"timeframes": ["1m"], "n_estimators": 10}
    settings = {"group_by": ["timeframe"], "enable_tactician_models": False, "analyst_models": minutes}
    capped = run(config_for(bars, tmp_path, model_trainer={**settings, "max_samples": 6_000}))
    outcome = by_key(capped)["all", "analyst", "1m"]
    assert outcome.rows == pytest.approx(6_000, rel=0.02)
    (_, _, one), (_, _, two) = (load(each, outcome.key) for each in (registry, Storage(str(tmp_path))))
    assert one["split"]["holdout"]["test_rows"] == two["split"]["holdout"]["test_rows"]
    assert one["split"]["holdout"]["test_from"] == two["split"]["holdout"]["test_from"]
    assert two["data"]["samples"]["thinned"] > 0
    assert by_key(read_all)["all", "analyst", "1m"].rows == outcome.rows + two["data"]["samples"]["thinned"]


@pytest.mark.slow
def test_one_bad_series_of_a_pool_is_named(bars: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    for name, frame in {"A": make_bars(seed=1, days=4), "B": make_bars(seed=2, days=4)[:1]}.items():
        path = folder / f"symbol={name}"
        path.mkdir(parents=True)
        frame.write_parquet(path / f"{name}-1m.parquet")
    settings = {"group_by": ["timeframe"], "enable_tactician_models": False}
    record = run(config_for(folder, tmp_path / "models", model_trainer=settings))
    assert record.counts["trained"] == 2
    assert any("left out unknown/B" in warning for one in record.outcomes for warning in one.warnings)


@pytest.mark.slow
def test_a_dataset_that_ray_gives_up_runs_again(bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = count(1)

    def broken_once(chains: Any, kind: type[Outcome]) -> Iterator[Outcome]:
        if next(rounds) == 1:
            raise ObjectLostError("a block", None, "")
        yield from outcomes_of(chains, kind)

    monkeypatch.setattr(pipeline, "outcomes_of", broken_once)
    record = run(config_for(bars, tmp_path, data={"symbols": ["SYN00USDT"]}))
    assert record.counts["trained"] == 3
    assert {one.attempts for one in record.outcomes} == {1}, "no worker had begun any of them"


def test_a_dataset_that_never_works_fails_its_tasks(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> Iterator[Outcome]:
        yield from ()
        raise ObjectLostError("a block", None, "")

    monkeypatch.setattr(pipeline, "train_pooled", broken)
    record = run(config_for(bars, tmp_path, model_trainer={"group_by": ["timeframe"]}))
    assert record.counts["failed"] == 3
    assert record.status == "finished"


@pytest.mark.slow
def test_a_series_whose_worker_dies_is_not_left_out_of_its_pool(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker that reads one of two series is killed the first time: the pools wait for the next round."""
    poison = tmp_path / "poison"
    poison.touch()
    monkeypatch.setattr(shuffle, "load_bars", partial(load_or_die, poison=poison))
    record = run(config_for(bars, tmp_path / "models", model_trainer={"group_by": ["timeframe"]}))
    assert record.counts["trained"] == 3
    assert not poison.exists()
    for outcome in record.outcomes:
        _, _, metadata = load(Storage(str(tmp_path / "models")), outcome.key)
        assert set(metadata["label"]["series"]) == {"synthetic/SYN00USDT", "synthetic/SYN01USDT"}


def load_or_die(batch: pa.Table, *, job: Job, poison: Path) -> Iterator[pa.Table]:
    """Kill this worker if it reads SYN01USDT while `poison` is there, else load bars as always."""
    (header,) = batch["header"].to_pylist()
    if pickle.loads(header).series.symbol == "SYN01USDT" and poison.exists():
        poison.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    yield from load_bars(batch, job=job)


def test_a_node_that_cannot_run_the_check_is_named() -> None:
    ((name, findings),) = ask_nodes(check_without_packages).items()
    assert name
    (finding,) = findings
    assert "cannot run a task of this job (ModuleNotFoundError: No module named 'absent'): install the" in finding


def check_without_packages() -> list[str]:
    raise ModuleNotFoundError("No module named 'absent'")


def test_damage_to_another_series_of_the_store_stops_nothing(bars: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "synthetic" / "OTHER" / "analyst_15m_20240101_000000_abcdef.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    settings = {"enable_tactician_models": False, "analyst_models": {"timeframes": ["15m"], "n_estimators": 5}}
    record = run(config_for(bars, tmp_path, data={"symbols": ["SYN00USDT"]}, model_trainer=settings))
    assert record.counts["trained"] == 1


def test_datasets_of_the_caller_keep_their_settings(trained: tuple[TrainingRecord, Storage]) -> None:
    assert ray.data.DataContext.get_current().target_max_block_size not in {1, None}
    assert ray.data.DataContext.get_current().max_errored_blocks == 0


def test_lookback_start_and_end_limit_the_samples_but_not_the_warmup(bars: Path, tmp_path: Path) -> None:
    ranges: dict[str, dict[str, Any]] = {
        "days": {"lookback_days": 2},
        "dates": {"start": "2024-01-04", "end": "2024-01-06"},
    }
    found = {}
    for name, data in ranges.items():
        config = config_for(
            bars,
            tmp_path / name,
            data={**data, "symbols": ["SYN00USDT"]},
            model_trainer={"enable_tactician_models": False},
        )
        found[name] = by_key(run(config))["SYN00USDT", "analyst", "1m"]
    assert found["days"].scores == found["dates"].scores
    assert 2 * 1440 * 0.98 < found["days"].rows <= 2 * 1440


def test_doctor_finds_all_well(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--input", str(bars), "--output", str(tmp_path / "models"), "--json"]) == 0
    findings = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {finding["subject"] for finding in findings} == {"versions", "input", "store", "memory", "cluster", "node"}
    assert all(finding["good"] for finding in findings)


def kill_who_trains(registry: Path, key: Key, killed: list[int], *, times: int) -> threading.Thread:
    """Start a thread that kills, `times` times, the worker whose note says that it trains `key`."""

    def watch() -> None:
        deadline = time.monotonic() + 120
        while len(killed) < times and time.monotonic() < deadline:
            for file in registry.glob("runs/*.attempts/*.json"):
                note = Attempt(**json.loads(file.read_bytes()))
                if Key(*note.key) == key and note.step == "training" and note.pid not in killed:
                    os.kill(note.pid, signal.SIGKILL)
                    killed.append(note.pid)
            time.sleep(0.02)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


SLOW_TACTICIAN = {"tactician_models": {"n_estimators": 3_000}}
"""A fit of seconds, in which a worker can be found and killed."""


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_model_an_attempt(bars: Path, tmp_path: Path) -> None:
    key, killed = Key("synthetic", "SYN00USDT", "1m", "tactician"), list[int]()
    config = config_for(bars, tmp_path, model_trainer={**SLOW_TACTICIAN})
    thread = kill_who_trains(tmp_path, key, killed, times=1)
    record = run(config)
    thread.join()
    assert len(killed) == 1
    assert record.counts["trained"] == 6
    assert {one.key: one.attempts for one in record.outcomes if one.attempts > 1} == {key: 2}
    assert not list(tmp_path.glob("runs/*.attempts"))


def test_a_model_that_kills_its_worker_each_time_fails_alone(
    bars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle of three: the poisoned model ends failed with its cause, the other two lose nothing but time."""
    monkeypatch.setattr(bundles, "BUNDLES_PER_CPU", 1)
    monkeypatch.setattr(retries, "MAX_ATTEMPTS", 2)
    key, killed = Key("synthetic", "SYN00USDT", "1m", "tactician"), list[int]()
    config = config_for(bars, tmp_path, data={"symbols": ["SYN00USDT"]}, model_trainer={**SLOW_TACTICIAN})
    thread = kill_who_trains(tmp_path, key, killed, times=2)
    record = run(config)
    thread.join()
    assert len(killed) == 2
    assert record.counts == {
        "trained": 2,
        "current": 0,
        "fresh_enough": 0,
        "failed": 1,
        "current_not_latest": 0,
        "not_run": 0,
    }
    assert {one.attempts for one in record.outcomes if one.status == "trained"} == {1}
    (failure,) = record.failures
    assert (failure.key, failure.attempts) == (key, 2)
    assert failure.error is not None
    assert failure.error["type"] == "WorkerDied"
    assert f"process {killed[-1]} on node" in failure.error["message"]
    assert "died while training: killed, out of memory" in failure.error["message"]
    torn = [one for one in listed_versions(Storage(str(tmp_path)).list()) if not one.committed]
    assert not torn


@pytest.mark.slow
def test_a_model_that_takes_too_long_fails_alone(bars: Path, tmp_path: Path) -> None:
    key = Key("synthetic", "SYN00USDT", "1m", "tactician")
    slow = {"tactician_models": {"n_estimators": 1_000_000}, "task_timeout_s": 20}
    record = run(config_for(bars, tmp_path, data={"symbols": ["SYN00USDT"]}, model_trainer=slow))
    assert record.counts["trained"] == 2
    (failure,) = record.failures
    assert (failure.key, failure.attempts) == (key, 1)
    assert failure.error is not None
    assert failure.error["type"] == "TaskTimeout"
    assert "training took longer than model_trainer.task_timeout_s (20 s)" in failure.error["message"]
    assert "fit" in failure.error["stack"]


def test_bundles_of_several_sizes_run_side_by_side_and_give_the_same_models(
    bars: Path, tmp_path: Path, trained: tuple[TrainingRecord, Storage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some bundles get both CPUs, as threads, the others one: a chain each."""

    def by_kind(packed: list[Bundle[Task]], *_: object, cpus_per_task: int | None) -> dict[int, list[Bundle[Task]]]:
        assert cpus_per_task is None
        groups: dict[int, list[Bundle[Task]]] = {2: [], 1: []}
        for one in packed:
            groups[2 if one.tasks[0].key.timeframe == "1m" else 1].append(one)
        assert all(groups.values())
        return groups

    monkeypatch.setattr(pipeline, "sized", by_kind)
    record = run(config_for(bars, tmp_path, data={"symbols": ["SYN00USDT"]}))
    assert record.counts["trained"] == 3
    before = by_key(trained[0])
    assert all(one.scores == before[key].scores for key, one in by_key(record).items())


def test_outcomes_survive_json() -> None:
    outcome = Outcome("a", "b", "1m", "analyst", "trained", warnings=("x",), log_loss_delta={"1": [1.0, 2.0]})
    assert Outcome.from_json(outcome.to_json()) == outcome
    assert "excess" not in replace(outcome).record()
