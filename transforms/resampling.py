"""Bars of longer timeframes, made from shorter ones."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import polars.selectors as cs

from transforms.bars import FLOW, Gaps, duration_us
from transforms.grids import Grid, windows_of
from transforms.sessions import CLOSURE, Sessions

_ROUNDING: Final = 1e-9
_STUB: Final = 0.25
"""Share of its opening hours that a bar must hold where a market has sessions: half a trading day is a day, the two
hours of a Sunday evening are none."""


@dataclass(frozen=True)
class Resampled:
    """Result of `resample`: `counts` has `unfinished` and `low_coverage`, the bars that were left out."""

    bars: pl.DataFrame
    counts: dict[str, int]


def resample(
    bars: pl.DataFrame,
    *,
    source: str,
    timeframe: str,
    offset_us: int = 0,
    min_coverage: float = 0.8,
    gaps: Gaps = "segment",
    zone: str = "UTC",
) -> Resampled:
    """Make bars of `timeframe` from bars of `source`: windows closed and labeled on the left.

    Windows start at whole multiples of the timeframe since 1970, plus `offset_us`, on the clocks of `zone`; weeks on
    Monday (see `transforms.grids.windows_of`). The last bar is left out as `unfinished` unless its last source bar is
    there. A bar with fewer than `min_coverage` of its source bars is left out as `low_coverage`, unless `gaps` is
    `ignore`. Where a market has sessions, no source bars are expected while it is closed, and a bar that holds less
    than a quarter of its opening hours is left out, too.

    Raises:
        ValueError: `timeframe` is finer than `source`, or no multiple of it.
    """
    step, source_step = duration_us(timeframe), duration_us(source)
    if step < source_step:
        raise ValueError(f"timeframe {timeframe} is finer than the data's {source}; use {source} or a multiple of it")
    if step % source_step:
        raise ValueError(f"timeframe {timeframe} is no multiple of the data's {source}; use one that is")
    if step == source_step or bars.is_empty():
        return Resampled(bars, {"unfinished": 0, "low_coverage": 0})
    sources = Grid(source_step, offset_us, zone)
    windows = windows_of(sources, step)
    joined = _aggregate(bars, windows)
    end = int(windows.closes(joined["timestamp"].tail(1)).to_physical()[0])
    last = int(sources.closes(bars["timestamp"].tail(1)).to_physical()[0])
    unfinished = int(last < end)
    if unfinished and isinstance(gaps, Sessions) and gaps.opens:
        # No more bars come where the market is closed until the end, as far as the hours of its day tell.
        unfinished = int(gaps.open_us(np.array([last]), np.array([end - last]))[0] != 0)
    finished = joined.head(joined.height - unfinished)
    if isinstance(gaps, Sessions):
        covered = _covers_sessions(finished, windows, bars["timestamp"], sources, gaps, min_coverage=min_coverage)
    else:
        covered = finished["rows"] >= (0 if gaps == "ignore" else min_coverage * (step // source_step) - _ROUNDING)
    valid = finished.filter(covered).drop("rows")
    return Resampled(valid, {"unfinished": unfinished, "low_coverage": finished.height - valid.height})


def _covers_sessions(
    joined: pl.DataFrame, windows: Grid, times: pl.Series, sources: Grid, sessions: Sessions, *, min_coverage: float
) -> pl.Series:
    """Return which windows hold enough of the bars of their time, given the `times` of the source's bars."""
    missing = sessions.missing_before(times, sources)
    missing[missing * sources.step_us >= CLOSURE] = 0
    before = np.repeat(np.cumsum(missing), missing) - np.arange(missing.sum())
    # When bars are missing while the market is open, in order.
    holes = sources.moved(times[np.repeat(np.arange(times.len()), missing)], -before).to_physical().to_numpy()
    starts, rows = joined["timestamp"].to_physical().to_numpy(), joined["rows"].to_numpy()
    ends = windows.closes(joined["timestamp"]).to_physical().to_numpy()
    window = np.searchsorted(starts, holes, side="right") - 1
    within = (window >= 0) & (holes < ends[window])
    lacking = np.bincount(window[within], minlength=starts.size)
    opening = sessions.open_us(starts, ends - starts)
    enough = rows >= min_coverage * (rows + lacking) - _ROUNDING
    return pl.Series(enough & (rows * sources.step_us >= _STUB * opening))


def _aggregate(bars: pl.DataFrame, windows: Grid) -> pl.DataFrame:
    """Return one row per window that holds any bar, with `rows`, the number of bars in it.

    NumPy adds the volumes of a window one after the other, so their sum has the same bits on any number of threads. A
    window has none where one of its bars has none.
    """
    window = windows.index(bars["timestamp"])
    first = np.flatnonzero(np.diff(window, prepend=window[0] - 1))
    last = np.append(first[1:], window.size) - 1
    values = {name: bars[name].to_numpy() for name in bars.columns if name != "timestamp"}
    columns = {
        "open": values["open"][first],
        "high": np.maximum.reduceat(values["high"], first),
        "low": np.minimum.reduceat(values["low"], first),
        "close": values["close"][last],
    }
    for name in ("volume", *FLOW):
        if name in values:
            columns[name] = np.add.reduceat(values[name], first)
    joined = pl.DataFrame({"timestamp": windows.starts(window[first]), **columns, "rows": last - first + 1})
    return joined.with_columns(cs.by_name(FLOW, require_all=False).fill_nan(None))
