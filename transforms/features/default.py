"""The pack `default`: changes, ratios, volatility, RSI and MACD of prices, and volume against its averages."""

from functools import cache
from typing import Final

import polars as pl

from transforms.features.feature import Feature, Term, exponential_average, window_total
from transforms.windows import deviation, squared_deviations

CHANGES: Final = (1, 2, 3, 5, 10)
WINDOWS: Final = (5, 10, 20)
RSI_BARS: Final = 14
MACD_BARS: Final = (12, 26, 9)

_WILDER: Final = 1 / RSI_BARS
"""Weight of the slowest average of the pack; all features from exponential averages wait until it has settled."""

_close = pl.col("close")
LOG_RETURN: Final = Term("log_return", (_close / _close.shift(1)).log())
_LOG_RETURN_SQUARED: Final = Term("log_return_squared", pl.col("log_return") ** 2, (LOG_RETURN,))


def change(bars: int) -> Feature:
    """Price change over some bars."""
    return Feature(f"change_{bars}", ("close",), bars, _close / _close.shift(bars) - 1)


def close_ma(bars: int) -> Feature:
    """Close over its moving average, less 1."""
    total = window_total("close_sum", bars, _close)
    return Feature(f"close_ma_{bars}", ("close",), bars - 1, _close / (pl.col(total.name) / bars) - 1, (total,))


@cache
def return_deviation(bars: int) -> Term:
    """Standard deviation, ddof 1, of one-bar log returns."""
    total = window_total("return_sum", bars, pl.col("log_return"), (LOG_RETURN,))
    squares = window_total("square_sum", bars, pl.col("log_return_squared"), (_LOG_RETURN_SQUARED,))
    from_mean = squared_deviations(pl.col(total.name), pl.col(squares.name), bars)
    deviations = Term(f"return_deviations_{bars}", from_mean, (total, squares))
    value = deviation(pl.col(deviations.name), pl.col(squares.name), bars)
    return Term(f"return_deviation_{bars}", value, (deviations, squares))


def volatility(bars: int) -> Feature:
    """Standard deviation, ddof 1, of one-bar log returns."""
    term = return_deviation(bars)
    return Feature(f"volatility_{bars}", ("close",), bars, pl.col(term.name), (term,))


@cache
def volume_total(bars: int) -> Term:
    """Volume of the last bars."""
    return window_total("volume_sum", bars, pl.col("volume"))


def volume_ma(bars: int) -> Feature:
    """Volume over its moving average, less 1; 0 for a window without any volume."""
    total = volume_total(bars)
    traded = pl.col(total.name)
    ratio = pl.when(traded > 0).then(pl.col("volume") / (traded / bars)).otherwise(1.0)
    return Feature(f"volume_ma_{bars}", ("volume",), bars - 1, ratio - 1, (total,))


def rsi(bars: int) -> Feature:
    """Wilder's RSI, 100 · up / (up + down).

    The average step is up less down and the average size is up + down, so it is 50 · (1 + step / size). Prices that
    never moved in the segment give 50.
    """
    # The first bar of a segment has no step: a difference to the segment before would stay in the averages.
    step = Term("step", pl.when(pl.col("position") > 0).then(_close - _close.shift(1)))
    average = exponential_average("average_step", 1 / bars, pl.col("step"), (step,))
    size = exponential_average("average_size", 1 / bars, pl.col("step").abs(), (step,))
    ratio = pl.when(pl.col("average_size") > 0).then(pl.col("average_step") / pl.col("average_size")).otherwise(0.0)
    return Feature(f"rsi_{bars}", ("close",), bars, 50 * (1 + ratio), (average, size))


def macd(fast: int, slow: int, signal: int) -> tuple[Feature, ...]:
    """MACD, its signal and its histogram, as shares of the price."""
    averages = (
        exponential_average("ema_fast", 2 / (fast + 1), _close),
        exponential_average("ema_slow", 2 / (slow + 1), _close),
    )
    line = Term("macd_line", pl.col("ema_fast") - pl.col("ema_slow"), averages)
    average = exponential_average("macd_average", 2 / (signal + 1), pl.col("macd_line"), (line,))
    shares = {
        "macd": (pl.col("macd_line"), (line,)),
        "macd_signal": (pl.col("macd_average"), (average,)),
        "macd_histogram": (pl.col("macd_line") - pl.col("macd_average"), (line, average)),
    }
    return tuple(
        Feature(name, ("close",), slow + signal - 2, value / _close, terms, slowest=_WILDER)
        for name, (value, terms) in shares.items()
    )


PACK: Final = (
    *map(change, CHANGES),
    Feature("high_low", ("high", "low"), 0, pl.col("high") / pl.col("low") - 1),
    Feature("open_close", ("open", "close"), 0, pl.col("open") / _close - 1),
    *map(close_ma, WINDOWS),
    *map(volatility, WINDOWS),
    *map(volume_ma, WINDOWS),
    rsi(RSI_BARS),
    *macd(*MACD_BARS),
)
