"""Synthetic 1-minute bars in which the best possible score is known beforehand.

One generator, one parameter: the Hurst exponent H of the returns. At H = 1/2 the sign of the next return cannot be
known. Above it, a return has the sign of the return of equal length just before it with probability
1/2 + arcsin(2^(2H-1) - 1)/pi, at every horizon and timeframe.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from job.core.errors import ConfigError

World = Literal["noise", "signal"]
Array = npt.NDArray[np.float64]

WORLDS: Final[dict[str, float]] = {"noise": 0.5, "signal": 0.65}
"""World → Hurst exponent."""

EXCHANGE: Final = "synthetic"
TIMEFRAME: Final = "1m"
DAY: Final = 1440
SUBSTEPS: Final = 6
"""Steps of the price path within a minute: what high and low are taken from."""
FIRST_PRICE: Final = 100.0
VOLATILITY: Final = 7e-4
"""Root mean square of the volatility of one minute."""
VOLUME_NOISE: Final = 0.4
"""Standard deviation of the part of log volume that nothing explains."""
DIGITS: Final = 6
"""Significant digits of the lowest price; it sets the tick of a series, as an exchange does."""
EPOCH: Final = datetime(2024, 1, 1, tzinfo=UTC)


def stationary_gaussian(covariance: Callable[[Array], Array], white: Array) -> Array:
    """Turn white noise of shape (…, 2n) into n values of the Gaussian process with `covariance(lag)`, exactly.

    Circulant embedding (Davies and Harte 1987): the square root of the circulant covariance matrix times the noise, by
    FFT. Exact where that matrix has no negative eigenvalue, as holds for both covariances used here; rounding may take
    a zero below zero.
    """
    size = white.shape[-1] // 2
    half = covariance(np.arange(size + 1, dtype=np.float64))
    eigenvalues = np.fft.rfft(np.concatenate([half, half[-2:0:-1]])).real
    colored = np.sqrt(np.maximum(eigenvalues, 0.0)) * np.fft.rfft(white)
    return np.fft.irfft(colored, 2 * size)[..., :size]


def fractional_gaussian_noise(white: Array, hurst: float) -> Array:
    """Turn white noise of shape (…, 2n) into n increments of fractional Brownian motion, of unit variance."""
    power = 2 * hurst
    return stationary_gaussian(lambda lag: ((lag + 1) ** power - 2 * lag**power + np.abs(lag - 1) ** power) / 2, white)


def ornstein_uhlenbeck(white: Array, half_life: float, deviation: float) -> Array:
    """Turn white noise of shape (…, 2n) into n unit steps of a stationary Ornstein-Uhlenbeck process.

    `half_life` is in steps, `deviation` the standard deviation of a value.
    """
    return stationary_gaussian(lambda lag: deviation**2 * 0.5 ** (lag / half_life), white)


def volatility(minutes: int, random: np.random.Generator) -> Array:
    """Draw the volatility of each minute: a daily cycle of random phase, slow and fast swings, `VOLATILITY` in rms."""
    cycle = np.sin(2 * np.pi * np.arange(minutes) / DAY + random.uniform(0, 2 * np.pi))
    slow = ornstein_uhlenbeck(random.standard_normal(2 * minutes), DAY, 0.35)
    fast = ornstein_uhlenbeck(random.standard_normal(2 * minutes), 30, 0.25)
    shape: Array = np.exp(0.35 * cycle + slow + fast)
    return shape * (VOLATILITY / math.sqrt(np.mean(shape**2)))


def cut_path(steps: Array) -> dict[str, Array]:
    """Cut the price path with log increments `steps` of shape (bars, sub-steps) into open, high, low and close.

    A bar opens at the close before it, so that joined bars are the bars of the same path cut more coarsely.
    """
    path = np.cumsum(steps).reshape(steps.shape)
    opens = np.concatenate([[0.0], path[:-1, -1]])
    logs = {
        "open": opens,
        "high": np.maximum(path.max(axis=1), opens),
        "low": np.minimum(path.min(axis=1), opens),
        "close": path[:, -1],
    }
    return {name: FIRST_PRICE * np.exp(values) for name, values in logs.items()}


def trading_volume(sigma: Array, returns: Array, noise: Array) -> Array:
    """Volume of each minute: it grows with volatility and with the size of the return, whatever the return's sign."""
    relative: Array = np.log(sigma / sigma.mean())
    return np.exp(3 + 1.2 * relative + 0.35 * np.abs(returns) / sigma + noise)


