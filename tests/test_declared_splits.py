"""Splits that the settings declare: where one is, no jump is left, and all else stays as it was."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from job.config.settings import load_config
from job.core.errors import ConfigError, DataError
from job.core.synth import make_bars
from job.sources.finding import find_series
from job.worker.load_bars import read_clean
from transforms.bars import PRICES
from transforms.segments import segment

ADJUSTED = make_bars(seed=4, days=4)
MIDNIGHT = datetime(2024, 1, 3)


def traded(hours: int) -> pl.DataFrame:
    """Bars as they were traded: one share becomes four so many hours after midnight in UTC."""
    before = pl.col("timestamp").dt.replace_time_zone(None) < MIDNIGHT + timedelta(hours=hours)
    ratio = pl.when(before).then(4.0).otherwise(1.0)
    return ADJUSTED.with_columns(pl.col(PRICES) * ratio, pl.col("volume") / ratio)


def read(folder: Path, **data: Any) -> pl.DataFrame:
    settings = load_config({"data": {"input": str(folder), **data}}).data
    (series,) = find_series(settings).series
    return read_clean(series, settings)[0].bars


@pytest.mark.parametrize(("zone", "hours"), [("UTC", 0), ("America/New_York", 5), ("Asia/Tokyo", -9)])
@pytest.mark.parametrize("symbol", ["AB-C", "abc", "AB/C"])
def test_a_declared_split_is_no_jump(tmp_path: Path, zone: str, hours: int, symbol: str) -> None:
    traded(hours).write_parquet(tmp_path / "AB-C-1m.parquet")
    jump, none = (
        segment(read(tmp_path, timezone=zone, **settings), timeframe="1m")["segment"].n_unique()
        for settings in ({}, {"splits": {symbol: {"2024-01-03": 4}}})
    )
    assert (jump, none) == (2, 1)
    bars = read(tmp_path, timezone=zone, splits={symbol: {"2024-01-03": 4}})
    assert_frame_equal(bars, ADJUSTED.select(bars.columns), check_exact=True)


def test_two_splits_add_up_and_leave_other_symbols_alone(tmp_path: Path) -> None:
    for name in ("A", "B"):
        ADJUSTED.write_parquet(tmp_path / f"{name}-1m.parquet")
    settings = load_config(
        {"data": {"input": str(tmp_path), "splits": {"A": {"2024-01-02": 2, "2024-01-03": 0.1}}}}
    ).data
    found = {series.symbol: read_clean(series, settings)[0].bars for series in find_series(settings).series}
    assert_frame_equal(found["B"], ADJUSTED.select(found["B"].columns))
    ratios = (found["A"]["close"] / ADJUSTED["close"]).round(9)
    assert ratios.gather_every(1440).to_list() == [5.0, 10.0, 1.0, 1.0]
    assert ((found["A"]["volume"] / ADJUSTED["volume"]).round(9) * ratios - 1).abs().max() == pytest.approx(0)


def test_a_split_is_of_the_symbol_that_is_meant(tmp_path: Path) -> None:
    """The exact name means one symbol, though another has the same letters; where neither is exact, none is chosen."""
    for name in ("AB-C", "ABC"):
        ADJUSTED.write_parquet(tmp_path / f"{name}-1m.parquet")
    settings = load_config({"data": {"input": str(tmp_path), "splits": {"ABC": {"2024-01-03": 4}}}}).data
    first = {series.symbol: read_clean(series, settings)[0].bars["close"][0] for series in find_series(settings).series}
    assert first == {"AB-C": ADJUSTED["close"][0], "ABC": ADJUSTED["close"][0] / 4}
    with pytest.raises(DataError, match="symbol 'abc' is ambiguous"):
        find_series(load_config({"data": {"input": str(tmp_path), "splits": {"abc": {"2024-01-03": 4}}}}).data)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"ABX": {"2024-01-03": 4}}, "data.splits: no bars of symbol 'ABX' in the input; did you mean ABC?"),
        ({"ABC": {"2024-01-03": 0}}, "data.splits.ABC.2024-01-03"),
        ({"ABC": {"soon": 4}}, "data.splits.ABC.soon"),
    ],
)
def test_splits_that_cannot_be_are_refused(tmp_path: Path, splits: Any, message: str) -> None:
    ADJUSTED.write_parquet(tmp_path / "ABC-1m.parquet")
    with pytest.raises(ConfigError) as error:
        read(tmp_path, splits=splits)
    assert message in str(error.value)
