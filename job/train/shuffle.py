"""The shuffle that brings the samples of many series together, one group for each model over them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from job.cluster.bundles import Capacity, by_series, singles, sized
from job.cluster.datasets import Dataset, loaded_bars, remote_options
from job.core.keys import Key
from job.train.pooled import GROUP_COLUMNS, SamplingCap, flat_samples
from job.train.steps import load_bars
from job.train.task import Task
from job.worker.messages import Job


def shuffled(
    tasks: Sequence[Task],
    job: Job,
    capacity: Capacity,
    caps: Mapping[Key, SamplingCap],
    each: Callable[..., pa.Table],
) -> Dataset:
    """Return a Dataset of what `each` makes of every group: of (table, job, members), where members are the series."""
    step = remote_options(job, capacity)
    members = {task.key: frozenset(str(one) for one in task.series) for task in tasks}
    names = sorted({name for task in tasks for name in task.spec.feature_names})
    groups = replace(job, cpus=max(sized(singles(tasks), capacity, cpus_per_task=job.cpus_per_task)))
    return (
        loaded_bars(by_series(tasks), job, step, whole_groups=False, load=load_bars)
        .map_batches(partial(flat_samples, job=job, caps=caps, feature_names=names), batch_size=None, **step)
        .groupby(list(GROUP_COLUMNS), num_partitions=len(tasks))
        .map_groups(partial(each, job=groups, members=members), **remote_options(groups, capacity, gpu=tasks[0].gpu))
    )
