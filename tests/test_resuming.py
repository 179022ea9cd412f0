"""Reruns: what they find current without reading, what they read, and what they train."""

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.cli import main
from job.config.settings import Config, load_config
from job.core.synth import make_bars, write_world
from job.registry.catalog import list_summaries
from job.registry.listings import read_listings
from job.registry.outcome import Outcome
from job.registry.versions import list_versions
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.record import TrainingRecord
from job.train.resume import skip_completed
from job.train.run import run as run_on_ray
from tests.here import run_here as run
from tests.many import many_models

ROOT = Path(__file__).resolve().parents[1]
FAST = {
    "analyst_models": {"timeframes": ["15m", "1m"], "n_estimators": 5},
    "tactician_models": {"n_estimators": 5},
    "cv_folds": 2,
}
SCORES = {"accuracy": 0.5, "log_loss": 0.69, "base_log_loss": 0.69, "skill": 0.0, "skill_low": 0.0, "skill_high": 0.0}
STAY = {"current": 6, "trained": 0, "fresh_enough": 0, "failed": 0, "current_not_latest": 0, "not_run": 0}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, four days, and a registry in which all their models are trained."""
    folder = tmp_path_factory.mktemp("world")
    write_world(folder / "bars", symbols=2, days=4, seed=3)
    assert run(config_for(folder)).counts["trained"] == 6
    return folder


@pytest.fixture
def own(world: Path, tmp_path: Path) -> Path:
    """A copy of that world, times of change and all; its files stand elsewhere, so they are listed once more."""
    shutil.copytree(world, tmp_path / "own", copy_function=shutil.copy2)
    assert run(config_for(tmp_path / "own")).counts == STAY
    return tmp_path / "own"


def config_for(folder: Path, **settings: Any) -> Config:
    trainer = {**FAST, "model_directory": str(folder / "models"), **settings.pop("model_trainer", {})}
    data = {"input": str(folder / "bars"), **settings.pop("data", {})}
    return load_config({"data": data, "model_trainer": trainer, **settings}).with_absolute_paths()


def verdicts(config: Config, *, verify: bool = False) -> tuple[int, int, int]:
    """Return how many models a run would find current, check and train."""
    plan = skip_completed(make_plan(config), config, verify=verify)
    checks = sum(task.to_check for task in plan.tasks)
    return len(plan.current), checks, len(plan.tasks) - checks


def file_of(folder: Path, symbol: str = "SYN00USDT") -> Path:
    return next((folder / "bars" / "exchange=synthetic" / f"symbol={symbol}").glob("*.parquet"))


def touch(file: Path) -> None:
    changed = file.stat().st_mtime + 1_000
    os.utime(file, (changed, changed))


def trained(record: TrainingRecord) -> list[Outcome]:
    return [one for one in record.outcomes if one.status == "trained"]


def test_a_rerun_needs_no_ray_and_reads_no_bars(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("Ray was started, or bars were read")

    monkeypatch.setattr("job.cluster.session.running", refuse)
    monkeypatch.setattr("job.sources.reading.read_file", refuse)
    record = run_on_ray(config_for(own))
    assert record.counts == STAY
    assert record.cluster == {"nodes": 0, "cpus": 0}
    assert all(set(one.scores) > set(SCORES) for one in record.outcomes)


def test_a_rerun_from_a_shell_imports_no_ray(own: Path) -> None:
    config = own / "config.yaml"
    config.write_text(json.dumps({"model_trainer": FAST}))
    command = [sys.executable, "-X", "importtime", str(ROOT / "job" / "main.py"), "--config", str(config)]
    paths = ["--input", str(own / "bars"), "--output", str(own / "models"), "--json"]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout.splitlines()[-1])["counts"] == STAY
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "polars" in imported
    assert not {"ray", "sklearn", "pandas"} & imported


@pytest.mark.parametrize("change", ["touched", "copied", "cut again"])
def test_files_that_only_look_changed_are_read_once(own: Path, change: str) -> None:
    file = file_of(own)
    if change == "touched":
        touch(file)
    elif change == "copied":
        shutil.copy(file, file.with_name("copy"))
        file.unlink()
        file.with_name("copy").rename(file.with_name("SYN00USDT-again-1m.parquet"))
    else:
        bars = pl.read_parquet(file)
        file.unlink()
        for number, part in enumerate((bars[2_000:], bars[:2_000])):
            part.write_parquet(file.with_name(f"part-{number}-1m.parquet"))
    config = config_for(own)
    assert verdicts(config) == (3, 3, 0)
    record = run(config)
    assert record.counts == STAY
    assert {one.symbol for one in record.outcomes if one.node} == {"SYN00USDT"}, "a worker looked at it"
    assert verdicts(config) == (6, 0, 0), "what was read is listed now"


def test_a_changed_bar_retrains_its_series(own: Path) -> None:
    file = file_of(own)
    bars = pl.read_parquet(file)
    bars.with_columns(volume=pl.when(pl.int_range(pl.len()) == 99).then(1.0).otherwise("volume")).write_parquet(file)
    record = run(config_for(own))
    assert {one.symbol for one in trained(record)} == {"SYN00USDT"}
    assert record.counts == {**STAY, "current": 3, "trained": 3}


def test_bars_that_change_behind_their_listing_are_found_by_verifying(tmp_path: Path) -> None:
    """Another volume of as many digits, and the time of change set back: only the bars themselves tell."""
    folder = tmp_path / "bars"
    folder.mkdir()
    file = folder / "BTC-1m.csv"
    bars = make_bars(seed=1, days=4).with_columns(volume=pl.lit(1.5))
    bars.write_csv(file)
    config = config_for(tmp_path, model_trainer={"enable_tactician_models": False})
    assert run(config).counts["trained"] == 2
    before = file.stat()
    file.write_text(file.read_text().replace("1.5\n", "2.5\n"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert verdicts(config) == (2, 0, 0)
    assert verdicts(config, verify=True) == (0, 2, 0)
    record = run(config, verify=True)
    assert record.counts["trained"] == 2
    (warning,) = {warning for one in record.outcomes for warning in one.warnings}
    assert "unknown/BTC: the files hold other bars than before" in warning
    registry = Storage(str(tmp_path / "models"))
    assert len(read_listings(registry)) == 1, "what is not so any more is forgotten"
    assert verdicts(config) == (2, 0, 0)


def test_verifying_what_did_not_change_trains_nothing(own: Path) -> None:
    config = config_for(own)
    assert run(config, verify=True).counts == STAY
    assert run(config, verify=True).counts == STAY


def test_more_bars_of_one_symbol_retrain_that_symbol(own: Path) -> None:
    read_all = make_bars(seed=1, days=5)
    later = read_all.with_columns(pl.col("timestamp") + timedelta(days=4)).filter(
        pl.col("timestamp") > pl.read_parquet(file_of(own))["timestamp"].max()
    )
    later.write_parquet(file_of(own).with_name("SYN00USDT-later-1m.parquet"))
    record = run(config_for(own))
    assert {one.symbol for one in trained(record)} == {"SYN00USDT"}
    assert record.counts == {**STAY, "current": 3, "trained": 3}


@pytest.mark.slow
def test_a_month_more_of_one_of_16_symbols_retrains_its_5_models(tmp_path: Path) -> None:
    write_world(tmp_path / "bars", symbols=16, days=12, seed=5)
    trainer = {"analyst_models": {"n_estimators": 5}, "cv_folds": 1}
    config = config_for(tmp_path, model_trainer=trainer)
    assert run(config).counts["trained"] == 80
    month = make_bars(seed=9, days=30).with_columns(pl.col("timestamp") + timedelta(days=12))
    month.write_parquet(file_of(tmp_path, "SYN07USDT").with_name("SYN07USDT-month-1m.parquet"))
    record = run(config)
    assert {one.symbol for one in trained(record)} == {"SYN07USDT"}
    assert (record.counts["trained"], record.counts["current"]) == (5, 75)


def test_a_configuration_that_comes_back_is_current_but_not_the_latest(own: Path) -> None:
    first = config_for(own)
    second = config_for(own, model_trainer={"test_size": 0.3})
    assert run(second).counts["trained"] == 6
    again = run(first)
    assert again.counts == {**STAY, "current_not_latest": 6}
    assert all("--force makes it the latest" in one.warnings[0] for one in again.outcomes)
    assert again.exit_status == 0
    forced = run(first, force=True)
    assert forced.counts["trained"] == 6
    assert run(first).counts == STAY
    registry = Storage(str(own / "models"))
    assert {len(list_versions(registry, one.key)) for one in forced.outcomes} == {3}


@pytest.mark.parametrize(
    "changes",
    [
        {"model_trainer": {"random_state": 1}},
        {"data": {"max_fill": 1}},
        {"data": {"end": "2024-01-04"}},
        {"data": {"lookback_days": 3}},
        {"model_trainer": {"embargo": 1}},
    ],
    ids=str,
)
def test_what_decides_a_model_is_trained_anew_without_reading_first(
    own: Path, changes: dict[str, dict[str, Any]]
) -> None:
    current, checks, trains = verdicts(config_for(own, **changes))
    assert (current, checks + trains) == (0, 6)
    assert checks == (6 if "end" in changes.get("data", {}) else 0), "where the bars end, their digest may be the same"


def test_damaged_metadata_is_trained_again(own: Path) -> None:
    registry = Storage(str(own / "models"))
    (key,) = {one.key for one in run(config_for(own)).outcomes if one.key.stem == "analyst_1m" and "00" in one.symbol}
    (version,) = list_versions(registry, key)
    registry.replace(f"{key.folder}/{version}.json", b"{}")
    assert verdicts(config_for(own)) == (5, 0, 1)


def test_a_damaged_catalogue_and_lost_listings_cost_reads_only(own: Path) -> None:
    registry = Storage(str(own / "models"))
    registry.replace("model_metadata.json", b'{"schema_version":1,"versions":[{"half')
    assert verdicts(config_for(own)) == (6, 0, 0)
    registry.remove_folder("listings")
    assert verdicts(config_for(own)) == (0, 6, 0)
    assert run(config_for(own)).counts == STAY
    assert verdicts(config_for(own)) == (6, 0, 0)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_pools_are_recognised_like_single_series(own: Path) -> None:
    config = config_for(own, model_trainer={"group_by": ["timeframe"]})
    assert run_on_ray(config).counts["trained"] == 3
    assert verdicts(config) == (3, 0, 0)
    touch(file_of(own))
    assert verdicts(config) == (0, 3, 0)
    record = run_on_ray(config)
    assert record.counts == {**STAY, "current": 3}
    assert verdicts(config) == (3, 0, 0)
    capped = config_for(own, model_trainer={"group_by": ["timeframe"], "max_samples": 3_000})
    assert verdicts(capped) == (0, 0, 3)


def test_costs_come_from_earlier_versions(own: Path) -> None:
    fresh = skip_completed(make_plan(config_for(own)), config_for(own).model_copy(), force=True)
    tasks = {task.key: task for task in fresh.tasks}
    for one in run(config_for(own)).outcomes:
        assert tasks[one.key].memory > 100 * 2**20
    registry = Storage(str(own / "models"))
    slower = [{**one, "seconds": 1000.0 * one["rows"], "peak_mb": 9_000.0} for one in list_summaries(registry)]
    lines = json.dumps({"schema_version": 1, "versions": slower})
    registry.replace("model_metadata.json", lines.encode())
    dear = skip_completed(make_plan(config_for(own)), config_for(own), force=True)
    for task in dear.tasks:
        assert task.seconds == pytest.approx(1000.0 * task.rows)
        assert task.memory >= 9_000 * 2**20


def test_the_plan_tells_current_from_the_rest(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(file_of(own))
    config = own / "config.yaml"
    config.write_text(json.dumps({"model_trainer": {**FAST, "analyst_models": {"timeframes": ["15m", "1m", "5m"],
        "n_estimators": 5}}}))  # fmt: skip
    paths = ["--input", str(own / "bars"), "--output", str(own / "models"), "--config", str(config)]
    assert main(["plan", *paths, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {name: plan[name] for name in ("models", "current", "to_check", "to_train")} == {
        "models": 8, "current": 3, "to_check": 3, "to_train": 2,
    }  # fmt: skip
    (five,) = (kind for kind in plan["kinds"] if kind["timeframe"] == "5m")
    assert (five["models"], five["to_train"]) == (2, 2)


def test_the_store_inside_the_input_is_no_bars(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)
    config = config_for(tmp_path, data={"input": str(tmp_path)})
    plan = make_plan(config)
    assert len(plan.tasks) == 6
    assert not plan.problems


@pytest.mark.slow
def test_thousands_of_models_are_found_current_without_reading_bars(tmp_path: Path) -> None:
    config = many_models(tmp_path, symbols=1_000, scores=SCORES)
    paths = ["--input", str(config.data.input), "--output", config.model_trainer.model_directory]
    done = subprocess.run(
        [sys.executable, str(ROOT / "job" / "main.py"), *paths, "--json"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["counts"] == {**STAY, "current": 5_000}
    assert len(record["outcomes"]) == 5_000
    assert record["outcomes"][0]["scores"] == SCORES
