"""Slow, obvious versions of the features of all packs but the default one."""

import itertools
import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from scipy import stats

from tests.oracles_transforms import Floats, Row, ema

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


def quotient(dividend: float, divisor: float) -> float:
    return float(dividend / divisor) if divisor else 0.0


def normal_return(past: Sequence[Row], bars: int) -> float:
    return quotient(sum(log_returns(past, bars)), deviation(past, 60) * math.sqrt(bars))


def volatility_ratio(past: Sequence[Row], short: int, long: int) -> float:
    return deviation(past, short) / deviation(past, long) if deviation(past, long) else 1.0


def column(past: Sequence[Row], name: str, bars: int) -> Floats:
    """Values of the last `bars` bars."""
    return np.array([row[name] for row in past[-bars:]], np.float64)


def correlation(one: Floats, other: Floats, *, still: float = 0.0) -> float:
    """Pearson's r, 0 where one of both stands still: its range is no more than a share of its largest value."""
    if any(values.size < 2 or np.ptp(values) <= still * abs(values).max() for values in (one, other)):
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def bar_shape(past: Sequence[Row]) -> dict[str, float]:
    """Qlib's K features of a bar."""
    opened, high, low, close = (past[-1][name] for name in ("open", "high", "low", "close"))
    body, upper, lower = close - opened, high - max(opened, close), min(opened, close) - low
    shift, spread = 2 * close - high - low, high - low
    return {
        "KMID": body / opened,
        "KLEN": spread / opened,
        "KMID2": quotient(body, spread),
        "KUP": upper / opened,
        "KUP2": quotient(upper, spread),
        "KLOW": lower / opened,
        "KLOW2": quotient(lower, spread),
        "KSFT": shift / opened,
        "KSFT2": quotient(shift, spread),
    }


def price_ratios(past: Sequence[Row]) -> dict[str, float]:
    last = past[-1]
    vwap = last["quote_volume"] / last["volume"] if last["volume"] else last["close"]
    prices = {"OPEN0": last["open"], "HIGH0": last["high"], "LOW0": last["low"], "VWAP0": vwap}
    return {name: price / last["close"] for name, price in prices.items()}


def of_closes(past: Sequence[Row], bars: int) -> dict[str, float]:
    """Qlib's features of closes: Ref, Mean, Std (ddof 1), Slope, Rsquare, Resi, Quantile, Rank."""
    closes, time = column(past, "close", bars), np.arange(1.0, bars + 1)
    close = closes[-1]
    slope, intercept = np.polyfit(time, closes - close, 1)
    return {
        "ROC": past[-1 - bars]["close"] / close if len(past) > bars else math.nan,
        "MA": closes.mean() / close,
        "STD": closes.std(ddof=1) / close,
        "BETA": slope / close,
        "RSQR": correlation(closes, time) ** 2,
        "RESI": -(slope * bars + intercept) / close,
        "QTLU": np.quantile(closes, 0.8) / close,
        "QTLD": np.quantile(closes, 0.2) / close,
        "RANK": stats.rankdata(closes, "average")[-1] / bars,
    }


def of_ranges(past: Sequence[Row], bars: int) -> dict[str, float]:
    """Qlib's features of highs and lows: Max, Min, IdxMax, IdxMin, which count from 1 at the oldest bar."""
    highs, lows, close = column(past, "high", bars), column(past, "low", bars), past[-1]["close"]
    top, bottom = int(highs.argmax()) + 1, int(lows.argmin()) + 1
    return {
        "MAX": highs.max() / close,
        "MIN": lows.min() / close,
        "RSV": quotient(close - lows.min(), highs.max() - lows.min()),
        "IMAX": top / bars,
        "IMIN": bottom / bars,
        "IMXD": (top - bottom) / bars,
    }


def of_volumes(past: Sequence[Row], bars: int) -> dict[str, float]:
    volumes = column(past, "volume", bars)
    return {
        "CORR": correlation(column(past, "close", bars), np.log(volumes + 1)),
        "VMA": quotient(volumes.mean(), volumes[-1]),
        "VSTD": quotient(float(volumes.std(ddof=1)), volumes[-1]),
    }


