"""Bars flow through one Ray Dataset and come out as comparisons of two versions of each model.

bundles of tasks → read_bars → pair_samples → compare_rows → outcomes
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from job.cluster.bundles import Capacity, by_series
from job.cluster.datasets import Dataset, loaded_bars, outcomes_of, remote_options
from job.compare.steps import GROUP, compare_group, compare_rows, pair_samples
from job.compare.task import Compared, ComparisonTask
from job.core.keys import POOLED
from job.worker.load_bars import read_bars
from job.worker.messages import Job


def runs(tasks: Sequence[ComparisonTask], job: Job, *, capacity: Capacity) -> Iterator[Iterator[Compared]]:
    """Start every task once; after the first round each task runs by itself.

    Models of one series need no shuffle; those over many series need one that joins the rows of their series.
    """
    step = remote_options(job, capacity)
    aligned = [task for task in tasks if task.key.exchange != POOLED]
    pooled = [task for task in tasks if task.key.exchange == POOLED]
    for members in (aligned, pooled):
        for part in [members] if job.round == 1 else [[task] for task in members]:
            if part:
                yield outcomes_of([compared_models(part, job, step, shuffled=members is pooled)], Compared)


def compared_models(tasks: Sequence[ComparisonTask], job: Job, step: Mapping[str, Any], *, shuffled: bool) -> Dataset:
    """Return the Dataset of comparisons of models of one series each, or of many, whose rows meet in a shuffle."""
    longest_first = sorted(by_series(tasks), key=lambda one: -one.seconds)
    pairs = loaded_bars(longest_first, job, step, whole_groups=not shuffled, load=read_bars).map_batches(
        partial(pair_samples, job=job), batch_size=None, **step
    )
    if not shuffled:
        return pairs.map_batches(partial(compare_rows, job=job), batch_size=None, **step)
    members = {task.key: frozenset(map(str, task.series)) for task in tasks}
    groups = pairs.groupby(GROUP, num_partitions=len(tasks))
    return groups.map_groups(partial(compare_group, job=job, members=members), **step)
