"""How messages name things: the nearest known name, the first of many, an error on one line, one of many warnings."""

import difflib
import re
from collections.abc import Iterable
from typing import Final

MAX_NAMED: Final = 10

_VARIES: Final = re.compile(r"'[^']*'|\S*/\S*|\S*\d\S*")
"""What differs between messages of one kind: names of columns and files, numbers and times."""


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


def once_per_kind(messages: Iterable[str]) -> list[str]:
    """Return one line for all messages of a kind, sorted.

    Those that say the same of several are one: `a/B, a/C and 9 more: …`. Of those that differ in names and numbers, one
    is the example, and the others are counted.
    """
    said: dict[str, list[str]] = {}
    for message in sorted(set(messages)):
        about, colon, text = message.partition(": ")
        said.setdefault(colon + text or message, []).append(about)
    kinds: dict[str, list[str]] = {}
    for text in said:
        kinds.setdefault(_VARIES.sub("", text), []).append(text)
    lines = []
    for texts in kinds.values():
        example = max(texts, key=lambda text: len(said[text]))
        line = example if said[example] == [example] else f"{first_of(said[example])}{example}"
        others = sum(len(said[text]) for text in texts if text != example)
        lines.append(f"{line} (and {others} more of this kind)" if others else line)
    return sorted(lines)
