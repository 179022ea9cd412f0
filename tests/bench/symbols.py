"""[symbols] 1, 10 and 100 symbols: what the driver and the workers hold at most.

30 days of synthetic 1-minute bars a symbol, models at 1h and 15m. Targets: with 100 symbols the driver holds at most
100 MB more than with one, and no worker more than 10% more.
"""

import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from job.core.synth import write_world
from tests.bench.processes import Run, train
from tests.bench.table import Table, line

TIMEFRAMES: Final = ("1h", "15m")
DRIVER_MB: Final = 100.0
WORKER_GROWTH: Final = 1.10


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    counts: tuple[int, ...]
    days: int
    runs: int


FULL: Final = Sizes(counts=(1, 10, 100), days=30, runs=5)
QUICK: Final = Sizes(counts=(1, 2, 4), days=20, runs=2)


def measure(*, quick: bool) -> Table:
    """Train on so many symbols, fewest first."""
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        found = {count: runs(count, sizes, folder) for count in sizes.counts}
    driver = {count: [one.driver_mb for one in of] for count, of in found.items()}
    worker = {count: [one.worker_mb for one in of] for count, of in found.items()}
    few, many = sizes.counts[0], sizes.counts[-1]
    grown = statistics.median(driver[many]) - statistics.median(driver[few])
    ratio = statistics.median(worker[many]) / statistics.median(worker[few])
    return Table(
        "symbols",
        f"{sizes.days} days of 1-minute bars a symbol, models at {' and '.join(TIMEFRAMES)}",
        (
            *(line(f"wall time, {named(count)}", [one.command.wall for one in of], "s") for count, of in found.items()),
            *(line(f"driver's peak, {named(count)}", peaks, "MB", digits=0) for count, peaks in driver.items()),
            line(f"  {named(many)} over {few}", grown, "MB", digits=0, at_most=DRIVER_MB),
            *(line(f"worker's peak, {named(count)}", peaks, "MB", digits=0) for count, peaks in worker.items()),
            line(f"  {named(many)} / {few}", ratio, "x", digits=2, at_most=WORKER_GROWTH),
        ),
    )


def named(count: int) -> str:
    """Return a number of symbols in words."""
    return f"{count} symbol" if count == 1 else f"{count} symbols"


def runs(count: int, sizes: Sizes, folder: str) -> list[Run]:
    """Train the models of so many symbols, several times."""
    bars = Path(folder, f"bars{count}")
    write_world(bars, symbols=count, days=sizes.days, seed=1)
    options = ("--input", str(bars), "--output", f"{folder}/models{count}", "--timeframes", ",".join(TIMEFRAMES))
    return [train(*options, models=count * len(TIMEFRAMES)) for _ in range(sizes.runs)]
