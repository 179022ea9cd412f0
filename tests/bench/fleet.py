"""[fleet] 80 models of 16 real symbols, from a shell, against the best single-machine script (`script`).

Runs of both alternate. Targets for the wall time, all cold: at most 1.08 times the script's, and .70 times that of the
script whose forests oneDAL grows, where that is installed. The script dumps with skops, as the job does; one that
pickles is shown beside, once.

The CPU time of a run is that of all its processes: driver, workers, raylet, GCS, agents. Of that, the part inside
estimator fits and predictions is noted by the workers of the same run (`fits`): the clock of the fitting thread around
`fit` and `predict_proba` of the estimators, so folds, holdout, the logistic benchmark and permutation importances.
All else counts as outside: imports, reading, features, labels, scaling, scores, writing artifacts, Ray. Target: at most
18% outside.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from job.core.environment import installed
from job.learning.forests.engines import ONEDAL_LIBRARY
from tests.bench.bars import real_files
from tests.bench.processes import Command, Run, shell, train
from tests.bench.table import Table, line

MODELS_A_SYMBOL: Final = 5
FACTOR: Final = 1.08
ONEDAL_FACTOR: Final = 0.70
OUTSIDE_PERCENT: Final = 18.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    symbols: int
    runs: int


FULL: Final = Sizes(symbols=16, runs=5)
QUICK: Final = Sizes(symbols=2, runs=2)


def measure(*, quick: bool) -> Table:
    """Run both in turn and compare."""
    sizes = QUICK if quick else FULL
    ours, theirs, onedal = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        bars = Path(folder, "bars")
        bars.mkdir()
        files = [str(shutil.copy(file, bars)) for file in real_files(sizes.symbols)]
        for number in range(sizes.runs):
            output = ("--output", f"{folder}/models{number}")
            ours.append(train("--input", str(bars), *output, models=MODELS_A_SYMBOL * len(files)))
            theirs.append(script("--output", f"{folder}/script{number}", *files))
            if installed(ONEDAL_LIBRARY):
                onedal.append(script("--output", f"{folder}/onedal{number}", "--engine", "onedal", *files))
        pickling = script("--output", f"{folder}/pickled", "--pickle", *files)
    check_equal(ours[0], theirs[0])
    return table(ours, theirs, onedal, pickling, symbols=sizes.symbols)


def script(*arguments: str) -> Command:
    """Run the script."""
    return shell(sys.executable, "-m", "tests.bench.script", *arguments)


def check_equal(ours: Run, theirs: Command) -> None:
    """Stop where the two did not train the same models."""
    losses = sorted(outcome["scores"]["log_loss"] for outcome in ours.record["outcomes"])
    if losses != sorted(json.loads(theirs.stdout).values()):
        raise SystemExit("fleet: the job's log-losses are not the script's")


def table(ours: list[Run], theirs: list[Command], onedal: list[Command], pickling: Command, *, symbols: int) -> Table:
    """Return what the case prints."""
    walls = [one.command.wall for one in ours]
    outside = [100 * (1 - one.fits_cpu / one.command.cpu) for one in ours]
    return Table(
        "fleet",
        f"{MODELS_A_SYMBOL * symbols} models of {symbols} real symbols, from a shell, against a script without Ray",
        (
            line("python job/main.py", walls, "s"),
            line("script: joblib, a process a core", [other.wall for other in theirs], "s"),
            line("script that pickles", pickling.wall, "s"),
            line("job / script", ratios(walls, theirs), "x", digits=2, at_most=FACTOR),
            *onedal_lines(walls, onedal),
            line("CPU of all the job's processes", [one.command.cpu for one in ours], "s"),
            line("CPU of all the script's processes", [other.cpu for other in theirs], "s"),
            line("CPU of the job's fits and predictions", [one.fits_cpu for one in ours], "s"),
            line("share of the job's CPU outside them", outside, "%", at_most=OUTSIDE_PERCENT),
        ),
    )


def onedal_lines(walls: list[float], onedal: list[Command]) -> Iterator[str]:
    """Yield the lines of the script whose forests oneDAL grows; none where it is not installed."""
    if onedal:
        yield line("script with oneDAL's forests", [other.wall for other in onedal], "s")
        yield line("job / that script", ratios(walls, onedal), "x", digits=2, at_most=ONEDAL_FACTOR)


def ratios(walls: list[float], theirs: list[Command]) -> list[float]:
    """Return the job's wall time over the script's, run by run."""
    return [wall / other.wall for wall, other in zip(walls, theirs, strict=True)]
