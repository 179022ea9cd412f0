"""New bars flow through one Ray Dataset and come out as what they say of champions and challengers.

bundles of tasks → read_newest_bars → score_models → outcomes
"""

from collections.abc import Iterator, Sequence
from functools import partial

from job.cluster.bundles import Capacity, by_series, singles
from job.cluster.context import with_context
from job.cluster.datasets import loaded_bars, outcomes_of, remote_options
from job.watch.steps import score_models
from job.watch.task import Scored, ScoringTask
from job.worker.messages import Job
from job.worker.newest import read_newest_bars
from transforms.features.feature import WARM


def runs(tasks: Sequence[ScoringTask], job: Job, *, capacity: Capacity) -> Iterator[Iterator[Scored]]:
    """Start every task once; after the first round each task runs by itself."""
    step = remote_options(job, capacity)
    job = with_context(tasks, job, step, tolerance=WARM)
    bundles = by_series(tasks) if job.round == 1 else singles(tasks)
    longest_first = sorted(bundles, key=lambda one: -one.seconds)
    scored = loaded_bars(longest_first, job, step, whole_groups=True, load=read_newest_bars).map_batches(
        partial(score_models, job=job), batch_size=None, **step
    )
    yield outcomes_of([scored], Scored)
