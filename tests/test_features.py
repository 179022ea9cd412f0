"""Features: against TA-Lib and slow oracles, at the edges of segments, and for exact values on flat bars."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from job.learning.features import SAMPLE_COLUMNS
from tests.conformance import (
    FEATURE_PROPERTIES,
    columns_of,
    feature_begins_at_the_end_of_its_warm_up,
    feature_forgets_what_came_before_its_warm_up,
    feature_is_finite,
    feature_is_of_one_segment,
    feature_is_scale_free,
    feature_needs_its_lookback_and_no_more,
    feature_never_looks_ahead,
    feature_reads_its_inputs_and_no_more,
    values_of,
    with_clock,
)
from tests.oracles_transforms import (
    MINUTE,
    bar_rows,
    digest,
    golden_bars,
    oracle_feature,
    oracle_window,
    random_bars,
)
from transforms.bars import TIME, clean
from transforms.features import DEFAULT_FEATURES, FEATURES, PACKS
from transforms.features.compute import add_features, available, warmup_bars
from transforms.features.default import close_ma, volatility, volume_ma
from transforms.features.feature import EXACT, Feature, Term, exponential_average
from transforms.segments import positions, segment

Holds = Callable[..., None]
"""A property that some features have; it raises AssertionError where they do not."""
Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

SEGMENTED = segment(random_bars(14, 900, missing=0.03, jumps=3), timeframe="1m")
ROWS = bar_rows(SEGMENTED)
POSITIONS = positions(SEGMENTED["segment"]).tolist()


def named(*names: str) -> tuple[Feature, ...]:
    """Return features of the table."""
    return tuple(FEATURES[name] for name in names)


def flat_bars(count: int, *, close: float = 100.1, volume: float = 0.0) -> pl.DataFrame:
    prices = {name: [close] * count for name in ("open", "high", "low", "close")}
    bars = pl.DataFrame({"timestamp": range(0, count * MINUTE, MINUTE), **prices, "volume": [volume] * count})
    return segment(bars.with_columns(pl.col("timestamp").cast(TIME)), timeframe="1m")


def test_the_default_pack() -> None:
    assert tuple(FEATURES[name] for name in DEFAULT_FEATURES) == PACKS["default"]
    assert len(DEFAULT_FEATURES) == 20


def test_names_mean_one_thing() -> None:
    for pack in PACKS.values():
        assert all(FEATURES[feature.name] is feature for feature in pack)
    assert not set(PACKS) & set(FEATURES)
    assert not SAMPLE_COLUMNS & set(FEATURES)


@pytest.mark.parametrize("holds", FEATURE_PROPERTIES)
@pytest.mark.parametrize("pack", sorted(set(PACKS) - {"all"}))
def test_every_feature_of_a_pack_is_sound(pack: str, holds: Holds) -> None:
    holds(*PACKS[pack])


_close = pl.col("close")
UNSOUND: list[tuple[Holds, Feature]] = [
    (feature_never_looks_ahead, Feature("x", ("close",), 2, _close / _close.rolling_mean(3, center=True) - 1)),
    (feature_is_of_one_segment, Feature("x", ("close",), 2, _close / _close.shift(3) - 1)),
    (feature_needs_its_lookback_and_no_more, Feature("x", ("close",), 2, _close / _close.shift(3) - 1)),
    (feature_needs_its_lookback_and_no_more, Feature("x", ("close",), 4, _close / _close.shift(3) - 1)),
    (feature_begins_at_the_end_of_its_warm_up, Feature("x", ("close",), 2, _close / _close.shift(3) - 1)),
    (
        feature_forgets_what_came_before_its_warm_up,
        Feature("x", ("close",), 0, pl.col("a") / _close, (Term("a", _close.rolling_mean(500, min_samples=1)),)),
    ),
    (feature_reads_its_inputs_and_no_more, Feature("x", ("close", "open"), 1, _close / _close.shift(1) - 1)),
    (feature_is_scale_free, Feature("x", ("close",), 1, _close - _close.shift(1))),
    (feature_is_finite, Feature("x", ("volume",), 1, pl.col("volume") / pl.col("volume").shift(1))),
]
"""A property, and a feature that lacks it."""


@pytest.mark.parametrize(("holds", "feature"), UNSOUND)
def test_an_unsound_feature_is_found(holds: Holds, feature: Feature) -> None:
    with pytest.raises(AssertionError, match=r": x$"):
        holds(feature)


@pytest.mark.parametrize(("holds", "feature"), UNSOUND)
def test_an_unsound_feature_is_named_among_sound_ones(holds: Holds, feature: Feature) -> None:
    with pytest.raises(AssertionError, match=r": x$"):
        holds(FEATURES["change_3"], feature, FEATURES["high_low"], FEATURES["volume_ma_5"], FEATURES["rsi_14"])


@pytest.mark.parametrize("name", DEFAULT_FEATURES)
def test_feature_agrees_with_its_oracle(name: str) -> None:
    values = values_of(SEGMENTED, FEATURES[name]).to_list()
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
    made = values_of(segment(bars, timeframe="1m"), FEATURES[name]).to_numpy()
    rolling_std = float(np.nanstd(expected))
    exact = slice(feature.settled_after(EXACT), None)
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
def test_flat_bars_without_volume(name: str) -> None:
    values = values_of(flat_bars(200), FEATURES[name]).drop_nulls()
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
    ends = add_features(segment(still, timeframe="1m"), named(*names)).select(names)[-15:]
    assert ends.unique().rows() == [(0.0,) * len(names)]


def test_a_bar_with_volume_after_a_window_without() -> None:
    bars = flat_bars(30).with_columns(volume=pl.when(pl.int_range(pl.len()) == 29).then(2.0).otherwise(0.0))
    values = add_features(bars, named("volume_ma_5", "volume_ma_20"))
    assert values.select("volume_ma_5", "volume_ma_20").row(-1) == (4.0, 19.0)
    assert values.select("volume_ma_5", "volume_ma_20").row(-2) == (0.0, 0.0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), tick=st.sampled_from([0.0, 0.01, 0.5]), missing=st.sampled_from([0.0, 0.2]))
def test_every_warm_value_is_finite_and_within_bounds(seed: int, tick: float, missing: float) -> None:
    bars = segment(random_bars(seed, 400, tick=tick, missing=missing, jumps=1), timeframe="1m")
    made = add_features(bars, PACKS["default"]).select(DEFAULT_FEATURES)
    assert made.select(pl.all_horizontal(pl.all().is_finite().all())).item()
    assert made["rsi_14"].is_between(0, 100).all()
    for name in ("volatility_5", "volatility_20", "high_low"):
        assert (made[name].drop_nulls() >= 0).all()


def test_rsi_at_its_ends() -> None:
    rising = flat_bars(200).with_columns(close=100.0 + pl.int_range(pl.len()))
    falling = flat_bars(200).with_columns(close=400.0 - pl.int_range(pl.len()))
    assert values_of(rising, FEATURES["rsi_14"])[-1] == 100
    assert values_of(falling, FEATURES["rsi_14"])[-1] == 0


def test_volume_features_are_left_out_by_name_without_volume() -> None:
    kept, left_out = available(PACKS["default"], ["timestamp", "open", "high", "low", "close"])
    assert left_out == ("volume_ma_5", "volume_ma_10", "volume_ma_20")
    assert kept == named(*(name for name in DEFAULT_FEATURES if name not in left_out))
    assert available(named("macd", "volume_ma_5"), SEGMENTED.columns) == (named("macd", "volume_ma_5"), ())


def test_missing_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="no volume in these bars: leave out the features volume_ma_5, volume_ma_10"):
        add_features(SEGMENTED.drop("volume"), named("macd", "volume_ma_5", "volume_ma_10"))
    share = Feature("share", ("taker_buy_volume", "volume"), 0, pl.col("taker_buy_volume") / pl.col("volume"))
    with pytest.raises(ValueError, match="no taker_buy_volume, volume in these bars: leave out the features share"):
        add_features(SEGMENTED.drop("volume"), [share])


def test_warm_up_of_a_set_is_its_longest() -> None:
    assert warmup_bars(named("change_1", "close_ma_20", "volatility_20")) == 20
    assert warmup_bars(PACKS["default"]) == 125
    assert warmup_bars(PACKS["default"], exact=True) == 280
    assert warmup_bars([]) == 0


@given(weight=st.floats(1e-3, 0.9), bars=st.integers(0, 50))
def test_warm_up_follows_from_the_slowest_average(weight: float, bars: int) -> None:
    slow = exponential_average("slow", weight, pl.col("close"))
    fast = exponential_average("fast", (1 + weight) / 2, pl.col("slow"), (slow,))
    feature = Feature("x", ("close",), bars, pl.col("fast") / pl.col("close"), (fast,))
    for found, owed in ((feature.warmup, 1e-4), (feature.settled_after(EXACT), 1e-9)):
        assert (1 - weight) ** found <= owed * (1 + 1e-9)
        assert found == bars or (1 - weight) ** (found - 1) > owed
    assert Feature("x", ("close",), bars, pl.col("close") / pl.col("close")).warmup == bars


@pytest.mark.parametrize("bars", [1, 2, 3, 7, 50, 64, 100])
def test_windows_of_any_length(bars: int) -> None:
    """Also beside those of the pack, whose sums they share."""
    others = [make(bars) for make in (close_ma, volume_ma, *([volatility] if bars > 1 else []))]
    own = [feature for feature in PACKS["default"] if feature.name not in {other.name for other in others}]
    made = add_features(SEGMENTED, [*own, *others])
    for name in (feature.name for feature in own):
        assert made[name].equals(values_of(SEGMENTED, FEATURES[name]))
    for feature in others:
        kind = feature.name.rpartition("_")[0]
        scale = float(np.std(made[feature.name].drop_nulls().to_numpy())) or 1.0
        for at in range(0, len(ROWS), 17):
            if POSITIONS[at] >= feature.warmup:
                expected = oracle_window(kind, ROWS[at - POSITIONS[at] : at + 1], bars)
                assert made[feature.name][at] == pytest.approx(expected, rel=2e-7, abs=1e-7 * scale)
            else:
                assert made[feature.name][at] is None


def test_two_terms_of_one_name() -> None:
    ours, theirs = (Term("x", pl.col("close") * factor) for factor in (1, 2))
    features = [
        Feature(f"f{at}", ("close",), 0, pl.col("x") / _close, (term,)) for at, term in enumerate((ours, theirs))
    ]
    with pytest.raises(ValueError, match="two terms are named x and differ: rename one"):
        add_features(SEGMENTED, features)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Feature("x", ("close",), -1, _close), "feature x: lookback must be 0 bars or more, got -1"),
        (lambda: Feature("x", ("open",), 0, _close), "feature x reads close: add it to its inputs or terms"),
        (lambda: Feature("x", ("bids",), 0, pl.col("bids")), "feature x: bars have no bids, they have timestamp"),
        (lambda: Feature("x", ("close",), 0, _close.ewm_mean(span=3)), "feature x remembers every earlier bar: use"),
        (lambda: Term("x", _close.cum_sum()), "term x remembers every earlier bar: use `exponential_average`"),
        (lambda: Term("close", _close), "term close: a column of bars has this name; rename the term"),
        (lambda: Term("x", _close, weight=1.5), "term x: weight must lie between 0 and 1, got 1.5"),
    ],
)
def test_definitions_that_cannot_be_right(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@settings(max_examples=8, deadline=None)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_any_segments_give_the_bits_of_each_alone(lengths: list[int]) -> None:
    bars = with_clock(random_bars(20, 1200, flow=True)).head(sum(lengths))
    bars = bars.with_columns(segment=pl.Series(np.repeat(np.arange(len(lengths)), lengths)).cast(pl.UInt32))
    alone = pl.concat(columns_of(part, PACKS["all"]) for part in bars.partition_by("segment", maintain_order=True))
    assert columns_of(bars, PACKS["all"]).equals(alone)


def test_one_feature_at_a_time_gives_the_same_bits() -> None:
    together = add_features(SEGMENTED, PACKS["default"])
    assert together.columns == [*SEGMENTED.columns, *DEFAULT_FEATURES]
    for name in DEFAULT_FEATURES:
        assert together[name].equals(values_of(SEGMENTED, FEATURES[name]))


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
    values = values_of(segment(golden_bars(), timeframe="1m"), FEATURES[name])
    assert (FEATURES[name].version, digest(values)) == GOLDEN[name]
