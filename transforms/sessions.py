"""Sessions: when a market is open, as its bars tell, and which gaps are closing times rather than missing bars.

A market has sessions where it is closed at the same times of every week, or of every day: stocks, futures, currencies.
Everything here follows from the times of bars alone, so equal bars always give equal sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl

from transforms.grids import DAY, HOUR, TIME, WEEK, Grid, Ints, wall_us

MINUTE: Final = 60_000_000

SLOT: Final = 15 * MINUTE
"""Opening hours are told to the quarter of an hour: the usual ones begin and end on one, and an illiquid stock trades
in most of its quarters, but not in most of its minutes."""
ZONES: Final = ("UTC", "America/New_York", "Europe/London", "Australia/Sydney")
"""Zones in which hours are looked for. Clocks of North America change together, as do those of Europe, so one city
stands for each; markets whose clocks never change keep their hours in UTC."""
CRISPER: Final = 0.01
"""By how much hours must be clearer in a zone than in UTC for the zone to be taken."""

WEEKS: Final = 3
DAYS: Final = 5
"""Weeks, or days, with bars from which on a time that never has any counts as closed."""
RARELY: Final = 0.1
"""Share of weeks or days in which a closed hour may have bars all the same."""
CLOSED_AT_LEAST: Final = 1 / 7
"""Share of all time for which a market with sessions is closed: a day of the week, or three and a half hours a day."""
MOSTLY: Final = 0.5
REGULARLY: Final = 0.8
"""Share of days or weeks in which the open hours must have bars: few of them with many holes leave some hours without
bars by chance."""

CLOSURE: Final = 12 * HOUR
"""Where a market has sessions, nothing that lasts as long as this is a hole: it is a night, a weekend, a holiday."""
LONGEST_CLOSURE: Final = 14 * DAY
"""Longer than exchanges close for any holiday: what lasts longer is missing."""


@dataclass(frozen=True)
class Sessions:
    """Opening hours: `opens` are [from, to) in minutes after midnight in `zone`; none for bars of a day."""

    zone: str
    opens: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        spans = [f"{_clock(start)}-{_clock(end)}" for start, end in self.opens]
        if not spans:
            return "trading days"
        return "around the clock on trading days" if spans == ["00:00-24:00"] else f"{', '.join(spans)} {self.zone}"

    def record(self) -> dict[str, Any]:
        """Return them as JSON values, from which `of_record` makes equal ones."""
        return {"zone": self.zone, "open": [[_clock(start), _clock(end)] for start, end in self.opens]}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `record`; raises LookupError, TypeError or ValueError for anything else."""
        return cls(str(record["zone"]), tuple((_minutes(start), _minutes(end)) for start, end in record["open"]))

    def open_us(self, times: Ints, widths: Ints) -> Ints:
        """Return for how many microseconds the market is open in the `widths` after each of `times` (UTC)."""
        edges = np.array([0, *(minute * MINUTE for span in self.opens for minute in span), DAY], dtype=np.int64)
        lengths = np.diff(edges, prepend=0)
        lengths[1::2] = 0  # from one end to the next beginning it is closed
        so_far = np.cumsum(lengths)
        starts = local_times(times, self.zone)
        opened = [
            moment // DAY * so_far[-1] + np.interp(moment % DAY, edges, so_far) for moment in (starts, starts + widths)
        ]
        opening: Ints = np.rint(opened[1] - opened[0]).astype(np.int64)
        return opening

    def missing_before(self, times: pl.Series, grid: Grid) -> Ints:
        """Count the bars that are missing between each bar and the one before it; none over a closing time.

        Bars are counted on their grid, so none is missing where the clocks of its zone change either.
        A gap is a closing time where bars last a day, where the market is closed for some of it, and from `CLOSURE`
        on: a holiday between days without a night, an early end. From `LONGEST_CLOSURE` on, bars are missing.
        """
        missing = grid.missing_before(times)
        gaps = np.flatnonzero(missing > 0)
        width = missing[gaps] * grid.step_us
        open_us = self.open_us(times.to_physical().to_numpy()[gaps] - width, width)
        closed = (grid.step_us >= DAY) | (width >= CLOSURE) | (open_us < width)
        missing[gaps[closed & (width <= LONGEST_CLOSURE)]] = 0
        return missing


MAX_OPENINGS: Final = 4
"""No market opens more often a day; what seems to is one whose bars are missing here and there."""


