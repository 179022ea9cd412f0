"""Whether a champion has become worse than its base rate, at a time that nobody knows.

An e-detector of Shin, Ramdas and Rinaldo (2023), "E-detectors: a nonparametric framework for sequential change
detection": bets that the difference is above 0 begin again and again, and what they won is added up, as in Shiryaev and
Roberts' procedure. Here each beginning has a share of the wealth, and all shares add up to 1. So wealth beyond
1 / alpha is reached with a probability of at most alpha, however long one looks, if the champion is never expected to
be worse than its base rate (with a whole unit of wealth for each, only the mean time until a false alarm is bounded).

A bet of b multiplies its wealth by 1 + b d at each block (Waudby-Smith and Ramdas 2024, "Estimating means of bounded
random variables by betting"). Against a mean that is known to be 0 it wins half as much again as the bets of
`sequential`, which are about any mean.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np

from job.learning.metrics import FloatArray
from job.learning.sequential import CLIP, Betting

STAKES: Final = 0.9 / CLIP * 0.5 ** np.arange(8)
"""An equal share of the wealth bets each of these: no block can lose more than nine tenths of it."""
BLOCKS_BETWEEN: Final = 32
"""Bets begin again after so many blocks, a week of 5m bars with a horizon of 12. More beginnings would have smaller
shares, and finding that a little skill is gone takes months."""


def log_share(beginning: int) -> float:
    """Return the log of the wealth for one of the beginnings, which count from 1.

    It is 1 / log2(n + 1) - 1 / log2(n + 2), which adds up to 1 and falls hardly faster than 1 / n: .37 for the first,
    .003 after a year of weeks.
    """
    return float(np.log(1 / np.log2(beginning + 1) - 1 / np.log2(beginning + 2)))


@dataclass(frozen=True)
class Skill(Betting):
    """What complete blocks say of a champion's log-loss less that of its base rate.

    `decay` has, for each of `STAKES`, the log of what bets that it is above 0 are worth by now.
    """

    decay: tuple[float, ...] = (log_share(1),) * len(STAKES)

    def with_means(self, means: Sequence[float]) -> Self:
        """Return it with the mean differences of later blocks added."""
        if not means:
            return self
        wealth = np.array(self.decay)
        won = np.log1p(np.multiply.outer(np.clip(means, -CLIP, CLIP), STAKES))
        first = -self.blocks % BLOCKS_BETWEEN if self.blocks else BLOCKS_BETWEEN
        for begun in range(first, len(means), BLOCKS_BETWEEN):
            share = log_share((self.blocks + begun) // BLOCKS_BETWEEN + 1)
            wealth = np.logaddexp(wealth, share - won[:begun].sum(axis=0))
        return type(self)(*self.added(means), decay=tuple((wealth + won.sum(axis=0)).tolist()))


def log_e_of_decay(found: Sequence[Skill]) -> FloatArray:
    """Return the log of each champion's wealth by now, which is an e-value against its never having become worse."""
    wealth: FloatArray = np.logaddexp.reduce(np.array([one.decay for one in found]), axis=-1) - np.log(len(STAKES))
    return wealth
