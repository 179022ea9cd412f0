"""How many rows and bars a series has, estimated from what was listed, without reading."""

from typing import Final

from job.config.settings import DataSettings
from job.sources.access import is_compressed
from job.sources.formats import FORMATS
from job.sources.series import Series
from transforms.bars import duration_us

ASSUMED_TIMEFRAME: Final = "1m"
"""Timeframe of series whose names and columns say none: the shortest one is usual, and gives the most rows."""

COMPRESSED_SHARE: Final = 0.4
"""Usual size of compressed bars as a share of the text."""


def estimate_rows(series: Series, timeframe: str, settings: DataSettings) -> int:
    """Estimate the bars of `timeframe` that a series gives in the settings' date range."""
    return estimate_span(series, settings) // duration_us(timeframe)


def estimate_span(series: Series, settings: DataSettings) -> int:
    """Estimate the microseconds of bars that a series has in the settings' date range."""
    step = duration_us(series.timeframe or settings.timeframe or ASSUMED_TIMEFRAME)
    span = expected_rows(series) * step
    if settings.start and settings.end:
        span = min(span, int((settings.end - settings.start).total_seconds() * 1e6))
    if settings.lookback_days:
        span = min(span, int(settings.lookback_days * duration_us("1d")))
    return span


def expected_rows(series: Series) -> int:
    """Estimate the rows of a series in its files: as counted where that was done on the way, else by their sizes."""
    rows = 0
    for file in series.files:
        share = COMPRESSED_SHARE if is_compressed(file) else 1
        by_size = int(file.size / (FORMATS[file.format].bytes_per_row * share))
        rows += by_size if file.rows is None else file.rows
    return rows
