"""What the path of a file says about the bars in it, without opening it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from job.core.timeframes import TIMEFRAME, is_month, timeframe_of

Contents = Literal["bars", "no_bars", "no_fixed_length"]
"""What the rows of a file are: bars, something else, or bars of months, which have no fixed length."""

EXCHANGES: Final = frozenset(
    (
        *("alpaca", "ascendex", "bequant", "bigone", "binance", "binancecoinm", "binanceus", "binanceusdm", "bingx"),
        *("bitbank", "bitfinex", "bitflyer", "bitget", "bithumb", "bitmart", "bitmex", "bitpanda", "bitrue"),
        *("bitso", "bitstamp", "bittrex", "bitvavo", "blofin", "bybit", "cex", "cexio", "coinbase"),
        *("coinbaseexchange", "coinbasepro", "coinex", "cryptocom", "deribit", "digifinex", "dydx", "exmo", "ftx"),
        *("ftxus", "gate", "gateio", "gemini", "hitbtc", "htx", "huobi", "hyperliquid", "itbit"),
        *("kraken", "krakenfutures", "kucoin", "kucoinfutures", "lbank", "luno", "mexc", "ndax", "okcoin"),
        *("okex", "okx", "phemex", "poloniex", "probit", "upbit", "whitebit", "woo", "woofipro"),
        *("xt", "zaif"),
    )
)
"""Names by which a folder or the first part of a file's name is taken for an exchange."""

HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the folder of rows that have no value."""

_DATE: Final = r"(?:19|20)\d\d(?:[-_]?[01]\d(?:[-_]?[0-3]\d(?:\d{4}|\d{6})?)?)?"
TIMED: Final = re.compile(
    rf"(?P<symbol>.+?)(?:[-_. ]{_DATE})*[-_. ](?P<timeframe>{TIMEFRAME})(?:[-_. ](?:futures|spot|swap|perp))?"
    rf"(?:[-_. ]{_DATE})*",
    re.DOTALL,
)
_DATED: Final = re.compile(rf"(?P<symbol>.+?)(?:[-_. ]{_DATE})*(?:[-_. ]part[-_]?\d+|\.Last)?", re.DOTALL)
_PART: Final = re.compile(rf"(?:part|chunk|split)[-_]?\d.*|(?:{_DATE}[-_ ]?)+|\d+")
_FREQTRADE: Final = re.compile(
    rf"(?P<symbol>[A-Z0-9]+_[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?:(?P<timeframe>{TIMEFRAME})(?:-(?P<candles>[A-Za-z_]+))?|trades)"
)


@dataclass(frozen=True)
class Name:
    """What a path says.

    `certain` means that the convention of names is a known one, so the file need not be opened to tell its series;
    `layout` is the layout of delimited text files that are named so. `stated` means that the exchange stands in the
    path as such (`exchange=binance`), not that a folder is called so.
    """

    exchange: str | None
    symbol: str
    timeframe: str | None
    contents: Contents = "bars"
    certain: bool = False
    stated: bool = False
    layout: str | None = None


NameReader = Callable[[str, str], Name | None]
"""Path of a file and its stem, without the suffix of its format → what they say by one convention, None by another."""


def hive_name(path: str, stem: str) -> Name | None:
    """Read `exchange=binance/symbol=BTCUSDT/timeframe=1m/part-0.parquet`."""
    folders = path.split("/")[:-1]
    pairs = [(key.lower(), value) for key, equals, value in (part.partition("=") for part in folders) if equals]
    keys = {key: unquote(value, errors="surrogateescape") for key, value in pairs if value != HIVE_NULL}
    if "symbol" not in keys:
        return None
    timeframe = timeframe_of(keys.get("timeframe", keys.get("interval", "")))
    if timeframe is None and (timed := TIMED.fullmatch(stem)):
        timeframe = timeframe_of(timed["timeframe"])
    return Name(keys.get("exchange"), keys["symbol"], timeframe, certain=True, stated="exchange" in keys)


def freqtrade_name(path: str, stem: str) -> Name | None:
    """Read `binance/futures/BTC_USDT_USDT-1m-futures.feather`."""
    match = _FREQTRADE.fullmatch(stem)
    if match is None:
        return None
    timeframe = timeframe_of(match["timeframe"] or "")
    if match["timeframe"] and timeframe is None and not is_month(match["timeframe"]):
        return None
    of_trades = match["timeframe"] is not None and match["candles"] in {None, "futures", "spot"}
    contents: Contents = "no_bars" if not of_trades else "bars" if timeframe else "no_fixed_length"
    return Name(_folder_exchange(path), match["symbol"], timeframe, contents=contents, certain=True)


def plain_name(path: str, stem: str) -> Name:
    """Read any other path: `binance/BTCUSDT_1m.csv`, `BTCUSDT-2023.parquet`, `BTCUSDT/1m/2024-01.csv`."""
    exchange, timed = _folder_exchange(path), TIMED.fullmatch(stem)
    if timed and is_month(timed["timeframe"]):
        return Name(exchange, timed["symbol"], None, contents="no_fixed_length")
    if timed and (timeframe := timeframe_of(timed["timeframe"])):
        return Name(exchange, timed["symbol"], timeframe)
    dated = _DATED.fullmatch(stem)
    if dated and not _PART.fullmatch(stem):
        return Name(exchange, dated["symbol"], None)
    # The file's own name is only a date or a number: its folders say what it holds.
    folders = [part for part in path.split("/")[:-1] if part and not _PART.fullmatch(part)]
    timeframes = [timeframe for part in folders[-2:] if (timeframe := timeframe_of(part))]
    symbols = [part for part in folders if timeframe_of(part) is None]
    return Name(exchange, symbols[-1] if symbols else stem, timeframes[-1] if timeframes else None)


def _folder_exchange(path: str) -> str | None:
    folders = [part.lower() for part in path.split("/")[-4:-1]]
    return next((part for part in reversed(folders) if part in EXCHANGES), None)
