"""THE PAGE TO READ FIRST: bars flow through one Ray Dataset and come out as committed models.

    bundles of tasks → load_bars → prepare_samples → train_models → outcomes
    bundles of tasks → read_bars → prepare_features → predict_models → files of predictions, outcomes
    bundles of tasks → read_bars → pair_samples → compare_rows → outcomes of two versions each

Two groupings share the steps. Partition-aligned (a model a series): the bars of a series are read whole by one task,
so grouping them by timeframe needs no shuffle. Pooled (a model over many series): samples are made series by series,
then `groupby(...).map_groups(...)` brings each model's rows together.
"""

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from ray.data import Dataset
from ray.exceptions import RayError

from job.cluster.bundles import Bundle, Capacity, bundle, by_series, singles, sized
from job.cluster.datasets import Kind, capture_worker_errors, loaded_bars, outcomes_of, remote_options, united
from job.compare.steps import GROUP, compare_group, compare_rows, pair_samples
from job.compare.task import Compared, ComparisonTask
from job.core.keys import POOLED, Key
from job.predict.steps import predict_models, prepare_features, read_bars
from job.predict.task import Predicted, PredictionTask
from job.sources.series import Series
from job.train.plan import Task, content_of, known_version
from job.train.pooled import (
    GROUP_COLUMNS,
    LostRowsError,
    SamplingCap,
    digests,
    flat_samples,
    sample_times,
    sampling_caps,
    train_group,
)
from job.train.retries import MAX_ATTEMPTS, never_started, run_with_retries
from job.train.steps import load_bars, prepare_samples, stored, train_models
from job.worker.messages import Job
from job.worker.outcome import Outcome, current

log = logging.getLogger("job")
AnyTask = TypeVar("AnyTask", PredictionTask, ComparisonTask)


def train(tasks: Sequence[Task], job: Job, *, capacity: Capacity) -> Iterator[Outcome]:
    """Train every task and yield one outcome each, as they end; tasks whose worker died run again (`rounds`)."""
    with capture_worker_errors() as errors:
        yield from run_with_retries(tasks, job, partial(train_round, capacity=capacity), errors)


def train_round(tasks: Sequence[Task], job: Job, *, capacity: Capacity) -> Iterator[Outcome]:
    """Start every task once and yield the outcomes that come; after the first round each task runs by itself.

    Where Ray gives up a whole Dataset, what it still owed is missing like the work of any dead worker.
    """
    first = job.round == 1
    if "symbol" in job.config.model_trainer.group_by:
        bundles = bundle(tasks, cpus=capacity.cpus) if first else singles(tasks)
        runs = [train_aligned(bundles, job, capacity)]
    else:
        runs = [train_pooled(part, job, capacity) for part in ([tasks] if first else [[task] for task in tasks])]
    for run in runs:
        try:
            yield from run
        except (RayError, LostRowsError) as error:
            log.warning("round %d ended early: %s", job.round, " ".join(str(error).split()))


def train_aligned(bundles: Sequence[Bundle[Task]], job: Job, capacity: Capacity) -> Iterator[Outcome]:
    """Train models whose series are read whole by one task: no shuffle."""
    groups = sized(bundles, capacity, cpus_per_task=job.cpus_per_task)
    yield from outcomes_of(united(groups, job, partial(trained_models, capacity=capacity)), Outcome)


def trained_models(bundles: Sequence[Bundle[Task]], job: Job, *, capacity: Capacity) -> Dataset:
    """Return the Dataset of outcomes of bundles that all get `job.cpus` CPUs and the memory that goes with them."""
    step = remote_options(job, capacity)
    return (
        loaded_bars(bundles, job, step, whole_groups=True, load=load_bars)
        .map_batches(partial(prepare_samples, job=job), batch_size=None, **step)
        .map_batches(partial(train_models, job=job), batch_size=None, **step)
    )


def train_pooled(tasks: Sequence[Task], job: Job, capacity: Capacity) -> Iterator[Outcome]:
    """Train models over many series: samples series by series, then a shuffle by model."""
    step = remote_options(job, capacity)
    left = []
    for task in with_digests(tasks, job, step):
        if version := known_version(task, job.config, content_of(task)):
            yield current(stored(job, task.key, version), latest=task.known[-1][1])
        else:
            left.append(task)
    if not left:
        return
    sampling_caps_ = find_sampling_caps(left, job, step) if any(task.capped for task in left) else {}
    members = {task.key: frozenset(str(one) for one in task.series) for task in left}
    flat = partial(
        flat_samples,
        job=job,
        sampling_caps_=sampling_caps_,
        feature_names=sorted({name for task in left for name in task.spec.feature_names}),
    )
    groups = replace(job, cpus=max(sized(singles(left), capacity, cpus_per_task=job.cpus_per_task)))
    yield from outcomes_of(
        loaded_bars(by_series(left), job, step, whole_groups=False, load=load_bars)
        .map_batches(flat, batch_size=None, **step)
        .groupby(list(GROUP_COLUMNS), num_partitions=len(left))
        .map_groups(partial(train_group, job=groups, members=members), **remote_options(groups, capacity)),
        Outcome,
    )


def predict(tasks: Sequence[PredictionTask], job: Job, *, capacity: Capacity) -> Iterator[Predicted]:
    """Write every task's file of predictions and yield one outcome each."""
    yield from repeated(tasks, job, partial(predict_round, capacity=capacity), Predicted.failed)


