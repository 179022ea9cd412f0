"""The three steps that bars go through inside a worker; each takes and yields Arrow tables, none knows Ray."""

import io
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta

import polars as pl
import pyarrow as pa

from job.config import DataSettings
from job.errors import DataError, JobError
from job.keys import encode
from job.outcomes import Outcome, failed
from job.paths import shown
from job.planning import Task
from job.rows import FAILURES, Facts, Job, Loaded, Prepared, describe, pack, unpack, version_differences
from job.sources import Series, read_series
from job.store import ExistingFileError, Store
from transforms.bars import Cleaned, clean, content_digest, duration_us
from transforms.features import available, warmup_bars
from transforms.samples import Samples, make_samples


def load_bars(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Read and clean each bundle's series; one row of bars a bundle."""
    for bundle, _ in unpack(batch):
        try:
            check_versions(job)
            bars, facts = load_series(bundle.series, job)
        except FAILURES as error:
            yield pack(Loaded(bundle, None, describe(error, "reading bars", job)))
        else:
            yield pack(Loaded(bundle, facts), bars)


def prepare_samples(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a bundle's bars into samples; one row of samples a task, in the bundle's order."""
    for loaded, bars in unpack(batch):
        series = f"{loaded.bundle.series.exchange}/{loaded.bundle.series.symbol}"
        for task in loaded.bundle.tasks:
            if loaded.error is not None or loaded.facts is None:
                yield pack(Prepared(task, None, error=loaded.error))
                continue
            started = time.perf_counter()
            try:
                samples, left_out = samples_of(task, bars, loaded.facts, job.config.data, name=series)
            except FAILURES as error:
                yield pack(Prepared(task, None, error=describe(error, "making samples", job)))
            else:
                seconds = time.perf_counter() - started
                facts = loaded.facts
                yield pack(
                    Prepared(task, facts, samples.counts, samples.label_stats, left_out, seconds, series), samples.frame
                )


def train_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Train, score and commit each row's model; one row of outcome JSON a task."""
    for prepared, samples in unpack(batch):
        yield pa.table({"outcome": [train_task(prepared, samples, job).to_json()]})


def train_task(prepared: Prepared, samples: pl.DataFrame, job: Job) -> Outcome:
    """Train and commit one model and return what became of it."""
    key = prepared.task.key
    if prepared.error is not None:
        return failed(key, prepared.error, attempts=job.attempt)
    from job.versions import commit_version  # noqa: PLC0415 - brings scikit-learn; the driver names this step only

    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        outcome = commit_version(prepared, samples, job)
    except FAILURES as error:
        return failed(key, describe(error, "training", job), attempts=job.attempt)
    return outcome.with_cost(
        seconds=time.perf_counter() - started + prepared.seconds,
        cpu_seconds=time.process_time() - cpu_started + prepared.seconds,
        peak_rss_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        node=platform.node(),
        attempts=job.attempt,
    )


def check_versions(job: Job) -> None:
    """Raise JobError where a library differs from the driver's, since the model's numbers would differ too."""
    if differences := version_differences(job.versions):
        raise JobError(f"node {platform.node()} " + "; ".join(differences))


def load_series(series: Series, job: Job) -> tuple[pl.DataFrame, Facts]:
    """Read, clean and date-limit one series; rejected bars go to the store.

    Raises:
        DataError: no usable bar is left, or more than `data.max_rejected` of them break a rule.
    """
    data = job.config.data
    name = f"{series.exchange}/{series.symbol}"
    raw = read_series(series, data)
    try:
        cleaned = clean(raw, timeframe=data.timeframe or series.timeframe)
    except ValueError as error:
        raise DataError(f"{name}: {error}") from None
    check_rejected(name, cleaned, data)
    check_range(name, cleaned, data)
    bars = cleaned.bars if data.end is None else cleaned.bars.filter(pl.col("timestamp") < data.end)
    digest = content_digest(bars, timeframe=cleaned.timeframe)
    warnings = keep_rejected(series, cleaned, digest, job.store())
    facts = Facts(
        timeframe=cleaned.timeframe,
        offset_us=cleaned.offset_us,
        first=bars["timestamp"][0],
        last=bars["timestamp"][-1],
        counts=cleaned.counts,
        digest=digest,
        files=tuple({"url": shown(file.url), "bytes": file.size} for file in series.files),
        warnings=warnings,
    )
    return bars, facts


def check_rejected(name: str, cleaned: Cleaned, data: DataSettings) -> None:
    """Raise DataError when too large a share of a series breaks the cleaning rules."""
    rejected, read = cleaned.rejected.height, cleaned.counts["rows_read"]
    by_rule = rule_counts(cleaned.rejected)
    if cleaned.bars.is_empty():
        raise DataError(
            f"{name}: no usable bar among {read} rows ({by_rule or 'no rows'}): check data.columns and the files"
        )
    if rejected > data.max_rejected * read:
        raise DataError(
            f"{name}: {rejected} of {read} rows break a rule ({by_rule}): check data.columns and the files, "
            f"or raise data.max_rejected (now {data.max_rejected:g})"
        )


def check_range(name: str, cleaned: Cleaned, data: DataSettings) -> None:
    """Raise DataError when no bar of a series lies in the settings' date range."""
    first, last = cleaned.bars["timestamp"][0], cleaned.bars["timestamp"][-1]
    start = range_start(last, cleaned.timeframe, data)
    if (start is not None and start > last) or (data.end is not None and data.end <= first):
        lies = " and ".join(f"{word} {time}" for word, time in (("from", start), ("before", data.end)) if time)
        raise DataError(
            f"{name}: no bars {lies}, it has {first} to {last}: change data.start, data.end or data.lookback_days"
        )


def rule_counts(rejected: pl.DataFrame) -> str:
    """Return `rule count` pairs, most frequent first."""
    counts = rejected.group_by("rule").len().sort(["len", "rule"], descending=[True, False])
    return ", ".join(f"{rule} {count}" for rule, count in counts.iter_rows())


def keep_rejected(series: Series, cleaned: Cleaned, digest: str, store: Store) -> tuple[str, ...]:
    """Write the rejected bars to the store and return the warning that says so."""
    if cleaned.rejected.is_empty():
        return ()
    path = f"rejected/{encode(series.exchange)}/{encode(series.symbol)}/{digest}.parquet"
    buffer = io.BytesIO()
    cleaned.rejected.write_parquet(buffer)
    with suppress(ExistingFileError):  # the same bars, written by another version of the library
        store.create(path, buffer.getvalue())
    return (f"{series.exchange}/{series.symbol}: rejected {rule_counts(cleaned.rejected)}; kept in {path}",)


def samples_of(
    task: Task, bars: pl.DataFrame, facts: Facts, data: DataSettings, *, name: str
) -> tuple[Samples, tuple[str, ...]]:
    """Return a task's samples, and the features that its series cannot give.

    Raises:
        DataError: the timeframe cannot be made from these bars, or nothing usable is left.
    """
    key, label = task.key, task.spec.label
    features, left_out = available(task.spec.features, bars.columns)
    start = range_start(facts.last, facts.timeframe, data)
    if start is not None and data.gaps == "segment":  # where bars skip hours, clock time does not tell how many warm up
        warmup = timedelta(microseconds=duration_us(key.timeframe)) * (warmup_bars(features) + 1)
        bars = bars.filter(pl.col("timestamp") >= start - warmup)
    try:
        samples = make_samples(
            bars,
            source=facts.timeframe,
            timeframe=key.timeframe,
            offset_us=facts.offset_us,
            features=features,
            label=label,
            max_fill=data.max_fill,
            min_coverage=data.min_coverage,
            gaps=data.gaps,
            start=start,
        )
    except ValueError as error:
        raise DataError(f"{name} {key.timeframe}: {error}") from None
    if samples.frame.is_empty():
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


def range_start(last: datetime, timeframe: str, data: DataSettings) -> datetime | None:
    """Return the open time of the first bar that may be a sample: `start`, or `lookback_days` before the end.

    `last` and `timeframe` are of the series' last bar.
    """
    if data.lookback_days is None:
        return data.start
    end = data.end or last + timedelta(microseconds=duration_us(timeframe))
    looked_back = end - timedelta(days=data.lookback_days)
    return looked_back if data.start is None else max(looked_back, data.start)
