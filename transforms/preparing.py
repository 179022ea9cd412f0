"""Bars of a series on their way to samples: resampled, filled, cut into segments."""

from dataclasses import dataclass

import polars as pl

from transforms.bars import Gaps, duration_us
from transforms.grids import Grid, windows_of
from transforms.resampling import resample
from transforms.segments import segment


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """How clean bars of `source`, on the grid that `offset_us` and `zone` describe, become bars of `timeframe`."""

    source: str
    timeframe: str
    offset_us: int
    zone: str
    max_fill: int
    min_coverage: float
    gaps: Gaps

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