def predict_round(tasks: Sequence[PredictionTask], job: Job, *, capacity: Capacity) -> Iterator[Predicted]:
    """Start every task once."""
    bundles = bundle([replace(task, attempt=job.round) for task in tasks], cpus=capacity.cpus)
    groups = sized(bundles, capacity, cpus_per_task=job.cpus_per_task or 1)
    yield from outcomes_of(united(groups, job, partial(predictions, capacity=capacity)), Predicted)


def predictions(bundles: Sequence[Bundle[PredictionTask]], job: Job, *, capacity: Capacity) -> Dataset:
    """Return the Dataset of outcomes of bundles whose files of predictions are written by the way."""
    step = remote_options(job, capacity)
    return (
        loaded_bars(bundles, job, step, whole_groups=True, load=read_bars)
        .map_batches(partial(prepare_features, job=job), batch_size=None, **step)
        .map_batches(partial(predict_models, job=job), batch_size=None, **step)
    )


def compare(tasks: Sequence[ComparisonTask], job: Job, *, capacity: Capacity) -> Iterator[Compared]:
    """Compare two versions of every model and yield one outcome each."""
    yield from repeated(tasks, job, partial(compare_round, capacity=capacity), Compared.failed)


def compare_round(tasks: Sequence[ComparisonTask], job: Job, *, capacity: Capacity) -> Iterator[Compared]:
    """Start every task once: models of one series without a shuffle, pooled ones with one that joins their series."""
    step = remote_options(job, capacity)
    aligned = [task for task in tasks if task.key.exchange != POOLED]
    pooled = [task for task in tasks if task.key.exchange == POOLED]
    chains: list[Dataset] = []
    if aligned:
        pairs = paired_samples(aligned, job, step, whole_groups=True)
        chains.append(pairs.map_batches(partial(compare_rows, job=job), batch_size=None, **step))
    if pooled:
        members = {task.key: frozenset(map(str, task.series)) for task in pooled}
        groups = paired_samples(pooled, job, step, whole_groups=False).groupby(GROUP, num_partitions=len(pooled))
        chains.append(groups.map_groups(partial(compare_group, job=job, members=members), **step))
    for chain in chains:
        yield from outcomes_of(chain, Compared)


def paired_samples(
    tasks: Sequence[ComparisonTask], job: Job, step: Mapping[str, Any], *, whole_groups: bool
) -> Dataset:
    """Return a Dataset with one row of samples, scored by both versions, for each task and series."""
    needed: dict[Series, list[ComparisonTask]] = {}
    for task in tasks:
        for series in task.series:
            needed.setdefault(series, []).append(replace(task, series=(series,)))
    bundles = [Bundle(series, tuple(own)) for series, own in needed.items()]
    longest_first = sorted(bundles, key=lambda one: -one.seconds)
    bars = loaded_bars(longest_first, job, step, whole_groups=whole_groups, load=read_bars)
    return bars.map_batches(partial(pair_samples, job=job), batch_size=None, **step)


def repeated(
    tasks: Sequence[AnyTask],
    job: Job,
    start: Callable[[Sequence[AnyTask], Job], Iterator[Kind]],
    failed: Callable[[AnyTask, Mapping[str, str]], Kind],
) -> Iterator[Kind]:
    """Start tasks that leave no notes, and yield one outcome each; what dead workers left runs again, task by task."""
    left = {task.key: task for task in tasks}
    with capture_worker_errors() as errors:
        for number in range(1, MAX_ATTEMPTS + 1):
            parts = [list(left.values())] if number == 1 else [[task] for task in left.values()]
            for part in parts:
                try:
                    for outcome in start(part, replace(job, round=number)):
                        del left[outcome.key]
                        yield outcome
                except RayError as error:
                    log.warning("round %d ended early: %s", number, " ".join(str(error).split()))
            if not left:
                return
        death = never_started(errors())
    yield from (failed(task, death) for task in left.values())


def with_digests(tasks: Sequence[Task], job: Job, step: Mapping[str, Any]) -> list[Task]:
    """Return the tasks with the digests of their series' bars, read where versions of a model hang on them.

    Samples and a shuffle cost many times what reading the bars does; they are not made to find a model current.
    """
    if not any(task.to_check for task in tasks):
        return list(tasks)
    bundles = by_series([task for task in tasks if task.to_check])
    rows = (
        loaded_bars(bundles, job, step, whole_groups=True, load=load_bars)
        .map_batches(digests, batch_size=None, **step)
        .iter_rows()
    )
    told = {pickle.loads(row["series"]): row["digest"] for row in rows}  # noqa: S301 - made by this run
    return [
        replace(task, listed=tuple(map(told.get, task.series)), trust_listing=True) if task.to_check else task
        for task in tasks
    ]


def find_sampling_caps(tasks: Sequence[Task], job: Job, step: Mapping[str, Any]) -> dict[Key, SamplingCap]:
    """Find, in a first pass over the bars, where each group's holdout begins and which share of the rest to keep."""
    rows = (
        loaded_bars(by_series(tasks), job, step, whole_groups=True, load=load_bars)
        .map_batches(partial(sample_times, job=job), batch_size=None, **step)
        .iter_rows()
    )
    return sampling_caps(rows, job.config.model_trainer, expected=sum(len(task.series) for task in tasks))
