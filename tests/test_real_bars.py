"""Real bars from a shell: every model of every symbol, and skill where there is some to be had."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.learning.drift import LARGE, STRETCH, Reference, measure
from job.learning.features import resolve_features
from transforms.features import DEFAULT_FEATURES
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.samples import make_samples

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


@pytest.mark.slow
def test_few_stretches_of_bars_count_as_drifted_though_most_are_by_rule_of_thumb(shared_data: Path) -> None:
    """Of the last fifth of 16 symbols, 1,000 minutes each, compared with the first four fifths."""
    large, unusual = list[bool](), list[bool]()
    for file in sorted((shared_data / "binance_futures_1m").glob("*.feather")):
        bars = pl.read_ipc(file).rename({"date": "timestamp"}).with_columns(pl.col("timestamp").dt.cast_time_unit("us"))
        how, features = Preparation(source="1m", timeframe="1m"), resolve_features(DEFAULT_FEATURES)
        samples = make_samples(bars, how, features=features, label=Direction(horizon=10)).frame
        rows = int(0.8 * samples.height)
        columns = ((name, samples[name][:rows].to_numpy()) for name in DEFAULT_FEATURES)
        reference = Reference.of(columns, rows=rows, up=0.5)
        for first in range(rows, samples.height - STRETCH + 1, STRETCH):
            drift = measure(reference, samples[first : first + STRETCH])
            large.append(max(drift.psi.values()) > LARGE)
            unusual.append(drift.unusual > 0)
    assert len(large) > 120
    assert sum(large) / len(large) == pytest.approx(0.72, abs=0.03)
    assert sum(unusual) / len(unusual) == pytest.approx(0.11, abs=0.03)
