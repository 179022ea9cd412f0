"""Times as the world writes them: the bars that come of them, or the refusal and what its remedy gives."""

import itertools
import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.cli.options import timeframe_names
from job.config.settings import DataSettings
from job.core.errors import ConfigError, DataError
from job.core.timeframes import timeframe_of
from job.registry.fingerprints import DEFINITIONS
from job.sources.times.names import end_named
from tests.vendors import loaded
from transforms.bars import TIME, Cleaned, clean
from transforms.features import FEATURES
from transforms.grids import DAY, HOUR, ZONES, Grid, windows_of
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.resampling import resample
from transforms.samples import make_features, make_samples
from transforms.segments import segment

MINUTE = timedelta(minutes=1)
NEW_YORK = ZoneInfo("America/New_York")


def utc(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type,misc]


def only(folder: Path, **data: Any) -> tuple[Cleaned, tuple[str, ...]]:
    (one,) = loaded(folder, **data).values()
    return one


def facts(cleaned: Cleaned) -> tuple[str, datetime, datetime, int, int]:
    times = cleaned.bars["timestamp"]
    return cleaned.timeframe, times[0], times[-1], cleaned.bars.height, cleaned.rejected.height


ROWS = {
    "yf": ("1d", utc(2022, 1, 3, 5), utc(2025, 10, 31, 4), 1000, 0),
    "pq": ("1d", utc(2022, 1, 3, 5), utc(2025, 10, 31, 4), 1000, 0),
    "silent": ("1d", utc(2024, 10, 25, 4), utc(2025, 2, 13, 5), 80, 0),
    "fx-17ny": ("1d", utc(2022, 1, 3, 22), utc(2024, 12, 30, 22), 1093, 0),
}
FIFTEEN = ("15m", utc(2024, 1, 1), utc(2024, 1, 10, 8, 45), 900, 0)
TEN_HOURS = ("1m", utc(2024, 1, 1), utc(2024, 1, 1, 9, 59), 600, 0)
CASES: tuple[tuple[str, dict[str, Any], str, tuple[str, datetime, datetime, int, int]], ...] = (
    *((f"01-daily-bars-dst/in/{name}", {}, "", expected) for name, expected in ROWS.items()),
    ("01-daily-bars-dst/in/yf", {"timezone": "America/New_York"}, "", ROWS["yf"]),
    ("01-daily-bars-dst/in/mt5_with_timezone_set", {}, "", ("1d", utc(2023, 1, 2), utc(2025, 4, 18), 600, 0)),
    (
        "01-daily-bars-dst/in/mt5_with_timezone_set",
        {"timezone": "Europe/Athens"},
        "",
        ("1d", utc(2023, 1, 1, 22), utc(2025, 4, 17, 21), 600, 0),
    ),
    ("03-two-time-columns/in/cmc", {}, "'timeOpen'", ("1d", utc(2022, 1, 1), utc(2023, 12, 1), 700, 0)),
    ("03-two-time-columns/in/bybit", {}, "'start'", FIFTEEN),
    ("03-two-time-columns/in/open_time_and_timestamp", {}, "'open_time'", FIFTEEN),
    ("04-close-stamps/in", {}, "ends of bars; set data.bar_time: open", FIFTEEN),
    ("13-ib-times/in", {}, "", FIFTEEN),
    ("15-weeks-from-thursday/in", {}, "", ("1d", utc(2022, 1, 1), utc(2023, 12, 1), 700, 0)),
    ("24-histdata/in", {}, "Etc/GMT", ("1m", utc(2024, 1, 1, 5), utc(2024, 1, 1, 15), 601, 0)),
    ("29-time-notations/in/date-and-epoch", {}, "", TEN_HOURS),
    ("29-time-notations/in/sierra", {}, "", TEN_HOURS),
    ("29-time-notations/in/two-digit-year", {}, "", TEN_HOURS),
    ("30-day-month-told-by-other-files/in", {}, "", ("1m", utc(2024, 3, 1), utc(2024, 3, 20, 23, 59), 28_800, 0)),
)


@pytest.mark.parametrize(("path", "data", "said", "expected"), CASES)
def test_cases(path: str, data: dict[str, Any], said: str, expected: tuple[Any, ...], cases: Path) -> None:
    cleaned, notes = only(cases / path, **data)
    assert facts(cleaned) == expected
    assert said in " ".join(notes)


@pytest.mark.parametrize("columns", [{}, {"timestamp": "dt"}])
def test_less_usual_names_and_a_setting_that_concerns_one_file(columns: dict[str, str], cases: Path) -> None:
    series = loaded(cases / "27-time-column-names/in", columns=columns)
    assert set(series) == {"bar_time", "dt", "timestamp_utc"}
    assert {facts(cleaned) for cleaned, _ in series.values()} == {
        ("1m", utc(2024, 1, 1), utc(2024, 1, 1, 4, 59), 300, 0)
    }


