"""Audit of features on bars: is every value made of its own bar and of those before it that the feature declares?

Bars after a cut are rewritten and left out, bars before it are left out, segments are set apart, prices and volumes are
scaled: no value of a sound feature changes. All features are computed at once; and since every bar after a cut is one
farther away from it than the bar before, one cut of the past tells how far back each feature looks.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import pairwise
from typing import Final, Literal, get_args

import numpy as np
import polars as pl

from transforms.bars import FLOW, PRICES
from transforms.features.compute import add_features
from transforms.features.feature import EXACT, WARM, Feature
from transforms.segments import positions

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int, int], np.dtype[np.bool_]]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Rule = Literal["future", "past", "segment"]

CUTS: Final = 4
UNEVEN: Final = 2 * 3 * 5
"""Cuts are so many bars apart as has no factor in common with this: of two neighbors, one at least lies inside an hour,
a day, or any coarser bar of so many bars, whose end a feature may know too early."""
ROUNDING: Final = 2e-7
"""Relative error of Float32, in which values are given."""
EQUAL: Final = 1e-7
"""Share of a feature's standard deviation that two equal values may differ by, beside rounding."""
SETTLED: Final = 1e-2
"""The same share for a value that has settled well enough."""
OWED: Final = {WARM: 5e-2, EXACT: 1e-5}
"""By how much values may differ, as the same share, when averages owe no more than this to their start: if that was
something rare, such as a volume a hundred times the usual, it is worth more than its share."""
SCALED: Final = 1e-5
"""The same share where prices are 1024 times as high: logarithms then round otherwise."""


@dataclass(frozen=True)
class Violation:
    """The first bar at which a feature breaks a rule: its open time, its value, and another that it must not have.

    `future`: `other` is its value where later bars are other ones, or absent.
    `past`: where bars before the declared warm-up are absent.
    `segment`: where the bars of other segments are absent.
    None stands for no value.
    """

    rule: Rule
    time: datetime
    value: float | None
    other: float | None


@dataclass(frozen=True)
class Audited:
    """What an audit found out about a feature.

    Attributes:
        feature: the feature.
        violation: of the first rule that it breaks, None of a sound one.
        lookback: how many bars back the farthest one is that changes a value, by more than 1e-7 of its deviation: so
            far back averages remember. None if no cut leaves enough bars to tell.
        warmup: the same by more than 1e-2.
        scale_free: whether prices times 1024 and volumes by 64 change no value; None if there is no value.
        bars: how many values were looked at.
    """

    feature: Feature
    violation: Violation | None
    lookback: int | None
    warmup: int | None
    scale_free: bool | None
    bars: int


class _Unmasked(Feature):
    """A feature with the values before its warm-up, which show when it has settled."""

    warmup = property(lambda _: 0)


@dataclass(frozen=True)
class _Whole:
    """The values of all bars at once, which those of changed or fewer bars are compared with.

    `values` is [bars, features], NaN where there is none; `warm` says which are used; `deviation` is theirs. `settled`
    is after how many bars each feature owes no more than the keys of `OWED` to its start.
    """

    bars: pl.DataFrame
    features: tuple[Feature, ...]
    position: Ints
    values: Matrix
    warm: Bools
    deviation: Matrix
    settled: Mapping[float, Ints]

    @classmethod
    def of(cls, bars: pl.DataFrame, features: Sequence[Feature]) -> "_Whole":
        own = [field.name for field in fields(Feature)]
        unmasked = tuple(_Unmasked(**{name: getattr(feature, name) for name in own}) for feature in features)
        position, values = positions(bars["segment"]), _values(bars, unmasked)
        settled = {owed: np.array([one.settled_after(owed) for one in features], np.int64) for owed in OWED}
        warm = position[:, None] >= settled[WARM]
        used = np.where(warm & np.isfinite(values), values, np.nan)
        counts = np.maximum((~np.isnan(used)).sum(axis=0), 1)
        mean = np.nansum(used, axis=0) / counts
        deviation = np.sqrt(np.nansum((used - mean) ** 2, axis=0) / counts)
        return cls(bars, unmasked, position, values, warm, deviation, settled)

    def compute(self, bars: pl.DataFrame) -> Matrix:
        """Return the values of other bars."""
        return _values(bars, self.features)

    def differs(self, other: Matrix, share: float, *, start: int = 0) -> Bools:
        """Return where `other`, the values of the bars from `start` on, is not what it is here."""
        here = self.values[start : start + len(other)]
        with np.errstate(invalid="ignore"):
            close = np.isfinite(here) & (np.abs(here - other) <= share * self.deviation + ROUNDING * np.abs(here))
        same: Bools = (here == other) | close | (np.isnan(here) & np.isnan(other))
        return ~same


