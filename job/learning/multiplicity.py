"""Whether the best of several models is better than its base rate by more than the luck of having tried several.

Each model has a gain over time: the log-loss of its base rate less its own, summed over blocks of the clock. Blocks are
at least five horizons long, so that they hardly depend on each other through labels; models depend on each other as
much as they like, for resamples draw whole blocks of all models together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from job.learning.fleet import MIN_CLUSTERS
from job.learning.metrics import FloatArray
from job.learning.times import IntArray

Clusters = tuple[int, Mapping[str, Sequence[float]]]
"""What `learning.fleet.log_loss_delta_by_cluster` returns of a model, after the length of its clusters in µs."""

RESAMPLES: Final = 1_999
SEED: Final = 2005
"""Equal gains always give equal numbers."""
LEAST_BLOCKS: Final = 8
"""Fewer shared blocks give no p."""
MOST_BLOCKS: Final = 256
"""More blocks would tell hardly more of the variance, and cost more; neighbors are joined."""
TINY: Final = 1e-300


@dataclass(frozen=True)
class Best:
    """How sure it is that the best of `models` is better than its base rate: `p` allows for all of them.

    `adjusted` has a p for each model, in their order: those below alpha are better than their base rates with one
    wrong claim in at most a share alpha of all such families. `p` is the lowest of them, and Hansen's SPA p. All are
    one-sided, and null with fewer than `LEAST_BLOCKS` shared `blocks` of time, as is `best`, the place of the best.
    Models that have fewer by themselves are not among the `models` that are tested, and have no p.
    """

    models: int
    blocks: int
    best: int | None = None
    p: float | None = None
    adjusted: tuple[float | None, ...] = ()

    @property
    def underpowered(self) -> bool:
        """Too few blocks for p to be relied on."""
        return self.blocks < MIN_CLUSTERS

    def record(self) -> dict[str, Any]:
        """Return what is said of all models together as JSON values."""
        return {"models": self.models, "blocks": self.blocks, "p": self.p, "underpowered": self.underpowered}


def best_of(models: Sequence[Clusters]) -> Best:
    """Test the best of several models against their base rates, on the time that they share.

    The statistic is the largest mean gain per row in units of its standard error, as in the test of superior predictive
    ability (Hansen 2005, "A test for superior predictive ability", his consistent p); p of the others by the step-down
    of Romano and Wolf (2005, "Stepwise multiple testing as formalized data snooping"). Resamples are those of the
    stationary bootstrap (Politis and Romano 1994) of blocks of time. Each has its own standard errors, without which
    few blocks find skill in noise up to twice as often as they should.
    """
    tested = [place for place, (_, clusters) in enumerate(models) if len(clusters) >= LEAST_BLOCKS]
    gains = shared_gains([models[place] for place in tested])
    blocks = len(gains)
    if blocks < LEAST_BLOCKS:
        return Best(len(tested), blocks, adjusted=(None,) * len(models))
    mean_length = max(1.0, float(np.cbrt(blocks)) / 3)
    statistic, simulated = simulate(gains, draws(blocks, mean_length), mean_length=mean_length)
    adjusted = dict(zip(tested, step_down(statistic, simulated), strict=True))
    return Best(
        models=len(tested),
        blocks=blocks,
        best=tested[int(statistic.argmax())],
        p=min(adjusted.values()),
        adjusted=tuple(adjusted.get(place) for place in range(len(models))),
    )


def shared_gains(models: Sequence[Clusters]) -> FloatArray:
    """Return float64 [blocks, models]: gains by block of the time that all models share, each with its mean per row.

    Blocks are as long as the longest clusters of any model, and longer where there would be more than `MOST_BLOCKS`. A
    cluster belongs to the block in which it begins. Blocks have different numbers of rows, so a model's mean is a ratio
    of sums; its gain in a block is the mean, and what the block adds to the error of the mean: its residual.
    """
    if not models:
        return np.zeros((0, 0))
    length = max(length for length, _ in models)
    joined = [join(clusters, length) for clusters in models]
    shared = sorted(set.intersection(*map(set, joined)))
    while len(shared) > MOST_BLOCKS:
        length *= 2
        joined = [join(clusters, length) for clusters in models]
        shared = sorted(set.intersection(*map(set, joined)))
    if not shared:
        return np.zeros((0, len(models)))
    sums = np.array([[one[block] for block in shared] for one in joined])
    rows, gain = sums[..., 0].T, -sums[..., 1].T
    mean = gain.sum(axis=0) / rows.sum(axis=0)
    found: FloatArray = mean + (gain - mean * rows) / rows.mean(axis=0)
    return found


def join(clusters: Clusters, length: int) -> dict[int, tuple[float, float]]:
    """Return rows and sums by block of `length` µs, by the number of the block since the epoch."""
    own, found = clusters[0], dict[int, tuple[float, float]]()
    for cluster, (rows, change) in clusters[1].items():
        block = int(cluster) * own // length
        before = found.get(block, (0.0, 0.0))
        found[block] = before[0] + rows, before[1] + change
    return found


def draws(blocks: int, mean_length: float) -> IntArray:
    """Return int64 [resamples, blocks] from 0 on: runs of blocks of a geometric length, which wrap around the end."""
    rng = np.random.default_rng(SEED)
    begins = rng.random((RESAMPLES, blocks)) < 1 / mean_length
    begins[:, 0] = True
    place = np.arange(blocks)
    begun = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    first = np.take_along_axis(rng.integers(0, blocks, (RESAMPLES, blocks)), begun, axis=1)
    found: IntArray = (first + place - begun) % blocks
    return found


def simulate(gains: FloatArray, drawn: IntArray, *, mean_length: float) -> tuple[FloatArray, FloatArray]:
    """Return the statistic of each model, and float64 [resamples, models] of what it would be without any gain.

    A model that is worse than its base rate by more than sqrt(2 log log n) errors keeps its mean in resamples: it is
    no candidate for the best, and must not make the others look less good (Hansen 2005).
    """
    count = len(gains)
    mean, error = gains.mean(axis=0), np.sqrt(np.maximum(long_run_variance(gains, mean_length), TINY) / count)
    hopeless = mean < -math.sqrt(2 * math.log(math.log(count))) * error
    times = np.zeros((len(drawn), count))
    np.add.at(times, (np.arange(len(drawn))[:, None], drawn), 1.0)
    resampled = times @ gains / count
    off = (resampled - np.where(hopeless, 0.0, mean)) / (error * spread(gains, times))
    return mean / error, off


def spread(gains: FloatArray, times: FloatArray) -> FloatArray:
    """Return float64 [resamples, models]: the blocks' standard deviation in each resample over that of all blocks."""
    away = gains - gains.mean(axis=0)
    total = np.maximum(np.square(away).mean(axis=0), TINY)
    variance = times @ np.square(away) / len(gains) - np.square(times @ away / len(gains))
    found: FloatArray = np.sqrt(np.maximum(variance / total, 1e-6))
    return found