def test_bars_of_months_are_refused_as_such(cases: Path) -> None:
    with pytest.raises(DataError, match=r"bars of months, quarters or years, which have no fixed length"):
        only(cases / "31-monthly/in")


@pytest.mark.parametrize("as_list", [False, True])
def test_remedy_for_day_and_clock_without_header(as_list: bool, cases: Path) -> None:
    folder = cases / "33-headerless-day-and-clock/in"
    with pytest.raises(
        DataError, match=r"8 columns without names; .* such as \{timestamp: '1\+2', open: '3'"
    ) as refused:
        only(folder)
    columns: dict[str, Any] = dict(re.findall(r"(\w+): '([\d+]+)'", str(refused.value)))
    if as_list:
        columns["timestamp"] = ["1", "2"]
    assert facts(only(folder, columns=columns)[0]) == ("1m", utc(2024, 1, 1), utc(2024, 1, 1, 10), 601, 0)


@pytest.mark.parametrize(
    "name",
    [
        *("bucket", "index", "Unnamed: 0", "snapshotTime", "utcTime", "openTimeIso", "tradingDay", "as_of"),
        *("Fecha y hora", "Data e ora", "일자"),
    ],
)
def test_names_of_times_beyond_the_usual(name: str, tmp_path: Path) -> None:
    times = every(timedelta(minutes=15))
    rows = table(times, **{name: [f"{one:%Y-%m-%d %H:%M:%S}" for one in times]})
    write(rows.with_columns(lastUpdate=pl.lit("2025-01-01 00:00:00")), tmp_path, "csv")
    assert facts(only(tmp_path)[0]) == ("15m", times[0], times[-1], 300, 0)


@pytest.mark.parametrize("name", ["lastUpdate", "expiryDate", "receivedTime", "created_at"])
def test_what_is_no_time_of_a_bar_is_not_taken_for_one(name: str, tmp_path: Path) -> None:
    times = every(timedelta(minutes=15))
    write(table(times, **{name: millis(times)}), tmp_path, "csv")
    with pytest.raises(DataError, match="no column for timestamp among"):
        only(tmp_path)
    assert facts(only(tmp_path, columns={"timestamp": name})[0]) == ("15m", times[0], times[-1], 300, 0)


# Days and clocks in two columns

CLOCKS = "%H:%M"


@pytest.mark.parametrize(
    ("day", "clock", "notation", "clocks"),
    [
        ("日期", "时间", "%Y-%m-%d", CLOCKS),
        ("Datum", "Uhrzeit", "%d.%m.%Y", CLOCKS),
        ("Fecha", "Hora", "%d/%m/%Y", CLOCKS),
        ("TRADEDATE", "TRADETIME", "%Y%m%d", "%H%M"),
        ("Date", "Timestamp", "%Y%m%d", "%H:%M:%S"),
        ("Date", "Last Time", "%Y-%m-%d", "%H:%M:%S"),
        ("date", "start", "%Y-%m-%d", CLOCKS),
        ("Date(d)", "Time(t)", "%Y%m%d", "%H%M%S"),
        ("date", "hour", "%Y-%m-%d %H:%M", "%H"),  # a whole time, and a column made of it
        ("datetime", "minute", "%Y-%m-%d %H:%M", "%M"),
    ],
)
@pytest.mark.parametrize("how", ["csv", "json"])
def test_days_and_clocks_in_any_words(  # noqa: PLR0917 - a table
    day: str, clock: str, notation: str, clocks: str, how: str, tmp_path: Path
) -> None:
    times = every(timedelta(minutes=15), start=datetime(2024, 2, 20, tzinfo=UTC))
    texts = {day: [one.strftime(notation) for one in times], clock: [one.strftime(clocks) for one in times]}
    write(table(times, **texts), tmp_path, how)
    assert facts(only(tmp_path)[0]) == ("15m", times[0], times[-1], 300, 0)


def test_a_whole_time_beside_its_hour_is_not_cut_to_the_hour(tmp_path: Path) -> None:
    times = every(timedelta(hours=1), start=datetime(2024, 2, 20, 9, 30, tzinfo=UTC))
    write(table(times, date=times, hour=[one.hour for one in times]), tmp_path, "parquet")
    assert facts(only(tmp_path)[0]) == ("1h", times[0], times[-1], 300, 0)


def test_clocks_in_a_column_that_nobody_knows_are_named_and_the_remedy_works(tmp_path: Path) -> None:
    times = every(timedelta(minutes=15))
    texts = {"Tag": [f"{one:%Y-%m-%d}" for one in times], "Stunde": [f"{one:%H:%M}" for one in times]}
    write(table(times, date=texts["Tag"], Stunde=texts["Stunde"]), tmp_path, "csv")
    with pytest.raises(DataError, match=r"column 'Stunde' seems to hold the clocks .* set .*timestamp=DAY\+Stunde"):
        only(tmp_path)
    assert facts(only(tmp_path, columns={"timestamp": "date+Stunde"})[0]) == ("15m", times[0], times[-1], 300, 0)


