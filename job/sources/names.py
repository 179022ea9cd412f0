"""What the path of a file tells about the bars in it, without opening it."""

import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import unquote

from transforms.bars import duration_us, timeframe_name

Kind = Literal["bars", "no_bars", "no_fixed_length"]

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

SUFFIX: Final = re.compile(r"\.(csv|txt|tsv|json|parquet|pq|feather|arrow|ipc|gz|zip)$", re.IGNORECASE)

HIVE_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
"""What Hive and Spark call the folder of rows that have no value."""

_COUNTED: Final = re.compile(r"(\d+)(s|sec|m|min|mins|minutes?|t|h|hr|hours?|d|days?|w|weeks?)", re.IGNORECASE)
_PLATFORM: Final = re.compile(r"([MHDW])(\d+)")
_WORDS: Final = {
    "minute": "1m",
    "min": "1m",
    "hour": "1h",
    "hourly": "1h",
    "day": "1d",
    "daily": "1d",
    "d": "1d",
    "weekly": "7d",
}
_MONTH: Final = re.compile(r"(?i:\d+mo|mn1?|monthly)|\d+M")
_TIMEFRAME: Final = r"(?:\d+[A-Za-z]{1,7}|[MHDW]\d+|MN1?|(?i:minute|min|hourly|hour|daily|day|d|weekly|monthly))"
_DATE: Final = r"(?:19|20)\d\d(?:[-_]?[01]\d(?:[-_]?[0-3]\d(?:\d{4}|\d{6})?)?)?"
_TIMED: Final = re.compile(
    rf"(?P<symbol>.+?)(?:[-_. ]{_DATE})*[-_. ](?P<timeframe>{_TIMEFRAME})(?:[-_. ](?:futures|spot|swap|perp))?"
    rf"(?:[-_. ]{_DATE})*",
    re.DOTALL,
)
_DATED: Final = re.compile(rf"(?P<symbol>.+?)(?:[-_. ]{_DATE})*(?:[-_. ]part[-_]?\d+|\.Last)?", re.DOTALL)
_PART: Final = re.compile(rf"(?:part|chunk|split)[-_]?\d.*|(?:{_DATE}[-_ ]?)+|\d+")
_FREQTRADE: Final = re.compile(
    rf"(?P<symbol>[A-Z0-9]+_[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?:(?P<timeframe>{_TIMEFRAME})(?:-(?P<candles>[A-Za-z_]+))?|trades)"
)
_BINANCE: Final = re.compile(
    r"(?:^|/)(?:(?P<market>spot|futures/um|futures/cm)/)?(?:(?:monthly|daily)/)?(?P<kind>\w*klines|aggTrades|trades|bookDepth|"
    r"bookTicker|metrics|fundingRate|liquidationSnapshot)/(?P<symbol>[^/]+)/(?:(?P<timeframe>[^/]+)/)?[^/]+$",
    re.IGNORECASE,
)
_BINANCE_MARKETS: Final = {"spot": "binance", "futures/um": "binanceusdm", "futures/cm": "binancecoinm"}
_KRAKEN: Final = re.compile(r"(?P<symbol>[A-Z0-9.]+)_(?P<minutes>1|5|15|30|60|240|720|1440)")


@dataclass(frozen=True)
class Name:
    """What a path says.

    `certain` means that the layout of names is a known one, so the file need not be opened to tell its series; `vendor`
    is the format of text files that are named so. `stated` means that the exchange
    stands in the path as such (`exchange=binance`), not that a folder is called so.
    """

    exchange: str | None
    symbol: str
    timeframe: str | None
    kind: Kind = "bars"
    certain: bool = False
    stated: bool = False
    vendor: str | None = None


def timeframe_of(text: str) -> str | None:
    """Read a timeframe in any usual spelling: `1m`, `60min`, `M15`, `1H`, `daily`; None where it is none.

    `1M` is a month, which has no fixed length and so is no timeframe.
    """
    if _MONTH.fullmatch(text):
        return None
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if platform := _PLATFORM.fullmatch(text):
        return _canonical(int(platform[2]), platform[1].lower())
    counted = _COUNTED.fullmatch(text)
    return _canonical(int(counted[1]), counted[2][0].lower()) if counted else None


def _canonical(count: int, unit: str) -> str | None:
    count, unit = (7 * count, "d") if unit == "w" else (count, "m" if unit == "t" else unit)
    return timeframe_name(duration_us(f"{count}{unit}")) if count else None


