"""Bars: the contract and the cleaning rules.

A frame of bars has the columns
    timestamp  Datetime("us", "UTC")   open time of the bar
    open, high, low, close  Float64
    volume     Float64                 absent where the source has none
    quote_volume, trades, taker_buy_volume  Float64  absent unless asked for; null where a bar has none
and is sorted by `timestamp`, with at most one bar per time.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import numpy as np
import polars as pl
import polars.selectors as cs

from transforms import grids
from transforms.grids import grid_of
from transforms.sessions import Sessions

Gaps: TypeAlias = Literal["segment", "ignore"] | Sessions
"""What gaps mean: missing bars, nothing, or where a market has sessions, missing bars only while it is open."""
Duplicates = Literal["reject", "last", "fullest"]
"""Which of several rows of one time is the bar: none of them, the last one, or that of the largest volume."""

TIME: Final = grids.TIME
PRICES: Final = ("open", "high", "low", "close")
FLOW: Final = ("quote_volume", "trades", "taker_buy_volume")
"""How a bar's volume was traded, Float64: what was paid for it, in the quote currency; its number of trades; how much
of it takers bought. They decide neither which bars are good nor whether bars are the same."""
_UNITS: Final = {"d": 86_400_000_000, "h": 3_600_000_000, "m": 60_000_000, "s": 1_000_000}

ABSURD: Final = 8.0
"""Times that no price lies above the closes on both sides of a bar, nor open or close below: a digit's slip is 10."""
ABSURD_LOW: Final = 200.0
"""The same for a low alone: where an order meets an empty book, trades at a hundredth of the price are real."""

OTHER_UNIT: Final = 50.0
"""Times that prices in another unit are above or below the others: pence are a hundredth of a pound."""
LONGEST_SPELL: Final = 100
"""Bars that a spell in another unit may last: what lasts longer cannot be told from a price that fell back."""


@lru_cache
def duration_us(timeframe: str) -> int:
    """Length of a timeframe such as `1m`, `15m`, `1h` or `1d` in microseconds.

    Raises:
        ValueError: `timeframe` is anything but a positive whole number and one of s, m, h, d.
    """
    match = re.fullmatch(r"([1-9][0-9]*)([smhd])", timeframe)
    if match is None:
        raise ValueError(
            f"timeframe {timeframe!r}: expected a whole number and one of s, m, h, d, such as '15m' or '1h'"
        )
    return int(match[1]) * _UNITS[match[2]]


def timeframe_name(step_us: int) -> str:
    """Inverse of `duration_us`, in the largest unit that fits: `1h`, not `60m`.

    Raises:
        ValueError: `step_us` is no positive whole number of seconds.
    """
    for letter, unit in _UNITS.items():
        if step_us > 0 and step_us % unit == 0:
            return f"{step_us // unit}{letter}"
    raise ValueError(f"bars {step_us} microseconds apart: no timeframe in whole seconds; set the timeframe of the data")


@dataclass(frozen=True)
class Rule:
    """A reason to reject a row. `breaks` is true for offenders; null counts as kept.

    `breaks` reads rows sorted by time, without exact duplicates, and beside the columns of a bar `residue`:
    microseconds by which `timestamp` is off the grid of the series, in the bars' own zone, `off_scale`: whether the row
    is of a spell in another unit, and `usual`: the median of its close and the two before.
    """

    name: str
    breaks: pl.Expr
    meaning: str


_time = pl.col("timestamp")

# Medians of three closes, so that an absurd bar does not make another one beside it credible, nor a good one absurd.
_close = pl.when(pl.col("close").is_finite() & (pl.col("close") > 0)).then("close")
_usual = _close.rolling_median(3, min_samples=1)
_before = pl.col("usual").shift(1)
_after = pl.coalesce(pl.col("usual").shift(-3), _close.shift(-1))


def _beside(price: pl.Expr, compare: Callable[[pl.Expr, pl.Expr], pl.Expr]) -> pl.Expr:
    """Whether a price compares so with the closes on both sides; null where one is missing."""
    return compare(price, _before) & compare(price, _after)


