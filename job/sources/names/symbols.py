"""Symbols as users write them: `BTC/USDT:USDT`, `BTC_USDT_USDT` and `btcusdt` may all mean one series."""

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Final

from job.core.errors import DataError
from job.core.wording import first_of

MAX_NAMED: Final = 8
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
            raise DataError(
                f"symbol {wanted!r} is ambiguous: it may mean {first_of(fitting, MAX_NAMED)}; give the exact name"
            )
        if fitting:
            return fitting[0]
    return None


def unknown_symbol(wanted: str, known: Iterable[str]) -> DataError:
    """Error for a symbol that no file holds, with the nearest names, or else some of the known ones."""
    by_letters = {normalize_symbol(symbol): symbol for symbol in known}
    near = difflib.get_close_matches(normalize_symbol(wanted), by_letters, n=3, cutoff=0.6)
    if near:
        hint = f"did you mean {' or '.join(by_letters[letters] for letters in near)}?"
    else:
        hint = f"known: {first_of(sorted(by_letters.values()), MAX_NAMED)}"
    return DataError(f"no bars of symbol {wanted!r} in the input; {hint}")