def stem_of(path: str) -> str:
    """File name without folders and without the suffixes of known formats."""
    stem = path.rsplit("/", 1)[-1]
    while SUFFIX.search(stem):
        stem = SUFFIX.sub("", stem)
    return stem


def name_of(path: str) -> Name:
    """Read a path, its folders included: the first known layout of names that it fits."""
    for read in (_hive, _binance, _freqtrade, _crypto_data_download):
        name = read(path)
        if name is not None:
            return name
    return _plain(path)


def kraken_name(path: str) -> Name | None:
    """Read `XBTUSD_60.csv`, where 60 is minutes; only the content tells it from the 60th part of a file."""
    match = _KRAKEN.fullmatch(stem_of(path))
    return Name("kraken", match["symbol"], _canonical(int(match["minutes"]), "m")) if match else None


def _hive(path: str) -> Name | None:
    folders = path.split("/")[:-1]
    pairs = [(key.lower(), value) for key, equals, value in (part.partition("=") for part in folders) if equals]
    keys = {key: unquote(value, errors="surrogateescape") for key, value in pairs if value != HIVE_NULL}
    if "symbol" not in keys:
        return None
    timeframe = timeframe_of(keys.get("timeframe", keys.get("interval", ""))) or _timeframe_in(stem_of(path))
    return Name(keys.get("exchange"), keys["symbol"], timeframe, certain=True, stated="exchange" in keys)


def _timeframe_in(stem: str) -> str | None:
    match = _TIMED.fullmatch(stem)
    return timeframe_of(match["timeframe"]) if match else None


def _binance(path: str) -> Name | None:
    match = _BINANCE.search(path)
    if match is None or (match["kind"].lower().endswith("klines") and not match["timeframe"]):
        return None
    exchange = _BINANCE_MARKETS[(match["market"] or "spot").lower()]
    if match["kind"].lower() != "klines":
        return Name(exchange, match["symbol"], None, kind="no_bars")
    timeframe = timeframe_of(match["timeframe"])
    return Name(
        exchange,
        match["symbol"],
        timeframe,
        kind="bars" if timeframe else "no_fixed_length",
        certain=True,
        vendor="binance",
    )


def _freqtrade(path: str) -> Name | None:
    match = _FREQTRADE.fullmatch(stem_of(path))
    if match is None:
        return None
    timeframe = timeframe_of(match["timeframe"] or "")
    if match["timeframe"] and timeframe is None and not _MONTH.fullmatch(match["timeframe"]):
        return None
    of_trades = match["timeframe"] is not None and match["candles"] in {None, "futures", "spot"}
    kind: Kind = "no_bars" if not of_trades else "bars" if timeframe else "no_fixed_length"
    return Name(_folder_exchange(path), match["symbol"], timeframe, kind=kind, certain=True)


def _crypto_data_download(path: str) -> Name | None:
    exchange, _, rest = stem_of(path).partition("_")
    match = _TIMED.fullmatch(rest)
    timeframe = timeframe_of(match["timeframe"]) if match else None
    if match is None or timeframe is None or exchange.lower() not in EXCHANGES:
        return None
    return Name(exchange.lower(), match["symbol"], timeframe, certain=True, vendor="cryptodatadownload")


def _plain(path: str) -> Name:
    stem, exchange = stem_of(path), _folder_exchange(path)
    timed = _TIMED.fullmatch(stem)
    if timed and _MONTH.fullmatch(timed["timeframe"]):
        return Name(exchange, timed["symbol"], None, kind="no_fixed_length")
    if timed and (timeframe := timeframe_of(timed["timeframe"])):
        return Name(exchange, timed["symbol"], timeframe)
    dated = _DATED.fullmatch(stem)
    if dated and not _PART.fullmatch(stem):
        return Name(exchange, dated["symbol"], None)
    return _from_folders(path, exchange)


def _from_folders(path: str, exchange: str | None) -> Name:
    """Read `BTCUSDT/1m/2024-01.csv`, where the file's own name is only a date or a number."""
    folders = [part for part in path.split("/")[:-1] if part and not _PART.fullmatch(part)]
    timeframes = [timeframe for part in folders[-2:] if (timeframe := timeframe_of(part))]
    symbols = [part for part in folders if timeframe_of(part) is None]
    return Name(exchange, symbols[-1] if symbols else stem_of(path), timeframes[-1] if timeframes else None)


def _folder_exchange(path: str) -> str | None:
    folders = [part.lower() for part in path.split("/")[-4:-1]]
    return next((part for part in reversed(folders) if part in EXCHANGES), None)
