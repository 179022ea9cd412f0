"""Layouts of delimited text, as vendors write it: one entry each, with all that is particular to the vendor."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from job.core.errors import DataError
from job.core.timeframes import timeframe_of
from job.sources.columns.flow import KLINES
from job.sources.columns.named import BAR, REQUIRED, Indices, given, resolve
from job.sources.columns.unnamed import in_order, suggested
from job.sources.columns.volumes import unit_of
from job.sources.names.paths import EXCHANGES, TIMED, Contents, Name, NameReader
from job.sources.readers.delimited_text import DelimitedText
from job.sources.times.columns import Edge
from job.sources.times.names import TIME
from job.sources.words import normal

_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2})?")
_DAY: Final = re.compile(r"(?:19|20)\d{6}|\d{1,4}([-/.])\d{1,2}\1\d{1,4}")
_DIGITS: Final = re.compile(r"(?:[01]?\d|2[0-3])?[0-5]?\d(?:[0-5]\d)?")
"""A clock without colons, such as `930`."""
_HIST_DATA: Final = re.compile(
    r"(?:HISTDATA_COM_(?:DAT_)?|DAT_)(?:ASCII|NT|MT|MS)_(?P<symbol>[A-Za-z0-9]+)_(?P<kind>M1|T(?:_\w+)?)_?(?:19|20)\d\d(?:\d\d)?(?:[_-]?\d+)?",
    re.IGNORECASE,
)
_KRAKEN: Final = re.compile(r"(?P<symbol>[A-Z0-9.]+)_(?P<minutes>1|5|15|30|60|240|720|1440)")
_META_TRADER: Final = re.compile(r"(?P<symbol>[A-Za-z]{6,}[^\d]*)(?P<minutes>1|5|15|30|60|240|1440|10080)")
_BINANCE: Final = re.compile(
    r"(?:^|/)(?:(?P<market>spot|futures/um|futures/cm)/)?(?:(?:monthly|daily)/)?(?P<kind>\w*klines|aggTrades|trades|bookDepth|"
    r"bookTicker|metrics|fundingRate|liquidationSnapshot)/(?P<symbol>[^/]+)/(?:(?P<timeframe>[^/]+)/)?[^/]+$",
    re.IGNORECASE,
)
_BINANCE_MARKETS: Final = {"spot": "binance", "futures/um": "binanceusdm", "futures/cm": "binancecoinm"}


@dataclass(frozen=True)
class Layout:
    """A way to write bars as delimited text.

    `claims` says whether a text is in it; `columns` gives the positions of the columns, a mapping (`data.columns`)
    winning over what the layout says; `edge` says which end of a bar its time marks. `read_name` reads the names of the
    vendor's files, if these follow a convention of its own: those that are `certain` before a file is opened, the
    others once the layout claims what is in it.
    `zone` is that of its times, where the vendor writes them in one and `data.timezone` is not set. `flow` says where
    the columns of `transforms.bars.FLOW` stand in files without a header.
    """

    name: str
    bytes_per_row: int
    claims: Callable[[DelimitedText], bool]
    columns: Callable[[DelimitedText, Mapping[str, str | None], str], Indices]
    edge: Callable[[DelimitedText], Edge] = lambda _: "open"
    read_name: NameReader = lambda _path, _stem: None
    zone: str | None = None
    flow: Indices = field(default_factory=dict)


def _in_order(text: DelimitedText, mapping: Mapping[str, str | None], where: str) -> Indices:
    """Time, open, high, low, close, volume: the first six columns."""
    if text.header:
        found = resolve(text.header, mapping, where)
        return {name: places for name, places in found.items() if not name.startswith(TIME)}
    if text.width < len(BAR):
        raise DataError(f"{where}: expected at least {len(BAR)} columns, found {text.width}; check data.format")
    return in_order(text.width, mapping, where)


def _binance_name(path: str, stem: str) -> Name | None:  # noqa: ARG001 - a NameReader
    """Read `spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip`."""
    match = _BINANCE.search(path)
    if match is None or (match["kind"].lower().endswith("klines") and not match["timeframe"]):
        return None
    exchange = _BINANCE_MARKETS[(match["market"] or "spot").lower()]
    if match["kind"].lower() != "klines":
        return Name(exchange, match["symbol"], None, contents="no_bars", certain=True)
    timeframe = timeframe_of(match["timeframe"])
    contents: Contents = "bars" if timeframe else "no_fixed_length"
    return Name(exchange, match["symbol"], timeframe, contents=contents, certain=True)


def _is_klines(text: DelimitedText) -> bool:
    """Twelve columns, the seventh of them the close time: in the unit of the open time, and later."""
    if text.width != 12:
        return False
    if text.header:
        return {"open_time", "close_time"} <= {normal(name) for name in text.header}
    row = text.sample[0]
    return row[0].isdigit() and row[6].isdigit() and len(row[0]) == len(row[6]) and int(row[6]) > int(row[0])


def _crypto_data_download_name(path: str, stem: str) -> Name | None:  # noqa: ARG001 - a NameReader
    """Read `Bitstamp_BTCUSD_2020_minute.csv`."""
    exchange, _, rest = stem.partition("_")
    match = TIMED.fullmatch(rest) if "," not in rest else None
    timeframe = timeframe_of(match["timeframe"]) if match else None
    if match is None or timeframe is None or exchange.lower() not in EXCHANGES:
        return None
    return Name(exchange.lower(), match["symbol"], timeframe, certain=True)


def _is_crypto_data_download(text: DelimitedText) -> bool:
    if "cryptodatadownload" in text.preamble.lower():
        return text.header is not None
    names = [normal(name) for name in text.header or ()]
    return {"unix", "date", "symbol"} <= set(names) and any(name.startswith("volume_") for name in names)


def _crypto_data_download(text: DelimitedText, mapping: Mapping[str, str | None], where: str) -> Indices:
    """Read the date, since seconds may be rounded (`1.58E+12`), and the volume in units of the base.

    Of two volumes, that is the first one, unless a name says that it is in dollars or the like.
    """
    found = _in_order(text, mapping, where)
    names = [normal(name) for name in text.header or ()]
    volumes = [index for index, name in enumerate(names) if name.startswith("volume")]
    volume = next(iter([*(index for index in volumes if unit_of(names[index]) == "base"), *volumes]), None)
    if "date" in names and "timestamp" not in mapping:
        found["timestamp"] = (names.index("date"),)
    if volume is not None and "volume" not in mapping:
        found["volume"] = (volume,)
    return found


def _name_in_minutes(
    pattern: re.Pattern[str],
    exchange: str | None,
    path: str,  # noqa: ARG001 - a NameReader once the first two are given
    stem: str,
) -> Name | None:
    """Read `XBTUSD_60.csv` or `EURUSD60.csv`, where 60 is minutes.

    Only the content tells the former from the 60th part of a file, the latter from a symbol that ends in digits.
    """
    match = pattern.fullmatch(stem)
    return Name(exchange, match["symbol"], timeframe_of(f"{match['minutes']}m")) if match else None


def _is_unnamed(first: Mapping[int, str], width: int, text: DelimitedText, separator: str | None = None) -> bool:
    """Return whether a text has no header, so many columns, and values of these patterns in its first row."""
    row = text.sample[0]
    unnamed = text.header is None and text.width == width and separator in {None, text.separator}
    return unnamed and all(re.fullmatch(pattern, row[place]) for place, pattern in first.items())


def _hist_data_name(path: str, stem: str) -> Name | None:  # noqa: ARG001 - a NameReader
    """Read `DAT_ASCII_EURUSD_M1_2024.csv`; `T` instead of `M1` are ticks."""
    match = _HIST_DATA.fullmatch(stem)
    if match is None:
        return None
    if match["kind"].upper() != "M1":
        return Name(None, match["symbol"].upper(), None, contents="no_bars", certain=True)
    return Name(None, match["symbol"].upper(), "1m", certain=True)


def _usual(text: DelimitedText, mapping: Mapping[str, str | None], where: str) -> Indices:
    """By the header; without one, five or six columns in the usual order, day and clock together or apart."""
    if text.header:
        return resolve(text.header, mapping, where)
    if given(mapping):
        return resolve([str(number) for number in range(1, text.width + 1)], mapping, where)
    split = _CLOCK.fullmatch(text.sample[0][1]) is not None or (
        text.width == len(BAR) + 1 and all(_DAY.fullmatch(row[0]) and _DIGITS.fullmatch(row[1]) for row in text.sample)
    )
    bars = text.width - split
    if bars not in {len(REQUIRED), len(BAR)}:
        raise DataError(
            f"{where}: {text.width} columns without names; set data.format to their vendor's, "
            f"or data.columns to their numbers, such as {suggested(text.sample)}"
        )
    indices: Indices = {name: (pair[0] + split,) for name, pair in in_order(bars, mapping, where).items()}
    return indices | ({"timestamp": (0, 1)} if split else {})


USUAL: Final = Layout("csv", 55, lambda _: False, _usual)
LAYOUTS: Final[dict[str, Layout]] = {
    layout.name: layout
    for layout in (
        USUAL,
        Layout("binance", 130, _is_klines, _in_order, read_name=_binance_name, flow=KLINES),
        Layout(
            "cryptodatadownload",
            80,
            _is_crypto_data_download,
            _crypto_data_download,
            read_name=_crypto_data_download_name,
        ),
        Layout(
            "kraken",
            60,
            # Seconds, open, high, low, close, volume, trades.
            partial(_is_unnamed, {0: r"\d{9,10}", 6: r"\d+"}, 7),
            _in_order,
            read_name=partial(_name_in_minutes, _KRAKEN, "kraken"),
            flow={"trades": (6,)},
        ),
        Layout(
            "metatrader",
            45,
            # Day, clock, open, high, low, close, volume, as the history center of MetaTrader 4 writes them.
            partial(_is_unnamed, {0: r"\d{4}\.\d\d\.\d\d", 1: r"\d\d:\d\d"}, 7),
            _usual,
            read_name=partial(_name_in_minutes, _META_TRADER, None),
        ),
        # As NinjaTrader's, or as MetaTrader's with a day and a clock; the volume is zero throughout.
        Layout("histdata", 45, lambda _: False, _usual, read_name=_hist_data_name, zone="Etc/GMT+5"),
        Layout(
            "ninjatrader",
            45,
            partial(_is_unnamed, {0: r"\d{8}(?: \d{6})?"}, len(BAR), separator=";"),
            _in_order,
            # Intraday bars carry the time of their end, daily ones the day itself.
            lambda text: "close" if " " in text.sample[0][0] else "open",
        ),
    )
}


def layout_of(text: DelimitedText, *, named: str = USUAL.name) -> Layout:
    """First layout that claims a text, or the one after whose convention its file is `named`, if none does.

    The usual one claims nothing, and takes what no vendor's does. HistData's files are NinjaTrader's but for the times,
    so their names decide.
    """
    if named == "histdata":
        return LAYOUTS[named]
    return next((layout for layout in LAYOUTS.values() if layout.claims(text)), USUAL)
