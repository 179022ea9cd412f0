"""Real files that trip a careless loader, read row for row as a slow oracle reads them, with all counts known."""

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import polars as pl
import pytest

from job.config.settings import DataSettings
from job.sources.finding import find_series
from job.sources.reading import read_series
from job.sources.series import Series
from tests.oracles_sources import WRITTEN, rows_of, segments_of
from tests.vendors import named
from transforms.bars import RULES, clean, duration_us
from transforms.segments import segment


@dataclass(frozen=True)
class Quirk:
    """What a file is known to hold; `rejected` by rule, `segments` and `filled` at max_fill 5."""

    file: str
    found: str
    format: str
    timeframe: str
    rows: int
    duplicate: int
    out_of_order: int
    rejected: dict[str, int]
    segments: int
    filled: int
    first: datetime
    last: datetime


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]  # year, month, day, hour, minute


QUIRKS = (
    Quirk(
        "UNIUSDT_M15.csv",
        "unknown/UNIUSDT",
        "csv",
        "15m",
        87_596,
        57,
        4,
        {},
        883,
        6_811,
        at(2020, 9, 17, 3),
        at(2023, 9, 11, 10, 30),
    ),
    Quirk(
        "SOLUSDT_M30.csv",
        "unknown/SOLUSDT",
        "csv",
        "30m",
        53_746,
        28,
        4,
        {},
        5,
        304,
        at(2020, 8, 11, 6),
        at(2023, 9, 11, 11, 30),
    ),
    Quirk(
        "LINKUSDT_M30.csv",
        "unknown/LINKUSDT",
        "csv",
        "30m",
        78_836,
        0,
        0,
        {"non_positive_price": 1},
        39,
        2_396,
        at(2019, 1, 16, 10),
        at(2023, 9, 11, 11, 30),
    ),
    Quirk(
        "AAPLUSUSD_M15.csv",
        "unknown/AAPLUSUSD",
        "csv",
        "15m",
        43_105,
        0,
        0,
        {},
        1_664,
        11,
        at(2017, 2, 1, 14, 30),
        at(2023, 9, 8, 19, 45),
    ),
    Quirk(
        "Coinbase_BTCUSD_1h.csv",
        "coinbase/BTCUSD",
        "cryptodatadownload",
        "1h",
        20_111,
        0,
        20_105,
        {},
        1,
        0,
        at(2017, 7, 1, 11),
        at(2019, 10, 17, 9),
    ),
    Quirk(
        "nt-spy-minute-2011-03.csv",
        "unknown/nt-spy",
        "ninjatrader",
        "1m",
        17_577,
        0,
        0,
        {},
        206,
        2_187,
        at(2011, 3, 1, 9),
        at(2011, 3, 31, 23, 58),
    ),
)


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "quirks"


@pytest.fixture(params=QUIRKS, ids=lambda quirk: quirk.file)
def quirk(request: pytest.FixtureRequest) -> Quirk:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def series(folder: Path, quirk: Quirk) -> Series:
    return named(find_series(DataSettings(input=str(folder))), quirk.found)


def test_every_file_is_known(folder: Path) -> None:
    assert {path.name for path in folder.glob("*.csv")} == {quirk.file for quirk in QUIRKS} == set(WRITTEN)
    found = find_series(DataSettings(input=str(folder)))
    assert not found.problems
    assert {str(one) for one in found.series} == {quirk.found for quirk in QUIRKS}


def test_names_and_layout_are_recognised(series: Series, quirk: Quirk) -> None:
    assert series.timeframe == quirk.timeframe
    assert [file.format for file in series.files] == [quirk.format]


def test_every_row_is_read_as_the_oracle_reads_it(folder: Path, series: Series, quirk: Quirk) -> None:
    raw = read_series(series, DataSettings()).bars
    assert raw.height == quirk.rows
    assert raw.rows() == rows_of(folder / quirk.file)


@pytest.mark.parametrize("timeframe", ["named", "inferred"])
def test_counts_of_duplicates_rejected_rows_and_segments(series: Series, quirk: Quirk, timeframe: str) -> None:
    cleaned = clean(
        read_series(series, DataSettings()).bars, timeframe=series.timeframe if timeframe == "named" else None
    )
    assert cleaned.timeframe == quirk.timeframe
    assert cleaned.offset_us == 0
    assert cleaned.counts["rows_read"] == quirk.rows
    assert cleaned.counts["duplicate"] == quirk.duplicate
    assert cleaned.counts["out_of_order"] == quirk.out_of_order
    assert {rule.name: n for rule in RULES if (n := cleaned.counts[rule.name])} == quirk.rejected
    assert cleaned.bars.height == quirk.rows - quirk.duplicate - sum(quirk.rejected.values())
    assert (cleaned.bars["timestamp"][0], cleaned.bars["timestamp"][-1]) == (quirk.first, quirk.last)
    segmented = segment(cleaned.bars, timeframe=quirk.timeframe)
    assert segmented["segment"].n_unique() == quirk.segments
    assert segmented["filled"].sum() == quirk.filled


def test_segments_agree_with_the_oracle(series: Series, quirk: Quirk) -> None:
    bars = clean(read_series(series, DataSettings()).bars, timeframe=quirk.timeframe).bars
    bar = timedelta(microseconds=duration_us(quirk.timeframe))
    assert segments_of(bars["timestamp"].to_list(), bar, 5) == (quirk.segments, quirk.filled)


def test_zero_low_is_the_row_that_is_rejected(folder: Path) -> None:
    series = named(find_series(DataSettings(input=str(folder))), "unknown/LINKUSDT")
    rejected = clean(read_series(series, DataSettings()).bars, timeframe="30m").rejected
    assert rejected.select("timestamp", "low", "rule").rows() == [(at(2020, 3, 12, 10, 30), 0.0, "non_positive_price")]


@pytest.mark.parametrize(("summer", "opening"), [(False, time(14, 30)), (True, time(13, 30))])
def test_ninja_trader_times_are_utc_and_mark_the_end(folder: Path, summer: bool, opening: time) -> None:
    """New York opens at 9:30, by UTC at 14:30 and in summer time, from 13 March 2011 on, at 13:30.

    The burst of the opening must be in the bar that opens then: not in the one before it, as with times of another
    edge or zone, nor only in the one after it.
    """
    series = named(find_series(DataSettings(input=str(folder))), "unknown/nt-spy")
    bars = read_series(series, DataSettings()).bars.filter((pl.col("timestamp") > at(2011, 3, 13)) == summer)
    clock = (datetime.combine(bars["timestamp"][0], opening) + timedelta(minutes=shift) for shift in (-1, 0, 1))
    before, first, after = (
        bars.filter(pl.col("timestamp").dt.time() == one.time())["volume"].median() for one in clock
    )
    assert first > 4 * before  # type: ignore[operator]  # a median of floats
    assert first > after  # type: ignore[operator]
