"""Operations with all steps in this process, where driver and worker are one and take turns, in place of Ray.

`python -m tests.here` is the command line without Ray.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Final
from unittest.mock import patch

import pyarrow as pa

from job.cli import main
from job.cluster.bundles import Capacity, singles
from job.cluster.operation import Operation
from job.cluster.session import logged_events, run_in_session
from job.cluster.warm import WarmRay
from job.compare.steps import compare_rows, pair_samples
from job.compare.task import Compared
from job.config.settings import Config
from job.predict.steps import predict_models, prepare_features
from job.predict.task import Predicted
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.train.record import TrainingRecord
from job.train.run import run
from job.train.steps import load_bars, prepare_samples, train_models
from job.tune import steps as tuning
from job.tune.task import Tuned, TuningTask
from job.watch.loop import watch
from job.watch.record import Round
from job.watch.steps import score_models
from job.watch.task import Scored
from job.worker.gathering import with_context_here
from job.worker.load_bars import read_bars
from job.worker.messages import Job, Work, pack
from job.worker.newest import read_newest_bars
from transforms.features.feature import EXACT, WARM

Step = Callable[..., Iterator[pa.Table]]
STEPS: Final[Mapping[str, tuple[float, type[Outcome], Sequence[Step]]]] = {
    "job.train.pipeline": (WARM, Outcome, (load_bars, prepare_samples, train_models)),
    "job.predict.pipeline": (EXACT, Predicted, (read_newest_bars, prepare_features, predict_models)),
    "job.compare.pipeline": (WARM, Compared, (read_bars, pair_samples, compare_rows)),
    "job.watch.pipeline": (WARM, Scored, (read_newest_bars, score_models)),
}
"""By pipeline: what averages may owe to their start, the type of outcomes, and the steps."""


@contextmanager
def without_ray() -> Iterator[None]:
    """Have every operation run in this process."""
    with (
        patch("job.cluster.session.run_tasks", _run_tasks),
        patch("job.cluster.session.session", _session),
        patch("job.cluster.connect.running", lambda _settings: nullcontext()),
        patch("job.tune.pipeline.Runs", _Studies),
        patch.object(WarmRay, "up", lambda _self: nullcontext()),
    ):
        yield


def run_here(config: Config, **options: Any) -> TrainingRecord:
    """Train, as the command does."""
    with without_ray():
        return run(config, **options)


def watch_here(config: Config) -> Round:
    """Run one round of watching."""
    with without_ray():
        (done,) = watch(config, once=True)
    return done


def _run_tasks(
    tasks: Sequence[Work],
    job: Job,
    operation: Operation[Any, Any],
    record: RunRecord[Any],
    *,
    watch: Callable[[Any], None] | None = None,
) -> None:
    if not tasks:
        return
    tolerance, kind, steps = STEPS[operation.pipeline]

    def runs(left: Sequence[Work], job: Job) -> Iterator[Iterator[Outcome]]:
        job = with_context_here(left, job, tolerance=tolerance)
        tables: Iterator[pa.Table] = (pack(bundle) for bundle in singles(left))
        for step in steps:
            tables = _after(step, tables, job)
        yield (kind.from_json(text) for table in tables for text in table["outcome"].to_pylist())

    with logged_events(job, operation, record) as events, _session(tasks, job, operation, record):
        run_in_session(tasks, job, operation, runs, record, events=events, watch=watch)


@contextmanager
def _session(_tasks: object, _job: object, _operation: object, record: RunRecord[Any]) -> Iterator[Capacity]:
    """Take the place of a Ray of one CPU; a record without it is of a run that would have started none."""
    record.cluster = {"nodes": 1, "cpus": 1}
    yield Capacity(1, 1, 2**30)


class _Studies:
    """Takes the place of `job.tune.pipeline.Runs`: keeps the samples of all series, and answers by them."""

    def __init__(self, _capacity: Capacity) -> None:
        self._samples: list[pa.Table] = []

    def runs(self, tasks: Sequence[TuningTask], job: Job) -> Iterator[Iterator[Tuned]]:
        """Run every task once; the first call has the tasks of all series."""
        if not self._samples:
            job = with_context_here(tasks, job, tolerance=WARM)
            tables: Iterator[pa.Table] = (pack(bundle) for bundle in singles(tasks))
            self._samples = [*_after(tuning.prepare_samples, _after(load_bars, tables, job), job)]
        asked = {task.key: task.request for task in tasks}
        found = (one for table in self._samples for one in tuning.try_settings(table, job=job, asked=asked))
        yield (Tuned.from_json(text) for one in found for text in one["outcome"].to_pylist())


def _after(step: Step, tables: Iterator[pa.Table], job: Job) -> Iterator[pa.Table]:
    for table in tables:
        yield from step(table, job=job)


if __name__ == "__main__":
    with without_ray():
        sys.exit(main(sys.argv[1:]))
