"""Layouts of delimited text, each vendor's as it writes it: what gives it away, and which column is which."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from job.core.errors import DataError
from job.sources.columns import BAR, REQUIRED, Indices, normal, numbered, resolve
from job.sources.sheets import DelimitedText

Edge = Literal["open", "close"]
"""Which end of a bar its time marks."""

_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_NINJA: Final = re.compile(r"\d{8}(?: \d{6})?")


@dataclass(frozen=True)
class Layout:
    """A way to write bars as delimited text.

    `claims` says whether a sheet is in it; `columns` gives the positions of the columns, a mapping (`data.columns`)
    winning over what the layout says; `edge` says which end of a bar its time marks.
    """

    name: str
    claims: Callable[[DelimitedText], bool]
    columns: Callable[[DelimitedText, Mapping[str, str], str], Indices]
    edge: Callable[[DelimitedText], Edge]


def _opens(_: DelimitedText) -> Edge:
    return "open"


def _in_order(sheet: DelimitedText, mapping: Mapping[str, str], where: str) -> Indices:
    """Time, open, high, low, close, volume: the first six columns."""
    if sheet.header:
        return resolve(sheet.header, mapping, where)
    if sheet.width < len(BAR):
        raise DataError(f"{where}: expected at least {len(BAR)} columns, found {sheet.width}; check data.format")
    return {name: (index,) for index, name in enumerate(BAR)} | numbered(mapping, sheet.width, where)


def _is_klines(sheet: DelimitedText) -> bool:
    """Twelve columns, the seventh of them the close time: in the unit of the open time, and later."""
    if sheet.width != 12:
        return False
    if sheet.header:
        return {"open_time", "close_time"} <= {normal(name) for name in sheet.header}
    row = sheet.sample[0]
    return row[0].isdigit() and row[6].isdigit() and len(row[0]) == len(row[6]) and int(row[6]) > int(row[0])


def _is_crypto_data_download(sheet: DelimitedText) -> bool:
    if "cryptodatadownload" in sheet.preamble.lower():
        return sheet.header is not None
    names = [normal(name) for name in sheet.header or ()]
    return {"unix", "date", "symbol"} <= set(names) and any(name.startswith("volume_") for name in names)


def _crypto_data_download(sheet: DelimitedText, mapping: Mapping[str, str], where: str) -> Indices:
    """Read the date, since seconds may be rounded (`1.58E+12`), and the first of two volumes, in units of the base."""
    found = _in_order(sheet, mapping, where)
    names = [normal(name) for name in sheet.header or ()]
    volume = next((index for index, name in enumerate(names) if name.startswith("volume")), None)
    if "date" in names and "timestamp" not in mapping:
        found["timestamp"] = (names.index("date"),)
    if volume is not None and "volume" not in mapping:
        found["volume"] = (volume,)
    return found


def _is_kraken(sheet: DelimitedText) -> bool:
    """Seconds, open, high, low, close, volume, trades."""
    row = sheet.sample[0]
    return sheet.header is None and sheet.width == 7 and bool(re.fullmatch(r"\d{9,10}", row[0])) and row[6].isdigit()


def _is_ninja_trader(sheet: DelimitedText) -> bool:
    unnamed = sheet.header is None and sheet.separator == ";" and sheet.width == len(BAR)
    return unnamed and bool(_NINJA.fullmatch(sheet.sample[0][0]))


def _ninja_trader_edge(sheet: DelimitedText) -> Edge:
    """Intraday bars carry the time of their end, daily ones the day itself."""
    return "close" if " " in sheet.sample[0][0] else "open"


def _usual(sheet: DelimitedText, mapping: Mapping[str, str], where: str) -> Indices:
    """By the header; without one, five or six columns in the usual order, day and clock together or apart."""
    if sheet.header:
        return resolve(sheet.header, mapping, where)
    if mapping:
        return resolve([str(number) for number in range(1, sheet.width + 1)], mapping, where)
    split = _CLOCK.fullmatch(sheet.sample[0][1]) is not None
    bars = sheet.width - split
    if bars not in {len(REQUIRED), len(BAR)}:
        raise DataError(
            f"{where}: {sheet.width} columns without names; set data.format to their vendor's, "
            "or data.columns to their numbers, such as {timestamp: '1', open: '2'}"
        )
    indices: Indices = {name: (index + split,) for index, name in enumerate(BAR[:bars])}
    return indices | ({"timestamp": (0, 1)} if split else {})


CSV: Final = Layout("csv", lambda _: True, _usual, _opens)
LAYOUTS: Final[Mapping[str, Layout]] = {
    layout.name: layout
    for layout in (
        Layout("binance", _is_klines, _in_order, _opens),
        Layout("cryptodatadownload", _is_crypto_data_download, _crypto_data_download, _opens),
        Layout("kraken", _is_kraken, _in_order, _opens),
        Layout("ninjatrader", _is_ninja_trader, _in_order, _ninja_trader_edge),
        CSV,
    )
}
"""In the order in which they are tried; the last takes what no vendor's claims."""


def layout_of(sheet: DelimitedText) -> Layout:
    """First layout that claims the sheet."""
    return next(layout for layout in LAYOUTS.values() if layout.claims(sheet))
