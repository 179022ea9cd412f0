"""What formats make of a file: a look at its beginning, and bars from its columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.timeframes import timeframe_of
from job.core.wording import first_of
from job.sources.columns import BAR, KEYS, Indices, numbers
from job.sources.series import Series
from job.sources.time_columns import Edge, Stamps, choose
from job.sources.time_names import TIME
from job.sources.times import joined, utc


@dataclass(frozen=True)
class Raw:
    """Rows of one file as bars, not cleaned.

    `edge` is the end of a bar that `timestamp` marks, `proven` if the file shows it, so that `data.bar_time` cannot say
    otherwise. `notes` say what was read how, where this is worth a warning.
    """

    bars: pl.DataFrame
    edge: Edge
    proven: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """What the beginning of a file shows: its format and, where columns have names, these and the first row as text.

    `text` are the names of the columns that hold text, neither numbers nor times as far as can be seen.
    """

    format: str
    names: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


def by_position(frame: pl.DataFrame, wanted: Sequence[int]) -> pl.DataFrame:
    """Name the columns by their position in the file, as `bars_of` takes them."""
    return frame.rename(dict(zip(frame.columns, map(str, wanted), strict=True)))


def bars_of(frame: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str) -> pl.DataFrame:
    """Bars of one series from columns of a file, as `raw_of` finds them."""
    return raw_of(frame, indices, series, settings, where).bars


def raw_of(frame: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str) -> Raw:
    """Bars of one series from columns of a file, and the end of a bar that their times mark.

    Args:
        frame: the columns of `indices`, of any type, named by their position in the file: `0`, `1`, …
        indices: positions by name.
        series: whose rows to take where the file holds several.
        settings: `timezone` of times without one.
        where: the file, for errors.

    Returns:
        `bars` with `timestamp` Datetime("us", "UTC"), prices and, where the file has it, volume as Float64, in the
        file's order.

    Raises:
        DataError: text stands in a number, no time in a time, or several series in one that nothing tells apart.
    """
    own = _own_rows(frame, indices, series, where)
    stamps = _stamps(own, indices, series, settings, where)
    values = [numbers(own[str(indices[name][0])].alias(name), where) for name in BAR[1:] if name in indices]
    return Raw(pl.DataFrame([stamps.times.alias("timestamp"), *values]), stamps.edge, stamps.proven, stamps.notes)


def _stamps(own: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str) -> Stamps:
    """Times of rows, from the column that is chosen, or from the one of several that turns out to be it."""
    several = {key.removeprefix(TIME): places for key, places in indices.items() if key.startswith(TIME)}
    if not several or own.is_empty():
        given = [own[str(place)].alias("timestamp") for place in indices["timestamp"]]
        times = given[0] if len(given) == 1 else joined(*given)
        return Stamps(utc(times, zone=settings.timezone, where=f"{where}: column 'timestamp'", dates=settings.dates))
    return choose(
        {name: [own[str(place)].alias("timestamp") for place in places] for name, places in several.items()},
        timeframe=settings.timeframe or series.timeframe,
        zone=settings.timezone,
        bar_time=settings.bar_time,
        dates=settings.dates,
        where=where,
    )


def _own_rows(frame: pl.DataFrame, indices: Indices, series: Series, where: str) -> pl.DataFrame:
    """Rows of `series` by the columns that tell series apart."""
    chosen = {"symbol": series.symbol_column, "exchange": series.exchange_column, "timeframe": series.timeframe_column}
    for key in KEYS:
        if key not in indices:
            continue
        column = frame[str(indices[key][0])].cast(pl.String).str.strip_chars()
        if chosen[key] is not None and key == "timeframe":
            spelled = [text for text in column.drop_nulls().unique() if timeframe_of(text) == series.timeframe]
            frame = frame.filter(column.is_in(spelled))
        elif chosen[key] is not None:
            frame = frame.filter(column == {"symbol": series.symbol, "exchange": series.exchange}[key])
        elif (several := sorted(column.drop_nulls().unique()))[1:]:
            raise DataError(
                f"{where}: holds several {key}s ({first_of(several, 4)}) under one name; split it, or rename it"
            )
    return frame
