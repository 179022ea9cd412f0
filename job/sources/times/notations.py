"""Notations of times: how dates and clocks are written, and what is rewritten before they are read."""

import re
from typing import Final

DATES: Final = (
    (re.compile(r"\d{4}-\d{1,2}-\d{1,2}"), ("%Y-%m-%d",)),
    (re.compile(r"\d{4}/\d{1,2}/\d{1,2}"), ("%Y/%m/%d",)),
    (re.compile(r"\d{4}\.\d{1,2}\.\d{1,2}"), ("%Y.%m.%d",)),
    (re.compile(r"\d{8}"), ("%Y%m%d",)),
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}"), ("%d.%m.%Y",)),
    (re.compile(r"\d{1,2}/\d{1,2}/\d{4}"), ("%d/%m/%Y", "%m/%d/%Y")),
    (re.compile(r"\d{1,2}-\d{1,2}-\d{4}"), ("%d-%m-%Y", "%m-%d-%Y")),
    (re.compile(r"\d{1,2}/\d{1,2}/\d{2}"), ("%d/%m/%y", "%m/%d/%y", "%y/%m/%d")),
    (re.compile(r"\d{1,2}-\d{1,2}-\d{2}"), ("%d-%m-%y", "%m-%d-%y", "%y-%m-%d")),
    (re.compile(r"\d{1,2}\.\d{1,2}\.\d{2}"), ("%d.%m.%y",)),
    (re.compile(r"\d{1,2}-[A-Za-z]{3}-\d{4}"), ("%d-%b-%Y",)),
    (re.compile(r"\d{1,2}-[A-Za-z]{3}-\d{2}"), ("%d-%b-%y",)),
    (re.compile(r"\d{1,2} [A-Za-z]{3} \d{4}"), ("%d %b %Y",)),
    (re.compile(r"\d{1,2}[A-Za-z]{3}\d{4}"), ("%d%b%Y",)),
    (re.compile(r"\d{4}-[A-Za-z]{3}-\d{1,2}"), ("%Y-%b-%d",)),
    (re.compile(r"[A-Za-z]{3} \d{1,2},? \d{4}"), ("%b %d, %Y",)),
)
"""Dates with the formats that they may be in: several where only all rows together tell days from months.

A two-digit year comes first only where it cannot come last: that reading is tried last.
"""

CLOCKS: Final = (
    (re.compile(r"\d{1,2}:\d{2}"), "%H:%M"),
    (re.compile(r"\d{1,2}:\d{2}:\d{2}(\.\d+)?"), "%H:%M:%S%.f"),
    (re.compile(r"\d{9}"), "%H%M%S%3f"),
    (re.compile(r"\d{6}"), "%H%M%S"),
    (re.compile(r"\d{4}"), "%H%M"),
    (re.compile(r"\d{1,2}:\d{2} ?[APap][Mm]"), "%I:%M %p"),
    (re.compile(r"\d{1,2}:\d{2}:\d{2}(\.\d+)? ?[APap][Mm]"), "%I:%M:%S%.f %p"),
)

REWRITES: Final = (
    (r" ?\([A-Za-z0-9 +:-]+\)$", ""),
    (r"^(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? ", ""),
    (r"(?i)\b(jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)[a-z]+\b", "${1}"),
    (r"(?i) ?\b([ap])\.m\.$", " ${1}m"),
    (r"(\d)T(\d)", "${1} ${2}"),
    (r"^(\d{8}|\d{4}-\d\d-\d\d)[-_](\d)", "${1} ${2}"),
    (r"( \d{6})Z$", "${1}+00:00"),
    (r"( \d{6})([+-]\d\d):?(\d\d)$", "${1}${2}:${3}"),
    (r"(:\d\d(?:\.\d+)?) ?(?:Z|UTC|GMT)$", "${1}+00:00"),
    (r"(:\d\d(?:\.\d+)?) ?(?:UTC|GMT)?([+-]\d\d):?(\d\d)$", "${1}${2}:${3}"),
    (r"(:\d\d(?:\.\d+)?)([+-]\d\d)$", "${1}${2}:00"),
    (r"(:\d\d(?:\.\d+)?) ?(?:UTC|GMT)([+-])(\d)$", "${1}${2}0${3}:00"),
    (r"(\d)-([AP]M)$", "${1}:00 ${2}"),
    (r"(:\d\d)([APap][Mm])$", "${1} ${2}"),
    (r"([A-Za-z]{3} \d{1,2}) (\d{4})", "${1}, ${2}"),
)
"""Patterns and what to write instead: `T`, `Z`, `GMT+0100`, the `09-AM` of CryptoDataDownload, weekdays."""

READ_AS: Final = (
    "times are read as 2024-01-31 15:30:00, 20240131 1530, 31/01/2024 3:30 PM or seconds to nanoseconds since 1970, "
    "with +01:00 or a zone such as US/Eastern behind them"
)
