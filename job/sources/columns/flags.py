"""A column that says of each row whether its bar is finished: collectors write the running one, too."""

from typing import Final

import polars as pl

from job.core.errors import DataError
from job.sources.columns.named import FINISHED, Indices
from job.sources.words import quoted

VALUES: Final = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False}
"""What flags are written as, in small letters."""


def finished_rows(frame: pl.DataFrame, indices: Indices, where: str, name: str, *, asked: bool) -> pl.DataFrame:
    """Return the rows that are not marked as unfinished; all of them where a column called so holds no flags.

    Args:
        frame: columns named by their position in the file.
        indices: positions by name; `finished` is there if a column is called so.
        where: the file, for errors.
        name: what the file calls the column.
        asked: whether `data.columns` names it.

    Raises:
        DataError: no row is finished, so that these may be bars or states of bars that went on; or the column that
            `data.columns` names holds no flags.
    """
    if FINISHED not in indices or frame.is_empty():
        return frame
    words = frame[str(indices[FINISHED][0])].cast(pl.String).str.strip_chars().str.to_lowercase()
    flags = words.replace_strict(VALUES, default=None, return_dtype=pl.Boolean)
    if flags.null_count() > words.null_count():
        if asked:
            other = words.filter(flags.is_null() & words.is_not_null())[0]
            raise DataError(
                f"{where}: data.columns.{FINISHED} names column {name!r}, which holds {quoted(other)}: name one of "
                f"true and false, or of 1 and 0, or set it to null to take every row for a finished bar"
            )
        return frame
    if not flags.fill_null(value=True).any():
        raise DataError(
            f"{where}: by its column {name!r} no row is a finished bar; give files with finished ones, or set "
            f"data.columns to {{{FINISHED}: null}} if it says something else"
        )
    return frame.filter(flags.fill_null(value=True))


def left_out(rows: int, column: str) -> str:
    """Return what is said of rows that are no finished bars."""
    return f"left out {rows:,} rows that column {column!r} says are no finished bars"
