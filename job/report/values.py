"""Values out of documents that anyone may have written: of the type and within the bounds asked for, or None."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

MOST_TEXT: Final = 200
"""Longer texts are cut."""
MOST_ITEMS: Final = 20_000
"""Longer lists and mappings are read no further."""
UNSHOWN: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")
"""Characters that no XML holds, or that make a reader see other text than there is."""
SECRETS: Final = re.compile(r"(?<=://)[^/@\s]*@|(?<=\w)\?[^\s'\"]*=[^\s'\"]*")
"""Where addresses hold secrets: before the host, and in what is asked of it."""
YEARS: Final = range(1970, 2200)


def at(document: object, *path: str) -> Any:
    """Return what stands at a path of keys, None where it does not lead."""
    for part in path:
        document = document.get(part) if isinstance(document, Mapping) else None
    return document


def number(value: object, *, least: float = -1e12, most: float = 1e12) -> float | None:
    """Return a finite number within its bounds, both inclusive, as a float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if least <= value <= most else None  # NaN is within no bounds, and a float holds what is


def share(value: object) -> float | None:
    """Return a number from 0 to 1."""
    return number(value, least=0.0, most=1.0)


def count(value: object) -> int | None:
    """Return a number of things, 0 or more."""
    found = number(value, least=0.0)
    return None if found is None else math.floor(found)


def text(value: object) -> str | None:
    """Return a text, without what is not to be shown, such as secrets in addresses, and cut where it is long."""
    if not isinstance(value, str):
        return None
    kept = SECRETS.sub("", value[: 10 * MOST_TEXT].encode("utf-8", "replace").decode())
    kept = UNSHOWN.sub("\N{REPLACEMENT CHARACTER}", kept)
    return kept if len(kept) <= MOST_TEXT else f"{kept[: MOST_TEXT - 1]}…"


def time(value: object) -> datetime | None:
    """Return an ISO 8601 time, UTC unless it says otherwise."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return found if found.year in YEARS else None


def items(value: object) -> list[Any]:
    """Return the first items of a list, none if it is none."""
    return value[:MOST_ITEMS] if isinstance(value, list) else []


def pairs(value: object) -> dict[str, Any]:
    """Return the first entries of a mapping, none if it is none."""
    return dict(islice(value.items(), MOST_ITEMS)) if isinstance(value, Mapping) else {}
