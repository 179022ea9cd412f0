"""Read bars from delimited text in any of the known layouts."""

from collections.abc import Sequence

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.columns import check_ohlc_order
from job.sources.layouts import LAYOUTS, layout_of
from job.sources.series import Series, SourceFile
from job.sources.sheets import DelimitedText, read_delimited, text_columns
from job.sources.tables import Look, Raw, bars_of, display_path, read_all
from job.storage.listing import HEAD, content


def read_text(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read a series from delimited text, the layout told from its first lines unless `data.format` sets it.

    Raises:
        DataError: it is no such text, a row cannot be read, or unnamed columns do not behave as bars do.
    """
    where = display_path(file)
    sheet = read_delimited(read_all(file, settings), where)
    layout = LAYOUTS[settings.format] if settings.format in LAYOUTS else layout_of(sheet)
    indices = layout.columns(sheet, settings.columns, where)
    positions = [index for pair in indices.values() for index in pair]
    frame = text_columns(sheet, positions, where)
    bars = bars_of(frame, indices, series, settings, where)
    told = settings.columns or settings.format in set(LAYOUTS) - {"csv"}
    if sheet.header is None and not told and (reason := check_ohlc_order(bars)):
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


def _head(file: SourceFile, settings: DataSettings) -> DelimitedText:
    return read_delimited(content(file.url, file.member, settings.options, limit=HEAD), display_path(file))


def text_values(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name, as String."""
    sheet = read_delimited(read_all(file, settings), display_path(file))
    positions = [(sheet.header or ()).index(name) for name in names]
    frame = text_columns(sheet, positions, display_path(file))
    return frame.select(pl.col(str(position)).alias(name) for position, name in zip(positions, names, strict=True))
