"""Symbols as users write them: `BTC/USDT:USDT`, `BTC_USDT_USDT` and `btcusdt` may all mean one series."""

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Final

from job.core.errors import DataError

SHOWN: Final = 8
"""Names that an error lists."""


def normalize_symbol(symbol: str) -> str:
    """Letters and digits only, in capitals."""
    return re.sub(r"[\W_]", "", symbol).upper()


def pair(symbol: str) -> str:
    """Like `normalize_symbol`, without the settlement currency of a linear contract: `BTC/USDT:USDT` → `BTCUSDT`."""
    parts = [part for part in re.split(r"[\W_]+", symbol) if part]
    settled = len(parts) == 3 and parts[1].upper() == parts[2].upper()
    return "".join(parts[:2] if settled else parts).upper()


_READINGS: Final[tuple[Callable[[str], str], ...]] = (str, normalize_symbol, pair)


def symbol_named(wanted: str, known: Iterable[str]) -> str | None:
    """The one known symbol that `wanted` means: the same name, else the same letters, else the same pair.

    Raises:
        DataError: several known symbols fit equally well.
    """
    known = sorted(set(known))
    for reading in _READINGS:
        fitting = [symbol for symbol in known if reading(symbol) == reading(wanted)]
        if len(fitting) > 1:
            raise DataError(f"symbol {wanted!r} is ambiguous: it may mean {', '.join(fitting)}; give the exact name")
        if fitting:
            return fitting[0]
    return None


def unknown_symbol(wanted: str, known: Iterable[str]) -> DataError:
    """Error for a symbol that no file holds, with the nearest names, or else some of the known ones."""
    by_letters = {normalize_symbol(symbol): symbol for symbol in known}
    near = [
        by_letters[name] for name in difflib.get_close_matches(normalize_symbol(wanted), by_letters, n=3, cutoff=0.6)
    ]
    names = sorted(by_letters.values())
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names[:SHOWN])}{more}"
    return DataError(f"no bars of symbol {wanted!r} in the input; {hint}")
