"""Times of any notation become UTC, each row by itself."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Literal

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given, settings

from job.core.errors import DataError
from job.sources.times.decoding import UTC_TIME, utc


def read(*times: object, zone: str = "UTC") -> list[datetime | None]:
    decoded = utc(pl.Series("timestamp", times, strict=False), zone=zone, where="f.csv")
    assert decoded.dtype == UTC_TIME
    return decoded.to_list()


NEW_YEAR = datetime(2024, 1, 1, 9, 30, tzinfo=UTC)
DAY = NEW_YEAR.replace(hour=0, minute=0)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-01 09:30",
        "2024-01-01 09:30:00",
        "2024-01-01 9:30:00",
        "2024-01-01T09:30:00",
        "2024-01-01T09:30:00Z",
        "2024-01-01T09:30Z",
        "2024-01-01 09:30:00.000",
        "2024-01-01T09:30:00.000000000Z",
        "2024-01-01 09:30:00 UTC",
        "2024-01-01 09:30:00+00:00",
        "2024-01-01 09:30:00+00",
        "2024-01-01T10:30:00+0100",
        "2024-01-01 04:30:00-05:00",
        "01.01.2024 10:30:00.000 GMT+0100",
        "2024/01/01 09:30",
        "2024.01.01 09:30",
        "20240101 093000",
        "20240101 0930",
        "20240101 09:30",
        "202401010930",
        "20240101093000",
        "1704101400",
        "1704101400000",
        "1704101400000000",
        "1704101400000000000",
        "1704101400.0",
        "1.7041014E+12",
        "01.01.2024 09:30:00.000",
        "01/01/2024 09:30",
        "01/01/2024 09:30:00 AM",
        "01-Jan-2024 09:30",
        "Jan 01, 2024 9:30am",
        "Jan 1 2024 9:30 AM",
        " 2024-01-01 09:30:00 ",
    ],
)
def test_notations_of_text(text: str) -> None:
    assert read(text, None, "") == [NEW_YEAR, None, None]


@pytest.mark.parametrize(
    "text", ["2024-01-01", "20240101", "2024/1/1", "01.01.2024", "Jan 01, 2024", "2024-01-01 12-AM"]
)
def test_notations_of_days(text: str) -> None:
    assert read(text) == [DAY]


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2019-10-17 12-AM", 0), ("2019-10-17 09-AM", 9), ("2019-10-17 12-PM", 12), ("2019-10-17 11-PM", 23)],
)
def test_hours_of_crypto_data_download(text: str, hour: int) -> None:
    assert read(text) == [datetime(2019, 10, 17, hour, tzinfo=UTC)]


@pytest.mark.parametrize(
    "value",
    [
        NEW_YEAR.replace(tzinfo=None),
        NEW_YEAR,
        1704101400,
        1704101400000,
        1704101400000000,
        1704101400000000000,
        1704101400.0,
    ],
)
def test_types(value: object) -> None:
    assert read(value, None) == [NEW_YEAR, None]


def test_dates_and_whole_numbers_that_are_days() -> None:
    assert read(date(2024, 1, 1)) == [DAY]
    assert read(20240101, 20240102) == [DAY, DAY.replace(day=2)]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
def test_typed_times_of_any_unit_and_zone(unit: Literal["ms", "us", "ns"], zone: str) -> None:
    times = pl.Series([NEW_YEAR]).dt.cast_time_unit(unit).dt.convert_time_zone(zone)
    assert utc(times, zone="America/New_York", where="f").to_list() == [NEW_YEAR]


def test_each_row_by_itself() -> None:
    rows = (
        "2024-01-01 09:30:00",
        "1704101400",
        "1704101400000",
        "1704101400000000",
        None,
        "2024-01-01T09:30Z",
        "2024-01-01",
    )
    assert read(*rows) == [NEW_YEAR] * 4 + [None, NEW_YEAR, DAY]


MICROS = st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))
WRITERS: dict[str, Callable[[datetime], str]] = {
    "s": lambda time: str(int(time.timestamp())),
    "ms": lambda time: str(int(time.timestamp()) * 1000),
    "us": lambda time: str(int(time.timestamp()) * 10**6),
    "ns": lambda time: str(int(time.timestamp()) * 10**9),
    "iso": lambda time: time.isoformat(),
    "naive": lambda time: time.strftime("%Y-%m-%d %H:%M:%S"),
    "compact": lambda time: time.strftime("%Y%m%d %H%M%S"),
}


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(MICROS, st.sampled_from(sorted(WRITERS))), min_size=1, max_size=12))
def test_any_mixture_of_notations_reads_back(rows: list[tuple[datetime, str]]) -> None:
    read_all = [time.replace(microsecond=0) for time, _ in rows]
    assert read(*(WRITERS[how](time) for time, (_, how) in zip(read_all, rows, strict=True))) == read_all


def test_days_and_months_are_told_by_all_rows_together() -> None:
    assert read("03/04/2024", "13/04/2024") == [datetime(2024, 4, 3, tzinfo=UTC), datetime(2024, 4, 13, tzinfo=UTC)]
    assert read("03/04/2024", "03/14/2024") == [datetime(2024, 3, 4, tzinfo=UTC), datetime(2024, 3, 14, tzinfo=UTC)]


def test_days_and_months_that_nothing_tells_apart_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"f.csv: '03/04/2024' may be day/month or month/day, and no row tells; write the dates as"
    ):
        read("03/04/2024", "04/04/2024")


@pytest.mark.parametrize(
    "wrong",
    [
        "yesterday",
        "2024-13-01",
        "2024-01-01 25:00",
        "0",
        "44197",
        "-5",
        "2024-01-01 09:30 EST",
        "nan",
        "inf",
        "12:30",
        "2024",
    ],
)
def test_what_is_no_time_is_refused_with_its_row(wrong: str) -> None:
    with pytest.raises(
        DataError, match=rf"f.csv, row 2: '{wrong}' is not a time; correct it or set data.columns.timestamp"
    ):
        read("2024-01-01", wrong, "2024-01-02")


@pytest.mark.parametrize("wrong", [5, -1, 44197.5, float("nan")])
def test_numbers_that_are_no_time_are_refused(wrong: float) -> None:
    with pytest.raises(DataError, match=r"row 2: '.*' is not a time"):
        read(1704101400, wrong)


def test_times_of_a_zone() -> None:
    assert read("2024-01-01 04:30", zone="America/New_York") == [NEW_YEAR]
    assert read("2024-07-01 05:30", zone="America/New_York") == [NEW_YEAR.replace(month=7)]
    assert read(1704101400, "2024-01-01T09:30Z", zone="America/New_York")[-1] == NEW_YEAR


HOURS = pl.datetime_range(datetime(2024, 11, 2, 12), datetime(2024, 11, 4, 12), "30m", time_zone="UTC", eager=True)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("step", [1, 2])
def test_the_hour_that_comes_twice_is_told_by_the_order_of_the_rows(newest_first: bool, step: int) -> None:
    times = HOURS[::step].reverse() if newest_first else HOURS[::step]
    local = times.dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m-%d %H:%M")
    assert utc(local, zone="America/New_York", where="f").to_list() == times.to_list()


def test_the_hour_that_comes_twice_is_not_guessed() -> None:
    with pytest.raises(
        DataError, match=r"2024-11-03 01:30:00 comes twice in America/New_York, .* write the times in UTC"
    ):
        read("2024-11-03 00:30", "2024-11-03 01:30", "2024-11-03 02:30", zone="America/New_York")


def test_the_hour_that_is_left_out_does_not_exist() -> None:
    with pytest.raises(DataError, match=r"2024-03-10 02:30:00 does not exist in America/New_York; set data.timezone"):
        read("2024-03-10 02:30", zone="America/New_York")
