"""The command line: what it prints, and how it ends."""

import builtins
import gzip
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.cli import main
from job.core.synth import make_bars, write_world
from tests.here import without_ray

ROOT = Path(__file__).resolve().parents[1]
FAST = ("--set", "model_trainer.cv_folds=2", "--set", "model_trainer.analyst_models.n_estimators=10")


def shell(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the job as a user would, from any folder."""
    command = [sys.executable, str(ROOT / "job" / "main.py"), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_world(folder, symbols=1, days=3, seed=3)
    return folder


@pytest.fixture
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--set", "model_trainer.cv_fold=3"], 2, "unknown key model_trainer.cv_fold; did you mean 'cv_folds'"),
        (["--set", "model_trainer.cv_folds=x"], 2, "model_trainer.cv_folds"),
        (["--config", "absent.yaml"], 2, "config file absent.yaml: No such file"),
        (["--timeframes", "1y"], 2, "--timeframes"),
        (["--model-types", "analist"], 2, "--model-types: unknown 'analist'; did you mean 'analyst'"),
        (["--group-by", "symbol"], 2, "model_trainer.group_by: use one of"),
        (["--lookback-days", "-3"], 2, "data.lookback_days"),
        (["--lookback-days", "inf"], 2, "data.lookback_days"),
        (["--start", "soon"], 2, "data.start"),
        (["--start", "20240131"], 2, "data.start: write the time out, such as 2024-01-31"),
        (["--end", "0024-01-31"], 2, "data.end: expected a year from 1900"),
        (["--start", "2024-02-01", "--end", "2024-02-01"], 2, "is not before end"),
        (["--symbols", ""], 2, "--symbols is empty"),
        (["--symbols", " , "], 2, "--symbols is empty"),
        (["--timeframes", ","], 2, "--timeframes is empty"),
        (["--model-types", ""], 2, "--model-types is empty"),
        (["--model-types", "tactician,both"], 2, "unknown 'both' (known: analyst, tactician)"),
        (["--output", ""], 2, "--output is empty"),
        (["--config", ""], 2, "--config is empty"),
        (["--set", "model_trainer.analyst_models.features=[]"], 2, "name at least one feature"),
        (["--set", "data=3"], 2, "data: expected a section of settings, got 3"),
        (["--set", "data.symbols=0700"], 2, "data.symbols: expected a list such as [A, B], got 448"),
        (["--set", "data.symbols=[0700]"], 2, "data.symbols.0: expected text: quote it, got 448"),
        (["--set", "data.exchange=1"], 2, "data.exchange: expected text: quote it, got 1"),
        (["--symbols", "NOPE"], 3, "NOPE"),
        (["--output", "memory://models"], 2, "output memory://models: workers do not share"),
        (["synth", "--output", "s3://bars"], 2, "synthetic bars are written to a local folder"),
        (["--input", "nowhere/*.csv"], 3, "nowhere"),
        (["plan", "--symbols", "NOPE"], 3, "SYN00USDT"),
        (["synth", "--output", "x", "--days", "0"], 2, "days: expected at least 1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_cost_one_line_and_a_status(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str], in_empty_folder: None
) -> None:
    assert main(arguments) == status
    line = last_line(capsys)
    assert message in line
    assert "Traceback" not in line


def test_an_unknown_command_is_named_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["trian"])
    assert stopped.value.code == 2
    assert "invalid choice: 'trian' (choose from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("BTC-1m.csv", b"", "empty"),
        ("BTC-1m.csv", b"<!DOCTYPE html><html><body>503</body></html>", "web page"),
        ("BTC-1m.zip", b"PK\x03\x04 and then nothing", "zip"),
        ("BTC-1m.csv.gz", gzip.compress(b"time,open,high,low,close\n" * 99, mtime=0)[:40], "BTC-1m.csv.gz"),
        ("BTC-1m.csv", b"time,open,high,low\n2024-01-01,1,1,1\n", "close"),
        ("BTC-1m.parquet", b"not parquet", "BTC-1m.parquet"),
    ],
)
def test_files_that_hold_no_bars_are_named(
    name: str, content: bytes, message: str, in_empty_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_bytes(content)
    assert main(["--input", name, "--output", "models", *FAST]) == 3
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert any(message in line and name in line for line in said.splitlines()), said


def test_an_output_that_cannot_be_written_is_refused_before_training(
    bars: Path, in_empty_folder: None, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way")
    assert main(["--input", str(bars), "--output", "file/models"]) == 2
    said = capsys.readouterr().err
    assert "file/models" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_neither_the_folder_nor_the_number_of_cpus_changes_a_score(bars: Path, tmp_path: Path) -> None:
    scores = []
    for cpus in (1, 3):
        folder = tmp_path / str(cpus)
        folder.mkdir()
        arguments = ("--input", str(bars), "--set", f"ray.num_cpus={cpus}", "--json", "--timeframes", "15m,1m", *FAST)
        done = shell(*arguments, cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "trained synthetic/SYN00USDT analyst 15m" in done.stderr
        assert "Warning" not in done.stderr
        record = json.loads(done.stdout.splitlines()[-1])
        assert record["output"].endswith(str(folder / "models"))
        assert len(list((folder / "models" / "synthetic" / "SYN00USDT").glob("analyst_15m_*.json"))) == 1
        assert record["cluster"]["cpus"] == cpus
        scores.append({(one["model_type"], one["timeframe"]): one["scores"] for one in record["outcomes"]})
    assert len(scores[0]) == 3
    assert scores[0] == scores[1]


def test_some_failures_exit_1_and_keep_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = make_bars(seed=1, days=3)
    (tmp_path / "bars").mkdir()
    frame.write_parquet(tmp_path / "bars" / "GOOD-1m.parquet")
    frame.with_columns(pl.col("close").cast(pl.String)).with_columns(
        close=pl.when(pl.int_range(pl.len()) == 16).then(pl.lit("n/k")).otherwise("close")
    ).write_csv(tmp_path / "bars" / "TEXT-1m.csv")
    arguments = ["--input", str(tmp_path / "bars"), "--output", str(tmp_path / "models"), "--model-types", "analyst"]
    with without_ray():
        assert main([*arguments, "--timeframes", "15m,1m", *FAST]) == 1
    failures = [line for line in capsys.readouterr().err.splitlines() if "ERROR" in line]
    assert failures
    assert all("TEXT" in line and "n/k" in line and "close" in line for line in failures)
    assert len(list((tmp_path / "models").rglob("analyst_1m_*.skops"))) == 2


@pytest.mark.slow
def test_a_timeframe_finer_than_the_data_is_named(bars: Path, tmp_path: Path) -> None:
    make_bars(seed=1, days=30, dropout=0).gather_every(15).write_csv(tmp_path / "ETH-15m.csv")
    done = shell("--input", "ETH-15m.csv", "--timeframes", "15m,5m", *FAST, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert any("ETH" in line and "5m" in line and "15m" in line for line in done.stderr.splitlines() if "ERROR" in line)


def test_an_interruption_while_modules_are_imported_costs_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = builtins.__import__

    def interrupted(name: str, *others: Any) -> Any:
        if name == "job.cli":
            raise KeyboardInterrupt
        return imported(name, *others)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(ROOT / "job" / "main.py"), run_name="__main__")
    assert stopped.value.code == 130
    assert last_line(capsys) == "interrupted"


@pytest.mark.slow
def test_an_interrupted_run_says_so_and_keeps_what_is_committed(bars: Path, tmp_path: Path) -> None:
    """On SIGINT; `test_faults` has SIGTERM."""
    command = [sys.executable, str(ROOT / "job" / "main.py"), "--input", str(bars), "--output", "models"]
    slow = ["--set", "model_trainer.tactician_models.n_estimators=20000", "--set", "model_trainer.cv_folds=2"]
    with subprocess.Popen([*command, *slow], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "trained" in line:
                break
        os.kill(process.pid, signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in rest
    (file,) = (tmp_path / "models" / "runs").glob("*.json")
    record = json.loads(file.read_text())
    assert record["status"] == "interrupted"
    assert record["counts"]["trained"] >= 1
    assert record["counts"]["not_run"] >= 1
    assert len(list((tmp_path / "models").rglob("analyst_*.json"))) == record["counts"]["trained"]


def test_plan_trains_nothing(bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "models"
    assert main(["plan", "--input", str(bars), "--output", str(output), "--json"]) == 0
    plan = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert plan["models"] == 5
    assert {kind["timeframe"] for kind in plan["kinds"]} == {"1h", "15m", "5m", "1m"}
    assert not output.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {"analyst 1h", "analyst 15m", "analyst 5m", "analyst 1m", "tactician 1m"}),
        (["--timeframes", "1h,15m"], {"analyst 1h", "analyst 15m"}),
        (["--timeframes", "1m"], {"analyst 1m", "tactician 1m"}),
        (["--timeframes", "4h"], {"analyst 4h"}),
        (["--model-types", "tactician"], {"tactician 1m"}),
        (["--model-types", "tactician", "--timeframes", "5m"], {"tactician 5m"}),
    ],
)
def test_kinds_and_timeframes(
    arguments: list[str], expected: set[str], bars: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--input", str(bars), "--output", str(tmp_path), "--json", *arguments]) == 0
    plan = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {f"{kind['model_type']} {kind['timeframe']}" for kind in plan["kinds"]} == expected


def test_doctor_names_what_is_not_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--input", "nowhere", "--output", str(tmp_path / "models")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_synth_writes_bars_that_train_can_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--symbols", "2", "--days", "1", "--seed", "1", "--json"]
    assert main(["synth", "--output", str(tmp_path / "w"), *arguments]) == 0
    written = json.loads(capsys.readouterr().out.splitlines()[-1])["files"]
    assert {Path(file) for file in written} == {*(tmp_path / "w").rglob("*.parquet")}
    assert main(["plan", "--input", str(tmp_path / "w"), "--output", str(tmp_path / "m"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["models"] == 10


def test_debug_shows_the_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--input", str(tmp_path / "nowhere"), "--set", "ray.logging_level=debug"]) == 3
    assert "Traceback" in capsys.readouterr().err
