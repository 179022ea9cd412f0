"""Features: against TA-Lib and slow oracles, at the edges of segments, and for exact values on flat bars."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.oracles_transforms import MINUTE, bar_rows, digest, golden_bars, oracle_feature, random_bars
from transforms.bars import TIME, clean
from transforms.features import DEFAULT_FEATURES, FEATURES, add_features, available, warmup_bars
from transforms.segments import positions, segment

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

SEGMENTED = segment(random_bars(14, 900, missing=0.03, jumps=3), timeframe="1m")
ROWS = bar_rows(SEGMENTED)
POSITIONS = positions(SEGMENTED["segment"]).tolist()
WINDOWED = [name for name, feature in FEATURES.items() if feature.lookback == feature.warmup]


def flat_bars(count: int, *, close: float = 100.1, volume: float = 0.0) -> pl.DataFrame:
    prices = {name: [close] * count for name in ("open", "high", "low", "close")}
    bars = pl.DataFrame({"timestamp": range(0, count * MINUTE, MINUTE), **prices, "volume": [volume] * count})
    return segment(bars.with_columns(pl.col("timestamp").cast(TIME)), timeframe="1m")


def test_the_default_set_is_all_of_them() -> None:
    assert tuple(FEATURES) == DEFAULT_FEATURES
    assert [(name, feature.name) for name, feature in FEATURES.items()] == [(name, name) for name in DEFAULT_FEATURES]
    assert len(DEFAULT_FEATURES) == 20


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_feature_agrees_with_its_oracle(name: str) -> None:
    values = add_features(SEGMENTED, [name])[name].to_list()
    scale = np.std([value for value in values if value is not None])
    for at in range(0, len(ROWS), 7):
        if POSITIONS[at] >= FEATURES[name].warmup:
            expected = oracle_feature(name, ROWS[at - POSITIONS[at] : at + 1])
            assert values[at] == pytest.approx(expected, rel=2e-7, abs=1e-7 * scale)
        else:
            assert values[at] is None
    assert sum(value is not None for value in values) > 100


def talib_values(name: str, bars: dict[str, Floats]) -> Floats | None:
    """TA-Lib's value of a feature, None where it has no such function."""
    close, volume = bars["close"], bars["volume"]
    log_returns = np.diff(np.log(close), prepend=np.nan)
    macd = dict(zip(("macd", "macd_signal", "macd_histogram"), talib.MACD(close, 12, 26, 9), strict=True))
    known: dict[str, Floats] = {f"change_{bars}": talib.ROCP(close, bars) for bars in (1, 2, 3, 5, 10)}
    known |= {f"close_ma_{bars}": close / talib.SMA(close, bars) - 1 for bars in (5, 10, 20)}
    known |= {f"volume_ma_{bars}": volume / talib.SMA(volume, bars) - 1 for bars in (5, 10, 20)}
    known |= {
        f"volatility_{bars}": np.append(np.nan, talib.STDDEV(log_returns[1:], bars)) * np.sqrt(bars / (bars - 1))
        for bars in (5, 10, 20)
    }
    known |= {"rsi_14": talib.RSI(close, 14), **{name: line / close for name, line in macd.items()}}
    return known.get(name)


@pytest.fixture(scope="module")
def real_bars(shared_data: Path) -> pl.DataFrame:
    """A week of one symbol's real minutes."""
    raw = pl.read_ipc(shared_data / "binance_futures_1m" / "BTC_USDT_USDT-1m-futures.feather")
    return clean(raw.rename({"date": "timestamp"})).bars.head(10_000)


def assert_agrees_with_talib(name: str, bars: pl.DataFrame) -> None:
    expected = talib_values(name, {column: bars[column].to_numpy() for column in ("close", "volume")})
    assert expected is not None
    feature = FEATURES[name]
    made = add_features(segment(bars, timeframe="1m"), [name])[name].to_numpy()
    rolling_std = float(np.nanstd(expected))
    exact = slice(feature.warmup_exact, None)
    np.testing.assert_allclose(made[exact], expected[exact], rtol=1e-6, atol=2e-7 * rolling_std)
    warm = slice(feature.warmup, None)
    np.testing.assert_allclose(made[warm], expected[warm], rtol=1e-6, atol=1e-3 * rolling_std)


IN_TALIB = [name for name in DEFAULT_FEATURES if name not in {"high_low", "open_close"}]


@pytest.mark.parametrize("name", IN_TALIB)
def test_feature_agrees_with_talib(name: str) -> None:
    bars = random_bars(5, 3000).with_columns(pl.col("volume") + 1)
    assert_agrees_with_talib(name, bars)


