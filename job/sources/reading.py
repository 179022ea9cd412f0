"""Read the bars of one series, however its files were cut."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.access import as_data_errors, display_path
from job.sources.bars import Decided, Raw
from job.sources.choices import choose_flow, choose_volume
from job.sources.columns.flags import left_out
from job.sources.columns.volumes import unit_of
from job.sources.finished import Written
from job.sources.formats import read_file
from job.sources.grouping.mixtures import refuse_mixture
from job.sources.series import Series, SourceFile
from job.sources.splits import adjusted
from job.sources.times.decoding import Dates, NotATimeError, UnclearDaysError
from job.sources.times.stamps import are_months, openings, short_of, usual_step
from job.sources.words import normal
from job.storage.listing import list_files
from transforms.bars import duration_us, timeframe_name

AT_ONCE: Final = 4
"""Files fetched at the same time: hides the latency of a bucket without holding more than a few of them as text."""

ENOUGH_TO_JUDGE: Final = 10
"""Distinct times that are enough to call a timeframe wrong."""

FEWEST_MONTHS: Final = 4
"""Distinct times that are enough to tell months from gaps."""

STAMPS_AT_ONCE: Final = 16
"""Files asked for at the same time: each is one short request."""


@dataclass(frozen=True)
class SeriesBars:
    """All rows of a series, not cleaned; what was read how, where this is worth a warning; and how far files reach.

    `zones` are those in which typed columns show their times: bars of days may begin on their clocks. `heights` are
    the rows of each file.
    """

    bars: pl.DataFrame
    notes: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    files: tuple[Written, ...] = ()
    heights: tuple[int, ...] = ()
    decided: Decided = field(default_factory=Decided)


def read_series(series: Series, settings: DataSettings, *, flow: bool = False) -> SeriesBars:
    """Read all rows of a series, as they stand in its files, in the order of these.

    With `flow`, the columns of `transforms.bars.FLOW` are read, too, as far as the files have them.

    Returns:
        `bars` with the columns
        timestamp  Datetime("us", "UTC")  open time of the bar
        open, high, low, close  Float64   null where the file has none
        volume     Float64                absent where no file has it, or where it means nothing
        quote_volume, trades, taker_buy_volume  Float64  absent where not all files have it, or it means something else

    Raises:
        DataError: a file cannot be read; the message names it and what to do.
    """
    series = replace(series, flow=flow)

    def with_volume(name: str) -> list[Raw]:
        return _read_files(series, settings.model_copy(update={"columns": {**settings.columns, "volume": name}}))[0]

    read, by_itself = _read_files(series, settings)
    raws, notes = choose_volume(read, settings.columns, with_volume)
    _same_columns(series, raws, settings)
    raws, on_flow = choose_flow(raws, series.files, settings.columns)
    alone = by_itself and all(one.bars.columns == raw.bars.columns and one.volume == raw.volume
                              for one, raw in zip(read, raws, strict=True))  # fmt: skip
    bars = pl.concat([raw.bars for raw in raws])
    if bars.is_empty():
        raise DataError(f"{display_path(series.files[0])}: no rows of {series.symbol}; check that the file is whole")
    distinct = _distinct(bars["timestamp"])
    _check_timeframe(bars["timestamp"], distinct, series, settings)
    steps = _refuse_two_timeframes(raws, series)
    bars, on_times = _at_open(bars, distinct, raws, series, settings)
    said = dict.fromkeys([*(note for raw in raws for note in raw.notes), *on_times, *notes, *on_flow])
    if unfinished := sum(raw.unfinished for raw in raws):
        said[left_out(unfinished, next(raw.finished for raw in raws if raw.unfinished))] = None
    zones = dict.fromkeys(raw.zone for raw in raws if raw.zone)
    files = tuple(_written(bars["timestamp"], raws, series))
    volumes = dict.fromkeys(raw.volume for raw in raws if raw.volume)
    return SeriesBars(
        adjusted(bars, series.splits, settings.timezone),
        tuple(said),
        tuple(zones),
        files,
        heights=tuple(raw.bars.height for raw in raws),
        decided=Decided(alone, tuple(volumes), tuple(steps)),
    )


def _written(times: pl.Series, raws: list[Raw], series: Series) -> Iterator[Written]:
    """Yield what each file with times reaches; `times` are those of all files, one file after the other."""
    first = 0
    for raw, file in zip(raws, series.files, strict=True):
        last = times.slice(first, raw.bars.height).max()
        first += raw.bars.height
        if isinstance(last, datetime):
            yield Written(last, file.modified)


def _read_files(series: Series, settings: DataSettings) -> tuple[list[Raw], bool]:
    """Read every file, and say if each tells days from months by itself; where one does not, all files together do."""
    try:
        return _read_all(series, settings), True
    except UnclearDaysError as error:
        if len(series.files) == 1:
            raise
        unclear = error
    orders: list[Dates] = ["day_first", "month_first"]
    possible: list[list[Raw] | DataError] = []
    for order in orders:
        try:
            possible.append(_read_all(series, settings.model_copy(update={"dates": order})))
        except NotATimeError:
            continue  # not all dates exist in this order
        except DataError as error:  # what else may be wrong with the rows says nothing of the dates
            possible.append(error)
    if len(possible) != 1:
        raise unclear
    (found,) = possible
    if isinstance(found, DataError):
        raise found
    return found, False


def _read_all(series: Series, settings: DataSettings) -> list[Raw]:
    with ThreadPoolExecutor(min(AT_ONCE, len(series.files))) as pool:
        return list(pool.map(lambda file: _read(file, series, settings), series.files))


def _read(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    raw = read_file(file, series, settings)
    with as_data_errors(file):
        refuse_mixture(raw.bars, file, series, file.settings(settings))
    return raw


def _distinct(times: pl.Series) -> pl.Series:
    """Times in order, each once; as they are where they are so already."""
    known = times.drop_nulls()
    return known if (known.to_physical().diff().drop_nulls() > 0).all() else known.unique().sort()


def _check_timeframe(times: pl.Series, distinct: pl.Series, series: Series, settings: DataSettings) -> None:
    """Refuse bars of months, and those of which no two are as far apart as their timeframe.

    Gaps would be filled that are none.
    """
    if distinct.len() >= FEWEST_MONTHS and are_months(distinct):
        raise DataError(
            f"{display_path(series.files[0])}: bars of months, quarters or years, which have no fixed length; "
            "use bars of weeks or of anything shorter"
        )
    named = settings.timeframe or series.timeframe
    if named is None or (times.to_physical().diff().abs() == duration_us(named)).any():
        return
    if distinct.len() < ENOUGH_TO_JUDGE or (distinct.to_physical().diff() == duration_us(named)).any():
        return
    says = "data.timeframe says" if settings.timeframe else "name or column says"
    step = usual_step(distinct)
    raise DataError(
        f"{display_path(series.files[0])}: {says} {named}, but no two rows are that far apart, most are "
        f"{timeframe_name(step) if step else 'no whole number of seconds'}; "
        f"correct the {'setting' if settings.timeframe else 'name'}"
    )


def _refuse_two_timeframes(raws: list[Raw], series: Series) -> list[int]:
    """Refuse files of longer bars beside those of shorter ones, where neither names nor columns tell them apart.

    Longer bars are all on a grid of their step, and at least half of them lie one step after another. Returns the
    steps of the files that have one, in microseconds.
    """
    steps: dict[int, str] = {}
    for raw, file in zip(raws, series.files, strict=True):
        times = _distinct(raw.bars["timestamp"]).to_physical()
        if times.len() < ENOUGH_TO_JUDGE:
            continue
        apart = times.diff().drop_nulls()
        step = int(apart.min())  # type: ignore[arg-type]  # of whole numbers
        if (apart % step == 0).all() and 2 * int((apart == step).sum()) >= apart.len():
            steps.setdefault(step, display_path(file))
    if len(steps) > 1 and series.timeframe_column is None:
        (short, one), *_, (long, other) = sorted(steps.items())
        raise DataError(
            f"{other}: bars of {timeframe_name(long)}, in {one} of {timeframe_name(short)}; name one of them in "
            "data.input, or call their folders after their timeframes, such as 1h"
        )
    return [*steps]


def _same_columns(series: Series, raws: list[Raw], settings: DataSettings) -> None:
    with_volume = ["volume" in raw.bars.columns for raw in raws]
    if any(with_volume) and not all(with_volume):
        file, other = series.files[with_volume.index(False)], series.files[with_volume.index(True)]
        raise DataError(
            f"{display_path(file)}: no column for volume, which {display_path(other)} has; "
            "set data.columns to {volume: NAME}, or to {volume: null} to read none"
        )
    units = {
        unit_of(normal(raw.volume)): number
        for number, raw in enumerate(raws)
        if raw.volume and unit_of(normal(raw.volume))
    }
    if len(units) > 1 and "volume" not in settings.columns:
        first, second = sorted(units.values())[:2]
        raise DataError(
            f"{display_path(series.files[first])}: the volume is {raws[first].volume!r}, in "
            f"{display_path(series.files[second])} it is {raws[second].volume!r}, which counts something else; "
            "set data.columns to {volume: NAME}, or to {volume: null} to read none"
        )


def _at_open(
    bars: pl.DataFrame, distinct: pl.Series, raws: list[Raw], series: Series, settings: DataSettings
) -> tuple[pl.DataFrame, list[str]]:
    """Move times that mark the end of a bar to its beginning, file by file, and say so where the times alone tell."""
    edges = [raw.edge if settings.bar_time == "auto" or raw.proven else settings.bar_time for raw in raws]
    timeframe = settings.timeframe or series.timeframe
    step = duration_us(timeframe) if timeframe else usual_step(distinct)
    if step is None and "close" in edges:
        raise DataError(
            f"{display_path(series.files[0])}: times mark the end of bars, and the rows do not tell how long these "
            "are; set data.timeframe, such as 1m"
        )
    if step is None:
        return bars, []
    by_file = [raw.bars["timestamp"] for raw in raws]
    unsaid = settings.bar_time == "auto"  # which may be told by the times of a file that does not prove otherwise
    short = [short_of(times, step) if edge == "close" or (unsaid and not raw.proven) else 0
             for raw, times, edge in zip(raws, by_file, edges, strict=True)]  # fmt: skip
    if not any(short) and "close" not in edges:
        return bars, []
    told = [late for late, edge in zip(short, edges, strict=True) if late and edge == "open"]
    ends = [late if late or edge == "close" else None for late, edge in zip(short, edges, strict=True)]
    zones = (settings.timezone, *(raw.zone for raw in raws if raw.zone))
    moved = openings(by_file, ends, step, zones)
    notes = [f"times such as {distinct[0]} are taken for ends of bars; set data.bar_time: open if they are not"]
    return bars.with_columns(moved.alias("timestamp")), notes if told else []


def as_listed(series: Series, settings: DataSettings) -> bool:
    """Return whether the files of a series are still those that were listed: none is gone, changed or replaced."""
    stamps = {file.url: file.stamp for file in series.files}

    def same(url: str) -> bool:
        try:
            (found,) = list_files(url, settings.options)
        except DataError:
            return False
        return found.stamp == stamps[url]

    with ThreadPoolExecutor(STAMPS_AT_ONCE) as pool:
        return all(pool.map(same, stamps))