RULES: Final = (
    Rule("no_timestamp", _time.is_null(), "the time is absent"),
    Rule(
        "conflicting_duplicate",
        (_time == _time.shift(1)) | (_time == _time.shift(-1)),
        "several rows with different values share this time; which of them is right cannot be told",
    ),
    Rule(
        "not_finite",
        ~pl.all_horizontal(cs.by_name(*PRICES, "volume", require_all=False).is_finite().fill_null(value=False)),
        "a number is absent, NaN or infinite",
    ),
    Rule("non_positive_price", pl.min_horizontal(PRICES) <= 0, "a price is zero or below"),
    Rule("negative_volume", pl.col("volume") < 0, "the volume is below zero"),
    Rule("high_below_low", pl.col("high") < pl.col("low"), "the high is below the low"),
    Rule(
        "outside_range",
        (pl.min_horizontal("open", "close") < pl.col("low")) | (pl.max_horizontal("open", "close") > pl.col("high")),
        "open or close lies outside the range from low to high",
    ),
    Rule(
        "absurd_price",
        _beside(pl.max_horizontal(PRICES) / ABSURD, pl.Expr.gt)
        | _beside(pl.min_horizontal("open", "close") * ABSURD, pl.Expr.lt)
        | _beside(pl.min_horizontal(PRICES) * ABSURD_LOW, pl.Expr.lt)
        | pl.col("off_scale"),
        "a price is many times above or below the closes both before and after",
    ),
    Rule("off_grid", pl.col("residue") != 0, "the time is off the grid that most bars of the series keep"),
)
"""All rules, in the order in which they are tried: a row is rejected under the first that it breaks."""


@dataclass(frozen=True)
class Cleaned:
    """Result of `clean`.

    `rejected` has the columns of `bars` and `rule` String. `offset_us` is what most times leave when divided by the
    timeframe, on the clocks of `zone`: UTC, but for bars that are on one grid only where clocks change, see
    `transforms.grids.grid_of`. `counts` has `rows_read`, `duplicate`, one entry per rule, `rows_kept` and
    `out_of_order`, and, where rows of one time are not all rejected, `superseded`: those that another one took the
    place of.
    """

    bars: pl.DataFrame
    rejected: pl.DataFrame
    timeframe: str
    offset_us: int
    counts: dict[str, int]
    zone: str = "UTC"


def clean(
    raw: pl.DataFrame,
    *,
    timeframe: str | None = None,
    zones: Sequence[str] = (),
    duplicates: Duplicates = "reject",
) -> Cleaned:
    """Sort raw rows, collapse exact duplicates and set rows that break a rule aside.

    Args:
        raw: columns of a bar in any order, rows in any order, nulls allowed.
        timeframe: of the rows; inferred from the most common step between distinct times where None.
        zones: on whose clocks the bars may begin, tried before all others.
        duplicates: which of several rows of one time, with different values, is the bar.

    The result is the same in whatever order the rows come, except for the count `out_of_order`: rows that step back
    in time in the order given, and except for `duplicates="last"`.

    Raises:
        ValueError: the timeframe is to be inferred, and fewer than two distinct times are there or the step is no
            whole number of seconds; or the fullest rows are asked for, and there is no volume.
    """
    raw = raw.with_columns(pl.col("timestamp").cast(TIME), cs.by_name(FLOW, require_all=False).cast(pl.Float64))
    given = raw.select("timestamp", *map(_unsigned_zero, (*PRICES, *({"volume"} & {*raw.columns})))).rechunk()
    distinct = _sorted_distinct(given)
    chosen = distinct if duplicates == "reject" else _sorted_distinct(_one_per_time(given, duplicates))
    superseded, duplicate = distinct.height - chosen.height, given.height - distinct.height
    distinct = chosen
    times = distinct["timestamp"].drop_nulls()
    times = times.filter(times.to_physical().diff().fill_null(1) > 0)
    timeframe = timeframe or infer_timeframe(times)
    grid = grid_of(times, duration_us(timeframe), zones=zones)
    residue, off_scale = grid.off(distinct["timestamp"]), _off_scale(distinct["close"])
    checked = distinct.with_columns(residue=residue, off_scale=off_scale, usual=_usual)
    known = [rule for rule in RULES if set(rule.breaks.meta.root_names()) <= set(checked.columns)]
    names = pl.Enum([rule.name for rule in RULES])
    broken = pl.coalesce(pl.when(rule.breaks).then(pl.lit(rule.name, dtype=names)) for rule in known)
    judged = checked.with_columns(rule=broken).drop("residue", "off_scale", "usual")
    bars = _with_flow(judged.filter(pl.col("rule").is_null()).drop("rule"), raw)
    rejected = judged.filter(pl.col("rule").is_not_null()).with_columns(pl.col("rule").cast(pl.String))
    counts = {"rows_read": given.height, "duplicate": duplicate}
    counts |= {rule.name: int((rejected["rule"] == rule.name).sum()) for rule in RULES}
    if duplicates != "reject":
        counts["superseded"] = superseded
    counts |= {"rows_kept": bars.height, "out_of_order": int((given["timestamp"].to_physical().diff() < 0).sum())}
    return Cleaned(bars, rejected, timeframe, grid.offset_us, counts, grid.zone)


