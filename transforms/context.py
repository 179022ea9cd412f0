"""Context: what other bars say when a bar closes: longer ones of its series, those of other series, the market's.

Columns of other bars are joined on the time at which these closed, never on the time at which they began.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import polars as pl

from transforms.bars import TIME, duration_us
from transforms.clock import add_clock
from transforms.features.compute import add_features
from transforms.features.default import CHANGES
from transforms.features.feature import POSITION, Feature
from transforms.features.volatility import normal_return
from transforms.grids import HOUR
from transforms.preparing import Preparation, closed
from transforms.segments import positions
from transforms.sessions import LONGEST_CLOSURE

MOVES: Final = tuple(map(normal_return, CHANGES))
"""What the market is a mean of: each series' changes, in its own standard deviations, so that none of them rules."""
MARKET_FEATURES: Final = (
    *(f"market_change_{bars}" for bars in CHANGES),
    *(f"market_lead_{bars}" for bars in CHANGES),
    "market_dispersion",
)
"""Columns of the market: the mean of `MOVES` over all other series, this mean less the series' own, and the standard
deviation of the others' changes over one bar."""

LIMIT: Final = 32.0
"""Moves beyond so many standard deviations count as this: one bad print is not the market."""
QUANTUM: Final = 2.0**-20
"""Moves are added up as whole multiples of this, so that no order of the series changes a bit of the sums."""
FEWEST: Final = 2
PRESENT: Final = 0.5
"""Series other than its own, and share of them, without which a bar has no market."""


@dataclass(frozen=True)
class Beside:
    """Columns of other bars.

    `frame` has `available_at`, sorted, each time once, and Float32 columns. A bar is given the row that was available
    last when it closed, if that was less than `within` ago; where `within` is None, the one of the same time only.
    """

    frame: pl.DataFrame
    within: timedelta | None = None

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return self.frame.columns[1:]

    def at(self, times: pl.Series) -> pl.DataFrame:
        """Return the columns for bars that close at `times`, sorted; null where there is no such row."""
        closed = times.to_frame("available_at")
        if self.within is None:
            joined = closed.join(self.frame, on="available_at", how="left", maintain_order="left")
        else:
            tolerance = self.within - timedelta(microseconds=1)
            joined = closed.join_asof(self.frame, on="available_at", strategy="backward", tolerance=tolerance)
        return joined.drop("available_at")


def known_features(
    bars: pl.DataFrame, how: Preparation, features: Sequence[Feature], *, tolerance: float
) -> pl.DataFrame:
    """Return `available_at` and one Float32 column a feature, of bars as `how` prepares them.

    A value is null where its averages owe more than `tolerance` to their start. A bar that is filled has no row: it is
    filled once a later one ends the gap, and when it closed nobody knew that it would be.

    Raises:
        ValueError: as `Preparation.of`, or a feature lacks its input.
    """
    prepared, _ = how.of(bars)
    inputs = {column for feature in features for column in feature.inputs}
    made = add_features(add_clock(prepared, inputs, zone=how.zone, gaps=how.gaps), features)
    made = made.with_columns(pl.Series(POSITION, positions(made["segment"]))).filter(~pl.col("filled"))
    position = pl.col(POSITION)
    settled = {one.name: pl.when(position >= one.settled_after(tolerance)).then(one.name) for one in features}
    return closed(made, how.timeframe).select("available_at", **settled)


def longer_bars(
    bars: pl.DataFrame, how: Preparation, timeframe: str, features: Sequence[Feature], *, tolerance: float
) -> Beside:
    """Return features of longer bars of a series, as they stand beside those that `how` prepares; raises as above."""
    longer = replace(how, timeframe=timeframe)
    known = known_features(bars, longer, features, tolerance=tolerance)
    # A longer bar is the last one until the next one closes, where clocks may be set back, or a market be closed.
    wait = LONGEST_CLOSURE if how.gaps != "segment" else HOUR if how.zone != "UTC" else 0
    within = timedelta(microseconds=duration_us(timeframe) + wait)
    return Beside(known.select("available_at", pl.exclude("available_at").name.suffix(f"@{timeframe}")), within)


def moves(bars: pl.DataFrame, how: Preparation) -> pl.DataFrame:
    """Return a series' part of `market_sums`, as whole numbers: times at which it has all of `MOVES`, and these.

    Raises:
        ValueError: as `Preparation.of`.
    """
    prepared, _ = how.of(bars)
    made = add_features(prepared, MOVES).filter(~pl.col("filled")).drop_nulls([move.name for move in MOVES])
    bounded = [pl.col(move.name).cast(pl.Float64).clip(-LIMIT, LIMIT) for move in MOVES]
    amounts = [*bounded, (bounded[0] ** 2).alias("square")]
    whole = [(amount / QUANTUM).round().cast(pl.Int64) for amount in amounts]
    return closed(made, how.timeframe).select("available_at", pl.lit(1, pl.Int64).alias("series"), *whole)


def market_sums(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Add up what `moves` gives of several series, or sums of such, time by time, in order of time."""
    columns = ("series", *(move.name for move in MOVES), "square")
    empty = pl.DataFrame(schema={"available_at": TIME, **dict.fromkeys(columns, pl.Int64)})
    return pl.concat([empty, *parts]).group_by("available_at").agg(pl.col(columns).sum()).sort("available_at")


def market(own: pl.DataFrame, sums: pl.DataFrame, members: int, names: Sequence[str]) -> Beside:
    """Return what a series' bars know of the market.

    Args:
        own: what `moves` gives of the series, which is one of `members`.
        sums: `market_sums` of all members.
        members: how many series there are.
        names: of `MARKET_FEATURES`.
    """
    joined = sums.join(own, on="available_at", how="left", suffix=" own", maintain_order="left")

    def others(name: str) -> pl.Expr:
        return pl.col(name) - pl.col(f"{name} own").fill_null(0)

    enough = others("series") >= max(FEWEST, math.ceil(PRESENT * (members - 1)))
    mean = {move.name: others(move.name) * QUANTUM / others("series") for move in MOVES}
    variance = others("square") * QUANTUM / others("series") - mean[MOVES[0].name] ** 2
    columns = {
        **{f"market_change_{bars}": mean[move.name] for bars, move in zip(CHANGES, MOVES, strict=True)},
        **{
            f"market_lead_{bars}": mean[move.name] - pl.col(f"{move.name} own") * QUANTUM
            for bars, move in zip(CHANGES, MOVES, strict=True)
        },
        "market_dispersion": variance.clip(0).sqrt(),
    }
    return Beside(
        joined.select(
            "available_at", *(pl.when(enough).then(columns[name]).cast(pl.Float32).alias(name) for name in names)
        )
    )
