"""Read bars from delimited text in any of the known layouts."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.access import display_path, read_all
from job.sources.bars import Look, Raw, raw_of
from job.sources.columns.flow import flow_columns
from job.sources.columns.named import REQUIRED, given, positions
from job.sources.columns.unnamed import check_ohlc_order, suggested
from job.sources.readers.delimited_text import DelimitedText, read_delimited, text_columns
from job.sources.readers.layouts import LAYOUTS, USUAL, layout_of
from job.sources.series import Series, SourceFile
from job.sources.words import printable
from job.storage.opening import content

_WORD: Final = re.compile(r"^(?!\d{4}-)(?!nan$).*[A-Za-z]", re.IGNORECASE)
"""Text that is neither a number nor an ISO time."""

HEAD: Final = 1 << 16
"""Bytes that are looked at to tell a text file's layout."""


def read_text(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read a series from delimited text, the layout inferred from its first lines unless `data.format` sets it.

    Raises:
        DataError: it is no such text, a row cannot be read, or unnamed columns do not behave as bars do.
    """
    where = display_path(file)
    text = _fit(read_delimited(read_all(file, settings), where), settings, where)
    chosen = LAYOUTS.get(settings.format)
    layout = chosen or layout_of(text, named=file.format)
    no_volume = not any(row[-1].strip("0.") for row in text.sample if len(row) == text.width)
    if chosen is None and settings.bar_time == "auto" and layout.edge(text) == "close" and no_volume:
        raise DataError(
            f"{where}: without volume, this may be HistData's, with open times in EST, or NinjaTrader's, with ends of "
            "bars in UTC; set data.format: histdata or data.format: ninjatrader"
        )
    if layout.zone and settings.timezone == "UTC":
        settings = settings.model_copy(update={"timezone": layout.zone})
    indices = layout.columns(text, settings.columns, where)
    indices = flow_columns(indices, text.header or (), settings.columns, wanted=series.flow, usual=layout.flow)
    frame = text_columns(text, positions(indices), where)
    raw = raw_of(frame, indices, series, settings, where, text.header or ())
    order_is_given = given(settings.columns) or chosen not in (None, USUAL)
    if text.header is None and not order_is_given and (reason := check_ohlc_order(raw.bars)):
        raise DataError(
            f"{where}: no header, and {reason}; set data.format to the vendor's, or data.columns to the numbers of the "
            f"columns, such as {suggested(text.sample)}"
        )
    if layout.zone:
        raw = replace(raw, notes=(*raw.notes, f"{layout.name}: times are open times in {settings.timezone}"))
    return raw if raw.edge == "close" or raw.proven else replace(raw, edge=layout.edge(text))


def look_at_text(file: SourceFile, settings: DataSettings) -> Look:
    """Read the first lines."""
    where = display_path(file)
    text = _fit(read_delimited(content(file.url, file.member, settings.options, limit=HEAD), where), settings, where)
    layout = layout_of(text).name if settings.format == "auto" else settings.format
    header, first = text.header or (), text.sample[0]
    words = tuple(name for name, value in zip(header, first, strict=False) if _WORD.search(value))
    return Look(layout, header, first, words)


def text_values(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name, as String."""
    where = display_path(file)
    text = _fit(read_delimited(read_all(file, settings), where), settings, where)
    wanted = [(text.header or ()).index(name) for name in names]
    frame = text_columns(text, wanted, where)
    return frame.select(pl.col(str(position)).alias(name) for position, name in zip(wanted, names, strict=True))


def _fit(text: DelimitedText, settings: DataSettings, where: str) -> DelimitedText:
    """Refuse a header whose names cannot be put to the columns, unless `data.columns` gives their numbers."""
    if text.unfit and not given(settings.columns).keys() >= {*REQUIRED}:
        names = first_of(map(printable, text.unfit), 15)
        raise DataError(
            f"{where}: the header has {len(text.unfit)} names ({names}), the rows have {text.width} values; name every "
            f"column, or set data.columns to the numbers of the columns, such as {suggested(text.sample)}"
        )
    return text
