"""What the times of a whole series show: that they are ends of bars, or that the bars are months."""

from collections.abc import Sequence
from typing import Final

import polars as pl

from transforms.bars import duration_us, infer_timeframe
from transforms.grids import DAY, HOUR, grid_of, instants, wall_us

MINUTE: Final = 60_000_000
_SHORT_OF: Final = (1, 1_000, 1_000_000)
"""Microseconds before a full minute at which only the end of a bar is written: `23:59:59.999`."""

_MOST: Final = 0.98
_MOST_MONTHS: Final = 0.9
_MONTHS: Final = (1, 3, 6, 12)
"""Months from one bar to the next: months, quarters, halves of a year and years."""


def usual_step(distinct: pl.Series) -> int | None:
    """Most common step between sorted distinct times, in microseconds; None where there is none."""
    try:
        return duration_us(infer_timeframe(distinct))
    except ValueError:
        return None


def short_of(times: pl.Series, step_us: int) -> int:
    """Microseconds by which times give themselves away as ends of bars of `step_us`; 0 where they do not.

    Nobody opens a bar of minutes at `…:59.999`, or one of hours or days at `23:59`.
    """
    if step_us % MINUTE or times.null_count() == times.len():
        return 0
    known = times.drop_nulls().to_physical()
    short = [(micros, MINUTE) for micros in _SHORT_OF]
    short += [(MINUTE, HOUR)] if step_us % HOUR == 0 else []
    return next((micros for micros, of in short if int((known % of == of - micros).sum()) >= _MOST * known.len()), 0)


def openings(files: Sequence[pl.Series], late: Sequence[int | None], step_us: int, zones: Sequence[str]) -> pl.Series:
    """Open times of the bars of all files, of which times, and microseconds after them, are the ends.

    Bars that are on one grid only on the clocks of a zone begin a bar earlier by these clocks. That is seen in all
    files together: one alone may begin with the day on which clocks were changed.

    Args:
        files: times of each file.
        late: for each file, by how much bars end after its times; None where these are open times.
        step_us: length of a bar.
        zones: on whose clocks the bars may begin, tried before all others.
    """
    ends = [
        times if by is None else (times.to_physical() + by).cast(times.dtype)
        for times, by in zip(files, late, strict=True)
    ]
    distinct = pl.concat([times for times, by in zip(ends, late, strict=True) if by is not None])
    distinct = distinct.drop_nulls().unique().sort()
    zone = grid_of(distinct, step_us, zones=zones).zone if distinct.len() else "UTC"
    opens = []
    for times, by in zip(ends, late, strict=True):
        if by is None:
            opens.append(times)
        elif zone == "UTC":
            opens.append((times.to_physical() - step_us).cast(times.dtype))
        else:
            opens.append(instants(wall_us(times, zone) - step_us, zone, twice="earliest").cast(times.dtype))
    return pl.concat(opens)


def are_months(distinct: pl.Series) -> bool:
    """Whether sorted distinct times are of months, quarters or years: one in each, and not equally far apart.

    Some may be missing. They may lie on the first or on the last day of business, or begin in a zone before UTC.
    """
    days = (distinct.to_physical().diff().drop_nulls() + HOUR) // DAY
    if days.is_empty() or days.eq(days.mode()[0]).sum() > _MOST * days.len():
        return False
    late = (distinct.to_physical() + DAY // 2).cast(distinct.dtype)
    months = (late.dt.year().cast(pl.Int64) * 12 + late.dt.month()).diff().drop_nulls()
    return any(int((months == count).sum()) >= _MOST_MONTHS * months.len() for count in _MONTHS)
