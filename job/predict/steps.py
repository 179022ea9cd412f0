"""The steps of predicting inside a worker; each takes and yields Arrow tables, none knows Ray."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

import polars as pl
import pyarrow as pa

from job.core.errors import DataError
from job.learning.drift import drift_of
from job.predict.appending import appended, next_tail
from job.predict.task import Predicted, PredictionTask, path_of, superseded_path
from job.registry.catalog import open_registry
from job.registry.fingerprints import bare_digest
from job.registry.model_age import check_age
from job.registry.predictions import Footer, Tail, table_of, write_predictions
from job.registry.versions import load
from job.sources.known import Reading
from job.sources.reading import as_listed
from job.worker.context import beside_version
from job.worker.cost import NO_COST, Cost, Meter
from job.worker.load_bars import range_start
from job.worker.messages import BarsRow, Bundle, Job, SeriesInfo, pack, recorded_failure, unpack
from job.worker.newest import read_newest_bars
from transforms.features.feature import EXACT
from transforms.samples import UnlabeledSamples


@dataclass(frozen=True)
class FeaturesRow:
    """Header of a row of features; there are none where the file in place turned out to be current, or on an error."""

    task: PredictionTask
    info: SeriesInfo | None
    counts: dict[str, int] = field(default_factory=dict)
    cost: Cost = NO_COST
    error: dict[str, str] | None = None
    digest: str = ""
    """Digest of the bars, empty where they could not be read."""
    reading: Reading | None = None
    """What is known of the series."""
    tail: Tail | None = None
    """Where rows can be added the next time."""
    adds: Tail | None = None
    """Where these rows are to be added to those of the file in place, None where they are all."""

    @property
    def current(self) -> bool:
        """Whether the file in place was made from these bars in the same way."""
        held, known = self.task.held, self.task.reading
        # The same bars may have been read in another way; what is known of a series says nothing of others beside it.
        same_bars = known is not None and self.reading is not None and known.digest == self.reading.digest
        return held is not None and (held.content == self.digest or same_bars)


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
        return FeaturesRow(task, None, error=row.error, cost=row.cost_of(task)), None
    adds = task.tail if not row.whole else None
    header = FeaturesRow(task, info, digest=bare_digest(job.content_of(task, info)), reading=row.reading, adds=adds)
    if header.current:
        return header, None
    meter = Meter()
    with recorded_failure("making features", job) as failure:
        if adds is not None:
            bars = bars.filter(pl.col("timestamp") >= adds.since)
        start = adds.start if adds is not None else range_start(info.last, info.timeframe, job.config.data)
        made = features_of(task, bars, info, start, job)
        if adds is not None:
            made = replace(made, counts={name: adds.counts[name] + count for name, count in made.counts.items()})
        if not made.counts["used"]:
            counts = ", ".join(f"{what} {count}" for what, count in made.counts.items() if count) or "no bars"
            raise DataError(f"{series} {task.key.timeframe}: no bar to predict ({counts}): give more bars")
        data, tail = job.config.data, None
        first_rows_go = data.lookback_days is not None and data.end is None
        if row.reading is not None and row.reading.cuts and not task.needs and not first_rows_go:
            tail = next_tail(task, bars, info, made, lambda bars, start: features_of(task, bars, info, start, job))
    if failure.error is not None:
        return replace(header, error=failure.error, cost=meter.cost()), None
    # A bar of the source that was left out is the model's own, or part of one that is unfinished without it.
    unfinished = max(made.counts["unfinished"], info.counts["unfinished"])
    counted = {**made.counts, "unfinished": unfinished}
    return replace(header, counts=counted, cost=meter.cost(), tail=tail), made.frame


def features_of(
    task: PredictionTask, bars: pl.DataFrame, info: SeriesInfo, start: datetime | None, job: Job
) -> UnlabeledSamples:
    """Return the features of the bars from `start` on."""
    name = str(task.series[0])
    beside = beside_version(
        task.definition, bars, info, name=name, needs=task.needs, context=job.context, tolerance=EXACT
    )
    return task.definition.features_of(bars, info, start=start, name=name, beside=beside)


def predict_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Score each row's bars and write the file; one row of outcome JSON per task."""
    for header, features in unpack(batch):
        yield pa.table({"outcome": [predict_task(header, features, job).to_json()]})


def predict_task(header: FeaturesRow, features: pl.DataFrame, job: Job) -> Predicted:
    """Write one file of predictions, unless it turned out to be current, and return what became of it."""
    meter = Meter()
    return meter.charge(made_of(header, features, job), attempts=header.task.attempt, before=header.cost)


def made_of(header: FeaturesRow, features: pl.DataFrame, job: Job) -> Predicted:
    """Return what became of a file, without what it cost."""
    task, config = header.task, job.config
    if header.error is not None:
        return Predicted.failed(task, header.error)
    stands = task.held if header.current else None
    with recorded_failure("looking at the model's age", job) as failure:
        last = datetime.fromisoformat(stands.last) if stands is not None else features["available_at"][-1]
        aged = check_age(task.definition.label_end, last, config.predictions, version=f"{task.model}: {task.version}")
    if failure.error is not None:
        return Predicted.failed(task, failure.error)
    if stands is not None:
        return replace(Predicted.of(task.key, stands, status="current"), warnings=aged)
    with recorded_failure("predicting", job) as failure:
        from job.worker.scorer import Scorer  # noqa: PLC0415 - brings scikit-learn, which the driver does not need

        registry, output = open_registry(config), job.registry()
        model, scaler, metadata = load(registry, task.model, task.version, allow_pickle=task.allow_pickle)
        predictions = Scorer.of(task.model, model, scaler, metadata, config.data).predict(features, task.key)
        table = table_of(predictions) if header.adds is None else appended(task, header.adds, predictions, output)
        if table is None:
            return predict_anew(task, job)
        footer = Footer(
            fingerprint=task.fingerprint,
            content=header.digest,
            # A listing of its own files says nothing of the other series that the model sees.
            listing=task.listing if not task.needs and as_listed(task.series[0], config.data) else None,
            version=task.version,
            rows=table.num_rows,
            last=predictions["available_at"][-1].isoformat(),
            counts=header.counts,
            reading=header.reading,
            tail=header.tail,
        )
        written = write_predictions(output, path_of(task.key), table, footer)
        output.remove(superseded_path(task.key))
        drift = drift_of(metadata, features)
    if failure.error is not None:
        return Predicted.failed(task, failure.error)
    warnings = (*aged, *(header.info.warnings if header.info else ()))
    return replace(Predicted.of(task.key, footer, status="predicted"), bytes=written, drift=drift, warnings=warnings)


def predict_anew(task: PredictionTask, job: Job) -> Predicted:
    """Read all bars of a task's series and write its file, whatever is in place."""
    alone = replace(task, held=None, since=None)
    ((row, bars),) = (found for one in read_newest_bars(pack(Bundle(task.series[0], (alone,))), job=job)
                      for found in unpack(one))  # fmt: skip
    header, features = prepare(alone, row, bars, job)
    return predict_task(header, pl.DataFrame() if features is None else features, job)
