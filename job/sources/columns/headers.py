"""Headers that are not one row of as many names as the rows have values: shorter, longer, or of several rows."""

import re
from collections.abc import Sequence
from typing import Final

from job.sources.columns.named import COLUMN_ALIASES, names_prices, refuse_side_by_side
from job.sources.words import normal

Row = Sequence[str]

MOST_HEADER_ROWS: Final = 4
_TIME: Final = re.compile(r"\d{4}[-/.]?\d\d|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|[A-Za-z]{3} \d{1,2},? \d{4}")
_TIME_WORDS: Final = {*COLUMN_ALIASES["timestamp"], "day", "trade_date"} - {""}


def one_header(rows: Sequence[Row], where: str) -> tuple[tuple[str, ...], int]:
    """Return the names of columns from all rows of a header, and how many these are.

    The first row is known to be a header; pandas writes several of columns that have several levels. Further ones have
    no time, so no digit, in front, and no values: all other fields are empty or the same, or none has a digit. Of
    several rows, the one that names prices counts; one that is empty but for its first field names the first column.

    Raises:
        DataError: several columns have the same price's name, since the symbols stand side by side.
    """
    header = [rows[0]]
    for row in rows[1 : min(len(rows) - 1, MOST_HEADER_ROWS)]:
        first, *rest = row
        if re.search(r"\d", first) or not (len({*rest}) == 1 or not any(re.search(r"\d", field) for field in rest)):
            break
        header.append(row)
    if len(header) == 1:
        return tuple(rows[0]), 1
    names = list(next((row for row in header if names_prices(row)), header[0]))
    if index := next((row[0] for row in header if row[0] and not any(row[1:])), None):
        names[0] = index
    elif normal(names[0]) == "price":  # what pandas calls the level, not a column
        names[0] = ""
    others = [row for row in header if any(row[1:]) and not names_prices(row)]
    refuse_side_by_side(names, {field for row in others for field in row[1:] if field}, where)
    return tuple(names), len(header)


def fit_header(header: Row, rows: Sequence[Row]) -> tuple[str, ...] | None:
    """Return the names of a header that has fewer or more than the rows have values; None where none is certain.

    What is evidence: names too many are empty, a delimiter ends every row, or the header lacks one name, that of a
    time or of row numbers that stand in front, as pandas writes an index without a label.
    """
    width = len(rows[0])
    if len(header) > width:
        return tuple(header[:width]) if not any(header[width:]) else None
    if len(header) < width - 1 and any(any(row[len(header) :]) for row in rows):
        return None
    has_time = any(normal(name) in _TIME_WORDS for name in header)
    if not any(any(row[len(header) :]) for row in rows):
        return (*header, *[""] * (width - len(header))) if has_time else None
    if not has_time and all(_TIME.match(row[0]) for row in rows):
        return ("", *header)
    numbers = [int(row[0]) for row in rows if re.fullmatch(r"\d{1,9}", row[0])]
    if has_time and len(numbers) == len(rows) and numbers == [*range(numbers[0], numbers[0] + len(rows))]:
        return ("row number", *header)
    return None
