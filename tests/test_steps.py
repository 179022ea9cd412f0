"""The steps inside a worker: which bars a series gives, and what is said where it gives none."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from job.config.settings import load_config
from job.core.environment import versions
from job.core.errors import DataError
from job.core.synth import EPOCH, make_bars
from job.train.plan import make_plan
from job.train.steps import remedy_for, samples_of
from job.worker.load_bars import load_series
from job.worker.messages import Job


def job_of(folder: Path, bars: pl.DataFrame, *settings: str) -> Job:
    """Write one series and return the job that reads it."""
    bars.write_parquet(folder / "BTC-1m.parquet")
    registry = str(folder / "store")
    given = {"data": {"input": str(folder)}, "model_trainer": {"model_directory": registry}}
    config = load_config(given, settings)
    return Job(run_id="20240101_000000_abcdef", config=config, output=registry, versions=versions())


@pytest.mark.parametrize(
    ("settings", "lies"),
    [
        (("data.start=2025-01-01",), "no bars from 2025-01-01"),
        (("data.end=2023-01-01",), "no bars before 2023-01-01"),
        (("data.end=2025-01-01", "data.lookback_days=30"), "no bars from 2024-12-02.* and before 2025-01-01"),
    ],
)
def test_a_range_without_bars_is_told_with_the_range_of_the_bars(
    tmp_path: Path, settings: tuple[str, ...], lies: str
) -> None:
    job = job_of(tmp_path, make_bars(seed=1, days=1, dropout=0), *settings)
    (series,) = {task.series[0] for task in make_plan(job.config).tasks}
    with pytest.raises(DataError, match=f"unknown/BTC: {lies}.* it has 2024-01-01 .* to 2024-01-01 23:59.*data.start"):
        load_series(series, job)


def test_the_first_and_the_last_bar_are_in_range(tmp_path: Path) -> None:
    last = EPOCH + timedelta(minutes=1439)
    for setting in (f"data.start={last.isoformat()}", f"data.end={(EPOCH + timedelta(minutes=1)).isoformat()}"):
        job = job_of(tmp_path, make_bars(seed=1, days=1, dropout=0), setting)
        bars, _ = load_series(make_plan(job.config).tasks[0].series[0], job)
        assert not bars.is_empty()


def test_flat_prices_are_not_blamed_on_gaps(tmp_path: Path) -> None:
    flat = make_bars(seed=1, days=1).with_columns(pl.lit(5.0).alias(name) for name in ("open", "high", "low", "close"))
    job = job_of(tmp_path, flat)
    task = next(task for task in make_plan(job.config).tasks if task.key.stem == "analyst_1m")
    bars, info = load_series(task.series[0], job)
    with pytest.raises(DataError, match=r"BTC 1m: no usable sample .*no_label.*use other bars, or another label"):
        samples_of(task, bars, info, job.config.data, name="unknown/BTC")


def test_gaps_are_ignored_only_where_there_are_gaps() -> None:
    assert remedy_for({"bars": 60, "segments": 1, "warmup": 60}, "segment") == "give more bars"
    assert "data.gaps: ignore" in remedy_for({"bars": 60, "segments": 9, "warmup": 60}, "segment")
    assert "data.gaps: ignore" in remedy_for({"low_coverage": 9}, "segment")
    assert remedy_for({"bars": 60, "segments": 9, "warmup": 60}, "ignore") == "give more bars"
    assert "leave it out" in remedy_for({"bars": 60, "not_finite": 60}, "ignore", ["nulls"])
