"""Read bars from delimited text in any of the known layouts."""

from collections.abc import Sequence

import polars as pl

from job.config import DataSettings
from job.errors import DataError
from job.sources.columns import unlike_bars
from job.sources.layouts import LAYOUTS, layout_of
from job.sources.series import Series, SourceFile
from job.sources.sheets import Sheet, sheet_of, text_columns
from job.sources.storage import HEAD, content
from job.sources.tables import Look, Raw, bars_of, place, whole


def read_text(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read a series from delimited text, the layout told from its first lines unless `data.format` sets it.

    Raises:
        DataError: it is no such text, a row cannot be read, or unnamed columns do not behave as bars do.
    """
    where = place(file)
    sheet = sheet_of(whole(file, settings), where)
    layout = LAYOUTS[settings.format] if settings.format in LAYOUTS else layout_of(sheet)
    indices = layout.columns(sheet, settings.columns, where)
    positions = [index for pair in indices.values() for index in pair]
    frame = text_columns(sheet, positions, where)
    bars = bars_of(frame, indices, series, settings, where)
    told = settings.columns or settings.format in set(LAYOUTS) - {"csv"}
    if sheet.header is None and not told and (reason := unlike_bars(bars)):
        raise DataError(
            f"{where}: no header, and {reason}; set data.format to the vendor's, or data.columns to the numbers of the "
            "columns, such as {timestamp: '1', open: '2', high: '3', low: '4', close: '5', volume: '6'}"
        )
    return Raw(bars, layout.edge(sheet))


def text_names(file: SourceFile, settings: DataSettings) -> Look:
    """Read the first lines."""
    sheet = _head(file, settings)
    layout = layout_of(sheet).name if settings.format == "auto" else settings.format
    return Look(layout, sheet.header or (), sheet.sample[0])


def _head(file: SourceFile, settings: DataSettings) -> Sheet:
    return sheet_of(content(file.url, file.member, settings.options, limit=HEAD), place(file))


def text_values(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name, as String."""
    sheet = sheet_of(whole(file, settings), place(file))
    positions = [(sheet.header or ()).index(name) for name in names]
    frame = text_columns(sheet, positions, place(file))
    return frame.select(pl.col(str(position)).alias(name) for position, name in zip(positions, names, strict=True))
