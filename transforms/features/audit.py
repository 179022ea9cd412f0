"""Audit of features on bars: is every value made of its own bar and of those before it that the feature declares?

Bars after a cut are rewritten and left out, bars before it are left out, segments are set apart, prices and volumes are
scaled: no value of a sound feature changes. All features are computed at once; and since every bar after a cut is one
farther away from it than the bar before, one cut of the past tells how far back each feature looks. Cuts are few; combs
find what a feature does at rare bars only.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, get_args

import numpy as np
import polars as pl

from transforms.bars import PRICES
from transforms.features.combs import COMBS, rare_changes
from transforms.features.feature import WARM, Feature
from transforms.features.rewriting import EQUAL, LARGE, Broken, Ints, Rule, Whole, first_broken, rewritten
from transforms.segments import positions

CUTS: Final = 4
UNEVEN: Final = 2 * 3 * 5
"""Cuts are so many bars apart as has no factor in common with this: of two neighbors, one at least lies inside an hour,
a day, or any coarser bar of so many bars, whose end a feature may know too early."""
SETTLED: Final = 1e-2
"""Share of a feature's standard deviation that a value may differ by which has settled well enough."""
SCALED: Final = 1e-5
"""The same share where prices are 1024 times as high: logarithms then round otherwise."""


@dataclass(frozen=True)
class Violation:
    """The first bar at which a feature breaks a rule: its open time, its value, and another that it must not have.

    `again`: `other` is its value where the same bars are computed once more.
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
            far back averages remember. None if no cut leaves enough bars to tell, or no value is finite.
        warmup: the same by more than 1e-2.
        scale_free: whether prices times 1024 and volumes by 64 change no value; None if there is no value.
        bars: how many finite values were looked at.
    """

    feature: Feature
    violation: Violation | None
    lookback: int | None
    warmup: int | None
    scale_free: bool | None
    bars: int


def audit(bars: pl.DataFrame, features: Sequence[Feature], *, combs: int = COMBS) -> tuple[Audited, ...]:
    """Audit features on bars as `transforms.bars.segment` gives them, with the clock where a feature reads it.

    A few thousand bars are enough. The same bars give the same answers. A rule is not tried where no segment is as long
    as the warm-up. With fewer than `COMBS` combs, fewer bars are tried by themselves.

    Raises:
        ValueError: as `add_features`.
    """
    if not features:
        return ()
    whole = Whole.of(bars, features)
    cuts = _cuts(whole.position, int(whole.settled[WARM].max(initial=0)))
    again = whole.compute(bars)
    found = [*first_broken("again", again, whole.differs(again, EQUAL) & whole.warm)]
    found += _changes_of_the_future(whole, cuts)
    # At each cut a segment ends.
    piece = pl.Series(np.searchsorted(cuts, np.arange(bars.height), side="right"), dtype=pl.UInt32)
    divided = bars.with_columns(segment=pl.col("segment") * (len(cuts) + 1) + piece)
    values = whole.compute(divided)
    found += first_broken("segment", values, whole.late(values, positions(divided["segment"])))
    found += rare_changes(whole, combs)
    reach = np.full((2, len(features)), -1)
    for cut in cuts:
        violations, seen = _changes_of_the_past(whole, cut)
        found += violations
        reach = np.maximum(reach, seen)
    # Prices 1024 times as high and volumes 64 times as low: powers of two, which round nothing.
    scales = dict.fromkeys(PRICES, 1024.0) | {"volume": 1 / 64, "taker_buy_volume": 1 / 64, "quote_volume": 1024 / 64}
    scaled = bars.with_columns(pl.col(name) * scale for name, scale in scales.items() if name in bars.columns)
    equal = ~(whole.differs(whole.compute(scaled), SCALED) & whole.warm)
    bars_used = (whole.warm & np.isfinite(whole.values)).sum(axis=0)
    reach[:, bars_used == 0] = -1
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


def _changes_of_the_future(whole: Whole, cuts: Sequence[int]) -> Iterator[Broken]:
    """Yield what changes before a row if the bars from there on are other ones, and before the last cut if absent.

    The rows are the cuts and those halfway between: a feature of few values may stay what it is by chance.
    """
    rows = sorted({*cuts, *((one + other) // 2 for one, other in pairwise([0, *cuts]))})
    number = np.arange(whole.bars.height)
    others = [(row, rewritten(whole.bars, number >= row, row, move=LARGE)) for row in rows]
    others += [(row, whole.bars.head(row)) for row in cuts[-1:]]
    for cut, bars in others:
        known = whole.compute(bars)[:cut]
        yield from first_broken("future", known, whole.differs(known, EQUAL) & whole.warm[:cut])


def _changes_of_the_past(whole: Whole, cut: int) -> tuple[list[Broken], Ints]:
    """Return what changes after the warm-up if the bars before a cut are absent, and how far back values reach.

    The latter is [2, features]: bars, by `EQUAL` and by `SETTLED`; -1 where the cut does not tell.
    """
    alone = whole.compute(whole.bars.slice(cut))
    count, natural = len(alone), whole.position[cut] == 0
    before = np.minimum(whole.position[cut:], np.arange(count))
    late = whole.late(alone, before, start=cut)
    found = [*first_broken("segment" if natural else "past", alone, late, start=cut)]
    if natural:
        return found, np.full((2, alone.shape[1]), -1)
    # Of the rows in the segment that was cut, the n-th has n bars before it: the last that changes tells the reach.
    changed = np.stack([whole.differs(alone, share, start=cut) for share in (EQUAL, SETTLED)])
    own = (whole.position[cut:] - whole.position[cut] == np.arange(count))[:, None] & whole.warm[cut:]
    last = count - (changed & own)[:, ::-1].argmax(axis=1)
    return found, np.where(own.any(axis=0), np.where((changed & own).any(axis=1), last, 0), -1)


def _violation(whole: Whole, broken: Iterable[Broken], number: int) -> Violation | None:
    """Return the first bar at which a feature breaks the first rule that it breaks."""
    rules, own = get_args(Rule), [one for one in broken if one.feature == number]
    if not own:
        return None
    one = min(own, key=lambda one: (rules.index(one.rule), one.row))
    value, other = (None if np.isnan(x) else float(x) for x in (whole.values[one.row, number], one.other))
    return Violation(one.rule, whole.bars["timestamp"][one.row], value, other)


def _cuts(position: Ints, warmup: int) -> list[int]:
    """Return rows to cut at, where all features have values if any row is like that, and where a segment starts."""
    longest = int(position.max(initial=0))
    rows = np.flatnonzero(position >= min(warmup, longest // 2) + 1)
    step = next(size for size in range(max(1, len(rows) // (CUTS + 1)), 0, -1) if math.gcd(size, UNEVEN) == 1)
    spread = {int(row) for row in rows[step::step][:CUTS]}
    starts = np.flatnonzero(position == 0)[1:]
    lengths = np.diff(np.append(starts, len(position)))
    return sorted(spread | {int(starts[lengths.argmax()])} if len(starts) else spread)
