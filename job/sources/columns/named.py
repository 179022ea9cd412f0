"""Which column of a file is which: by its header, by `data.columns`, or as the values of unnamed columns suggest."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from job.core.errors import DataError
from job.core.wording import did_you_mean, first_of
from job.sources.columns.sides import one_side, sides
from job.sources.columns.volumes import ALIASES, volume_columns
from job.sources.times.names import TIME_WORDS, time_columns
from job.sources.words import LONGEST_QUOTE, normal, printable

PRICES: Final = ("open", "high", "low", "close")
REQUIRED: Final = ("timestamp", *PRICES)
BAR: Final = (*REQUIRED, "volume")
KEYS: Final = ("symbol", "exchange", "timeframe")
FINISHED: Final = "finished"
"""The column that says which rows are finished bars; see `flags`."""

COLUMN_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "timestamp": (
        *("timestamp", "open_time", "opentime", "time_open", "window_start", "candle_begin_time", "time_period_start"),
        *("start_time", "unix_timestamp", "unix", "unixtime", "unix_time", "datetime", "date_time", "timestamp_ms"),
        *("gmt_time", "utc_time", "time_utc", "local_time", "ts_event", "ts", "time", "date", "t", "index_level_0", ""),
        *TIME_WORDS,
    ),
    "open": (
        *("open", "o", "open_price", "price_open", "openprice", "1_open", "opening_price", "op"),
        *("eröffnung", "erster", "apertura", "ouverture", "abertura", "开盘", "开盘价", "始値", "시가"),
    ),
    "high": (
        *("high", "h", "high_price", "price_high", "highprice", "2_high", "max", "hi"),
        *("hoch", "máximo", "maximo", "haut", "plus_haut", "massimo", "最高", "最高价", "高値", "고가"),
    ),
    "low": (
        *("low", "l", "low_price", "price_low", "lowprice", "3_low", "min", "lo"),
        *("tief", "mínimo", "minimo", "bas", "plus_bas", "最低", "最低价", "安値", "저가"),
    ),
    "close": (
        *("close", "c", "close_price", "price_close", "closeprice", "4_close", "close_last", "last", "cl"),
        *("schluss", "schlusskurs", "cierre", "dernier", "chiusura", "fechamento", "收盘", "收盘价", "終値", "종가"),
    ),
    "volume": ALIASES,
    "symbol": ("symbol", "ticker", "instrument", "pair", "coin", "tic"),
    "exchange": ("exchange", "venue"),
    "timeframe": ("timeframe", "interval", "resolution", "per"),
    FINISHED: (
        *("finished", "is_finished", "isfinished", "complete", "completed", "is_complete", "iscomplete"),
        *(
            "closed",
            "is_closed",
            "isclosed",
            "final",
            "is_final",
            "isfinal",
            "confirm",
            "confirmed",
            "is_confirmed",
            "x",
        ),
    ),
}
"""Names of columns as `normal` writes them, the preferred one first."""

PRICE_WORDS: Final = {alias for name in PRICES for alias in COLUMN_ALIASES[name]}
_PAIR: Final = re.compile(r"""\(\s*(['"])(?P<first>.*)\1\s*,\s*(['"])(?P<second>.*)\3\s*\)""")
DAY: Final = (
    *("date", "day", "trade_date", "tradedate", "trading_date", "trading_day", "dtyyyymmdd", "yyyymmdd"),
    *("datum", "fecha", "data", "tarih", "дата", "日期", "交易日期", "日付", "날짜"),
)
CLOCK: Final = (
    *("time", "clock", "trade_time", "tradetime", "time_of_day", "last_time", "hhmm", "hhmmss", "hour", "minute"),
    *("uhrzeit", "zeit", "hora", "ora", "heure", "saat", "время", "时间", "交易时间", "時刻", "時間", "시간"),
)
TWIN: Final = "other "
"""Before the name of a column of a bar, the key of one that is called the same but for capitals: `T` beside `t`."""

Indices = dict[str, tuple[int, ...]]
"""Position of each column of a bar in the file; two for a time that is split into a day and a clock."""


def positions(indices: Indices) -> list[int]:
    """Positions of all columns that are needed, in the file's order, each once."""
    return sorted({index for pair in indices.values() for index in pair})


def given(mapping: Mapping[str, str | None]) -> dict[str, str]:
    """Return the entries of `data.columns` that name a column; the others leave one out."""
    return {ours: theirs for ours, theirs in mapping.items() if theirs is not None}


def resolve(header: Sequence[str], mapping: Mapping[str, str | None], where: str) -> Indices:
    """Find the columns of a bar, and those that tell series apart, in a header.

    Args:
        header: names as the file has them.
        mapping: name here → name in the file or its number from 1; wins over the usual names. None leaves it out.
        where: the file, for errors.

    Raises:
        DataError: a column of `mapping` is absent, two columns fit equally well, or one that every bar needs is absent.
    """
    names = [normal(name) for name in flattened(header, where)]
    found = mapped(header, mapping, where)
    day, clock = (next((names.index(word) for word in words if word in names), None) for words in (DAY, CLOCK))
    whole = {"timestamp", "datetime", "open_time"} & set(names)
    if "timestamp" not in found and not whole and day is not None and clock is not None:
        found["timestamp"] = (day, clock)
    for ours, aliases in COLUMN_ALIASES.items():
        index = _aliased(header, names, aliases, where) if ours not in {*found, *mapping} else None
        if ours == "volume" and index is None and ours not in mapping:
            index = next(iter(volume_columns(names)), None)
        if index is not None:
            found[ours] = (index,)
            twins = [place for place, name in enumerate(names) if name == names[index] and place != index]
            if ours in BAR[1:] and len(twins) == 1:
                found[f"{TWIN}{ours}"] = (twins[0],)
    if "timestamp" not in mapping:
        found |= time_columns(header, names, COLUMN_ALIASES["timestamp"], found.get("timestamp", ()))
    if "close" not in found and "price" in names and found.keys() >= {"open", "high", "low"}:
        found["close"] = (names.index("price"),)
    if found.keys().isdisjoint(PRICES):
        found |= {price: (index,) for price, index in one_side(header, names, where).items()}
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise DataError(
            f"{where}: no column for {', '.join(missing)} among {_listed(header)}; "
            f"name it in data.columns, such as {{{missing[0]}: NAME_IN_FILE}}"
        )
    return found


def names_prices(row: Sequence[str]) -> bool:
    """Return whether a row is a header of bars: it names at least three of the four prices, or four of one side."""
    names = [normal(name) for name in row]
    return sum(not {*COLUMN_ALIASES[name]}.isdisjoint(names) for name in PRICES) >= 3 or bool(sides(names))


def flattened(header: Sequence[str], where: str) -> Sequence[str]:
    """Return names of one level where all are pairs, `('Close', 'AAPL')`, as pandas writes columns of two levels.

    Raises:
        DataError: several columns have the same price's name, since the symbols stand side by side.
    """
    pairs = [_PAIR.fullmatch(name) for name in header]
    if not any(pairs):
        return header
    levels = [
        [pair[group] if pair else name for pair, name in zip(pairs, header, strict=True)]
        for group in ("first", "second")
    ]
    names, other = levels if names_prices(levels[0]) else reversed(levels)
    symbols = {text for pair, text in zip(pairs, other, strict=True) if pair and text}
    refuse_side_by_side(names, symbols, where)
    return names


def refuse_side_by_side(names: Sequence[str], symbols: Collection[str], where: str) -> None:
    """Refuse columns of several symbols, of which each has its own prices."""
    words = [normal(name) for name in names]
    if any(words.count(word) > 1 for word in PRICE_WORDS):
        raise DataError(
            f"{where}: a header of several rows, with the columns of several symbols side by side "
            f"({first_of(sorted(symbols), 4)}); write one row a bar and symbol, with pandas: "
            "frame.stack('Ticker').to_csv(...), or one file a symbol, with yfinance: multi_level_index=False"
        )


def _listed(header: Sequence[str]) -> str:
    return first_of((printable(name[:LONGEST_QUOTE]) for name in header), 15) or "no columns"


def named_columns(ours: str, theirs: str, header: Sequence[str]) -> list[str]:
    """Columns that a setting names: one, or a day and a clock for the time, as `DAY+CLOCK` or `DAY,CLOCK`."""
    parts = [part.strip() for part in re.split(r"[+,]", theirs)]
    return parts if ours == "timestamp" and theirs not in header and len(parts) == 2 and all(parts) else [theirs]


def mapped(header: Sequence[str], mapping: Mapping[str, str | None], where: str) -> Indices:
    """Positions of the columns that `mapping` (`data.columns`) names, by their names in the file or numbers from 1.

    Raises:
        DataError: the file does not have one of them.
    """
    found: Indices = {}
    for ours, theirs in given(mapping).items():
        for column in named_columns(ours, theirs, header):
            if column in header:
                place = list(header).index(column)
            elif column.isdecimal() and 1 <= int(column) <= len(header):
                place = int(column) - 1
            else:
                hint = did_you_mean(column, header) or f"; it has {_listed(header)}"
                raise DataError(
                    f"{where}: data.columns.{ours} names column {column!r}, which the file does not have{hint}"
                )
            found[ours] = (*found.get(ours, ()), place)
    return found


def _aliased(header: Sequence[str], names: Sequence[str], aliases: Sequence[str], where: str) -> int | None:
    for alias in aliases:
        if names.count(alias) == 2 and [*header].count(alias) == 1 and len(alias) == 1:  # `t` beside `T`
            return [*header].index(alias)
        if names.count(alias) > 1:
            raise DataError(
                f"{where}: {names.count(alias)} columns are called {alias!r}; choose by number in data.columns"
            )
        if alias in names and (alias or names[0] == ""):
            return names.index(alias)
    return None
