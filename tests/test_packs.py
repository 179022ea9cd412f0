"""Packs beside the default one: against slow oracles, TA-Lib where it has a feature, and prices that stand still."""

import numpy as np
import polars as pl
import pytest
import talib

from tests.conformance import values_of
from tests.oracles_packs import ORACLES
from tests.oracles_transforms import bar_rows, random_bars
from transforms.features import DEFAULT_FEATURES, FEATURES
from transforms.features.feature import EXACT
from transforms.segments import positions, segment

SEGMENTED = segment(random_bars(15, 900, missing=0.01, jumps=2), timeframe="1m")
ROWS = bar_rows(SEGMENTED)
POSITIONS = positions(SEGMENTED["segment"]).tolist()


def test_every_feature_has_an_oracle() -> None:
    assert set(ORACLES) == set(FEATURES) - set(DEFAULT_FEATURES)


@pytest.mark.parametrize("name", ORACLES)
def test_feature_agrees_with_its_oracle(name: str) -> None:
    values = values_of(SEGMENTED, FEATURES[name]).to_list()
    scale = np.std([value for value in values if value is not None])
    warm = [at for at in range(0, len(ROWS), 7) if POSITIONS[at] >= FEATURES[name].warmup]
    assert len(warm) > 20
    for at in warm:
        expected = ORACLES[name](ROWS[at - POSITIONS[at] : at + 1])
        assert values[at] == pytest.approx(expected, rel=2e-7, abs=1e-7 * scale)


def test_the_true_range_is_that_of_talib() -> None:
    bars = random_bars(5, 3000)
    high, low, close = (bars[name].to_numpy() for name in ("high", "low", "close"))
    settled = slice(FEATURES["atr_14"].settled_after(EXACT), None)
    made = values_of(segment(bars, timeframe="1m"), FEATURES["atr_14"]).to_numpy()
    np.testing.assert_allclose(made[settled], (talib.ATR(high, low, close, 14) / close)[settled], rtol=1e-6)


@pytest.mark.parametrize("name", ORACLES)
def test_prices_that_stand_still(name: str) -> None:
    prices = pl.col("open", "high", "low", "close")
    still = segment(random_bars(3, 300).with_columns(prices * 0 + 100.1), timeframe="1m")
    expected = 1.0 if name.startswith("volatility_ratio") else 0.0
    assert (values_of(still, FEATURES[name]).drop_nulls() == expected).all()
