"""Whether the best of several versions on one part of a holdout is any good on the rest of it.

Versions are compared by their log-loss on the same rows, block by block of time, which the metadata of each keeps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any, Final

import numpy as np

from job.learning.fleet import cluster_us
from job.learning.metrics import FloatArray
from job.learning.times import IntArray

LEAST_VERSIONS: Final = 4
"""Fewer versions have hardly a rank."""
MOST_BLOCKS: Final = 32
"""Blocks that a version's metadata keeps, which takes less than 1 kB."""
LEAST_GROUPS: Final = 8
MOST_GROUPS: Final = 16
"""Groups of blocks that halves are made of: 70 halves of 8 groups, 12,870 of 16."""
DIGITS: Final = 7


@dataclass(frozen=True)
class Overfitting:
    """How often the best of `versions` on half of `blocks` shared blocks is worse than their median on the other half.

    `pbo` is about .5 where all versions are equally good, and small where one is better than the others; null with
    fewer than 4 different versions or 8 blocks.
    """

    versions: int
    blocks: int
    pbo: float | None

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {"versions": self.versions, "blocks": self.blocks, "pbo": self.pbo}


def loss_by_block(times: IntArray, loss: FloatArray, *, horizon_bars: int, timeframe_us: int) -> dict[str, Any]:
    """Return rows and mean log-loss by block of the clock, at most 32 blocks, as JSON values.

    A block is as long as clusters of `learning.fleet` are, or a power of two times as long, so that blocks of versions
    of other lengths are parts of each other. `first` is the number of the first block since the epoch.
    """
    length = cluster_us(horizon_bars=horizon_bars, timeframe_us=timeframe_us)
    while int(times[-1]) // length - int(times[0]) // length >= MOST_BLOCKS:
        length *= 2
    block = times // length
    first = int(block[0])
    rows = np.bincount(block - first)
    mean = np.bincount(block - first, weights=loss) / np.maximum(rows, 1)
    return {"block_us": length, "first": first, "rows": rows.tolist(), "loss": np.round(mean, DIGITS).tolist()}


def overfitting_of(versions: Sequence[Mapping[str, Any]]) -> Overfitting:
    """Return the probability of backtest overfitting of versions, from `loss_by_block` of each.

    Only blocks count in which all versions were scored on equally many rows; versions of equal losses are one version.
    """
    rows, loss = shared_losses(versions)
    different = np.unique(loss, axis=1) if loss.size else loss
    found = None
    if different.shape[1] >= LEAST_VERSIONS and len(rows) >= LEAST_GROUPS:
        found = probability_of_overfitting(different, rows)
    return Overfitting(different.shape[1], len(rows), found)


def shared_losses(versions: Sequence[Mapping[str, Any]]) -> tuple[FloatArray, FloatArray]:
    """Return the rows of each shared block, and float64 [blocks, versions] of mean log-loss; blocks as the longest."""
    if not versions:
        return np.zeros(0), np.zeros((0, 0))
    length = max(one["block_us"] for one in versions)
    joined = []
    for one in versions:
        rows, block = np.array(one["rows"], np.float64), one["first"] + np.arange(len(one["rows"]))
        block = block // (length // one["block_us"])
        count, total = (np.bincount(block - block[0], weights=part) for part in (rows, rows * np.array(one["loss"])))
        joined.append({int(block[0]) + n: (count[n], total[n] / count[n]) for n in np.flatnonzero(count).tolist()})
    shared = [
        block for block in sorted(set.intersection(*map(set, joined))) if len({one[block][0] for one in joined}) == 1
    ]
    found = np.array([[one[block] for one in joined] for block in shared]).reshape(len(shared), len(joined), 2)
    return found[:, :1, 0].ravel(), found[..., 1]


def probability_of_overfitting(loss: FloatArray, rows: FloatArray) -> float:
    """Return PBO by combinatorially symmetric cross-validation of float64 [blocks, versions] of mean loss.

    Blocks form an even number of groups, at most 16, each a stretch of time. For every half of the groups, the version
    of least loss on it is ranked by its loss on the other half; PBO is the share of halves in which it is worse than
    the median (Bailey, Borwein, López de Prado and Zhu 2017, "The probability of backtest overfitting"). A version that
    is the median counts half, so that it is .5 on average where versions differ by chance.
    """
    groups = min(len(loss) // 2 * 2, MOST_GROUPS)
    parts = np.array_split(np.arange(len(loss)), groups)
    sums = np.stack([rows[part] @ loss[part] for part in parts])
    count = np.array([rows[part].sum() for part in parts])
    half = halves(groups)
    inside, outside = ((side @ sums) / (side @ count)[:, None] for side in (half, 1 - half))
    best = np.take_along_axis(outside, inside.argmin(axis=1)[:, None], axis=1)
    better, worse = (outside < best).sum(axis=1), (outside > best).sum(axis=1)
    return float((better > worse).mean() + (better == worse).mean() / 2)


@cache
def halves(groups: int) -> FloatArray:
    """Return float64 [halves, groups]: 1 for the groups of each half, 0 for the others."""
    found = np.zeros((math.comb(groups, groups // 2), groups))
    for number, chosen in enumerate(combinations(range(groups), groups // 2)):
        found[number, chosen] = 1.0
    return found
