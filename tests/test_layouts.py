"""Bars written in random layouts are read as they were written, or refused: never as other bars."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import polars as pl
import pytest

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.finding import find_series
from job.sources.formats import name_of
from job.sources.times.zones import from_zone
from job.worker.load_bars import read_clean
from tests.layouts import BAR, OPTIONS, Layout, alone, bars_of, draw, possible, simplest, write
from transforms.bars import Cleaned

MOST_REFUSED = 0.4
"""Share of draws that may be refused: layouts that leave a doubt, such as days up to twelve before a slash."""


def outcome(layout: Layout) -> str:
    """Write and read the bars of a layout: `read`, `refused: …`, or how what was read differs from what was written."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = f"{temporary}/in"
        write(layout, Path(folder))
        settings = DataSettings.model_validate({"input": folder, **layout.settings})
        try:
            found = find_series(settings)
        except DataError as error:
            return f"refused: {error}"
        refusals = [str(problem) for problem in found.problems]
        names = [(series.exchange, series.symbol) for series in found.series]
        read = {}
        for name, series in zip(names, found.series, strict=True):
            try:
                read[name] = read_clean(series, settings)[0]
            except DataError as error:
                refusals.append(str(error))
    written = bars_of(layout)
    if len({*names}) < len(names) or not {*names} <= written.keys() or len(names) + len(refusals) < len(written):
        return f"wrong series: {names}"
    wrong = [how for name, cleaned in read.items() if (how := differs(cleaned, written[name], layout))]
    return f"wrong bars: {wrong[0]}" if wrong else f"refused: {refusals[0]}" if refusals else "read"


def differs(cleaned: Cleaned, written: pl.DataFrame, layout: Layout) -> str:
    """Return how bars that were read differ from those that were written; empty if they do not."""
    read = cleaned.bars
    if (cleaned.timeframe, read.columns) != (layout.timeframe, written.columns):
        return f"{cleaned.timeframe} {read.columns}"
    if cleaned.rejected.height or not read["timestamp"].equals(written["timestamp"]):
        return f"{read.height} from {read['timestamp'][0]}, not {written.height} from {written['timestamp'][0]}"
    worst = [name for name in BAR if ((read[name] - written[name]).abs() > 1e-9 * written[name]).any()]
    return f"other values of {', '.join(worst)}" if worst else ""


def is_wrong(layout: Layout) -> bool:
    return outcome(layout).startswith("wrong")


def outcome_of(number: int) -> str:
    return outcome(draw(number))


def check(results: Mapping[int, str]) -> None:
    """Check the outcomes of draws, by their numbers."""
    wrong = [number for number, result in results.items() if result.startswith("wrong")]
    for number in wrong[:1]:
        least = simplest(draw(number), is_wrong)
        pytest.fail(f"{len(wrong)} of {len(results)} draws, such as {number}: {outcome(least)} ({least})")
    refused = sum(result.startswith("refused") for result in results.values())
    assert refused <= MOST_REFUSED * len(results), Counter(results.values()).most_common(5)


def test_fifty_layouts_are_read_as_written_or_refused() -> None:
    check({number: outcome_of(number) for number in range(50)})


@pytest.mark.slow
def test_two_thousand_layouts_are_read_as_written_or_refused() -> None:
    numbers = range(50, 2050)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        check(dict(zip(numbers, pool.map(outcome_of, numbers, chunksize=25), strict=True)))


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in OPTIONS.items() for option in options]
)
def test_each_option_alone_is_read(name: str, option: str) -> None:
    layout = alone(name, option)
    assert possible(layout)
    assert outcome(layout) == "read"


