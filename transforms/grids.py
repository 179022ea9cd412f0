"""Grids: where bars begin and end, in UTC or, for bars longer than a shift of clocks, on the clocks of a zone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]

TIME: Final = pl.Datetime("us", "UTC")
HOUR: Final = 3_600_000_000
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY
MONDAY: Final = 4 * DAY
"""The first Monday after 1970-01-01, a Thursday."""

ZONES: Final = (
    *("America/New_York", "Europe/London", "Europe/Berlin", "Europe/Athens", "America/Chicago", "America/Los_Angeles"),
    *("Australia/Sydney", "Pacific/Auckland", "America/Santiago", "Asia/Jerusalem", "Africa/Cairo", "Asia/Beirut"),
    *("America/Sao_Paulo", "America/Mexico_City", "Europe/Moscow", "Europe/Istanbul", "Asia/Tehran", "America/Havana"),
    *("Asia/Amman", "America/Asuncion", "Europe/Chisinau", "Africa/Casablanca"),
)
"""Zones that a grid is looked for in: those of markets first, then one for every other rule by which clocks change."""


@dataclass(frozen=True)
class Grid:
    """Bars of `step_us` microseconds that begin at whole multiples of it since 1970, plus `offset_us`.

    Both count on the clocks of `zone`: outside of UTC, a bar in which clocks are set forward or back is shorter or
    longer than the others, and ends where the next one begins.
    """

    step_us: int
    offset_us: int = 0
    zone: str = "UTC"

    def index(self, times: pl.Series) -> Ints:
        """Number of the bar in which each time lies; `times` has no null."""
        return (self._wall(times) - self.offset_us) // self.step_us

    def moved(self, times: pl.Series, bars: Ints) -> pl.Series:
        """Open times of the bars that come so many bars after those that open at `times`."""
        if self.zone == "UTC":
            return (times.to_physical() + bars * self.step_us).cast(TIME)
        return self.starts(self.index(times) + bars)

    def starts(self, index: Ints) -> pl.Series:
        """Open times of numbered bars."""
        wall = pl.Series("timestamp", index * self.step_us + self.offset_us)
        return wall.cast(TIME) if self.zone == "UTC" else instants(wall, self.zone, twice="earliest")

    def closes(self, times: pl.Series) -> pl.Series:
        """Times at which the bars that open at `times` close.

        Where that is an hour that comes twice, the later one: nothing is taken for known before it is.
        """
        if self.zone == "UTC":
            return (times.to_physical() + self.step_us).cast(times.dtype)
        wall = pl.Series(times.name, (self.index(times) + 1) * self.step_us + self.offset_us)
        return instants(wall, self.zone, twice="latest")

    def missing_before(self, times: pl.Series) -> Ints:
        """Count the bars that are missing between each bar and the one before it; none where clocks are changed."""
        if self.zone == "UTC":
            moments = times.to_physical().to_numpy()
            return np.diff(moments, prepend=moments[:1] - self.step_us) // self.step_us - 1
        index = self.index(times)
        return np.diff(index, prepend=index[:1] - 1) - 1

    def off(self, times: pl.Series) -> pl.Series:
        """Microseconds by which times are off the grid; null stays null."""
        if self.zone == "UTC":
            return (times.to_physical() - self.offset_us) % self.step_us
        known = times.drop_nulls()
        began = self.starts(self.index(known)).to_physical().to_numpy()
        off = known.to_physical().to_numpy() - began
        wall_off = (self._wall(known) - self.offset_us) % self.step_us  # 0 in both of two equal hours
        result = np.zeros(times.len(), np.int64)
        result[times.is_not_null().to_numpy()] = np.where(wall_off == 0, 0, off)
        return pl.Series(result)

    def _wall(self, times: pl.Series) -> Ints:
        return wall_us(times, self.zone).to_numpy()


def wall_us(times: pl.Series, zone: str) -> pl.Series:
    """What the clocks of a zone show at UTC times, in microseconds since 1970 as they show it."""
    if zone == "UTC":
        return times.to_physical()
    return times.dt.convert_time_zone(zone).dt.replace_time_zone(None).to_physical()


def instants(wall: pl.Series, zone: str, *, twice: Literal["earliest", "latest"]) -> pl.Series:
    """UTC times at which the clocks of a zone show these microseconds since 1970.

    A time that clocks skip is the moment at which they skip it; `twice` chooses one of two equal hours.
    """
    naive = wall.cast(pl.Datetime("us"))
    found = naive.dt.replace_time_zone(zone, ambiguous=twice, non_existent="null")
    if found.null_count() > naive.null_count():
        after = (naive.to_physical() + HOUR).cast(pl.Datetime("us"))
        skipped = after.dt.replace_time_zone(zone, ambiguous=twice, non_existent="null")
        found = found.zip_with(found.is_not_null(), skipped)
    return found.dt.convert_time_zone("UTC")


def grid_of(times: pl.Series, step_us: int, *, zones: Sequence[str] = ()) -> Grid:
    """The grid that most of these distinct times keep.

    Bars that a shift of clocks cannot move off their grid, and bars that all keep one in UTC, are on UTC's. Others are
    tried on the clocks of `zones` first, then of `ZONES`: the zone in which most of them are on one grid, unless that
    are no more than in UTC. Of several that do as well, one that begins bars at midnight is taken.
    """
    offset, most = _most_common((times.to_physical() % step_us).to_numpy())
    best = Grid(step_us, offset)
    if HOUR % step_us == 0 or most == times.len():
        return best
    hints = set(zones)
    for zone in dict.fromkeys((*zones, *ZONES)):
        try:
            offset, kept = _most_common((wall_us(times, zone) % step_us).to_numpy())
        except pl.exceptions.PolarsError:  # a zone that this installation does not know
            continue
        found = Grid(step_us, offset, zone)
        better = kept == most and best.zone != "UTC" and best.zone not in hints and _rank(found) > _rank(best)
        if kept > most or better:
            best, most = found, kept
    return best


def _rank(grid: Grid) -> int:
    """How likely a grid is among those that do as well: 2 with the day of currencies, 1 with a local midnight."""
    return 2 if _of_currencies(grid) else int(grid.offset_us == 0)


def _most_common(values: Ints) -> tuple[int, int]:
    """Most common value, the smallest of equally common ones, and how often it is there."""
    if not values.size:
        return 0, 0
    found, counts = np.unique(values, return_counts=True)
    return int(found[counts.argmax()]), int(counts.max())


def windows_of(source: Grid, step_us: int) -> Grid:
    """Grid of longer bars made from those of `source`.

    Weeks begin on Monday, and with the day: where days begin in the second half of a day, as those of currencies do at
    17:00 in New York, they are the next day's, so weeks begin on Sunday then.
    """
    offset = source.offset_us
    if _of_currencies(source) and step_us % DAY == 0:
        offset = 17 * HOUR
    if step_us % WEEK == 0 and source.step_us < WEEK:
        offset += MONDAY - (DAY if offset > DAY // 2 else 0)
    return Grid(step_us, offset, source.zone)


def _of_currencies(source: Grid) -> bool:
    """Whether bars of some hours begin at 17:00 in New York, and not at midnight."""
    rolls = (17 * HOUR - source.offset_us) % source.step_us == 0
    return rolls and source.zone == "America/New_York" and source.step_us < DAY and source.offset_us != 0