@pytest.mark.parametrize("text", ["{:.5e}", "{:.6E}", "{:.3e}"])
@pytest.mark.parametrize("divisor", [1, 1000])
def test_rounded_seconds_are_refused(text: str, divisor: int, tmp_path: Path) -> None:
    """Spreadsheets write `1.70839E+12`: all bars of hours have one time, or times of steps that are none."""
    times = every(timedelta(minutes=15))
    write(table(times, time=[text.format(one / divisor) for one in millis(times)]), tmp_path, "csv")
    with pytest.raises(DataError, match=r"row 1: '1.70.*[eE]\+.*' is a rounded number, as spreadsheets write"):
        only(tmp_path)


def test_exact_seconds_in_scientific_notation_are_read(tmp_path: Path) -> None:
    times = every(timedelta(minutes=15))
    write(table(times, time=[f"{one / 1000:.9e}" for one in millis(times)]), tmp_path, "csv")
    assert facts(only(tmp_path)[0]) == ("15m", times[0], times[-1], 300, 0)


# Several columns of times


def table(times: Sequence[datetime], **columns: Iterable[Any]) -> pl.DataFrame:
    """Bars at these times, with these columns before the prices."""
    close = 100 + np.cumsum(np.random.default_rng(5).normal(0, 0.1, len(times)))
    opens = np.concatenate([[100.0], close[:-1]])
    prices = {
        "open": opens,
        "high": np.maximum(opens, close) + 0.1,
        "low": np.minimum(opens, close) - 0.1,
        "close": close,
    }
    return pl.DataFrame(
        {**{name: list(values) for name, values in columns.items()}, **prices, "volume": [5.0] * len(times)}
    )


