"""[scale] How much of 1, 4, 16 and 64 logical CPUs a run uses whose models take as long as real ones, but sleep.

`job.train.pipeline` with its three steps replaced, as in `orchestration`; each number of CPUs has a Ray of its own,
with warm workers, and about a minute of work a CPU. A model sleeps the CPU seconds that a run over 16 real symbols
recorded for its kind (`RECORDED`), of a symbol drawn at random, and as many times more as its series is longer than
their 30 days. A plan knows the length and the kind's median, as the catalog tells it, not the draw. Efficiency is the
sum of all sleeps over the CPUs times the wall time; target: 90%.
"""

import os
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa

from job.cluster.bundles import Capacity
from job.cluster.connect import running
from job.cluster.local_ray import PRELOAD
from job.config.settings import RaySettings
from job.core.keys import Key
from job.train.task import Task
from job.worker.messages import Job, unpack
from tests.bench.orchestration import MODELS_A_SYMBOL, done, seconds, tasks, warm_up
from tests.bench.table import Table, line

EFFICIENCY_PERCENT: Final = 90.0
WORK_S: Final = 60.0
"""About how many seconds of sleep there are for each CPU."""
LENGTHS: Final = (0.25, 0.5, 1.0, 2.0, 4.0)
"""How long the histories of series are, in 30 days; each as often."""
MEMORY: Final = 2**26
"""Bytes of memory that go with a CPU: of 64 they fit on this machine."""
RECORDED: Final[dict[str, tuple[float, ...]]] = {
    "analyst_1h": (.31, .37, .3, .31, .33, .31, .33, .32, .3, .37, .32, .31, .33, .35, .39, .32),
    "analyst_15m": (.47, .42, .43, .48, .42, .41, .41, .46, .46, .46, .44, .44, .45, .49, .41, .4),
    "analyst_5m": (.66, .67, .64, .84, .67, .64, .66, .73, .68, .72, .65, .66, .72, .63, .59, .66),
    "analyst_1m": (2.02, 2.06, 1.94, 2.0, 2.08, 1.88, 1.87, 2.67, 1.97, 2.14, 1.86, 1.8, 1.98, 2.01, 1.86, 2.09),
    "tactician_1m": (1.57, 1.59, 1.56, 1.59, 1.55, 1.66, 1.54, 1.99, 1.53, 1.58, 1.62, 1.54, 1.69, 1.6, 1.56, 1.67),
}  # fmt: skip
"""CPU seconds of the models of 16 symbols, from the run record of `fleet`."""


def measure(*, quick: bool) -> Table:
    """Measure one number of CPUs after the other."""
    sizes, work_s = ((1, 4), 2.0) if quick else ((1, 4, 16, 64), WORK_S)
    os.environ[PRELOAD] = __name__  # workers that sleep need none of the libraries that they import for training
    lines = []
    for cpus in sizes:
        work = sleepers(cpus * work_s)
        slept, wall = sum(length(task.key) for task in work), seconds_warm(work, cpus)
        percent = 100 * slept / (cpus * wall)
        lines.append(line(f"CPUs: {cpus}, models: {len(work):,}", wall, "s"))
        lines.append(line("  efficiency", percent, "%", at_least=EFFICIENCY_PERCENT))
    return Table(
        "scale", f"models that sleep as long as real ones take to train, about {work_s:.0f} s a CPU", tuple(lines)
    )


def sleepers(total: float) -> list[Task]:
    """Make up tasks that sleep about `total` seconds together, with the seconds that a plan takes them for."""
    rough = sum(map(statistics.mean, RECORDED.values())) * statistics.mean(LENGTHS)
    made = tasks(MODELS_A_SYMBOL * (1 + int(total / rough)))
    usual = {kind: statistics.median(recorded) for kind, recorded in RECORDED.items()}
    return [replace(one, seconds=usual[one.key.stem] * history(one.key)) for one in made]


def history(key: Key) -> float:
    """Return the length of a series in 30 days."""
    return LENGTHS[int(key.symbol[1:]) % len(LENGTHS)]


def length(key: Key) -> float:
    """Return the seconds that a model sleeps."""
    return history(key) * random.Random(str(key)).choice(RECORDED[key.stem])


def seconds_warm(work: Sequence[Task], cpus: int) -> float:
    """Return the seconds that the tasks take on so many CPUs, whose workers are there."""
    capacity = Capacity(cpus=cpus, node_cpus=cpus, memory_per_cpu=MEMORY)
    with running(RaySettings(num_cpus=cpus)):
        warm_up(capacity)
        return seconds(work, sleep, capacity)


def sleep(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Stand in for `train_models`: one outcome a task, after as much sleep as its model takes."""
    for task, _ in unpack(batch):
        time.sleep(length(task.key))
        yield done(task)