@pytest.mark.parametrize("name", IN_TALIB)
def test_feature_agrees_with_talib_on_real_bars(name: str, real_bars: pl.DataFrame) -> None:
    assert_agrees_with_talib(name, real_bars)


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_no_window_reaches_across_a_segment(name: str) -> None:
    read_all = add_features(SEGMENTED, [name])
    alone = [add_features(part, [name]) for part in SEGMENTED.partition_by("segment", maintain_order=True)]
    assert len(alone) > 3
    assert_frame_equal(read_all, pl.concat(alone), check_exact=True)


@pytest.mark.parametrize("name", WINDOWED)
def test_a_window_is_as_long_as_its_lookback_says(name: str) -> None:
    bars, feature = segment(random_bars(2, 60), timeframe="1m"), FEATURES[name]
    at = 40
    value = add_features(bars, [name])[name][at]
    changed: dict[int, bool] = {}
    for back in (feature.lookback, feature.lookback + 1):
        bump = pl.when(pl.int_range(pl.len()) == at - back).then(1.01).otherwise(1.0)
        other = bars.with_columns(pl.col(column) * bump for column in feature.inputs[:1])
        changed[back] = add_features(other, [name])[name][at] != value
    assert changed == {feature.lookback: True, feature.lookback + 1: False}


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_first_value_stands_at_the_end_of_the_warm_up(name: str) -> None:
    values = add_features(segment(random_bars(3, 300), timeframe="1m"), [name])[name]
    assert values.is_null().to_list() == [at < FEATURES[name].warmup for at in range(300)]
    assert values.dtype == pl.Float32


@pytest.mark.parametrize(("exact", "allowed"), [(False, 1e-3), (True, 1e-7)])
@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_a_longer_past_hardly_changes_a_warm_value(name: str, *, exact: bool, allowed: float) -> None:
    bars = segment(random_bars(4, 1500), timeframe="1m")
    read_all = add_features(bars, [name])[name]
    rolling_std = float(np.std(read_all.drop_nulls().to_numpy()))
    past = warmup_bars([name], exact=exact)
    for at in range(400, 1500, 100):
        value = add_features(bars[at - past : at + 1], [name])[name][-1]
        assert value == pytest.approx(read_all[at], rel=2e-7, abs=allowed * rolling_std)


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_declared_inputs_are_all_that_is_read(name: str) -> None:
    bars = segment(random_bars(6, 300), timeframe="1m")
    inputs = FEATURES[name].inputs
    others = [column for column in ("open", "high", "low", "close", "volume") if column not in inputs]
    value = add_features(bars, [name])[name]
    assert value.equals(add_features(bars.with_columns(pl.col(others) * 3 + 1), [name])[name])
    for column in inputs:
        noisy = bars.with_columns(pl.col(column) * (1 + pl.int_range(pl.len()) % 7 / 100))
        assert not value.equals(add_features(noisy, [name])[name])


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_feature_is_scale_free(name: str) -> None:
    bars = segment(random_bars(7, 300), timeframe="1m")
    scaled = bars.with_columns(pl.col("open", "high", "low", "close") * 1024, pl.col("volume") / 64)
    assert add_features(bars, [name])[name].equals(add_features(scaled, [name])[name])


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_flat_bars_without_volume(name: str) -> None:
    values = add_features(flat_bars(200), [name])[name].drop_nulls()
    expected = 50.0 if name == "rsi_14" else 0.0
    assert values.to_numpy() == pytest.approx(np.full(len(values), expected), abs=1e-12)


def test_flat_bars_after_a_lively_market_are_exact() -> None:
    lively = random_bars(8, 300).with_columns(pl.col("open", "high", "low", "close") * 1e6)
    last = pl.int_range(pl.len()) >= 260
    still = lively.with_columns(
        *(
            pl.when(last).then(pl.col("close").get(260)).otherwise(name).alias(name)
            for name in ("open", "high", "low", "close")
        ),
        volume=pl.when(last).then(0.0).otherwise("volume"),
    )
    names = ["volatility_5", "volatility_10", "volatility_20", "high_low", "open_close", "change_10", "volume_ma_20"]
    ends = add_features(segment(still, timeframe="1m"), names).select(names)[-15:]
    assert ends.unique().rows() == [(0.0,) * len(names)]


def test_a_bar_with_volume_after_a_window_without() -> None:
    bars = flat_bars(30).with_columns(volume=pl.when(pl.int_range(pl.len()) == 29).then(2.0).otherwise(0.0))
    values = add_features(bars, ["volume_ma_5", "volume_ma_20"])
    assert values.select("volume_ma_5", "volume_ma_20").row(-1) == (4.0, 19.0)
    assert values.select("volume_ma_5", "volume_ma_20").row(-2) == (0.0, 0.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), tick=st.sampled_from([0.0, 0.01, 0.5]), missing=st.sampled_from([0.0, 0.2]))
