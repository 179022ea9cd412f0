"""The step of watching inside a worker: what new bars of a series say of the versions of each of its models."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

from job.compare.steps import samples_of, seed_influence, start_of, with_probability
from job.core.keys import POOLED
from job.learning.blocks import Blocks, Seeds, block_us
from job.learning.metrics import FloatArray, row_log_loss
from job.watch.task import Scored, ScoringTask
from job.worker.messages import BarsRow, Job, SeriesInfo, recorded_failure, unpack
from transforms.bars import duration_us

if TYPE_CHECKING:
    from job.worker.scorer import Scorer


def score_models(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Score the new bars of a bundle's series by the versions of each of its models; one row of outcome per task."""
    for row, bars in unpack(batch):
        for task in row.bundle.tasks:
            yield pa.table({"outcome": [score(task, row, bars, job).to_json()]})


def score(task: ScoringTask, row: BarsRow, bars: pl.DataFrame, job: Job) -> Scored:
    """Return what a series says of the versions of one model."""
    if row.info is None or row.reading is None:
        return Scored.failed(task, row.error or {})
    outcome = replace(
        Scored.of_task(task),
        reading=row.reading.record(),
        whole=row.whole,
        revised=not task.again and row.revised_from is not None,
        warnings=row.info.warnings,
    )
    if outcome.revised:
        return outcome
    with recorded_failure("scoring", job) as failure:
        blocks, rows = new_rows(task, bars, row.info, job)
        outcome = replace(outcome, found=blocks, rows=rows)
    return outcome if failure.error is None else Scored.failed(task, failure.error)


def new_rows(task: ScoringTask, bars: pl.DataFrame, info: SeriesInfo, job: Job) -> tuple[Blocks | None, int]:
    """Return the log-losses of the rows that are new, by blocks, and their number; none where there is no such row."""
    scorer, rows = scored_rows(task, task.champion, 0, bars, info, job)
    length = block_us(scorer.horizon, duration_us(task.key.timeframe))
    since = pl.col("available_at").to_physical()
    rows = rows.filter(since >= task.champion_from)
    if task.model.exchange == POOLED:  # its series meet in whole blocks
        rows = rows.filter(since < since.max() // length * length)
    if rows.is_empty():
        return None, 0
    times, up, p = (rows[name].to_physical().to_numpy() for name in ("available_at", "label", "p"))
    challenger_loss: FloatArray | None = None
    seeds: Seeds = ()
    if task.challenger is not None:
        from job.learning.seeds import seed_variance  # noqa: PLC0415 - brings scikit-learn

        other, theirs = scored_rows(task, task.challenger, 1, bars, info, job)
        theirs = theirs.filter(since >= task.challenger_from).join(rows, on=["available_at", "label"], how="semi")
        both = rows.join(theirs.select("available_at", challenger="p"), on="available_at", how="left")
        challenger_loss = row_log_loss(up, both["challenger"].fill_null(np.nan).to_numpy())
        common = rows.join(theirs, on="available_at", how="semi")
        influences = [seed_influence(scorer, common), seed_influence(other, theirs)]
        known = [seed_variance([one], max(theirs.height, 1)) for one in influences]
        seeds = None if None in known else tuple(one for one in known if one is not None)
    blocks = Blocks.of(
        times,
        row_log_loss(up, np.full(len(up), scorer.base_rate)),
        row_log_loss(up, p),
        challenger_loss,
        versions=(task.champion, task.challenger),
        length=length,
        seeds=seeds,
    )
    return blocks, rows.height


def scored_rows(  # noqa: PLR0917 - the version, and what it is to score
    task: ScoringTask, version: str, place: int, bars: pl.DataFrame, info: SeriesInfo, job: Job
) -> tuple["Scorer", pl.DataFrame]:
    """Return a version and its samples from the first usable time on, with `p`, its probability of up.

    A row counts once a whole horizon of bars has come after it. Some labels are known sooner, but to count these before
    their neighbours would be to choose rows by their outcome.
    """
    from job.worker.scorer import load_scorer  # noqa: PLC0415 - brings scikit-learn; the driver names these steps only

    scorer = load_scorer(job.registry(), task.model, version, data=job.config.data)
    start = start_of(task.key.timeframe, task.usable_from)
    samples = samples_of(
        scorer.definition,
        bars,
        info,
        job,
        name=str(task.series[0]),
        start=start,
        needs=task.needs[place : place + 1],
        market=True,
    )
    scored = with_probability(scorer, samples).filter(pl.col("timestamp") >= start)
    settled = scored.head(max(scored.height - scorer.horizon, 0))
    return scorer, settled.filter(pl.col("label").is_not_null() & pl.col("p").is_not_null())