def every(step: timedelta, count: int = 300, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> list[datetime]:
    return [start + step * row for row in range(count)]


def write(frame: pl.DataFrame, folder: Path, how: str, name: str = "BTCUSDT") -> None:
    path = folder / f"{name}.{how}"
    if how == "csv":
        frame.write_csv(path)
    elif how == "parquet":
        frame.write_parquet(path)
    else:
        path.write_text(json.dumps(frame.to_dicts(), default=str))


def millis(times: Iterable[datetime], late: timedelta = timedelta()) -> list[int]:
    return [int((time + late).timestamp() * 1000) for time in times]


def jitter(times: Sequence[datetime], within: timedelta) -> list[datetime]:
    rng = np.random.default_rng(3)
    return [
        time + within * float(share) for time, share in zip(times, rng.uniform(0.001, 0.9, len(times)), strict=True)
    ]


STEP = timedelta(minutes=15)
OPENS = every(STEP)
PAIRS: dict[str, dict[str, list[Any]]] = {
    "openTime beside timestamp": {"timestamp": millis(OPENS, STEP), "openTime": millis(OPENS)},
    "close time first": {"close_time": millis(OPENS, STEP - timedelta(milliseconds=1)), "open_time": millis(OPENS)},
    "timestamp is the open": {"timestamp": millis(OPENS), "close_time": millis(OPENS, STEP)},
    "time and end": {"end": millis(OPENS, STEP), "time": millis(OPENS)},
    "two neutral": {"timestamp": millis(OPENS, STEP), "date": millis(OPENS)},
    "coinapi": {
        "time_period_start": millis(OPENS), "time_period_end": millis(OPENS, STEP),
        "time_open": millis(jitter(OPENS, STEP)), "time_close": millis(jitter(OPENS, STEP), timedelta(seconds=1)),
    },
    "tardis": {
        "timestamp": millis(OPENS, STEP), "local_timestamp": millis(jitter(OPENS, STEP), STEP),
        "openTimestamp": millis(jitter(OPENS, STEP)),
        "closeTimestamp": millis(jitter(OPENS, STEP), timedelta(seconds=1)),
    },
    "nautilus, stamped at the open": {"ts_event": millis(OPENS), "ts_init": millis(OPENS, STEP)},
    "timestamp equals the close time": {"timestamp": millis(OPENS, STEP), "close_time": millis(OPENS, STEP)},
    "date beside seconds": {"unix": [t // 1000 for t in millis(OPENS)], "date": [str(t)[:19] for t in OPENS]},
    "a row number": {"": list(range(300)), "dt": [str(t)[:19] for t in OPENS]},
    "a trading day beside": {"timestamp": millis(OPENS), "date": [f"{t:%Y-%m-%d}" for t in OPENS]},
    "only the close time": {"close_time": millis(OPENS, STEP)},
    "only the close time, a moment less": {"closeTime": millis(OPENS, STEP - timedelta(milliseconds=1))},
    "upbit": {
        "candle_date_time_utc": [f"{t:%Y-%m-%dT%H:%M:%S}" for t in OPENS],
        "candle_date_time_kst": [f"{t + timedelta(hours=9):%Y-%m-%dT%H:%M:%S}" for t in OPENS],
        "timestamp": millis(jitter(OPENS, STEP)),
    },
    "local time beside seconds": {
        "date": [f"{t.astimezone(NEW_YORK):%Y-%m-%d %H:%M:%S}" for t in OPENS],
        "time": [t // 1000 for t in millis(OPENS)],
    },
}  # fmt: skip


@pytest.mark.parametrize("how", ["csv", "json", "parquet"])
@pytest.mark.parametrize("pair", PAIRS)
def test_of_several_columns_the_start_is_found(pair: str, how: str, tmp_path: Path) -> None:
    columns = {name or "index_level_0" if how == "parquet" else name: values for name, values in PAIRS[pair].items()}
    write(table(OPENS, **columns), tmp_path, how)
    assert only(tmp_path)[0].bars["timestamp"].to_list() == OPENS


def test_equal_stamps_of_nautilus_are_refused_and_the_remedy_works(tmp_path: Path) -> None:
    write(table(OPENS, ts_event=millis(OPENS), ts_init=millis(OPENS)), tmp_path, "csv")
    with pytest.raises(DataError, match=r"'ts_event', 'ts_init' are equal, .* set data.bar_time: close"):
        only(tmp_path)
    assert only(tmp_path, bar_time="open")[0].bars["timestamp"][0] == OPENS[0]
    assert only(tmp_path, bar_time="close")[0].bars["timestamp"][0] == OPENS[0] - STEP


@pytest.mark.parametrize(
    "columns",
    [
        {"open_time": millis(OPENS), "close_time": millis(OPENS)},
        {"open_time": millis(OPENS, STEP), "close_time": millis(OPENS)},
        {"date": [str(t - timedelta(minutes=15))[:19] for t in OPENS], "time": millis(OPENS)},
        {"timestamp": millis(OPENS), "datetime": millis(OPENS, timedelta(minutes=7))},
    ],
)
def test_columns_that_contradict_each_other_are_refused_and_the_remedy_works(
    columns: dict[str, list[Any]], tmp_path: Path
) -> None:
    if "date" in columns:  # a local time four hours behind, beside bars of four hours
        opens = every(timedelta(hours=4))
        columns = {"date": [str(t - timedelta(hours=4))[:19] for t in opens], "time": millis(opens)}
    write(table(OPENS, **columns), tmp_path, "csv")
    with pytest.raises(DataError, match=r"do not tell which of .* set data.columns.timestamp to it") as refused:
        only(tmp_path)
    for name in re.findall(r"'(\w+)'", str(refused.value).partition("which of")[2].partition("is the start")[0]):
        assert only(tmp_path, columns={"timestamp": name})[0].bars.height == 300


@pytest.mark.parametrize("setting", ["open", "close"])
def test_what_columns_prove_no_setting_changes(setting: str, tmp_path: Path) -> None:
    write(table(OPENS, **PAIRS["openTime beside timestamp"]), tmp_path, "csv")
    assert only(tmp_path, bar_time=setting)[0].bars["timestamp"].to_list() == OPENS


@pytest.mark.parametrize(
    ("name", "end"),
    [
        *[(name, "start") for name in ("open_time", "opentime", "timeopen", "start", "window_start", "periodstart")],
        *[(name, "end") for name in ("close_time", "closetime", "timeclose", "end", "window_end", "kline_close_time")],
        *[
            (name, None)
            for name in ("open", "close", "bar_open", "open_price", "timestamp", "date", "timehigh", "last")
        ],
    ],
)
def test_which_end_of_a_bar_a_name_says(name: str, end: str | None) -> None:
    assert end_named(name) == end


# Close stamps


@pytest.mark.parametrize("how", ["csv", "parquet"])
@pytest.mark.parametrize(
    ("step", "short"),
    [
        *[(STEP, timedelta(**{unit: 1})) for unit in ("microseconds", "milliseconds", "seconds")],
        *[(timedelta(days=1), timedelta(**{unit: 1})) for unit in ("milliseconds", "seconds", "minutes")],
        (timedelta(hours=1), timedelta(minutes=1)),
        (MINUTE, timedelta(milliseconds=1)),
    ],
)
def test_close_stamps_that_give_themselves_away(step: timedelta, short: timedelta, how: str, tmp_path: Path) -> None:
    opens = every(step, 50)
    write(table(opens, timestamp=[time + step - short for time in opens]), tmp_path, how)
    cleaned, notes = only(tmp_path)
    assert cleaned.bars["timestamp"].to_list() == opens
    assert "are taken for ends of bars" in notes[0]
    kept, notes = only(tmp_path, bar_time="open")
    assert (kept.bars["timestamp"][0], notes) == (opens[0] + step - short, ())


def test_open_times_give_nothing_away(tmp_path: Path) -> None:
    opens = every(MINUTE, 120)
    write(table(opens, timestamp=opens), tmp_path, "csv")
    assert only(tmp_path)[1] == ()


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Sydney"])
def test_ends_of_local_days_begin_at_local_midnight(zone: str, tmp_path: Path) -> None:
    days = [datetime(2024, 1, 1, tzinfo=ZoneInfo(zone)) + timedelta(days=day) for day in range(400)]
    write(
        table(days, Date=[f"{day.replace(hour=23, minute=59, second=59):%Y-%m-%d %H:%M:%S%z}" for day in days]),
        tmp_path,
        "csv",
    )
    cleaned, _ = only(tmp_path)
    assert cleaned.rejected.is_empty()
    assert [time.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for time in cleaned.bars["timestamp"]] == [
        day.replace(tzinfo=None) for day in days
    ]


# Bars longer than a shift of clocks


def local(zone: str, step: int, count: int, hour: int = 0) -> list[datetime]:
    """Open times, `step` hours apart by the clocks of a zone; one that clocks skip is when they skip it."""
    naive = [datetime(2023, 1, 1, hour) + timedelta(hours=step * row) for row in range(count)]
    return [time.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for time in naive]


def utc_bars(times: Sequence[datetime]) -> pl.DataFrame:
    return table(times, timestamp=times).with_columns(pl.col("timestamp").cast(TIME))


@pytest.mark.parametrize("hour", [0, 1, 9, 17])
@pytest.mark.parametrize("step", [4, 6, 12, 24])
@pytest.mark.parametrize(
    "zone", ["America/New_York", "Europe/London", "Europe/Athens", "Australia/Sydney", "America/Chicago"]
)
def test_one_grid_all_year_in_the_zone_of_the_bars(zone: str, step: int, hour: int) -> None:
    times = local(zone, step, 365 * 24 // step, hour)
    cleaned = clean(utc_bars(times), timeframe=f"{step}h")
    assert cleaned.rejected.is_empty()
    grid = Grid(step * HOUR, cleaned.offset_us, cleaned.zone)
    opened = cleaned.bars["timestamp"]
    assert grid.starts(grid.index(opened)).to_list() == times
    assert (grid.closes(opened)[:-1] == opened[1:]).sum() > 0.99 * len(times) - 1
    assert (grid.closes(opened)[:-1] >= opened[1:]).all()  # never known before the next bar begins
    made = segment(cleaned.bars, timeframe=cleaned.timeframe, grid=grid)
    assert (made["filled"].any(), made["segment"].n_unique()) == (False, 1)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_off_grid_is_what_is_off_in_the_zone_too(zone: str) -> None:
    times = local("America/New_York", 24, 300)
    strays = [times[20] + timedelta(hours=3), times[250] + timedelta(hours=1)]
    cleaned = clean(utc_bars(sorted([*times, *strays])), timeframe="1d", zones=(zone,))
    assert cleaned.rejected["timestamp"].to_list() == strays
    assert set(cleaned.rejected["rule"]) == {"off_grid"}


@given(st.integers(0, 10**6), st.sampled_from([4, 24]), st.floats(0, 0.05))
@settings(deadline=None, max_examples=30)
def test_bars_on_one_grid_in_utc_stay_there(seed: int, step: int, odd: float) -> None:
    rng = np.random.default_rng(seed)
    times = every(timedelta(hours=step), 400, utc(2023, 1, 1))
    moved = [time + timedelta(hours=1) if rng.random() < odd else time for time in times]
    cleaned = clean(utc_bars(moved), timeframe=f"{step}h")
    if cleaned.zone != "UTC":  # where chance put the odd ones into one half of the year only
        assert cleaned.rejected.height < sum(one != other for one, other in zip(moved, times, strict=True))
    else:
        assert cleaned.rejected.height == sum(one != other for one, other in zip(moved, times, strict=True))


@pytest.mark.parametrize("zone", ["America/Santiago", "America/Havana", "Africa/Cairo", "America/Sao_Paulo"])
def test_days_that_begin_where_clocks_skip_midnight(zone: str, tmp_path: Path) -> None:
    first = datetime(2017, 1, 1) if zone == "America/Sao_Paulo" else datetime(2023, 6, 1)
    days = [first + timedelta(days=day) for day in range(500)]
    write(table(days, Date=[f"{day:%Y-%m-%d}" for day in days]), tmp_path, "csv")
    cleaned, _ = only(tmp_path, timezone=zone)
    assert (cleaned.bars.height, cleaned.rejected.height) == (500, 0)
    grid = Grid(DAY, cleaned.offset_us, cleaned.zone)
    assert segment(cleaned.bars, timeframe="1d", grid=grid)["segment"].n_unique() == 1
    assert grid.closes(cleaned.bars["timestamp"])[:-1].to_list() == cleaned.bars["timestamp"][1:].to_list()


@pytest.mark.parametrize("zone", ["America/Chicago", "America/Denver", "Europe/Vienna"])
@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_the_zone_of_a_typed_column_is_that_of_the_grid(zone: str, kind: str, tmp_path: Path) -> None:
    times = local(zone, 24, 400, 17)
    bars = utc_bars(times).with_columns(pl.col("timestamp").dt.convert_time_zone(zone))
    bars.write_parquet(tmp_path / "CL.parquet") if kind == "parquet" else bars.write_ipc(tmp_path / "CL.feather")
    cleaned, notes = only(tmp_path)
    assert (cleaned.zone, cleaned.bars["timestamp"].to_list()) == (zone, times)
    assert not any("which is taken for their zone" in note for note in notes)


@pytest.mark.parametrize("hour", [0, 1])
def test_the_right_zone_is_never_worse_than_none(hour: int, tmp_path: Path) -> None:
    clocks = [datetime(2023, 1, 1, hour) + timedelta(hours=4 * row) for row in range(2190)]
    write(table(clocks, time=[f"{time:%Y.%m.%d %H:%M}" for time in clocks]), tmp_path, "csv", "EURUSD_H4")
    for zone in ("UTC", "America/New_York", "Europe/Athens"):
        cleaned, _ = only(tmp_path, timezone=zone)
        assert (cleaned.bars.height, cleaned.rejected.height) == (2190, 0)


def test_available_at_is_right_over_the_shift() -> None:
    times = local("America/New_York", 24, 800)
    cleaned = clean(utc_bars(times), timeframe="1d")
    how = Preparation(source="1d", timeframe="1d", offset_us=cleaned.offset_us, zone=cleaned.zone)
    samples = make_samples(cleaned.bars, how, features=[FEATURES["change_1"]], label=Direction(2)).frame
    after = dict(itertools.pairwise(times))
    samples = samples.filter(pl.col("timestamp") < times[-3])
    assert [after[time] for time in samples["timestamp"]] == samples["available_at"].to_list()
    assert [after[after[after[time]]] for time in samples["timestamp"]] == samples["label_end"].to_list()
    features = make_features(cleaned.bars, how, features=[FEATURES["change_1"]]).frame
    assert [after.get(time) for time in features["timestamp"]][:-1] == features["available_at"].to_list()[:-1]
    lengths = {available - opened for opened, available in features.select("timestamp", "available_at").iter_rows()}
    assert {timedelta(hours=hours) for hours in (24,)} <= lengths <= {timedelta(hours=hours) for hours in (23, 24, 25)}


# Weeks, and days made of hours


def weeks_by_hand(days: Sequence[datetime], zone: str, late: timedelta = timedelta()) -> list[datetime]:
    """Monday of each local week of which all seven days are there."""
    mondays: dict[Any, list[datetime]] = {}
    for day in days:
        own = (day.astimezone(ZoneInfo(zone)) + late).date()
        mondays.setdefault(own - timedelta(days=own.weekday()), []).append(day)
    return [members[0] for members in mondays.values() if len(members) == 7]


def test_weeks_made_of_days_are_those_of_an_exchange(cases: Path) -> None:
    bars = only(cases / "15-weeks-from-thursday/in")[0].bars
    made = resample(bars, source="1d", timeframe="7d", min_coverage=1.0).bars
    assert made["timestamp"].to_list() == weeks_by_hand(bars["timestamp"].to_list(), "UTC")
    assert {time.weekday() for time in made["timestamp"]} == {0}
    first = bars.filter(pl.col("timestamp").is_between(utc(2022, 1, 3), utc(2022, 1, 9)))
    assert made.row(0)[1:] == (
        first["open"][0], first["high"].max(), first["low"].min(), first["close"][-1], math.fsum(first["volume"]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "hour", "late"), [("America/New_York", 0, 0), ("America/New_York", 17, 7), ("Europe/Berlin", 0, 0)]
)
def test_weeks_on_the_clocks_of_a_zone(zone: str, hour: int, late: int) -> None:
    times = local(zone, 24, 500, hour)
    cleaned = clean(utc_bars(times), timeframe="1d")
    made = resample(
        cleaned.bars, source="1d", timeframe="7d", offset_us=cleaned.offset_us, zone=cleaned.zone, min_coverage=1.0
    )
    assert made.bars["timestamp"].to_list() == weeks_by_hand(times, zone, timedelta(hours=late))


@pytest.mark.parametrize(
    ("zone", "hour", "first"), [("America/New_York", 0, 0), ("America/New_York", 17, 17), ("Europe/Athens", 0, 0)]
)
def test_days_of_four_hours_on_the_clocks_of_a_zone(zone: str, hour: int, first: int) -> None:
    times = local(zone, 4, 2000, hour)
    cleaned = clean(utc_bars(times), timeframe="4h")
    made = resample(cleaned.bars, source="4h", timeframe="1d", offset_us=cleaned.offset_us, zone=cleaned.zone).bars
    assert {time.astimezone(ZoneInfo(zone)).hour for time in made["timestamp"]} == {first}
    assert made.height >= 2000 // 6 - 1


def test_weeks_have_a_definition_of_their_own() -> None:
    assert windows_of(Grid(DAY), 7 * DAY).offset_us == 4 * DAY
    assert "weeks" not in DEFINITIONS  # shorter models keep their fingerprints


@pytest.mark.parametrize(
    "word", ["4H", "4h", "60min", "1day", "D", "W", "1w", "1W", "H1", "15T", "daily", "weekly", "60m"]
)
def test_words_mean_on_the_command_line_what_they_mean_in_names(word: str) -> None:
    assert timeframe_names(word) == (timeframe_of(word),)
    assert DataSettings(timeframe=word).timeframe == timeframe_of(word)


@pytest.mark.parametrize("word", ["1M", "M", "1mo", "MN1", "monthly", "3M"])
def test_months_are_refused_on_the_command_line(word: str) -> None:
    with pytest.raises(
        ConfigError, match=r"expected a whole number and one of s, m, h, d, w, .*; months have no fixed length"
    ):
        timeframe_names(word)


# Notations


@pytest.mark.parametrize(
    "pattern",
    [
        *("%Y%m%d %H:%M:%S US/Eastern", "%Y%m%d %H:%M:%S America/New_York", "%Y-%m-%d %I:%M:%S %p US/Eastern"),
        *("%Y%m%d  %H:%M:%S America/New_York", "%b %d, %Y %I:%M %p US/Eastern"),
    ],
)
def test_times_with_the_name_of_a_zone(pattern: str, tmp_path: Path) -> None:
    opens = every(STEP, 300, utc(2024, 3, 9))  # clocks are set forward within
    write(table(opens, date=[time.astimezone(NEW_YORK).strftime(pattern) for time in opens]), tmp_path, "csv")
    assert only(tmp_path)[0].bars["timestamp"].to_list() == opens


@pytest.mark.parametrize(
    "pattern",
    [
        *("%Y%m%d  %H:%M:%S", "%Y%m%d-%H:%M:%S", "%m/%d/%Y %I:%M:%S %p", "%m/%d/%y %H:%M", "%d.%m.%y %H:%M"),
        *("%d-%b-%y %H:%M", "%d %b %Y %H:%M", "%B %d, %Y %H:%M", "%Y%m%dT%H%M%SZ", "%Y/%m/%d %H:%M:%S.0"),
        *("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)", "%a, %d %b %Y %H:%M:%S GMT", "%y-%m-%d %H:%M"),
        *("%Y-%m-%d_%H:%M:%S", "%d%b%Y %H:%M:%S", "%Y-%m-%d %H:%M:%S UTC+0", "%Y-%m-%d %H:%M GMT-0"),
    ],
)
def test_notations(pattern: str, tmp_path: Path) -> None:
    opens = every(STEP, 300, utc(2024, 1, 20))
    write(table(opens, Date=[time.strftime(pattern) for time in opens]), tmp_path, "csv")
    assert only(tmp_path)[0].bars["timestamp"].to_list() == opens


@pytest.mark.parametrize("pattern", ["%H%M", "%H%M%S", "%H:%M", "%H:%M:%S.0", "%I:%M %p"])
@pytest.mark.parametrize("how", ["csv", "parquet"])
def test_day_and_clock_in_two_columns(pattern: str, how: str, tmp_path: Path) -> None:
    opens = every(MINUTE, 1500)
    days = [int(f"{time:%Y%m%d}") for time in opens]
    clocks: list[Any] = [time.strftime(pattern) for time in opens]
    if ":" not in pattern:
        clocks = [int(clock) for clock in clocks]  # 930 for 0930
    write(table(opens, Date=days, Time=clocks), tmp_path, how)
    assert only(tmp_path)[0].bars["timestamp"].to_list() == opens


@pytest.mark.parametrize("pattern", ["%H%M", "%H%M%S"])
@pytest.mark.parametrize("day", ["%Y%m%d", "%m/%d/%Y"])
def test_day_and_clock_of_digits_without_header(pattern: str, day: str, tmp_path: Path) -> None:
    opens = every(MINUTE, 1500, utc(2024, 1, 20))
    bars = table(opens, Date=[f"{time:{day}}" for time in opens], Time=[int(f"{time:{pattern}}") for time in opens])
    wanted = ["Date", "Time", "open", "high", "low", "close", "volume"]
    bars.select(wanted).write_csv(tmp_path / "X.csv", include_header=False)
    assert only(tmp_path)[0].bars["timestamp"].to_list() == opens


def test_hours_up_to_24_are_never_minutes(tmp_path: Path) -> None:
    opens = every(timedelta(hours=1), 100)
    days = [f"{time:%Y-%m-%d}" for time in opens]
    write(table(opens, date=days, hour=[time.hour for time in opens]), tmp_path, "csv")
    assert only(tmp_path)[0].bars["timestamp"].to_list() == opens
    write(table(opens, date=days, hour=[time.hour + 1 for time in opens]), tmp_path, "csv")
    with pytest.raises(DataError, match=r"'2024-01-01 24:00' is not a time"):
        only(tmp_path)


def test_what_is_no_time_says_what_is_read(tmp_path: Path) -> None:
    write(table(OPENS, date=["the first of May"] * 300), tmp_path, "csv")
    with pytest.raises(DataError, match=r"times are read as 2024-01-31 15:30:00, .* or a zone such as US/Eastern"):
        only(tmp_path)


@pytest.mark.parametrize("order", ["%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M", "%m-%d-%y %H:%M"])
def test_days_and_months_are_told_by_another_file_of_the_series(order: str, tmp_path: Path) -> None:
    for day in (2, 3, 19):
        opens = every(STEP, 96, utc(2024, 3, day))
        write(table(opens, Date=[time.strftime(order) for time in opens]), tmp_path, "csv", f"AAPL_2024-03-{day:02}")
    times = only(tmp_path)[0].bars["timestamp"]
    assert [time.day for time in times[::96]] == [2, 3, 19]


def test_days_and_months_that_no_file_tells_are_refused_and_the_remedy_works(tmp_path: Path) -> None:
    for day in (2, 3):
        opens = every(STEP, 96, utc(2024, 4, day))
        write(
            table(opens, Date=[f"{time:%m/%d/%Y %H:%M}" for time in opens]), tmp_path, "csv", f"AAPL_2024-04-{day:02}"
        )
    with pytest.raises(DataError, match=r"data.dates: day_first or data.dates: month_first"):
        only(tmp_path)
    for dates, first in (("month_first", utc(2024, 4, 2)), ("day_first", utc(2024, 2, 4))):
        assert only(tmp_path, dates=dates)[0].bars["timestamp"][0] == first


def test_a_column_that_no_file_has_stays_a_mistake(tmp_path: Path) -> None:
    write(table(OPENS, timestamp=millis(OPENS)), tmp_path, "csv")
    write(table(OPENS, dt=millis(OPENS)), tmp_path, "csv", "ETHUSDT")
    with pytest.raises(DataError, match=r"data.columns.timestamp names column 'dtt', which the file does not have"):
        loaded(tmp_path, columns={"timestamp": "dtt"})


# HistData


ROW = "20240101 17{minute:02}00;1.1;1.2;1.0;1.1;{volume}"


def minutes(volume: int) -> str:
    return "\n".join(ROW.format(minute=minute, volume=volume) for minute in range(30))


def test_hist_data_under_another_name_is_refused_and_both_remedies_work(tmp_path: Path) -> None:
    (tmp_path / "EURUSD.csv").write_text(minutes(0))
    with pytest.raises(DataError, match=r"set data.format: histdata or data.format: ninjatrader"):
        only(tmp_path)
    assert only(tmp_path, format="histdata")[0].bars["timestamp"][0] == utc(2024, 1, 1, 22)
    assert only(tmp_path, format="ninjatrader")[0].bars["timestamp"][0] == utc(2024, 1, 1, 16, 59)


def test_with_volume_they_are_ninja_traders(tmp_path: Path) -> None:
    (tmp_path / "ES.txt").write_text(minutes(7))
    assert only(tmp_path)[0].bars["timestamp"][0] == utc(2024, 1, 1, 16, 59)


@pytest.mark.parametrize(
    "name", ["DAT_ASCII_EURUSD_M1_2024.csv", "DAT_NT_EURUSD_M1_202401.csv", "DAT_MT_EURUSD_M1_2024.csv"]
)
def test_hist_data_by_name(name: str, tmp_path: Path) -> None:
    text = minutes(0) if "_MT_" not in name else re.sub(
        r"(\d{4})(\d\d)(\d\d) (\d\d)(\d\d)\d\d;", r"\1.\2.\3,\4:\5,", minutes(0)
    ).replace(";", ",")  # fmt: skip
    (tmp_path / name).write_text(text)
    series = loaded(tmp_path)
    assert series["EURUSD"][0].bars["timestamp"][0] == utc(2024, 1, 1, 22)
    assert "Etc/GMT+5" in series["EURUSD"][1][0]


def test_ticks_of_hist_data_are_no_bars(tmp_path: Path) -> None:
    (tmp_path / "DAT_ASCII_EURUSD_T_202401.csv").write_text("20240101 170000123,1.1,1.2,0\n")
    with pytest.raises(DataError, match=r"no bars found"):
        loaded(tmp_path)


def test_every_zone_that_grids_are_looked_for_in_is_known() -> None:
    assert {ZoneInfo(zone).key for zone in ZONES} == set(ZONES)
