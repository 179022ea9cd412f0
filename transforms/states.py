"""What becomes of each bar: a sample, or none because it was filled, is not warmed up, not finite, or has no label."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import polars as pl

from transforms.bars import TIME
from transforms.preparing import closed
from transforms.segments import positions

STATES: Final = pl.Enum(["filled", "warmup", "not_finite", "no_label", "used"])


def judge(made: pl.DataFrame, names: Sequence[str], sequence_bars: int, *, unlabeled: pl.Expr) -> pl.DataFrame:
    """Add `state`, what becomes of each row, given the columns that the model sees; of sequences, `known` as well.

    A row is known if its features are, so that it may stand in a sequence; a sequence is of one segment.
    """
    if sequence_bars == 1:
        return made.with_columns(state=_state(names, unlabeled=unlabeled, alone=pl.lit(value=False)))
    known = made.select(~pl.col("cold") & _finite(names)).to_series()
    whole = known.cast(pl.UInt32).rolling_sum(sequence_bars).fill_null(0) == sequence_bars
    alone = ~(whole & pl.Series(positions(made["segment"]) >= sequence_bars - 1))
    return made.with_columns(state=_state(names, unlabeled=unlabeled, alone=pl.lit(alone)), known=known)


def rows_from(
    judged: pl.DataFrame, start: datetime | None, sequence_bars: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows at or after `start` with those before it that stand in their sequences, and without.

    The former are no samples: their state is `warmup`.
    """
    first = 0 if start is None else int(judged["timestamp"].search_sorted(pl.Series([start], dtype=TIME))[0])
    lead = min(first, sequence_bars - 1)
    seen = judged.slice(first - lead)
    if lead:
        early = pl.int_range(pl.len()) < lead
        seen = seen.with_columns(pl.when(early).then(pl.lit("warmup", dtype=STATES)).otherwise("state").alias("state"))
    return seen, seen.slice(lead)


def rows_of(
    seen: pl.DataFrame, timeframe: str, *columns: str, market: bool = False, sequences: bool = False
) -> pl.DataFrame:
    """Return these columns of the rows that are used, also of those in sequences, or of all with the market.

    Rows that are not asked for are not copied.
    """
    ended = closed(seen, timeframe)
    if not market and not sequences:
        return ended.select(*columns).filter(seen["state"] == "used")
    ended = ended.with_columns(complete=pl.col("state").is_in(["no_label", "used"])).select(*columns, "complete")
    return ended if market else ended.filter(seen["known"])


def _finite(names: Sequence[str]) -> pl.Expr:
    """Whether all columns that the model sees are finite numbers."""
    finite = (pl.col(name).is_finite().fill_null(value=False) for name in names)
    return pl.all_horizontal(pl.lit(value=True), *finite)


def _state(names: Sequence[str], *, unlabeled: pl.Expr, alone: pl.Expr) -> pl.Expr:
    """What becomes of each row, one of `STATES`; a row that stands `alone` lacks bars of its sequence."""
    state = {name: pl.lit(name, dtype=STATES) for name in STATES.categories}
    return (
        pl.when("filled")
        .then(state["filled"])
        .when("cold")
        .then(state["warmup"])
        .when(~_finite(names))
        .then(state["not_finite"])
        .when(alone)
        .then(state["warmup"])
        .when(unlabeled)
        .then(state["no_label"])
        .otherwise(state["used"])
    )
