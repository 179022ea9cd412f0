"""Whether two files are parts of one series: by the bars in them, where their names leave it open."""

from typing import Final, Literal

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.formats import read_file
from job.sources.series import Series, SourceFile

Relation = Literal["same", "follows", "different", "apart"]
"""Bars of two files: equal at the times they share; none shared, but one going on where the other ends; others at these
times; or nothing that tells."""

SEAM_STEPS: Final = 10
"""Usual steps between bars within which the bars of one file go on where those of another end."""

JUMPS: Final = 10
"""Times the usual change from bar to bar, from where on a change is no trading but another series."""

LEAST_JUMP: Final = 0.02
"""Change of price, as a log return, that is never called a jump."""

LEAST_GAP: Final = 0.001
"""The same of a change from a close to the next open, which is none where nobody traded in between."""

ENOUGH_GAPS: Final = 5
"""Gaps in one series that tell what a gap of some length does to prices."""


def relation(one: SourceFile, other: SourceFile, series: Series, settings: DataSettings) -> Relation:
    """Compare the bars of two files; `series` says which rows, where they hold several."""
    try:
        both = [read_file(file, series, settings).bars.select("timestamp", "open", "close") for file in (one, other)]
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
        return "different" if jumps_between(labeled) else "follows"
    usual = _most(labeled.sort("timestamp")["timestamp"].to_physical().diff().drop_nulls())
    goes_on = begins - ends <= usual * SEAM_STEPS
    return "follows" if goes_on and not jumps_between(labeled) else "apart"


def jumps_between(labeled: pl.DataFrame) -> bool:
    """Return whether prices jump where, in order of time, one label follows another.

    Where each label stands in one piece, as series one after the other do, opens are compared with the closes before
    them: contracts that follow each other differ by less than a bar may move.

    Args:
        labeled: `timestamp`, `open`, `close`, and `label` of any type.
    """
    ordered = labeled.filter(pl.col("close") > 0).sort("timestamp")
    steps = ordered.select(
        move=(pl.col("close") / pl.col("close").shift(1)).log().abs(),
        gap=pl.when(pl.col("open") > 0).then((pl.col("open") / pl.col("close").shift(1)).log().abs()),
        apart=pl.col("timestamp").diff(),
        changed=(pl.col("label") != pl.col("label").shift(1)).fill_null(value=False),
    ).drop_nulls("move")
    within, across = steps.filter(~pl.col("changed")), steps.filter("changed")
    if across.is_empty():
        return False
    if _most(across["move"]) > max(JUMPS * _most(within["move"]), LEAST_JUMP):
        return True
    like = within.filter(pl.col("apart") >= across["apart"].min())["gap"].drop_nulls()
    in_pieces = across.height == labeled["label"].n_unique() - 1
    return in_pieces and like.len() >= ENOUGH_GAPS and _most(across["gap"]) > max(JUMPS * _most(like), LEAST_GAP)


def _most(values: pl.Series) -> float:
    """Median of numbers, 0 where there are none."""
    middle = values.to_frame("value").select(pl.col("value").cast(pl.Float64).median()).item()
    return 0.0 if middle is None else float(middle)
