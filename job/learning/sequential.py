"""A test of the difference between two versions that may be looked at as often as one likes.

A fixed test is right once: looked at each day, it finds equal versions different sooner or later. Here the difference
is bet upon block by block, so that wealth beyond 1 / alpha is reached with a probability of at most alpha at *any* time
if there is nothing to win (Ville 1939). Bets and bounds are those of Choe and Ramdas (2024), "Comparing sequential
forecasters", theorem 2, after Howard, Ramdas, McAuliffe and Sekhon (2021): for differences d with |d| ≤ c / 2, g the
mean of those before, and any bet 0 ≤ b < 1 / c,

    exp(b Σ (d - E d) - ψ(b) Σ (d - g)²),  ψ(b) = (-log(1 - c b) - c b) / c²,

is a nonnegative supermartingale, where E d is the expectation given all blocks before. So nothing is assumed of how
differences are distributed, nor that they go on as they were: the test is of the mean of what was to be expected.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np

from job.learning.metrics import FloatArray
from job.learning.times import IntArray

CLIP: Final = 0.01
"""Nats a row by which a block may differ; more counts as so much. Shrunk models rarely differ by half of it."""
BETS: Final = 0.9 / (2 * CLIP) * 0.5 ** np.arange(14)
"""An equal share of the wealth bets by each of these: large ones win on large differences, small ones on small ones."""
PSI: Final = (-np.log1p(-2 * CLIP * BETS) - 2 * CLIP * BETS) / (2 * CLIP) ** 2
MOST_STEPS: Final = 60
"""Newton's method takes fewer than ten."""
CLOSE: Final = 1e-8
"""A step of this share is the last: the error after it is of the order of its square."""


def log_wealth(gain: FloatArray, spread: FloatArray) -> FloatArray:
    """Return the log of the wealth of bets that began as 1, for each of an array of tests.

    Args:
        gain: Σ (d - E d) in the direction of the bets.
        spread: Σ (d - g)².
    """
    logs = np.multiply.outer(gain, BETS) - np.multiply.outer(spread, PSI)
    top = logs.max(axis=-1)
    wealth: FloatArray = top + np.log(np.exp(logs - top[..., None]).mean(axis=-1))
    return wealth


def gain_for(enough: FloatArray, spread: FloatArray) -> FloatArray:
    """Return the gain at which `log_wealth` is `enough` (above 0), for each of an array of tests."""
    # The log of wealth rises with the gain and is convex. One share alone has enough at a gain that is too large by
    # little; from there Newton's method comes down to the root, and never passes it.
    costs = np.multiply.outer(spread, PSI)
    gain: FloatArray = (((enough + np.log(len(BETS)))[..., None] + costs) / BETS).min(axis=-1)
    for _ in range(MOST_STEPS):
        logs = np.multiply.outer(gain, BETS) - costs
        top = logs.max(axis=-1)
        shares = np.exp(logs - top[..., None])
        total = shares.sum(axis=-1)
        step = (top + np.log(total / len(BETS)) - enough) * total / (shares @ BETS)
        gain = gain - step
        if np.all(step <= CLOSE * gain):
            break
    return gain


@dataclass(frozen=True)
class Betting:
    """What complete blocks of time say of a difference.

    `total` is the sum over `blocks` of the mean difference of a block's rows (nats, clipped), `spread` that of their
    squared distances from the mean of the blocks before.
    """

    blocks: int = 0
    total: float = 0.0
    spread: float = 0.0

    def added(self, means: Sequence[float]) -> tuple[int, float, float]:
        """Return blocks, total and spread with the mean differences of later blocks added."""
        count, total, spread = self.blocks, self.total, self.spread
        for mean in means:
            clipped = -CLIP if mean < -CLIP else CLIP if mean > CLIP else mean
            spread += (clipped - (total / count if count else 0.0)) ** 2
            total += clipped
            count += 1
        return count, total, spread


@dataclass(frozen=True)
class Running(Betting):
    """Complete blocks of `length` distinct times, and the sums of the block that is not complete yet.

    `rows` and `difference` are sums over the rows of the incomplete block, which has `times` distinct times so far.
    """

    length: int = field(kw_only=True)
    times: int = 0
    rows: float = 0.0
    difference: float = 0.0

    def add(self, position: IntArray, difference: FloatArray) -> Self:
        """Return it with later rows added.

        Args:
            position: of each row's time among the distinct times of these rows, ascending from 0.
            difference: log-loss of version b less that of a, in nats, one per row.
        """
        if not len(position):
            return self
        times = self.times + int(position[-1]) + 1
        block = (self.times + position) // self.length
        rows = np.bincount(block, minlength=times // self.length + 1).astype(np.float64)
        sums = np.bincount(block, difference, minlength=len(rows))
        rows[0] += self.rows
        sums[0] += self.difference
        return type(self)(
            *self.added((sums[:-1] / rows[:-1]).tolist()),
            times=times % self.length,
            rows=float(rows[-1]),
            difference=float(sums[-1]),
            length=self.length,
        )
