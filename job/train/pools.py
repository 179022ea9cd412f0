"""Pooled members of blends: one model over the whole input, fitted once for all series, as it was at several times.

Nothing that a series is scored on may have decided the probabilities of its members. So the pooled member of a fold, or
of the holdout, knows no label that ended after the first test row. Two passes come before the series' own tasks: one to
see when their test windows begin, one to fit. Both go over the whole input, whichever tasks are left of a run, so that
a rerun comes to the same numbers.
"""

import logging
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import pyarrow as pa

from job.cluster.bundles import Capacity, by_series
from job.cluster.datasets import kept, loaded_bars, remote_options
from job.core.errors import LostRowsError, TrainingError
from job.core.keys import ALL, Key
from job.learning.splits import fit_times, walk_forward
from job.sources.series import Series
from job.train.pooled import SamplingCap, read_group, thinned_samples
from job.train.shuffle import shuffled
from job.train.steps import announced, load_bars
from job.train.task import Task
from job.worker.memory import estimate_memory
from job.worker.messages import Job, recorded_failure
from transforms.bars import duration_us

EXCHANGE: Final = "pools"
"""In place of an exchange in the keys of pools, which are no models of the registry."""
EVER: Final = 2**62
"""A time after all others, in µs: with it as the begin of a holdout, samples of all times are thinned."""

log = logging.getLogger("job")


@dataclass(frozen=True)
class Windows:
    """When the test windows of a series' own model begin, when its last label ends (µs), and how many samples it has.

    It has no `starts` where it cannot be read, or has too few samples.
    """

    pool: Key
    series: str
    samples: int = 0
    starts: tuple[int, ...] = ()
    end: int = 0


def with_pools(tasks: Sequence[Task], job: Job, capacity: Capacity, fleet: Sequence[Series]) -> Job:
    """Return the job with the pools of those tasks whose blends have a pooled member; as it is where none has.

    Args:
        tasks: of the run.
        job: with the context of the tasks, by which those are known that are current.
        capacity: of the cluster.
        fleet: all series of the input.

    Raises:
        LostRowsError: a worker died.
    """
    pools: dict[Key, Task] = {}
    asking: dict[Key, set[str]] = {}
    for task in tasks:
        if task.spec.pooled is None or job.context is None:
            continue
        read = [job.context.digests.get((one, task.flow)) for one in task.series]
        content = task.content_by(read, job.context.digest(task.needs[0]))
        if content is None or task.known_version(job.config, content):  # its bars could not be read, or it is current
            continue
        key, spec = Key(EXCHANGE, ALL, task.key.timeframe, task.key.model_type), task.spec.pooled
        # What it costs is known once its samples are counted.
        pools[key] = Task(key=key, spec=spec, series=tuple(fleet), rows=0, seconds=1.0, memory=0, needs=task.needs)
        asking.setdefault(key, set()).add(str(task.series[0]))
    if not pools:
        return job
    trainer = job.config.model_trainer
    config = job.config.model_copy(update={"model_trainer": trainer.model_copy(update={"trading": None})})
    own = replace(job, config=config)  # pools are not traded on, and need no bars without a label
    windows = windows_of([*pools.values()], own, capacity)
    times: dict[Key, list[int]] = {}
    caps: dict[Key, SamplingCap] = {}
    for key, pool in pools.items():
        wanted = [start for one in windows[key] if one.series in asking[key] for start in one.starts]
        times[key] = fit_times([start for one in windows[key] for start in one.starts], wanted)
        if pool.spec.refit:  # the last fit knows all labels
            times[key].append(max(one.end for one in windows[key]) + embargo_of(pool))
        rows = sum(one.samples for one in windows[key])
        if rows > trainer.max_samples:
            caps[key] = SamplingCap(EVER, trainer.max_samples / rows)
        rows = min(rows, trainer.max_samples)
        pools[key] = replace(pool, rows=rows, memory=estimate_memory(rows, len(pool.spec.features)))
        told = "%s %s: fitting the pooled member of its blends on %d samples of %d series, as known at %d times"
        log.info(told, key.model_type, key.timeframe, rows, len(fleet), len(times[key]))
    answers = shuffled([*pools.values()], own, capacity, caps, partial(fit_group, times=times))
    found = {row["kind"]: row["pool"] for row in answers.iter_rows()}
    if lost := len(pools) - len(found):
        raise LostRowsError(f"workers died while pooled members were fitted: {lost} answers did not arrive")
    return replace(job, pools={pickle.loads(kind): kept(pool) for kind, pool in found.items()})  # noqa: S301 - made by this run