@dataclass(frozen=True)
class _Found:
    """For each feature, the first row that breaks a rule, as many rows as there are for none, and the other value."""

    rule: Rule
    row: Ints
    other: Floats

    @classmethod
    def of(cls, rule: Rule, other: Matrix, broken: Bools, *, start: int = 0, rows: int) -> "_Found":
        """Return what `other`, the values from the row `start` on, tells, given where it breaks the rule."""
        first = broken.argmax(axis=0) if len(broken) else np.zeros(other.shape[1], np.int64)
        found = broken.any(axis=0)
        at = other[first, np.arange(other.shape[1])] if len(other) else np.full(other.shape[1], np.nan)
        return cls(rule, np.where(found, first + start, rows), at)


def audit(bars: pl.DataFrame, features: Sequence[Feature]) -> tuple[Audited, ...]:
    """Audit features on bars as `transforms.bars.segment` gives them, with the clock where a feature reads it.

    A few thousand bars are enough. The same bars give the same answers. A rule is not tried where no segment is as long
    as the warm-up.

    Raises:
        ValueError: as `add_features`.
    """
    whole = _Whole.of(bars, features)
    cuts = _cuts(whole.position, int(whole.settled[WARM].max(initial=0)))
    found = [*_changes_of_the_future(whole, cuts), _changes_between_segments(whole, cuts)]
    reach = np.full((2, len(features)), -1)
    for cut in cuts:
        violations, seen = _changes_of_the_past(whole, cut)
        found.append(violations)
        reach = np.maximum(reach, seen)
    # Prices 1024 times as high and volumes 64 times as low: powers of two, which round nothing.
    scales = dict.fromkeys(PRICES, 1024.0) | {"volume": 1 / 64, "taker_buy_volume": 1 / 64, "quote_volume": 1024 / 64}
    scaled = bars.with_columns(pl.col(name) * scale for name, scale in scales.items() if name in bars.columns)
    equal = ~(whole.differs(whole.compute(scaled), SCALED) & whole.warm)
    bars_used = whole.warm.sum(axis=0)
    return tuple(
        Audited(
            feature,
            _violation(whole, found, number),
            lookback=None if reach[0, number] < 0 else int(reach[0, number]),
            warmup=None if reach[1, number] < 0 else int(reach[1, number]),
            scale_free=bool(equal[:, number].all()) if bars_used[number] else None,
            bars=int(bars_used[number]),
        )
        for number, feature in enumerate(features)
    )


