"""Numbers as people and spreadsheets write them: `$1,043.50`, `1.043,50 €`, `55.4K`, read as one notation a file."""

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import polars as pl

from job.core.errors import DataError

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


def plain(text: pl.Series) -> pl.Series:
    """Text without blanks, quotes and currencies, with an ASCII minus; what stands for nothing is null."""
    bare = text.str.replace_all(_BLANKS, "").str.replace_all(_MINUS, "-").str.replace_all(_CURRENCY, "")
    return bare.set(bare.str.to_lowercase().is_in(NULLS).fill_null(value=True), None)


def is_number(text: pl.Series) -> pl.Series:
    """Whether a `plain` text is a number in any of these notations."""
    return text.str.contains(_NUMBER)


def mark_of(columns: Iterable[pl.Series], decimal: str, where: str) -> Mark:
    """Decide by all columns of a file whether a comma or a point stands before the decimals.

    Args:
        columns: `plain` texts.
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
    """Cast `plain` text to Float64, null where it is no number: without separators, with its `K`, `M`, `B` or `T`."""
    valid = text.set(~text.str.contains(_of_mark(_VALID, mark)).fill_null(value=True), None)
    thousands, decimals = (",", ".") if mark == "point" else (".", ",")
    bare = valid.str.replace_all(thousands, "", literal=True).str.replace_all(decimals, ".", literal=True)
    suffix = bare.str.to_lowercase().str.extract(r"([kmbt])$")
    times = suffix.replace_strict(_SUFFIXES, default=1.0, return_dtype=pl.Float64)
    return bare.str.strip_chars_end("kKmMbBtT").cast(pl.Float64, strict=False) * times
