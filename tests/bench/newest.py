"""[newest] One more day of bars for the default models of a symbol, beside a year of them in a file a day.

CPU seconds of the workers' steps, run one after the other in one process without Ray: to predict all bars anew; to
score the new bars alone, from reading them to probabilities; and to add their rows to the files in place, which have
the same rows as those made anew, to the last bit. Synthetic 1-minute bars; the models are trained first, on the last 30
days. Target: to score takes at most a quarter of predicting anew.
"""

import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import polars as pl

from job.cluster.connect import THREAD_LIMITS
from job.core.synth import EXCHANGE, make_bars
from tests.bench.processes import train
from tests.bench.table import Table, line
from tests.many import MODELS_A_SYMBOL

if TYPE_CHECKING:
    from job.predict.steps import FeaturesRow
    from job.worker.messages import Job

TARGET_PERCENT: Final = 25.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured; a run is a day."""

    days: int
    runs: int


FULL: Final = Sizes(days=365, runs=3)
QUICK: Final = Sizes(days=40, runs=1)


def measure(*, quick: bool) -> Table:
    """Train, and measure in a process of one thread."""
    sizes = QUICK if quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        to_come = write_days(Path(folder, "bars"), sizes)
        options = ("--lookback-days", "30") if sizes.days > 30 else ()
        train("--input", f"{folder}/bars", "--output", f"{folder}/models", *options, models=MODELS_A_SYMBOL)
        os.environ |= dict.fromkeys(THREAD_LIMITS, "1")
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            scored, added, anew = pool.submit(compare, Path(folder), to_come).result()
    return Table(
        "newest",
        f"a day for {MODELS_A_SYMBOL} models of a symbol, beside {sizes.days} days of 1-minute bars, CPU time",
        (
            line("to predict all bars anew", anew, "s"),
            line("to score the new bars", scored, "s", digits=2),
            line("  to score / anew", shares(scored, anew), "%", at_most=TARGET_PERCENT),
            line("to add rows to the files in place", added, "s", digits=2),
            line("  to add / anew", shares(added, anew), "%"),
        ),
    )


def shares(part: list[float], of: list[float]) -> list[float]:
    """Return percentages, run by run."""
    return [100 * one / other for one, other in zip(part, of, strict=True)]


def write_days(folder: Path, sizes: Sizes) -> list[pl.DataFrame]:
    """Write the history, a file a day, and return the bars of each day to come."""
    bars = make_bars(seed=1, days=sizes.days + sizes.runs, world="signal")
    days = [day for _, day in bars.group_by(pl.col("timestamp").dt.date(), maintain_order=True)]
    for day in days[: sizes.days]:
        write_day(folder, day)
    return days[sizes.days :]


def write_day(folder: Path, day: pl.DataFrame) -> None:
    """Write the bars of a day."""
    place = folder / f"exchange={EXCHANGE}" / "symbol=SYN00USDT"
    place.mkdir(parents=True, exist_ok=True)
    day.write_parquet(place / f"SYN00USDT-1m-{day['timestamp'][0]:%Y-%m-%d}.parquet")


def compare(folder: Path, to_come: list[pl.DataFrame]) -> tuple[list[float], list[float], list[float]]:
    """Return the seconds of scoring, of adding rows, and of all anew, day by day."""
    predict(folder, folder / "out")
    predict(folder, folder / "warm")
    scored, added, anew = list[float](), list[float](), list[float]()
    for number, day in enumerate(to_come):
        write_day(folder / "bars", day)
        scored.append(predict(folder, folder / "out", alone=True))
        added.append(predict(folder, folder / "out"))
        anew.append(predict(folder, folder / f"anew{number}"))
        for path in (folder / f"anew{number}").rglob("*.parquet"):
            if not pl.read_parquet(path).equals(pl.read_parquet(folder / "out" / path.relative_to(path.parents[4]))):
                raise SystemExit(f"newest: {path.name} differs")
    return scored, added, anew


def predict(folder: Path, output: Path, *, alone: bool = False) -> float:
    """Plan and predict in this process, and return the CPU seconds; `alone` writes nothing."""
    from job.cluster.bundles import by_series
    from job.config.settings import load_config
    from job.core.environment import versions
    from job.predict.plan import Request, plan
    from job.predict.steps import predict_task, prepare_features
    from job.worker.messages import Job, pack, unpack
    from job.worker.newest import read_newest_bars

    started = time.process_time()
    settings = {"data": {"input": f"{folder}/bars"}, "model_trainer": {"model_directory": f"{folder}/models"}}
    config = load_config(settings).with_absolute_paths()
    job = Job("20240101_000000_abcdef", config, str(output), versions())
    for bundle in by_series(plan(config, Request(str(output))).tasks):
        for bars in read_newest_bars(pack(bundle), job=job):
            for header, features in (row for one in prepare_features(bars, job=job) for row in unpack(one)):
                if alone:
                    score(header, features, job)
                elif (done := predict_task(header, features, job)).status != "predicted":
                    raise SystemExit(f"newest: {done}")
    return time.process_time() - started


def score(header: "FeaturesRow", features: pl.DataFrame, job: "Job") -> None:
    """Give the probabilities of the new rows."""
    from job.registry.catalog import open_registry
    from job.registry.versions import load
    from job.worker.scorer import Scorer

    if header.adds is None:
        raise SystemExit("newest: all bars were read")
    task = header.task
    model, scaler, metadata = load(open_registry(job.config), task.model, task.version)
    Scorer.of(task.model, model, scaler, metadata, job.config.data).predict(features, task.key)
