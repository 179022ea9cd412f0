"""Run benchmark cases by name, all of them by default."""

import argparse
import platform
import sys
from collections.abc import Callable
from typing import Final

import psutil

from job.environment import cpu_model
from tests.bench import skill, small

CASES: Final[dict[str, Callable[[], None]]] = {"small": small.run, "skill": skill.run}


def main() -> int:
    """Run the cases and print their tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"any of {', '.join(CASES)} (default: all)")
    chosen = parser.parse_args().cases or list(CASES)
    if unknown := [name for name in chosen if name not in CASES]:
        parser.error(f"unknown case {unknown[0]}: known are {', '.join(CASES)}")
    memory = psutil.virtual_memory().total / 2**30
    print(f"{cpu_model()}, {psutil.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}")
    for name in chosen:
        CASES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
