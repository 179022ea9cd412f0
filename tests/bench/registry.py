"""[registry] A made-up registry of 5,000, of 50,000 and of 200,000 models: what a look at it costs, from a shell.

Each model has one version (`tests.many`), each series a file of bars. Measured are a rerun with nothing to do, its plan
alone, and the first page of `models list` on a terminal; beside the wall time stands the CPU time of the process, which
other work on a machine changes less. Targets, at 50,000: 8 s and 250 MB, 5 s, 3 s. What a model adds to a rerun must
not grow with their number: at most 1.2 times what it adds to the smaller one. The plan of 10,000 series of which no
registry holds a model may take 30 s.
"""

import os
import pty
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.processes import ROOT
from tests.bench.rerun import SCORES
from tests.bench.table import Table, line
from tests.many import MODELS_A_SYMBOL, many_models

RERUN_S: Final = 8.0
RERUN_MB: Final = 250.0
PLAN_S: Final = 5.0
PAGE_S: Final = 3.0
GROWTH: Final = 1.2
FRESH_S: Final = 30.0
TABLE: Final = b"champion"
"""A word of the heading of `models list`: from then on its first page is there."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured, in symbols."""

    few: int
    many: int
    most: int
    runs: int


FULL: Final = Sizes(few=1_000, many=10_000, most=40_000, runs=5)
QUICK: Final = Sizes(few=5, many=10, most=20, runs=1)


@dataclass(frozen=True)
class Look:
    """One run of a command: wall seconds, those to its first table, CPU seconds, peak memory."""

    wall: float
    first: float
    cpu: float
    peak_mb: float


def measure(*, quick: bool) -> Table:
    """Make the registries, and look at them."""
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        few, many, most = (Path(folder, name) for name in ("few", "many", "most"))
        for place, symbols in ((few, sizes.few), (many, sizes.many), (most, sizes.most)):
            many_models(place, symbols=symbols, scores=SCORES)
        runs = range(sizes.runs)
        start = [look("models", "list", "--models", f"{folder}/absent") for _ in runs]
        small = [rerun(few) for _ in runs]
        large = [rerun(many) for _ in runs]
        largest = [rerun(most) for _ in range(min(sizes.runs, 3))]
        plans = [look("plan", *paths(many, "models")) for _ in runs]
        fresh = [look("plan", *paths(many, "nowhere")) for _ in runs]
        pages = [look("models", "list", "--models", str(many / "models")) for _ in runs]
    began = statistics.median(one.cpu for one in start)
    per_model = [
        (1000 * (statistics.median(one.cpu for one in looks) - began)) / (symbols * MODELS_A_SYMBOL)
        for looks, symbols in ((small, sizes.few), (large, sizes.many), (largest, sizes.most))
    ]
    most_ms = GROWTH * per_model[0]
    models = f"{sizes.many * MODELS_A_SYMBOL:,}"
    return Table(
        "registry",
        f"{models} models of {sizes.many:,} series, from a shell, nothing to train",
        (
            line("rerun", [one.wall for one in large], "s", at_most=RERUN_S),
            line("rerun, CPU", [one.cpu for one in large], "s"),
            line("rerun, peak memory", [one.peak_mb for one in large], "MB", digits=0, at_most=RERUN_MB),
            line("plan", [one.wall for one in plans], "s", at_most=PLAN_S),
            line("plan, CPU", [one.cpu for one in plans], "s"),
            line("plan where no registry is", [one.wall for one in fresh], "s", at_most=FRESH_S),
            line("models list, first page", [one.first for one in pages], "s", at_most=PAGE_S),
            line("models list, CPU", [one.cpu for one in pages], "s"),
            line(f"rerun, CPU a model of {sizes.few * MODELS_A_SYMBOL:,}", per_model[0], "ms", digits=3),
            *(
                line(f"rerun, CPU a model of {symbols * MODELS_A_SYMBOL:,}", cost, "ms", digits=3, at_most=most_ms)
                for symbols, cost in zip((sizes.many, sizes.most), per_model[1:], strict=True)
            ),
        ),
    )


def rerun(folder: Path) -> Look:
    """Train what is missing in a registry, which is nothing."""
    return look(*paths(folder, "models"))


def paths(folder: Path, models: str) -> tuple[str, ...]:
    """Return the arguments that name bars and registry."""
    return ("--input", str(folder / "bars"), "--output", str(folder / models))


def look(*arguments: str) -> Look:
    """Run a command of the job on a terminal; status 3, of a registry that is absent, will do."""
    began = time.perf_counter()
    pid, screen = pty.fork()
    if not pid:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "job/main.py", *arguments])
    first, shown = None, b""
    while part := _read(screen):
        shown = shown[-100:] + part
        if first is None and TABLE in shown:
            first = time.perf_counter() - began
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - began
    os.close(screen)
    if os.waitstatus_to_exitcode(status) not in {0, 3}:
        raise SystemExit(f"registry: {' '.join(arguments)} failed: {shown.decode(errors='replace')}")
    return Look(wall, first or wall, used.ru_utime + used.ru_stime, _megabytes(used))


def _read(screen: int) -> bytes:
    """Return what came next, nothing at the end."""
    try:
        return os.read(screen, 65_536)
    except OSError:  # how Linux tells that the other end is closed
        return b""


def _megabytes(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
