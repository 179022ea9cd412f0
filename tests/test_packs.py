"""Packs beside the default one: against slow oracles, TA-Lib where it has a feature, and prices that stand still."""

from functools import cache

import numpy as np
import polars as pl
import pytest
import talib

from job.learning.features import expand_features
from tests.conformance import columns_of, paused, values_of, with_clock
from tests.oracles_packs import ORACLES
from tests.oracles_transforms import Row, bar_rows, random_bars
from transforms.bars import FLOW, PRICES
from transforms.features import DEFAULT_FEATURES, FEATURES, PACKS
from transforms.features.alpha158 import QUANTILES, SORTED_AT_ONCE, WINDOWS, quantiles
from transforms.features.compute import available
from transforms.features.feature import EXACT
from transforms.segments import positions, segment


@cache
def bars_of(kind: str) -> pl.DataFrame:
    """Return bars in segments: a random walk, coarse ticks with jumps and pauses, or small moves of a high price."""
    if kind == "random walk":
        return with_clock(random_bars(15, 900, missing=0.01, jumps=2, flow=True))
    if kind == "coarse ticks":
        coarse = random_bars(16, 900, missing=0.01, tick=0.05, flow=True)
        night = pl.when(pl.int_range(pl.len()) % 90 >= 45).then(1.015).otherwise(1.0)
        return with_clock(paused(coarse.with_columns(pl.col(PRICES) * night), 70))
    bars = random_bars(17, 900, flow=True)
    small = ((pl.col(PRICES) - 100) * 10).round() / 100 + 1e5
    return with_clock(bars.with_columns(small, pl.col("quote_volume") * 1000))


KINDS = ("random walk", "coarse ticks", "small moves")


@cache
def made_of(kind: str) -> pl.DataFrame:
    return columns_of(bars_of(kind), PACKS["all"])


@cache
def rows_of(kind: str) -> tuple[list[Row], list[int]]:
    return bar_rows(bars_of(kind)), positions(bars_of(kind)["segment"]).tolist()


def test_every_feature_has_an_oracle() -> None:
    assert set(ORACLES) == set(FEATURES) - set(DEFAULT_FEATURES)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ORACLES)
def test_feature_agrees_with_its_oracle(name: str, kind: str) -> None:
    values, (rows, position) = made_of(kind)[name].to_list(), rows_of(kind)
    scale = np.std([value for value in values if value is not None])
    warm = [at for at in range(0, len(rows), 7) if position[at] >= FEATURES[name].warmup]
    assert len(warm) > 20
    for at in warm:
        expected = ORACLES[name](rows[at - position[at] : at + 1])
        assert values[at] == pytest.approx(expected, rel=2e-7, abs=1e-7 * scale)


def test_the_true_range_is_that_of_talib() -> None:
    bars = random_bars(5, 3000)
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    settled = slice(FEATURES["atr_14"].settled_after(EXACT), None)
    made = values_of(segment(bars, timeframe="1m"), FEATURES["atr_14"]).to_numpy()
    np.testing.assert_allclose(made[settled], (talib.ATR(high, low, close, 14) / close)[settled], rtol=1e-6)


STILL = {
    **dict.fromkeys(("OPEN0", "HIGH0", "LOW0", "VWAP0", "volatility_ratio_5_20", "volatility_ratio_10_60"), 1.0),
    **{f"{name}{bars}": 1.0 for name in ("ROC", "MA", "MAX", "MIN", "QTLU", "QTLD") for bars in WINDOWS},
    **{f"{name}{bars}": 1 / bars for name in ("IMAX", "IMIN") for bars in WINDOWS},
    **{f"RANK{bars}": (bars + 1) / 2 / bars for bars in WINDOWS},
    **{f"{name}_{bars}": value for name, value in (("close_place", 0.5), ("zero_share", 1.0)) for bars in (20, 60)},
    "zero_run_60": 60.0,
    "rsi_14": 50.0,
}
"""Values where all prices are equal and nothing is traded, of features that are not 0 there."""


def test_prices_that_stand_still() -> None:
    bars = random_bars(3, 300, flow=True).with_columns(pl.col(PRICES) * 0 + 100.1, pl.col("volume", *FLOW) * 0)
    made = columns_of(with_clock(bars), [feature for feature in PACKS["all"] if feature not in PACKS["calendar"]])
    for column in made:
        assert column.drop_nulls().unique().to_list() == [
            pytest.approx(STILL.get(column.name, 0.0), rel=1e-7, abs=1e-15)
        ]


def test_alpha158_is_that_of_talib() -> None:
    bars = random_bars(5, 3000)
    high, low, close, volume = (bars[name].to_numpy() for name in ("high", "low", "close", "volume"))
    time = np.arange(close.size, dtype=np.float64)
    for window in WINDOWS:
        expected = {
            "MA": talib.SMA(close, window) / close,
            "STD": talib.STDDEV(close, window) * np.sqrt(window / (window - 1)) / close,
            "BETA": talib.LINEARREG_SLOPE(close, window) / close,
            "RESI": 1 - talib.LINEARREG(close, window) / close,
            "RSQR": talib.CORREL(close, time, window) ** 2,
            "CORR": talib.CORREL(close, np.log1p(volume), window),
            "MAX": talib.MAX(high, window) / close,
            "MIN": talib.MIN(low, window) / close,
            "ROC": 1 / talib.ROCR(close, window),
        }
        made = columns_of(segment(bars, timeframe="1m"), [FEATURES[f"{name}{window}"] for name in expected])
        for name, values in expected.items():
            own = made[f"{name}{window}"].to_numpy()
            np.testing.assert_allclose(own[window:], values[window:], rtol=1e-6, atol=1e-6 * np.std(values[window:]))


def test_alpha158_has_the_names_of_qlib() -> None:
    kinds = {name.rstrip("0123456789") for name in (feature.name for feature in PACKS["alpha158"])}
    assert len(PACKS["alpha158"]) == 158
    assert {"KMID", "VWAP", "ROC", "RSQR", "QTLU", "IMXD", "CORD", "WVMA", "VSUMD"} <= kinds


def test_what_bars_cannot_give_is_left_out_by_name() -> None:
    kept, left_out = available(PACKS["alpha158"], ["timestamp", *PRICES, "volume"])
    assert left_out == ("VWAP0",)
    assert len(kept) == 157
    assert not available(PACKS["microstructure"], ["timestamp", *PRICES])[1]


def test_all_is_every_feature_once() -> None:
    assert expand_features(["all"]) == tuple(FEATURES) == tuple(feature.name for feature in PACKS["all"])
    assert expand_features(["default", "all"]) == tuple(FEATURES)


@pytest.mark.parametrize("count", [0, 4, 5, SORTED_AT_ONCE + 4, SORTED_AT_ONCE + 5, 2 * SORTED_AT_ONCE + 100])
def test_sorted_windows_give_the_bits_of_a_sliding_one(count: int) -> None:
    closes = random_bars(18, 2 * SORTED_AT_ONCE + 100, tick=0.05)["close"].head(count)
    for bars in (5, 6, 60):
        made = quantiles(closes, bars)
        for name, share in QUANTILES.items():
            sliding = closes.rolling_quantile(share, interpolation="linear", window_size=bars)
            assert made.struct.field(name).fill_nan(None).equals(sliding)