def _changes_of_the_future(whole: _Whole, cuts: Sequence[int]) -> Iterator[_Found]:
    """Yield what changes before a row if the bars from there on are other ones, and before the last cut if absent.

    The rows are the cuts and those halfway between: a feature of few values may stay what it is by chance.
    """
    rows = sorted({*cuts, *((one + other) // 2 for one, other in pairwise([0, *cuts]))})
    others = [(row, _rewritten(whole.bars, row)) for row in rows] + [(row, whole.bars.head(row)) for row in cuts[-1:]]
    for cut, bars in others:
        known = whole.compute(bars)[:cut]
        yield _Found.of("future", known, whole.differs(known, EQUAL) & whole.warm[:cut], rows=whole.bars.height)


def _changes_of_the_past(whole: _Whole, cut: int) -> tuple[_Found, Ints]:
    """Return what changes after the warm-up if the bars before a cut are absent, and how far back values reach.

    The latter is [2, features]: bars, by `EQUAL` and by `SETTLED`; -1 where the cut does not tell.
    """
    alone = whole.compute(whole.bars.slice(cut))
    count, natural = len(alone), whole.position[cut] == 0
    before = np.minimum(whole.position[cut:], np.arange(count))
    late = _late(whole, alone, before, start=cut)
    rule: Rule = "segment" if natural else "past"
    found = _Found.of(rule, alone, late, start=cut, rows=whole.bars.height)
    if natural:
        return found, np.full((2, alone.shape[1]), -1)
    # Of the rows in the segment that was cut, the n-th has n bars before it: the last that changes tells the reach.
    changed = np.stack([whole.differs(alone, share, start=cut) for share in (EQUAL, SETTLED)])
    own = (whole.position[cut:] - whole.position[cut] == np.arange(count))[:, None] & whole.warm[cut:]
    last = count - (changed & own)[:, ::-1].argmax(axis=1)
    return found, np.where(own.any(axis=0), np.where((changed & own).any(axis=1), last, 0), -1)


def _changes_between_segments(whole: _Whole, cuts: Sequence[int]) -> _Found:
    """Return what changes after the warm-up if a segment ends at each cut."""
    pieces = np.searchsorted(cuts, np.arange(whole.bars.height), side="right")
    number = pl.col("segment") * (len(cuts) + 1) + pl.Series(pieces, dtype=pl.UInt32)
    divided = whole.bars.with_columns(number.alias("segment"))
    values = whole.compute(divided)
    late = _late(whole, values, positions(divided["segment"]))
    return _Found.of("segment", values, late, rows=whole.bars.height)


def _late(whole: _Whole, other: Matrix, before: Ints, *, start: int = 0) -> Bools:
    """Return where values change by more than is owed, given how many bars of their segment come `before` each."""
    late: Bools = np.zeros(other.shape, np.bool_)
    for owed, share in OWED.items():
        late |= (before[:, None] >= whole.settled[owed]) & whole.differs(other, share, start=start)
    return late & whole.warm[start:]


def _violation(whole: _Whole, found: Sequence[_Found], number: int) -> Violation | None:
    """Return the first bar at which a feature breaks the first rule that it breaks."""
    for rule in get_args(Rule):
        broken = [one for one in found if one.rule == rule and one.row[number] < whole.bars.height]
        if broken:
            one = min(broken, key=lambda one: int(one.row[number]))
            row = int(one.row[number])
            value, other = (None if np.isnan(x) else float(x) for x in (whole.values[row, number], one.other[number]))
            return Violation(rule, whole.bars["timestamp"][row], value, other)
    return None


def _values(bars: pl.DataFrame, features: Sequence[Feature]) -> Matrix:
    made = add_features(bars, features).select(feature.name for feature in features)
    values: Matrix = made.to_numpy().astype(np.float64)
    return values


def _cuts(position: Ints, warmup: int) -> list[int]:
    """Return rows to cut at, where all features have values if any row is like that, and where a segment starts."""
    longest = int(position.max(initial=0))
    rows = np.flatnonzero(position >= min(warmup, longest // 2) + 1)
    step = next(size for size in range(max(1, len(rows) // (CUTS + 1)), 0, -1) if math.gcd(size, UNEVEN) == 1)
    spread = {int(row) for row in rows[step::step][:CUTS]}
    starts = np.flatnonzero(position == 0)[1:]
    lengths = np.diff(np.append(starts, len(position)))
    return sorted(spread | {int(starts[lengths.argmax()])} if len(starts) else spread)


def _rewritten(bars: pl.DataFrame, start: int) -> pl.DataFrame:
    """Give every bar from `start` on other prices, another volume and another flow, the same ones at every call."""
    random = np.random.default_rng(start)
    level, body, wick = (pl.Series(np.exp(random.normal(0, size, bars.height))) for size in (0.3, 0.05, 0.05))
    wider = pl.max_horizontal(wick, 1 / wick)
    changed = {
        "open": pl.col("open") * level * body,
        "high": pl.col("high") * level * pl.max_horizontal(body, 1.0) * wider,
        "low": pl.col("low") * level * pl.min_horizontal(body, 1.0) / wider,
        "close": pl.col("close") * level,
    }
    for name in ("volume", *FLOW):  # each by factors of its own, so that their ratios change, too
        factor = pl.Series(np.exp(random.normal(0, 1, bars.height)))
        changed[name] = (pl.col(name) + pl.col(name).mean()) * factor
    later = pl.int_range(pl.len()) >= start
    present = {name: value for name, value in changed.items() if name in bars.columns}
    return bars.with_columns(pl.when(later).then(value).otherwise(name).alias(name) for name, value in present.items())