def _with_flow(bars: pl.DataFrame, raw: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of `FLOW` that the rows have.

    One is null where it is not finite or negative, or differs among the rows that collapsed into the bar.
    """
    flow = [name for name in FLOW if name in raw.columns]
    if not flow:
        return bars
    usable = [pl.when(pl.col(name).is_finite() & (pl.col(name) >= 0)).then(name).alias(name) for name in flow]
    if raw["timestamp"].equals(bars["timestamp"]):
        return bars.hstack(raw.select(usable))
    agreed = [pl.when(pl.col(name).n_unique() == 1).then(pl.col(name).first()).alias(name) for name in flow]
    rows = raw.select("timestamp", *map(_unsigned_zero, bars.columns[1:]), *flow)
    own = rows.join(bars, on=bars.columns, how="semi").group_by(bars.columns).agg(agreed)
    return bars.join(own, on=bars.columns, how="left", maintain_order="left").with_columns(usable)


def infer_timeframe(times: pl.Series) -> str:
    """Most common step between the sorted distinct `times`, the shortest of equally common ones.

    Raises:
        ValueError: there are fewer than two times, or the step is no whole number of seconds.
    """
    if times.len() < 2:
        raise ValueError(
            f"{times.len()} distinct bar times: the timeframe cannot be inferred; set the timeframe of the data"
        )
    return timeframe_name(_most_common(times.to_physical().diff().drop_nulls()))


def _most_common(values: pl.Series) -> int:
    """Most common value, the smallest of equally common ones, 0 where there is none."""
    if values.is_empty():
        return 0
    if (values == values[0]).all():
        return int(values[0])
    counted = values.alias("value").value_counts().sort("count", "value", descending=[True, False])
    return int(counted["value"][0])


def _unsigned_zero(name: str) -> pl.Expr:
    """Float64 column in which -0.0 is 0.0: rows that compare equal then have equal bits, and either may stay."""
    number = pl.col(name).cast(pl.Float64)
    return pl.when(number == 0).then(0.0).otherwise(number).alias(name)


def _sorted_distinct(given: pl.DataFrame) -> pl.DataFrame:
    """Rows by time, then by value, each once."""
    if given["timestamp"].null_count() == 0 and (given["timestamp"].to_physical().diff().drop_nulls() > 0).all():
        return given
    return given.sort(given.columns).unique(maintain_order=True)


def _one_per_time(given: pl.DataFrame, duplicates: Duplicates) -> pl.DataFrame:
    """Rows of which no two share a time: the last ones, or those of the largest volume and, of these, the last.

    Raises:
        ValueError: there is no volume to choose by.
    """
    timed, rest = given.filter(pl.col("timestamp").is_not_null()), given.filter(pl.col("timestamp").is_null())
    if duplicates == "fullest":
        if "volume" not in given.columns:
            raise ValueError("no volume to choose the fullest rows by; set data.duplicates to last or reject")
        timed = timed.sort(pl.col("volume").fill_nan(None), maintain_order=True)
    return pl.concat([timed.unique("timestamp", keep="last", maintain_order=True), rest])


def _off_scale(closes: pl.Series) -> pl.Series:
    """Mark spells of bars in another unit, such as pence among pounds: a jump away, and one as far back soon after.

    A jump alone is a split or a new denomination, and marks nothing.
    """
    known, moves, jumps = jumps_of(closes)
    marked = np.zeros(closes.len(), np.bool_)
    number = 0
    while number + 1 < jumps.size:
        away, back = jumps[number], jumps[number + 1]
        if back - away <= LONGEST_SPELL and abs(moves[away] + moves[back]) < np.log(2):
            marked[known[away] + 1 : known[back] + 1] = True
            number += 1
        number += 1
    return pl.Series(marked)


def jumps_of(closes: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places of the closes that are prices, the logarithmic changes from each of them to the next, and which are jumps.

    At these a spell in another unit may begin or end.
    """
    close = closes.to_numpy().copy()
    close[~(np.isfinite(close) & (close > 0))] = np.nan
    known = np.flatnonzero(~np.isnan(close))
    moves = np.diff(np.log(close[known]))
    return known, moves, np.flatnonzero(np.abs(moves) > np.log(OTHER_UNIT))