def test_every_warm_value_is_finite_and_within_bounds(seed: int, tick: float, missing: float) -> None:
    bars = segment(random_bars(seed, 400, tick=tick, missing=missing, jumps=1), timeframe="1m")
    made = add_features(bars, DEFAULT_FEATURES).select(DEFAULT_FEATURES)
    assert made.select(pl.all_horizontal(pl.all().is_finite().all())).item()
    assert made["rsi_14"].is_between(0, 100).all()
    for name in ("volatility_5", "volatility_20", "high_low"):
        assert (made[name].drop_nulls() >= 0).all()


def test_rsi_at_its_ends() -> None:
    rising = flat_bars(200).with_columns(close=100.0 + pl.int_range(pl.len()))
    falling = flat_bars(200).with_columns(close=400.0 - pl.int_range(pl.len()))
    assert add_features(rising, ["rsi_14"])["rsi_14"][-1] == 100
    assert add_features(falling, ["rsi_14"])["rsi_14"][-1] == 0


def test_volume_features_are_left_out_by_name_without_volume() -> None:
    kept, left_out = available(DEFAULT_FEATURES, ["timestamp", "open", "high", "low", "close"])
    assert left_out == ("volume_ma_5", "volume_ma_10", "volume_ma_20")
    assert kept == tuple(name for name in DEFAULT_FEATURES if name not in left_out)
    assert available(["macd", "volume_ma_5"], SEGMENTED.columns) == (("macd", "volume_ma_5"), ())


def test_missing_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="no volume in these bars: leave out the features volume_ma_5, volume_ma_10"):
        add_features(SEGMENTED.drop("volume"), ["macd", "volume_ma_5", "volume_ma_10"])


def test_warm_up_of_a_set_is_its_longest() -> None:
    assert warmup_bars(["change_1", "close_ma_20", "volatility_20"]) == 20
    assert warmup_bars(DEFAULT_FEATURES) == 125
    assert warmup_bars(DEFAULT_FEATURES, exact=True) == 280
    assert warmup_bars([]) == 0


@pytest.mark.parametrize(("bars", "owed"), [(125, 1e-4), (280, 1e-9)])
def test_warm_up_covers_the_slowest_average(bars: int, owed: float) -> None:
    weights = [1 / 14, 2 / 13, 2 / 27, 2 / 10]
    assert max((1 - weight) ** bars for weight in weights) < owed


def test_one_feature_at_a_time_gives_the_same_bits() -> None:
    together = add_features(SEGMENTED, DEFAULT_FEATURES)
    assert together.columns == [*SEGMENTED.columns, *DEFAULT_FEATURES]
    for name in DEFAULT_FEATURES:
        assert together[name].equals(add_features(SEGMENTED, [name])[name])


GOLDEN = {
    "change_1": (1, "97fac6c7a6dca493"),
    "change_2": (1, "186d5399cb83751c"),
    "change_3": (1, "7450b67362a441e4"),
    "change_5": (1, "283e7324dba51abb"),
    "change_10": (1, "adfe5cbf9e2e90d2"),
    "high_low": (1, "f2cf99cd0d3bb63c"),
    "open_close": (1, "b577ceb91907fa12"),
    "close_ma_5": (1, "7f47000591d6ba2e"),
    "close_ma_10": (1, "bb3bd2393cf73340"),
    "close_ma_20": (1, "1c75bb57451e2eb0"),
    "volatility_5": (1, "04fe63b801473e5a"),
    "volatility_10": (1, "6ecce76714359f02"),
    "volatility_20": (1, "632eeedf06e79e3a"),
    "volume_ma_5": (1, "766a7d3e6aa3f175"),
    "volume_ma_10": (1, "f5306bca438d9895"),
    "volume_ma_20": (1, "244b5281e79660be"),
    "rsi_14": (1, "e26065d7f08d8961"),
    "macd": (1, "841a91ffae0aad67"),
    "macd_signal": (1, "c3b27c3415be80e5"),
    "macd_histogram": (1, "6389178d94e381a0"),
}


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_numbers_change_only_with_the_version(name: str) -> None:
    """A hash that differs means other numbers for models: raise the feature's version, then record both."""
    values = add_features(segment(golden_bars(), timeframe="1m"), [name])[name]
    assert (FEATURES[name].version, digest(values)) == GOLDEN[name]
