"""Timeframes as files and people spell them: `60min`, `M15`, `1H`, `daily`, `1w`."""

import re
from functools import lru_cache
from typing import Final

from transforms.bars import duration_us, timeframe_name

TIMEFRAME: Final = (
    r"(?:\d+[A-Za-z]{1,7}|[MHDWmhdw]\d+|MN1?|(?i:minute|min|hourly|hour|daily|day|d|weekly|week|w|monthly))"
)
"""Pattern of what stands for a timeframe in the name of a file, months included."""

_COUNTED: Final = re.compile(r"(\d+)(s|sec|m|min|mins|minutes?|t|h|hr|hours?|d|days?|w|weeks?)", re.IGNORECASE)
_PLATFORM: Final = re.compile(r"(M)(1|2|3|4|5|6|10|12|15|20|30)|(H)(1|2|3|4|6|8|12)|(D)(1)|(W)(1)", re.IGNORECASE)
"""As MetaTrader calls them, and no other numbers: `H24` is a contract of March 2024."""
_WORDS: Final = {
    "minute": "1m",
    "min": "1m",
    "hour": "1h",
    "hourly": "1h",
    "day": "1d",
    "daily": "1d",
    "d": "1d",
    "h": "1h",
    "weekly": "7d",
    "week": "7d",
    "w": "7d",
}
_MONTH: Final = re.compile(r"(?i:\d+ ?mon?|\d* ?months?|mn1?|monthly)|\d+M")


@lru_cache(1024)
def timeframe_of(text: str) -> str | None:
    """Read a timeframe in any usual spelling: `1m`, `60min`, `M15`, `1H`, `daily`; None where it is none.

    `1M` is a month, which has no fixed length and so is no timeframe.
    """
    if is_month(text):
        return None
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if platform := _PLATFORM.fullmatch(text):
        letter, count = filter(None, platform.groups())
        return _canonical(int(count), letter.lower())
    counted = _COUNTED.fullmatch(text)
    return _canonical(int(counted[1]), counted[2][0].lower()) if counted else None


def is_month(text: str) -> bool:
    """Return whether a text means a number of months: `1M`, `1mo`, `MN1`, `monthly`."""
    return _MONTH.fullmatch(text) is not None


def asked_timeframe(text: str) -> str:
    """Timeframe that someone asks for, in any spelling that names of files may have, as `duration_us` takes it.

    Raises:
        ValueError: it is a month, or no timeframe.
    """
    if is_month(text) or text == "M":
        raise ValueError(
            f"timeframe {text!r}: expected a whole number and one of s, m, h, d, w, such as '1d' or '1w', or '1m' for "
            "a minute; months have no fixed length"
        )
    known = timeframe_of(text) if re.fullmatch(r"[A-Za-z]*(?:[1-9][0-9]*)?[A-Za-z]*", text) else None
    if known is None:
        duration_us(text)
    return known or text


def _canonical(count: int, unit: str) -> str | None:
    count, unit = (7 * count, "d") if unit == "w" else (count, "m" if unit == "t" else unit)
    return timeframe_name(duration_us(f"{count}{unit}")) if count else None
