"""Whether two files are parts of one series: by the bars in them, where their names leave it open."""

from typing import Final, Literal

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.formats import read_file
from job.sources.series import Series, SourceFile

Relation = Literal["same", "different", "apart"]
"""Bars of two files: equal at the times they share, or one going on where the other ends; others at these times; or
nothing that tells."""

SEAM_STEPS: Final = 10
"""Usual steps between bars within which the bars of one file go on where those of another end."""

JUMPS: Final = 10
"""Times the usual change from bar to bar, from where on a change is no trading but another series."""

LEAST_JUMP: Final = 0.02
"""Change of price, as a log return, that is never called a jump."""


def relation(one: SourceFile, other: SourceFile, series: Series, settings: DataSettings) -> Relation:
    """Compare the bars of two files; `series` says which rows, where they hold several."""
    try:
        both = [read_file(file, series, settings).bars.select("timestamp", "close") for file in (one, other)]
    except DataError:
        return "apart"
    first, second = (bars.drop_nulls().unique("timestamp", keep="first").sort("timestamp") for bars in both)
    shared = first.join(second, on="timestamp", suffix="_other")
    if shared.height:
        differ = (shared["close"] - shared["close_other"]).abs() > 1e-9 * shared["close"].abs()
        return "different" if 2 * int(differ.sum()) > shared.height else "same"
    if first.is_empty() or second.is_empty():
        return "apart"
    labeled = pl.concat([first.with_columns(label=pl.lit("a")), second.with_columns(label=pl.lit("b"))])
    spans = [(times[0], times[-1]) for times in (first["timestamp"].to_physical(), second["timestamp"].to_physical())]
    begins, ends = max(start for start, _ in spans), min(end for _, end in spans)
    if begins < ends:
        return "different" if jumps_between(labeled) else "same"
    usual = _most(labeled.sort("timestamp")["timestamp"].to_physical().diff().drop_nulls())
    goes_on = begins - ends <= usual * SEAM_STEPS
    return "same" if goes_on and not jumps_between(labeled) else "apart"


def _most(values: pl.Series) -> float:
    """Median of numbers, 0 where there are none."""
    middle = values.to_frame("value").select(pl.col("value").cast(pl.Float64).median()).item()
    return 0.0 if middle is None else float(middle)


def jumps_between(labeled: pl.DataFrame) -> bool:
    """Return whether prices jump where, in order of time, one label follows another.

    Args:
        labeled: `timestamp`, `close`, and `label` of any type.
    """
    ordered = labeled.filter(pl.col("close") > 0).sort("timestamp")
    moves = ordered.select(
        move=(pl.col("close") / pl.col("close").shift(1)).log().abs(),
        changed=(pl.col("label") != pl.col("label").shift(1)).fill_null(value=False),
    ).drop_nulls()
    within, across = moves.filter(~pl.col("changed"))["move"], moves.filter("changed")["move"]
    if across.is_empty():
        return False
    return _most(across) > max(JUMPS * _most(within), LEAST_JUMP)
