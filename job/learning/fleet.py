"""Skill of many models together: symbols move together, so evidence is counted by clusters of the clock."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy  # not its parts, which load on first use: the driver imports this

from job.learning.metrics import CONFIDENCE

LogLossDelta = dict[str, list[float]]
"""Change of log-loss against the base by cluster of the clock: {cluster's number since the epoch: [rows, sum]}."""
HOUR_US: Final = 3_600_000_000
MIN_CLUSTERS: Final = 10
"""A test over fewer clusters is flagged as underpowered."""
LEAST_TAIL: Final = 1e-300
"""Smaller probabilities have no normal deviate in floating point; this one's is 37."""


def cluster_us(horizon_bars: int, timeframe_us: int) -> int:
    """Return how long a cluster of the clock is, in µs: an hour, or five horizons if that is more."""
    return max(HOUR_US, 5 * horizon_bars * timeframe_us)


def log_loss_delta_by_cluster(
    times: npt.NDArray[np.int64], change: npt.NDArray[np.float64], *, horizon_bars: int, timeframe_us: int
) -> LogLossDelta:
    """Sum the rows' `change` of log-loss over clusters of the clock, which are `cluster_us` long."""
    cluster, position = np.unique(times // cluster_us(horizon_bars, timeframe_us), return_inverse=True)
    rows, sums = np.bincount(position), np.bincount(position, weights=change)
    return {str(c): [int(n), float(s)] for c, n, s in zip(cluster, rows, sums, strict=True)}


def add_log_loss_delta(totals: LogLossDelta, log_loss_delta: Mapping[str, Sequence[float]]) -> None:
    """Add the rows and sums of `log_loss_delta` to those of `totals`, cluster by cluster."""
    for cluster, (rows, change) in log_loss_delta.items():
        before = totals.get(cluster, (0.0, 0.0))
        totals[cluster] = [before[0] + rows, before[1] + change]


@dataclass(frozen=True)
class FleetSkill:
    """Mean change of log-loss over many models (below 0 is skill), and whether it is more than chance.

    `t` has Student's distribution with `clusters` - 1 degrees of freedom, `p` is its two-sided p, and `z` the normal
    deviate of the same p, so that z below -2 is as rare whatever the number of clusters. All three are nan with fewer
    than two clusters, and where nothing varies, as when every model is shrunk to its base rate.
    """

    mean: float
    t: float
    p: float
    z: float
    clusters: int

    @property
    def underpowered(self) -> bool:
        """Too few clusters for the test to be relied on."""
        return self.clusters < MIN_CLUSTERS

    def record(self) -> dict[str, Any]:
        """Return the test as JSON values; what is not known is null."""
        found = {"t": self.t, "p": self.p, "z": self.z}
        known = {name: None if math.isnan(value) else value for name, value in found.items()}
        return {**known, "clusters": self.clusters, "underpowered": self.underpowered}


def fleet_skill(mean: float, t: float, clusters: int) -> FleetSkill:
    """Return the test whose statistic is `t`, which is nan where nothing can be tested."""
    tail = float(scipy.special.stdtr(clusters - 1, -abs(t))) if clusters > 1 else math.nan
    z = math.copysign(float(scipy.special.ndtri(max(tail, LEAST_TAIL))), t)
    return FleetSkill(mean, t, 2 * tail, math.nan if math.isnan(tail) else z, clusters)


def fleet_of_one(mean: float, p: float | None, blocks: int) -> FleetSkill:
    """Return the test of a single model whose own interval, from so many blocks, has the two-sided `p`.

    Clusters of the clock could tell otherwise than the interval.
    """
    if p is None:
        return fleet_skill(mean, math.nan, blocks)
    return fleet_skill(mean, math.copysign(float(-scipy.special.stdtrit(blocks - 1, p / 2)), mean), blocks)


def p_of_interval(value: float, low: float | None, high: float | None, blocks: int) -> float | None:
    """Return the two-sided p that the `value` of a 95% interval by Student's t(`blocks` - 1) is zero."""
    if low is None or high is None or high == low:
        return None
    error = (high - low) / 2 / float(scipy.special.stdtrit(blocks - 1, (1 + CONFIDENCE) / 2))
    return float(2 * scipy.special.stdtr(blocks - 1, -abs(value) / error))


def fleet_test(log_loss_deltas: Iterable[Mapping[str, Sequence[float]]]) -> FleetSkill:
    """Test whether log-loss changes on average, from `log_loss_delta_by_cluster` of models of one label and timeframe.

    Symbols move together and labels overlap, so what all models did in one cluster of the clock counts as a single
    observation: cluster-robust standard error of the mean over rows, and as many degrees of freedom as clusters less
    one, without which few clusters find skill too often (Cameron, Gelbach and Miller 2008).
    """
    totals: LogLossDelta = {}
    for log_loss_delta in log_loss_deltas:
        add_log_loss_delta(totals, log_loss_delta)
    if not totals:
        return fleet_skill(math.nan, math.nan, 0)
    rows, sums = np.array(list(totals.values())).T
    mean, clusters = float(sums.sum() / rows.sum()), len(sums)
    if clusters < 2:
        return fleet_skill(mean, math.nan, clusters)
    error = math.sqrt(float(np.square(sums - mean * rows).sum()) * clusters / (clusters - 1)) / float(rows.sum())
    return fleet_skill(mean, mean / error if error else math.nan, clusters)
