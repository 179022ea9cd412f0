"""Several series in one file under a column that nobody knows as their name: refused, with the setting that splits them."""

from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.access import display_path
from job.sources.bars import Look
from job.sources.columns import COLUMN_ALIASES, DAY, CLOCK, normal, printable, quoted
from job.sources.evidence import jumps_between
from job.sources.formats import FORMATS
from job.sources.series import Series, SourceFile
from job.storage.messages import with_retries

ROWS_PER_LABEL: Final = 4
"""Rows, at least, that each value of a column has on average, if it tells series apart."""

ROWS_PER_NUMBER: Final = 20
"""The same for a column of numbers, which may as well count something."""

FEW_REPEATS: Final = 0.01
"""Share of rows at times that come again with other values, up to which they are revised or damaged bars."""


def unknown_columns(look: Look, settings: DataSettings) -> tuple[str, ...]:
    """Names of the columns of a file that are read as nothing."""
    known = {alias for aliases in COLUMN_ALIASES.values() for alias in aliases} | {*DAY, *CLOCK}
    mapped = set(settings.columns.values())
    return tuple(name for name in look.names if name and normal(name) not in known and name not in mapped)


def refuse_mixture(bars: pl.DataFrame, file: SourceFile, series: Series, settings: DataSettings) -> None:
    """Refuse bars of one file that are of several series, as a column shows that is read as nothing.

    Raises:
        DataError: a column holds several values, and either times come again with other prices under another value, or
            prices jump where the value changes.
    """
    repeats = _share_repeated(bars)
    names = [name for name in file.unread if name in file.labels or repeats > 0.5]
    if not names or bars.height < 2 * ROWS_PER_LABEL:
        return
    keys = [name for name in (series.symbol_column, series.exchange_column, series.timeframe_column) if name]
    if keys:
        return  # the file tells its series apart already
    values = with_retries(file.url, settings.options, lambda: FORMATS[file.format].values(file, names, settings))
    for name in names:
        labels = values[name].cast(pl.String).str.strip_chars()
        distinct = labels.drop_nulls().unique().sort()
        least = ROWS_PER_LABEL if name in file.labels else ROWS_PER_NUMBER
        if values.height != bars.height or not 2 <= distinct.len() <= bars.height / least:
            continue
        if reason := _several(bars.with_columns(label=labels), repeats, by_jumps=name in file.labels):
            raise DataError(
                f"{display_path(file)}: column {quoted(name)} holds {first_of(map(printable, distinct), 3)}, and {reason}, "
                f"as in several series; set data.columns.symbol={printable(name)} to read each by itself, or leave "
                "the column out if they are one"
            )


def _several(labeled: pl.DataFrame, repeats: float, *, by_jumps: bool) -> str | None:
    apart = labeled.select("timestamp", "label").is_unique().all()
    if repeats > FEW_REPEATS and apart:
        return "times come again with other prices where it changes"
    return "prices jump where it changes" if by_jumps and jumps_between(labeled) else None


def _share_repeated(bars: pl.DataFrame) -> float:
    """Share of rows at a time at which another row has another close."""
    steps = bars["timestamp"].to_physical().diff().drop_nulls()
    if bars.is_empty() or (steps > 0).all() or (steps < 0).all():
        return 0.0
    several = bars.select(pl.col("close").n_unique().over("timestamp") > 1).to_series()
    return float(several.sum()) / bars.height
