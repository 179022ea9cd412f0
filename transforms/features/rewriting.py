"""Features of bars that are changed or fewer: what an audit compares, and where they differ."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Literal

import numpy as np
import polars as pl

from transforms.bars import FLOW
from transforms.features.compute import add_features
from transforms.features.feature import EXACT, WARM, Feature
from transforms.segments import positions

Matrix = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Bools = np.ndarray[tuple[int, int], np.dtype[np.bool_]]
Row = np.ndarray[tuple[int], np.dtype[np.bool_]]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
Rule = Literal["again", "future", "past", "segment"]

ROUNDING: Final = 2e-7
"""Relative error of Float32, in which values are given."""
EQUAL: Final = 1e-7
"""Share of a feature's standard deviation that two equal values may differ by."""
LARGE: Final = 0.3
"""Standard deviation by which prices of rewritten bars move, as a logarithm."""
OWED: Final = {WARM: 5e-2, EXACT: 1e-5}
"""By how much values may differ, as a share of a feature's standard deviation, when averages owe no more than this to
their start: if that was something rare, such as a volume a hundred times the usual, it is worth more than its share."""


class _Unmasked(Feature):
    """A feature with the values before its warm-up, which show when it has settled."""

    warmup = property(lambda _: 0)


@dataclass(frozen=True)
class Whole:
    """The values of all bars at once, which those of changed or fewer bars are compared with.

    `values` is [bars, features], NaN where there is none; `warm` says which are used; `deviation` is theirs. `settled`
    is after how many bars each feature owes no more than the keys of `OWED` to its start.
    """

    bars: pl.DataFrame
    features: tuple[Feature, ...]
    position: Ints
    values: Matrix
    warm: Bools
    deviation: Floats
    settled: Mapping[float, Ints]

    @classmethod
    def of(cls, bars: pl.DataFrame, features: Sequence[Feature]) -> "Whole":
        """Compute features of bars; raises as `add_features`."""
        own = [field.name for field in fields(Feature)]
        unmasked = tuple(_Unmasked(**{name: getattr(feature, name) for name in own}) for feature in features)
        position, values = positions(bars["segment"]), values_of(bars, unmasked)
        settled = {owed: np.array([one.settled_after(owed) for one in features], np.int64) for owed in OWED}
        warm = position[:, None] >= settled[WARM]
        used = np.where(warm & np.isfinite(values), values, np.nan)
        counts = np.maximum((~np.isnan(used)).sum(axis=0), 1)
        mean = np.nansum(used, axis=0) / counts
        deviation = np.sqrt(np.nansum((used - mean) ** 2, axis=0) / counts)
        return cls(bars, unmasked, position, values, warm, deviation, settled)

    def only(self, numbers: Ints) -> "Whole":
        """Return what is known of some of the features."""
        settled = {owed: bars[numbers] for owed, bars in self.settled.items()}
        features = tuple(self.features[number] for number in numbers)
        return replace(
            self,
            features=features,
            values=self.values[:, numbers],
            warm=self.warm[:, numbers],
            deviation=self.deviation[numbers],
            settled=settled,
        )

    def compute(self, bars: pl.DataFrame) -> Matrix:
        """Return the values of other bars."""
        return values_of(bars, self.features)

    def differs(self, other: Matrix, share: float, *, start: int = 0) -> Bools:
        """Return where `other`, the values of the bars from `start` on, is not what it is here."""
        here = self.values[start : start + len(other)]
        with np.errstate(invalid="ignore"):
            close = np.isfinite(here) & (np.abs(here - other) <= share * self.deviation + ROUNDING * np.abs(here))
        same: Bools = (here == other) | close | (np.isnan(here) & np.isnan(other))
        return ~same

    def late(self, other: Matrix, before: Ints, *, start: int = 0) -> Bools:
        """Return where values change by more than is owed, given how many bars of their segment come `before` each."""
        late: Bools = np.zeros(other.shape, np.bool_)
        for owed, share in OWED.items():
            late |= (before[:, None] >= self.settled[owed]) & self.differs(other, share, start=start)
        return late & self.warm[start : start + len(other)]


@dataclass(frozen=True)
class Broken:
    """The first row at which a feature, by its number, breaks a rule, and the value that it must not have."""

    rule: Rule
    feature: int
    row: int
    other: float


def first_broken(rule: Rule, other: Matrix, broken: Bools, *, start: int = 0) -> Iterator[Broken]:
    """Yield the first row of each feature that breaks the rule, given `other`, the values from the row `start` on."""
    for feature in np.flatnonzero(broken.any(axis=0)):
        row = int(broken[:, feature].argmax())
        yield Broken(rule, int(feature), start + row, float(other[row, feature]))


def values_of(bars: pl.DataFrame, features: Sequence[Feature]) -> Matrix:
    """Return [bars, features], NaN where there is no value."""
    made = add_features(bars, features).select(feature.name for feature in features)
    values: Matrix = made.to_numpy().astype(np.float64)
    return values


def rewritten(bars: pl.DataFrame, rows: Row, seed: int, *, move: float) -> pl.DataFrame:
    """Give some bars other prices, another volume and another flow: the same ones for the same seed.

    `move` is the standard deviation by which prices move, as a logarithm.
    """
    random = np.random.default_rng(seed)
    level, body, wick = (pl.Series(np.exp(random.normal(0, size, bars.height))) for size in (move, move / 6, move / 6))
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
    chosen = pl.Series(rows)
    present = {name: value for name, value in changed.items() if name in bars.columns}
    return bars.with_columns(pl.when(chosen).then(value).otherwise(name).alias(name) for name, value in present.items())
