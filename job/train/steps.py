"""The three steps that bars go through inside a worker; each takes and yields Arrow tables, none knows Ray."""

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import polars as pl
import pyarrow as pa

from job.config.settings import DataSettings
from job.core.errors import DataError, JobError
from job.core.keys import Key
from job.learning.features import resolve_features
from job.registry.versions import read_metadata
from job.train.plan import Task, known_version
from job.worker.attempts import Attempt, record_attempt
from job.worker.load_bars import load_series, range_start
from job.worker.memory import peak_mb, reset_peak
from job.worker.messages import (
    FAILURES,
    BarsRow,
    Job,
    SamplesRow,
    SeriesInfo,
    describe,
    pack,
    unpack,
    version_differences,
)
from job.worker.outcome import Outcome, current, failed, of_version
from job.worker.timeout import time_limit
from transforms.bars import duration_us
from transforms.features.compute import available, warmup_bars
from transforms.samples import Samples, make_samples


def load_bars(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Read and clean each bundle's series; one row of bars a bundle."""
    for bundle, _ in unpack(batch):
        first = bundle.tasks[0]
        reset_peak()
        try:
            check_versions(job)
            with watched(job, first.key, f"reading bars of {bundle.series} and making samples"):
                bars, info = load_series(bundle.series, job, listed=first.listed[0] if first.listed else None)
        except FAILURES as error:
            yield pack(BarsRow(bundle, None, describe(error, "reading bars", job)))
        else:
            yield pack(BarsRow(bundle, info), bars)


def prepare_samples(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a bundle's bars into samples; one row of samples a task, in the bundle's order.

    A task whose bars turn out to be those of a version in the registry gets none.
    """
    for loaded, bars in unpack(batch):
        for task in loaded.bundle.tasks:
            yield pack(*prepare(task, loaded, bars, job))


def prepare(task: Task, loaded: BarsRow, bars: pl.DataFrame, job: Job) -> tuple[SamplesRow, pl.DataFrame | None]:
    """Return the head and the samples of one task, of which there are none where it failed or is current."""
    info, series = loaded.info, str(loaded.bundle.series)
    if info is None:
        return SamplesRow(task, None, error=loaded.error), None
    if known_version(task, job.config, info.digest):
        return SamplesRow(task, info), None
    started = time.perf_counter()
    try:
        with time_limit(job.config.model_trainer.task_timeout_s, on_timeout(job, task.key, "making samples")):
            samples, left_out = samples_of(task, bars, info, job.config.data, name=series, market=job.trading)
    except FAILURES as error:
        return SamplesRow(task, None, error=describe(error, "making samples", job)), None
    seconds = time.perf_counter() - started
    return SamplesRow(task, info, samples.counts, samples.label_stats, left_out, seconds, series), samples.frame


def train_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Train, score and commit each row's model; one row of outcome JSON a task."""
    for prepared, samples in unpack(batch):
        yield pa.table({"outcome": [train_task(prepared, samples, job).to_json()]})


def train_task(prepared: SamplesRow, samples: pl.DataFrame, job: Job) -> Outcome:
    """Train and commit one model, unless it turns out to be current, and return what became of it."""
    task, info = prepared.task, prepared.info
    if prepared.error is not None:
        return failed(task.key, prepared.error, attempts=task.attempt)
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        if info and (version := known_version(task, job.config, info.digest)):
            outcome = current(stored(job, task.key, version), latest=task.known[-1][1])
        else:
            with watched(job, task.key, "training"):
                outcome = trained(prepared, samples, job)
    except FAILURES as error:
        return failed(task.key, describe(error, "training", job), attempts=task.attempt)
    outcome = outcome.with_cost(
        seconds=time.perf_counter() - started + prepared.seconds,
        cpu_seconds=time.process_time() - cpu_started + prepared.seconds,
        peak_rss_mb=peak_mb(),
        node=platform.node(),
        attempts=task.attempt,
    )
    reset_peak()
    return outcome


def trained(prepared: SamplesRow, samples: pl.DataFrame, job: Job) -> Outcome:
    """Train and commit one model."""
    from job.train.commit import commit_version  # noqa: PLC0415 - brings scikit-learn; the driver names these steps only

    return commit_version(prepared, samples, job)


def stored(job: Job, key: Key, version: str) -> Outcome:
    """Return the outcome of a version that the registry holds."""
    return of_version(key, read_metadata(job.registry(), key, version))


@contextmanager
def watched(job: Job, key: Key, step: str) -> Iterator[None]:
    """Leave a note of what is begun for a model, and end this worker where it takes too long."""
    record_attempt(job.registry(), job.run_id, job.round, Attempt.of_this_process(key, step))
    with time_limit(job.config.model_trainer.task_timeout_s, on_timeout(job, key, step)):
        yield


def on_timeout(job: Job, key: Key, step: str) -> Callable[[str], None]:
    """Return what writes into a model's note that its time was up, and where the worker stood."""
    note = Attempt.of_this_process(key, step)
    return lambda trace: record_attempt(job.registry(), job.run_id, job.round, replace(note, trace=trace))


def check_versions(job: Job) -> None:
    """Raise JobError where a library differs from the driver's, since the model's numbers would differ too."""
    if differences := version_differences(job.versions):
        raise JobError(f"node {platform.node()} " + "; ".join(differences))


def samples_of(
    task: Task, bars: pl.DataFrame, info: SeriesInfo, data: DataSettings, *, name: str, market: bool = False
) -> tuple[Samples, tuple[str, ...]]:
    """Return a task's samples, with the `market` that they come from if asked for, and the features it cannot give.

    Raises:
        DataError: the timeframe cannot be made from these bars, or nothing usable is left.
        EntryError: the module of a feature is not to be had here.
    """
    key, label = task.key, task.spec.label
    features, left_out = available(resolve_features(task.spec.features), bars.columns)
    start = range_start(info.last, info.timeframe, data)
    if start is not None and data.gaps == "segment":  # where bars skip hours, clock time does not tell how many warm up
        warmup = timedelta(microseconds=duration_us(key.timeframe)) * (warmup_bars(features) + 1)
        bars = bars.filter(pl.col("timestamp") >= start - warmup)
    try:
        samples = make_samples(
            bars,
            source=info.timeframe,
            timeframe=key.timeframe,
            offset_us=info.offset_us,
            features=features,
            label=label,
            max_fill=data.max_fill,
            min_coverage=data.min_coverage,
            gaps=data.gaps,
            start=start,
            market=market,
        )
    except ValueError as error:
        raise DataError(f"{name} {key.timeframe}: {error}") from None
    if not samples.counts["used"]:
        counts = ", ".join(f"{what} {count}" for what, count in samples.counts.items() if count) or "no bars"
        remedy = remedy_for(samples.counts, data)
        raise DataError(f"{name} {key.timeframe}: no usable sample ({counts}): {remedy}")
    return samples, left_out


def remedy_for(counts: Mapping[str, int], data: DataSettings) -> str:
    """Return what to do where no bar became a sample, from the counts of what became of them."""
    if counts.get("no_label", 0) > counts.get("warmup", 0):
        return "bars whose price does not move have no label: use other bars, or another label"
    if data.gaps == "segment" and (counts.get("segments", 0) > 1 or counts.get("low_coverage", 0)):
        return "give more bars, or set data.gaps: ignore"
    return "give more bars"
