"""Skill of many models together: symbols move together, so evidence is counted by clusters of the clock."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

LogLossDelta = dict[str, list[float]]
"""Change of log-loss against the base by cluster of the clock: {cluster's number since the epoch: [rows, sum]}."""
HOUR_US: Final = 3_600_000_000


def log_loss_delta_by_cluster(
    times: npt.NDArray[np.int64], change: npt.NDArray[np.float64], *, horizon_bars: int, timeframe_us: int
) -> LogLossDelta:
    """Sum the rows' `change` of log-loss over clusters of the clock, an hour or five horizons long if that is more."""
    cluster_us = max(HOUR_US, 5 * horizon_bars * timeframe_us)
    cluster, position = np.unique(times // cluster_us, return_inverse=True)
    rows, sums = np.bincount(position), np.bincount(position, weights=change)
    return {str(c): [int(n), float(s)] for c, n, s in zip(cluster, rows, sums, strict=True)}


def add_log_loss_delta(totals: LogLossDelta, log_loss_delta: Mapping[str, Sequence[float]]) -> None:
    """Add the rows and sums of `log_loss_delta` to those of `totals`, cluster by cluster."""
    for cluster, (rows, change) in log_loss_delta.items():
        before = totals.get(cluster, (0.0, 0.0))
        totals[cluster] = [before[0] + rows, before[1] + change]


@dataclass(frozen=True)
class FleetSkill:
    """Mean change of log-loss against the base over many models (below 0 is skill) and its z over clusters."""

    mean: float
    z: float
    clusters: int


def fleet_z(log_loss_deltas: Iterable[Mapping[str, Sequence[float]]]) -> FleetSkill:
    """Test whether log-loss changes on average, from `log_loss_delta_by_cluster` of models of one label and timeframe.

    Symbols move together and labels overlap, so what all models did in one cluster of the clock counts as a single
    observation (cluster-robust standard error of the mean over rows). z is nan with fewer than two
    clusters, and where nothing varies, as when every model is shrunk to its base rate.
    """
    totals: LogLossDelta = {}
    for log_loss_delta in log_loss_deltas:
        add_log_loss_delta(totals, log_loss_delta)
    if not totals:
        return FleetSkill(math.nan, math.nan, 0)
    rows, sums = np.array(list(totals.values())).T
    mean, clusters = float(sums.sum() / rows.sum()), len(sums)
    if clusters < 2:
        return FleetSkill(mean, math.nan, clusters)
    error = math.sqrt(float(np.square(sums - mean * rows).sum()) * clusters / (clusters - 1)) / float(rows.sum())
    return FleetSkill(mean, mean / error if error else math.nan, clusters)
