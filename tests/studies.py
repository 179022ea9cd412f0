"""Studies of synthetic worlds in this process: the same requests and steps, without Ray and without files of bars."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal

import polars as pl

from job.config.settings import Config, load_config
from job.core.keys import Key
from job.learning.choice import first_folds
from job.registry.studies import Winner, fleet_key
from job.storage.files import Storage
from job.train.task import SamplesRow
from job.tune.plan import space_of
from job.tune.steps import cut, tune_task
from job.tune.study import Requests, Study, conduct
from job.tune.task import Tuned, TuningTask
from job.worker.messages import Job, SeriesInfo
from tests.worlds import samples_for, world

Row = tuple[SamplesRow, pl.DataFrame | None]


def tuned_config(
    url: str, *, trials: int = 8, batch: int = 4, folds: int = 5, timeframe: str = "15m", **kind: Any
) -> Config:
    """Return settings of small forests, of which `kind` changes some."""
    analyst = {"timeframes": [timeframe], "n_estimators": 10, **kind}
    trainer = {"model_directory": url, "enable_tactician_models": False, "analyst_models": analyst}
    return load_config({"model_trainer": {**trainer, "cv_folds": folds}, "tune": {"trials": trials, "batch": batch}})


def study_of(config: Config, symbols: int) -> Study:
    """Return the study of as many series, whose bars are nowhere."""
    ((kind, timeframe, spec),) = config.model_specs()
    keys = [Key("synthetic", f"SYN{symbol:02d}", timeframe, kind) for symbol in range(symbols)]
    study = fleet_key(keys[0])
    tasks = [TuningTask(key=key, series=(), seconds=0.0, memory=0, spec=spec, rows=0, study=study) for key in keys]
    return Study(
        key=study,
        spec=spec,
        space=space_of(spec, config.tune.space),
        tasks=tuple(tasks),
        trials=config.tune.trials,
        batch=config.tune.batch,
        first_folds=first_folds(spec.cv_folds),
    )


def job_of(config: Config, url: str) -> Job:
    return Job(run_id="20240101_000000_abcdef", config=config, output=url, versions={})


def rows_of(
    study: Study, config: Config, *, days: int, kind: Literal["noise", "signal"], first: int = 0
) -> dict[Key, Row]:
    """Return the samples before the holdout of a study's series, each of a world of its own from number `first` on."""
    made = {}
    for number, task in enumerate(study.tasks, first):
        samples = samples_for(world(number, days=days, kind=kind), task.key.timeframe, study.spec)
        made[task.key] = row_of(task, samples, config, digest=f"{kind} {number}")
    return made


def row_of(task: TuningTask, samples: pl.DataFrame, config: Config, *, digest: str = "bars") -> Row:
    """Return the row of one series."""
    time = datetime(2024, 1, 1)
    info = SeriesInfo("1m", 0, time, time, {}, digest, ())
    return cut(SamplesRow(task, info), samples, job_of(config, "memory://none"))


def answer(tasks: list[TuningTask], rows: Mapping[Key, Row], job: Job) -> dict[Key, Tuned]:
    """Return what comes of requests, as it travels between processes."""
    made = {}
    for task in tasks:
        row, samples = rows[task.key]
        outcome = tune_task(replace(row, task=task), pl.DataFrame() if samples is None else samples, task.request, job)
        made[task.key] = Tuned.from_json(outcome.to_json())
    return made


def requests(study: Requests, rows: Mapping[Key, Row], job: Job) -> Iterator[tuple[list[TuningTask], Winner | None]]:
    """Conduct a study, yielding each request after it was answered, and the winner with the last."""
    asked = next(study)
    while True:
        made = answer(asked, rows, job)
        try:
            following = study.send(made)
        except StopIteration as end:
            yield asked, end.value
            return
        yield asked, None
        asked = following


def winner_of(study: Study, rows: Mapping[Key, Row], config: Config, registry: Storage) -> Winner:
    """Conduct a study to its end."""
    job = job_of(config, registry.url)
    *_, (_, winner) = requests(conduct(study, registry, config), rows, job)
    assert winner is not None
    return winner
