"""[orchestration] What Ray and the pipeline cost where models cost nothing, on 16 logical CPUs.

`job.train.pipeline.train` with its three steps replaced: 5,000 tasks that do nothing, and 2,000 that sleep 0.2 s, whose
efficiency is the least time in which 16 CPUs can sleep so long over the time that it took. Five tasks a series, bundled
by the seconds that a plan estimates for 30 days of bars, or that they sleep. Warm means that the workers are there
already. Shown beside, once: unbundled, each task by itself; and cold, Ray started and ended, too. Targets, bundled and
warm: 5,000 tasks in 20 s; 85% efficiency.
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final
from unittest.mock import patch

import pyarrow as pa

from job.cluster.bundles import Capacity, singles
from job.cluster.connect import running
from job.config.settings import Config, RaySettings
from job.core.environment import versions
from job.registry.outcome import Outcome, of
from job.sources.series import Series, SourceFile
from job.train import pipeline
from job.train.plan import plan_tasks
from job.train.task import Task
from job.worker.messages import Bundle, Job, pack, unpack
from tests.bench.table import Table, line

MODELS_A_SYMBOL: Final = 5
ROWS: Final = 43_200
SLEEP_S: Final = 0.2
NOTHING_S: Final = 20.0
EFFICIENCY_PERCENT: Final = 85.0
WARMING_S: Final = 1.0

Step = Callable[..., Iterator[pa.Table]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured; tasks are multiples of five."""

    cpus: int
    nothings: int
    sleepers: int
    runs: int

    @property
    def ideal(self) -> float:
        """The least seconds in which all sleepers can have slept."""
        return self.sleepers * SLEEP_S / self.cpus

    @property
    def capacity(self) -> Capacity:
        """One node of logical CPUs, each with a little memory, so that every bundle gets one."""
        return Capacity(cpus=self.cpus, node_cpus=self.cpus, memory_per_cpu=2**29)


FULL: Final = Sizes(cpus=16, nothings=5_000, sleepers=2_000, runs=5)
QUICK: Final = Sizes(cpus=4, nothings=100, sleepers=80, runs=2)


def measure(*, quick: bool) -> Table:
    """Measure warm, each way in turn, then cold."""
    sizes = QUICK if quick else FULL
    nothings = tasks(sizes.nothings)
    sleepers = [replace(task, seconds=SLEEP_S) for task in tasks(sizes.sleepers)]
    settings = RaySettings(num_cpus=sizes.cpus)
    with running(settings):
        warm_up(sizes.capacity)
        bundled = [both(nothings, sleepers, sizes.capacity) for _ in range(sizes.runs)]
        with patch.object(pipeline, "bundle", unbundled):
            alone = both(nothings, sleepers, sizes.capacity)
    cold = [cold_seconds(work, step, settings, sizes) for work, step in ((nothings, DO_NOTHING), (sleepers, SLEEP))]
    did_nothing, slept = ([run[way] for run in bundled] for way in (0, 1))
    nothing, sleeping = f"{sizes.nothings:,} tasks", f"{sizes.sleepers:,} that sleep {SLEEP_S} s"
    return Table(
        "orchestration",
        f"{nothing} that do nothing and {sleeping}, {sizes.cpus} logical CPUs",
        (
            line(f"{nothing}, bundled, warm", did_nothing, "s", at_most=NOTHING_S),
            line(f"{nothing}, unbundled, warm", alone[0], "s"),
            line(f"{nothing}, bundled, cold", cold[0], "s"),
            line(f"{sleeping}, bundled, warm", slept, "s"),
            line("  efficiency", [100 * sizes.ideal / one for one in slept], "%", at_least=EFFICIENCY_PERCENT),
            line(f"{sleeping}, unbundled, warm", alone[1], "s"),
            line("  efficiency", 100 * sizes.ideal / alone[1], "%"),
            line(f"{sleeping}, bundled, cold", cold[1], "s"),
            line("  efficiency", 100 * sizes.ideal / cold[1], "%"),
        ),
    )


def tasks(count: int) -> list[Task]:
    """Make up the tasks of a fifth as many series, which need no more memory than goes with a CPU."""
    file = SourceFile(url="/absent.parquet", size=0, stamp="", format="parquet", rows=ROWS)
    names = (f"S{number:04d}" for number in range(count // MODELS_A_SYMBOL))
    planned = plan_tasks([Series("synthetic", name, "1m", (file,)) for name in names], Config())
    return [replace(task, memory=1) for task in planned]


def both(nothings: Sequence[Task], sleepers: Sequence[Task], capacity: Capacity) -> tuple[float, float]:
    """Return the seconds that either take."""
    return seconds(nothings, DO_NOTHING, capacity), seconds(sleepers, SLEEP, capacity)


def warm_up(capacity: Capacity) -> None:
    """Have every worker started and what it needs imported: as many tasks at a time as there are CPUs, until it is."""
    work = tasks(MODELS_A_SYMBOL * capacity.cpus)
    with patch.object(pipeline, "bundle", unbundled):
        while len({one.node for one in run(work, partial(sleep_for, seconds=WARMING_S), capacity)}) < capacity.cpus:
            pass


def cold_seconds(work: Sequence[Task], step: Step, settings: RaySettings, sizes: Sizes) -> float:
    """Return the seconds that the tasks take with a Ray of their own."""
    started = time.perf_counter()
    with running(settings):
        seconds(work, step, sizes.capacity)
    return time.perf_counter() - started


def seconds(work: Sequence[Task], step: Step, capacity: Capacity) -> float:
    """Return the seconds in which the pipeline gives every task's outcome; `step` stands in for `train_models`."""
    started = time.perf_counter()
    run(work, step, capacity)
    return time.perf_counter() - started


def run(work: Sequence[Task], step: Step, capacity: Capacity) -> list[Outcome]:
    """Return every task's outcome, whose node is the worker's process."""
    steps: dict[str, Any] = {"load_bars": load, "prepare_samples": prepare, "train_models": step}
    with tempfile.TemporaryDirectory() as folder, patch.multiple(pipeline, **steps):
        job = Job("20240101_000000_abcdef", Config(), folder, versions())
        outcomes = [one for run in pipeline.runs(work, job, capacity=capacity) for one in run]
    if {one.key for one in outcomes} != {task.key for task in work} or any(one.error for one in outcomes):
        raise SystemExit(f"{len(work)} tasks gave {len(outcomes)} outcomes, or some failed")
    return outcomes


def unbundled(work: Sequence[Task], *, cpus: int) -> list[Bundle[Task]]:
    """Stand in for `bundle`: every task by itself."""
    return singles(work)


def load(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Stand in for `load_bars`: one row a bundle."""
    for bundle, _ in unpack(batch):
        yield pack(bundle)


def prepare(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Stand in for `prepare_samples`: one row a task."""
    for bundle, _ in unpack(batch):
        for task in bundle.tasks:
            yield pack(task)


def sleep_for(batch: pa.Table, *, job: Job, seconds: float) -> Iterator[pa.Table]:
    """Stand in for `train_models`: one outcome a task, after some sleep."""
    for task, _ in unpack(batch):
        time.sleep(seconds)
        yield done(task)


def done(task: Task) -> pa.Table:
    """Return the outcome of a task as a step yields it."""
    return pa.table({"outcome": [replace(of(task.key, "trained"), node=str(os.getpid())).to_json()]})


DO_NOTHING: Final = partial(sleep_for, seconds=0.0)
SLEEP: Final = partial(sleep_for, seconds=SLEEP_S)
