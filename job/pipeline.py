"""THE PAGE TO READ FIRST: bars flow through one Ray Dataset and come out as committed models.

    bundles of tasks → load_bars → prepare_samples → train_models → outcomes

Two groupings share the steps. Partition-aligned (a model a series): the bars of a series are read whole by one task,
so grouping them by timeframe needs no shuffle. Pooled (a model over many series): samples are made series by series,
then `groupby(...).map_groups(...)` brings each model's rows together.
"""

import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import ray.data
from ray.data import DataContext, Dataset
from ray.exceptions import RayError

from job.keys import Key
from job.outcomes import Outcome, failed
from job.planning import Bundle, Task, bundle, by_series, singles
from job.pooling import GROUP_COLUMNS, Cap, LostRowsError, caps_of, flat_samples, sample_times, train_group
from job.rows import Job
from job.steps import load_bars, prepare_samples, train_models

log = logging.getLogger("job")

MAX_ROUNDS: Final = 3
"""How often a task is started whose worker died; failures with a cause are final at once."""


def train(tasks: Sequence[Task], job: Job, *, cpus: int) -> Iterator[Outcome]:
    """Train every task and yield one outcome each, as they end.

    Tasks whose worker died leave no outcome: they run again, each alone, until the last round.
    """
    missing = {task.key: task for task in tasks}
    for attempt in range(1, MAX_ROUNDS + 1):
        this = replace(job, attempt=attempt)
        for outcome in train_round(list(missing.values()), this, cpus=cpus):
            del missing[outcome.key]
            yield outcome
        if not missing:
            return
        from job.versions import committed  # noqa: PLC0415 - brings scikit-learn, for which there is seldom need here

        for outcome in committed(list(missing.values()), this):
            del missing[outcome.key]
            yield outcome
    lost = {"type": "WorkerDied", "where": "training", "message": "the worker died each time: killed, or out of memory"}
    yield from (failed(key, lost, attempts=MAX_ROUNDS) for key in missing)


def train_round(tasks: Sequence[Task], job: Job, *, cpus: int) -> Iterator[Outcome]:
    """Start every task once and yield the outcomes that come; after the first round each task runs by itself.

    Where Ray gives up a whole Dataset, what it still owed is missing like the work of any dead worker.
    """
    first = job.attempt == 1
    if "symbol" in job.config.model_trainer.group_by:
        runs = [train_aligned(bundle(tasks, cpus=cpus) if first else singles(tasks), job)]
    else:
        runs = [train_pooled(part, job) for part in ([tasks] if first else [[task] for task in tasks])]
    for run in runs:
        try:
            yield from run
        except (RayError, LostRowsError) as error:
            log.warning("round %d ended early: %s", job.attempt, " ".join(str(error).split()))


def train_aligned(bundles: Sequence[Bundle], job: Job) -> Iterator[Outcome]:
    """Train models whose series are read whole by one task: no shuffle."""
    step = remote_options(job)
    yield from outcomes_of(
        dataset(bundles, job, whole_groups=True)
        .map_batches(partial(load_bars, job=job), batch_size=None, **step)
        .map_batches(partial(prepare_samples, job=job), batch_size=None, **step)
        .map_batches(partial(train_models, job=job), batch_size=None, **step)
    )


def train_pooled(tasks: Sequence[Task], job: Job) -> Iterator[Outcome]:
    """Train models over many series: samples series by series, then a shuffle by model."""
    step = remote_options(job)
    caps = sample_caps(tasks, job) if any(task.capped for task in tasks) else {}
    members = {task.key: frozenset(str(one) for one in task.series) for task in tasks}
    yield from outcomes_of(
        dataset(by_series(tasks), job, whole_groups=False)
        .map_batches(partial(load_bars, job=job), batch_size=None, **step)
        .map_batches(partial(flat_samples, job=job, caps=caps), batch_size=None, **step)
        .groupby(list(GROUP_COLUMNS), num_partitions=len(tasks))
        .map_groups(partial(train_group, job=job, members=members), **step)
    )


def sample_caps(tasks: Sequence[Task], job: Job) -> dict[Key, Cap]:
    """Find, in a first pass over the bars, where each group's holdout begins and which share of the rest to keep."""
    step = remote_options(job)
    rows = (
        dataset(by_series(tasks), job, whole_groups=True)
        .map_batches(partial(load_bars, job=job), batch_size=None, **step)
        .map_batches(partial(sample_times, job=job), batch_size=None, **step)
        .iter_rows()
    )
    return caps_of(rows, job.config.model_trainer, expected=sum(len(task.series) for task in tasks))


def dataset(bundles: Sequence[Bundle], job: Job, *, whole_groups: bool) -> Dataset:
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


def remote_options(job: Job) -> dict[str, Any]:
    """Return how a step runs: on Arrow tables, with the task's CPUs and no retries by Ray.

    Ray retries a generator from its start and drops as many rows as it saw before, which loses rows in silence.
    """
    return {
        "batch_format": "pyarrow",
        "num_cpus": job.cpus_per_task,
        "max_retries": 0,
    }


def outcomes_of(outcomes: Dataset) -> Iterator[Outcome]:
    """Run a Dataset and yield its outcomes as they arrive."""
    return (Outcome.from_json(row["outcome"]) for row in outcomes.iter_rows())