def of_steps(past: Sequence[Row], bars: int) -> dict[str, float]:
    """Qlib's features of changes from bar to bar."""
    closes, volumes = column(past, "close", bars + 1), column(past, "volume", bars + 1)
    step, change, volume = np.diff(closes), closes[1:] / closes[:-1] - 1, volumes[1:]
    traded = volumes[:-1] > 0
    ratio = volumes[1:][traded] / volumes[:-1][traded]
    weighted = abs(change) * volume
    rising, falling = float((step > 0).mean()), float((step < 0).mean())
    return {
        "CORD": correlation(change[traded], np.log(ratio + 1), still=1e-6),  # what is infinite or NaN is left out
        "CNTP": rising,
        "CNTN": falling,
        "CNTD": rising - falling,
        "WVMA": quotient(float(weighted.std(ddof=1)), float(weighted.mean())),
        **gains("SUM", step),
        **gains("VSUM", np.diff(volumes)),
    }


def gains(name: str, step: Floats) -> dict[str, float]:
    up, down = float(step[step > 0].sum()), float(-step[step < 0].sum())
    return {
        f"{name}P": quotient(up, up + down),
        f"{name}N": quotient(down, up + down),
        f"{name}D": quotient(up - down, up + down),
    }


def roll_spread(past: Sequence[Row], bars: int) -> float:
    returns = log_returns(past, bars + 1)
    return 2 * math.sqrt(max(-statistics.covariance(returns[1:], returns[:-1]), 0))


def corwin_schultz(past: Sequence[Row], bars: int) -> float:
    """Mean of the spreads of all two neighbouring bars; equations 10, 14 and 18, and the adjustment for a jump."""
    spreads, root = [], 3 - 2 * math.sqrt(2)
    for before, bar in itertools.pairwise(past[-bars - 1 :]):
        jump = max(before["close"] - bar["high"], 0) + min(before["close"] - bar["low"], 0)
        high, low = bar["high"] + jump, bar["low"] + jump
        beta = math.log(before["high"] / before["low"]) ** 2 + math.log(high / low) ** 2
        gamma = math.log(max(before["high"], high) / min(before["low"], low)) ** 2
        alpha = (math.sqrt(2 * beta) - math.sqrt(beta)) / root - math.sqrt(gamma / root)
        spreads.append(max(2 * (math.exp(alpha) - 1) / (1 + math.exp(alpha)), 0))
    return statistics.fmean(spreads)


def close_place(past: Sequence[Row], bars: int) -> float:
    ranges = [(bar["close"] - bar["low"], bar["high"] - bar["low"]) for bar in past[-bars:]]
    return statistics.fmean(above / spread if spread else 0.5 for above, spread in ranges)


def tick(past: Sequence[Row], bars: int) -> float:
    moves = [step for step in abs(np.diff(column(past, "close", bars + 1))) if step]
    return float(min(moves, default=0) / past[-1]["close"])


def tick_volatility(past: Sequence[Row], bars: int) -> float:
    return quotient(tick(past, bars), deviation(past, bars))


def zero_share(past: Sequence[Row], bars: int) -> float:
    return float((np.diff(column(past, "close", bars + 1)) == 0).mean())


def zero_run(past: Sequence[Row], bars: int) -> float:
    steps = np.diff(column(past, "close", bars + 1))[::-1]
    return float(len([*itertools.takewhile(lambda step: step == 0, steps)]))


def total(past: Sequence[Row], name: str, bars: int) -> float:
    return math.fsum(row[name] for row in past[-bars:])


def taker_share(past: Sequence[Row], bars: int) -> float:
    volume = total(past, "volume", bars)
    return total(past, "taker_buy_volume", bars) / volume - 0.5 if volume else 0.0


def taker_share_change(past: Sequence[Row], bars: int) -> float:
    return taker_share(past, bars) - taker_share(past, 60)


def signed_volume(past: Sequence[Row], bars: int) -> float:
    signed = [
        math.copysign(row["volume"], row["close"] - row["open"]) for row in past[-bars:] if row["close"] != row["open"]
    ]
    return quotient(math.fsum(signed), total(past, "volume", bars))


