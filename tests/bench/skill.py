"""[skill] On real bars, for every kind and timeframe: how many symbols beat their base rate, raw, shrunk, logistic."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from job.config.settings import Config
from job.core.keys import Key
from job.learning.features import resolve_features
from job.learning.fleet import fleet_test, log_loss_delta_by_cluster
from job.learning.metrics import row_log_loss
from job.learning.spec import ModelSpec
from job.learning.training import train
from tests.bench.bars import real_files
from tests.bench.table import Table
from transforms.bars import clean, duration_us
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.samples import make_samples

COLUMNS: Final = {"raw": "p_raw", "shrunk": "p", "logistic": "p_benchmark"}
CELL: Final = 20
"""Columns of a cell."""
Case = tuple[str, str, ModelSpec]
LogLossDelta = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured: symbols, and the last bars of each."""

    symbols: int
    bars: int | None


FULL: Final = Sizes(symbols=16, bars=None)
QUICK: Final = Sizes(symbols=2, bars=20_000)


def cases() -> Iterator[Case]:
    """Yield (name, timeframe, spec): the default models, and both default algorithms on direction(1) at 1m."""
    for kind, timeframe, spec in Config().model_specs():
        yield name_of(kind, timeframe, spec), timeframe, spec
        if timeframe == "1m":
            next_bar = spec.model_copy(update={"label": replace(Direction(), horizon=1)})
            yield name_of(kind, timeframe, next_bar), timeframe, next_bar


def name_of(kind: str, timeframe: str, spec: ModelSpec) -> str:
    """Return a model's kind, timeframe and label."""
    return f"{kind} {timeframe} {spec.label.kind}({spec.label.horizon})"


def holdouts(file: Path, *, last: int | None) -> dict[str, LogLossDelta]:
    """Return, for each case, the log-loss over the base rate's on one symbol's holdout, by probability and cluster."""
    raw = pl.read_ipc(file).with_columns(timestamp=pl.col("date").dt.cast_time_unit("us"))
    bars = clean(raw.drop("date").tail(last or raw.height)).bars
    found: dict[str, LogLossDelta] = {}
    for name, timeframe, spec in cases():
        how = Preparation(source="1m", timeframe=timeframe)
        samples = make_samples(bars, how, features=resolve_features(spec.features), label=spec.label).frame
        key = Key("binance", file.name.split("-")[0], timeframe, name.split()[0])
        rows = train(samples, spec, key=key).holdout
        label = rows["label"].to_numpy()
        base = row_log_loss(label, rows["p_base"].to_numpy())
        found[name] = {
            probability: log_loss_delta_by_cluster(
                rows["available_at"].to_physical().to_numpy(),
                row_log_loss(label, np.asarray(rows[column])) - base,
                horizon_bars=spec.label.horizon,
                timeframe_us=duration_us(timeframe),
            )
            for probability, column in COLUMNS.items()
        }
    return found


def measure(*, quick: bool) -> Table:
    """Train and score all; no target, this is what the bars hold."""
    sizes = QUICK if quick else FULL
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        symbols = list(pool.map(partial(holdouts, last=sizes.bars), real_files(sizes.symbols)))
    rows = [
        f"{name:32} " + "   ".join(cell([one[name][how] for one in symbols]) for how in COLUMNS)
        for name, _, _ in cases()
    ]
    header = f"{'model':32} " + "   ".join(f"{how:>{CELL}}" for how in COLUMNS)
    return Table(
        "skill",
        f"{sizes.symbols} real symbols, holdout: winners, change of log-loss against the base rate, clustered z",
        (header, *rows),
    )


def cell(log_loss_deltas: list[dict[str, list[float]]]) -> str:
    """Return symbols that beat the base rate, mean change and z."""
    won = sum(sum(change for _, change in one.values()) < 0 for one in log_loss_deltas)
    fleet = fleet_test(log_loss_deltas)
    return f"{won:2d}/{len(log_loss_deltas):<2d} {fleet.mean:+.5f} {fleet.z:+5.1f}"
