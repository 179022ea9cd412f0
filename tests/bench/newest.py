"""[newest] One more day of bars: predicted by 80 models into the files in place, and anew, over half a year of bars.

Synthetic 1-minute bars of 16 symbols, in a file a day. The models are trained first, on the last 30 days, and the files
made, which is not timed. Both ways give the same rows, to the last bit. Target: a quarter of the CPU time.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from job.core.synth import EXCHANGE, make_bars
from tests.bench.predict import predict, record_of
from tests.bench.processes import Command, train
from tests.bench.table import Table, line
from tests.many import MODELS_A_SYMBOL

TARGET_PERCENT: Final = 25.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    symbols: int
    days: int
    runs: int


FULL: Final = Sizes(symbols=16, days=180, runs=3)
QUICK: Final = Sizes(symbols=1, days=40, runs=1)


def measure(*, quick: bool) -> Table:
    """Predict, then add a day and predict both ways, as often as there are runs."""
    sizes = QUICK if quick else FULL
    models = sizes.symbols * MODELS_A_SYMBOL
    with tempfile.TemporaryDirectory() as folder:
        bars, output = Path(folder, "bars"), Path(folder, "out")
        ahead = [write_days(bars, number, sizes) for number in range(sizes.symbols)]
        train("--input", str(bars), "--output", f"{folder}/models", "--lookback-days", "30", models=models)
        common = ("--models", f"{folder}/models", "--input", str(bars))
        first = counted(predict(*common, "--output", str(output)), models)
        added, anew = list[Command](), list[Command]()
        for run in range(sizes.runs):
            for days in ahead:
                write_day(bars, *days[run])
            added.append(counted(predict(*common, "--output", str(output)), models))
            anew.append(counted(predict(*common, "--output", f"{folder}/anew{run}"), models))
            check_equal(output, Path(folder, f"anew{run}"))
        rows = sum(outcome["rows"] for outcome in record_of(first)["outcomes"])
    shares = [100 * one.cpu / all_of.cpu for one, all_of in zip(added, anew, strict=True)]
    return Table(
        "newest",
        f"one more day for {models} models, beside {rows:,} predictions of {sizes.days} days",
        (
            line("CPU time, added to the files in place", [one.cpu for one in added], "s"),
            line("CPU time, anew", [one.cpu for one in anew], "s"),
            line("  added / anew", shares, "%", at_most=TARGET_PERCENT),
            line("wall time, added", [one.wall for one in added], "s"),
            line("wall time, anew", [one.wall for one in anew], "s"),
        ),
    )


def write_days(folder: Path, number: int, sizes: Sizes) -> list[tuple[str, pl.DataFrame]]:
    """Write a symbol's history, a file a day, and return its name with the bars of each day to come."""
    name = f"SYN{number:02d}USDT"
    bars = make_bars(seed=1, symbol=number, days=sizes.days + sizes.runs, world="signal")
    days = [day for _, day in bars.group_by(pl.col("timestamp").dt.date(), maintain_order=True)]
    for day in days[: sizes.days]:
        write_day(folder, name, day)
    return [(name, day) for day in days[sizes.days :]]


def write_day(folder: Path, name: str, day: pl.DataFrame) -> None:
    """Write the bars of a day."""
    place = folder / f"exchange={EXCHANGE}" / f"symbol={name}"
    place.mkdir(parents=True, exist_ok=True)
    day.write_parquet(place / f"{name}-1m-{day['timestamp'][0]:%Y-%m-%d}.parquet")


def counted(done: Command, files: int) -> Command:
    """Return a command that made so many files; SystemExit where it did not."""
    counts = record_of(done)["counts"]
    if counts["predicted"] != files:
        raise SystemExit(f"newest: expected {files} files, got {counts}")
    return done


def check_equal(one: Path, other: Path) -> None:
    """SystemExit where two folders of predictions differ in a single bit."""
    for path in other.rglob("*.parquet"):
        if not pl.read_parquet(path).equals(pl.read_parquet(one / path.relative_to(other))):
            raise SystemExit(f"newest: {path.relative_to(other)} differs")
