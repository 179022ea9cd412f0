"""Pooled models of more samples than one worker holds: their series are shared out, and each worker reads its own.

Nothing is shuffled. How many workers there are, and which series each of them gets, follows from the settings and the
bars alone, never from the cluster; and so do the numbers of the model.
"""

import logging
import math
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl

from job.cluster.bundles import Capacity, by_series
from job.cluster.datasets import remote_options
from job.cluster.spreading import run_spread
from job.config.trainer import TrainerSettings
from job.core.errors import JobError
from job.core.keys import Key
from job.registry.outcome import Outcome, failed
from job.train.pooled import SCHEMA, SamplingCap, merge, thinned_samples
from job.train.steps import load_bars, train_task
from job.train.task import SamplesRow, Task
from job.worker.memory import estimate_spread_memory
from job.worker.messages import Job, pack
from transforms.samples import UNIQUENESS

if TYPE_CHECKING:
    from job.learning.matrices import SpreadMatrix, Workers

Counts = dict[Key, dict[str, int]]
Share = tuple[Task, frozenset[str]]
"""A task, and the names of the series that one of its workers reads."""

log = logging.getLogger("job")

TOLD: Final = ("available_at", "label", "label_end", "series", UNIQUENESS)
"""What every worker knows of all samples, and not of its own alone."""


def counted(rows: Iterable[dict[str, Any]], counts: Counts) -> Iterator[dict[str, Any]]:
    """Yield the rows of `pooled.sample_times` as they are, and note in `counts` how many samples each series has."""
    for row in rows:
        key, series, samples = pickle.loads(row["of"])  # noqa: S301 - made by this run
        counts.setdefault(key, {})[series] = samples
        yield row


def shares_of(task: Task, counts: Counts, settings: TrainerSettings) -> list[frozenset[str]]:
    """Return the series of each worker that a task is spread over, largest first to whoever has least; or all in one.

    There are as many workers as leave each `samples_per_worker` on average, and no more than series with samples.
    """
    own = {str(series): counts.get(task.key, {}).get(str(series), 0) for series in task.series}
    most = settings.samples_per_worker or settings.max_samples
    wanted = math.ceil(min(sum(own.values()), settings.max_samples) / most) if task.spreads else 1
    shares: list[list[str]] = [[] for _ in range(max(1, min(wanted, sum(count > 0 for count in own.values()))))]
    loads = [0] * len(shares)
    for name, count in sorted(own.items(), key=lambda one: (-one[1], one[0])):
        least = loads.index(min(loads))
        shares[least].append(name)
        loads[least] += count
    return [frozenset(share) for share in shares]


def warn_of_large(tasks: Iterable[Task], capacity: Capacity, settings: TrainerSettings) -> None:
    """Warn of groups that exceed a node and could be spread, where settings do not say so."""
    node = capacity.node_cpus * capacity.memory_per_cpu
    for task in tasks:
        if task.spreads and settings.samples_per_worker is None and task.memory > node:
            log.warning(
                "%s: its samples take about %.1f GiB, and a node has %.1f: model_trainer.samples_per_worker=%d would "
                "spread them over nodes",
                *(task.key, task.memory / 2**30, node / 2**30, max(1, int(task.rows * node / task.memory / 2))),
            )


def train_spread(
    task: Task,
    shares: Sequence[frozenset[str]],
    counts: Mapping[str, int],
    job: Job,
    *,
    capacity: Capacity,
    caps: Mapping[Key, SamplingCap],
) -> Iterator[Outcome]:
    """Train one model by a worker for each of `shares` and yield its outcome; none where a worker died."""
    rows = min(sum(counts.values()), job.config.model_trainer.max_samples)
    largest = max(sum(counts.get(name, 0) for name in share) for share in shares) / max(1, sum(counts.values()))
    memory = estimate_spread_memory(rows, math.ceil(rows * largest), len(task.spec.features))
    cpus = max(job.cpus_per_task or 1, math.ceil(memory / capacity.memory_per_cpu))
    each = f"{len(shares)} workers with {cpus} CPUs and {memory / 2**30:.1f} GiB of memory each"
    room = (capacity.node_cpus // cpus) * (capacity.cpus // capacity.node_cpus)
    if room < len(shares):
        remedy = "add nodes" if cpus <= capacity.node_cpus else "lower model_trainer.samples_per_worker"
        message = f"{each} have no room in the cluster at once ({room} have): {remedy}"
        yield failed(task.key, {"type": "NoRoom", "where": "the cluster", "message": message}, attempts=task.attempt)
        return
    own = replace(job, cpus=cpus)
    outcome = run_spread(
        partial(train_share, job=own, caps=caps),
        [(task, share) for share in shares],
        cpus=cpus,
        memory=remote_options(own, capacity)["memory"],
        debug=job.config.ray.logging_level == "debug",
    )
    if outcome is not None:
        yield Outcome.from_json(outcome)


def train_share(workers: "Workers", share: Share, *, job: Job, caps: Mapping[Key, SamplingCap]) -> str | None:
    """Make the samples of this worker's series and train the model on those of all; rank 0 returns the outcome's JSON.

    All workers compute the same scores; only the first commits.
    """
    task, names = share
    headers: list[SamplesRow] = []
    frames: list[pl.DataFrame] = []
    for bundle in by_series([task]):
        if str(bundle.series) in names:
            for bars in load_bars(pack(bundle), job=job):
                for _, header, frame in thinned_samples(bars, job, caps):
                    headers.append(header)
                    frames += [frame.with_columns(series=pl.lit(header.series))] if frame.height else []
    header = merge([one for part in workers.gather(headers) for one in part])
    if header.error is not None:
        return None if workers.rank else train_task(header, pl.DataFrame(), job).to_json()
    samples, matrix = shared(frames, header.spec.feature_names, workers)
    if workers.rank == 0:
        return train_task(header, samples, job, matrix).to_json()
    from job.learning.training import train  # noqa: PLC0415 - brings scikit-learn, which the driver needs not

    with suppress(JobError):  # which the first worker meets, too, and tells
        train(samples, header.spec, key=task.key, n_jobs=job.cpus, holdout_from=header.holdout_from, matrix=matrix)
    return None


def shared(
    frames: list[pl.DataFrame], features: Sequence[str], workers: "Workers"
) -> tuple[pl.DataFrame, "SpreadMatrix"]:
    """Return the samples of all workers, in the order of time and series, without features; and the matrix of these.

    `frames` are this worker's, which are freed.
    """
    from job.learning.matrices import SpreadMatrix  # noqa: PLC0415 - brings scikit-learn
    from job.learning.rows import feature_matrix  # noqa: PLC0415

    schema = {name: SCHEMA.get(name, pl.Float64) for name in TOLD} | dict.fromkeys(features, pl.Float32)
    while_held = [frame.select(pl.col(name).cast(schema[name]) for name in schema if name in frame) for frame in frames]
    frames.clear()
    own = pl.concat([pl.DataFrame(schema=schema), *while_held], how="diagonal")
    own = own.filter(pl.col("label").is_not_null()).sort("available_at", "series")
    parts = workers.gather(own.select(TOLD))
    told = pl.concat([part.with_columns(worker=pl.lit(rank)) for rank, part in enumerate(parts)])
    told = told.sort("available_at", "series")
    at = np.flatnonzero((told["worker"] == workers.rank).to_numpy())
    samples = told.drop("worker") if told[UNIQUENESS].count() else told.drop("worker", UNIQUENESS)
    return samples, SpreadMatrix(feature_matrix(own, features), at, told.height, workers)
