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
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final, TypeVar

import pyarrow as pa
import ray.data
from ray.data import DataContext, Dataset
from ray.exceptions import RayError

from job.bundles import Bundle, Capacity, T, bundle, by_series, singles, sized
from job.compared import Compared, ComparisonTask
from job.keys import POOLED, Key
from job.outcomes import Outcome, current
from job.planning import Task, content_of, known_version
from job.predictions import Predicted, PredictionTask
from job.runs.rounds import MAX_ATTEMPTS, Deaths, in_rounds, not_begun
from job.sources import Series
from job.worker.comparing import GROUP, compare_group, compare_rows, pair_samples
from job.worker.pooling import (
    GROUP_COLUMNS,
    Cap,
    LostRowsError,
    caps_of,
    digests,
    flat_samples,
    sample_times,
    train_group,
)
from job.worker.predicting import predict_models, prepare_features, read_bars
from job.worker.rows import Job
from job.worker.steps import load_bars, prepare_samples, stored, train_models

log = logging.getLogger("job")
Kind = TypeVar("Kind", Outcome, Predicted, Compared)

ROUNDING: Final = 0.999
"""Keeps the shares of all CPUs from adding up to more than their node has."""
RAYS_WITNESS: Final = "ray.data._internal.execution.streaming_executor_state"
"""Ray's logger that says of what a block's task died; nothing else that a Dataset gives away does."""


def train(tasks: Sequence[Task], job: Job, *, capacity: Capacity) -> Iterator[Outcome]:
    """Train every task and yield one outcome each, as they end; tasks whose worker died run again (`rounds`)."""
    with hearing_of_deaths() as said:
        yield from in_rounds(tasks, job, partial(train_round, capacity=capacity), said)


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


def united(groups: Mapping[int, Sequence[Bundle[T]]], job: Job, chain: Callable[..., Dataset]) -> Dataset:
    """Return one Dataset of outcomes of a chain for each group, whose bundles get as many CPUs each as its key says."""
    first, *others = [chain(bundles, replace(job, cpus=cpus)) for cpus, bundles in groups.items()]
    return first.union(*others) if others else first


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
    caps = sample_caps(left, job, step) if any(task.capped for task in left) else {}
    members = {task.key: frozenset(str(one) for one in task.series) for task in left}
    groups = replace(job, cpus=max(sized(singles(left), capacity, cpus_per_task=job.cpus_per_task)))
    yield from outcomes_of(
        loaded_bars(by_series(left), job, step, whole_groups=False, load=load_bars)
        .map_batches(partial(flat_samples, job=job, caps=caps), batch_size=None, **step)
        .groupby(list(GROUP_COLUMNS), num_partitions=len(left))
        .map_groups(partial(train_group, job=groups, members=members), **remote_options(groups, capacity)),
        Outcome,
    )


def predict(tasks: Sequence[PredictionTask], job: Job, *, capacity: Capacity) -> Iterator[Predicted]:
    """Write every task's file of predictions and yield one outcome each; what dead workers left runs again, alone."""
    left = {task.key: task for task in tasks}
    with hearing_of_deaths() as said:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            again = [replace(task, attempt=attempt) for task in left.values()]
            bundles = bundle(again, cpus=capacity.cpus) if attempt == 1 else singles(again)
            groups = sized(bundles, capacity, cpus_per_task=job.cpus_per_task or 1)
            for outcome in outcomes_of(united(groups, job, partial(predictions, capacity=capacity)), Predicted):
                del left[outcome.key]
                yield outcome
            if not left:
                return
            death = not_begun(said())
    yield from (Predicted.failed(task, death) for task in left.values())


def predictions(bundles: Sequence[Bundle[PredictionTask]], job: Job, *, capacity: Capacity) -> Dataset:
    """Return the Dataset of outcomes of bundles whose files of predictions are written by the way."""
    step = remote_options(job, capacity)
    return (
        loaded_bars(bundles, job, step, whole_groups=True, load=read_bars)
        .map_batches(partial(prepare_features, job=job), batch_size=None, **step)
        .map_batches(partial(predict_models, job=job), batch_size=None, **step)
    )


