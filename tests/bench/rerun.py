"""[rerun] A rerun that finds nothing to do, from a shell: 80 models that were trained, 5,000 that a registry lists.

The 80 are the default models of 16 synthetic symbols; they are trained first, which is not timed. The 5,000 stand in
the registry as if they had been (`tests.many`). Targets: 3 s and 6 s.
"""

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from job.core.synth import write_world
from tests.bench.processes import shell, train
from tests.bench.table import Table, line
from tests.many import MODELS_A_SYMBOL, many_models

SCORES: Final = {
    "accuracy": 0.5,
    "log_loss": 0.69,
    "base_log_loss": 0.69,
    "skill": 0.0,
    "skill_low": 0.0,
    "skill_high": 0.0,
}
TRAINED_S: Final = 3.0
MANY_S: Final = 6.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured, in symbols."""

    trained: int
    days: int
    many: int
    runs: int


FULL: Final = Sizes(trained=16, days=30, many=1_000, runs=5)
QUICK: Final = Sizes(trained=1, days=14, many=20, runs=2)


def measure(*, quick: bool) -> Table:
    """Make both stores and rerun."""
    sizes = QUICK if quick else FULL
    trained, many = sizes.trained * MODELS_A_SYMBOL, sizes.many * MODELS_A_SYMBOL
    with tempfile.TemporaryDirectory() as folder:
        bars, models = Path(folder, "bars"), Path(folder, "models")
        write_world(bars, symbols=sizes.trained, days=sizes.days, seed=1)
        train("--input", str(bars), "--output", str(models), models=trained)
        few_s = [rerun(bars, models, current=trained) for _ in range(sizes.runs)]
        many_models(Path(folder, "many"), symbols=sizes.many, scores=SCORES)
        bars, models = Path(folder, "many", "bars"), Path(folder, "many", "models")
        many_s = [rerun(bars, models, current=many) for _ in range(sizes.runs)]
    return Table(
        "rerun",
        "nothing to do, from a shell",
        (
            line(f"{trained:,} models", few_s, "s", digits=2, at_most=TRAINED_S),
            line(f"{many:,} models", many_s, "s", digits=2, at_most=MANY_S),
        ),
    )


def rerun(bars: Path, models: Path, *, current: int) -> float:
    """Return the wall time of a run that must find so many models current."""
    done = shell(sys.executable, "job/main.py", "--input", str(bars), "--output", str(models), "--json")
    counts = json.loads(done.stdout.splitlines()[-1])["counts"]
    if counts["current"] != current:
        raise SystemExit(f"rerun: expected {current} current models, got {counts}")
    return done.wall
