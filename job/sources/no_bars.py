"""Files beside bars: what is a table, a list or a text of something else, and what holds nothing at all."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from job.core.errors import DataError
from job.sources.columns.named import names_prices, resolve

_TIME: Final = re.compile(r"\d{4}[-/.]\d\d?|\d[-/. ][A-Za-z\d]{1,9}[-/. ]\d\d|[A-Za-z]{3} \d|^\d{8,}|:\d\d")
"""What a time has in any notation, and a number or a word has not."""


class NoBarsError(DataError):
    """A file holds something else than bars; `table` says that it was read and is a table of something else."""

    def __init__(self, message: str, *, table: bool = False) -> None:
        super().__init__(message)
        self.table = table


class EmptyFileError(DataError):
    """A file holds nothing, or a header and no row."""


@dataclass(frozen=True)
class Stray:
    """A file that is not bars, beside others that may be: where it is, what its name says, and why it is none."""

    exchange: str
    symbol: str
    path: str
    dated: bool
    error: NoBarsError


def check_header(header: Sequence[str], first: Sequence[str], mapping: Mapping[str, str], where: str) -> None:
    """Refuse a header that names no prices, unless `mapping` names columns of it or its first row looks like a bar.

    One that names prices is refused if it names no time, and nothing in its first row looks like one.

    Raises:
        NoBarsError: the file is a table of something else.
    """
    timed = not first or any(map(_TIME.search, first))
    if not header or not set(header).isdisjoint(mapping.values()):
        return
    values = [_number(text) for text in first[1:]]
    # Four values in a row are a bar that behave as open, high, low and close, and are not all the same.
    a_bar = any(
        all(value > 0 for value in four) and four[1] == max(four) and four[2] == min(four) and len({*four}) > 2
        for four in zip(values, values[1:], values[2:], values[3:], strict=False)
    )
    if timed if names_prices(header) else a_bar:
        return
    try:
        resolve(header, mapping, where)
    except DataError as error:
        raise NoBarsError(str(error), table=True) from None


def _number(text: str) -> float:
    """Return the number that a text is, 0 where it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0
