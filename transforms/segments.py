"""Segments: the parts of a series that no window may leave."""

import math
from typing import Final

import numpy as np
import polars as pl

from transforms.bars import FLOW, Gaps, duration_us
from transforms.grids import Grid, Ints
from transforms.sessions import Sessions

JUMP: Final = 0.5
"""A close-to-close log return beyond this, either way, is a split or a bad tick, not trading."""


def segment(
    bars: pl.DataFrame, *, timeframe: str, max_fill: int = 5, gaps: Gaps = "segment", grid: Grid | None = None
) -> pl.DataFrame:
    """Fill short gaps and number the segments that no window may cross.

    Up to `max_fill` missing bars in a row are filled flat: the close before them for all prices, volume 0. With
    `gaps="ignore"` bars count as contiguous whatever lies between them, and nothing is filled; with `Sessions` they do
    where a closing time lies between them, and bars that are missing in a session are filled or cut as elsewhere.
    `grid` is the bars' own, where it is not UTC's: there, no bar is missing where clocks are set forward or back.

    Adds:
        filled          Boolean  made here, not in the data
        contiguous_run  UInt32   counts up at each gap that was not filled
        segment         UInt32   counts up there and at each jump: |ln(close / previous close)| > 0.5
    """
    grid = grid or Grid(duration_us(timeframe))
    if isinstance(gaps, Sessions):
        missing = gaps.missing_before(bars["timestamp"], grid)
    else:
        missing = grid.missing_before(bars["timestamp"]) * (gaps == "segment")
    gap = missing > max_fill
    filled = _fill(bars.with_columns(gap=gap), np.where(gap, 0, missing), grid)
    ratio = pl.col("close") / pl.col("close").shift(1)
    jump = ~ratio.is_between(math.exp(-JUMP), math.exp(JUMP)).fill_null(value=True)  # a log takes several times as long
    return filled.with_columns(
        contiguous_run=pl.col("gap").cum_sum().cast(pl.UInt32),
        segment=(pl.col("gap") | jump).cum_sum().cast(pl.UInt32),
    ).drop("gap")


def _fill(bars: pl.DataFrame, missing: Ints, grid: Grid) -> pl.DataFrame:
    """Put `missing[i]` flat bars before bar i, and add `filled`."""
    if not missing.any():
        return bars.with_columns(filled=pl.lit(value=False))
    gaps = np.flatnonzero(missing)
    copies = missing[gaps]
    following = np.repeat(gaps, copies)  # one for each bar that is made: the real one after it
    after = np.arange(1, following.size + 1) - np.repeat(np.cumsum(copies) - copies, copies)
    made = np.zeros(bars.height + following.size, dtype=np.bool_)
    made[following + np.arange(following.size)] = True
    times = grid.moved(bars["timestamp"][following - 1], after)
    repeated = bars[np.insert(np.arange(bars.height), following, following - 1)].with_columns(filled=pl.Series(made))
    volumes = [name for name in ("volume", *FLOW) if name in bars.columns]
    return repeated.with_columns(
        repeated["timestamp"].scatter(np.flatnonzero(made), times),
        *(pl.when("filled").then("close").otherwise(name).alias(name) for name in ("open", "high", "low")),
        *(pl.when("filled").then(0.0).otherwise(name).alias(name) for name in volumes),
        gap=pl.col("gap") & ~pl.col("filled"),
    )


def positions(segments: pl.Series) -> Ints:
    """Count, for each row, the rows of its segment before it; rows of a segment stand together."""
    numbers = segments.to_numpy()
    first = np.append(0, np.flatnonzero(numbers[1:] != numbers[:-1]) + 1)
    position = np.arange(numbers.size)
    position -= np.repeat(first, np.diff(np.append(first, numbers.size)))
    return position
