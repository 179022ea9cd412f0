"""Local times as UTC; where clocks are set back, the order of the rows tells which of two equal hours is meant."""

from typing import Final

import polars as pl

from job.core.errors import DataError
from transforms.grids import HOUR

MOST_STRAY: Final = 0.1
"""Share of rows that may step back in time, where no clock was set back, in a file that is in order of time."""


class DoubtfulHourError(DataError):
    """A local time does not exist, or comes twice and the rows do not tell which is meant."""


def from_zone(naive: pl.Series, zone: str, where: str) -> pl.Series:
    """Convert times of `zone`, `Datetime` without a zone, to UTC.

    Bars longer than an hour begin where the clocks come to such a time: when they skip it, or the first time that they
    show it, unless all others are on one grid in UTC that only the second time is on.

    Raises:
        DoubtfulHourError: a time does not exist in the zone, or comes twice and the rows do not tell which is meant.
    """
    if zone == "UTC":
        return naive.dt.replace_time_zone("UTC")
    steps = naive.drop_nulls().unique().sort().to_physical().diff().drop_nulls()
    long = 2 * int((steps > HOUR).sum()) > steps.len()
    early = naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").dt.convert_time_zone("UTC")
    absent = early.is_null() & naive.is_not_null()
    if absent.any() and long:
        skipped = (
            (naive.to_physical() + HOUR)
            .cast(naive.dtype)
            .dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        )
        early = early.zip_with(~absent, skipped.dt.convert_time_zone("UTC"))
    elif absent.any():
        raise DoubtfulHourError(
            f"{where}: {naive.filter(absent)[0]} does not exist in {zone}; set data.timezone to the zone of the times"
        )
    late = naive.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null").dt.convert_time_zone("UTC")
    ambiguous = (early != late).fill_null(value=False) & ~absent
    if not ambiguous.any():
        return early
    if not long:
        return early.zip_with(~ambiguous | ~_fold(naive, ambiguous, zone, where), late)
    sure = early.filter(~ambiguous).drop_nulls().unique().sort().to_physical()
    step = sure.diff().min()
    if not isinstance(step, int) or (sure % step).n_unique() > 1:
        return early  # the others are on no grid
    before, after = ((times.to_physical() - sure[0]) % step == 0 for times in (early, late))
    return early.zip_with(~(ambiguous & after & ~before).fill_null(value=False), late)


def _fold(naive: pl.Series, ambiguous: pl.Series, zone: str, where: str) -> pl.Series:
    """Mark the ambiguous rows that belong to the second of two equal hours (`fold` = 1 in PEP 495).

    In order of time, the step back within the ambiguous hours of a day is where the clock was set back; where there is
    none, the one step that leads nowhere. Rows in any other order tell nothing.
    """
    rows = pl.DataFrame({"time": naive, "ambiguous": ambiguous}).with_row_index("row").drop_nulls("time")
    newest_first = 2 * int((rows["time"].to_physical().diff() < 0).sum()) > rows.height - 1
    ordered = (rows.reverse() if newest_first else rows).with_row_index("place")
    ordered = ordered.with_columns(step=pl.col("time").to_physical().diff())
    stray = ordered.filter(~pl.col("ambiguous") & (pl.col("step") < 0)).height
    day = pl.col("time").dt.date()
    hours = ordered.filter("ambiguous").with_columns(
        step=pl.when(day == day.shift(1)).then("step"), beside=(pl.col("place").diff() == 1).over(day)
    )
    back, still = pl.col("step") < 0, pl.col("step") == 0
    marked = hours.with_columns(
        decided=pl.col("beside").all().over(day)
        & ((back.sum().over(day) == 1) | ((back.sum().over(day) == 0) & (still.sum().over(day) == 1))),
        set_back=pl.when(back.any().over(day)).then(back).otherwise(still).fill_null(value=False),
    )
    lone = marked if stray > MOST_STRAY * ordered.height else marked.filter(~pl.col("decided"))
    if lone.height:
        raise DoubtfulHourError(
            f"{where}: {lone['time'][0]} comes twice in {zone}, and the rows do not tell which is meant; "
            "write the times in UTC and set data.timezone: UTC"
        )
    later = marked.filter(pl.col("set_back").cum_sum().over(day) > 0)["row"]
    return pl.Series([False] * naive.len()).scatter(later, True)  # noqa: FBT003 - the value to write
