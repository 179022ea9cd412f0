"""Which files of a series have other bars than another at the same times."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.access import display_path
from job.sources.reading import read_series
from job.sources.series import Series

MAX_FILES: Final = 200
"""Files of a series that are read again to find those that collide."""


def colliding_files(series: Series, settings: DataSettings) -> str | None:
    """Name the two files that differ at most times that they share, or the one file that differs in itself."""
    files = series.files[:MAX_FILES]
    try:
        frames = [
            read_series(replace(series, files=(file,)), settings).bars.select("timestamp", "close", file=pl.lit(index))
            for index, file in enumerate(files)
        ]
    except DataError:  # what all files tell together, such as whether days or months come first, one may not
        return None
    rows = pl.concat(frames).unique().sort("timestamp", "file")
    clashes = rows.filter(pl.col("close").n_unique().over("timestamp") > 1)
    if clashes.is_empty():
        return None
    pairs = Counter(
        pair
        for (members,) in clashes.group_by("timestamp", maintain_order=True).agg("file").select("file").iter_rows()
        for pair in pairwise(members)
    )
    (one, other), count = pairs.most_common(1)[0]
    first = clashes["timestamp"][0]
    if one == other:
        return f"{display_path(files[one])} has several rows of other values at {count} times, first at {first}"
    return f"{display_path(files[one])} and {display_path(files[other])} differ at {count} times, first at {first}"
