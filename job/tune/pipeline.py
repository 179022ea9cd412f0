"""Bars flow through one Ray Dataset and come out as samples, which stay where they are; requests flow over them.

bundles of tasks → load_bars → prepare_samples, kept → try_settings, request after request → outcomes
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from job.cluster.bundles import Capacity, bundle, singles, sized
from job.cluster.context import with_context
from job.cluster.datasets import Dataset, loaded_bars, outcomes_of, remote_options
from job.train.steps import load_bars
from job.tune.steps import prepare_samples, try_settings
from job.tune.task import Tuned, TuningTask
from job.worker.messages import Bundle, Job
from transforms.features.feature import WARM


class Runs:
    """Runs requests one after the other over samples that the first one makes.

    Ray keeps the samples, on disk where memory cannot hold them. What a dead worker owes is made again from the bars,
    each series by itself.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._job: Job | None = None
        self._samples: list[tuple[Job, Dataset]] = []

    def runs(self, tasks: Sequence[TuningTask], job: Job) -> Iterator[Iterator[Tuned]]:
        """Start every task once; the first call has the tasks of all series."""
        if self._job is None:
            seeing = with_context(tasks, job, remote_options(job, self._capacity), tolerance=WARM)
            chains = self._chains(bundle(tasks, cpus=self._capacity.cpus), seeing)
            self._samples = [(own, rows.materialize()) for own, rows in chains]
            self._job = seeing
        again = replace(self._job, round=job.round)
        samples = self._samples if job.round == 1 else [*self._chains(singles(tasks), again)]
        asked = {task.key: task.request for task in tasks}
        yield outcomes_of(
            [
                rows.map_batches(
                    partial(try_settings, job=replace(own, round=job.round), asked=asked),
                    batch_size=None,
                    **remote_options(own, self._capacity),
                )
                for own, rows in samples
            ],
            Tuned,
        )

    def _chains(self, bundles: Sequence[Bundle[TuningTask]], job: Job) -> Iterator[tuple[Job, Dataset]]:
        """Yield, by the CPUs that a series gets, the Dataset of samples."""
        for cpus, own in sized(bundles, self._capacity, cpus_per_task=job.cpus_per_task).items():
            sized_job = replace(job, cpus=cpus)
            step = remote_options(sized_job, self._capacity)
            rows = loaded_bars(own, sized_job, step, whole_groups=True, load=load_bars)
            yield sized_job, rows.map_batches(partial(prepare_samples, job=sized_job), batch_size=None, **step)
