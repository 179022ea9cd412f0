"""What the path of a file says about the bars in it, without opening it."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from job.core.timeframes import TIMEFRAME, is_month, timeframe_of
from job.sources.names.folders import MARKETS, read_folders
from job.sources.names.stems import DATE, DATES, is_date, names_nothing, timeframe_within

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

_FIRST: Final = rf"(?:{DATE}[-_. ])?"
"""A date before a name: `2024-01_BTCUSDT`."""
_PART: Final = r"(?:[-_. ](?:part|chunk|split|shard|batch)[-_.]?\d+| ?\(\d+\))"
TIMED: Final = re.compile(
    rf"{_FIRST}(?P<symbol>.+?)(?:[-_](?:full|sample))?{DATES}[-_. ](?P<timeframe>{TIMEFRAME})"
    rf"(?:[-_. ](?P<market>futures|spot|swap|perp|bid|ask|(?i:adj|adjusted|unadjusted|adjsplit|adjsplitdiv)))?{DATES}"
    rf"(?:{_PART}|[-_.]\d{{1,3}})?",
    re.DOTALL,
)
_DATED: Final = re.compile(
    rf"{_FIRST}(?P<symbol>.+?){DATES}"
    rf"(?:{_PART}|\.Last|\.scid_BarData)?",
    re.DOTALL,
)
_NUMBERED: Final = re.compile(rf"(?P<number>\d{{4,6}}){DATES}")
_CHARTED: Final = re.compile(
    rf"(?P<symbol>[^,]+?), ?(?P<timeframe>\d+[SDWMHsdwmh]?|[SDWM]|{TIMEFRAME})(?:[_ -]\(?[0-9a-z]{{1,8}}\)?)*"
)
"""`BINANCE_BTCUSDT, 60.csv` as TradingView exports it, the number in minutes; `EURUSD,M15.csv` as MetaTrader does."""
_CANDLESTICK: Final = re.compile(
    r"(?P<symbol>.+?)_Candlestick_(?P<count>\d+)_(?P<unit>[A-Za-z]+)_(?P<market>BID|ASK)(?:_.*)?", re.IGNORECASE
)
"""`EURUSD_Candlestick_1_M_BID_01.01.2023-31.12.2023.csv`, as Dukascopy calls it."""
_SIDED: Final = re.compile(rf"(?P<symbol>.+?)-(?P<timeframe>[smhd]\d+)-(?P<market>bid|ask){DATES}")
"""`eurusd-m1-bid-2023-01-01-2023-12-31.csv`, as programs that load from Dukascopy call it."""
_FREQTRADE: Final = re.compile(
    rf"(?P<symbol>[A-Z0-9]+_[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?:(?P<timeframe>{TIMEFRAME})(?:-(?P<candles>[A-Za-z_]+))?|trades)"
)


@dataclass(frozen=True)
class Name:
    """What a path says.

    `certain` means that the convention of names is a known one, so the file need not be opened to tell its series;
    `layout` is the layout of delimited text files that are named so. `stated` means that the exchange stands in the
    path as such (`exchange=binance`), not that a folder is called so.

    `market` is `spot`, `perp` or what else tells two series of one symbol apart. `number` is the name of a file that is
    a bare number, before dates if any: a ticker, a year or a part; until that is known, `symbol` is what the folders
    say. `by_folder` means that only a folder tells the timeframe.
    """

    exchange: str | None
    symbol: str
    timeframe: str | None
    contents: Contents = "bars"
    certain: bool = False
    stated: bool = False
    layout: str | None = None
    market: str | None = None
    number: str | None = None
    by_folder: bool = False


NameReader = Callable[[str, str], Name | None]
"""Path of a file and its stem, without the suffix of its format → what they say by one convention, None by another."""


def hive_name(path: str, stem: str) -> Name | None:
    """Read `exchange=binance/symbol=BTCUSDT/timeframe=1m/part-0.parquet`, and the same under other usual keys."""
    folders, stem = read_folders(_as_folders(path, stem), EXCHANGES), "" if "=" in stem else stem
    keys = folders.keys
    unnamed = stem.isdigit() or names_nothing(stem) or not _own_name(stem).symbol
    symbol = keys.get("symbol", keys.get("thing") if unnamed else None)
    if symbol is None:
        return None
    timeframe, by_folder = folders.timeframe, folders.timeframe is not None and "timeframe" not in keys
    if timeframe is None and (timed := TIMED.fullmatch(stem)):
        timeframe = timeframe_of(timed["timeframe"])
    stated, market = "exchange" in keys, folders.market
    return Name(folders.exchange, symbol, timeframe, certain=True, stated=stated, market=market, by_folder=by_folder)


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
    exchange = read_folders(path, EXCHANGES).exchange
    return Name(exchange, match["symbol"], timeframe, contents=contents, certain=True)


def plain_name(path: str, stem: str) -> Name:
    """Read any other path: `binance/BTCUSDT_1m.csv`, `BTCUSDT-2023.parquet`, `BTCUSDT/1m/2024-01.csv`."""
    said = _own_name("" if "=" in stem else stem)
    folders = read_folders(_as_folders(path, stem), EXCHANGES)
    exchange = folders.keys.get("exchange") or said.exchange or folders.exchange
    symbol, number = said.symbol, _number(stem)
    if number or not symbol or names_nothing(symbol) or is_date(symbol):
        # The file's own name is only a date, a number or a word such as `ohlcv`: its folders say what it holds.
        symbol = folders.symbol or symbol or stem
    timeframe = None if said.contents == "no_fixed_length" else said.timeframe or folders.timeframe
    return replace(
        said,
        exchange=exchange,
        symbol=symbol,
        timeframe=timeframe,
        stated="exchange" in folders.keys,
        market=said.market or folders.market,
        number=number,
        by_folder=timeframe is not None and said.timeframe is None,
    )


def _number(stem: str) -> str | None:
    """Return the bare number that a name is, before dates if there are any: `600000`, `600000-2024-01`."""
    dated = _NUMBERED.fullmatch(stem)
    if dated is None or is_date(stem):
        return stem if stem.isdigit() and not names_nothing(stem) else None
    return dated["number"]


def _as_folders(path: str, stem: str) -> str:
    """Return a path in which a file that is called as a Hive folder is (`year=2024.csv`) counts as one."""
    return f"{path.rpartition('/')[0]}/{stem}/" if "=" in stem else path


def _own_name(stem: str) -> Name:
    """Read the name of a file without its folders; the symbol is empty where it is none."""
    if charted := _CHARTED.fullmatch(stem):
        exchange, _, symbol = charted["symbol"].rpartition("_")
        text = charted["timeframe"]
        text = f"{text}m" if text.isdigit() else text if text[0].isdigit() or len(text) > 1 else f"1{text}"
        return _of_timeframe(exchange.lower() or None, symbol, text, None)
    if candles := _CANDLESTICK.fullmatch(stem):
        unit = {"m": "min", "month": "mo"}.get(candles["unit"].lower(), candles["unit"].lower())
        return _of_timeframe(None, candles["symbol"], candles["count"] + unit, candles["market"].lower())
    if sided := _SIDED.fullmatch(stem):
        return _of_timeframe(None, sided["symbol"], sided["timeframe"].upper(), sided["market"])
    timed = None if is_date(stem) else TIMED.fullmatch(stem)
    if timed and (is_month(timed["timeframe"]) or timeframe_of(timed["timeframe"])):
        return _of_timeframe(None, timed["symbol"], timed["timeframe"], timed["market"])
    market = stem.lower() if stem.lower() in MARKETS else None
    if market or names_nothing(stem):
        return Name(None, "", None if is_date(stem) else timeframe_within(stem), market=market)
    dated = _DATED.fullmatch(stem)
    return Name(None, dated["symbol"] if dated else "", None)


def _of_timeframe(exchange: str | None, symbol: str, text: str, market: str | None) -> Name:
    contents: Contents = "no_fixed_length" if is_month(text) else "bars"
    return Name(exchange, symbol, timeframe_of(text), contents=contents, market=market)
