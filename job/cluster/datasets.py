"""How a Ray Dataset of this job is made and run: blocks, resources, outcomes."""

import logging
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa
import ray.data
from ray.data import DataContext, Dataset

from job.cluster.bundles import Capacity
from job.cluster.operation import OutcomeT
from job.worker.messages import Bundle, Job

__all__ = ["Dataset", "kept", "loaded_bars", "outcomes_of", "remote_options"]

ROUNDING: Final = 0.999
"""Keeps the shares of all CPUs from adding up to more than their node has."""


def loaded_bars(
    bundles: Sequence[Bundle[Any]],
    job: Job,
    step: Mapping[str, Any],
    *,
    whole_groups: bool,
    load: Callable[..., Iterator[pa.Table]],
) -> Dataset:
    """Return a Dataset with one row of bars per bundle, made by `load`, in the order of the bundles.

    With `whole_groups` every row that a step yields is a block of its own, so that a model's whole group arrives as one
    batch and outcomes leave as soon as they exist. A shuffle wants ordinary blocks, unsliced.
    """
    context = DataContext.get_current().copy()  # the caller's own Datasets keep their settings
    context.target_max_block_size = 1 if whole_groups else None
    context.max_errored_blocks = -1  # a worker's death costs its own tasks, which run again
    context.execution_no_progress_timeout_s = -1  # a long fit is no hang
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # `max_retries` of a step can be set in no other way.
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", DeprecationWarning)
    if job.config.ray.logging_level != "debug":
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it prints whole tracebacks of what we record
    rows = [{"header": pickle.dumps(one)} for one in bundles]
    with DataContext.current(context):
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    return dataset.map_batches(partial(load, job=job), batch_size=None, **step)


def kept(data: bytes) -> Callable[[], bytes]:
    """Keep bytes for workers, and return what gives them there: every node fetches them once."""
    reference = ray.put(data)
    return lambda: ray.get(reference)


def remote_options(job: Job, capacity: Capacity, *, gpu: bool = False) -> dict[str, Any]:
    """Return how a step runs: on Arrow tables, with a task's CPUs and their share of memory, and no retries by Ray.

    With `gpu`, each of its tasks has one, if the cluster has any.
    Ray retries a generator from its start and drops as many rows as it saw before, which loses rows in silence.
    """
    return {
        "batch_format": "pyarrow",
        "num_cpus": job.cpus,
        "memory": int(job.cpus * capacity.memory_per_cpu * ROUNDING),
        "max_retries": 0,
        **({"num_gpus": 1} if gpu and capacity.gpus else {}),
    }


def outcomes_of(datasets: Iterable[Dataset], kind: type[OutcomeT]) -> Iterator[OutcomeT]:
    """Run Datasets of outcomes side by side and yield what arrives; where no more is wanted, their tasks are ended.

    Blocks are taken as they are: `iter_rows` fetches ahead in threads that outlive it, and Ray ends a
    process that still has a thread asking for blocks when Ray is shut down.
    """
    first, *others = datasets
    for blocks in (first.union(*others) if others else first).iter_internal_ref_bundles():
        for table in ray.get(blocks.block_refs):
            if table.num_rows:
                yield from map(kind.from_json, table.column("outcome").to_pylist())
