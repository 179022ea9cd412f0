"""Run benchmark cases by name, by default all that have targets or say what the bars hold."""

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import psutil

from job.core.environment import ROOT, cpu_model
from tests.bench import (
    blends,
    choices,
    features,
    fleet,
    history,
    learners,
    newest,
    orchestration,
    packs,
    pooled,
    predict,
    registry,
    rerun,
    scale,
    skill,
    small,
    symbols,
    tune,
    watching,
)
from tests.bench.bars import AbsentBarsError
from tests.bench.before import AbsentCaseError, before_and_after, checked_out, compared, full_name, measured_in
from tests.bench.readme import check, with_sections
from tests.bench.table import Case, Table

ENVIRONMENT: Final = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_AUTO_CONNECT": "0", "RAY_worker_niceness": "0"}
"""For Ray in the cases' processes: no token file in the home folder, no silent join of a cluster on this machine, and
workers as urgent as what they are compared to."""
README: Final = ROOT / "tests" / "README.md"
CASES: Final[dict[str, Case]] = {
    "features": features.measure,
    "packs": packs.measure,
    "rerun": rerun.measure,
    "registry": registry.measure,
    "predict": predict.measure,
    "newest": newest.measure,
    "skill": skill.measure,
    "history": history.measure,
    "symbols": symbols.measure,
    "pooled": pooled.measure,
    "tune": tune.measure,
    "watching": watching.measure,
    "orchestration": orchestration.measure,
    "scale": scale.measure,
    "small": small.measure,
    "fleet": fleet.measure,
    "learners": learners.measure,
    "choices": choices.measure,
    "blends": blends.measure,
}
"""Quick ones first."""
BY_NAME: Final = ("learners", "choices", "blends")
"""Those that run only where they are named: they take long, and have no target."""


def main(arguments: Sequence[str]) -> int:
    """Run the cases and print their tables; with --write, put each into tests/README.md as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "cases", nargs="*", metavar="case", help=f"any of {', '.join(CASES)} (default: all but {', '.join(BY_NAME)})"
    )
    parser.add_argument(
        "--quick", action="store_true", help="see that it works: so little that the figures say nothing"
    )
    parser.add_argument("--before", metavar="COMMIT", help="measure each case at an earlier commit, too")
    parser.add_argument("--write", action="store_true", help="put the figures into tests/README.md")
    options = parser.parse_args(arguments)
    chosen = options.cases or [name for name in CASES if name not in BY_NAME]
    if unknown := [name for name in chosen if name not in CASES]:
        parser.error(f"unknown case {unknown[0]}: known are {', '.join(CASES)}")
    if options.quick and options.write:
        parser.error("--write is for whole runs, not for --quick ones")
    try:
        before = options.before and full_name(options.before)
        if options.write:
            check(README.read_text(encoding="utf-8"), machine(), chosen)
    except ValueError as error:
        parser.error(str(error))
    os.environ |= ENVIRONMENT
    print(machine(), flush=True)
    with ExitStack() as stack:
        tree = stack.enter_context(checked_out(before)) if before else None
        for name in chosen:
            for table in measured(name, quick=options.quick, before=tree, commit=before):
                print(f"\n{table}", flush=True)
                if options.write:
                    put(table)
    return 0


def measured(name: str, *, quick: bool, before: Path | None, commit: str) -> Iterator[Table]:
    """Yield what a case measures, here and, where there is a tree of an earlier commit, against that."""
    try:
        earlier = measured_in(before, name, quick=quick) if before else None
    except AbsentCaseError as error:
        print(f"\n{name}: not at {commit}: {error}", flush=True)
        earlier = None
    try:
        table = in_a_process(CASES[name], quick=quick)
    except AbsentBarsError as error:
        print(f"\n{name}: skipped, {error}", flush=True)
        return
    yield table
    if earlier is not None:
        yield compared(name, earlier, str(table), commit=commit)


def put(table: Table) -> None:
    """Put a table into tests/README.md, in place of the one of its name."""
    order = [each for name in CASES for each in (name, before_and_after(name))]
    readme = README.read_text(encoding="utf-8")
    README.write_text(with_sections(readme, machine(), {table.name: str(table)}, order=order), encoding="utf-8")


def machine() -> str:
    """Name what the figures are of."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{cpu_model()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def in_a_process(case: Case, *, quick: bool) -> Table:
    """Run a case in a process of its own, so that what it imports and sets touches no other."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(case, quick=quick).result()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
