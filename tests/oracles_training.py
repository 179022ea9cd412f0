"""Slow, obvious versions of what splits, metrics and training compute, and synthetic samples for them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from job.core.keys import Key
from job.learning.forests.binning import Binned
from job.learning.forests.counts import by_class
from job.learning.forests.trees import bootstrap
from job.learning.spec import ModelSpec
from transforms.labels import Direction

MINUTE_US = 60_000_000
START_US = 1_700_000_000_000_000 // MINUTE_US * MINUTE_US
KEY = Key("synthetic", "X", "1m", "analyst")
FEATURES = ("return_1", "return_2", "noise_1", "noise_2")


def weighted_draws(weight: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return how often a tree draws each row of these weights."""
    rows = len(weight)
    root = bootstrap(Binned(np.empty((0, rows), np.uint8), [], np.ones(rows, np.int64), weight), random)
    draws = np.zeros(rows, np.int64)
    draws[root.row] = by_class(root.counts)[0]
    return draws


def model_spec(algorithm: str = "random_forest", **settings: Any) -> ModelSpec:
    """Return the default settings of a model on `FEATURES`, with `settings` on top; forests of 20 trees."""
    defaults = {
        "n_estimators": 20,
        "max_depth": 10,
        "params": {},
        "engine": "histogram",
        "label": Direction(horizon=3),
        "features": FEATURES,
        "test_size": 0.2,
        "cv_folds": 3,
        "embargo": 0,
        "random_state": 42,
        "calibrate": "shrink",
        "refit": False,
    }
    return ModelSpec(algorithm=algorithm, **(defaults | settings))


def made_samples(rows: int, *, seed: int = 0, signal: float = 0.0, horizon: int = 3) -> pl.DataFrame:
    """Return samples a minute apart; log-odds of up are `signal` times the first feature."""
    random = np.random.default_rng(seed)
    features = random.standard_normal((rows, len(FEATURES))).astype(np.float32)
    up = random.uniform(size=rows) < 1 / (1 + np.exp(-signal * features[:, 0]))
    time = START_US + MINUTE_US * np.arange(rows)
    return pl.DataFrame(
        {
            "available_at": pl.Series(time).cast(pl.Datetime("us", "UTC")),
            "label": up.astype(np.int8),
            "label_end": pl.Series(time + horizon * MINUTE_US).cast(pl.Datetime("us", "UTC")),
            **dict(zip(FEATURES, features.T.copy(), strict=True)),
        }
    )


def random_walk_samples(rows: int, *, seed: int, horizon: int) -> pl.DataFrame:
    """Return direction(`horizon`) samples of a random walk; the features are its past and cannot foretell it.

    Labels of neighbouring rows share most of their bars, as do features: what a shuffled split turns into skill.
    """
    random = np.random.default_rng(seed)
    walk = random.standard_normal(rows + horizon + 50).cumsum()
    now = np.arange(50, 50 + rows)
    frame = made_samples(rows, seed=seed, horizon=horizon)
    past = {
        name: (walk[now] - walk[now - lag]).astype(np.float32)
        for name, lag in zip(FEATURES, (5, 10, 20, 50), strict=True)
    }
    return frame.with_columns(label=pl.Series((walk[now + horizon] > walk[now]).astype(np.int8)), **past)


def purged_train(
    available_at: npt.NDArray[np.int64], label_end: npt.NDArray[np.int64], first_test: int, embargo_us: int
) -> list[int]:
    """Row numbers that may train before `first_test`, one by one."""
    return [
        row
        for row, (time, end) in enumerate(zip(available_at.tolist(), label_end.tolist(), strict=True))
        if time < first_test and end + embargo_us <= first_test
    ]


def circular_block_bootstrap(
    times: npt.NDArray[np.int64],
    statistic: Callable[[npt.NDArray[np.intp]], float],
    *,
    block: int,
    draws: int,
    random: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Return `statistic(row numbers)` on series of whole blocks of distinct times drawn with replacement."""
    distinct = np.unique(times)
    rows_at = [np.flatnonzero(times == time) for time in distinct]
    results = []
    for _ in range(draws):
        starts = random.integers(len(distinct), size=len(distinct) // block)
        chosen = [rows_at[(start + step) % len(distinct)] for start in starts for step in range(block)]
        results.append(statistic(np.concatenate(chosen)))
    return np.array(results)


def expected_weight(label: npt.NDArray[np.int8], p: npt.NDArray[np.float64], base: float) -> float:
    """Mean of the posterior of the shrinking weight on a grid of 10,001, flat before."""
    z = np.log(base / (1 - base))
    distance = np.log(p / (1 - p)) - z
    grid = np.linspace(0, 1, 10_001)
    log_likelihood = np.array(
        [-np.log1p(np.exp(np.where(label == 1, -1, 1) * (z + weight * distance))).sum() for weight in grid]
    )
    posterior = np.exp(log_likelihood - log_likelihood.max())
    return float((grid * posterior).sum() / posterior.sum())
