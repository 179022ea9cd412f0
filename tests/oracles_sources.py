"""Slow, obvious readers of the real files with quirks: one line after the other, by the csv module and datetime."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

Row = tuple[datetime, float, float, float, float, float]


@dataclass(frozen=True)
class Written:
    """How a file is written: its delimiter, lines before the data, first column of a price, and the time of a row."""

    delimiter: str
    skip: int
    first_price: int
    time: Callable[[str], datetime]


def _as(pattern: str, late: timedelta = timedelta()) -> Callable[[str], datetime]:
    return lambda text: datetime.strptime(text, pattern).replace(tzinfo=UTC) - late


_TABS = Written("\t", 1, 1, _as("%Y-%m-%d %H:%M:%S"))
WRITTEN = {
    "UNIUSDT_M15.csv": _TABS,
    "SOLUSDT_M30.csv": _TABS,
    "LINKUSDT_M30.csv": _TABS,
    "AAPLUSUSD_M15.csv": _TABS,
    "Coinbase_BTCUSD_1h.csv": Written(",", 2, 2, _as("%Y-%m-%d %I-%p")),
    "nt-spy-minute-2011-03.csv": Written(";", 0, 1, _as("%Y%m%d %H%M%S", timedelta(minutes=1))),
}


def rows_of(path: Path) -> list[Row]:
    """All rows of a file in its order: open time in UTC, open, high, low, close, volume."""
    how = WRITTEN[path.name]
    with path.open(encoding="utf-8", newline="") as file:
        fields = [row for row in csv.reader(file, delimiter=how.delimiter) if row][how.skip :]
    rows = []
    for row in fields:
        opens, high, low, close, volume = (float(field) for field in row[how.first_price : how.first_price + 5])
        rows.append((how.time(row[0]), opens, high, low, close, volume))
    return rows


def segments_of(times: list[datetime], bar: timedelta, max_fill: int) -> tuple[int, int]:
    """Number of stretches without a gap of more than `max_fill` bars, and of the bars missing inside them."""
    stretches, missing = 1, 0
    for before, after in pairwise(times):
        gap = (after - before) // bar - 1
        stretches += gap > max_fill
        missing += gap if gap <= max_fill else 0
    return stretches, missing