def in_new_york(*clocks: str) -> list[str]:
    """Clocks in UTC of local times of the day on which clocks went back at two."""
    naive = pl.Series([datetime.fromisoformat(f"2024-11-03T{clock}") for clock in clocks])
    return from_zone(naive, "America/New_York", "f.csv").dt.strftime("%H:%M").to_list()


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("00:30 01:00 01:30 01:00 01:30 02:00", "04:30 05:00 05:30 06:00 06:30 07:00"),
        ("02:00 01:30 01:00 01:30 01:00 00:30", "07:00 06:30 06:00 05:30 05:00 04:30"),
        ("01:30 01:45 01:00 01:15", "05:30 05:45 06:00 06:15"),  # a file that ends at an earlier clock than it begins
        ("01:00 01:00", "05:00 06:00"),
        ("01:05 01:05 01:10 01:00 01:05", "05:05 05:05 05:10 06:00 06:05"),  # a row twice
        ("01:00 03:00 05:00 07:00", "06:00 08:00 10:00 12:00"),  # of two hours: the grid of the others
    ],
)
def test_an_hour_that_comes_twice_is_told_by_order_or_grid(local: str, expected: str) -> None:
    assert in_new_york(*local.split()) == expected.split()


@pytest.mark.parametrize(
    "local",
    [
        "02:00 01:00 00:00 01:00",
        "01:30 00:30 01:00 02:00 01:15 01:00",
        "01:05 01:10 01:00 01:05 01:10 01:00 01:05",
        "00:00 01:00 02:00",
    ],
)
def test_an_hour_that_comes_twice_is_refused_where_rows_are_in_no_order(local: str) -> None:
    with pytest.raises(DataError, match="comes twice in America/New_York, and the rows do not tell"):
        in_new_york(*local.split())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/x/binance/BTCUSDT/1m/2024/01/data.csv", ("binance", "BTCUSDT", "1m")),
        ("/x/kraken/1m/year=2024/month=01/day=02/BTCUSDT.csv", ("kraken", "BTCUSDT", "1m")),
        ("/x/okx/symbol=BTCUSDT/data_0.parquet", ("okx", "BTCUSDT", None)),
        ("/okx/a/b/c/BTCUSDT.csv", (None, "BTCUSDT", None)),
    ],
)
def test_folders_above_dates_tell_exchange_and_timeframe(path: str, expected: tuple[str | None, ...]) -> None:
    name = name_of(path)
    assert (name.exchange, name.symbol, name.timeframe) == expected


def test_a_local_time_is_no_way_out_where_days_may_be_months() -> None:
    layout = Layout(notation="month day slashes", start="days up to twelve", extra="local time")
    assert "may be day/month or month/day" in outcome(layout)


def test_a_doubtful_hour_does_not_tell_days_from_months() -> None:
    """Read with days first, all rows are of a day on which an hour comes twice, and in no order."""
    layout = Layout(
        notation="day, clock day month",
        zone="Australia/Lord_Howe",
        start="clocks back",
        timeframe="5m",
        edge="close",
        order="shuffled",
        split="shuffled parts",
        folders="exchange above a key",
        seed=871,
    )
    assert "may be day/month or month/day" in outcome(layout)


@pytest.mark.parametrize(("zone", "edge"), [("Asia/Kolkata", "close"), ("Australia/Lord_Howe", "open")])
def test_a_local_time_a_bar_away_is_no_end_of_a_bar(zone: str, edge: str) -> None:
    layout = Layout(notation="ISO minutes", zone=zone, timeframe="2h", extra="local time", edge=edge)
    assert "the rows do not tell which of" in outcome(layout)


@pytest.mark.parametrize(
    ("layout", "why"),
    [
        (
            Layout(notation="points", zone="America/New_York", start="clocks back", timeframe="5m", order="shuffled"),
            "comes twice in America/New_York",
        ),
        (
            Layout(notation="points", zone="Australia/Lord_Howe", start="clocks forward", timeframe="4h", grid="local"),
            "the rows do not tell which of",
        ),
    ],
)
def test_a_local_time_is_no_way_out_of_a_doubtful_hour_or_half_an_hour(layout: Layout, why: str) -> None:
    assert why in outcome(replace(layout, extra="local time", seed=401))


def test_ends_of_local_days_are_those_of_all_files_together() -> None:
    """A part begins with the end of the day on which clocks were set back."""
    layout = Layout(
        notation="epoch ns",
        zone="America/New_York",
        start="clocks back",
        timeframe="1d",
        grid="local",
        edge="a moment before the close",
        split="parts",
        folders="symbol",
        symbols="EURUSD",
        seed=2486,
    )
    assert outcome(layout) == "read"
