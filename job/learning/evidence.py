"""What rows tell of the difference between two versions, as sums over blocks of time to which later rows are added.

Bars come week by week, and the input may hold the last ones only. So a comparison keeps these sums, the next one adds
the rows that came after them, and their test is the one that all rows together would give.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np

from job.learning.metrics import FloatArray
from job.learning.sequential import Running
from job.learning.times import IntArray

SUMS: Final = ("rows", "loss_a", "difference", "right_a", "gained")
"""What is summed over the rows of a block: 1, log-loss of a, b's less a's, whether a is right, b's less a's."""
MOST_BLOCKS: Final = 256
"""More blocks would tell hardly more of the variance, and take more room in a comparison's record."""
DAY_US: Final = 86_400_000_000
HORIZONS: Final = 5
"""A block is at least so many horizons long: labels of a horizon overlap, and what a version says of them persists."""


@dataclass(frozen=True)
class Evidence:
    """Sums over blocks of `length` distinct times each, the last one maybe incomplete, in the order of time.

    `blocks` has the numbers of `SUMS` per block. `times` counts the distinct times of all, which began at `first` and
    ended at `last` (µs since the epoch). `looks` counts the comparisons that were based on it, the last one included.
    `running` is what the sequential test knows of the same rows; records of early releases have none.
    """

    length: int
    times: int
    first: int
    last: int
    looks: int
    blocks: tuple[tuple[float, ...], ...]
    running: Running | None = None

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` turned into JSON values.

        Raises:
            TypeError, ValueError: it is something else.
        """
        running = record.get("running")
        found = cls(
            **{
                **record,
                "blocks": tuple(map(tuple, record["blocks"])),
                "running": None if running is None else Running(**running),
            }
        )
        if any(len(block) != len(SUMS) for block in found.blocks):
            raise ValueError(f"a block of evidence has {len(SUMS)} sums")
        return found

    def total(self, name: str) -> float:
        """Return the sum of one of `SUMS` over all rows."""
        return math.fsum(block[SUMS.index(name)] for block in self.blocks)

    def mean(self, name: str) -> float:
        """Return the mean of one of `SUMS` over all rows."""
        return self.total(name) / self.total("rows")

    @property
    def complete_blocks(self) -> int:
        """How many blocks have all of their times."""
        return self.times // self.length

    @property
    def days(self) -> float:
        """How many days of bars it is of."""
        return (self.last - self.first) / DAY_US

    def error(self, name: str) -> float | None:
        """Return the standard error of `mean`, from the spread of blocks as of clusters; None with fewer than two.

        It is sqrt(k / (k - 1) · Σ (s - mean · n)²) / N over k blocks with n of the N rows and sums s. Rows of an
        incomplete block count with the block before it. The mean over its error has Student's t(k - 1).
        """
        complete = self.complete_blocks
        if complete < 2:
            return None
        sums = np.array(self.blocks)
        sums = np.vstack([sums[: complete - 1], sums[complete - 1 :].sum(axis=0)])
        rows, values = sums[:, 0], sums[:, SUMS.index(name)]
        residuals = values - self.mean(name) * rows
        return math.sqrt(float(np.square(residuals).sum()) * complete / (complete - 1)) / float(rows.sum())


def block_times(times: int, horizon: int) -> int:
    """Return how many distinct times a block has: `HORIZONS` horizons, doubled until it is n^(1/3) or blocks are few.

    It only ever doubles as times are added, so blocks are joined and never cut.
    """
    length = HORIZONS * horizon
    while length < np.cbrt(times) or times > MOST_BLOCKS * length:
        length *= 2
    return length


def gather(times: IntArray, sums: FloatArray, *, horizon: int, before: Evidence | None = None) -> Evidence:
    """Return the evidence of rows, together with what was known `before` of earlier ones; no row counts twice.

    Args:
        times: `available_at` of the rows, ascending, in µs; at least one row.
        sums: float64 [rows, `SUMS`], what each row adds.
        horizon: bars after a row within which its label is resolved.
        before: what an earlier comparison of these versions knew. Rows that have all of its times, or more, count
            alone; of others, as where files are gone by now, those that come after it are added.
    """
    if (
        before is not None
        and int(times[0]) <= before.first
        and len(np.unique(times[times <= before.last])) >= before.times
    ):
        return replace(gather(times, sums, horizon=horizon), looks=before.looks + 1)
    if before is not None:
        sums, times = sums[times > before.last], times[times > before.last]
        if not len(times):
            return replace(before, looks=before.looks + 1)
    _, position = np.unique(times, return_inverse=True)
    known = before.times if before is not None else 0
    count = known + int(position[-1]) + 1
    length = block_times(count, horizon)
    blocks = np.zeros((-(-count // length), len(SUMS)))
    if before is not None:
        np.add.at(blocks, np.arange(len(before.blocks)) * before.length // length, np.array(before.blocks))
    np.add.at(blocks, (known + position) // length, sums)
    running = (before and before.running) or Running(length=HORIZONS * horizon)
    return Evidence(
        length=length,
        times=count,
        first=int(times[0]) if before is None else before.first,
        last=int(times[-1]),
        looks=1 if before is None else before.looks + 1,
        blocks=tuple(map(tuple, blocks.tolist())),
        running=running.add(position, sums[:, SUMS.index("difference")]),
    )
