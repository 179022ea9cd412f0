"""The step of watching inside a worker: what new bars of a series say of the versions of each of its models."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from job.compare.steps import samples_of, seed_influence, start_of, with_probability
from job.learning.metrics import row_log_loss
from job.learning.watching import Blocks
from job.watch.task import Scored, ScoringTask
from job.worker.messages import Job, SeriesInfo, recorded_failure, unpack
from job.worker.newest import NewestRow

if TYPE_CHECKING:
    from job.worker.scorer import Scorer


def score_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Score the new bars of a bundle's series by the versions of each of its models; one row of outcome per task."""
    for row, bars in unpack(batch):
        for task in row.bundle.tasks:
            yield pa.table({"outcome": [score(task, row, bars, job).to_json()]})


def score(task: ScoringTask, row: NewestRow, bars: pl.DataFrame, job: Job) -> Scored:
    """Return what a series says of the versions of one model."""
    if row.info is None or row.reading is None:
        return Scored.failed(task, row.error or {})
    outcome = replace(
        Scored.of_task(task),
        reading=row.reading.record(),
        whole=row.whole,
        revised=task.known is not None and row.revised_from is not None,
        warnings=row.info.warnings,
    )
    if outcome.revised:
        return outcome
    with recorded_failure("scoring", job) as failure:
        blocks, rows = new_rows(task, bars, row.info, job)
        outcome = replace(outcome, blocks=blocks, rows=rows)
    return outcome if failure.error is None else Scored.failed(task, failure.error)


def new_rows(task: ScoringTask, bars: pl.DataFrame, info: SeriesInfo, job: Job) -> tuple[Blocks | None, int]:
    """Return the log-losses of the rows that are new, and their number; none where there is no such row.

    A row counts once a whole horizon of bars has come after it. Some labels are known sooner, but to count these before
    their neighbours would be to choose rows by their outcome.
    """
    from job.worker.scorer import load_scorer  # noqa: PLC0415 - brings scikit-learn; the driver names these steps only

    scored: list[tuple[Scorer, pl.DataFrame]] = []
    for place, version in enumerate(filter(None, (task.champion, task.challenger))):
        scorer = load_scorer(job.registry(), task.model, version, data=job.config.data)
        samples = samples_of(
            scorer.definition,
            bars,
            info,
            job,
            name=str(task.series[0]),
            start=start_of(task.key.timeframe, task.usable_from),
            needs=task.needs[place : place + 1],
            market=True,
        )
        samples = with_probability(scorer, samples).filter(
            pl.col("timestamp") >= start_of(task.key.timeframe, task.usable_from)
        )
        whole = samples.head(max(samples.height - scorer.horizon, 0))
        scored.append((scorer, whole.filter(pl.col("label").is_not_null() & pl.col("p").is_not_null())))
    (champion, own), *others = scored
    own = own.filter(pl.col("available_at").to_physical() >= task.champion_from)
    if own.is_empty():
        return None, 0
    times, up, p = (own[name].to_physical().to_numpy() for name in ("available_at", "label", "p"))
    blocks = Blocks.of(
        times,
        row_log_loss(up, np.full(len(up), champion.base_rate)),
        row_log_loss(up, p),
        horizon=champion.horizon,
        timeframe_us=duration_us(task.key.timeframe),
    )
    for challenger, theirs in others:
        blocks = against(blocks, task, (champion, own), (challenger, theirs))
    return blocks, own.height
