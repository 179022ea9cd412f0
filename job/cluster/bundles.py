"""Which tasks share one reading of the bars, in what order they start, and what share of a node each gets."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from job.sources.series import Series
from job.worker.messages import Bundle, T

LONGEST_BUNDLE_S: Final = 30.0
BUNDLES_PER_CPU: Final = 3
SIZE_CLASSES: Final = 3
"""How many different numbers of CPUs bundles may get: each takes a chain of Ray Data operators of its own."""


@dataclass(frozen=True)
class Capacity:
    """What there is to train on: CPUs in all, those of the largest node, bytes of memory per CPU, and GPUs in all."""

    cpus: int
    node_cpus: int
    memory_per_cpu: int
    gpus: int = 0


def bundle(tasks: Iterable[T], *, cpus: int) -> list[Bundle[T]]:
    """Pack tasks of one series into bundles, longest bundle first.

    A bundle is kept so short that every CPU gets several of them, and no longer than half a minute of fits; a task
    that is longer by itself is a bundle of its own.
    """
    pending = sorted(tasks, key=lambda task: (task.series[0].exchange, task.series[0].symbol, -task.seconds, task.key))
    limit = min(LONGEST_BUNDLE_S, sum(task.seconds for task in pending) / (BUNDLES_PER_CPU * cpus))
    bundles: list[Bundle[T]] = []
    for task in pending:
        last = bundles[-1] if bundles else None
        if last and last.series == task.series[0] and last.seconds + task.seconds <= limit:
            bundles[-1] = Bundle(last.series, (*last.tasks, task))
        else:
            bundles.append(Bundle(task.series[0], (task,)))
    return sorted(bundles, key=lambda one: -one.seconds)


def singles(tasks: Iterable[T]) -> list[Bundle[T]]:
    """Return bundles of one task, longest first."""
    return sorted((Bundle(task.series[0], (task,)) for task in tasks), key=lambda one: -one.seconds)


def by_series(tasks: Iterable[T]) -> list[Bundle[T]]:
    """Return a bundle for every series, with the tasks that need it, in the order of the series' names.

    There a task names this series only: what travels stays as long as the series, not as their square.
    """
    needed: dict[Series, list[T]] = {}
    for task in tasks:
        for series in task.series:
            needed.setdefault(series, []).append(task.of_series(series))
    ordered = sorted(needed.items(), key=lambda item: (item[0].exchange, item[0].symbol))
    return [Bundle(series, tuple(own)) for series, own in ordered]


def sized(bundles: Sequence[Bundle[T]], capacity: Capacity, *, cpus_per_task: int | None) -> dict[int, list[Bundle[T]]]:
    """Return the bundles by the CPUs that each gets, in at most `SIZE_CLASSES` groups, most CPUs first.

    Where there are few bundles for many CPUs, long ones get several, as threads; `cpus_per_task` (None: as the plan
    has it) sets the number for all. A bundle that needs more memory than goes with a CPU takes as many CPUs as go with
    its memory, so that a node is never asked for more than it has; at most it takes a whole node.
    """
    fair = sum(one.seconds for one in bundles) / capacity.cpus
    wanted = []
    for one in bundles:
        threads = cpus_per_task or (int(one.seconds / fair) if fair else 1)
        needed = max(threads, math.ceil(one.memory / capacity.memory_per_cpu))
        wanted.append(max(1, min(needed, capacity.node_cpus)))
    distinct = sorted(set(wanted))
    kept = {distinct[round(step * (len(distinct) - 1) / (SIZE_CLASSES - 1))] for step in range(SIZE_CLASSES)}
    groups: dict[int, list[Bundle[T]]] = {}
    for one, cpus in zip(bundles, wanted, strict=True):
        groups.setdefault(min(size for size in kept if size >= cpus), []).append(one)
    return dict(sorted(groups.items(), reverse=True))
