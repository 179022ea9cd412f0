"""What a task costs in the workers that it runs in: time by the clock and of CPUs, memory, and which process it was."""

import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Self, TypeVar

from job.core.clock import now
from job.registry.outcome import Outcome
from job.worker.memory import peak_mb, reset_peak

OutcomeT = TypeVar("OutcomeT", bound=Outcome)


@dataclass(frozen=True)
class Cost:
    """What was spent on a task so far, in seconds by the clock and of CPUs.

    `started_at` is when this worker began with it (UTC, ISO 8601 to the ms), empty where that is not known.
    """

    started_at: str = ""
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    @classmethod
    def total(cls, costs: Iterable[Self]) -> Self:
        """Return the sum of costs; several have no common start, as they may be of different workers."""
        first, *others = [*costs] or [cls()]
        if not others:
            return first
        seconds = first.seconds + sum(one.seconds for one in others)
        return cls("", seconds, first.cpu_seconds + sum(one.cpu_seconds for one in others))


NO_COST: Final = Cost()


class Meter:
    """Measures what this process spends from now on."""

    def __init__(self) -> None:
        self._started_at = now()
        self._clock, self._cpu = time.perf_counter(), time.process_time()

    def cost(self) -> Cost:
        """Return what was spent so far."""
        return Cost(self._started_at, time.perf_counter() - self._clock, time.process_time() - self._cpu)

    def charge(self, outcome: OutcomeT, *, attempts: int, before: Cost = NO_COST) -> OutcomeT:
        """Return an outcome with what its task took, here and `before`; the next task's memory is counted from here."""
        own = self.cost()
        charged = replace(
            outcome,
            started_at=before.started_at or own.started_at,
            finished_at=now(),
            seconds=round(before.seconds + own.seconds, 3),
            cpu_seconds=round(before.cpu_seconds + own.cpu_seconds, 3),
            peak_rss_mb=round(peak_mb(), 1),
            node=platform.node(),
            pid=os.getpid(),
            attempts=attempts,
        )
        reset_peak()
        return charged