def find_sessions(times: Ints, step: int, zone: str = "UTC") -> Sessions | None:
    """Return the sessions of a market, from the sorted times (µs, UTC) of its bars; None where it has none.

    `zone` is that of the grid of the bars.

    A market has sessions where the same hours (or for longer bars, the same bars) of every week have none, at least a
    day's worth of them, and most missing bars are missing there, while nearly all weeks have bars in the others. Where
    there are too few weeks to tell, the same is asked of the hours of the days that have bars.
    """
    if step > DAY or times.size < 2:
        return None
    shown, width = local_times(times, zone), max(step, HOUR)
    for period, least in _periods(step):
        occupied, seen, periods = _occupied(shown, step, period)
        often = least if period == WEEK else least - 1  # a first day begins late
        closed = (occupied <= RARELY * seen) & (seen >= often)
        missing = seen.sum() * width - times.size * step
        if (
            periods >= least
            and closed.mean() >= CLOSED_AT_LEAST
            and (seen * closed).sum() * width >= MOSTLY * missing
            and occupied[~closed].sum() >= REGULARLY * seen[~closed].sum() > 0
        ):
            hours = opening_hours(times, step)
            return hours if len(hours.opens) <= MAX_OPENINGS else None
    return None


def _occupied(times: Ints, step: int, period: int) -> tuple[Ints, Ints, int]:
    """Return for each hour of a period in how many periods it has bars, and is seen; and the number of periods."""
    width = max(step, HOUR)
    buckets = -(-period // width)
    visited = _distinct(times // period * buckets + times % period // width)
    periods = _distinct(visited // buckets).size
    # Of the first and of the last period, what lies before the first bar or after the last one was not seen.
    first, last = visited[0] % buckets, visited[-1] % buckets
    bucket = np.arange(buckets)
    seen: Ints = periods - (bucket < first) - (bucket > last)
    return np.bincount(visited % buckets, minlength=buckets), seen, periods


def no_sessions_until(times: Ints, step: int) -> int:
    """Return until when (µs, UTC) bars that are added to these give no sessions, whichever they are.

    Where `find_sessions` counts too few weeks or days, it does so until there are enough. Where an hour has bars in
    many weeks, it takes many more without any until it is a closed one; and more than six sevenths of all hours are
    not. It may be a time before the last bar, which says nothing.

    Args:
        times: sorted, µs in UTC, of the bars of a market in which no sessions were found.
        step: of their grid, which is UTC's.
    """
    until = []
    for period, least in _periods(step):
        occupied, seen, periods = _occupied(times, step, period)
        # Hours before the first bar, or after the last one so far, are seen once more often than counted.
        more = np.sort(occupied / RARELY - seen - 2)[::-1]
        lasting = int(more[min(more.size - int(CLOSED_AT_LEAST * more.size), more.size - 1)])
        until.append(int(times[-1] // period + max(least - periods, lasting)) * period)
    return min(until)


def _periods(step: int) -> tuple[tuple[int, int], ...]:
    return ((WEEK, WEEKS), (DAY, DAYS)) if step < DAY else ((WEEK, WEEKS),)


def opening_hours(times: Ints, step: int) -> Sessions:
    """Return the times of day at which most days with bars have some, in the zone where days are most alike."""
    if step >= DAY:
        return Sessions("UTC", ())
    slot = max(step, SLOT)
    some = times[np.flatnonzero(np.diff(times // SLOT, prepend=-1))]
    shown = {zone: local_times(some, zone) for zone in ZONES}
    # Only a change of the clocks tells one zone from another.
    told = {zone: local for zone, local in shown.items() if zone == "UTC" or np.ptp(local - some)}
    slots, shares = -(-DAY // slot), {}  # for each slot of the day, the share of days with bars that have some in it
    for zone, local in told.items():
        visited = np.unique(local // DAY * slots + local % DAY // slot)
        shares[zone] = np.bincount(visited % slots, minlength=slots) / _distinct(visited // slots).size
    clear = {zone: float(np.abs(2 * share - 1).mean()) for zone, share in shares.items()}
    best = max(clear, key=lambda zone: clear[zone] - (CRISPER if zone != "UTC" else 0))
    is_open = np.concatenate([[False], shares[best] >= MOSTLY, [False]]).astype(np.int8)
    edges = np.minimum(np.flatnonzero(np.diff(is_open)) * slot, DAY) // MINUTE
    return Sessions(best, tuple((int(start), int(end)) for start, end in edges.reshape(-1, 2)))


def local_times(times: Ints, zone: str) -> Ints:
    """Return what clocks of a zone show at these times, in microseconds since 1970-01-01 00:00 on them."""
    if zone == "UTC":
        return times
    return wall_us(pl.Series(times).cast(TIME), zone).to_numpy()


def _distinct(ordered: Ints) -> Ints:
    """Return the distinct values of sorted ones."""
    return ordered[np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))]


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)
