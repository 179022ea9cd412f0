"""Bars of a series on their way to samples: resampled, filled, cut into segments."""

from dataclasses import dataclass
from typing import Protocol

import polars as pl

from transforms.bars import Gaps, duration_us
from transforms.grids import Grid, windows_of
from transforms.resampling import resample
from transforms.segments import segment


class OnGrid(Protocol):
    """What is known of bars, once they are read: their timeframe, and the grid that they are on."""

    @property
    def timeframe(self) -> str: ...  # noqa: D102 - as `transforms.bars.Cleaned` has them
    @property
    def offset_us(self) -> int: ...  # noqa: D102
    @property
    def zone(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How clean bars of `source`, on the grid that `offset_us` and `zone` describe, become bars of `timeframe`.

    `transforms.bars.clean` finds the grid; `resample` and `segment` say what the rest means.
    """

    source: str
    timeframe: str
    offset_us: int = 0
    zone: str = "UTC"
    max_fill: int = 5
    min_coverage: float = 0.8
    gaps: Gaps = "segment"

    def of(self, bars: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        """Return the bars as `segment` gives them, and the counts of `resample`.

        They have `available_at`, when each closes, where they are not all equally long: on the clocks of a zone.

        Raises:
            ValueError: `timeframe` is finer than `source`, or no multiple of it.
        """
        joined = resample(
            bars,
            source=self.source,
            timeframe=self.timeframe,
            offset_us=self.offset_us,
            min_coverage=self.min_coverage,
            gaps=self.gaps,
            zone=self.zone,
        )
        grid = windows_of(Grid(duration_us(self.source), self.offset_us, self.zone), duration_us(self.timeframe))
        made = segment(joined.bars, timeframe=self.timeframe, max_fill=self.max_fill, gaps=self.gaps, grid=grid)
        if self.zone != "UTC":
            made = made.with_columns(available_at=grid.closes(made["timestamp"]))
        return made, joined.counts


def closed(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Add `available_at`, the time at which a bar closed, unless it is there."""
    if "available_at" in bars.columns:
        return bars
    return bars.with_columns(available_at=pl.col("timestamp") + pl.duration(microseconds=duration_us(timeframe)))
