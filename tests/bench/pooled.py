"""[pooled] One pooled model a kind and timeframe (`--group-by timeframe`) beside a model a series, on the same bars.

Both read 8 synthetic symbols of 30 days. Aligned trains 40 models, pooled 5, each over the rows of all symbols, which
meet in a shuffle. No target: what a shuffle and larger fits cost.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from job.core.synth import write_world
from tests.bench.processes import train
from tests.bench.table import Table, line

MODELS: Final = 5


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    symbols: int
    days: int
    runs: int


FULL: Final = Sizes(symbols=8, days=30, runs=5)
QUICK: Final = Sizes(symbols=2, days=14, runs=2)


def measure(*, quick: bool) -> Table:
    """Run both in turn."""
    sizes = QUICK if quick else FULL
    aligned, pooled = [], []
    with tempfile.TemporaryDirectory() as folder:
        write_world(Path(folder, "bars"), symbols=sizes.symbols, days=sizes.days, seed=1)
        options = ("--input", f"{folder}/bars", "--output", f"{folder}/models")
        for _ in range(sizes.runs):
            aligned.append(train(*options, models=MODELS * sizes.symbols))
            pooled.append(train(*options, "--group-by", "timeframe", models=MODELS))
    pairs = list(zip(pooled, aligned, strict=True))
    return Table(
        "pooled",
        f"{sizes.symbols} symbols x {sizes.days} days of 1-minute bars",
        (
            line(f"aligned, {MODELS * sizes.symbols} models", [one.command.wall for one in aligned], "s"),
            line(f"pooled, {MODELS} models", [one.command.wall for one in pooled], "s"),
            line("pooled / aligned", [one.command.wall / other.command.wall for one, other in pairs], "x", digits=2),
            line("worker's peak, aligned", [one.worker_mb for one in aligned], "MB", digits=0),
            line("worker's peak, pooled", [one.worker_mb for one in pooled], "MB", digits=0),
        ),
    )
