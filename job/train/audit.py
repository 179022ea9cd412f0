"""The audit of a model's features before it is trained: those of users' modules get a certificate, or it is refused."""

from typing import Any

import polars as pl

from job.config.settings import DataSettings
from job.learning.context import AT
from job.learning.features import split_reference
from job.train.task import Task
from job.worker.audit import certificates
from job.worker.context import Context
from job.worker.messages import SeriesInfo


def certify(
    task: Task,
    bars: pl.DataFrame,
    info: SeriesInfo,
    data: DataSettings,
    *,
    name: str,
    context: Context | None = None,
) -> dict[str, Any]:
    """Return the certificates of a task's features that users bring, by the names of columns.

    Those of longer bars are audited on the bars of the model, as its own are; those of another series were audited on
    the bars of that one, when the context was made.

    Raises:
        AuditError, DataError, EntryError: as `certificates`.
    """
    seen = task.spec.origins
    own = dict.fromkeys((*seen.own, *(feature for names in seen.longer.values() for feature in names)))
    found = certificates(own, bars, info, data, timeframe=task.key.timeframe, name=name)
    if context is None:
        return found
    for need in task.needs:
        for symbol, other, names in need.others:
            known = context.certificates.get((other, (task.key.timeframe, need.sampling)), {})
            columns = {split_reference(one)[1] for one in names}
            found |= {f"{column}{AT}{symbol}": one for column, one in known.items() if column in columns}
    return found
