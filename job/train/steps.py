"""The three steps of training inside a worker; each takes and yields Arrow tables, none knows Ray."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.keys import POOLED, Key
from job.learning.estimators import sequence_bars
from job.learning.features import resolve_features
from job.registry.attempts import Attempt, record_attempt
from job.registry.fingerprints import bare_digest
from job.registry.outcome import Outcome, current, failed, fresh_enough, of_version
from job.registry.versions import read_metadata
from job.train.audit import certify
from job.train.freshness import decide_on, grown_of
from job.train.policy import TrainedOn
from job.train.task import SamplesRow, Task
from job.worker.context import Context, Sampling, besides, history
from job.worker.cost import Meter
from job.worker.load_bars import load_series, range_start
from job.worker.memory import reset_peak
from job.worker.messages import BarsRow, Job, SeriesInfo, check_versions, pack, recorded_failure, unpack
from job.worker.timeout import time_limit
from transforms.bars import Gaps, duration_us
from transforms.clock import clock_columns
from transforms.features.compute import available
from transforms.features.feature import WARM
from transforms.samples import Samples, make_samples

if TYPE_CHECKING:
    from job.learning.matrices import SpreadMatrix


def load_bars(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Read and clean each bundle's series; one row of bars per bundle."""
    for bundle, _ in unpack(batch):
        first = bundle.tasks[0]
        listed = {task.flow: task.cached_digests[0] if task.cached_digests else None for task in bundle.tasks}
        reset_peak()
        meter = Meter()
        with recorded_failure("reading bars", job) as failure:
            check_versions(job)
            with announced(job, first.key, f"reading bars of {bundle.series} and making samples"):
                bars, info = load_series(bundle.series, job, listed=listed)
        if failure.error is not None:
            yield pack(BarsRow(bundle, None, failure.error, cost=meter.cost()))
        else:
            yield pack(BarsRow(bundle, info), bars)


