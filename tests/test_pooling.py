"""Groups over many series whose workers may die on the way."""

import pickle
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from job.config.settings import load_config
from job.config.trainer import TrainerSettings
from job.core.errors import LostRowsError
from job.core.keys import Key
from job.registry.outcome import Outcome
from job.sources.series import Series, SourceFile
from job.train.plan import plan_tasks
from job.train.pooled import sampling_caps, train_group
from job.train.task import SamplesRow, Task
from job.worker.messages import Job

CONFIG = load_config({"model_trainer": {"group_by": "timeframe"}})
ERROR = {"type": "DataError", "message": "no bars", "where": "reading bars"}


def series(symbol: str) -> Series:
    return Series("binance", symbol, "1m", (SourceFile(f"/bars/{symbol}-1m.feather", 24 * 5000, "", "feather"),))


TASK = next(iter(plan_tasks([series("A"), series("B")], CONFIG)))
MEMBERS = {TASK.key: frozenset({"binance/A", "binance/B"})}


def job() -> Job:
    return Job(run_id="20240101_000000_abcdef", config=CONFIG, output="memory://pooling", versions={})


def group(*heads: SamplesRow) -> pa.Table:
    return pa.table(
        {
            "pool": [TASK.key.symbol] * len(heads),
            "timeframe": [TASK.key.timeframe] * len(heads),
            "model_type": [TASK.key.model_type] * len(heads),
            "header": pa.array([pickle.dumps(head) for head in heads], pa.binary()),
            "available_at": [datetime(2024, 1, 1, tzinfo=UTC)] * len(heads),
            "series": pa.array([None] * len(heads), pa.string()),
        }
    )


def failed_head(symbol: str, task: Task = TASK) -> SamplesRow:
    return SamplesRow(task, None, series=f"binance/{symbol}", error=ERROR)


def test_a_group_without_the_rows_of_a_dead_worker_has_no_outcome() -> None:
    assert train_group(group(failed_head("A")), job=job(), members=MEMBERS).num_rows == 0


def test_a_group_whose_every_series_failed_says_why() -> None:
    table = train_group(group(failed_head("A"), failed_head("B")), job=job(), members=MEMBERS)
    outcome = Outcome.from_json(table["outcome"][0].as_py())
    assert (outcome.status, outcome.error) == ("failed", ERROR)


def times_row(key: Key, times: Any) -> dict[str, Any]:
    return {"key": pickle.dumps(key), "times": np.asarray(times, np.int64).tobytes()}


def test_caps_keep_the_holdout_and_what_fits_before_it() -> None:
    rows = [times_row(TASK.key, range(100)), times_row(TASK.key, range(50, 150))]
    (cap,) = sampling_caps(rows, TrainerSettings(max_samples=100), expected=2).values()
    assert cap.holdout_from == 120
    assert cap.share == pytest.approx((100 - 30) / 170)
    assert sampling_caps(rows, TrainerSettings(max_samples=200), expected=2) == {}


def test_caps_are_not_told_from_a_part_of_the_series() -> None:
    with pytest.raises(LostRowsError, match="1 of 2 answers"):
        sampling_caps([times_row(TASK.key, range(100))], TrainerSettings(), expected=2)
