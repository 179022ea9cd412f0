"""The packs of features in plain pandas, as a user would write them: the baseline that their speed is measured by.

Each function takes bars with columns of prices, volume, flow and clock, and gives one column per feature. Rolling
functions of pandas are used wherever it has them. It has none for where in its window the highest high stands, nor for
regressions on time: those are `rolling.apply` of NumPy, formula by formula and in closed form, which is several times
faster than `polyfit`. Who knows that slope and R² are `cov` and `corr` with the bars' numbers has them faster still:
that is the other way. What is undefined is left NaN or infinite.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import pandas as pd

from tests.bench.plain import make_features

Columns = dict[str, pd.Series]
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Regress = Callable[[pd.Series, int], tuple[pd.Series, pd.Series, pd.Series]]
ALPHA_WINDOWS: Final = (5, 10, 20, 30, 60)


def default(bars: pd.DataFrame) -> Columns:
    """Make the 20 default features."""
    made = make_features(bars)
    return {str(name): made[name] for name in made}


def by_window(close: pd.Series, window: int) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return slope, R² and last residual of a rolling regression on time, window by window."""
    rolling, time = close.rolling(window), np.arange(window) - (window - 1) / 2
    squares = time @ time

    def fit(values: Floats) -> float:
        around = values - values.mean()
        return float((time @ values) ** 2 / (squares * (around @ around)))

    def residual(values: Floats) -> float:
        return float(values[-1] - values.mean() - time @ values / squares * time[-1])

    slope = rolling.apply(lambda values: time @ values / squares, raw=True)
    return slope, rolling.apply(fit, raw=True), rolling.apply(residual, raw=True)