def trade_size(past: Sequence[Row], bars: int) -> float:
    short, long = (quotient(total(past, "volume", one), total(past, "trades", one)) for one in (bars, 60))
    return short / long - 1 if long else 0.0


def trades_ma(past: Sequence[Row], bars: int) -> float:
    mean = total(past, "trades", bars) / bars
    return float(past[-1]["trades"] / mean - 1) if mean else 0.0


def amihud(past: Sequence[Row], bars: int) -> float:
    moves = [abs(move) for move in log_returns(past, 60)]
    impacts = [quotient(move, row["quote_volume"]) for move, row in zip(moves, past[-60:], strict=True)]
    usual = statistics.fmean(impacts)
    return statistics.fmean(impacts[-bars:]) / usual - 1 if usual else 0.0


def vwap_distance(past: Sequence[Row], bars: int) -> float:
    volume = total(past, "volume", bars)
    return float(past[-1]["close"] / (total(past, "quote_volume", bars) / volume) - 1) if volume else 0.0


def on_circle(past: Sequence[Row], column: str, period: int, function: Callable[[float], float]) -> float:
    return function(2 * math.pi * past[-1][column] / period)


def at_key(table: Callable[[list[Row]], dict[str, float]], name: str, past: list[Row]) -> float:
    return float(table(past)[name])


FLOW_WINDOWS: Final = {
    taker_share: (1, 5, 20, 60),
    taker_share_change: (1, 5, 20),
    signed_volume: (1, 5, 20, 60),
    trade_size: (1, 5, 20),
    trades_ma: (5, 20, 60),
    amihud: (1, 5, 20),
    vwap_distance: (1, 5, 20, 60),
}
SHAPES: Final = ("KMID", "KLEN", "KMID2", "KUP", "KUP2", "KLOW", "KLOW2", "KSFT", "KSFT2")
WINDOWED: Final = {
    of_closes: ("ROC", "MA", "STD", "BETA", "RSQR", "RESI", "QTLU", "QTLD", "RANK"),
    of_ranges: ("MAX", "MIN", "RSV", "IMAX", "IMIN", "IMXD"),
    of_volumes: ("CORR", "VMA", "VSTD"),
    of_steps: ("CORD", "CNTP", "CNTN", "CNTD", "WVMA", "SUMP", "SUMN", "SUMD", "VSUMP", "VSUMN", "VSUMD"),
}
"""Features of Alpha158 that have a window."""

ORACLES: Final[dict[str, Oracle]] = {
    **{
        f"{estimate.__name__}_{bars}": lambda past, estimate=estimate, bars=bars: estimate(past[-bars:])  # type: ignore[misc]
        for estimate in (parkinson, garman_klass, rogers_satchell)
        for bars in (10, 20, 60)
    },
    "atr_14": atr,
    **{f"normal_return_{bars}": partial(normal_return, bars=bars) for bars in (1, 5, 15)},
    **{
        f"volatility_ratio_{short}_{long}": partial(volatility_ratio, short=short, long=long)
        for short, long in ((5, 20), (10, 60))
    },
    **{
        name: partial(at_key, table, name)
        for table, names in ((bar_shape, SHAPES), (price_ratios, ("OPEN0", "HIGH0", "LOW0", "VWAP0")))
        for name in names
    },
    **{
        f"{name}{bars}": partial(at_key, partial(table, bars=bars), name)
        for table, names in WINDOWED.items()
        for name in names
        for bars in (5, 10, 20, 30, 60)
    },
    **{
        f"{estimate.__name__}_{bars}": partial(estimate, bars=bars)
        for estimate in (roll_spread, corwin_schultz, close_place, tick, tick_volatility, zero_share)
        for bars in (20, 60)
    },
    "zero_run_60": partial(zero_run, bars=60),
    **{
        f"{value.__name__}_{bars}": partial(value, bars=bars)
        for value, windows in FLOW_WINDOWS.items()
        for bars in windows
    },
    **{
        f"{name}_{kind}": partial(on_circle, column=column, period=period, function=function)
        for name, column, period in (("minute", "minute_of_day", 1440), ("weekday", "day_of_week", 7))
        for kind, function in (("sin", math.sin), ("cos", math.cos))
    },
    "session_minutes": lambda past: float(past[-1]["session_minute"]),
}