def long_run_variance(gains: FloatArray, mean_length: float) -> FloatArray:
    """Return the variance over stationary bootstraps of the columns' means, times the number of rows.

    Exact, without drawing any (Politis and Romano 1994, lemma 1).
    """
    count, away, ends = len(gains), gains - gains.mean(axis=0), 1 / mean_length
    variance: FloatArray = np.square(away).sum(axis=0) / count
    for lag in range(1, count):
        weight = (1 - lag / count) * (1 - ends) ** lag + lag / count * (1 - ends) ** (count - lag)
        if weight > 0:
            variance = variance + 2 * weight * (away[lag:] * away[:-lag]).sum(axis=0) / count
    return variance


def step_down(statistic: FloatArray, simulated: FloatArray) -> tuple[float, ...]:
    """Return the p of each model among all: from the best down, each against the best resampled of those not above it.

    The share of resamples that are at least as good, the data themselves counted as one; 1 for models that gain
    nothing.
    """
    adjusted, worst = np.ones(len(statistic)), 0.0
    left = list(np.argsort(-statistic, kind="stable"))
    while left and statistic[left[0]] > 0:
        as_good = int((simulated[:, left].max(axis=1) >= statistic[left[0]]).sum())
        worst = max(worst, (1 + as_good) / (1 + len(simulated)))
        adjusted[left.pop(0)] = worst
    return tuple(adjusted.tolist())
