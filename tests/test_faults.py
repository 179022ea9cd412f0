"""Runs that are stopped, run at the same time, or meet what cannot work: how they end, and what they leave."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.cli import main
from job.cluster.bundles import bundle
from job.config.settings import load_config
from job.core.environment import versions
from job.core.synth import make_bars, write_world
from job.registry.catalog import keys, read_catalog
from job.registry.outcome import Outcome
from job.registry.versions import list_versions, load
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.record import TrainingRecord
from job.train.steps import load_bars, prepare_samples, train_models
from job.worker.messages import Job, pack
from tests.here import without_ray
from tests.registries import SECRET, open_registry, s3_options

ROOT = Path(__file__).resolve().parents[1]
FAST = ("--set", "model_trainer.cv_folds=2", "--set", "model_trainer.analyst_models.n_estimators=10")
MAIN = [sys.executable, str(ROOT / "job" / "main.py")]


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_world(folder, symbols=1, days=3, seed=3)
    return folder


def record_of(registry: Path) -> dict[str, Any]:
    (file,) = (registry / "runs").glob("*.json")
    record: dict[str, Any] = json.loads(file.read_bytes())
    return record


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([*MAIN, *arguments], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_stop_signal_closes_the_record_within_three_seconds(bars: Path, tmp_path: Path) -> None:
    """`ray job stop` sends SIGTERM and, three seconds later, SIGKILL; what is committed by then stays."""
    slow = ("--timeframes", "15m,1m", "--set", "model_trainer.tactician_models.n_estimators=100000", *FAST)
    with start("--input", str(bars), "--output", "models", *slow, cwd=tmp_path) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "trained" in line:
                break
        process.send_signal(signal.SIGTERM)
        time.sleep(3)
        status = record_of(tmp_path / "models")["status"]
        _, rest = process.communicate(timeout=60)
    assert status == "interrupted"
    assert process.returncode == 130
    assert "Traceback" not in rest
    record = record_of(tmp_path / "models")
    assert record["counts"]["trained"] >= 1
    assert record["counts"]["not_run"] >= 1
    assert len(list((tmp_path / "models").rglob("analyst_*.json"))) == record["counts"]["trained"]
    assert not list((tmp_path / "models" / "runs").glob("*.open"))
    assert not list((tmp_path / "models" / "runs").glob("*.attempts"))


@pytest.mark.slow
def test_two_runs_at_once_both_commit_and_are_both_listed(bars: Path, tmp_path: Path) -> None:
    arguments = ("--input", str(bars), "--output", "models", "--timeframes", "15m,1m", "--json", *FAST)
    runs = [start(*arguments, cwd=tmp_path) for _ in range(2)]
    told = [run.communicate(timeout=300) for run in runs]
    assert [run.returncode for run in runs] == [0, 0], told
    registry = Storage(str(tmp_path / "models"))
    records = [json.loads(out.splitlines()[-1]) for out, _ in told]
    reported = {(one["version"]) for record in records for one in record["outcomes"]}
    assert len(keys(registry)) == 3
    for key in keys(registry):
        for version in list_versions(registry, key):
            load(registry, key, version)
            assert version in reported
    assert {one["version"] for one in read_catalog(registry)} == reported
    assert any("is writing to" in err for _, err in told), "the later one sees the earlier one's lease"
    assert not registry.unfinished()


def test_the_catalogue_is_made_anew_by_one_command(
    bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with without_ray():
        assert main(["--input", str(bars), "--output", str(tmp_path / "models"), "--timeframes", "15m", *FAST]) == 0
    registry = Storage(str(tmp_path / "models"))
    before = read_catalog(registry)
    registry.replace("model_metadata.json", b"gone")
    assert main(["reindex", "--output", str(tmp_path / "models")]) == 0
    assert read_catalog(registry) == before
    assert "1 versions of 1 models" in capsys.readouterr().err
    (metadata,) = (tmp_path / "models" / "synthetic").rglob("analyst*.json")
    metadata.write_text("[]")
    assert main(["reindex", "--output", str(tmp_path / "models")]) == 1
    assert f"{metadata.name} is damaged" in capsys.readouterr().err
    assert read_catalog(registry) == []
    assert main(["reindex", "--output", str(tmp_path / "absent")]) == 3


def test_too_many_failures_abort_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        make_bars(seed=number, days=1)[:40].write_parquet(tmp_path / f"S{number}-1m.parquet")
    arguments = ["--input", str(tmp_path), "--output", str(tmp_path / "models"), "--timeframes", "1m", *FAST]
    with without_ray():
        assert main([*arguments, "--max-failures", "2"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"aborted: 3 of 12 models failed, more than model_trainer.max_failures allows \(2\)", said)
    record = record_of(tmp_path / "models")
    assert record["status"] == "aborted"
    assert record["counts"]["not_run"] >= 1


@pytest.mark.slow
def test_a_node_short_of_memory_is_given_as_the_cause(bars: Path, tmp_path: Path) -> None:
    """Ray's memory monitor ends workers above a threshold, here so low that any is above it."""
    environment = {**os.environ, "RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    arguments = ["--input", str(bars), "--output", "models", "--timeframes", "15m", "--json", *FAST]
    slow = ["--set", "model_trainer.analyst_models.algorithm=extra_trees",
            "--set", "model_trainer.analyst_models.n_estimators=20000"]  # fmt: skip
    done = subprocess.run(
        [*MAIN, *arguments, *slow], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        timeout=400,
    )  # fmt: skip
    (outcome,) = json.loads(done.stdout.splitlines()[-1])["outcomes"]
    assert (done.returncode, outcome["status"]) == (1, "failed"), done.stderr
    assert outcome["error"]["type"] == "OutOfMemory"
    assert re.search(r"its node ran out of memory, [\d.]+GB used / [\d.]+GB limit", outcome["error"]["message"])
    assert len(done.stderr.splitlines()) < 10


@pytest.mark.parametrize("kind", ["file", "memory", pytest.param("s3", marks=pytest.mark.slow)])
def test_the_whole_path_on_every_kind_of_storage(kind: str, request: pytest.FixtureRequest) -> None:
    """List, read, keep what breaks a rule, train, commit, list and record, all on one storage, without Ray."""
    registry = open_registry(kind, request)
    options = s3_options(request.getfixturevalue("s3_endpoint")) if kind == "s3" else {}
    low_high = pl.when(pl.int_range(pl.len()) % 997 == 5).then(pl.col("low") / 2).otherwise("high")
    buffer = io.BytesIO()
    make_bars(seed=1, days=3).with_columns(high=low_high).write_parquet(buffer)
    inputs = Storage(f"{registry.url}-bars", options=options)
    inputs.create("BTC-1m.parquet", buffer.getvalue())
    settings = {
        "data": {"input": inputs.url, "options": options},
        "storage": {"options": options},
        "model_trainer": {"model_directory": registry.url, "cv_folds": 2, "analyst_models": {"timeframes": ["1m"]}},
    }
    config = load_config(settings)
    plan = make_plan(config)
    run_id = "20240101_000000_abcdef"
    job = Job(run_id=run_id, config=config, output=registry.url, versions=versions())
    outcomes = [
        Outcome.from_json(row["outcome"])
        for one in bundle(plan.tasks, cpus=1)
        for bars in load_bars(pack(one), job=job)
        for samples in prepare_samples(bars, job=job)
        for outcome in train_models(samples, job=job)
        for row in outcome.to_pylist()
    ]
    assert len(outcomes) == 2
    record = TrainingRecord(run_id, config, registry, planned=len(outcomes))
    record.open()
    for outcome in outcomes:
        assert outcome.status == "trained", outcome.error
        record.add(outcome)
    record.finish("finished")
    record.close()
    assert {one["version"] for one in read_catalog(registry)} == {outcome.version for outcome in outcomes}
    assert json.loads(registry.read(f"runs/{run_id}.json"))["counts"]["trained"] == len(outcomes)
    assert any(path.startswith("rejected/") for path in registry.list())
    assert any(path.startswith("listings/") for path in registry.list())
    for outcome in outcomes:
        load(registry, outcome.key)
    everything = b"".join(registry.read_many(path for path in registry.list() if path.endswith(".json")).values())
    assert SECRET.encode() not in everything
