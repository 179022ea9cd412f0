"""What the clock says of a bar: the minute of its day, its weekday, and how long the market has been open."""

from collections.abc import Iterable
from typing import Final

import numpy as np
import polars as pl

from transforms.bars import Gaps
from transforms.grids import DAY
from transforms.sessions import MINUTE, Sessions, local_times

CLOCK: Final = ("minute_of_day", "day_of_week", "session_minute")
"""Columns, Float64: minutes from midnight to a bar's open time; days from Monday; minutes since the market opened."""
_MINUTES_A_DAY: Final = DAY // MINUTE


def clock_columns(gaps: Gaps) -> tuple[str, ...]:
    """Return those of `CLOCK` that bars have: `session_minute` only where a market opens at some time of the day."""
    return CLOCK if isinstance(gaps, Sessions) and openings(gaps) else CLOCK[:2]


def openings(sessions: Sessions) -> tuple[int, ...]:
    """Return the minutes of the day at which a market opens; none where it is open all day.

    A session that goes on over midnight has one beginning, on the day before.
    """
    spans = sessions.opens
    over_midnight = bool(spans) and spans[0][0] == 0 and spans[-1][1] == _MINUTES_A_DAY
    return tuple(start for start, _ in spans[over_midnight:])


def add_clock(bars: pl.DataFrame, wanted: Iterable[str], *, zone: str, gaps: Gaps) -> pl.DataFrame:
    """Add those of `CLOCK` that are wanted, by the clocks of the market's sessions, or of `zone` where it has none."""
    added = [name for name in CLOCK if name in {*wanted}]
    if not added:
        return bars
    sessions = gaps if isinstance(gaps, Sessions) else None
    times = local_times(bars["timestamp"].to_physical().to_numpy(), sessions.zone if sessions else zone)
    minute = times % DAY / MINUTE
    # Day 0, 1970-01-01, was a Thursday.
    columns = {"minute_of_day": minute, "day_of_week": (times // DAY + 3) % 7 * 1.0}
    if "session_minute" in added and sessions:
        starts = np.array(openings(sessions))  # before the first of them, the last one of the day before counts
        last = starts[np.searchsorted(starts, minute, side="right") - 1]
        columns["session_minute"] = (minute - last) % _MINUTES_A_DAY
    return bars.with_columns(pl.Series(name, columns[name], pl.Float64) for name in added)
