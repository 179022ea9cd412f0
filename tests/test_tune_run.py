"""Studies on Ray, from the command line: run, looked at again, used by training, killed and resumed."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from job.cli import main
from job.config.settings import load_config
from job.core.keys import Key
from job.core.synth import write_world
from job.registry.catalog import key_of, list_summaries
from job.registry.ledger import remember, scored_versions, versions_scored
from job.registry.studies import read_winners
from job.registry.versions import read_metadata
from job.storage.files import Storage
from job.train.plan import plan as plan_training
from tests.here import without_ray
from tests.kills import Launched, becomes

ROOT = Path(__file__).resolve().parents[1]
BAD = {"timeframes": ["5m"], "algorithm": "logistic_regression", "label": "direction(5)", "params": {"C": 1e-7}}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three symbols with something to learn, and one that is too short."""
    folder = tmp_path_factory.mktemp("bars")
    one, *_ = write_world(folder, symbols=3, days=25, seed=3, world="signal")
    short = folder / "exchange=synthetic" / "symbol=SHORT" / "SHORT-1m.parquet"
    short.parent.mkdir()
    pl.read_parquet(one).head(300).write_parquet(short)
    return folder


def settings(folder: Path, bars: Path, **trainer: Any) -> Path:
    """Write a file of settings."""
    values = {
        "ray": {"num_cpus": 2},
        "data": {"input": str(bars)},
        "model_trainer": {
            "model_directory": str(folder / "models"), "enable_tactician_models": False, "analyst_models": BAD,
            **trainer,
        },
        "tune": {"trials": 6, "batch": 3},
    }  # fmt: skip
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tuned(bars: Path, tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """Settings with a bad default, whose study was run on Ray and is finished."""
    file = settings(tmp_path_factory.mktemp("tuned"), bars)
    assert main(["tune", "--config", str(file)]) == 0
    return file


def registry_of(file: Path) -> Storage:
    return Storage(str(file.parent / "models"))


def last_json(text: str) -> Any:
    return json.loads(text.splitlines()[-1])


def test_a_finished_study_is_not_run_again(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = registry_of(tuned).list("tuning")
    assert sum("/trials/" in path for path in before) == 6
    with without_ray():
        assert main(["tune", "--config", str(tuned), "--json"]) == 0
    record = last_json(capsys.readouterr().out)
    assert record["status"] == "finished"
    assert record["counts"]["tuned"] == 3, "samples are made to see that one series has none"
    for one in record["outcomes"]:
        assert one["finished_at"] >= one["started_at"] > "", one["status"]
        assert min(one["seconds"], one["peak_rss_mb"], one["pid"]) > 0
    (study,) = record["studies"]
    assert (study["trials"], study["series"], study["exchange"], study["symbol"]) == (6, 3, "pooled", "all")
    assert study["winner"] > 0
    assert study["gain"] > study["required"] > study["error"]
    assert registry_of(tuned).list("tuning") == before
    runs = registry_of(tuned).list("runs")
    assert all(path.endswith((".json", ".events.jsonl")) for path in runs), "no marker and no note is left"


def test_a_dry_run_says_what_is_left(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = settings(tmp_path, bars)
    assert main(["tune", "--config", str(file), "--dry-run", "--json"]) == 0
    (study,) = last_json(capsys.readouterr().out)["studies"]
    assert (study["study"], study["trials"], study["series"]) == ("analyst 5m", 6, 4)
    assert not registry_of(file).list()


@pytest.mark.slow
def test_training_takes_what_was_chosen(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    winner = read_winners(registry_of(tuned))[Key("pooled", "all", "5m", "analyst")]
    trading = ("--set", "model_trainer.trading.cost_bps=1")
    arguments = ["--config", str(tuned), "--json", *trading, "--symbols", "SYN01USDT"]
    assert main(arguments) == 0
    (default,) = last_json(capsys.readouterr().out)["outcomes"]
    assert main([*arguments, "--tuned"]) == 0
    (better,) = last_json(capsys.readouterr().out)["outcomes"]
    assert (default["status"], better["status"]) == ("trained", "trained"), "parameters enter the fingerprint"
    assert better["scores"]["log_loss"] < default["scores"]["log_loss"]
    assert main([*arguments, "--tuned"]) == 0
    (again,) = last_json(capsys.readouterr().out)["outcomes"]
    assert (again["status"], again["version"]) == ("current", better["version"])
    registry = registry_of(tuned)
    (key,) = {key_of(one) for one in list_summaries(registry)}
    old, new = (read_metadata(registry, key, one["version"]) for one in (default, better))
    assert "tuning" not in old
    assert new["tuning"] == winner.record()
    assert new["parameters"]["C"] == winner.params["C"]
    assert new["trading"]["versions_scored"] == 2 + 5, "two versions, and the five other settings of the study"


def test_what_was_tried_is_remembered_when_its_version_is_pruned(memory: Storage) -> None:
    key = Key("binance", "BTC", "1h", "analyst")
    times = {"test_from": "2024-01-01T00:00:00+00:00", "test_to": "2024-02-01T00:00:00+00:00"}
    for version, tuning in (("a", None), ("b", {"study": "s", "trials": 20}), ("c", {"study": "s", "trials": 40})):
        metadata = {"split": {"holdout": times}, **({"tuning": tuning} if tuning else {})}
        remember(memory, key, version, json.dumps(metadata).encode())
    tested = (datetime(2024, 1, 10, tzinfo=UTC), datetime(2024, 1, 20, tzinfo=UTC))
    scored = scored_versions(memory, [key], [])[key]
    assert versions_scored(scored, tested) == 3 + 39
    assert versions_scored(scored, tested, tuning={"study": "t", "trials": 5}) == 3 + 39 + 4


def test_studies_of_other_settings_are_not_taken(tuned: Path, bars: Path, tmp_path: Path) -> None:
    values = yaml.safe_load(tuned.read_text())
    trainer = values["model_trainer"] | {"tuned": "latest"}
    kept = plan_training(load_config(values | {"model_trainer": trainer}))
    assert {task.spec.params["C"] for task in kept.tasks} != {1e-7}
    other = plan_training(load_config(values | {"model_trainer": trainer | {"cv_folds": 4}}))
    assert {task.spec.params["C"] for task in other.tasks} == {1e-7}
    assert "analyst 5m: trained with the default, studies were of other settings; tune with" in " ".join(other.notes)
    empty = trainer | {"model_directory": str(tmp_path)}
    assert "no study of them is finished" in " ".join(
        plan_training(load_config(values | {"model_trainer": empty})).notes
    )


def test_pooled_models_are_not_trained_with_what_was_tuned_on_single_series(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--config", str(tuned), "--tuned", "--group-by", "timeframe"]) == 2
    assert "leave out --tuned" in capsys.readouterr().err


def test_per_key_tunes_each_series_and_warns(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = settings(tmp_path, bars)
    arguments = ["tune", "--config", str(file), "--symbols", "SYN00USDT,SYN01USDT", "--per-key", "--trials", "3"]
    with without_ray():
        assert main(arguments) == 0
    assert "--per-key chooses settings for each series by itself" in capsys.readouterr().err
    winners = read_winners(registry_of(file))
    assert {key.symbol for key in winners} == {"SYN00USDT", "SYN01USDT"}
    assert main([*arguments, "--json"]) == 0
    record = last_json(capsys.readouterr().out)
    assert record["cluster"]["nodes"] == 0, "what listings know to be finished starts no Ray"
    assert len(record["studies"]) == 2


@pytest.fixture
def started(bars: Path, tmp_path: Path) -> Iterator[Any]:
    """A function that starts `tune` in a session of its own, on Ray or not; whatever it leaves is ended."""
    file, begun = settings(tmp_path, bars), list[Launched]()

    def start(*, on_ray: bool = True) -> Launched:
        options = ["--trials", "22", "--set", "tune.batch=2", "--set", "ray.num_cpus=1"]
        program = ["job/main.py"] if on_ray else ["-m", "tests.here"]
        command = [sys.executable, *program, "tune", "--config", str(file), *options]
        log = tmp_path / f"{len(begun)}.log"
        with log.open("w") as errors:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                text=True,
                env={**os.environ, "RAY_AUTH_MODE": "disabled"},
            )
        begun.append(Launched(process, tmp_path / "models", log))
        return begun[-1]

    yield start
    for one in begun:
        one.kill_all()
        one.process.wait()


def trials_in(registry: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in registry.glob("tuning/*/*/*/trials/*.json")}


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(600)
def test_a_study_that_is_killed_ten_times_equals_one_that_is_not(started: Any, tmp_path: Path) -> None:
    draw, registry = random.Random(20_260), tmp_path / "models"
    undisturbed = started()
    undisturbed.finish()
    expected, expected_winner = trials_in(registry), {**read_winners(Storage(str(registry)))}
    assert len(expected) == 22
    registry.rename(tmp_path / "undisturbed")
    for kill in range(10):
        run = started(on_ray=kill % 3 == 0)  # the others need a third of the time to start
        wanted = 2 * kill
        becomes(lambda run=run, wanted=wanted: len(trials_in(registry)) >= wanted or not run.running, 120)  # type: ignore[misc]
        becomes(lambda run=run: not run.running, draw.uniform(0, 1.5))  # type: ignore[misc]
        before = {path: path.stat().st_mtime_ns for path in registry.glob("tuning/*/*/*/trials/*.json")}
        assert run.running, run.log.read_text()
        run.kill_all()
        assert run.process.wait() == -signal.SIGKILL
    started().finish()
    assert trials_in(registry) == expected
    assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished trial is written once"
    (winner,), (other,) = read_winners(Storage(str(registry))).values(), expected_winner.values()
    for name in ("winner", "params", "gain", "error", "study"):
        assert getattr(winner, name) == getattr(other, name)
