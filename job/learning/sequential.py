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

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import scipy

from job.learning.metrics import FloatArray
from job.learning.splits import IntArray

CLIP: Final = 0.01
"""Nats a row by which a block may differ; more counts as so much. Shrunk models rarely differ by half of it."""
BETS: Final = 0.9 / (2 * CLIP) * 0.5 ** np.arange(14)
"""An equal share of the wealth bets by each of these: large ones win on large differences, small ones on small ones."""
PSI: Final = (-np.log1p(-2 * CLIP * BETS) - 2 * CLIP * BETS) / (2 * CLIP) ** 2


@dataclass(frozen=True)
class Running:
    """What complete blocks of `length` distinct times say, and the sums of the block that is not complete yet.

    `total` is the sum over `blocks` of the mean difference of a block's rows (nats, clipped), `spread` that of their
    squared distances from the mean of the blocks before. `rows` and `difference` are sums over the rows of the
    incomplete block, which has `times` distinct times so far.
    """

    length: int
    blocks: int = 0
    total: float = 0.0
    spread: float = 0.0
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
        count, total, spread = self.blocks, self.total, self.spread
        for mean in np.clip(sums[:-1] / rows[:-1], -CLIP, CLIP).tolist():
            spread += (mean - (total / count if count else 0.0)) ** 2
            total += mean
            count += 1
        return replace(
            self, blocks=count, total=total, spread=spread,
            times=times % self.length, rows=float(rows[-1]), difference=float(sums[-1]),
        )  # fmt: skip

    def log_wealth(self, mean: float, *, below: bool) -> float:
        """Return the log of the wealth of bets that the mean is below `mean` (or above it), which began as 1."""
        gain = self.blocks * mean - self.total
        return float(scipy.special.logsumexp(BETS * (gain if below else -gain) - PSI * self.spread) - np.log(len(BETS)))

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the ends of a confidence sequence: with probability 1 - `alpha` the mean is between them at all times.

        It is of the mean over blocks of the clipped difference that was to be expected, in nats per row.
        """
        enough = np.log(2 / alpha)

        def end(*, below: bool) -> float:
            bound = CLIP if below else -CLIP
            if self.log_wealth(bound, below=below) < enough:
                return bound
            return float(
                scipy.optimize.brentq(
                    lambda mean: self.log_wealth(mean, below=below) - enough, -bound, bound, xtol=1e-12
                )
            )

        return end(below=False), end(below=True)
