"""What the folders of a path say: symbol, exchange, market and timeframe, as plain names or as `key=value`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from job.core.timeframes import timeframe_of
from job.sources.names.stems import is_date, is_generic, names_nothing, timeframe_within

HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the folder of rows that have no value."""

HIVE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "symbol": (
        *("symbol", "ticker", "instrument", "contract", "pair", "trading_pair", "currency_pair", "ccy_pair", "sym"),
        *("unique_id", "symbol_id", "instrument_id", "instrument_name", "ticker_symbol", "security_id", "asset_id"),
        *("ts_code", "stock_code", "ric", "isin", "sid", "secid", "permno", "tic", "security", "stock", "stock_id"),
        *("series_id", "item_id", "market_id", "conid", "con_id", "figi", "cusip", "secucode", "wind_code", "epic"),
        *("order_book_id", "vt_symbol", "crypto", "token", "currency", "company", "series"),
    ),
    "thing": ("coin", "asset", "name", "code", "product", "product_id", "underlying", "root", "id"),
    "exchange": ("exchange", "venue", "exchange_id", "exchange_name", "mic", "exch"),
    "timeframe": (
        *("timeframe", "interval", "freq", "frequency", "resolution", "tf", "period", "granularity", "bar_size"),
        *("barsize", "bar", "timespan", "time_frame", "candle", "agg", "aggregation", "kline_interval"),
    ),
    "market": ("market", "market_type", "type", "instrument_type", "contract_type", "kind", "segment", "side"),
}
"""Keys of `key=value` folders, the preferred one first; a `thing` is the symbol where the file's own name is none."""

_OF_SYMBOLS: Final = re.compile(
    r"(?:.*_)?(?:symbol|ticker|instrument|contract|security|stock)(?:_?(?:id|code|name|no|key))?|tradingsymbol"
)
"""Keys beside these that name a symbol, the one nearest to the file where there are several."""

DATE_KEYS: Final = frozenset(
    (
        *("year", "month", "day", "date", "dt", "ds", "hour", "week", "quarter", "yyyy", "mm", "dd", "y", "m", "d"),
        *("yearmonth", "year_month", "trade_date", "tradedate", "trading_day", "event_date", "partition_date"),
    )
)

_OF_CONTRACTS: Final = frozenset(
    ("expiry", "expiration", "expiration_date", "expiry_date", "maturity", "delivery_month", "strike", "right", "tenor")
)
"""Keys whose values, numbers too, tell contracts apart, and no parts."""

MARKETS: Final = frozenset(
    (
        *("spot", "perp", "perps", "perpetual", "perpetuals", "swap", "swaps", "future", "futures", "margin", "linear"),
        *("inverse", "um", "cm", "usdm", "coinm", "usdt-m", "coin-m", "usdt_m", "coin_m", "delivery", "quarterly"),
        *("bid", "ask", "mark", "index"),
    )
)
"""Names of folders, in small letters, that tell two series of one symbol apart."""

NEAR: Final = 4
"""Folders above a file, but for dates, that may tell its timeframe or market; farther ones are where somebody keeps
his data."""
NEAR_EXCHANGE: Final = 3
"""The same for its exchange."""


@dataclass(frozen=True)
class Folders:
    """What the folders of a path say, None where they say nothing.

    `exchange` is that of a folder that is called as one is, or of a key. `others` are the folders that say nothing that
    is known, without dates and numbers, and those that say what another says otherwise, as `contract=ESZ24` beside
    `symbol=ES`: files that differ in them may be of different series.
    """

    keys: Mapping[str, str]
    exchange: str | None
    symbol: str | None
    market: str | None
    timeframe: str | None
    others: tuple[str, ...]


def read_folders(path: str, exchanges: frozenset[str]) -> Folders:
    """Read the folders of a path, the nearest one first."""
    return _read(path.rpartition("/")[0], exchanges)


@lru_cache(256)
def _read(folder: str, exchanges: frozenset[str]) -> Folders:
    """Read the folders of all files in one; the same names stand above many folders, so what each says is kept."""
    names = [part for part in folder.split("/") if part]
    keys = hive_keys(names)
    market, timeframe, symbol = keys.get("market"), timeframe_of(keys.get("timeframe", "")), None
    others: list[str] = []
    telling = [name for name in reversed(names) if not _is_date_folder(name)]
    exchange = next((name.lower() for name in telling[:NEAR_EXCHANGE] if name.lower() in exchanges), None)
    for distance, name in enumerate(telling):
        if "=" in name:
            others += _unknown(name, frozenset(value for ours, value in keys.items() if ours != "thing"))
        elif distance < NEAR and names_nothing(name) and (within := timeframe_within(name)) is not None:
            timeframe = timeframe or within
        elif distance < NEAR and name.lower() in MARKETS:
            others += [name] * (market not in {None, name.lower()})
            market = market or name.lower()
        elif name.lower() in exchanges or is_generic(name):
            others.append(_without_digits(name))
        else:
            symbol = symbol if symbol is not None or names_nothing(name) else name
            others.append(_without_digits(name))
    return Folders(keys, keys.get("exchange", exchange), symbol, market, timeframe, tuple(others))


@lru_cache(1024)
def _is_date_folder(name: str) -> bool:
    """Return whether a folder is a date or a part of one: `2024-01`, `01`, `year=2024`."""
    key, equals, _ = name.partition("=")
    return key.lower() in DATE_KEYS if equals else is_date(name) or (name.isdigit() and len(name) <= 3)


def hive_keys(names: list[str]) -> dict[str, str]:
    """Values of `key=value` folders under our names of the keys."""
    pairs = [(_snake(key), value) for key, equals, value in (name.partition("=") for name in names) if equals]
    given = {key: unquote(value, errors="surrogateescape") for key, value in pairs if value != HIVE_NULL}
    found = {ours: next((given[key] for key in keys if key in given), None) for ours, keys in HIVE_KEYS.items()}
    if found["symbol"] is None:
        found["symbol"] = next((value for key, value in reversed(given.items()) if _OF_SYMBOLS.fullmatch(key)), None)
    if found["market"] is not None and found["market"].lower() not in MARKETS:
        found["market"] = None
    return {ours: value for ours, value in found.items() if value is not None}


def _snake(key: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key).lower()


@lru_cache(1024)
def _unknown(name: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return what a `key=value` folder tells beside dates, what is `known`, and numbers that nobody knows."""
    if told := {*hive_keys([name]).values()}:
        return (name,) * (not told <= known)
    key, _, value = name.partition("=")
    if _snake(key) in _OF_CONTRACTS:
        return (name,)
    return (_without_digits(name),) * (not value.isdigit())


def _without_digits(name: str) -> str:
    return "".join(letter for letter in name if not letter.isdigit())
