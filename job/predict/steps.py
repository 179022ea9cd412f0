"""The steps of predicting inside a worker; each takes and yields Arrow tables, none knows Ray."""

import platform
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
import pyarrow as pa

from job.core.errors import DataError
from job.learning.drift import Reference, measure
from job.predict.task import Predicted, PredictionTask, path_of, superseded_path
from job.registry.catalog import open_registry
from job.registry.fingerprints import bare_digest
from job.registry.predictions import Footer, write_predictions
from job.registry.versions import load
from job.sources.reading import as_listed
from job.worker.context import beside_version
from job.worker.load_bars import range_start
from job.worker.memory import peak_mb, reset_peak
from job.worker.messages import BarsRow, Job, SeriesInfo, pack, recorded_failure, unpack
from transforms.features.feature import EXACT


@dataclass(frozen=True)
class FeaturesRow:
    """Header of a row of features; there are none where the file in place turned out to be current, or on an error."""

    task: PredictionTask
    info: SeriesInfo | None
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    error: dict[str, str] | None = None
    digest: str = ""
    """Digest of the bars, empty where they could not be read."""

    @property
    def current(self) -> bool:
        """Whether the file in place was made from these bars in the same way."""
        return self.task.held is not None and self.task.held.content == self.digest


def prepare_features(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a bundle's bars into the features of each of its models; one row per task, in the bundle's order."""
    for row, bars in unpack(batch):
        for task in row.bundle.tasks:
            yield pack(*prepare(task, row, bars, job))


def prepare(
    task: PredictionTask, row: BarsRow, bars: pl.DataFrame, job: Job
) -> tuple[FeaturesRow, pl.DataFrame | None]:
    """Return the header and the features of one task."""
    info, series = row.info, str(row.bundle.series)
    if info is None:
        return FeaturesRow(task, None, error=row.error), None
    header = FeaturesRow(task, info, digest=bare_digest(job.content_of(task, info)))
    if header.current:
        return header, None
    started = time.perf_counter()
    with recorded_failure("making features", job) as failure:
        start = range_start(info.last, info.timeframe, job.config.data)
        beside = beside_version(
            task.definition, bars, info, name=series, needs=task.needs, context=job.context, tolerance=EXACT
        )
        made = task.definition.features_of(bars, info, start=start, name=series, beside=beside)
        if not made.counts["used"]:
            counts = ", ".join(f"{what} {count}" for what, count in made.counts.items() if count) or "no bars"
            raise DataError(f"{series} {task.key.timeframe}: no bar to predict ({counts}): give more bars")
    if failure.error is not None:
        return replace(header, error=failure.error), None
    # A bar of the source that was left out is the model's own, or part of one that is unfinished without it.
    unfinished = max(made.counts["unfinished"], info.counts["unfinished"])
    counted = {**made.counts, "unfinished": unfinished}
    return replace(header, counts=counted, seconds=time.perf_counter() - started), made.frame


def predict_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Score each row's bars and write the file; one row of outcome JSON per task."""
    for header, features in unpack(batch):
        yield pa.table({"outcome": [predict_task(header, features, job).to_json()]})


def predict_task(header: FeaturesRow, features: pl.DataFrame, job: Job) -> Predicted:
    """Write one file of predictions, unless it turned out to be current, and return what became of it."""
    task, data = header.task, job.config.data
    if header.error is not None:
        return Predicted.failed(task, header.error)
    if task.held is not None and header.current:
        return Predicted.of(task.key, task.held, status="current")
    started, cpu_started = time.perf_counter(), time.process_time()
    with recorded_failure("predicting", job) as failure:
        from job.worker.scorer import Scorer  # noqa: PLC0415 - brings scikit-learn, which the driver does not need

        registry = open_registry(job.config)
        model, scaler, metadata = load(registry, task.model, task.version, allow_pickle=task.allow_pickle)
        predictions = Scorer.of(task.model, model, scaler, metadata, data).predict(features, task.key)
        footer = Footer(
            fingerprint=task.fingerprint,
            content=header.digest,
            # A listing of its own files says nothing of the other series that the model sees.
            listing=task.listing if not task.needs and as_listed(task.series[0], data) else None,
            version=task.version,
            rows=predictions.height,
            last=predictions["available_at"][-1].isoformat(),
            counts=header.counts,
        )
        output = job.registry()
        write_predictions(output, path_of(task.key), predictions, footer)
        output.remove(superseded_path(task.key))
        drift = drift_of(metadata, features)
    if failure.error is not None:
        return Predicted.failed(task, failure.error)
    outcome = Predicted.of(task.key, footer, status="predicted").with_cost(
        seconds=time.perf_counter() - started + header.seconds,
        cpu_seconds=time.process_time() - cpu_started + header.seconds,
        peak_rss_mb=peak_mb(),
        node=platform.node(),
        attempts=task.attempt,
    )
    reset_peak()
    return replace(outcome, drift=drift, warnings=header.info.warnings if header.info else ())


def drift_of(metadata: Mapping[str, Any], features: pl.DataFrame) -> dict[str, Any] | None:
    """Return how far the newest bars are from the training rows of a version; None if it is of an early release.

    These are as many as the version's metadata calls a stretch, 1,000 at most.
    """
    reference = Reference.read(metadata)
    if reference is None:
        return None
    complete = features.filter("complete") if "complete" in features.columns else features
    return measure(reference, complete.tail(reference.stretch)).record()
