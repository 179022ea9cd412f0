"""The pack `volatility`: how far prices move within and between bars, over several windows.

Sources: Parkinson (1980), "The extreme value method for estimating the variance of the rate of return"; Garman and
Klass (1980), "On the estimation of security price volatilities from historical data"; Rogers and Satchell (1991),
"Estimating variance from high, low and closing prices"; Wilder (1978), "New concepts in technical trading systems".
"""

import math
from typing import Final

import polars as pl

from transforms.features.default import return_deviation
from transforms.features.feature import Feature, Term, exponential_average, window_total

WINDOWS: Final = (10, 20, 60)
ATR_BARS: Final = 14
RETURNS: Final = (1, 5, 15)
NORMAL_BARS: Final = 60
"""Window of the standard deviation that returns are measured in."""
RATIOS: Final = ((5, 20), (10, 60))

_open, _high, _low, _close = (pl.col(name) for name in ("open", "high", "low", "close"))
_PARKINSON: Final = Term("range_variance", (_high / _low).log() ** 2 / (4 * math.log(2)))
_GARMAN_KLASS: Final = Term(
    "garman_klass_variance", (_high / _low).log() ** 2 / 2 - (2 * math.log(2) - 1) * (_close / _open).log() ** 2
)
_ROGERS_SATCHELL: Final = Term(
    "rogers_satchell_variance",
    (_high / _close).log() * (_high / _open).log() + (_low / _close).log() * (_low / _open).log(),
)


def range_volatility(name: str, variance: Term, inputs: tuple[str, ...], bars: int) -> Feature:
    """Standard deviation of a bar's log return, from the mean of an estimate of its variance from the bar's prices."""
    total = window_total(variance.name, bars, pl.col(variance.name), (variance,))
    # An estimate is never negative but by rounding, where open and close are the extremes.
    return Feature(f"{name}_{bars}", inputs, bars - 1, (pl.col(total.name).clip(0) / bars).sqrt(), (total,))


def atr(bars: int) -> Feature:
    """Wilder's average true range, as a share of the close."""
    before = _close.shift(1)
    # The first bar of a segment has no bar before: its range alone would stay in the average.
    true_range = pl.max_horizontal(_high, before) - pl.min_horizontal(_low, before)
    term = Term("true_range", pl.when(pl.col("position") > 0).then(true_range))
    average = exponential_average("average_true_range", 1 / bars, pl.col("true_range"), (term,))
    return Feature(f"atr_{bars}", ("high", "low", "close"), bars, pl.col("average_true_range") / _close, (average,))


def normal_return(bars: int) -> Feature:
    """Log return over some bars, in standard deviations of such a return; 0 where prices stood still."""
    term = return_deviation(NORMAL_BARS)
    deviation = pl.col(term.name)
    moved = (_close / _close.shift(bars)).log() / (deviation * math.sqrt(bars))
    value = pl.when(deviation > 0).then(moved).otherwise(0.0)
    return Feature(f"normal_return_{bars}", ("close",), NORMAL_BARS, value, (term,))


def volatility_ratio(short: int, long: int) -> Feature:
    """Standard deviation of log returns over a short window against a long one; 1 where prices stood still."""
    terms = (return_deviation(short), return_deviation(long))
    near, far = (pl.col(term.name) for term in terms)
    ratio = pl.when(far > 0).then(near / far).otherwise(1.0)
    return Feature(f"volatility_ratio_{short}_{long}", ("close",), long, ratio, terms)


PACK: Final = (
    *(range_volatility("parkinson", _PARKINSON, ("high", "low"), bars) for bars in WINDOWS),
    *(
        range_volatility(name, variance, ("open", "high", "low", "close"), bars)
        for name, variance in (("garman_klass", _GARMAN_KLASS), ("rogers_satchell", _ROGERS_SATCHELL))
        for bars in WINDOWS
    ),
    atr(ATR_BARS),
    *map(normal_return, RETURNS),
    *(volatility_ratio(*bars) for bars in RATIOS),
)
