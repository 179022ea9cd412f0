"""[choices] What defaults were chosen by: out-of-fold log-loss of a few settings, paired against today's.

Each setting is fitted on the same walk-forward folds of the 16 real symbols; their holdouts are never looked at. A
difference is of shrunk probabilities, row by row, tested over clusters of the clock. All settings that were tried are
in `SETTINGS`.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from job.config.settings import Config
from job.learning.context import origins
from job.learning.features import expand_features, resolve_features
from job.learning.fitting import evaluate
from job.learning.fleet import log_loss_delta_by_cluster
from job.learning.metrics import row_log_loss
from job.learning.rows import labeled_rows, sort_samples, splits_of
from job.learning.spec import ModelSpec
from job.learning.training import shrink_all
from tests.bench import skill
from tests.bench.bars import real_files
from tests.bench.table import Table
from transforms.bars import clean, duration_us
from transforms.clock import CLOCK
from transforms.context import Beside, known_features, longer_bars, market, market_sums, moves
from transforms.features.compute import available
from transforms.features.feature import WARM
from transforms.labels import Direction, TripleBarrier
from transforms.preparing import Preparation
from transforms.samples import make_samples

Losses = dict[str, list[float]]


@dataclass(frozen=True)
class Setting:
    """What is tried beside a kind's defaults."""

    features: tuple[str, ...] = ("default",)
    update: Mapping[str, Any] = field(default_factory=dict)


LEADER: Final = "BTC"
"""The series that others are seen beside."""
MODELS: Final = (
    ("5m direction(10)", "5m", "analyst", Direction(horizon=10)),
    ("1m direction(10)", "1m", "analyst", Direction(horizon=10)),
    ("1m direction(1)", "1m", "analyst", Direction(horizon=1)),
    ("15m direction(10)", "15m", "analyst", Direction(horizon=10)),
    ("1h direction(10)", "1h", "analyst", Direction(horizon=10)),
    ("1m triple_barrier", "1m", "tactician", TripleBarrier()),
)
SETTINGS: Final[Mapping[str, Setting]] = {
    "market": Setting(("default", "market")),
    "leader": Setting(("default", f"default@{LEADER}")),
    "market, leader": Setting(("default", "market", f"default@{LEADER}")),
    "volatility": Setting(("default", "volatility")),
    "calendar": Setting(("default", "calendar")),
    "1h": Setting(("default", "default@1h")),
    "alpha158": Setting(("alpha158",)),
    "all": Setting(("all", "market")),
    "logistic": Setting(update={"algorithm": "logistic_regression"}),
    "logistic, market, leader": Setting(
        ("default", "market", f"default@{LEADER}"), {"algorithm": "logistic_regression"}
    ),
}


@dataclass(frozen=True)
class Sizes:
    """How much is measured: symbols, the last bars of each, and kinds of models."""

    symbols: int
    bars: int | None
    models: int = len(MODELS)


FULL: Final = Sizes(symbols=16, bars=None)
QUICK: Final = Sizes(symbols=3, bars=20_000, models=1)


def bars_of(file: Path, *, last: int | None) -> pl.DataFrame:
    raw = pl.read_ipc(file).with_columns(timestamp=pl.col("date").dt.cast_time_unit("us"))
    return clean(raw.drop("date").tail(last or raw.height)).bars


def moves_of(file: Path, timeframe: str, *, last: int | None) -> pl.DataFrame:
    return moves(bars_of(file, last=last), Preparation(source="1m", timeframe=timeframe))


def samples_of(
    file: Path, names: Sequence[str], timeframe: str, label: Any, sums: pl.DataFrame, *, members: int, last: int | None
) -> tuple[pl.DataFrame, list[str]]:
    """Return a symbol's samples with all features that any setting sees, and their names."""
    bars, seen = bars_of(file, last=last), origins(names)
    how = Preparation(source="1m", timeframe=timeframe)
    own, _ = available(resolve_features(seen.own), (*bars.columns, *CLOCK[:2]))
    beside: list[Beside] = []
    for longer, of_longer in seen.longer.items():
        if duration_us(longer) > duration_us(timeframe):
            beside.append(longer_bars(bars, how, longer, resolve_features(of_longer), tolerance=WARM))
    for symbol, of_other in seen.others.items():
        if not file.name.startswith(symbol):
            other = bars_of(next(file.parent.glob(f"{symbol}_*")), last=last)
            known = known_features(other, how, resolve_features(of_other), tolerance=WARM)
            beside.append(Beside(known.select("available_at", pl.exclude("available_at").name.suffix(f"@{symbol}"))))
    beside.append(market(moves(bars, how), sums, members, seen.market))
    made = make_samples(bars, how, features=own, label=label, beside=beside)
    return made.frame, [name for name in made.frame.columns if name not in {"timestamp", "available_at"}]


def compared(file: Path, model: str, sums: pl.DataFrame, *, members: int, last: int | None) -> dict[str, Losses]:
    """Return, for each setting, its log-loss less that of today's on a symbol's out-of-fold rows, by cluster."""
    _, timeframe, kind, label = next(one for one in MODELS if one[0] == model)
    default = Config().spec_of(kind).model_copy(update={"label": label})
    specs = {
        name: default.model_copy(update={"features": expand_features(one.features), **one.update})
        for name, one in SETTINGS.items()
    }
    names = expand_features([name for spec in (default, *specs.values()) for name in spec.features])
    samples, known = samples_of(file, names, timeframe, label, sums, members=members, last=last)
    times, today = out_of_fold(samples, default, timeframe)
    found = {}
    for name, spec in specs.items():
        kept = tuple(one for one in spec.features if one in known)
        _, loss = out_of_fold(samples, spec.model_copy(update={"features": kept}), timeframe)
        found[name] = log_loss_delta_by_cluster(
            times, loss - today, horizon_bars=label.horizon, timeframe_us=duration_us(timeframe)
        )
    return found


def out_of_fold(samples: pl.DataFrame, spec: ModelSpec, timeframe: str) -> tuple[Any, Any]:
    """Return times and log-loss of all out-of-fold rows."""
    _, _, rows = labeled_rows(sort_samples(samples), spec)
    splits = splits_of(rows, spec, timeframe)
    with threadpool_limits(limits=1):
        made = [evaluate(rows, fold, spec, n_jobs=1) for fold in splits.folds]
    folds = shrink_all([*made, made[-1]], fitted=True).folds  # it takes a holdout, which there is none of here
    return (
        np.concatenate([rows.available_at[one.fold.test] for one in folds]),
        np.concatenate([row_log_loss(one.label, one.p) for one in folds]),
    )


def measure(*, quick: bool) -> Table:
    """Fit and score all; no target, this is what the choice rests on."""
    sizes = QUICK if quick else FULL
    return Table(
        "choices",
        f"{sizes.symbols} real symbols, out-of-fold: winners, change of log-loss against today's, clustered z",
        tuple(lines(sizes)),
    )


def lines(sizes: Sizes) -> Iterator[str]:
    files = real_files(sizes.symbols)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for model, timeframe, _, _ in MODELS[: sizes.models]:
            sums = market_sums([*pool.map(partial(moves_of, timeframe=timeframe, last=sizes.bars), files)])
            symbols = [*pool.map(partial(compared, model=model, sums=sums, members=len(files), last=sizes.bars), files)]
            for name in SETTINGS:
                yield f"{model:20} {name:28} {cell([one[name] for one in symbols])}"


def cell(deltas: list[Losses]) -> str:
    """Return on how many symbols a setting is better, mean change and z."""
    same = all(change == 0 for one in deltas for _, change in one.values())
    return "the same" if same else skill.cell(deltas)
