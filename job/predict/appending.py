"""Rows that are added to a file of predictions: made of its last bars and the new ones, with the bits that all give."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from job.core.errors import RegistryError
from job.predict.task import PredictionTask, path_of
from job.registry.predictions import PLAIN, Tail, read_predictions, table_of
from job.storage.files import Storage
from job.worker.context import history_of
from job.worker.messages import SeriesInfo
from transforms.bars import duration_us
from transforms.grids import Grid, windows_of
from transforms.samples import UnlabeledSamples

BITS: Final = 64 * math.log(2) / -math.log(1e-9)
"""Times the long warm-up, after which averages owe 1e-9 to their start, until they owe 2^-64, less than a double can
hold: then they have the same bits wherever bars begin."""
MADE_AGAIN: Final = 32
"""Rows of the file in place that are made again with those that are added: they must have the same bits."""


def next_tail(
    task: PredictionTask,
    bars: pl.DataFrame,
    info: SeriesInfo,
    made: UnlabeledSamples,
    again: Callable[[pl.DataFrame, datetime], UnlabeledSamples],
) -> Tail | None:
    """Return from where on rows can be added to a file; None where too few bars come before, or bits would differ.

    Args:
        task: that makes the file.
        bars: of its series, all or the last ones.
        info: of the series.
        made: the features of its rows, all or the last ones, with the counts of all.
        again: makes features of bars from a time on.
    """
    frame = made.frame.filter("complete") if "complete" in made.frame.columns else made.frame
    if frame.height <= MADE_AGAIN:
        return None
    start = frame["timestamp"][-MADE_AGAIN]
    definition, width = task.definition, duration_us(task.definition.timeframe)
    # From when on bars warm up the one that opens at `start`.
    windows = windows_of(Grid(duration_us(info.timeframe), info.offset_us, info.zone), width)
    held = np.unique(windows.index(bars["timestamp"]))
    warm_bars = math.ceil(BITS * (history_of(definition) / timedelta(microseconds=width)))
    first = int(np.searchsorted(held, windows.index(pl.Series([start]))[0])) - warm_bars
    if first < 1:  # the first window may lack bars
        return None
    since: datetime = windows.starts(held[first : first + 1])[0]
    end = again(bars.filter(pl.col("timestamp") >= since), start)
    if not end.frame.equals(made.frame.tail(end.frame.height)):
        return None
    counts = {name: count - end.counts[name] for name, count in made.counts.items()}
    return Tail(since, start, made.counts["used"] - MADE_AGAIN, counts)


def appended(task: PredictionTask, tail: Tail, rows: pl.DataFrame, output: Storage) -> pa.Table | None:
    """Return the rows of the file in place with those made from `tail` on in place of its last ones.

    None where the file is another by now, or its last rows are not among them, with the same bits.
    """
    try:
        in_place, footer = read_predictions(output, path_of(task.key))
    except (RegistryError, pa.ArrowException):
        return None
    made = table_of(rows)
    last, again = in_place.slice(tail.rows), made.slice(0, MADE_AGAIN)
    if footer != task.held or not last.cast(PLAIN).equals(again.cast(PLAIN)):
        return None
    return pa.concat_tables([in_place.slice(0, tail.rows), made]).unify_dictionaries()