def windows_of(pools: Sequence[Task], job: Job, capacity: Capacity) -> dict[Key, list[Windows]]:
    """Return the windows of every series, by pool."""
    step = remote_options(job, capacity)
    rows = (
        loaded_bars(by_series(pools), job, step, whole_groups=True, load=load_bars)
        .map_batches(partial(count_windows, job=job), batch_size=None, **step)
        .iter_rows()
    )
    found: dict[Key, list[Windows]] = {pool.key: [] for pool in pools}
    for row in rows:
        one = pickle.loads(row["windows"])  # noqa: S301 - made by this run
        found[one.pool].append(one)
    if lost := sum(len(pool.series) - len(found[pool.key]) for pool in pools):
        raise LostRowsError(f"workers died while samples of pooled members were counted: {lost} answers did not arrive")
    return found


def count_windows(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Yield one row per pool and series: its `Windows`, pickled."""
    for task, header, frame in thinned_samples(batch, job, {}):
        found = Windows(task.key, header.series)
        if frame.height:
            labeled = frame.drop_nulls("label").sort("available_at")
            available_at, label_end = (labeled[name].to_physical().to_numpy() for name in ("available_at", "label_end"))
            found = replace(found, samples=labeled.height, end=int(label_end.max()))
            with suppress(TrainingError):  # its own task tells
                spec, embargo_us = task.spec, embargo_of(task)
                splits = walk_forward(
                    available_at, label_end, test_size=spec.test_size, folds=spec.cv_folds, embargo_us=embargo_us
                )
                folds = (*splits.folds, splits.holdout)
                found = replace(found, starts=tuple(int(available_at[fold.test[0]]) for fold in folds))
        yield pa.table({"windows": [pickle.dumps(found)]})


def embargo_of(pool: Task) -> int:
    """Return for how long after its end a label of a pool is not known (µs)."""
    return pool.spec.embargo * duration_us(pool.key.timeframe)


def fit_group(
    group: pa.Table, *, job: Job, members: Mapping[Key, frozenset[str]], times: Mapping[Key, Sequence[int]]
) -> pa.Table:
    """Fit one pool at its times; a row of its kind and of the `Pool`, both pickled; none where samples are absent."""
    from job.learning.pooled import Pool  # noqa: PLC0415 - brings scikit-learn, which the driver needs not
    from job.learning.pooling import fit_pool  # noqa: PLC0415

    found = read_group(group, members)
    if found is None:
        return pa.table({"kind": pa.array([], pa.binary()), "pool": pa.array([], pa.binary())})
    header, samples = found
    key, spec = header.task.key, header.spec
    error = header.error
    pool = Pool(spec.algorithm, spec.feature_names, series=len(header.trained_on))
    if error is None:
        with recorded_failure("fitting a pooled member", job) as failure, announced(job, key, "training"):
            samples, embargo_us = samples.drop_nulls("label"), embargo_of(header.task)
            fits = fit_pool(samples, spec, times[key], embargo_us=embargo_us, n_jobs=job.cpus)
            pool = replace(pool, fits=fits)
        error = failure.error
    if error is not None:
        pool = replace(pool, error=error["message"])
    kind = pickle.dumps((key.timeframe, key.model_type))
    return pa.table({"kind": [kind], "pool": [pickle.dumps(pool)]})
