"""Bars flow through one Ray Dataset and come out as comparisons of two versions of each model.

bundles of tasks → read_bars → pair_samples → compare_rows → outcomes
"""

from collections.abc import Iterator, Sequence
from functools import partial

from job.cluster.bundles import Capacity, by_series
from job.cluster.context import with_context
from job.cluster.datasets import loaded_bars, outcomes_of, remote_options
from job.compare.steps import GROUP, compare_group, compare_rows, pair_samples
from job.compare.task import Compared, ComparisonTask
from job.core.keys import POOLED
from job.worker.load_bars import read_bars
from job.worker.messages import Job
from transforms.features.feature import WARM


def runs(tasks: Sequence[ComparisonTask], job: Job, *, capacity: Capacity) -> Iterator[Iterator[Compared]]:
    """Start every task once; after the first round each task runs by itself.

    Models of one series need no shuffle; those over many series need one that joins the rows of their series.
    """
    step = remote_options(job, capacity)
    job = with_context(tasks, job, step, tolerance=WARM)
    for pooled in (False, True):
        own = [task for task in tasks if (task.key.exchange == POOLED) == pooled]
        for part in [own] if job.round == 1 else [[task] for task in own]:
            if not part:
                continue
            longest_first = sorted(by_series(part), key=lambda one: -one.seconds)
            pairs = loaded_bars(longest_first, job, step, whole_groups=not pooled, load=read_bars).map_batches(
                partial(pair_samples, job=job), batch_size=None, **step
            )
            if pooled:
                members = {task.key: frozenset(map(str, task.series)) for task in part}
                groups = pairs.groupby(GROUP, num_partitions=len(part))
                chain = groups.map_groups(partial(compare_group, job=job, members=members), **step)
            else:
                chain = pairs.map_batches(partial(compare_rows, job=job), batch_size=None, **step)
            yield outcomes_of([chain], Compared)