def compare(tasks: Sequence[ComparisonTask], job: Job, *, capacity: Capacity) -> Iterator[Compared]:
    """Compare two versions of every model and yield one outcome each; what dead workers left runs again, alone."""
    left = {task.key: task for task in tasks}
    with hearing_of_deaths() as said:
        for number in range(1, MAX_ATTEMPTS + 1):
            this = replace(job, round=number)
            parts = [list(left.values())] if number == 1 else [[task] for task in left.values()]
            for part in parts:
                try:
                    for outcome in compare_round(part, this, capacity):
                        del left[outcome.key]
                        yield outcome
                except RayError as error:
                    log.warning("round %d ended early: %s", number, " ".join(str(error).split()))
            if not left:
                return
        death = not_begun(said())
    yield from (Compared.failed(task, death) for task in left.values())


def compare_round(tasks: Sequence[ComparisonTask], job: Job, capacity: Capacity) -> Iterator[Compared]:
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
        replace(task, listed=tuple(map(told.get, task.series)), believed=True) if task.to_check else task
        for task in tasks
    ]


def sample_caps(tasks: Sequence[Task], job: Job, step: Mapping[str, Any]) -> dict[Key, Cap]:
    """Find, in a first pass over the bars, where each group's holdout begins and which share of the rest to keep."""
    rows = (
        loaded_bars(by_series(tasks), job, step, whole_groups=True, load=load_bars)
        .map_batches(partial(sample_times, job=job), batch_size=None, **step)
        .iter_rows()
    )
    return caps_of(rows, job.config.model_trainer, expected=sum(len(task.series) for task in tasks))


def loaded_bars(
    bundles: Sequence[Bundle[Any]],
    job: Job,
    step: Mapping[str, Any],
    *,
    whole_groups: bool,
    load: Callable[..., Iterator[pa.Table]],
) -> Dataset:
    """Return a Dataset with one row of bars a bundle."""
    found = dataset(bundles, job, whole_groups=whole_groups)
    return found.map_batches(partial(load, job=job), batch_size=None, **step)


@contextmanager
def hearing_of_deaths() -> Iterator[Deaths]:
    """Give a function that returns what Ray said of dead workers since it was last called; nothing is printed."""
    said: list[str] = []

    def hear(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            said.append(" ".join(str(record.exc_info[1]).split()))
        return False

    def tell() -> list[str]:
        told, said[:] = list(said), []
        return told

    witness = logging.getLogger(RAYS_WITNESS)
    level = witness.level
    witness.setLevel(logging.ERROR)
    witness.addFilter(hear)
    try:
        yield tell
    finally:
        witness.removeFilter(hear)
        witness.setLevel(level)


def dataset(bundles: Sequence[Bundle[Any]], job: Job, *, whole_groups: bool) -> Dataset:
    """Return the Dataset of a run's bundles, one block each, in the given order.

    With a target block size of one byte every row a step yields is a block of its own, so that a model's whole group
    arrives as one batch and outcomes leave as soon as they exist. A shuffle wants ordinary blocks, unsliced.
    """
    context = DataContext.get_current().copy()  # the caller's own Datasets keep their settings
    context.target_max_block_size = 1 if whole_groups else None
    context.max_errored_blocks = -1  # a worker's death costs its own tasks, which run again
    context.execution_no_progress_timeout_s = -1  # a long fit is no hang
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    warnings.filterwarnings(
        "ignore", "`ray_remote_args` is deprecated", DeprecationWarning
    )  # max_retries has no other way
    if job.config.ray.logging_level != "debug":
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it prints whole tracebacks of what we record
    with DataContext.current(context):
        return ray.data.from_items([{"head": pickle.dumps(one)} for one in bundles], override_num_blocks=len(bundles))


def remote_options(job: Job, capacity: Capacity) -> dict[str, Any]:
    """Return how a step runs: on Arrow tables, with a task's CPUs and their share of memory, and no retries by Ray.

    Ray retries a generator from its start and drops as many rows as it saw before, which loses rows in silence.
    """
    return {
        "batch_format": "pyarrow",
        "num_cpus": job.cpus,
        "memory": int(job.cpus * capacity.memory_a_cpu * ROUNDING),
        "max_retries": 0,
    }


def outcomes_of(outcomes: Dataset, kind: type[Kind]) -> Iterator[Kind]:
    """Run a Dataset and yield its outcomes as they arrive; where no more are wanted, its tasks are ended.

    Blocks are taken as they are: `iter_rows` fetches ahead in threads that outlive it, and Ray ends a process of which
    a thread still asks for blocks when Ray is shut down.
    """
    for blocks in outcomes.iter_internal_ref_bundles():
        for table in ray.get(blocks.block_refs):
            if table.num_rows:
                yield from map(kind.from_json, table.column("outcome").to_pylist())
