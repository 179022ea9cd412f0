"""Sequences: of one segment, of bars and not of samples, alike in training and in prediction, and never copied."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.core.errors import ConfigError
from job.core.synth import make_bars
from job.learning.estimators import ALGORITHMS, sequence_bars
from job.learning.features import resolve_features
from job.learning.sequences import Sequences, sequences_of, with_complete
from job.learning.splits import last_part
from job.train.pooled import SamplingCap, downsample
from tests.oracles_training import FEATURES, made_samples, model_spec, purged_train
from tests.oracles_transforms import random_bars
from transforms.bars import clean
from transforms.features import FEATURES as ALL
from transforms.features.compute import warmup_bars
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.samples import Samples, make_features, make_samples
from transforms.segments import segment

SEEN = [ALL[name] for name in ("change_1", "change_5", "volatility_5")]
NAMES = tuple(feature.name for feature in SEEN)
HOW = Preparation(source="1m", timeframe="1m")


def broken_bars(seed: int = 3, count: int = 2_000) -> pl.DataFrame:
    """Return minutes with bars to fill, gaps too long to fill, jumps, and prices that stand still."""
    bars = random_bars(seed, count, missing=0.02, jumps=3, tick=0.01)
    return bars.filter(~pl.int_range(pl.len()).is_between(700, 740) & ~pl.int_range(pl.len()).is_between(1_200, 1_203))


def samples(length: int, bars: pl.DataFrame | None = None, **settings: Any) -> Samples:
    given: dict[str, Any] = {"features": SEEN, "label": Direction(horizon=2), "sequence_bars": length} | settings
    return make_samples(broken_bars() if bars is None else bars, HOW, **given)


@pytest.mark.parametrize("market", [False, True])
def test_a_sequence_is_the_neighboring_bars_of_one_segment(market: bool) -> None:
    """Against bars that are segmented here, and looked at one by one."""
    length = 7
    frame = samples(length, market=market).frame
    everything = segment(broken_bars(), timeframe="1m", max_fill=5)
    minutes = {time: number for number, time in enumerate(everything["timestamp"].to_list())}
    segments, filled = everything["segment"].to_list(), everything["filled"].to_list()
    first_of = {number: segments.index(number) for number in set(segments)}
    warm = warmup_bars(SEEN)
    sequences = sequences_of(frame, NAMES, length)
    expected = {
        number
        for number, (part, made) in enumerate(zip(segments, filled, strict=True))
        if not made and number - first_of[part] >= warm + length - 1
    }
    complete = frame.filter("complete")
    assert {minutes[time] for time in complete["timestamp"]} == expected
    assert len(sequences) == len(expected) > 500
    times = frame["timestamp"].to_list()
    for end in sequences.ends.tolist():
        numbers = [minutes[time] for time in times[end - length + 1 : end + 1]]
        assert numbers == list(range(numbers[-1] - length + 1, numbers[-1] + 1))
        assert len({segments[number] for number in numbers}) == 1
    known = frame[NAMES[0]].to_numpy()
    assert np.array_equal(sequences.bars[np.isfinite(known), 0], known[np.isfinite(known)])


def test_labels_are_those_of_models_that_see_rows_alone() -> None:
    alone, frame = samples(1).frame, samples(7).frame
    assert alone.columns == [name for name in frame.columns if name != "complete"]
    labeled = frame.drop_nulls("label")
    assert labeled["complete"].all()
    assert labeled.drop("complete").equals(alone.join(labeled, on="timestamp", how="semi"))
    counts, before = samples(7).counts, samples(1).counts
    assert counts["used"] == labeled.height
    assert counts["warmup"] > before["warmup"]
    assert sum(counts[state] for state in ("warmup", "not_finite", "no_label", "used")) == counts["bars"]


@pytest.mark.parametrize("market", [False, True])
def test_bars_before_the_start_are_seen_but_are_no_samples(market: bool) -> None:
    length, start = 7, broken_bars()["timestamp"][400]
    frame = samples(length, start=start, market=market, unique=True).frame
    early = frame.filter(pl.col("timestamp") < start)
    assert early.height == length - 1
    assert not early["complete"].any()
    assert early["label"].null_count() == early["uniqueness"].null_count() == early.height
    late = frame.filter(pl.col("timestamp") >= start)
    assert late["complete"][0]
    whole = samples(length, market=market).frame.filter(pl.col("timestamp") >= start)
    assert late.drop("uniqueness").equals(whole)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1_000), length=st.integers(2, 40), cut=st.integers(0, 900))
def test_prediction_sees_the_sequences_of_training(seed: int, length: int, cut: int) -> None:
    """Of every bar that is predicted, whatever bar predictions start with."""
    bars = broken_bars(seed, 1_500)
    start = bars["timestamp"][cut]
    trained = samples(length, bars).frame
    predicted = make_features(bars, HOW, features=SEEN, sequence_bars=length, start=start).frame
    one, other = (sequences_of(frame, NAMES, length) for frame in (trained, predicted))
    place = {time: number for number, time in enumerate(trained.filter("complete")["timestamp"].to_list())}
    times = predicted.filter("complete")["timestamp"].to_list()
    assert all(time >= start for time in times)
    apart = other.apart(np.arange(len(other))).bars.reshape(len(other), length, -1)
    same = one.apart(np.array([place[time] for time in times], np.int64)).bars.reshape(len(other), length, -1)
    assert np.array_equal(apart, same)


def test_predictions_begin_after_the_long_warm_up_and_a_sequence() -> None:
    bars = clean(make_bars(seed=1, symbol=0, days=1, world="noise"), timeframe="1m").bars
    features = resolve_features(("macd", "change_1"))
    alone, seen = (make_features(bars, HOW, features=features, sequence_bars=length) for length in (1, 32))
    first = seen.frame.filter("complete")["timestamp"][0]
    assert first - alone.frame["timestamp"][0] >= timedelta(minutes=31)
    assert seen.counts["used"] == seen.frame["complete"].sum() <= alone.counts["used"] - 31


@pytest.mark.parametrize("pooled", [False, True])
def test_samples_that_say_nothing_of_segments_are_taken_by_the_clock(pooled: bool) -> None:
    one = made_samples(100).filter(~pl.int_range(pl.len()).is_in([40, 41]))
    frame = one.with_columns(series=pl.lit("A"))
    if pooled:
        frame = pl.concat([frame, made_samples(50, seed=1).with_columns(series=pl.lit("B"))])
        frame = frame.sort("available_at", "series")
    found = with_complete(frame, 10)
    expected = [*[False] * 9, *[True] * 31, *[False] * 9, *[True] * 49]
    assert found.filter(series="A")["complete"].to_list() == expected
    if pooled:
        assert found.filter(series="B")["complete"].to_list() == [*[False] * 9, *[True] * 41]
        sequences = sequences_of(found, FEATURES, 10)
        rows = found.with_row_index().filter("complete")
        for end, row in zip(sequences.ends.tolist(), rows.iter_rows(named=True), strict=True):
            own = found.filter((pl.col("series") == row["series"]) & (pl.col("available_at") <= row["available_at"]))
            assert np.array_equal(sequences.bars[end - 9 : end + 1], own.tail(10).select(FEATURES).to_numpy())


def test_rows_share_their_bars() -> None:
    bars = np.arange(40, dtype=np.float32).reshape(20, 2)
    sequences = Sequences(bars, np.arange(4, 20), 5)
    some = sequences.at(np.array([3, 5, 6]))
    assert np.shares_memory(some.bars, bars)
    assert (len(some.bars), some.shape) == (8, (3, 2))
    apart = sequences.apart(np.array([3, 6]))
    assert apart.bars.tolist() == [*bars[3:8].tolist(), *bars[6:11].tolist()]
    assert apart.ends.tolist() == [4, 9]


def test_a_pool_that_is_downsampled_keeps_its_bars() -> None:
    frame = with_complete(made_samples(400), 10)
    cap = SamplingCap(int(frame["available_at"].to_physical()[300]), 0.5)
    kept = downsample(frame, cap, name="X", sequences=True)
    assert kept.height == frame.height
    assert kept["label"].count() == downsample(frame, cap, name="X").height < 300


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60), share=st.floats(0.05, 0.9))
def test_the_last_part_judges_rows_whose_labels_are_known_before_it(seed: int, rows: int, share: float) -> None:
    random = np.random.default_rng(seed)
    times = np.sort(random.integers(0, 40, rows)).astype(np.int64)
    ends = times + random.integers(1, 8, rows)
    fold = last_part(times, ends, share=share)
    if fold is None:
        return
    first = int(times[fold.test[0]])
    assert fold.test.tolist() == [row for row in range(rows) if times[row] >= first]
    assert fold.train.tolist() == purged_train(times, ends, first, 0)


def test_sequence_bars_follow_params_and_are_1_elsewhere() -> None:
    assert {name: sequence_bars(model_spec(name)) for name in ALGORITHMS if sequence_bars(model_spec(name)) > 1} == {
        "gru": 32,
        "tcn": 32,
    }
    assert sequence_bars(model_spec("gru", params={"sequence_bars": 8})) == 8
    with pytest.raises(ConfigError, match="unknown algorithm 'grue'; did you mean 'gru'"):
        sequence_bars(model_spec("grue"))
