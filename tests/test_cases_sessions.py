"""Bars of markets with sessions as people have them, a Ray that cannot start, and models loaded without this code."""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.api.frames import predict_bars
from job.cli import main
from job.cluster import machine
from job.cluster.local_ray import PRELOAD, local_ray
from job.cluster.machine import check_machine, ray_folder
from job.config.settings import Config, load_config
from job.core.environment import ROOT
from job.core.errors import ConfigError
from job.core.keys import Key
from job.registry.definition import Definition
from job.registry.versions import read_metadata
from job.sources.finding import find_series
from job.storage.files import Storage
from job.train.plan import plan
from job.train.run import run
from job.worker.load_bars import in_range, read_clean
from job.worker.messages import SeriesInfo
from job.worker.scorer import load_scorer
from tests.documents import python_blocks
from tests.here import run_here
from transforms.sessions import Sessions

FAST = {
    "cv_folds": 2,
    "analyst_models": {"timeframes": ["1h"], "n_estimators": 5, "label": "direction(3)"},
    "enable_tactician_models": False,
}


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of small inputs of each kind, kept beside the project; tests that need it are skipped without it."""
    folder = ROOT.parent / "shared" / "cases"
    folder = folder if folder.is_dir() else ROOT.parents[1] / "shared" / "cases"
    if not folder.is_dir():
        pytest.skip("cases are absent: ../shared/cases")
    return folder


def config_of(folder: Path, output: Path, trainer: Mapping[str, Any] = FAST, **data: Any) -> Config:
    settings = {
        "data": {"input": str(folder), **data},
        "model_trainer": {**trainer, "model_directory": str(output)},
        "ray": {"num_cpus": 2},
    }
    return load_config(settings).with_absolute_paths()


@pytest.mark.parametrize(
    ("name", "rows", "first", "last", "hours"),
    [
        ("us-1m", 8_580, "2024-01-02T09:30", "2024-01-31T15:59", Sessions("UTC", ((570, 960),))),
        ("fx-1h", 12_480, "2022-01-02T22:00", "2023-12-29T21:00", Sessions("UTC", ((0, 1_440),))),
    ],
)
def test_sessions_are_noticed_and_no_bar_is_lost(
    cases: Path, tmp_path: Path, *, name: str, rows: int, first: str, last: str, hours: Sessions
) -> None:
    config = config_of(cases / "23-sessions" / "in" / name, tmp_path)
    (series,) = find_series(config.data).series
    bars, info = in_range(series, read_clean(series, config.data)[0], config.data)
    assert (bars.height, info.sessions) == (rows, hours)
    assert [time.replace(tzinfo=None) for time in (info.first, info.last)] == [
        datetime.fromisoformat(text) for text in (first, last)
    ]


@pytest.mark.parametrize("gaps", ["auto", "sessions"])
def test_currencies_train_and_are_found_current_and_predicted_by_their_hours(
    cases: Path, gaps: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cases / "23-sessions" / "in" / "fx-1h"
    config = config_of(folder, tmp_path / "models", gaps=gaps)
    record = run_here(config)
    (outcome,) = record.outcomes
    assert outcome.status == "trained"
    assert outcome.gaps == "sessions"
    assert outcome.counts["filled"] == outcome.counts["low_coverage"] == 0
    assert (outcome.counts["bars"], outcome.counts["segments"]) == (12_480, 1)
    assert "a market with sessions (around the clock on trading days)" in "".join(outcome.warnings)
    registry, key = Storage(str(tmp_path / "models")), Key("unknown", "EURUSD", "1h", "analyst")
    metadata = read_metadata(registry, key, str(outcome.version))
    assert metadata["data"]["sampling"]["gaps"] == "sessions"
    assert metadata["data"]["sessions"] == {"unknown/EURUSD": {"zone": "UTC", "open": [["00:00", "24:00"]]}}
    assert re.fullmatch("[0-9a-f]{64}", metadata["data"]["content_digest"])

    again = run_here(config_of(folder, tmp_path / "models", gaps="auto"))
    assert [one.status for one in again.outcomes] == ["current"]
    arguments = [
        "plan", "--input", str(folder), "--output", str(tmp_path / "models"), "--timeframes", "1h",
        "--model-types", "analyst", "--set", "model_trainer.cv_folds=2",
        "--set", "model_trainer.analyst_models={n_estimators: 5, label: direction(3)}",
    ]  # fmt: skip
    with caplog.at_level("INFO", logger="job"):
        assert main(arguments) == 0
    printed = caplog.text + "".join(capsys.readouterr())
    assert "unknown/EURUSD: markets with sessions" in printed
    assert "analyst 1h: of 12,480 bars 0.0% filled flat, 0.0% lost" in printed

    few = pl.read_csv(folder / "EURUSD_1h.csv").tail(450)
    made = predict_bars(few, load_scorer(registry, key, data=config.data), config.data)
    assert made.height == 450 - 280
    grid = SeriesInfo("1h", 0, few["timestamp"][0], few["timestamp"][-1], {}, "", ())
    defined = Definition.of(metadata, config.data, where="x")
    assert defined.preparation(few, grid).gaps == Sessions("UTC", ((0, 1_440),))


@pytest.mark.usefixtures("local_ray")
@pytest.mark.slow
def test_a_model_over_currencies_and_a_market_that_never_closes_keeps_the_gaps_of_each(
    cases: Path, tmp_path: Path
) -> None:
    bars = pl.read_csv(cases / "23-sessions" / "in" / "fx-1h" / "EURUSD_1h.csv", try_parse_dates=True)
    bars.head(3_000).write_csv(tmp_path / "EURUSD_1h.csv")
    hours = pl.datetime_range(bars["timestamp"][0], interval="1h", end=bars["timestamp"][2_999], eager=True)
    bars.head(hours.len()).with_columns(timestamp=hours).write_csv(tmp_path / "BTCUSD_1h.csv")
    config = config_of(tmp_path, tmp_path / "models", {**FAST, "group_by": "timeframe"})
    (outcome,) = run(config).outcomes
    assert (outcome.status, outcome.gaps, outcome.counts["filled"]) == ("trained", "auto", 0)
    metadata = read_metadata(Storage(str(tmp_path / "models")), outcome.key, str(outcome.version))
    found = metadata["data"]["sessions"]
    assert found["unknown/BTCUSD"] is None
    assert found["unknown/EURUSD"] == {"zone": "UTC", "open": [["00:00", "24:00"]]}
    assert not plan(config).tasks
    cut = load_config(config.model_dump() | {"data": config.data.model_dump() | {"gaps": "segment"}})
    assert plan(cut).tasks


def environment(**more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if name not in {"TMPDIR", "RAY_TMPDIR"}}
    return {**own, "RAY_AUTH_MODE": "disabled", **more}


def train(cases: Path, output: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "job/main.py", "--input", str(cases / "11-long-tmpdir" / "in"), "--output", str(output),
        "--timeframes", "15m", "--model-types", "analyst", "--set", "model_trainer.cv_folds=2",
        "--set", "ray.num_cpus=1",
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=ROOT, env=environment(**more), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_a_long_tmpdir_is_left_alone_for_a_short_one(cases: Path, tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 15)
    folder.mkdir()
    done = train(cases, tmp_path / "models", TMPDIR=str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is too long a path for Ray's sockets, so Ray's files go to ") == 1
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_one_line(cases: Path, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = train(cases, tmp_path / "models", RAY_GCS_SERVER_PORT=port)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert f"Ray cannot start: port {port} (RAY_GCS_SERVER_PORT) is taken" in line
    assert "Traceback" not in done.stderr


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return what sets the folders that Ray may be given, and the environment that names the one it would take."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("TMPDIR", raising=False)

    def set_folders(*folders: Path, **named: str) -> None:
        monkeypatch.setattr(machine, "SHORT_FOLDERS", tuple(map(str, folders)))
        for name, value in named.items():
            monkeypatch.setenv(name, value)

    return set_folders


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_that_ray_can_use_is_left_to_it(name: str, own_folders: Callable[..., None]) -> None:
    own_folders(**{name: "/tmp"})
    assert ray_folder() is None


@pytest.mark.parametrize(
    ("wanted", "obstacle"),
    [("/tmp/" + "x" * 60, "is too long a path for Ray's sockets"), ("/dev/null", r"cannot be written \(\w")],
    ids=["long", "not writable"],
)
def test_another_folder_is_taken_or_the_remedy_told(
    wanted: str, obstacle: str, own_folders: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    own_folders(Path("/dev/null/x"), Path("/tmp/ray-test"), TMPDIR=wanted)
    assert ray_folder() == "/tmp/ray-test"
    assert re.search(rf"TMPDIR={wanted} {obstacle}", caplog.text)
    own_folders(Path("/dev/null/x"), TMPDIR=wanted)
    with pytest.raises(
        ConfigError, match=rf"TMPDIR={wanted} {obstacle}.*set RAY_TMPDIR, or TMPDIR, to a folder"
    ) as error:
        ray_folder()
    most = re.search("at most (\\d+) characters", str(error.value))
    assert most is not None
    folder = Path("/tmp") / ("y" * (int(most[1]) - len("/tmp/")))
    own_folders(RAY_TMPDIR=str(folder))
    try:
        assert ray_folder() is None
        own_folders(Path("/dev/null/x"), RAY_TMPDIR=f"{folder}y")
        with pytest.raises(ConfigError, match="too long"):
            ray_folder()
    finally:
        shutil.rmtree(folder)


def test_shared_memory_that_is_absent_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "shm")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(ConfigError, match=r"shm, its shared memory, is not there: mount it .* --shm-size=2g"):
        check_machine()
    (tmp_path / "shm").mkdir()
    check_machine()


@pytest.mark.parametrize("port", ["none", "99999"])
def test_a_port_that_is_none_is_refused(port: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_GCS_SERVER_PORT", port)
    with pytest.raises(ConfigError, match=rf"port {port} .* is taken or none"):
        check_machine()


def test_what_else_ray_says_is_one_line_of_bounded_length(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_options: Any) -> None:
        raise RuntimeError("Failed to start GCS.\n" + "a line of C++\n" * 100)

    monkeypatch.setattr("ray.init", fail)
    monkeypatch.setenv(PRELOAD, "")  # so that no process is started from which workers would be forked
    monkeypatch.setenv("PYTHONPATH", "")  # to be restored
    with pytest.raises(ConfigError) as raised, local_ray(load_config({}).ray, {}, logging.WARNING):
        pass
    found = raised.value
    assert str(found).startswith("Ray cannot start on this machine: Failed to start GCS. a line")
    assert len(str(found)) < 600
    assert "\n" not in str(found)
    assert found.exit_status == 2


WITHOUT_THIS_CODE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("job", "transforms"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
"""
EACH_IS_RUN = """
import json
for code in codes:
    names = {}
    exec(code, names)
    try:
        exec(code.replace('    "sklearn.', '    "no.'), {})
    except Exception as error:
        refusal = type(error).__name__
    else:
        refusal = None
    ours = sorted({"job", "transforms"} & {*sys.modules})
    print(json.dumps([type(names["model"]).__name__, names["up"].tolist(), refusal, ours]))
"""


def test_stored_models_load_where_this_project_is_not_installed(tmp_path: Path) -> None:
    """A forest and a boosted model, each as documented, and as if none of its types was trusted."""
    (code,) = python_blocks("job/registry/README.md")
    assert "get_untrusted_types" not in code
    shutil.copytree(ROOT / "tests" / "old_registry", tmp_path / "models")
    codes = [code.replace("analyst_1h_*", f"{name}_*") for name in ("analyst_1h", "tactician_15m")]
    script = WITHOUT_THIS_CODE + f"codes = {codes!r}" + EACH_IS_RUN
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    kinds, ups, refusals, ours = zip(*map(json.loads, done.stdout.splitlines()), strict=True)
    assert kinds == ("RandomForestClassifier", "HistGradientBoostingClassifier")
    assert all(0 < up[0] < 1 for up in ups)
    assert refusals == ("UntrustedTypesFoundException",) * 2
    assert ours == ([], [])
