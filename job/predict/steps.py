"""The three steps by which bars become predictions inside a worker; each takes and yields Arrow tables."""

import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import polars as pl
import pyarrow as pa

from job.config.settings import Config
from job.core.errors import DataError
from job.predict.task import Predicted, PredictionTask, path_of
from job.registry.predictions import Footer, write_predictions
from job.registry.versions import load
from job.sources.reading import as_listed
from job.storage.files import Storage
from job.train.steps import check_versions
from job.worker.load_bars import in_range, range_start, read_clean, rule_counts
from job.worker.memory import peak_mb, reset_peak
from job.worker.messages import FAILURES, BarsRow, Job, SeriesInfo, describe, pack, unpack


@dataclass(frozen=True)
class FeaturesRow:
    """Head of a row of features; there are none where the file in place turned out to be current, or on an error."""

    task: PredictionTask
    info: SeriesInfo | None
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    error: dict[str, str] | None = None

    @property
    def digest(self) -> str:
        """Digest of the bars, empty where they could not be read."""
        return self.info.digest if self.info else ""

    @property
    def current(self) -> bool:
        """Whether the file in place was made from these bars in the same way."""
        return self.task.held is not None and self.task.held.content == self.digest


def read_bars(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Read and clean each bundle's series; one row of bars a bundle. The registry of models is left as it is."""
    for bundle, _ in unpack(batch):
        reset_peak()
        try:
            check_versions(job)
            cleaned = read_clean(bundle.series, job.config.data)
            bars, info = in_range(bundle.series, cleaned, job.config.data)
        except FAILURES as error:
            yield pack(BarsRow(bundle, None, describe(error, "reading bars", job)))
        else:
            rejected = rule_counts(cleaned.rejected)
            warnings = (f"{bundle.series}: left out bars that break a rule: {rejected}",) if rejected else ()
            yield pack(BarsRow(bundle, replace(info, warnings=warnings)), bars)


def prepare_features(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a bundle's bars into the features of each of its models; one row a task, in the bundle's order."""
    for loaded, bars in unpack(batch):
        for task in loaded.bundle.tasks:
            yield pack(*featured(task, loaded, bars, job))


def featured(
    task: PredictionTask, loaded: BarsRow, bars: pl.DataFrame, job: Job
) -> tuple[FeaturesRow, pl.DataFrame | None]:
    """Return the head and the features of one task."""
    info, series = loaded.info, str(loaded.bundle.series)
    head = FeaturesRow(task, info, error=loaded.error)
    if info is None or head.current:
        return head, None
    started = time.perf_counter()
    try:
        start = range_start(info.last, info.timeframe, job.config.data)
        made = task.definition.features_of(
            bars, source=info.timeframe, offset_us=info.offset_us, start=start, name=series
        )
        if made.frame.is_empty():
            counts = ", ".join(f"{what} {count}" for what, count in made.counts.items() if count) or "no bars"
            raise DataError(f"{series} {task.key.timeframe}: no bar to predict ({counts}): give more bars")
    except FAILURES as error:
        return replace(head, error=describe(error, "making features", job)), None
    return replace(head, counts=made.counts, seconds=time.perf_counter() - started), made.frame


def predict_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Score each row's bars and write the file; one row of outcome JSON a task."""
    for head, features in unpack(batch):
        yield pa.table({"outcome": [predict_task(head, features, job).to_json()]})


def predict_task(head: FeaturesRow, features: pl.DataFrame, job: Job) -> Predicted:
    """Write one file of predictions, unless it turned out to be current, and return what became of it."""
    task = head.task
    if head.error is not None:
        return Predicted.failed(task, head.error)
    if task.held is not None and head.current:
        return Predicted.of(task.key, task.held, status="current")
    started, cpu_started = time.perf_counter(), time.process_time()
    try:
        footer = write_task(head, features, job)
    except FAILURES as error:
        return Predicted.failed(task, describe(error, "predicting", job))
    outcome = Predicted.of(task.key, footer, status="predicted").with_cost(
        seconds=time.perf_counter() - started + head.seconds,
        cpu_seconds=time.process_time() - cpu_started + head.seconds,
        peak_rss_mb=peak_mb(),
        node=platform.node(),
        attempts=task.attempt,
    )
    reset_peak()
    return replace(outcome, warnings=head.info.warnings if head.info else ())


def write_task(head: FeaturesRow, features: pl.DataFrame, job: Job) -> Footer:
    """Predict with one model and write the file; return what the file says of itself."""
    from job.worker.scorer import Scorer  # noqa: PLC0415 - brings scikit-learn; the driver names these steps only

    task, data = head.task, job.config.data
    model, scaler, metadata = load(models_of(job.config), task.model, task.version, allow_pickle=task.allow_pickle)
    predictions = Scorer.of(task.model, model, scaler, metadata, data).predict(features, task.key)
    (series,) = task.series
    footer = Footer(
        fingerprint=task.fingerprint,
        content=head.digest,
        listing=task.listing if as_listed(series, data) else None,
        version=task.version,
        rows=predictions.height,
        last=predictions["available_at"][-1].isoformat(),
        counts=head.counts,
    )
    write_predictions(job.registry(), path_of(task.key), predictions, footer)
    return footer


def models_of(config: Config) -> Storage:
    """Open the registry of models, which is only read."""
    return Storage(config.model_trainer.model_directory, options=config.storage.options)
