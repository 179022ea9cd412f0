"""Bars flow through one Ray Dataset and come out as files of predictions.

bundles of tasks → read_newest_bars → prepare_features → predict_models → files of predictions, outcomes
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from job.cluster.bundles import Capacity, bundle, singles, sized
from job.cluster.context import with_context
from job.cluster.datasets import loaded_bars, outcomes_of, remote_options
from job.predict.steps import predict_models, prepare_features
from job.predict.task import Predicted, PredictionTask
from job.worker.messages import Job
from job.worker.newest import read_newest_bars
from transforms.features.feature import EXACT


def runs(tasks: Sequence[PredictionTask], job: Job, *, capacity: Capacity) -> Iterator[Iterator[Predicted]]:
    """Start every task once; after the first round each task runs by itself."""
    job = with_context(tasks, job, remote_options(job, capacity), tolerance=EXACT)
    bundles = bundle(tasks, cpus=capacity.cpus) if job.round == 1 else singles(tasks)
    chains = []
    for cpus, own in sized(bundles, capacity, cpus_per_task=job.cpus_per_task or 1).items():
        sized_job = replace(job, cpus=cpus)
        step = remote_options(sized_job, capacity)
        chain = (
            loaded_bars(own, sized_job, step, whole_groups=True, load=read_newest_bars)
            .map_batches(partial(prepare_features, job=sized_job), batch_size=None, **step)
            .map_batches(partial(predict_models, job=sized_job), batch_size=None, **step)
        )
        chains.append(chain)
    yield outcomes_of(chains, Predicted)
