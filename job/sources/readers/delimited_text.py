"""Delimited text: which delimiter, which lines come before the header, is there one, and its columns as text."""

import codecs
import csv
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import polars as pl

from job.core.errors import DataError
from job.sources.bars import by_position
from job.sources.columns.headers import fit_header, one_header
from job.sources.columns.named import names_prices
from job.sources.no_bars import EmptyFileError, NoBarsError

SEPARATORS: Final = (";", "\t", "|", ",")
"""A comma comes last: it may be the decimal mark of a file that one of the others separates."""

MIN_COLUMNS: Final = 5
_SAMPLE_LINES: Final = 60
"""Lines by which a text is judged."""

_NUMBER: Final = re.compile(r"[-+]?[\d.,]*\d[\d.,]*(?:[eE][-+]?\d+)?")
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLANK_LINES: Final = re.compile(rb"\n[ \r]*(?=\n)")


@dataclass(frozen=True)
class DelimitedText:
    """A delimited text, decoded to UTF-8 without blank lines.

    `skip` lines come before the first row of data, the header among them. `sample` holds the first rows, `preamble` the
    lines before the header. `unfit` is a header of fewer or more names than the rows have values, where no evidence
    says which name is of which column; `header` is None then.
    """

    data: bytes
    separator: str
    skip: int
    header: tuple[str, ...] | None
    sample: tuple[tuple[str, ...], ...]
    preamble: str
    width: int
    unfit: tuple[str, ...] = ()


def read_delimited(raw: bytes, where: str) -> DelimitedText:
    """Find how a text is delimited, from its first lines; `raw` may be only the beginning of a file.

    Raises:
        DataError: it is empty, no text, a web page or JSON, or no delimiter makes at least five columns of it.
    """
    data = plain_text(raw, where)
    lines = data[: 1 << 16].decode("utf-8", errors="replace").splitlines()[:_SAMPLE_LINES]
    separator, width = _separator(lines, where)
    rows = [tuple(field.strip() for field in row) for row in csv.reader(lines, delimiter=separator)]
    preamble = next(index for index, row in enumerate(rows) if len(row) == width)
    header: tuple[str, ...] | None = None
    count = 0
    tickers_above = preamble + 1 < len(rows) and names_prices(rows[preamble + 1])  # which may be numbers
    if tickers_above or not any(map(_NUMBER.fullmatch, rows[preamble][1:])):
        header, count = one_header(rows[preamble:], where)
    skip = preamble + count
    if skip >= len(rows):
        message = f"{where}: there is a header and no row of data; download it again"
        raise EmptyFileError(message) if names_prices(header or ()) else NoBarsError(message)
    unfit: tuple[str, ...] = ()
    if header is None and preamble and names_prices(rows[preamble - 1]):
        header = fit_header(rows[preamble - 1], [row for row in rows[preamble:] if len(row) == width])
        unfit = () if header else rows[preamble - 1]
        preamble -= 1
    before = "\n".join(lines[:preamble])
    return DelimitedText(data, separator, skip, header, tuple(rows[skip:]), before, width, unfit)


def plain_text(raw: bytes, where: str) -> bytes:
    """Bytes as UTF-8 without byte-order mark, blank lines or blank ends.

    Raises:
        DataError: there is nothing, or it is no text, a web page or an XML error report.
    """
    text = raw
    if raw.startswith(_UTF16):
        text = raw[: len(raw) & ~1].decode("utf-16", errors="replace").encode()
    text = text.removeprefix(codecs.BOM_UTF8).strip(b" \r\n")
    if not text:
        raise EmptyFileError(f"{where}: the file is empty; download it again")
    start = text[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<error", b"<body")):
        raise DataError(f"{where}: this is a web page or an error report, not bars; download the file again")
    if b"\0" in text[:4096]:
        raise DataError(f"{where}: this is no text; set data.format, or give the file the suffix of its format")
    if b"\n\n" in text or b"\n\r\n" in text or b"\n \n" in text:
        text = _BLANK_LINES.sub(b"", text)
    return text


def _separator(lines: Sequence[str], where: str) -> tuple[str, int]:
    """Delimiter and number of columns: the first delimiter that gives most lines the same five columns or more."""
    table = False
    for separator in SEPARATORS:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=separator))
        width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
        if width >= MIN_COLUMNS and count * 2 >= len(lines) - 1:
            return separator, width
        # Lines that all have the same two columns or more are a table, though none of bars.
        table = table or (len(lines) > 2 and len(widths) == 1 and width != 1)
    first = lines[0][:60]
    if first.startswith(("{", "[")):
        raise DataError(f"{where}: this is JSON, not delimited text; name it .json, or download it again")
    raise NoBarsError(
        f"{where}: no delimiter (comma, semicolon, tab, |) splits it into time, open, high, low and close; "
        f"it begins with {first!r}",
        table=table,
    )


def text_columns(text: DelimitedText, indices: Sequence[int], where: str) -> pl.DataFrame:
    """Columns at `indices` of all rows, as String, named `0`, `1`, … by position; a short row ends in nulls.

    Raises:
        DataError: a row has more fields than the others, or a quote is not closed.
    """
    wanted = sorted(set(indices))
    try:
        frame = pl.read_csv(
            text.data,
            has_header=False,
            separator=text.separator,
            skip_lines=text.skip,
            schema={str(index): pl.String for index in range(text.width)},
            columns=wanted,
            encoding="utf8-lossy",
        )
    except pl.exceptions.PolarsError as error:
        message = f"{where}: {str(error).splitlines()[0]}; download it again"
        lines = text.data.decode("utf-8", errors="replace").splitlines()[text.skip :]
        with suppress(csv.Error):  # a field too long for this reader
            for number, row in enumerate(csv.reader(lines, delimiter=text.separator), start=1):
                if len(row) > text.width:
                    remedy = "correct it or download the file again"
                    message = f"{where}: row {number} has {len(row)} fields, not {text.width}; {remedy}"
                    break
        raise DataError(message) from None
    return by_position(frame, wanted)
