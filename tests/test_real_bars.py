"""Real bars from a shell: every model of every symbol, and skill where there is some to be had."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def trained(bars: Path, output: Path, *arguments: str) -> dict[str, Any]:
    """Train on a folder of bars and return the run record."""
    command = [sys.executable, "job/main.py", "--input", str(bars), "--output", str(output), "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stderr[-3000:]
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


@pytest.mark.slow
def test_sixteen_symbols_give_eighty_models(shared_data: Path, tmp_path: Path) -> None:
    record = trained(shared_data / "binance_futures_1m", tmp_path, "--set", "model_trainer.cv_folds=2")
    assert record["counts"] == {
        "trained": 80,
        "current": 0,
        "fresh_enough": 0,
        "failed": 0,
        "current_not_latest": 0,
        "not_run": 0,
    }
    assert len(list(tmp_path.rglob("*_scaler.skops"))) == 80
    assert {row["models"] for row in record["fleet"]} == {16}


@pytest.mark.slow
def test_the_next_minute_can_be_foretold_a_little(shared_data: Path, tmp_path: Path) -> None:
    labels = [f"model_trainer.{kind}_models.label=direction(1)" for kind in ("analyst", "tactician")]
    settings = [argument for label in labels for argument in ("--set", label)]
    record = trained(shared_data / "binance_futures_1m", tmp_path, "--timeframes", "1m", *settings)
    assert [row["models"] for row in record["fleet"]] == [16, 16]
    for row in record["fleet"]:
        assert row["beat_base"] >= 13, row
        assert row["z"] < -2, row
