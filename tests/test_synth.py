"""The synthetic worlds: exact paths, known persistence, honest bars."""

from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from job.core.errors import ConfigError
from job.core.synth import (
    FIRST_PRICE,
    SUBSTEPS,
    VOLATILITY,
    WORLDS,
    cut_path,
    fractional_gaussian_noise,
    make_bars,
    ornstein_uhlenbeck,
    trading_volume,
    volatility,
    write_world,
)
from tests.oracles_worlds import (
    PRICES,
    best_rate,
    fractional_noise_covariance,
    join_bars,
    last_return_rule,
    rule_accuracy,
    rule_rate,
    walk,
)

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample"
SYMBOLS = 12
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60}
HURSTS = (0.5, 0.65, 0.75)


@cache
def world(hurst: float) -> tuple[pl.DataFrame, ...]:
    return tuple(make_bars(seed=5, symbol=number, days=30, hurst=hurst, dropout=0) for number in range(SYMBOLS))


def hit_rates(hurst: float, timeframe: str, horizon: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Accuracy of the oracle rule on each symbol, over all its bars."""
    rates = []
    for minutes in world(hurst):
        bars = join_bars(minutes, timeframe)
        bar = timedelta(minutes=MINUTES[timeframe])
        move = pl.col("close").shift(-horizon) - pl.col("close")
        labeled = bars.select("timestamp", label=(move > 0).cast(pl.Int8), move=move).filter(pl.col("move") != 0)
        rates.append(rule_accuracy(labeled, last_return_rule(bars, bar=bar, horizon=horizon), on="timestamp"))
    return np.array(rates)


def test_known_rates() -> None:
    assert [round(rule_rate(hurst), 3) for hurst in HURSTS] == [0.5, 0.574, 0.636]
    assert [round(best_rate(hurst, 1), 3) for hurst in HURSTS] == [0.5, 0.583, 0.649]
    assert [round(best_rate(hurst, 10), 3) for hurst in HURSTS] == [0.5, 0.591, 0.66]
    assert WORLDS == {"noise": 0.5, "signal": 0.65}


@pytest.mark.parametrize("hurst", HURSTS)
@pytest.mark.parametrize(
    ("timeframe", "horizon"),
    [("1m", 1), ("1m", 2), ("1m", 10), ("1m", 60), ("5m", 1), ("5m", 10), ("15m", 1), ("15m", 4), ("1h", 1)],
)
def test_returns_persist_at_the_known_rate(hurst: float, timeframe: str, horizon: int) -> None:
    rates = hit_rates(hurst, timeframe, horizon)
    standard_error = rates.std(ddof=1) / SYMBOLS**0.5
    assert standard_error < 0.0125
    assert abs(rates.mean() - rule_rate(hurst)) < 3.5 * standard_error


@pytest.mark.parametrize("hurst", [0.3, *HURSTS, 0.9])
def test_fractional_noise_has_its_covariance_exactly(hurst: float) -> None:
    map_of_noise = fractional_gaussian_noise(np.eye(48), hurst)
    np.testing.assert_allclose(map_of_noise.T @ map_of_noise, fractional_noise_covariance(24, hurst), atol=1e-12)


def test_ornstein_uhlenbeck_halves_each_half_life() -> None:
    map_of_noise = ornstein_uhlenbeck(np.eye(60), half_life=5, deviation=0.25)
    covariance = map_of_noise.T @ map_of_noise
    np.testing.assert_allclose(np.diag(covariance), 0.0625)
    np.testing.assert_allclose(np.diag(covariance, 5), 0.03125)
    np.testing.assert_allclose(np.diag(covariance, 20), 0.0625 / 16)


def test_volatility_has_its_rms_and_spread() -> None:
    sigmas = [volatility(30 * 1440, np.random.default_rng(number)) for number in range(20)]
    for sigma in sigmas:
        assert np.sqrt(np.mean(sigma**2)) == pytest.approx(VOLATILITY, rel=1e-12)
    rolling_std = np.mean([np.log(sigma).std() for sigma in sigmas])
    assert rolling_std == pytest.approx((0.35**2 / 2 + 0.35**2 + 0.25**2) ** 0.5, rel=0.1)


@pytest.mark.parametrize("hurst", HURSTS)
def test_returns_of_a_minute_have_the_volatility(hurst: float) -> None:
    squares = [bars["close"].log().diff().pow(2).mean() for bars in world(hurst)]
    assert np.sqrt(np.mean(np.array(squares, dtype=float))) == pytest.approx(VOLATILITY, rel=0.02)


def test_path_is_cut_as_a_walk_step_by_step() -> None:
    steps = np.random.default_rng(1).normal(0, 1e-3, (50, SUBSTEPS))
    bars = cut_path(steps)
    expected = np.array(walk(steps.tolist(), FIRST_PRICE))
    np.testing.assert_allclose(np.column_stack([bars[name] for name in PRICES]), expected, rtol=1e-12)


def test_joined_bars_are_the_coarser_bars_of_the_path() -> None:
    steps = np.random.default_rng(2).normal(0, 1e-3, (240, SUBSTEPS))
    fine, coarse = cut_path(steps), cut_path(steps.reshape(16, -1))
    start = datetime(2024, 1, 1, tzinfo=UTC)
    minute = pl.datetime_range(start, start + timedelta(minutes=239), "1m", eager=True)
    joined = join_bars(pl.DataFrame({"timestamp": minute, **fine, "volume": np.ones(240)}), "15m")
    for name in PRICES:
        np.testing.assert_array_equal(joined[name].to_numpy(), coarse[name])


def test_volume_follows_volatility_and_size_of_return() -> None:
    sigma = np.array([1e-3, 1e-3, 1e-3, 3e-3])
    volume = trading_volume(sigma, np.array([0, 2e-3, -2e-3, 0]), np.zeros(4))
    expected = np.exp(3 + 1.2 * np.log(sigma / 1.5e-3) + [0, 0.7, 0.7, 0])
    np.testing.assert_allclose(volume, expected)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    symbol=st.integers(0, 500),
    days=st.integers(1, 3),
    hurst=st.floats(0.05, 0.95),
    dropout=st.sampled_from([0.0, 0.03, 0.5]),
)
def test_bars_are_bars(seed: int, symbol: int, days: int, hurst: float, dropout: float) -> None:
    bars = make_bars(seed=seed, symbol=symbol, days=days, hurst=hurst, dropout=dropout)
    assert bars.schema == {"timestamp": pl.Datetime("us", "UTC")} | dict.fromkeys((*PRICES, "volume"), pl.Float64)
    step = bars["timestamp"].diff().drop_nulls()
    assert (step >= timedelta(minutes=1)).all()
    assert (bars["timestamp"].dt.truncate("1m") == bars["timestamp"]).all()
    assert bars.select(pl.all_horizontal(pl.col("low") > 0, pl.col("volume") > 0, pl.all().is_not_null()).all()).item()
    assert bars.select((pl.col("high") >= pl.max_horizontal("open", "close")).all()).item()
    assert bars.select((pl.col("low") <= pl.min_horizontal("open", "close")).all()).item()
    continues = (pl.col("open") == pl.col("close").shift()) | (pl.col("timestamp").diff() != timedelta(minutes=1))
    assert bars.select(continues.all()).item()


@pytest.mark.parametrize("dropout", [0.002, 0.03])
def test_minutes_drop_out_whatever_the_path(dropout: float) -> None:
    read_all, noise, signal = (
        make_bars(seed=3, days=60, hurst=hurst, dropout=share)
        for hurst, share in ((0.5, 0.0), (0.5, dropout), (0.75, dropout))
    )
    assert_frame_equal(noise, read_all.join(noise, on="timestamp", how="semi"))
    assert noise["timestamp"].equals(signal["timestamp"])
    missing = 1 - noise.height / read_all.height
    assert missing == pytest.approx(dropout, abs=4 * (dropout / read_all.height) ** 0.5)
    alone = read_all["timestamp"].is_in(noise["timestamp"].implode()).not_()
    in_a_row = (alone & alone.shift(1)).sum()
    assert in_a_row <= dropout**2 * read_all.height + 4 * dropout * read_all.height**0.5 + 1


def test_sign_of_a_return_is_not_in_the_volume() -> None:
    correlations = [
        np.corrcoef(bars["volume"].log().to_numpy()[1:], np.sign(bars["close"].diff().to_numpy()[1:]))[0, 1]
        for bars in world(0.5)
    ]
    assert abs(np.mean(correlations)) < 4 / (SYMBOLS * 30 * 1440) ** 0.5


def test_symbols_are_independent() -> None:
    returns = np.array([bars["close"].log().diff().drop_nulls().to_numpy() for bars in world(0.65)])
    across = np.corrcoef(returns)[np.triu_indices(SYMBOLS, 1)]
    assert np.abs(across).max() < 5 / returns.shape[1] ** 0.5


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_world(tmp_path / "a", symbols=2, days=2, seed=9, world="signal")
    again = write_world(tmp_path / "b", symbols=2, days=2, seed=9, world="signal")
    other = write_world(tmp_path / "c", symbols=2, days=2, seed=10, world="signal")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert len({path.read_bytes() for path in (*first, *other)}) == 4


def test_a_symbol_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    alone = write_world(tmp_path / "a", symbols=1, days=1, seed=9)
    together = write_world(tmp_path / "b", symbols=3, days=1, seed=9)
    assert alone[0].read_bytes() == together[0].read_bytes()


def test_files_are_named_as_found_again(tmp_path: Path) -> None:
    paths = write_world(tmp_path, symbols=2, days=1, seed=1, world="signal", hurst=0.75)
    folder = tmp_path / "exchange=synthetic"
    assert paths == tuple(folder / f"symbol={name}" / f"{name}-1m.parquet" for name in ("SYN00USDT", "SYN01USDT"))
    assert sorted(tmp_path.rglob("*.parquet")) == sorted(paths)
    assert_frame_equal(
        pl.read_parquet(paths[1], hive_partitioning=False), make_bars(seed=1, symbol=1, days=1, hurst=0.75)
    )


@pytest.mark.parametrize(
    "start", [datetime(2023, 5, 1, 6), datetime(2023, 5, 1, 8, tzinfo=timezone(timedelta(hours=2)))]
)
def test_start_is_an_instant(start: datetime) -> None:
    bars = make_bars(seed=1, days=1, start=start, dropout=0)
    assert bars["timestamp"][0] == datetime(2023, 5, 1, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"symbols": 0}, "symbols: expected at least 1, got 0"),
        ({"days": 0}, "days: expected at least 1, got 0"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
        ({"world": "chaos"}, "world: unknown 'chaos' .known: noise, signal."),
        ({"hurst": 0.0}, "hurst: expected a number between 0 and 1, got 0.0"),
        ({"hurst": 1.0}, "hurst: expected a number between 0 and 1, got 1.0"),
    ],
)
def test_arguments_out_of_range(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_world(tmp_path / "out", **{"symbols": 1, "days": 1, "seed": 1} | arguments)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_out_of_range(dropout: float) -> None:
    with pytest.raises(ConfigError, match=f"dropout: expected a share from 0 to below 1, got {dropout}"):
        make_bars(seed=1, days=1, dropout=dropout)


def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigError, match=r"cannot write synthetic bars to .*file/exchange=synthetic.*"):
        write_world(blocked, symbols=1, days=1, seed=1)


def test_sample_is_what_the_data_card_says(tmp_path: Path) -> None:
    made = write_world(tmp_path, symbols=2, days=30, seed=7, world="signal", hurst=0.75)
    held = sorted(SAMPLE.rglob("*.parquet"))
    assert [path.relative_to(SAMPLE) for path in held] == [path.relative_to(tmp_path) for path in made]
    for path, expected in zip(held, made, strict=True):
        frames = (pl.read_parquet(file, hive_partitioning=False) for file in (path, expected))
        # Numbers are rounded to a cent, and another kind of CPU may round one the other way.
        assert_frame_equal(*frames, rel_tol=1e-4, abs_tol=0.0101)
    assert sum(path.stat().st_size for path in SAMPLE.rglob("*") if path.is_file()) <= 2_000_000
