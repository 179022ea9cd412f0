"""[predict] Predictions by 80 models over 16 real symbols (42,000 minutes each and more), from a shell, and a rerun.

The models are trained first, which is not timed. Targets: 60 s, and a rerun that leaves every byte as it was.
"""

import hashlib
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.bars import real_files
from tests.bench.processes import Command, shell, train
from tests.bench.table import Table, line
from tests.many import MODELS_A_SYMBOL

TARGET_S: Final = 60.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    symbols: int
    runs: int


FULL: Final = Sizes(symbols=16, runs=3)
QUICK: Final = Sizes(symbols=1, runs=1)


def measure(*, quick: bool) -> Table:
    """Train, predict into new folders, and predict once more into the last."""
    sizes = QUICK if quick else FULL
    files = real_files(sizes.symbols)
    symbols = ",".join(file.name.split("-")[0] for file in files)
    models_a_run = sizes.symbols * MODELS_A_SYMBOL
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder, "models")
        train("--input", str(files[0].parent), "--symbols", symbols, "--output", str(models), models=models_a_run)
        common = ("--models", str(models), "--input", str(files[0].parent), "--symbols", symbols)
        done = [predict(*common, "--output", f"{folder}/out{number}") for number in range(sizes.runs)]
        output = Path(folder, f"out{sizes.runs - 1}")
        before = digests(output)
        again = predict(*common, "--output", str(output))
        if digests(output) != before or record_of(again)["counts"]["current"] != models_a_run:
            raise SystemExit("predict: a second run changed the output")
    records = [record_of(one) for one in done]
    peaks = [max(outcome["peak_rss_mb"] for outcome in record["outcomes"]) for record in records]
    rows = sum(outcome["rows"] for outcome in records[0]["outcomes"])
    return Table(
        "predict",
        f"{models_a_run} models over {sizes.symbols} real symbols, {rows:,} predictions",
        (
            line("wall time, cold", [one.wall for one in done], "s", at_most=TARGET_S),
            line("CPU time", [one.cpu for one in done], "s"),
            line("a worker's peak", peaks, "MB", digits=0),
            line("a second run, nothing to do", again.wall, "s"),
        ),
    )


def predict(*arguments: str) -> Command:
    """Run the command."""
    return shell(sys.executable, "job/main.py", "predict", *arguments, "--json")


def record_of(done: Command) -> dict[str, Any]:
    """Return the run record that a command printed."""
    record: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return record


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file below a folder."""
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
