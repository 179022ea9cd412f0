"""[features] Features alone, one thread: `add_features` on segmented bars, pandas (`pandas_packs`), and TA-Lib.

Nanoseconds of CPU time a value, that is a bar and feature: of the 20 default features, and of all packs. Memory is
given back between calls as in a worker, so that what mapping it anew costs is counted. Targets are half of what was
taken when workers gave it back at once: pandas took .7 times as long for the default features, and all took 46.2 ns.
TA-Lib has 18 of the 20; its functions are called on NumPy arrays and joined by NumPy to the same numbers. Ours also
numbers the bars of segments, masks warm-ups, defines what pandas leaves NaN or infinite, and casts to float32.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Final

import numpy as np
import polars as pl

from job.cluster.connect import ALLOCATOR, THREAD_LIMITS
from job.core.synth import make_bars
from tests.bench.table import Table, line
from tests.oracles_transforms import random_flow
from transforms.clock import CLOCK, add_clock
from transforms.features import DEFAULT_FEATURES, PACKS
from transforms.features.compute import add_features
from transforms.segments import segment
from transforms.sessions import Sessions

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    days: int
    runs: int


FULL: Final = Sizes(days=30, runs=15)
QUICK: Final = Sizes(days=10, runs=3)


def measure(*, quick: bool) -> Table:
    """Measure in a process of one thread and a worker's memory: Polars reads both settings when it is imported."""
    sizes = QUICK if quick else FULL
    os.environ |= {**dict.fromkeys(THREAD_LIMITS, "1"), **ALLOCATOR}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        nanoseconds = pool.submit(compare, sizes).result()
    polars, pandas, talib, all_polars, all_pandas, quick_pandas = nanoseconds
    return Table(
        "features",
        f"{sizes.days * 1440:,} bars, one thread, CPU time a value",
        (
            line("20 default features, Polars", polars, "ns"),
            line("  pandas", pandas, "ns"),
            line("  TA-Lib and NumPy, 18 of them", talib, "ns"),
            line(
                "  pandas / ours", [one / other for one, other in zip(pandas, polars, strict=True)], "x", at_least=1.4
            ),
            line("  ours / TA-Lib", [one / other for one, other in zip(polars, talib, strict=True)], "x"),
            line(f"all {len(PACKS['all'])} features, Polars", all_polars, "ns", at_most=23),
            line("  pandas", all_pandas, "ns"),
            line(
                "  pandas / ours",
                [one / other for one, other in zip(all_pandas, all_polars, strict=True)],
                "x",
                at_least=15,
            ),
            line("  pandas, regressions by cov and corr", quick_pandas, "ns"),
            line("  that / ours", [one / other for one, other in zip(quick_pandas, all_polars, strict=True)], "x"),
        ),
    )


def compare(sizes: Sizes) -> list[list[float]]:
    """Return nanoseconds a value of each way, run in turn."""
    from tests.bench.pandas_packs import PANDAS, alpha158, by_covariance  # brings Ray

    bars = make_bars(seed=1, days=sizes.days)
    flow = random_flow(1, {name: bars[name].to_numpy() for name in ("high", "low", "volume")})
    segmented = segment(bars.with_columns(pl.Series(name, values) for name, values in flow.items()), timeframe="1m")
    opened = Sessions("UTC", ((60, 1380),))
    segmented = add_clock(segmented, CLOCK, zone="UTC", gaps=opened)
    frame = segmented.to_pandas()
    close, volume = bars["close"].to_numpy(), bars["volume"].to_numpy()
    others = [make for name, make in PANDAS.items() if name != "alpha158"]
    ways: list[tuple[float, Callable[[], object]]] = [
        (len(DEFAULT_FEATURES), lambda: add_features(segmented, PACKS["default"])),
        (len(DEFAULT_FEATURES), lambda: PANDAS["default"](frame)),
        (len(talib_features(close, volume)), lambda: talib_features(close, volume)),
        (len(PACKS["all"]), lambda: add_features(segmented, PACKS["all"])),
        (len(PACKS["all"]), lambda: [make(frame) for make in PANDAS.values()]),
        (len(PACKS["all"]), lambda: [alpha158(frame, by_covariance), *(make(frame) for make in others)]),
    ]
    with np.errstate(all="ignore"):
        rounds = [[seconds(way) / (values * bars.height) * 1e9 for values, way in ways] for _ in range(sizes.runs)]
    return [list(way) for way in zip(*rounds, strict=True)]


def seconds(way: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    started = time.process_time()
    way()
    return time.process_time() - started


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
