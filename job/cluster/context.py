"""The pass before the others on Ray: other series are read once, and their tables kept for every node to fetch once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

import polars as pl
import ray

from job.cluster.datasets import loaded_bars
from job.core.errors import LostRowsError
from job.worker.gathering import GatheredRow, Gathering, collect, gather, gatherings
from job.worker.load_bars import read_bars
from job.worker.messages import Bundle, Job, Work, unpack


def with_context(tasks: Sequence[Work], job: Job, step: Mapping[str, Any], *, tolerance: float) -> Job:
    """Return the job with what its tasks see of other series; as it is where they see nothing of any.

    Args:
        tasks: of the run.
        job: on the driver, with all series of the input.
        step: options of the steps on Ray.
        tolerance: share that averages may owe to their start.

    Raises:
        LostRowsError: a worker died.
    """
    works = gatherings(tasks, job.fleet, tolerance=tolerance)
    alone = replace(job, fleet=())
    if not works:
        return alone
    rows = _rows(works, alone, step)
    return replace(alone, context=collect(rows, lambda frame: partial(_get, ray.put(frame.to_arrow()))))


def _rows(works: Sequence[Gathering], job: Job, step: Mapping[str, Any]) -> Iterator[tuple[GatheredRow, pl.DataFrame]]:
    bundles = [Bundle(work.series[0], (work,)) for work in works]
    owed = {work.series[0]: work.rows for work in works}
    dataset = loaded_bars(bundles, job, step, whole_groups=True, load=read_bars).map_batches(
        partial(gather, job=job), batch_size=None, **step
    )
    for blocks in dataset.iter_internal_ref_bundles():
        for table in ray.get(blocks.block_refs):
            for header, frame in unpack(table) if table.num_rows else ():
                is_unread = header.table is None and header.error is not None
                owed[header.series] -= owed[header.series] if is_unread else 1
                yield header, frame
    if lost := sum(owed.values()):
        raise LostRowsError(f"workers died while context was read: {lost} tables did not arrive")


def _get(reference: "ray.ObjectRef[Any]") -> pl.DataFrame:
    return cast("pl.DataFrame", pl.from_arrow(ray.get(reference)))
