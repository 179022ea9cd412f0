"""What formats make of a file: a look at its beginning, and bars from its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.columns import BAR, KEYS, PRICES, TWIN, Indices, numbers, positions
from job.sources.series import Series
from job.sources.timeframes import timeframe_of
from job.sources.times import utc

Edge = Literal["open", "close"]
"""Which end of a bar its time marks."""


@dataclass(frozen=True)
class Raw:
    """Rows of one file as bars, not cleaned. `edge` is the end of a bar that `timestamp` marks.

    Where columns have names, `names` are all of them, `unused` those that were not read, `volume` that of the volume.
    """

    bars: pl.DataFrame
    edge: Edge
    names: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    volume: str | None = None


@dataclass(frozen=True)
class Look:
    """What the beginning of a file shows: its format and, where columns have names, these and the first row as text.

    `text` are the names of the columns that hold text, neither numbers nor times as far as can be seen.
    """

    format: str
    names: tuple[str, ...] = ()
    first: tuple[str, ...] = ()
    text: tuple[str, ...] = ()


def named(raw: Raw, indices: Indices, names: Sequence[str]) -> Raw:
    """Add what the names of the columns say, of which there are none where there is no header."""
    if not names:
        return raw
    used = {*positions(indices)}
    unused = tuple(name for index, name in enumerate(names) if index not in used)
    volume = names[indices["volume"][0]] if "volume" in indices else None
    return replace(raw, names=tuple(names), unused=unused, volume=volume)


def by_position(frame: pl.DataFrame, wanted: Sequence[int]) -> pl.DataFrame:
    """Name the columns by their position in the file, as `bars_of` takes them."""
    return frame.rename(dict(zip(frame.columns, map(str, wanted), strict=True)))


def raw_of(frame: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str) -> Raw:
    """Bars of one series from columns of a file, as `bars_of` finds them, with the times of their open."""
    return Raw(bars_of(frame, indices, series, settings, where), "open")


def bars_of(frame: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str) -> pl.DataFrame:
    """Bars of one series from columns of a file.

    Args:
        frame: the columns of `indices`, of any type, named by their position in the file: `0`, `1`, …
        indices: positions by name.
        series: whose rows to take where the file holds several.
        settings: `timezone` of times without one.
        where: the file, for errors.

    Returns:
        `timestamp` Datetime("us", "UTC"), prices and, where the file has it, volume as Float64, in the file's order.

    Raises:
        DataError: text stands in a number, no time in a time, or several series in one that nothing tells apart.
    """
    own = _own_rows(frame, indices, series, where)
    given = [own[str(index)].alias("timestamp") for index in indices["timestamp"]]
    times = given[0] if len(given) == 1 else given[0].cast(pl.String) + " " + given[1].cast(pl.String)
    timestamp = utc(times, zone=settings.timezone, where=f"{where}: column 'timestamp'")
    given = [own[str(indices[name][0])].alias(name) for name in BAR[1:] if name in indices]
    values = numbers(given, where, decimal=settings.decimal)
    bars = pl.DataFrame([timestamp, *values])
    twins = {name: own[str(indices[f"{TWIN}{name}"][0])] for name in BAR if f"{TWIN}{name}" in indices}
    return _of_twins(bars, twins, settings, where) if twins else bars


def _of_twins(bars: pl.DataFrame, twins: Mapping[str, pl.Series], settings: DataSettings, where: str) -> pl.DataFrame:
    """Bars in which of two columns that differ only in case, `t` and `T`, each is the one that the rows show to be it.

    The time of a bar is the earlier one, its volume the larger one, of which the other is a part. A price is the one by
    which the high is the highest and the low the lowest.

    Raises:
        DataError: the rows do not tell.
    """
    for name, other in twins.items():
        if name == "timestamp":
            late = utc(other.alias(name), zone=settings.timezone, where=f"{where}: column {name!r}")
            right, wrong = bars[name] <= late, bars[name] >= late
        else:
            value = numbers([other.alias(name)], where, decimal=settings.decimal)[0]
            swapped = bars.with_columns(value.alias(name))
            right, wrong = (_in_order(one) for one in (bars, swapped))
            if name == "volume":
                right, wrong = bars[name] >= value, bars[name] <= value
        if right.all() == wrong.all():
            raise DataError(
                f"{where}: two columns are called {name}, in small letters and in capitals, and the rows do not tell "
                f"which is meant; set data.columns.{name} to the right one"
            )
        if wrong.all():
            bars = bars.with_columns((late if name == "timestamp" else value).alias(name))
    return bars


def _in_order(bars: pl.DataFrame) -> pl.Series:
    """Whether the high of each row is the highest price, and the low the lowest."""
    highest, lowest = pl.max_horizontal(PRICES), pl.min_horizontal(PRICES)
    return bars.select((pl.col("high") >= highest) & (pl.col("low") <= lowest)).to_series()


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
