"""[small] The cold small workload: 1 symbol, 30 days of 1-minute bars, 5 models, from a shell; against `plain`.

The plain approach takes minutes and runs once. Targets: at most 7.5 s, and a twentieth of its wall time.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from job.core.synth import write_world
from tests.bench.processes import shell
from tests.bench.table import Table, line

TARGET: Final = 20.0
SECONDS: Final = 7.5


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    days: int
    runs: int


FULL: Final = Sizes(days=30, runs=5)
QUICK: Final = Sizes(days=14, runs=2)


def measure(*, quick: bool) -> Table:
    """Run both and compare."""
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        bars = str(write_world(Path(folder, "bars"), symbols=1, days=sizes.days, seed=1, world="noise")[0])
        ours = [
            shell(sys.executable, "job/main.py", "--input", bars, "--output", f"{folder}/models{number}").wall
            for number in range(sizes.runs)
        ]
        days = ("--days", str(sizes.days))
        plain = shell(sys.executable, "tests/bench/plain.py", "--input", bars, "--output", f"{folder}/plain", *days)
    return Table(
        "small",
        f"1 symbol x {sizes.days} days of 1-minute bars, 5 models, cold, from a shell",
        (
            line("python job/main.py", ours, "s", at_most=SECONDS),
            line("plain approach", plain.wall, "s"),
            line("plain / job", [plain.wall / one for one in ours], "x", at_least=TARGET),
        ),
    )
