"""Bars written in random layouts are read as they were written, or refused: never as other bars."""

import tempfile
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.finding import find_series
from job.worker.load_bars import read_clean
from tests.layouts import BAR, OPTIONS, Layout, alone, bars_of, draw, possible, simplest, write

MOST_REFUSED = 0.4
"""Share of draws that may be refused: layouts that leave a doubt, such as days up to twelve before a slash."""


def outcome(layout: Layout) -> str:
    """Write and read the bars of a layout: `read`, `refused: …`, or how what was read differs from what was written."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = f"{temporary}/in"
        write(layout, Path(folder))
        settings = DataSettings.model_validate({"input": folder, **layout.settings})
        refusals, read = [], {}
        try:
            found = find_series(settings)
        except DataError as error:
            return f"refused: {error}"
        refusals += map(str, found.problems)
        for series in found.series:
            try:
                read[series.exchange, series.symbol] = read_clean(series, settings)[0]
            except DataError as error:
                refusals.append(str(error))
                read[series.exchange, series.symbol] = None
    written = bars_of(layout)
    if not read.keys() <= written.keys():
        return f"wrong series: {sorted(read.keys() - written.keys())}"
    for name, cleaned in read.items():
        if cleaned is None:
            continue
        if cleaned.timeframe != layout.timeframe:
            return f"wrong timeframe: {cleaned.timeframe}"
        if difference := differs(cleaned.bars, written[name]):
            return f"wrong bars: {difference}"
        if cleaned.rejected.height:
            return "wrong bars: some are rejected"
    if refusals:
        return f"refused: {refusals[0]}"
    return "read" if read.keys() == written.keys() else "wrong series: one is missing"


def differs(read: pl.DataFrame, written: pl.DataFrame) -> str:
    if read.columns != written.columns:
        return f"columns {read.columns}"
    if not read["timestamp"].equals(written["timestamp"]):
        return f"{read.height} from {read['timestamp'][0]}, not {written.height} from {written['timestamp'][0]}"
    worst = [name for name in BAR if ((read[name] - written[name]).abs() > 1e-9 * written[name]).any()]
    return f"other values of {', '.join(worst)}" if worst else ""


def is_wrong(layout: Layout) -> bool:
    return outcome(layout).startswith("wrong")


def check(numbers: range) -> None:
    results = {number: outcome(draw(number)) for number in numbers}
    wrong = [number for number, result in results.items() if result.startswith("wrong")]
    for number in wrong[:1]:
        least = simplest(draw(number), is_wrong)
        pytest.fail(f"{len(wrong)} of {len(numbers)} draws, such as {number}: {outcome(least)} ({least})")
    refused = sum(result.startswith("refused") for result in results.values())
    assert refused <= MOST_REFUSED * len(numbers), Counter(results.values()).most_common(5)


def test_a_hundred_layouts_are_read_as_written_or_refused() -> None:
    check(range(100))


@pytest.mark.slow
def test_two_thousand_layouts_are_read_as_written_or_refused() -> None:
    check(range(100, 2100))


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name, options in OPTIONS.items() for option in options]
)
def test_each_option_alone_is_read(name: str, option: str) -> None:
    layout = alone(name, option)
    assert possible(layout)
    assert outcome(layout) == "read"
