"""Synthetic worlds put through the default models: what the tests of leaks and of skill look at."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from multiprocessing import get_context
from typing import Any, Literal, TypeVar

import polars as pl

from job.config.settings import Config
from job.core.keys import Key
from job.core.synth import make_bars
from job.learning.features import resolve_features
from job.learning.spec import ModelSpec
from job.learning.training import Trained, train
from tests.oracles_worlds import last_return_rule
from transforms.bars import clean, duration_us
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
    return make_samples(
        bars, source="1m", timeframe=timeframe, offset_us=0, features=resolve_features(spec.features), label=spec.label,
        max_fill=5, min_coverage=0.8, gaps="segment", start=None,
    ).frame  # fmt: skip


def model_of(samples: pl.DataFrame, symbol: int, kind: str, timeframe: str, spec: ModelSpec) -> Trained:
    """Train one model."""
    return train(samples, spec, key=Key("synthetic", f"SYN{symbol:02d}", timeframe, kind))


def rule_for(bars: pl.DataFrame, timeframe: str, horizon: int) -> pl.DataFrame:
    """Return the forecast `the next h bars go the way of the last h` at every bar of a timeframe."""
    bar = timedelta(microseconds=duration_us(timeframe))
    joined = resample(bars, source="1m", timeframe=timeframe).bars
    return last_return_rule(joined, bar=bar, horizon=horizon)
