"""How much memory a task is likely to hold, and how much this process held at most since it last began to count."""

import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

BYTES_PER_VALUE: Final = 24
"""Peak bytes per sample and feature in a worker, no less than `make bench` finds (history): bars, samples, the float32
matrix, its scaled copy, and what a fit adds."""
BYTES_PER_SEEN: Final = 12
"""Peak bytes per bar and feature of sequences: the bars, float32, and their scaled copy, made from one more."""
BYTES_PER_TOLD: Final = 120
"""Peak bytes that each worker of a group holds for every sample of the group: times, label, place, probabilities."""
WORKER_BYTES: Final = 450 * 2**20
"""What a worker holds before any bars: mostly imports."""

STATUS: Final = Path("/proc/self/status")
REFERENCES: Final = Path("/proc/self/clear_refs")
RESET_PEAK: Final = "5"
"""What Linux takes for `count the peak from here` (proc(5))."""


def reset_peak() -> None:
    """Begin to count, where the system allows it; elsewhere the peak stays that of the process's whole life."""
    with suppress(OSError):
        REFERENCES.write_text(RESET_PEAK, encoding="ascii")


def peak_mb() -> float:
    """Return the most memory held since, in MiB, to one decimal."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return round(int(line.split()[1]) / 2**10, 1)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1)


def estimate_memory(rows: int, features: int, *, sequences: bool = False, library: int = 0) -> int:
    """Return the bytes that a worker holds at most for a task of so many samples and features.

    Models of `sequences` hold their bars beside the samples; `library` is what theirs takes.
    """
    per_value = BYTES_PER_VALUE + (BYTES_PER_SEEN if sequences else 0)
    return WORKER_BYTES + library + rows * features * per_value


def estimate_spread_memory(rows: int, own: int, features: int) -> int:
    """Return the bytes that each worker of a group holds at most: the features of its `own` samples, and all `rows`."""
    return estimate_memory(own, features) + rows * BYTES_PER_TOLD
