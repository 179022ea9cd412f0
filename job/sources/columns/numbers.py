"""Numbers as people and spreadsheets write them: `$1,043.50`, `1.043,50 €`, `55.4K`, read as one notation a file."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import polars as pl

from job.core.errors import DataError
from job.sources.words import quoted

Mark = Literal["point", "comma"]
"""What stands before the decimals."""

NULLS: Final = ("", "null", "none", "na", "n/a", "nan", "#n/a", "-", "--", "\u2013", "\u2014")
_CODE: Final = "(?:USDT?|EUR|GBP|JPY|CHF|CNY|INR)"
_CURRENCY: Final = rf"US\$|[$\u20ac\u00a3\u00a5\u20b9\u20a9\u20bd\u20ba\u20bf]|^{_CODE}|{_CODE}$"
_BLANKS: Final = "[ \t\r\"'\u2019\u00a0\u2007\u2009\u202f]"
_MINUS: Final = "[\u2212\u2013]"
_SUFFIXES: Final[Mapping[str, float]] = {"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_NUMBER: Final = r"^[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?[kKmMbBtT]?$"

# A text shows the mark if one of these fits it; a single one before three digits may be either.
_SHOWS: Final = (
    r"^[-+]?\d{1,3}(?:THOUSANDS\d{2,3})+DECIMALS\d",
    r"^[-+]?\d{1,3}(?:THOUSANDS\d{2,3}){2,}(?:[^\d.,]|$)",
    r"^[-+]?\d*DECIMALS(?:\d{1,2}|\d{4,})(?:[^\d.,]|$)",
    r"^[-+]?(?:0|\d{4,})?DECIMALS\d",
)
_VALID: Final = (
    r"^[-+]?(?:\d+|\d{1,3}(?:THOUSANDS\d{2,3})*THOUSANDS\d{3})?(?:DECIMALS\d*)?(?:[eE][-+]?\d+)?[kKmMbBtT]?$"
)


def _of_mark(pattern: str, mark: Mark) -> str:
    thousands, decimals = (",", r"\.") if mark == "point" else (r"\.", ",")
    return pattern.replace("THOUSANDS", thousands).replace("DECIMALS", decimals)


def mark_of(columns: Iterable[pl.Series], decimal: str, where: str) -> Mark:
    """Decide by all columns of a file whether a comma or a point stands before the decimals.

    Args:
        columns: texts without blanks, quotes and currencies.
        decimal: `data.decimal`, which wins unless `auto`.
        where: the file, for the error.

    Raises:
        DataError: some numbers show a point and others a comma, or each may be either.
    """
    if decimal != "auto":
        return "comma" if decimal == "comma" else "point"
    texts = [column.drop_nulls() for column in columns]
    shows = "|".join(_SHOWS)
    point, comma = _first(texts, _of_mark(shows, "point")), _first(texts, _of_mark(shows, "comma"))
    if point is None and comma is None:
        either = _first(texts, r",\d{3}")
        if either is None:
            return "point"
        whole, decimals = either.replace(",", ""), either.replace(",", ".")
        raise DataError(
            f"{where}: {either!r} may be {whole} or {decimals}, and no number tells; "
            "set data.decimal to point if it is the former, to comma if it is the latter"
        )
    if point is not None and comma is not None:
        raise DataError(
            f"{where}: {point!r} has a decimal point, {comma!r} a decimal comma; write all numbers alike, "
            "or set data.decimal to point or comma"
        )
    return "point" if comma is None else "comma"


def _first(texts: Iterable[pl.Series], pattern: str) -> str | None:
    return next((str(one[0]) for text in texts if (one := text.filter(text.str.contains(pattern))).len()), None)


def as_float(text: pl.Series, mark: Mark) -> pl.Series:
    """Cast bare text to Float64, null where it is no number: without separators, with its `K`, `M`, `B` or `T`."""
    valid = text.set(~text.str.contains(_of_mark(_VALID, mark)).fill_null(value=True), None)
    thousands, decimals = (",", ".") if mark == "point" else (".", ",")
    bare = valid.str.replace_all(thousands, "", literal=True).str.replace_all(decimals, ".", literal=True)
    suffix = bare.str.to_lowercase().str.extract(r"([kmbt])$")
    times = suffix.replace_strict(_SUFFIXES, default=1.0, return_dtype=pl.Float64)
    return bare.str.strip_chars_end("kKmMbBtT").cast(pl.Float64, strict=False) * times


def numbers(columns: Sequence[pl.Series], where: str, *, decimal: str = "auto") -> list[pl.Series]:
    """Cast the columns of one file to Float64; text such as `null` and nothing at all become null.

    Where text is no plain number, all columns are read in the notation that the numbers show, or `decimal` says.

    Raises:
        DataError: a row holds text, and the message names column, row and text; or the notation is not certain.
    """
    for column in columns:
        if not (column.dtype.is_numeric() or isinstance(column.dtype, pl.Null | pl.String | pl.Categorical | pl.Enum)):
            raise DataError(
                f"{where}: column {column.name!r} holds {column.dtype}, not numbers; set data.columns.{column.name}"
            )
    plainly = [_plainly(column) for column in columns]
    if decimal != "comma" and (read := [one for one in plainly if one is not None])[len(columns) - 1 :]:
        return read
    texts: dict[str, pl.Series] = {}
    for column in columns:
        if not _is_number(column):
            bare = column.cast(pl.String)
            for pattern, instead in ((_BLANKS, ""), (_MINUS, "-"), (_CURRENCY, "")):
                bare = bare.str.replace_all(pattern, instead)
            texts[column.name] = bare.set(bare.str.to_lowercase().is_in(NULLS).fill_null(value=True), None)
            _refuse_text(column, ~texts[column.name].str.contains(_NUMBER), where)
    mark = mark_of(texts.values(), decimal, where)
    found = {name: as_float(text, mark) for name, text in texts.items()}
    for column in columns:
        if column.name in found:
            _refuse_text(column, found[column.name].is_null() & texts[column.name].is_not_null(), where)
    return [found.get(column.name, column.cast(pl.Float64) if _is_number(column) else column) for column in columns]


def _is_number(column: pl.Series) -> bool:
    return column.dtype.is_numeric() or column.dtype == pl.Null


def _plainly(column: pl.Series) -> pl.Series | None:
    """Cast of a column that is written as computers write numbers; None where it is not."""
    if _is_number(column):
        return column.cast(pl.Float64)
    text = column.cast(pl.String)
    cast = text.cast(pl.Float64, strict=False)
    if cast.null_count() == text.null_count():
        return cast
    stripped = text.str.strip_chars(" \t\r\"'")
    cast = stripped.cast(pl.Float64, strict=False)
    wrong = cast.is_null() & ~stripped.str.to_lowercase().is_in(NULLS).fill_null(value=True)
    return None if wrong.any() else cast


def _refuse_text(column: pl.Series, wrong: pl.Series, where: str) -> None:
    """Raise for the first wrong row."""
    if wrong.any():
        row = int(wrong.arg_true()[0])
        text, remedy = str(column[row]), "correct the row, or download the file again"
        if re.fullmatch(r"[-+]?[\d.,' ]+", text):
            remedy = "write numbers with a decimal point and without thousands separators"
        raise DataError(f"{where}: column {column.name!r}, row {row + 1}: {quoted(text)} is not a number; {remedy}")
