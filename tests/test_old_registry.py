"""A registry that an earlier release wrote: what this release finds current in it, loads and leaves alone.

`tests/old_registry` was written by the release before modules were sorted into one folder per operation.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.api.trainer import RayModelTrainer
from job.cli import main
from job.config.settings import Config, load_config
from job.core.environment import BUNDLED_SAMPLE, versions
from job.train.plan import make_plan
from job.train.resume import skip_completed
from job.train.run import run
from job.worker.load_bars import load_series
from job.worker.messages import Job

OLD = Path(__file__).parent / "old_registry"
VERDICTS = ("current", "to_check", "to_train")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old registry, in a process whose libraries are those that it was made with."""
    stored = json.loads(next(OLD.glob("*/*/*.json")).read_bytes())["library_versions"]
    monkeypatch.setattr("job.registry.fingerprints.versions", lambda *_: stored)
    return Path(shutil.copytree(OLD, tmp_path / "models"))


def arguments(registry: Path) -> list[str]:
    return [
        "--output", str(registry), "--symbols", "SYN00USDT", "--timeframes", "1h,15m",
        "--set", "model_trainer.tactician_models.timeframes=[15m]",
    ]  # fmt: skip


def config_of(registry: Path) -> Config:
    trainer = {"analyst_models": {"timeframes": ["1h", "15m"]}, "tactician_models": {"timeframes": ["15m"]}}
    data = {"input": str(BUNDLED_SAMPLE), "symbols": ["SYN00USDT"]}
    config = load_config({"data": data, "model_trainer": trainer | {"model_directory": str(registry)}})
    return config.with_absolute_paths()


def contents(registry: Path) -> dict[str, bytes]:
    """Return the files of the models, and the catalog, by path."""
    files = [registry / "model_metadata.json", *registry.glob("synthetic/**/*.*")]
    return {path.relative_to(registry).as_posix(): path.read_bytes() for path in files}


def planned(registry: Path, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert main(["plan", *arguments(registry), *more, "--json"]) == 0
    described = json.loads(capsys.readouterr().out.splitlines()[-1])
    return {name: described[name] for name in VERDICTS}


def test_all_of_an_old_registry_is_current(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(registry)
    assert len(before) == 3 * 3 + 1
    assert planned(registry, capsys) == {"current": 0, "to_check": 3, "to_train": 0}, "its listings are not kept"

    config = config_of(registry)
    (series,) = {one for task in skip_completed(make_plan(config), config).tasks for one in task.series}
    load_series(series, Job("20261129_120000_abcdef", config, str(registry), versions()))
    assert planned(registry, capsys) == {"current": 3, "to_check": 0, "to_train": 0}

    record = run(config)
    assert {name: count for name, count in record.counts.items() if count} == {"current": 3}
    assert contents(registry) == before


def test_a_retrain_policy_says_nothing_of_old_versions(registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the same bars are current all the same; of more bars, none tells its definition, and all are trained."""
    config = config_of(registry)
    (series,) = {one for task in skip_completed(make_plan(config), config).tasks for one in task.series}
    load_series(series, Job("20261129_120000_abcdef", config, str(registry), versions()))
    policy = ["--set", "retrain.max_age=7d"]
    assert planned(registry, capsys, *policy) == {"current": 3, "to_check": 0, "to_train": 0}
    earlier = ["--end", "2024-01-20", *policy]
    assert planned(registry, capsys, *earlier) == {"current": 0, "to_check": 3, "to_train": 0}
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"end": datetime(2024, 1, 20, tzinfo=UTC)})}
    )
    load_series(series, Job("20261129_120000_abcdef", config, str(registry), versions()))
    assert planned(registry, capsys, *earlier) == {"current": 0, "to_check": 0, "to_train": 3}


@pytest.mark.parametrize(("model_type", "timeframe"), [("analyst", "1h"), ("analyst", "15m"), ("tactician", "15m")])
def test_an_old_model_predicts(registry: Path, model_type: str, timeframe: str) -> None:
    bars = pl.read_parquet(BUNDLED_SAMPLE / "exchange=synthetic" / "symbol=SYN00USDT" / "*.parquet")
    with RayModelTrainer(config_of(registry)) as trainer:
        predicted = trainer.predict(bars, model_type, timeframe)
    up = predicted["probability_up"]
    assert predicted.height > 0
    assert up.is_between(0, 1, closed="none").all()
    assert up.n_unique() > 1
    (version,) = predicted["version"].unique()
    assert (registry / "synthetic" / "SYN00USDT" / f"{version}.skops").exists()