def prepare_samples(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a bundle's bars into samples; one row of samples per task, in the bundle's order.

    A task whose bars turn out to be those of a version in the registry gets none, nor does one that is fresh enough.
    """
    for row, bars in unpack(batch):
        grown = grown_of(row.bundle.series, bars, row.info, job) if row.info else None
        for task in row.bundle.tasks:
            if task.held is None or grown is None:
                yield pack(*prepare(task, row, bars, job))
                continue
            decision = decide_on(job.config.retrain, task, task.held, {str(row.bundle.series): grown(task)})
            if decision.train:
                yield pack(*prepare(replace(task, why=decision.why), row, bars, job))
            else:
                yield pack(SamplesRow(task, row.info, decision=decision))


def prepare(task: Task, row: BarsRow, bars: pl.DataFrame, job: Job) -> tuple[SamplesRow, pl.DataFrame | None]:
    """Return the header and the samples of one task; None in place of samples if it failed or is current."""
    if row.info and task.known_version(job.config, job.content_of(task, row.info)):
        return SamplesRow(task, row.info), None
    with time_limit(job.config.model_trainer.task_timeout_s, on_timeout(job, task.key, "making samples")):
        return samples_row(task, row, bars, job)


def samples_row(task: Task, row: BarsRow, bars: pl.DataFrame, job: Job) -> tuple[SamplesRow, pl.DataFrame | None]:
    """Return the header and the samples of one task on one series; None in place of samples where that failed."""
    info, series = row.info, str(row.bundle.series)
    if info is None:
        return SamplesRow(task, None, series=series, error=row.error, cost=row.cost_of(task)), None
    meter = Meter()
    with recorded_failure("making samples", job) as failure:
        certificates = certify(task, bars, info, job.config.data, name=series, context=job.context)
        samples, left_out = samples_of(
            task, bars, info, job.config.data, name=series, market=job.trading, context=job.context
        )
    if failure.error is not None:
        return SamplesRow(task, None, series=series, error=failure.error, cost=meter.cost()), None
    closed = info.last + timedelta(microseconds=duration_us(info.timeframe))
    header = SamplesRow(
        task,
        info,
        samples.counts,
        samples.label_stats,
        left_out,
        meter.cost(),
        series,
        certificates=certificates,
        trained_on={series: TrainedOn(bare_digest(info.content(flow=task.flow)), closed)},
    )
    return header, samples.frame


def train_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Train, score and commit each row's model; one row of outcome JSON per task."""
    for row, samples in unpack(batch):
        yield pa.table({"outcome": [train_task(row, samples, job).to_json()]})


def train_task(row: SamplesRow, samples: pl.DataFrame, job: Job, matrix: "SpreadMatrix | None" = None) -> Outcome:
    """Train and commit one model, unless it need not be trained as its bars show, and return what became of it.

    Where several workers train it, this one commits it; `matrix` are the features of `samples`.
    """
    task, info = row.task, row.info
    meter = Meter()
    if row.error is not None:
        return meter.charge(failed(task.key, row.error), attempts=task.attempt, before=row.cost)
    with recorded_failure("training", job) as failure:
        if info and (version := task.known_version(job.config, job.content_of(task, info))):
            outcome = current(stored(job, task.key, version), latest=task.known[-1][1])
        elif row.decision is not None:
            before = stored(job, task.key, row.decision.version)
            outcome = fresh_enough(before, latest=task.known[-1][1], **row.decision.record())
        else:
            from job.train.commit import commit_version  # noqa: PLC0415 - brings scikit-learn, which the driver needs not

            with announced(job, task.key, "training"):
                outcome = replace(commit_version(row, samples, job, matrix), why=task.why)
    if failure.error is not None:
        outcome = failed(task.key, failure.error)
    return meter.charge(outcome, attempts=task.attempt, before=row.cost)


def stored(job: Job, key: Key, version: str) -> Outcome:
    """Return the outcome of a version that the registry holds."""
    return of_version(key, read_metadata(job.registry(), key, version))


@contextmanager
def announced(job: Job, key: Key, step: str) -> Iterator[None]:
    """Record which step begins for a model, and end this worker if the step takes too long."""
    record_attempt(job.registry(), job.run_id, job.round, Attempt.of_this_process(key, step))
    with time_limit(job.config.model_trainer.task_timeout_s, on_timeout(job, key, step)):
        yield


def on_timeout(job: Job, key: Key, step: str) -> Callable[[str], None]:
    """Return a function that adds the stack of a worker whose time is up to its model's note."""
    attempt = Attempt.of_this_process(key, step)
    return lambda trace: record_attempt(job.registry(), job.run_id, job.round, replace(attempt, trace=trace))


def samples_of(
    task: Task,
    bars: pl.DataFrame,
    info: SeriesInfo,
    data: DataSettings,
    *,
    name: str,
    market: bool = False,
    context: Context | None = None,
) -> tuple[Samples, tuple[str, ...]]:
    """Return a task's samples, with the `market` that they come from if asked for, and the features it cannot give.

    `name` is the series', `context` what is known of others.

    Raises:
        DataError: the timeframe cannot be made from these bars, or nothing usable is left.
        EntryError: the module of a feature is not to be had here.
    """
    key, seen = task.key, task.spec.origins
    start = range_start(info.last, info.timeframe, data)
    how = info.preparation(key.timeframe, Sampling.of(data))
    features, absent = available(resolve_features(seen.own), (*bars.columns, *clock_columns(how.gaps)))
    if start is not None and how.gaps == "segment":  # where bars skip hours, they cannot be counted back by the clock
        before = history(seen, features, key.timeframe, sequence_bars=sequence_bars(task.spec))
        bars = bars.filter(pl.col("timestamp") >= start - before)
    itself = None if key.exchange == POOLED else name
    try:
        beside, without = besides(seen, bars, how, task.needs, context, tolerance=WARM, itself=itself)
        samples = make_samples(
            bars,
            how,
            features=features,
            label=task.spec.label,
            start=start,
            market=market,
            unique=task.spec.weights is not None and task.spec.weights.uniqueness,
            beside=beside,
            sequence_bars=sequence_bars(task.spec),
        )
    except ValueError as error:
        raise DataError(f"{name} {key.timeframe}: {error}") from None
    if not samples.counts["used"]:
        counts = ", ".join(f"{what} {count}" for what, count in samples.counts.items() if count) or "no bars"
        remedy = remedy_for(samples.counts, how.gaps, samples.never_finite)
        raise DataError(f"{name} {key.timeframe}: no usable sample ({counts}): {remedy}")
    return samples, (*absent, *without, *samples.left_out)


def remedy_for(counts: Mapping[str, int], gaps: Gaps, never_finite: Sequence[str] = ()) -> str:
    """Return what to do where no bar became a sample, from the counts of what became of them."""
    if never_finite:
        return f"no bar has a finite {' or '.join(never_finite[:3])}: leave it out of the features, or mend it"
    if counts.get("no_label", 0) > counts.get("warmup", 0):
        return "bars whose price does not move have no label: use other bars, or another label"
    if gaps == "segment" and (counts.get("segments", 0) > 1 or counts.get("low_coverage", 0)):
        return "give more bars, or set data.gaps: ignore"
    return "give more bars"
