"""How much memory this process held at most since it last began to count."""

import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

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
