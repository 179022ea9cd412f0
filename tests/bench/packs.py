"""[packs] A model on all packs against one on the 20 default features: CPU time of a task, and its peak memory.

One symbol's synthetic 1-minute bars with columns of order flow, 30 days and ten times as many; the 1-minute analyst on
one CPU, trained on either set of features in turn. Seconds are CPU seconds of the outcome: samples, six fits with their
benchmarks, scores, commit. Targets: at most 2.5 times the seconds on 30 days, and everywhere 6 times the float32 matrix
and 450 MB.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from job.core.synth import make_bars
from tests.bench.history import FIXED_MB, MATRICES
from tests.bench.processes import train
from tests.bench.table import Table, line
from tests.oracles_transforms import random_flow
from transforms.features import PACKS

COLUMNS: Final = {
    pack: sum("session_minute" not in feature.inputs for feature in PACKS[pack]) for pack in ("default", "all")
}
"""Features by pack, but for those of a market that opens and closes, which these bars are not of."""
LONGER: Final = 2.5

Outcomes = list[dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured: days of one history, and how often which multiples of it."""

    days: int
    runs: dict[int, int]


FULL: Final = Sizes(days=30, runs={1: 5, 10: 1})
QUICK: Final = Sizes(days=2, runs={1: 2, 10: 1})


def measure(*, quick: bool) -> Table:
    """Train on every multiple, shortest first."""
    sizes = QUICK if quick else FULL
    found = {multiple: outcomes(multiple * sizes.days, runs) for multiple, runs in sizes.runs.items()}
    return Table(
        "packs",
        f"analyst 1m, 1 symbol x {sizes.days} days of 1-minute bars, and 10x of them",
        tuple(each for multiple, of in found.items() for each in lines(multiple, of)),
    )


def outcomes(days: int, runs: int) -> dict[str, Outcomes]:
    """Train on each set of features in turn, that often; return the outcomes by set."""
    found: dict[str, Outcomes] = {pack: [] for pack in COLUMNS}
    with tempfile.TemporaryDirectory() as folder:
        path, bars = Path(folder, "BTC-1m.parquet"), make_bars(seed=1, days=days)
        flow = random_flow(1, {name: bars[name].to_numpy() for name in ("high", "low", "volume")})
        bars.with_columns(pl.Series(name, values) for name, values in flow.items()).write_parquet(path)
        options = (
            "--input",
            str(path),
            "--output",
            f"{folder}/models",
            "--timeframes",
            "1m",
            "--model-types",
            "analyst",
        )
        for _ in range(runs):
            for pack in COLUMNS:
                features = f"model_trainer.analyst_models.features=[{pack}]"
                run = train(*options, "--set", "ray.num_cpus=1", "--set", features, models=1)
                found[pack] += run.record["outcomes"]
    return found


def lines(multiple: int, found: dict[str, Outcomes]) -> Iterator[str]:
    """Yield the lines of one length of history."""
    seconds = {pack: [one["cpu_seconds"] for one in of] for pack, of in found.items()}
    for pack, of in seconds.items():
        yield line(f"{pack}, a task at {multiple}x", of, "s")
    ratios = [longer / shorter for longer, shorter in zip(seconds["all"], seconds["default"], strict=True)]
    yield line(f"  all / default, at {multiple}x", ratios, "x", digits=2, at_most=LONGER if multiple == 1 else None)
    for pack, of in found.items():
        matrix = 4 * of[0]["rows"] * COLUMNS[pack] / 2**20
        peaks = [one["peak_rss_mb"] for one in of]
        yield line(f"{pack}, peak at {multiple}x", peaks, "MB", digits=0, at_most=MATRICES * matrix + FIXED_MB)
