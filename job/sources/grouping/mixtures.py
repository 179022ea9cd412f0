"""Several series in one file under a column that nobody knows: refused, with the setting that splits them."""

import re
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.timeframes import timeframe_of
from job.core.wording import first_of
from job.sources.access import display_path
from job.sources.bars import Look
from job.sources.columns.named import CLOCK, COLUMN_ALIASES, DAY, given, named_columns
from job.sources.formats import read_columns
from job.sources.grouping.evidence import jumps_between
from job.sources.series import Series, SourceFile
from job.sources.times.names import end_named
from job.sources.times.values import is_clock
from job.sources.words import normal, printable, quoted

ROWS_PER_LABEL: Final = 4
"""Rows, at least, that each value of a column has on average, if it tells series apart."""

ROWS_PER_NUMBER: Final = 20
"""The same for a column of numbers, which may as well count something."""

_IDENTIFIER: Final = re.compile(r"(?:.*_)?(?:id|code|number|contract|instrument|asset|security|stock)|.*id")
"""Names of columns whose numbers may stand for series."""

FEW_REPEATS: Final = 0.01
"""Share of rows at times that come again with other values, up to which they are revised or damaged bars."""


MOST_REPEATS: Final = 0.5
"""The same, from where on the times alone name no bars."""

_CLOCK: Final = r"^(?:\d{1,2}:\d\d.*|\d{1,6})$"


def unknown_columns(look: Look, settings: DataSettings) -> tuple[str, ...]:
    """Names of the columns of a file that are read as nothing."""
    known = {alias for aliases in COLUMN_ALIASES.values() for alias in aliases} | {*DAY, *CLOCK}
    mapped = {name for item in given(settings.columns).items() for name in named_columns(*item, look.names)}
    return tuple(
        name
        for name in look.names
        if name
        and (normal(name) not in known or (normal(name) == "index_level_0" and name in look.text))
        and name not in mapped
        and end_named(normal(name)) is None
    )


def refuse_mixture(bars: pl.DataFrame, file: SourceFile, series: Series, settings: DataSettings) -> None:
    """Refuse bars of one file that are of several series, as a column shows that is read as nothing.

    Raises:
        DataError: a column holds several values, and either times come again with other prices under another value, or
            prices jump where the value changes.
    """
    steps = bars["timestamp"].to_physical().diff().drop_nulls()
    in_order = bars.is_empty() or (steps > 0).all() or (steps < 0).all()
    # The share of rows at a time at which another row has another close.
    repeats = 0.0 if in_order else bars.select((pl.col("close").n_unique().over("timestamp") > 1).mean()).item()
    if repeats > MOST_REPEATS:
        _refuse_days(bars, file, series, settings)
    names = [
        name
        for name in file.unread
        if name in file.labels or repeats > MOST_REPEATS or _IDENTIFIER.fullmatch(normal(name))
    ]
    if not names or bars.height < 2 * ROWS_PER_LABEL:
        return
    values = _own_values(names, file, series, settings)
    if values.height != bars.height:
        return
    for name in names:
        labels = values[name].cast(pl.String).str.strip_chars()
        distinct = labels.drop_nulls().unique().sort()
        least = ROWS_PER_LABEL if name in file.labels else ROWS_PER_NUMBER
        if not 2 <= distinct.len() <= bars.height / least:
            continue
        by_jumps = name in file.labels or _IDENTIFIER.fullmatch(normal(name)) is not None
        labeled = bars.with_columns(label=labels)
        if repeats > FEW_REPEATS and labeled.select("timestamp", "label").is_unique().all():
            reason = "times come again with other prices where it changes"
        elif by_jumps and jumps_between(labeled):
            reason = "prices jump where it changes"
        else:
            continue
        remedy = f"set data.columns.symbol={printable(name)} to read each by itself"
        if all(timeframe_of(value) for value in distinct):
            remedy = f"split the file by {printable(name)!r}"
        raise DataError(
            f"{display_path(file)}: column {quoted(name)} holds {first_of(map(printable, distinct), 3)}, and {reason}, "
            f"as in several series; {remedy}, or leave the column out if they are one"
        )


def _refuse_days(bars: pl.DataFrame, file: SourceFile, series: Series, settings: DataSettings) -> None:
    """Refuse days that repeat where another column holds the clocks of their bars: with these, all times differ."""
    values = _own_values([*file.unread], file, series, settings)
    if values.height != bars.height or bars["timestamp"].dt.time().n_unique() > 1:
        return
    for name in file.unread:
        timed = bars.select("timestamp", clock=values[name].cast(pl.String).str.strip_chars())
        if is_clock(values[name]) and timed["clock"].str.contains(_CLOCK).all() and timed.is_unique().all():
            raise DataError(
                f"{display_path(file)}: days repeat, and column {quoted(name)} seems to hold the clocks of their bars; "
                f"set data.columns.timestamp=DAY+{printable(name)}, with the name of the column of days for DAY"
            )


def _own_values(names: list[str], file: SourceFile, series: Series, settings: DataSettings) -> pl.DataFrame:
    """Columns of a file, of the rows of one series where known columns tell several apart."""
    keys = {series.symbol_column: series.symbol, series.exchange_column: series.exchange}
    own = {name: value for name, value in keys.items() if name is not None}
    values = read_columns(file, [*names, *own], settings)
    return values.filter(*(pl.col(name).cast(pl.String).str.strip_chars() == value for name, value in own.items()))