def by_covariance(close: pd.Series, window: int) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return the same by rolling functions."""
    number = pd.Series(np.arange(len(close), dtype=np.float64), close.index)
    rolling = close.rolling(window)
    slope = rolling.cov(number) / number.rolling(window).var()
    return slope, rolling.corr(number) ** 2, close - rolling.mean() - slope * (window - 1) / 2


def alpha158(bars: pd.DataFrame, regress: Regress = by_window) -> Columns:
    """Make the features of Alpha158."""
    opened, high, low, close = (bars[name] for name in ("open", "high", "low", "close"))
    top, bottom, spread = np.maximum(opened, close), np.minimum(opened, close), high - low + 1e-12
    shapes = {"KMID": close - opened, "KUP": high - top, "KLOW": bottom - low, "KSFT": 2 * close - high - low}
    made = {"KLEN": (high - low) / opened}
    made |= {name: shape / opened for name, shape in shapes.items()}
    made |= {f"{name}2": shape / spread for name, shape in shapes.items()}
    made |= {f"{name}0": price / close for name, price in (("OPEN", opened), ("HIGH", high), ("LOW", low))}
    made["VWAP0"] = bars["quote_volume"] / bars["volume"] / close
    for window in ALPHA_WINDOWS:
        made |= _of_prices(bars, window, regress) | _of_changes(bars, window)
    return made


def _of_prices(bars: pd.DataFrame, window: int, regress: Regress) -> Columns:
    high, low, close = (bars[name].rolling(window) for name in ("high", "low", "close"))
    last = bars["close"]
    slope, fit, residual = regress(last, window)
    top, bottom = high.max(), low.min()
    since_top, since_bottom = high.apply(np.argmax, raw=True) + 1, low.apply(np.argmin, raw=True) + 1
    columns = {
        "ROC": last.shift(window) / last,
        "MA": close.mean() / last,
        "STD": close.std() / last,
        "BETA": slope / last,
        "RSQR": fit,
        "RESI": residual / last,
        "MAX": top / last,
        "MIN": bottom / last,
        "QTLU": close.quantile(0.8) / last,
        "QTLD": close.quantile(0.2) / last,
        "RANK": close.rank(pct=True),
        "RSV": (last - bottom) / (top - bottom + 1e-12),
        "IMAX": since_top / window,
        "IMIN": since_bottom / window,
        "IMXD": (since_top - since_bottom) / window,
    }
    return {f"{name}{window}": column for name, column in columns.items()}


def _of_changes(bars: pd.DataFrame, window: int) -> Columns:
    close, volume = bars["close"], bars["volume"]
    weighted = (close.pct_change().abs() * volume).rolling(window)
    rising, falling = ((close > close.shift()).rolling(window).mean(), (close < close.shift()).rolling(window).mean())
    columns = {
        "CORR": close.rolling(window).corr(np.log(volume + 1)),
        "CORD": (close / close.shift()).rolling(window).corr(np.log(volume / volume.shift() + 1)),
        "CNTP": rising,
        "CNTN": falling,
        "CNTD": rising - falling,
        "VMA": volume.rolling(window).mean() / (volume + 1e-12),
        "VSTD": volume.rolling(window).std() / (volume + 1e-12),
        "WVMA": weighted.std() / (weighted.mean() + 1e-12),
    }
    for name, step in (("SUM", close.diff()), ("VSUM", volume.diff())):
        moved = step.abs().rolling(window).sum() + 1e-12
        up, down = step.clip(lower=0).rolling(window).sum(), (-step).clip(lower=0).rolling(window).sum()
        columns |= {f"{name}P": up / moved, f"{name}N": down / moved, f"{name}D": (up - down) / moved}
    return {f"{name}{window}": column for name, column in columns.items()}


def flow(bars: pd.DataFrame) -> Columns:
    """Make the features of order flow."""
    close, volume, trades = bars["close"], bars["volume"], bars["trades"]
    sums = {
        window: pd.DataFrame(
            {
                "volume": volume,
                "taker": bars["taker_buy_volume"],
                "quote": bars["quote_volume"],
                "trades": trades,
                "signed": np.sign(close - bars["open"]) * volume,
                "impact": np.log(close).diff().abs() / bars["quote_volume"],
            }
        )
        .rolling(window)
        .sum()
        for window in (1, 5, 20, 60)
    }
    share = {window: one["taker"] / one["volume"] for window, one in sums.items()}
    size = {window: one["volume"] / one["trades"] for window, one in sums.items()}
    impact = {window: one["impact"] / window for window, one in sums.items()}
    made = {f"taker_share_{window}": one - 0.5 for window, one in share.items()}
    made |= {f"signed_volume_{window}": one["signed"] / one["volume"] for window, one in sums.items()}
    made |= {f"vwap_distance_{window}": close / (one["quote"] / one["volume"]) - 1 for window, one in sums.items()}
    for window in (1, 5, 20):
        made[f"taker_share_change_{window}"] = share[window] - share[60]
        made[f"trade_size_{window}"] = size[window] / size[60] - 1
        made[f"amihud_{window}"] = impact[window] / impact[60] - 1
    made |= {f"trades_ma_{window}": trades / (sums[window]["trades"] / window) - 1 for window in (5, 20, 60)}
    return made


def volatility(bars: pd.DataFrame) -> Columns:
    """Make the features of volatility."""
    opened, high, low, close = (bars[name] for name in ("open", "high", "low", "close"))
    returns = np.log(close).diff()
    spread = np.log(high / low) ** 2
    variances = {
        "parkinson": spread / (4 * np.log(2)),
        "garman_klass": spread / 2 - (2 * np.log(2) - 1) * np.log(close / opened) ** 2,
        "rogers_satchell": np.log(high / close) * np.log(high / opened) + np.log(low / close) * np.log(low / opened),
    }
    made = {
        f"{name}_{window}": np.sqrt(variance.rolling(window).mean())
        for name, variance in variances.items()
        for window in (10, 20, 60)
    }
    true_range = high.clip(lower=close.shift()) - low.clip(upper=close.shift())
    made["atr_14"] = true_range.ewm(alpha=1 / 14, adjust=False).mean() / close
    deviation = returns.rolling(60).std()
    for bars_back in (1, 5, 15):
        made[f"normal_return_{bars_back}"] = np.log(close).diff(bars_back) / (deviation * np.sqrt(bars_back))
    for short, long in ((5, 20), (10, 60)):
        made[f"volatility_ratio_{short}_{long}"] = returns.rolling(short).std() / returns.rolling(long).std()
    return made


def microstructure(bars: pd.DataFrame) -> Columns:
    """Make the features of spreads, ticks and idle quotes."""
    high, low, close = (bars[name] for name in ("high", "low", "close"))
    returns, step, before = np.log(close).diff(), close.diff(), close.shift()
    jump = before - before.clip(low, high)
    moved_high, moved_low = high + jump, low + jump
    spread = pd.Series(np.log(high / low) ** 2)
    beta = spread.shift() + np.log(moved_high / moved_low) ** 2
    gamma = np.log(np.maximum(moved_high, high.shift()) / np.minimum(moved_low, low.shift())) ** 2
    root = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / root - np.sqrt(gamma / root)
    two_bar_spread = (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0)
    place, still = (close - low) / (high - low), step == 0
    made: Columns = {}
    for window in (20, 60):
        tick = step.abs().where(~still).rolling(window, min_periods=1).min() / close
        made |= {
            f"roll_spread_{window}": 2 * np.sqrt((-returns.rolling(window).cov(returns.shift())).clip(lower=0)),
            f"corwin_schultz_{window}": two_bar_spread.rolling(window).mean(),
            f"close_place_{window}": place.rolling(window).mean(),
            f"tick_{window}": tick,
            f"tick_volatility_{window}": tick / returns.rolling(window).std(),
            f"zero_share_{window}": still.rolling(window).mean(),
        }
    made["zero_run_60"] = still.groupby((~still).cumsum()).cumsum().clip(upper=60)
    return made


def calendar(bars: pd.DataFrame) -> Columns:
    """Make the features of the clock."""
    made = {"session_minutes": bars["session_minute"]}
    for name, column, period in (("minute", "minute_of_day", 1440), ("weekday", "day_of_week", 7)):
        angle = bars[column] * (2 * np.pi / period)
        made |= {f"{name}_sin": np.sin(angle), f"{name}_cos": np.cos(angle)}
    return made


PANDAS: Final[dict[str, Callable[[pd.DataFrame], Columns]]] = {
    "default": default,
    "alpha158": alpha158,
    "flow": flow,
    "volatility": volatility,
    "microstructure": microstructure,
    "calendar": calendar,
}
"""Packs by name, as in `transforms.features.PACKS`."""
