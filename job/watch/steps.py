"""The step of watching inside a worker: what new bars of a series say of the versions of each of its models."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl
import pyarrow as pa

from job.compare.steps import scored_samples, seed_influence, seeds_of
from job.core.keys import POOLED
from job.learning.blocks import Blocks, Seeds, block_us
from job.learning.drift import drift_of
from job.learning.metrics import FloatArray, row_log_loss
from job.watch.task import Scored, ScoringTask
from job.worker.cost import Meter
from job.worker.messages import BarsRow, Job, SeriesInfo, recorded_failure, unpack
from transforms.bars import duration_us

if TYPE_CHECKING:
    from job.worker.scorer import Scorer

AVAILABLE: Final = pl.col("available_at").to_physical()
"""When a row became available, in µs."""


def score_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Score the new bars of a bundle's series by the versions of each of its models; one row of outcome per task."""
    for row, bars in unpack(batch):
        for task in row.bundle.tasks:
            yield pa.table({"outcome": [score(task, row, bars, job).to_json()]})


def score(task: ScoringTask, row: BarsRow, bars: pl.DataFrame, job: Job) -> Scored:
    """Return what a series says of the versions of one model."""
    meter, outcome = Meter(), Scored.failed(task, row.error or {})
    if row.info is not None and row.reading is not None:
        known, added_us = task.reading, None
        if known is not None and row.revised_from is None and row.info.first <= known.first:
            added_us = bars.filter(pl.col("timestamp") > known.last).height * duration_us(known.timeframe)
        outcome = replace(
            Scored.of_task(task),
            reading=row.reading.record(),
            whole=row.whole,
            revised=not task.again and row.revised_from is not None,
            added_us=added_us,
            warnings=row.info.warnings,
        )
        if not outcome.revised:
            with recorded_failure("scoring", job) as failure:
                outcome = with_new_rows(outcome, task, bars, row.info, job)
            if failure.error is not None:
                outcome = Scored.failed(task, failure.error)
    return meter.charge(outcome, attempts=task.attempt, before=row.cost_of(task))


def with_new_rows(outcome: Scored, task: ScoringTask, bars: pl.DataFrame, info: SeriesInfo, job: Job) -> Scored:
    """Return an outcome with what the rows say that are new: log-losses by blocks, and drift; as it is without any."""
    scorer, settled = scored_rows(task, task.champion, 0, bars, info, job)
    length = block_us(scorer.horizon, duration_us(task.key.timeframe))
    rows = settled.filter(task.champion_from <= AVAILABLE)
    if task.model.exchange == POOLED:  # its series meet in whole blocks
        rows = rows.filter(AVAILABLE.max() // length * length > AVAILABLE)
    if rows.is_empty():
        return outcome
    up = rows["label"].to_numpy()
    loss: FloatArray | None = None
    seeds: Seeds = ()
    if task.challenger is not None:
        other, theirs = scored_rows(task, task.challenger, 1, bars, info, job)
        same = theirs.filter(task.challenger_from <= AVAILABLE).join(rows, on=["available_at", "label"], how="semi")
        own = rows.join(same, on="available_at", how="semi")
        influences = seed_influence(scorer, own), seed_influence(other, same)
        found = seeds_of(([one] for one in influences), max(same.height, 1))
        seeds = None if found is None else tuple(found)
        p = rows.join(same.select("available_at", theirs="p"), on="available_at", how="left", maintain_order="left")
        loss = row_log_loss(up, p["theirs"].fill_null(np.nan).to_numpy())  # nan where the challenger has no such row
    blocks = Blocks.of(
        rows["available_at"].to_physical().to_numpy(),
        row_log_loss(up, np.full(len(up), scorer.base_rate)),
        row_log_loss(up, rows["p"].to_numpy()),
        loss,
        versions=(task.champion, task.challenger),
        length=length,
        seeds=seeds,
    )
    drift = drift_of(scorer.metadata, settled, labeled=True)
    return replace(outcome, found=blocks, rows=rows.height, drift=drift)


def scored_rows(  # noqa: PLR0917 - the version, and what it is to score
    task: ScoringTask, version: str, place: int, bars: pl.DataFrame, info: SeriesInfo, job: Job
) -> tuple["Scorer", pl.DataFrame]:
    """Return a version and its samples, new ones and `task.stretch` before them, with `p`, its probability of up.

    A row counts once a whole horizon of bars has come after it. Some labels are known sooner, but to count these before
    their neighbours would be to choose rows by their outcome.
    """
    from job.worker.scorer import load_scorer  # noqa: PLC0415 - brings scikit-learn; the driver names these steps only

    scorer = load_scorer(job.registry(), task.model, version, data=job.config.data)
    scored = scored_samples(
        scorer,
        bars,
        info,
        job,
        name=str(task.series[0]),
        start=task.start,
        needs=task.needs[place : place + 1],
        market=True,
    )
    settled = scored.head(max(scored.height - scorer.horizon, 0))
    return scorer, settled.filter(pl.col("label").is_not_null() & pl.col("p").is_not_null())
