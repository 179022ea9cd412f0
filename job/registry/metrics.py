"""Figures of this process for Prometheus: what its runs came to, in the text format, and in a file if one is asked for.

Counters add up over all runs of a process, as of one that watches. Labels name operations, states, kinds of model and
timeframes, never a symbol, so that there are some dozens of lines however many models there are. Text and names follow
https://prometheus.io/docs/instrumenting/exposition_formats/ and https://prometheus.io/docs/practices/naming/.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from job.core.delayed import Delayed
from job.core.errors import RegistryError
from job.registry.outcome import Outcome
from job.storage.local import replace

KIND: Final = ("operation", "kind", "timeframe")
TELL_AFTER_S: Final = 5.0
"""How long new figures may wait until they are told, so that many come together."""
MIB: Final = 2**20

log = logging.getLogger("job")


@dataclass(frozen=True)
class Family:
    """Figures of one name, and the labels that tell them apart."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    labels: tuple[str, ...]


STATES: Final = ("operation", "state", "kind", "timeframe")
MODELS: Final = Family("ohlcv_models_total", "counter", "Models by what became of them.", STATES)
SECONDS: Final = Family("ohlcv_task_seconds_total", "counter", "Seconds by the clock that tasks took.", KIND)
CPU_SECONDS: Final = Family("ohlcv_task_cpu_seconds_total", "counter", "Seconds of CPUs that tasks took.", KIND)
WRITTEN: Final = Family("ohlcv_written_bytes_total", "counter", "Bytes of models and predictions written.", KIND)
RETRIES: Final = Family("ohlcv_task_retries_total", "counter", "Tasks begun again as their worker died.", KIND[:1])
MEMORY: Final = Family("ohlcv_peak_memory_bytes", "gauge", "Most memory of a worker at a task, resident.", KIND)
LEFT: Final = Family("ohlcv_queue_tasks", "gauge", "Tasks of the last run that have not ended.", KIND[:1])
BEGAN: Final = Family("ohlcv_run_start_time_seconds", "gauge", "When the last run began, Unix time.", KIND[:1])
ENDED: Final = Family("ohlcv_run_end_time_seconds", "gauge", "When the last run to end ended, Unix time.", KIND[:1])
FAMILIES: Final = (MODELS, SECONDS, CPU_SECONDS, WRITTEN, RETRIES, MEMORY, LEFT, BEGAN, ENDED)

Sample = tuple[Family, tuple[str, ...], float]
"""A figure: its family, the values of its labels, and what it is."""


class Metrics:
    """The figures of a process; from any thread. What is in `listeners` is called some time after they changed."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.textfile: Path | None = None
        self._values: dict[tuple[Family, tuple[str, ...]], float] = {}
        self._lock = threading.RLock()
        self._later = Delayed(self.tell, TELL_AFTER_S)
        self._complained = False

    def run_began(self, operation: str, *, planned: int) -> None:
        """Note that a run begins that has so many tasks."""
        with self._lock:
            self._values[BEGAN, (operation,)] = time.time()
            self._values[LEFT, (operation,)] = planned

    def task_ended(self, operation: str, outcome: Outcome, *, left: int) -> None:
        """Count an outcome; so many tasks are left."""
        kind = (operation, outcome.model_type, outcome.timeframe)
        with self._lock:
            self._add(MODELS, (operation, outcome.status, *kind[1:]), 1)
            for family, value in (
                (SECONDS, outcome.seconds), (CPU_SECONDS, outcome.cpu_seconds), (WRITTEN, outcome.bytes),
            ):  # fmt: skip
                self._add(family, kind, value)
            peak = self._values.get((MEMORY, kind), 0.0)
            self._values[MEMORY, kind] = max(peak, outcome.peak_rss_mb * MIB)
            self._values[LEFT, (operation,)] = left
        self._later.ask()

    def task_retried(self, operation: str) -> None:
        """Count a task that is begun again."""
        with self._lock:
            self._add(RETRIES, (operation,), 1)

    def run_ended(self, operation: str, *, left: int) -> None:
        """Note that a run is over, with so many tasks undone, and tell of it at once."""
        with self._lock:
            self._values[ENDED, (operation,)] = time.time()
            self._values[LEFT, (operation,)] = left
        self._later.close()
        self.tell()

    def samples(self) -> list[Sample]:
        """Return all figures, by family, those of a family by their labels."""
        with self._lock:
            known = dict(self._values)
        order = {family: number for number, family in enumerate(FAMILIES)}
        return [(*where, known[where]) for where in sorted(known, key=lambda where: (order[where[0]], where[1]))]

    def text(self) -> str:
        """Return all figures in the text format of Prometheus."""
        lines: list[str] = []
        last: Family | None = None
        for family, values, value in self.samples():
            if family is not last:
                lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.type}"]
            last = family
            escaped = (one.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for one in values)
            labels = ",".join(f'{name}="{one}"' for name, one in zip(family.labels, escaped, strict=True))
            lines.append(f"{family.name}{{{labels}}} {value!r}")
        return "".join(f"{line}\n" for line in lines)

    def tell(self) -> None:
        """Write the file, and call the listeners; a file that cannot be written is complained of once."""
        for listener in self.listeners:
            listener()
        if self.textfile is None:
            return
        try:
            with self._lock:
                replace(self.textfile, self.text().encode(), writer="metrics")
        except (OSError, RegistryError) as error:
            if not self._complained:
                log.warning("metrics.textfile %s cannot be written: %s", self.textfile, error)
            self._complained = True

    def _add(self, family: Family, labels: tuple[str, ...], value: float) -> None:
        self._values[family, labels] = self._values.get((family, labels), 0.0) + value


@cache
def process_metrics() -> Metrics:
    """Return the figures of this process."""
    return Metrics()
