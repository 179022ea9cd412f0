"""Whether a champion has become worse than its base rate, at a time that nobody knows.

An e-detector of Shin, Ramdas and Rinaldo (2023), "E-detectors: a nonparametric framework for sequential change
detection": bets that the difference is above 0 begin again and again, and what they won is added up, as in Shiryaev and
Roberts' procedure. Here each beginning has a share of the wealth, and all shares add up to 1. So wealth beyond
1 / alpha is reached with a probability of at most alpha, however long one looks, if the champion is never expected to
be worse than its base rate (their weights let false alarms be as rare as one wants; without them the mean time until
one would be bounded). The bets are those of `sequential`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np

from job.learning.metrics import FloatArray
from job.learning.sequential import BETS, PSI, Betting

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

    `shares` has, for each of `BETS`, the log of what the beginnings so far would be worth if nothing had been won or
    lost since the first block.
    """

    shares: tuple[float, ...] = (log_share(1),) * len(BETS)

    def with_means(self, means: Iterable[float]) -> Self:
        """Return it with the mean differences of later blocks added."""
        found, rest = self, list(means)
        while rest:
            if found.blocks and found.blocks % BLOCKS_BETWEEN == 0:
                begun = log_share(found.blocks // BLOCKS_BETWEEN + 1) - (found.total * BETS - found.spread * PSI)
                found = replace(found, shares=tuple(np.logaddexp(found.shares, begun).tolist()))
            until_next = BLOCKS_BETWEEN - found.blocks % BLOCKS_BETWEEN
            found = super(Skill, found).with_means(rest[:until_next])
            rest = rest[until_next:]
        return found


def log_e_of_decay(found: Sequence[Skill]) -> FloatArray:
    """Return the log of each champion's wealth by now, which is an e-value against its never having become worse."""
    total, spread = np.array([one.total for one in found]), np.array([one.spread for one in found])
    logs = np.array([one.shares for one in found]) + np.multiply.outer(total, BETS) - np.multiply.outer(spread, PSI)
    wealth: FloatArray = np.logaddexp.reduce(logs, axis=-1) - np.log(len(BETS))
    return wealth
