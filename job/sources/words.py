"""Names and texts of files: as they are compared, and as messages show them."""

import re
from typing import Final

LONGEST_QUOTE: Final = 80


def quoted(text: str) -> str:
    """Text of a file as messages show it: on one line, and cut where it is long."""
    return repr(text) if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]!r}…"


def printable(name: str) -> str:
    """Name in which characters that would end or repaint a line are escaped."""
    return name if name.isprintable() else repr(name)[1:-1]


def normal(name: str) -> str:
    """Lower case, everything but letters and digits as single underscores: `<Open Time>` → `open_time`."""
    return re.sub(r"[\W_]+", "_", name).strip("_").lower()
