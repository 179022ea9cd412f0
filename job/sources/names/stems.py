"""Names of files that name nothing: `ohlcv`, `data_0`, `part-00000-<GUID>.c000.snappy`, `2024-01`, `15m`."""

import re
from functools import lru_cache
from typing import Final

from job.core.timeframes import timeframe_of

_YEAR: Final = r"(?:19|20)\d\d"
_CLOCK: Final = r"(?:T?(?:\d{4}|\d{6})|[T_ ]\d\d[-_.]\d\d(?:[-_.]\d\d)?)Z?"
_MONTH: Final = (
    "(?i:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
DATE: Final = (
    rf"(?:{_YEAR}[-_]?(?:Q[1-4]|W\d\d)|{_MONTH}[-_]?{_YEAR}|{_YEAR}[-_]?{_MONTH}"
    rf"|{_YEAR}(?:[-_.]?[01]\d(?:[-_.]?[0-3]\d(?:{_CLOCK})?)?)?|[0-3]\d\.[01]\d\.{_YEAR}|1\d{{9}}(?:\d{{3}})?)"
)
"""Pattern of a year, a quarter, a week, a month or a day, with or without a clock, or of seconds since 1970."""

DATES: Final = rf"(?:[-_. ](?:(?:to|until)[-_. ])?{DATE})*"
"""Pattern of the dates that follow a name, each after a separator."""

_ONLY_DATES: Final = re.compile(rf"{DATE}{DATES}[-_. ]?")
_GUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
_PART: Final = re.compile(r"(?:part|chunk|split)[-_.]?\d.*|\d{8}_\d{6}_\d{5}_[a-z0-9]{5}(?:_.*)?")
"""Parts as Spark and others call them, and as Trino does, by date, clock, number and letters of a query."""
_WORD: Final = re.compile(r"(?P<word>[A-Za-z]*)\d*")
_SEPARATORS: Final = re.compile(r"[-_. ,()]+")

ALWAYS: Final = frozenset({"ohlc", "ohlcv"})
"""Words that are no symbol however they are written."""
GENERIC: Final = frozenset(
    (
        *("agg", "aggregated", "aggregates", "all", "apr", "april", "aug", "august", "bar", "bars", "batch"),
        *("block", "candle", "candles", "candlestick", "candlesticks", "chart", "charts", "chunk", "clean"),
        *("cleaned", "combined", "data", "dataset", "dec", "december", "df", "download", "downloads", "export"),
        *("feb", "february", "file", "freq", "full", "hist", "historical", "history", "in", "input", "interval"),
        *("intraday", "jan", "january", "jul", "july", "jun", "june", "kline", "klines", "mar", "march"),
        *("market", "may", "merged", "nov", "november", "oct", "october", "of", "ohlc", "ohlcv", "out", "output"),
        *("part", "parts", "price", "prices", "quote", "quotes", "raw", "records", "resolution", "result"),
        *("results", "rows", "run", "segment", "sep", "september", "series", "shard", "split", "table", "test"),
        *("tf", "tick", "ticks", "timeframe", "timeseries", "trades", "train", "val", "validation", "values"),
    )
)
"""Words that say what a file holds but not of which symbol. In capitals they may be tickers (`ALL`, `OPEN`)."""
_WRITERS: Final = frozenset({"", "c", "r", "m", "snappy", "gz", "zstd", "lz", "tid", "attempt"})
"""What Spark, Glue and others put into the names of parts, beside numbers."""


def is_date(stem: str) -> bool:
    """Return whether a name is a date, or dates from and to."""
    return _ONLY_DATES.fullmatch(stem) is not None


@lru_cache(1024)
def is_generic(word: str) -> bool:
    """Return whether a word, with a number or without, says what a file holds but not of which symbol."""
    match = _WORD.fullmatch(word)
    text = match["word"] if match else word
    return text.lower() in ALWAYS or (text.lower() in GENERIC and not text.isupper())


def is_timeframe(text: str) -> bool:
    """Return whether a whole name is a timeframe; a letter, or a word in capitals, may be a ticker (`D`, `DAY`)."""
    return timeframe_of(text) is not None and (any(map(str.isdigit, text)) or (len(text) > 1 and not text.isupper()))


@lru_cache(1024)
def names_nothing(stem: str) -> bool:
    """Return whether a name of more than a bare number says nothing of the symbol: generic words, dates, numbers."""
    if stem.isdigit():
        return is_date(stem) and len(stem) >= 8
    if _PART.fullmatch(stem) or is_date(stem) or is_timeframe(stem):
        return True
    words = [word for word in _SEPARATORS.split(_GUID.sub(" ", stem)) if word]
    numbered = any(map(str.isdigit, "".join(words)))
    return all(
        is_generic(word)
        or is_timeframe(word)
        or (numbered and (match := _WORD.fullmatch(word)) is not None and match["word"] in _WRITERS)
        for word in words
    )


def timeframe_within(stem: str) -> str | None:
    """Return the timeframe among the words of a name that names nothing else: `1h_2024`."""
    return next((timeframe_of(word) for word in _SEPARATORS.split(stem) if is_timeframe(word)), None)
