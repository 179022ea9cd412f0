"""Synthetic worlds put through the default models: what the tests of leaks and of skill look at."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import Any, Literal, TypeVar

import numpy as np
import polars as pl

from job.config.settings import Config
from job.core.keys import Key
from job.core.synth import make_bars
from job.learning.features import resolve_features
from job.learning.spec import ModelSpec
from job.learning.training import Trained, train
from tests.oracles_worlds import last_return_rule
from transforms.bars import clean, duration_us
from transforms.clock import CLOCK
from transforms.context import (
    MARKET_FEATURES,
    Beside,
    known_features,
    longer_bars,
    market,
    market_sums,
    moves,
)
from transforms.features import PACKS
from transforms.features.compute import available
from transforms.features.feature import WARM
from transforms.preparing import Preparation
from transforms.resampling import resample
from transforms.samples import make_samples

T = TypeVar("T")
A = TypeVar("A")
SEED = 20_240
DETECTOR: dict[str, Any] = {"params": {"min_samples_leaf": 1}, "n_estimators": 30, "cv_folds": 1, "max_depth": None}
"""A forest that remembers every row: of no use as a model, and quick to find what it should not be able to see."""


def in_two_processes(work: Callable[[A], T], items: Iterable[A]) -> list[T]:
    """Return `work` of every item, two at a time, in order."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(work, items))


def world(symbol: int, *, days: int, kind: Literal["noise", "signal"]) -> pl.DataFrame:
    """Return clean 1-minute bars of one symbol."""
    return clean(make_bars(seed=SEED, symbol=symbol, days=days, world=kind), timeframe="1m").bars


def specs() -> Iterator[tuple[str, str, ModelSpec]]:
    """Yield kind, timeframe and spec of the default models."""
    yield from Config().model_specs()


def samples_for(bars: pl.DataFrame, timeframe: str, spec: ModelSpec) -> pl.DataFrame:
    """Return the samples of one model."""
    how = Preparation(source="1m", timeframe=timeframe)
    return make_samples(bars, how, features=resolve_features(spec.features), label=spec.label).frame


def everything_for(symbol: int, timeframe: str, spec: ModelSpec, *, days: int) -> tuple[pl.DataFrame, ModelSpec]:
    """Return samples of noise with all packs and every kind of context, and the spec of a model that sees them all."""
    worlds = [world(other, days=days, kind="noise") for other in range(symbol, symbol + 4)]
    rng = np.random.default_rng(symbol)
    volume = pl.col("volume")
    own = worlds[0].with_columns(
        quote_volume=volume * (pl.col("high") + pl.col("low")) / 2,
        trades=volume.round(),
        taker_buy_volume=volume * pl.Series(rng.random(worlds[0].height)),
    )
    how = Preparation(source="1m", timeframe=timeframe)
    longer = f"{4 * duration_us(timeframe) // 60_000_000}m"
    other = known_features(worlds[1], how, PACKS["default"], tolerance=WARM)
    parts = [moves(one, how) for one in (own, *worlds[1:])]
    beside = [
        longer_bars(own, how, longer, PACKS["default"][:10], tolerance=WARM),
        Beside(other.select("available_at", pl.exclude("available_at").name.suffix("@OTHER"))),
        market(parts[0], market_sums(parts), len(parts), MARKET_FEATURES),
    ]
    features, _ = available(PACKS["all"], (*own.columns, *CLOCK[:2]))
    made = make_samples(own, how, features=features, label=spec.label, beside=beside).frame
    names = tuple(name for name in made.columns if name not in {"timestamp", "available_at", "label", "label_end"})
    return made, spec.model_copy(update={"features": names})


def model_of(samples: pl.DataFrame, symbol: int, kind: str, timeframe: str, spec: ModelSpec) -> Trained:
    """Train one model."""
    return train(samples, spec, key=Key("synthetic", f"SYN{symbol:02d}", timeframe, kind))


def rule_for(bars: pl.DataFrame, timeframe: str, horizon: int) -> pl.DataFrame:
    """Return the forecast `the next h bars go the way of the last h` at every bar of a timeframe."""
    bar = timedelta(microseconds=duration_us(timeframe))
    joined = resample(bars, source="1m", timeframe=timeframe).bars
    return last_return_rule(joined, bar=bar, horizon=horizon)
