"""[learners] Every algorithm as it comes, on the same real bars: what a fit costs, what is stored, and how good it is.

Log-loss is of shrunk probabilities out of fold, as in `choices`; holdouts are never looked at. Costs are CPU time of
one thread: of a fit on all rows before the holdout, and of loading the stored model until it has predicted a row.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from job.config.settings import Config
from job.core.environment import installed
from job.learning.estimators import ALGORITHMS, sequence_bars
from job.learning.features import resolve_features
from job.learning.fitting import fit_window
from job.learning.fleet import log_loss_delta_by_cluster
from job.learning.rows import inputs, labeled_rows, sort_samples, window
from job.learning.spec import ModelSpec
from job.registry.artifacts import dump, parse
from tests.bench.bars import real_files
from tests.bench.choices import Losses, bars_of, cell, out_of_fold
from tests.bench.table import Table
from transforms.bars import duration_us
from transforms.preparing import Preparation
from transforms.samples import make_samples

AGAINST: Final = "hist_gradient_boosting"
TIMEFRAMES: Final = ("1m", "15m")


@dataclass(frozen=True)
class Sizes:
    """How much is measured: symbols, and the last bars of each."""

    symbols: int
    bars: int | None


@dataclass(frozen=True)
class Learned:
    """What one algorithm came to on one symbol; `change` is its log-loss less that of `AGAINST`, by cluster."""

    fit_s: float
    stored_kb: float
    load_ms: float
    log_loss: float
    change: Losses


FULL: Final = Sizes(symbols=8, bars=None)
QUICK: Final = Sizes(symbols=2, bars=20_000)


def learned(file: Path, timeframe: str, *, last: int | None) -> dict[str, Learned]:
    """Return what each algorithm that is installed comes to on one symbol's default analyst."""
    default = Config().spec_of("analyst")
    bars, how = bars_of(file, last=last), Preparation(source="1m", timeframe=timeframe)
    features, found = resolve_features(default.features), {}
    for name in present():
        spec = default.model_copy(update={"algorithm": name})
        seen = sequence_bars(spec)
        made = make_samples(bars, how, features=features, label=default.label, sequence_bars=seen).frame
        found[name] = (out_of_fold(made, spec, timeframe), costs(made, spec))
    return {
        name: Learned(*cost, log_loss=float(np.mean(losses[1])), change=change(losses, found[AGAINST][0], timeframe))
        for name, (losses, cost) in found.items()
    }


def change(own: tuple[Any, Any], reference: tuple[Any, Any], timeframe: str) -> Losses:
    """Return how much an algorithm's losses are above the reference's, on rows that both have: sequences lack some."""
    times, mine, other = np.intersect1d(own[0], reference[0], return_indices=True)
    horizon = Config().spec_of("analyst").label.horizon
    return log_loss_delta_by_cluster(
        times, own[1][mine] - reference[1][other], horizon_bars=horizon, timeframe_us=duration_us(timeframe)
    )


def present() -> list[str]:
    """Return the algorithms whose libraries are installed."""
    return [name for name, one in ALGORITHMS.items() if one.library is None or installed(one.library)]


def costs(samples: pl.DataFrame, spec: ModelSpec) -> tuple[float, float, float]:
    """Return CPU seconds of a fit, kB of its artifact, and CPU ms of loading it."""
    (_, _, rows), algorithm = labeled_rows(sort_samples(samples), spec), ALGORITHMS[spec.algorithm]
    early = np.arange(int(len(rows.label) * (1 - spec.test_size)))
    scaler, training, _ = window(rows, early)
    first = inputs(rows, early[:1], scaler)
    with threadpool_limits(limits=1):
        started = time.process_time()
        model = fit_window(rows, early, scaler, spec, n_jobs=1, matrix=training)
        fitted = time.process_time()
        data = dump(model, format=algorithm.format)
        parse(data, format=algorithm.format, where="here").predict_proba(first)  # the first one imports
        stored = time.process_time()
        parse(data, format=algorithm.format, where="here").predict_proba(first)
        loaded = time.process_time()
    return fitted - started, len(data) / 1_000, 1_000 * (loaded - stored)


def measure(*, quick: bool) -> Table:
    """Fit and score all; no target, this is what a choice can rest on."""
    sizes = QUICK if quick else FULL
    return Table(
        "learners",
        f"{sizes.symbols} real symbols, direction(10) out of fold; change of log-loss against {AGAINST}",
        tuple(lines(sizes)),
    )


def lines(sizes: Sizes) -> Iterator[str]:
    yield f"{'':28} {'fit s':>7} {'kB':>7} {'load ms':>8} {'log-loss':>9}   better, change, z"
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for timeframe in TIMEFRAMES:
            work = partial(learned, timeframe=timeframe, last=sizes.bars)
            symbols = [*pool.map(work, real_files(sizes.symbols))]
            for name in present():
                yield row(f"{timeframe:4} {name}", [one[name] for one in symbols])
    for name in [name for name in ALGORITHMS if name not in present()]:
        yield f"{name}: its library is absent, pip install '.[{ALGORITHMS[name].extra}]'"


def row(name: str, found: Sequence[Learned]) -> str:
    """Return medians of costs, mean log-loss, and the change against `AGAINST`."""
    fit, size, load = (
        statistics.median(getattr(one, cost) for one in found) for cost in ("fit_s", "stored_kb", "load_ms")
    )
    loss = statistics.mean(one.log_loss for one in found)
    return f"{name:28} {fit:7.2f} {size:7.0f} {load:8.1f} {loss:9.5f}   {cell([one.change for one in found])}"
