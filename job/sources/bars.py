"""What formats make of a file: a look at its beginning, and bars from its columns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.timeframes import timeframe_of
from job.core.wording import first_of
from job.sources.columns.flags import finished_rows
from job.sources.columns.named import BAR, FINISHED, KEYS, PRICES, TWIN, Indices, positions
from job.sources.columns.numbers import numbers
from job.sources.columns.sides import note_on_side
from job.sources.series import Series
from job.sources.times.columns import Edge, Stamps, choose, with_edge_of_writer
from job.sources.times.decoding import joined, utc
from job.sources.times.names import TIME
from job.sources.times.values import refuse_zone, zone_of
from transforms.bars import FLOW


@dataclass(frozen=True)
class Raw:
    """Rows of one file as bars, not cleaned.

    `edge` is the end of a bar that `timestamp` marks, `proven` if the file shows it, so that `data.bar_time` cannot say
    otherwise. `notes` say what was read how, where this is worth a warning. Where columns have names, `names` are all
    of them, `unused` those that were not read, `volume` that of the volume. `zone` is the one in which a typed column
    of times shows them, if it says one. `flow` says what the file calls those columns of `FLOW` that were read.
    `unfinished` rows were left out, as the column says that `finished` names, or numbers from 1; if there is one.
    """

    bars: pl.DataFrame
    edge: Edge
    proven: bool = False
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    volume: str | None = None
    zone: str | None = None
    flow: Mapping[str, str] = field(default_factory=dict)
    finished: str = ""
    unfinished: int = 0


@dataclass(frozen=True)
class Decided:
    """What files showed, by which it is known whether some of them are read alone as they are among all.

    `alone` says that every file was understood by itself: no order of days and months, no other volume, no lack of flow
    was decided by all files together. `volumes` are what they call the volume, `steps` the timeframes that single
    files have, in microseconds.
    """

    alone: bool = False
    volumes: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()


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
    """Name the columns by their position in the file, as `raw_of` takes them."""
    return frame.rename(dict(zip(frame.columns, map(str, wanted), strict=True)))


def raw_of(  # noqa: PLR0917 - the file, and how to understand it
    frame: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str, names: Sequence[str] = ()
) -> Raw:
    """Bars of one series from columns of a file, and the end of a bar that their times mark.

    Args:
        frame: the columns of `indices`, of any type, named by their position in the file: `0`, `1`, …
        indices: positions by name.
        series: whose rows to take where the file holds several.
        settings: `timezone` of times without one.
        where: the file, for errors.
        names: of all columns of the file; none where it has no header.

    Returns:
        `bars` with `timestamp` Datetime("us", "UTC"), prices and, where the file has it, volume as Float64, in the
        file's order.

    Raises:
        DataError: text stands in a number, no time in a time, or several series in one that nothing tells apart; or
            the column of times is called after a zone, and `timezone` is UTC.
    """
    rows = _own_rows(frame, indices, series, where)
    (place,) = indices.get(FINISHED, (0,))
    finished = names[place] if names else f"{place + 1}"
    own = finished_rows(rows, indices, where, finished, asked=settings.columns.get(FINISHED) is not None)
    stamps = _stamps(own, indices, series, settings, where, names)
    given = [own[str(indices[name][0])].alias(name) for name in BAR[1:] if name in indices]
    bars = pl.DataFrame([stamps.times.alias("timestamp"), *numbers(given, where, decimal=settings.decimal)])
    if twins := {name: own[str(indices[f"{TWIN}{name}"][0])] for name in BAR if f"{TWIN}{name}" in indices}:
        bars = _of_twins(bars, twins, settings, where)
    given = [own[str(indices[name][0])].alias(name) for name in FLOW if name in indices]
    flow, on_flow = list[pl.Series](), tuple[str, ...]()
    try:  # apart from the bars, so that these are the same with flow and without
        flow = numbers(given, where, decimal=settings.decimal)
    except DataError as error:
        on_flow = (f"{', '.join(one.name for one in given)} left out: {error}",)
    used = {*positions(indices)}
    return Raw(
        bars.hstack(flow),
        stamps.edge,
        stamps.proven,
        (*stamps.notes, *(note_on_side(names[indices["open"][0]]) if names else ()), *on_flow),
        names=tuple(names),
        unused=tuple(name for index, name in enumerate(names) if index not in used),
        volume=names[indices["volume"][0]] if names and "volume" in indices else None,
        flow={one.name: names[indices[one.name][0]] if names else f"{indices[one.name][0] + 1}" for one in flow},
        finished=finished,
        unfinished=rows.height - own.height,
    )


def _stamps(  # noqa: PLR0917 - as `raw_of`
    own: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str, names: Sequence[str]
) -> Stamps:
    """Times of rows, from the column that is chosen, or from the one of several that turns out to be it."""
    several = {key.removeprefix(TIME): places for key, places in indices.items() if key.startswith(TIME)}
    if not several or own.is_empty():
        given = [own[str(place)].alias("timestamp") for place in indices["timestamp"]]
        values = given[0] if len(given) == 1 else joined(*given)
        times = utc(values, zone=settings.timezone, where=f"{where}: column 'timestamp'", dates=settings.dates)
        for place in indices["timestamp"] if names else ():
            refuse_zone(zone_of(names[place], values), names[place], settings.timezone, where)
        return with_edge_of_writer(Stamps(times), names)
    chosen = choose(
        {name: [own[str(place)].alias("timestamp") for place in places] for name, places in several.items()},
        timeframe=settings.timeframe or series.timeframe,
        zone=settings.timezone,
        bar_time=settings.bar_time,
        dates=settings.dates,
        where=where,
    )
    return with_edge_of_writer(chosen, names)


def _of_twins(bars: pl.DataFrame, twins: Mapping[str, pl.Series], settings: DataSettings, where: str) -> pl.DataFrame:
    """Bars in which of two columns that differ only in case, `v` and `V`, each is the one that the rows show to be it.

    The volume of a bar is the larger one, of which the other is a part. A price is the one by which the high is the
    highest and the low the lowest. Of two times, `time_columns.choose` finds the one.

    Raises:
        DataError: the rows do not tell.
    """
    # The high of a row is the highest price, and the low the lowest.
    in_order = (pl.col("high") >= pl.max_horizontal(PRICES)) & (pl.col("low") <= pl.min_horizontal(PRICES))
    for name, other in twins.items():
        value = numbers([other.alias(name)], where, decimal=settings.decimal)[0]
        swapped = bars.with_columns(value.alias(name))
        right, wrong = (one.select(in_order).to_series() for one in (bars, swapped))
        if name == "volume":
            right, wrong = bars[name] >= value, bars[name] <= value
        if right.all() == wrong.all():
            raise DataError(
                f"{where}: two columns are called {name}, in small letters and in capitals, and the rows do not tell "
                f"which is meant; set data.columns.{name} to the right one"
            )
        if wrong.all():
            bars = swapped
    return bars


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
