"""[features] The 20 features alone, one thread: `add_features` on segmented bars, pandas (`plain`), and TA-Lib.

Nanoseconds a value, that is a bar and feature. TA-Lib has 18 of the 20; its functions are called on NumPy arrays and
joined by NumPy to the same numbers. Ours also numbers the bars of segments, masks warm-ups, and casts to float32.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import numpy as np

from job.cluster.connect import THREAD_LIMITS
from job.core.synth import make_bars
from tests.bench.table import Table, line
from transforms.features import DEFAULT_FEATURES, PACKS
from transforms.features.compute import add_features
from transforms.segments import segment

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    days: int
    runs: int


FULL: Final = Sizes(days=30, runs=15)
QUICK: Final = Sizes(days=10, runs=3)


def measure(*, quick: bool) -> Table:
    """Measure in a process of one thread: Polars counts its threads when it is imported."""
    sizes = QUICK if quick else FULL
    os.environ |= dict.fromkeys(THREAD_LIMITS, "1")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        nanoseconds = pool.submit(compare, sizes).result()
    polars, pandas, talib = nanoseconds
    return Table(
        "features",
        f"20 features of {sizes.days * 1440:,} bars, one thread",
        (
            line("transforms.features, Polars", polars, "ns"),
            line("pandas", pandas, "ns"),
            line("TA-Lib and NumPy, 18 of the features", talib, "ns"),
            line("pandas / ours", [one / other for one, other in zip(pandas, polars, strict=True)], "x"),
            line("ours / TA-Lib", [one / other for one, other in zip(polars, talib, strict=True)], "x"),
        ),
    )


def compare(sizes: Sizes) -> list[list[float]]:
    """Return nanoseconds a value of each way, run in turn."""
    from tests.bench.plain import make_features  # brings Ray

    bars = make_bars(seed=1, days=sizes.days)
    segmented, frame = segment(bars, timeframe="1m"), bars.to_pandas()
    close, volume = bars["close"].to_numpy(), bars["volume"].to_numpy()
    ways: list[tuple[int, Callable[[], object]]] = [
        (len(DEFAULT_FEATURES), lambda: add_features(segmented, PACKS["default"])),
        (len(DEFAULT_FEATURES), lambda: make_features(frame)),
        (len(talib_features(close, volume)), lambda: talib_features(close, volume)),
    ]
    rounds = [[seconds(way) / (values * bars.height) * 1e9 for values, way in ways] for _ in range(sizes.runs)]
    return [list(way) for way in zip(*rounds, strict=True)]


def seconds(way: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def talib_features(close: Floats, volume: Floats) -> dict[str, Floats]:
    """Return the features that TA-Lib has functions for; sample deviations, as ours."""
    import talib

    log_returns = np.diff(np.log(close))
    features = {f"change_{bars}": talib.ROCP(close, bars) for bars in (1, 2, 3, 5, 10)}
    for bars in (5, 10, 20):
        features[f"close_ma_{bars}"] = close / talib.SMA(close, bars) - 1
        features[f"volume_ma_{bars}"] = volume / talib.SMA(volume, bars) - 1
        features[f"volatility_{bars}"] = talib.STDDEV(log_returns, bars) * np.sqrt(bars / (bars - 1))
    features["rsi_14"] = talib.RSI(close, 14)
    lines = zip(("macd", "macd_signal", "macd_histogram"), talib.MACD(close, 12, 26, 9), strict=True)
    return features | {name: values / close for name, values in lines}
