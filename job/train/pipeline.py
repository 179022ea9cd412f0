"""THE PAGE TO READ FIRST: bars flow through one Ray Dataset and come out as committed models.

    bundles of tasks → load_bars → prepare_samples → train_models → outcomes

`predict/pipeline.py` and `compare/pipeline.py` read the same way. What each step does stands in `steps.py` beside it;
how Ray is started, which tasks share a bundle, and what happens when a worker dies, in `cluster/`.

Two groupings share the steps. Partition-aligned (one model per series): the bars of a series are read whole by one
task, so grouping them by timeframe needs no shuffle. Pooled (one model over many series): samples are made series by
series, then `groupby(...).map_groups(...)` brings each model's rows together (`shuffle.py`). What models of single
series see of others comes before both: bars (`cluster/context.py`), and members of blends (`pools.py`).
"""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

from job.cluster.bundles import Capacity, bundle, by_series, singles, sized
from job.cluster.context import with_context
from job.cluster.datasets import loaded_bars, outcomes_of, remote_options
from job.core.keys import Key
from job.registry.outcome import Outcome, current, fresh_enough
from job.sources.series import Series
from job.train.freshness import decide_on
from job.train.pooled import SamplingCap, digests, sample_times, sampling_caps, train_group
from job.train.pools import with_pools
from job.train.shuffle import shuffled
from job.train.spread import Counts, counted, shares_of, train_spread, warn_of_large
from job.train.steps import load_bars, prepare_samples, stored, train_models
from job.train.task import Task
from job.worker.messages import Job
from transforms.features.feature import WARM

Added = Mapping[str, timedelta | None]
"""How long the bars last that each series has beyond those that a version was trained on, None where these changed."""


def runs(tasks: Sequence[Task], job: Job, *, capacity: Capacity) -> Iterator[Iterator[Outcome]]:
    """Start every task once; after the first round each task runs by itself, so that a death costs one model only."""
    first, fleet = job.round == 1, job.fleet
    job = with_context(tasks, job, remote_options(job, capacity), tolerance=WARM)
    job = with_pools(tasks, job, capacity, fleet)
    if "symbol" not in job.config.model_trainer.group_by:
        parts = [[task] for task in tasks]
        if first:  # those that use a GPU apart, where there is one: others would only wait for it
            by_gpu = ([task for task in tasks if (task.gpu and capacity.gpus > 0) is gpu] for gpu in (True, False))
            parts = [part for part in by_gpu if part]
        for part in parts:
            yield train_pooled(part, job, capacity)
        return
    bundles = bundle(tasks, cpus=capacity.cpus) if first else singles(tasks)
    chains = []
    for cpus, own in sized(bundles, capacity, cpus_per_task=job.cpus_per_task).items():
        sized_job = replace(job, cpus=cpus)
        step = remote_options(sized_job, capacity)
        chain = (
            loaded_bars(own, sized_job, step, whole_groups=True, load=load_bars)
            .map_batches(partial(prepare_samples, job=sized_job), batch_size=None, **step)
            .map_batches(partial(train_models, job=sized_job), batch_size=None, **step)
        )
        chains.append(chain)
    yield outcomes_of(chains, Outcome)


def train_pooled(tasks: Sequence[Task], job: Job, capacity: Capacity) -> Iterator[Outcome]:
    """Train models over many series: those of more samples than a worker holds by several, others by a shuffle."""
    step = remote_options(job, capacity)
    left = []
    for task, added in with_digests(tasks, job, step):
        decision = None
        if version := task.known_version(job.config, task.content):
            yield current(stored(job, task.key, version), latest=task.known[-1][1])
            continue
        if task.held is not None:
            decision = decide_on(job.config.retrain, task, task.held, added)
        if decision is not None and not decision.train:
            before = stored(job, task.key, decision.version)
            yield fresh_enough(before, latest=task.known[-1][1], **decision.record())
        else:
            left.append(replace(task, held=None, why=decision.why if decision else task.why))
    if not left:
        return
    caps: Mapping[Key, SamplingCap] = {}
    counts: Counts = {}
    if any(task.capped or task.counted for task in left):  # a first pass over the bars counts the samples
        times = (
            loaded_bars(by_series(left), job, step, whole_groups=True, load=load_bars)
            .map_batches(partial(sample_times, job=job), batch_size=None, **step)
            .iter_rows()
        )
        expected = sum(len(task.series) for task in left)
        caps = sampling_caps(counted(times, counts), job.config.model_trainer, expected=expected)
    shares = {task.key: shares_of(task, counts, job.config.model_trainer) for task in left}
    for task in left:
        if len(shares[task.key]) > 1:
            yield from train_spread(task, shares[task.key], counts[task.key], job, capacity=capacity, caps=caps)
    left = [task for task in left if len(shares[task.key]) == 1]
    warn_of_large(left, capacity, job.config.model_trainer)
    if left:
        yield from outcomes_of([shuffled(left, job, capacity, caps, train_group)], Outcome)


def with_digests(tasks: Sequence[Task], job: Job, step: Mapping[str, Any]) -> list[tuple[Task, Added]]:
    """Return the tasks with the digests of their series' bars, which are read where only they can tell what is current.

    Beside a task stands by how much each of its series has grown, where it may be fresh enough. Samples and a shuffle
    cost many times what reading the bars does; they are not made to find that a model need not be trained.
    """
    bundles = by_series([task for task in tasks if task.to_check])
    if not bundles:
        return [(task, {}) for task in tasks]
    rows = (
        loaded_bars(bundles, job, step, whole_groups=True, load=load_bars)
        .map_batches(partial(digests, job=job), batch_size=None, **step)
        .iter_rows()
    )
    contents: dict[Series, list[str]] = {}
    grown: dict[Key, dict[str, timedelta | None]] = {}
    for row in rows:
        series, known, added = pickle.loads(row["found"])  # noqa: S301 - made by this run
        contents[series] = known
        for key, one in added.items():
            grown.setdefault(key, {})[str(series)] = one
    answered: list[tuple[Task, Added]] = []
    for task in tasks:
        if not task.to_check:
            answered.append((task, {}))
            continue
        known = tuple(contents[one][task.flow] if one in contents else None for one in task.series)
        beside = job.context.digest(task.needs[0]) if job.context and task.needs else None
        read = replace(task, cached_digests=known, context_digest=beside, trust_listing=True)
        answered.append((read, grown.get(task.key, {})))
    return answered