def make_bars(
    *,
    seed: int,
    days: int,
    world: World = "noise",
    symbol: int = 0,
    hurst: float | None = None,
    start: datetime = EPOCH,
    dropout: float = 0.002,
) -> pl.DataFrame:
    """Make the 1-minute bars of one symbol.

    Args:
        seed: with `symbol`, determines every value.
        days: length in days of 1440 minutes, before any drop out.
        world: `noise` (H = 0.5) or `signal` (H = 0.65).
        symbol: number of the symbol; symbols of one seed are independent.
        hurst: Hurst exponent in place of the world's.
        start: open time of the first minute, UTC if it has no zone.
        dropout: share of minutes that are missing, picked independently of the path.

    Returns:
        Bars: `timestamp` (open time, Datetime us UTC), `open`, `high`, `low`, `close`, `volume` (Float64). Where no
        minute is missing between two bars, open is the previous close. Prices are multiples of one tick.

    Raises:
        ConfigError: an argument is out of its range.
    """
    exponent = _hurst(world, hurst)
    _check(days >= 1, f"days: expected at least 1, got {days}")
    _check(0 <= dropout < 1, f"dropout: expected a share from 0 to below 1, got {dropout}")
    _check(min(seed, symbol) >= 0, f"seed: expected 0 or more, got {min(seed, symbol)}")
    random = np.random.default_rng([seed, symbol])
    minutes = days * DAY
    sigma = volatility(minutes, random)
    noise = fractional_gaussian_noise(random.standard_normal(2 * minutes * SUBSTEPS), exponent)
    steps = sigma[:, None] * noise.reshape(minutes, SUBSTEPS) * SUBSTEPS**-exponent
    prices = cut_path(steps)
    volume = trading_volume(sigma, steps.sum(axis=1), random.normal(0.0, VOLUME_NOISE, minutes))
    decimals = max(0, DIGITS - 1 - math.floor(math.log10(prices["low"].min())))
    rounded = {name: np.round(values, decimals) for name, values in prices.items()}
    minute = pl.lit(start).cast(pl.Datetime("us", "UTC")) + pl.duration(minutes=pl.int_range(minutes))
    bars = pl.DataFrame(rounded | {"volume": np.round(volume, 2)}).select(minute.alias("timestamp"), pl.all())
    return bars.filter(pl.Series(random.random(minutes) >= dropout))


def write_world(
    output: Path | str, *, symbols: int, days: int, seed: int, world: World = "noise", hurst: float | None = None
) -> tuple[Path, ...]:
    """Write one Parquet file per symbol: `exchange=synthetic/symbol=SYN00USDT/SYN00USDT-1m.parquet`.

    Same arguments and library versions, same bytes on one kind of CPU: others may round a number by a cent the other
    way. Existing files of those names are replaced.

    Raises:
        ConfigError: an argument is out of its range, or `output` cannot be written.
    """
    _check(symbols >= 1, f"symbols: expected at least 1, got {symbols}")
    _hurst(world, hurst)
    paths = []
    for number in range(symbols):
        bars = make_bars(seed=seed, days=days, world=world, symbol=number, hurst=hurst)
        name = f"SYN{number:02d}USDT"
        path = Path(output) / f"exchange={EXCHANGE}" / f"symbol={name}" / f"{name}-{TIMEFRAME}.parquet"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            bars.write_parquet(path, compression="zstd", compression_level=19)
        except OSError as error:
            raise ConfigError(f"cannot write synthetic bars to {path}: {error.strerror or error}") from None
        paths.append(path)
    return tuple(paths)


def _hurst(world: str, override: float | None) -> float:
    _check(world in WORLDS, f"world: unknown {world!r} (known: {', '.join(WORLDS)})")
    hurst = WORLDS[world] if override is None else override
    _check(0 < hurst < 1, f"hurst: expected a number between 0 and 1, got {hurst}")
    return hurst


def _check(holds: bool, message: str) -> None:  # noqa: FBT001 - the condition itself, always positional
    if not holds:
        raise ConfigError(f"synthetic bars: {message}")
