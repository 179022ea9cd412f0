"""Find and read OHLCV files of any recognised format, on any storage that fsspec knows."""

from job.sources.finding import find_series
from job.sources.formats import FORMATS, Format
from job.sources.reading import as_listed, expected_rows, read_series
from job.sources.series import Found, Series, SourceFile

__all__ = [
    "FORMATS",
    "Format",
    "Found",
    "Series",
    "SourceFile",
    "as_listed",
    "expected_rows",
    "find_series",
    "read_series",
]
