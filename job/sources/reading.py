"""Read the bars of one series, however its files were cut."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.access import as_data_errors, display_path
from job.sources.bars import Edge, Raw
from job.sources.formats import FORMATS
from job.sources.mixtures import refuse_mixture
from job.sources.series import Series, SourceFile
from job.storage.listing import list_files
from job.storage.messages import with_retries
from transforms.bars import duration_us, infer_timeframe

AT_ONCE: Final = 4
"""Files fetched at the same time: hides the latency of a bucket without holding more than a few of them as text."""

ENOUGH_TO_JUDGE: Final = 10
"""Distinct times that are enough to call a timeframe wrong."""

STAMPS_AT_ONCE: Final = 16
"""Files asked for at the same time: each is one short request."""


def read_series(series: Series, settings: DataSettings) -> pl.DataFrame:
    """Read all rows of a series, as they stand in its files, in the order of these.

    Returns:
        timestamp  Datetime("us", "UTC")  open time of the bar
        open, high, low, close  Float64   null where the file has none
        volume     Float64                absent where no file has it

    Raises:
        DataError: a file cannot be read; the message names it and what to do.
    """
    with ThreadPoolExecutor(min(AT_ONCE, len(series.files))) as pool:
        raws = list(pool.map(lambda file: _read(file, series, settings), series.files))
    _same_columns(series, raws)
    edges = [raw.edge if settings.bar_time == "auto" else settings.bar_time for raw in raws]
    bars = pl.concat([raw.bars for raw in raws])
    if bars.is_empty():
        raise DataError(f"{display_path(series.files[0])}: no rows of {series.symbol}; check that the file is whole")
    _check_timeframe(bars["timestamp"], series, settings)
    return _at_open(bars, edges, [raw.bars.height for raw in raws], series, settings) if "close" in edges else bars


def _read(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    with as_data_errors(file):
        raw = with_retries(file.url, settings.options, lambda: FORMATS[file.format].read(file, series, settings))
        refuse_mixture(raw.bars, file, series, settings)
        return raw


def _check_timeframe(times: pl.Series, series: Series, settings: DataSettings) -> None:
    """Refuse bars of which no two are as far apart as their timeframe: gaps would be filled that are none."""
    named = settings.timeframe or series.timeframe
    if named is None or (times.to_physical().diff().abs() == duration_us(named)).any():
        return
    distinct = times.drop_nulls().unique().sort()
    if distinct.len() < ENOUGH_TO_JUDGE or (distinct.to_physical().diff() == duration_us(named)).any():
        return
    says = "data.timeframe says" if settings.timeframe else "name or column says"
    raise DataError(
        f"{display_path(series.files[0])}: {says} {named}, but no two rows are that far apart, most are "
        f"{_step(distinct)}; correct the {'setting' if settings.timeframe else 'name'}"
    )


def _step(distinct: pl.Series) -> str:
    try:
        return infer_timeframe(distinct)
    except ValueError:
        return "no whole number of seconds"


def _same_columns(series: Series, raws: list[Raw]) -> None:
    with_volume = ["volume" in raw.bars.columns for raw in raws]
    if any(with_volume) and not all(with_volume):
        file, other = series.files[with_volume.index(False)], series.files[with_volume.index(True)]
        raise DataError(
            f"{display_path(file)}: no column for volume, which {display_path(other)} has; "
            "set data.columns to {volume: NAME}"
        )


def _at_open(
    bars: pl.DataFrame, edges: list[Edge], heights: list[int], series: Series, settings: DataSettings
) -> pl.DataFrame:
    """Move times that mark the end of a bar to its beginning."""
    timeframe = settings.timeframe or series.timeframe
    if timeframe is None:
        timeframe = _inferred(bars, series)
    step = duration_us(timeframe)
    shifts = [step if edge == "close" else 0 for edge in edges]
    shift = pl.concat(
        [pl.repeat(one, height, eager=True, dtype=pl.Int64) for one, height in zip(shifts, heights, strict=True)]
    )
    return bars.with_columns(pl.col("timestamp") - shift.cast(pl.Duration("us")))


def _inferred(bars: pl.DataFrame, series: Series) -> str:
    try:
        return infer_timeframe(bars["timestamp"].drop_nulls().unique().sort())
    except ValueError:
        raise DataError(
            f"{display_path(series.files[0])}: times mark the end of bars, and the rows do not tell how long these "
            "are; set data.timeframe, such as 1m"
        ) from None


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
