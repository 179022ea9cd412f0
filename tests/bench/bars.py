"""Real bars for cases to train on, kept beside the project."""

from pathlib import Path
from typing import Final

REAL: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_futures_1m"
"""Sixteen symbols' minutes, one feather file each."""


class AbsentBarsError(Exception):
    """The real bars are not there; cases that need them are skipped by name."""


def real_files(count: int) -> list[Path]:
    """Return the files of the first `count` symbols.

    Raises:
        AbsentBarsError: there are fewer.
    """
    files = sorted(REAL.glob("*.feather"))[:count]
    if len(files) < count:
        raise AbsentBarsError(f"{len(files)} of {count} files of real bars are in ../shared/data/{REAL.name}")
    return files
