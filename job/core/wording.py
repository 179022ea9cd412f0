"""How messages name things: the nearest known name, the first of many, an error on one line."""

import difflib
from collections.abc import Iterable
from typing import Final

MAX_NAMED: Final = 10


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known name, or nothing."""
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def first_of(names: Iterable[str], most: int = MAX_NAMED) -> str:
    """Return the first names of many, and how many more there are: `A, B and 3 more`."""
    listed = [*names]
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def on_one_line(error: BaseException) -> str:
    """Return what an error says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__
