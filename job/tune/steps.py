"""The steps of tuning inside a worker; bars are loaded and samples made as for training. None knows Ray."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import polars as pl
import pyarrow as pa

from job.core.keys import Key
from job.learning.choice import FoldLoss
from job.registry.attempts import Attempt, record_attempt
from job.train.steps import on_timeout, prepare
from job.train.task import SamplesRow
from job.tune.task import Request, Tuned, TuningTask
from job.worker.cost import NO_COST, Meter
from job.worker.messages import Job, pack, recorded_failure, unpack
from job.worker.timeout import time_limit

FITTING: Final = "fitting settings"


def prepare_samples(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a bundle's bars into the samples of each task, cut off where the holdout begins."""
    for bars_row, bars in unpack(batch):
        for task in bars_row.bundle.tasks:
            row, samples = prepare(task, bars_row, bars, job)
            if samples is None:
                yield pack(row)
            else:
                yield pack(*cut(row, samples, job))


def cut(row: SamplesRow, samples: pl.DataFrame, job: Job) -> tuple[SamplesRow, pl.DataFrame | None]:
    """Return a row with its samples before the holdout, or with the error that they cannot be split."""
    from job.learning.tuning import TuningRows, without_holdout  # noqa: PLC0415 - brings scikit-learn

    spec = row.spec
    with recorded_failure("making samples", job) as failure:
        early, start = without_holdout(samples, spec)
        TuningRows.of(early, spec, timeframe=row.task.key.timeframe, holdout_from=start)
    if failure.error is not None:
        return replace(row, error=failure.error), None
    return replace(row, holdout_from=start), early


def try_settings(batch: pa.Table, *, job: Job, asked: Mapping[Key, Request]) -> Iterator[pa.Table]:
    """Fit the settings that are asked for on each row's folds; one row of outcome JSON per row that is asked."""
    for row, samples in unpack(batch):
        if (request := asked.get(row.task.key)) is not None:
            yield pa.table({"outcome": [tune_task(row, samples, request, job).to_json()]})


def tune_task(row: SamplesRow, samples: pl.DataFrame, request: Request, job: Job) -> Tuned:
    """Return what came of a request."""
    task: TuningTask = row.task  # type: ignore[assignment]  # the rows of this pipeline
    meter = Meter()
    before = NO_COST if request.folds else row.cost  # samples are made once
    if row.error is not None or row.info is None:
        return meter.charge(Tuned.failed(task, row.error or {}), attempts=task.attempt, before=before)
    made = replace(Tuned.of_task(task), content=job.content_of(task, row.info), rows=samples.height)
    with recorded_failure("tuning", job) as failure:
        record_attempt(job.registry(), job.run_id, job.round, Attempt.of_this_process(task.key, FITTING))
        made = fit_all(made, row, samples, request, job)
    if failure.error is not None:
        made = Tuned.failed(task, failure.error)
    return meter.charge(made, attempts=task.attempt, before=before)


def fit_all(made: Tuned, row: SamplesRow, samples: pl.DataFrame, request: Request, job: Job) -> Tuned:
    """Add the losses of every trial on every fold asked for; rows are read once, and scaled once per fold."""
    if not request.folds:
        return made
    from job.learning import tuning  # noqa: PLC0415 - brings scikit-learn

    default = row.spec
    features = {"features": default.features}
    tuned = tuning.TuningRows.of(samples, default, timeframe=row.task.key.timeframe, holdout_from=row.holdout_from or 0)
    losses: dict[int, list[FoldLoss]] = {number: [] for number in request.specs}
    errors: dict[int, str] = {}
    for fold in request.folds:
        windows = tuning.ready(tuned, fold, default)
        for number, spec in request.specs.items():
            if number in errors:
                continue
            limit = time_limit(job.config.model_trainer.task_timeout_s, on_timeout(job, made.key, FITTING))
            with recorded_failure("tuning", job) as failure, limit:
                p = tuning.probabilities(windows, spec.model_copy(update=features), n_jobs=job.cpus)
                losses[number].append(tuning.fold_loss(tuned, windows, p))
            if failure.error is not None:
                errors[number] = f"{made.key}: {failure.error['message']}"
    return replace(made, losses={n: own for n, own in losses.items() if n not in errors}, errors=errors)
