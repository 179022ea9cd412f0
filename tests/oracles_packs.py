"""Slow, obvious versions of the features of all packs but the default one."""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from typing import Final

from tests.oracles_transforms import Row, ema

Oracle = Callable[[list[Row]], float]
"""Value of a feature at the last of the bars of its segment so far."""


def parkinson(bars: Sequence[Row]) -> float:
    return math.sqrt(statistics.fmean(math.log(bar["high"] / bar["low"]) ** 2 for bar in bars) / (4 * math.log(2)))


def garman_klass(bars: Sequence[Row]) -> float:
    estimates = [
        0.5 * math.log(bar["high"] / bar["low"]) ** 2
        - (2 * math.log(2) - 1) * math.log(bar["close"] / bar["open"]) ** 2
        for bar in bars
    ]
    return math.sqrt(statistics.fmean(estimates))


def rogers_satchell(bars: Sequence[Row]) -> float:
    estimates = []
    for bar in bars:
        up, down, close = (math.log(bar[name] / bar["open"]) for name in ("high", "low", "close"))
        estimates.append(up * (up - close) + down * (down - close))
    return math.sqrt(max(statistics.fmean(estimates), 0))


def log_returns(past: Sequence[Row], bars: int) -> list[float]:
    closes = [bar["close"] for bar in past[-bars - 1 :]]
    return [math.log(after / before) for before, after in itertools.pairwise(closes)]


def deviation(past: Sequence[Row], bars: int) -> float:
    return statistics.stdev(log_returns(past, bars))


def atr(past: Sequence[Row]) -> float:
    ranges = [
        max(bar["high"], before["close"]) - min(bar["low"], before["close"]) for before, bar in itertools.pairwise(past)
    ]
    return ema(ranges, 1 / 14)[-1] / float(past[-1]["close"])


def normal_return(past: Sequence[Row], bars: int) -> float:
    return sum(log_returns(past, bars)) / (deviation(past, 60) * math.sqrt(bars))


ORACLES: Final[dict[str, Oracle]] = {
    **{
        f"{estimate.__name__}_{bars}": lambda past, estimate=estimate, bars=bars: estimate(past[-bars:])  # type: ignore[misc]
        for estimate in (parkinson, garman_klass, rogers_satchell)
        for bars in (10, 20, 60)
    },
    "atr_14": atr,
    **{f"normal_return_{bars}": lambda past, bars=bars: normal_return(past, bars) for bars in (1, 5, 15)},  # type: ignore[misc]
    **{
        f"volatility_ratio_{short}_{long}": lambda past, short=short, long=long: (  # type: ignore[misc]
            deviation(past, short) / deviation(past, long)
        )
        for short, long in ((5, 20), (10, 60))
    },
}
