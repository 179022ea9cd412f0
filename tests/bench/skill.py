"""Skill on real bars: for every kind and timeframe, how many symbols beat their base rate, raw, shrunk and logistic."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from job.config import Config, ModelSpec
from job.fleet import excess_by_cluster, fleet_z
from job.keys import Key
from job.metrics import row_log_loss
from job.training import train
from transforms.bars import clean, duration_us
from transforms.labels import Direction
from transforms.samples import make_samples

BARS: Final = Path(__file__).resolve().parents[3] / "shared" / "data" / "binance_futures_1m"
COLUMNS: Final = {"raw": "p_raw", "shrunk": "p", "logistic": "p_benchmark"}
Case = tuple[str, str, ModelSpec]
Excess = dict[str, dict[str, list[float]]]


def cases() -> Iterator[Case]:
    """Yield (name, timeframe, spec): the default models, and both default algorithms on direction(1) at 1m."""
    for kind, timeframe, spec in Config().model_specs():
        yield f"{kind} {timeframe} {name_of(spec)}", timeframe, spec
        if timeframe == "1m":
            next_bar = spec.model_copy(update={"label": replace(Direction(), horizon=1)})
            yield f"{kind} {timeframe} {name_of(next_bar)}", timeframe, next_bar


def name_of(spec: ModelSpec) -> str:
    """Return the algorithm and label of a spec."""
    return f"{spec.algorithm}, {spec.label.kind}({spec.label.horizon})"


def holdouts(file: Path) -> dict[str, Excess]:
    """Return, for each case, the log-loss over the base rate's on one symbol's holdout, by probability and cluster."""
    bars = clean(pl.read_ipc(file).with_columns(timestamp=pl.col("date").dt.cast_time_unit("us")).drop("date")).bars
    found: dict[str, Excess] = {}
    for name, timeframe, spec in cases():
        samples = make_samples(
            bars, source="1m", timeframe=timeframe, offset_us=0, features=spec.features, label=spec.label,
            max_fill=5, min_coverage=0.8, gaps="segment", start=None,
        ).frame  # fmt: skip
        key = Key("binance", file.name.split("-")[0], timeframe, name.split()[0])
        rows = train(samples, spec, key=key).holdout
        label = rows["label"].to_numpy()
        base = row_log_loss(label, rows["p_base"].to_numpy())
        found[name] = {
            how: excess_by_cluster(
                rows["available_at"].to_physical().to_numpy(),
                row_log_loss(label, np.asarray(rows[column])) - base,
                horizon_bars=spec.label.horizon,
                timeframe_us=duration_us(timeframe),
            )
            for how, column in COLUMNS.items()
        }
    return found


def run() -> None:
    """Print the table; below 0 is skill."""
    files = sorted(BARS.glob("*.feather"))
    if not files:
        print(f"\nskill: skipped, real bars are absent: {BARS.name}")
        return
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        symbols = list(pool.map(holdouts, files))
    print(
        f"\nskill: {len(files)} real symbols, holdout; change of log-loss against the base rate, z clustered by clock"
    )
    print(f"  {'model':56} " + "   ".join(f"{how:>23}" for how in COLUMNS))
    for name, _, _ in cases():
        columns = (cell([one[name][how] for one in symbols]) for how in COLUMNS)
        print(f"  {name:56} " + "   ".join(columns))


def cell(excesses: list[dict[str, list[float]]]) -> str:
    """Return symbols that beat the base rate, mean change and z."""
    won = sum(sum(change for _, change in one.values()) < 0 for one in excesses)
    fleet = fleet_z(excesses)
    return f"{won:2d}/{len(excesses)} {fleet.mean:+.5f} z {fleet.z:+5.1f}"
