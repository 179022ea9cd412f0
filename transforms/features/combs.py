"""Combs: single bars are rewritten, to find features that look ahead, or too far back, at rare bars only.

Cuts are few, and what happens at one bar in a thousand, such as the last of a day or one of a huge volume, is missed by
them. The teeth of a comb are bars that stand a little farther apart than a feature reaches. The bars before each have
none of them within reach, so they must stay as they are; a comb that is moved on tries others.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import polars as pl

from transforms.features.feature import EXACT, WARM
from transforms.features.rewriting import EQUAL, LARGE, OWED, Broken, Whole, first_broken, rewritten

COMBS: Final = 64
"""How many combs are tried at most for features that reach equally far: all there are for 62 bars, some for more."""
TRIES: Final = 4
"""How often a feature is looked at again that changed for no reason."""


@dataclass(frozen=True)
class _Comb:
    """Each `period`-th row from `phase` on, and by how much prices of these move."""

    period: int
    phase: int
    move: float

    def rewrite(self, bars: pl.DataFrame, *, after: int = -1) -> pl.DataFrame:
        """Return bars of which the teeth after a row are rewritten."""
        row = np.arange(bars.height)
        teeth = (row % self.period == self.phase) & (row > after)
        return rewritten(bars, teeth, self.phase, move=self.move)


def rare_changes(whole: Whole, combs: int) -> Iterator[Broken]:
    """Yield what later bars change, or earlier ones than a feature declares, at whatever bars; at most so many `combs`.

    An average remembers all teeth, so where there is one prices move by little.
    """
    closes = np.log(whole.bars["close"].to_numpy())
    small = 4 * max(1e-5, float(np.quantile(np.abs(np.diff(closes)), 0.9)) if closes.size > 1 else 0.0)
    row, reach = np.arange(whole.bars.height), whole.settled[WARM]
    kinds = np.stack([2 ** np.ceil(np.log2(reach + 2)).astype(np.int64), whole.settled[EXACT] > reach], axis=1)
    for period, remembers in np.unique(kinds, axis=0):
        numbers = np.flatnonzero((kinds == (period, remembers)).all(axis=1))
        kind, tries = whole.only(numbers), np.zeros(len(numbers), np.int64)
        for phase in range(0, period, -(-period // combs)):
            comb = _Comb(int(period), phase, small if remembers else LARGE)
            changed = kind.differs(kind.compute(comb.rewrite(kind.bars)), OWED[WARM if remembers else EXACT])
            alone = (row - phase) % period + period * (row < phase)
            changed &= kind.warm & (alone[:, None] > kind.settled[WARM])
            for one in np.flatnonzero(changed.any(axis=0) & (tries < TRIES)):
                causes = [*_causes(whole.only(numbers[[one]]), comb, int(changed[:, one].argmax()))]
                tries[one] += not causes
                yield from (replace(cause, feature=int(numbers[one])) for cause in causes)


def _causes(one: Whole, comb: _Comb, row: int) -> Iterator[Broken]:
    """Yield which rule a row breaks that changed: by later teeth alone, or where it has only the bars it declares."""
    later = one.compute(comb.rewrite(one.bars, after=row))[: row + 1]
    yield from first_broken("future", later, one.differs(later, EQUAL) & one.warm[: row + 1])
    before = int(one.settled[WARM][0])
    start = row - before
    alone = one.compute(one.bars.slice(start, before + 1))
    yield from first_broken("past", alone, one.late(alone, np.arange(before + 1), start=start), start=start)
