"""[history] Ten and a hundred times the history of one symbol: seconds a row, and a worker's peak memory.

Synthetic 1-minute bars, 30 days and its multiples; the two 1-minute models, one after the other on one CPU. Targets: a
row costs at 100x at most 1.5 times what it costs at 10x; a worker holds at most 6 times its float32 matrix and 450 MB.
Seconds are those of the outcome (samples, training, commit); the peak is the worker's while it made that model.
"""

import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from job.core.synth import make_bars
from tests.bench.processes import train
from tests.bench.table import Table, line
from transforms.features import DEFAULT_FEATURES

KINDS: Final = ("analyst", "tactician")
GROWTH: Final = 1.5
MATRICES: Final = 6
FIXED_MB: Final = 450
BYTES_A_ROW: Final = 4 * len(DEFAULT_FEATURES)

Outcomes = list[dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured: days of one history, and how often which multiples of it."""

    days: int
    runs: dict[int, int]


FULL: Final = Sizes(days=30, runs={1: 5, 10: 5, 100: 1})
QUICK: Final = Sizes(days=2, runs={1: 2, 10: 2, 100: 1})


def measure(*, quick: bool) -> Table:
    """Train on every multiple, shortest first."""
    sizes = QUICK if quick else FULL
    found = {multiple: outcomes(multiple * sizes.days, runs) for multiple, runs in sizes.runs.items()}
    return Table(
        "history",
        f"1 symbol x {sizes.days} days of 1-minute bars, and {', '.join(f'{n}x' for n in sizes.runs if n > 1)} of them",
        (*(each for kind in KINDS for each in lines(kind, found)),),
    )


def outcomes(days: int, runs: int) -> dict[str, Outcomes]:
    """Train both models that often on so many days; return the outcomes by kind."""
    with tempfile.TemporaryDirectory() as folder:
        bars = Path(folder, "BTC-1m.parquet")
        make_bars(seed=1, days=days).write_parquet(bars)
        options = ("--input", str(bars), "--output", f"{folder}/models", "--timeframes", "1m")
        records = [train(*options, "--set", "ray.num_cpus=1", models=len(KINDS)).record for _ in range(runs)]
    every = [outcome for record in records for outcome in record["outcomes"]]
    return {kind: [one for one in every if one["model_type"] == kind] for kind in KINDS}


def lines(kind: str, found: dict[int, dict[str, Outcomes]]) -> Iterator[str]:
    """Yield the lines of one kind of model."""
    cost = {multiple: [1e6 * one["seconds"] / one["rows"] for one in of[kind]] for multiple, of in found.items()}
    for multiple, microseconds in cost.items():
        yield line(f"{kind} 1m, a row at {multiple}x", microseconds, "us")
    growth = statistics.median(cost[100]) / statistics.median(cost[10])
    yield line(f"{kind} 1m, a row at 100x / at 10x", growth, "x", digits=2, at_most=GROWTH)
    for multiple, of in found.items():
        matrix = of[kind][0]["rows"] * BYTES_A_ROW / 2**20
        peaks = [one["peak_rss_mb"] for one in of[kind]]
        allowed = MATRICES * matrix + FIXED_MB
        yield line(f"{kind} 1m, peak at {multiple}x", peaks, "MB", digits=0, at_most=allowed)
