"""Samples: what becomes of each bar, warm-up before `start`, edges of segments, uniqueness, threads."""

import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.oracles_transforms import MINUTE, oracle_uniqueness, random_bars
from transforms.bars import TIME, clean
from transforms.features import FEATURES, PACKS
from transforms.features.feature import Feature
from transforms.labels import Direction, Label, TripleBarrier
from transforms.preparing import Preparation
from transforms.samples import Samples, make_samples
from transforms.segments import segment

SHORT = ("change_1", "volatility_5", "volume_ma_5")
SEEN = tuple(FEATURES[name] for name in SHORT)
LABELS = [Direction(horizon=3), Direction(horizon=1), TripleBarrier(window=5, horizon=4)]


def samples(
    bars: pl.DataFrame,
    *,
    features: Sequence[Feature] = SEEN,
    label: Label = LABELS[0],
    start: datetime | None = None,
    **prepared: Any,
) -> Samples:
    """Samples of 1m bars with a short warm-up, unless told otherwise."""
    how = Preparation(**({"source": "1m", "timeframe": "1m"} | prepared))
    return make_samples(bars, how, features=features, label=label, start=start)


def at(bars: pl.DataFrame, row: int) -> datetime:
    time = bars["timestamp"][row]
    assert isinstance(time, datetime)
    return time


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 400),
    label=st.sampled_from(LABELS),
    timeframe=st.sampled_from(["1m", "5m"]),
    first=st.integers(-10, 410),
    tick=st.sampled_from([0.0, 0.05]),
)
def test_every_bar_from_start_on_is_accounted_for(
    *, seed: int, count: int, label: Label, timeframe: str, first: int, tick: float
) -> None:
    bars = random_bars(seed, count, missing=0.05, jumps=1, tick=tick)
    start = datetime.fromisoformat("2023-11-14T22:00:00+00:00") + timedelta(minutes=first)
    made = samples(bars, label=label, timeframe=timeframe, start=start)
    counts, frame = made.counts, made.frame
    assert counts["bars"] == counts["warmup"] + counts["not_finite"] + counts["no_label"] + counts["used"]
    assert counts["used"] == frame.height
    assert frame.columns == ["timestamp", "available_at", "label", "label_end", *SHORT]
    assert [frame.schema[name] for name in ("timestamp", "available_at", "label_end")] == [TIME, TIME, TIME]
    assert [frame.schema[name] for name in ("label", *SHORT)] == [pl.Int8, *[pl.Float32] * 3]
    assert frame["timestamp"].is_sorted()
    assert frame["timestamp"].is_unique().all()
    assert (frame["timestamp"] >= start).all()
    assert (frame["label_end"] > frame["available_at"]).all()
    assert frame.null_count().sum_horizontal().sum() == 0
    assert frame.select(pl.all_horizontal(pl.col(SHORT).is_finite().all())).item()


def test_columns_of_a_sample() -> None:
    bars = random_bars(1, 100)
    row = samples(bars, timeframe="5m").frame.row(0, named=True)
    assert row["available_at"] - row["timestamp"] == timedelta(minutes=5)
    assert row["label_end"] - row["available_at"] == timedelta(minutes=15)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("timeframe", ["1m", "5m"])
def test_bars_before_start_only_warm_up(label: Label, timeframe: str) -> None:
    bars = random_bars(2, 3000, missing=0.01)
    start = at(bars, 1503)
    read_all = samples(bars, label=label, timeframe=timeframe, features=PACKS["default"])
    late = samples(bars, label=label, timeframe=timeframe, features=PACKS["default"], start=start)
    assert_frame_equal(late.frame, read_all.frame.filter(pl.col("timestamp") >= start), check_exact=True)
    assert late.counts["warmup"] < read_all.counts["warmup"]


def test_warm_up_is_used_up_before_start() -> None:
    bars = random_bars(3, 400)
    assert samples(bars, features=PACKS["default"]).counts["warmup"] == 125
    assert samples(bars, features=PACKS["default"], start=at(bars, 100)).counts["warmup"] == 25
    assert samples(bars, features=PACKS["default"], start=at(bars, 125)).counts["warmup"] == 0


def test_start_counts_only_what_comes_after_it() -> None:
    bars = random_bars(4, 300)
    cut = pl.concat([bars[:50], bars[53:100], bars[150:250], bars[253:]])
    everything = samples(cut).counts
    assert {name: everything[name] for name in ("bars", "filled", "segments", "jumps")} == {
        "bars": 244,
        "filled": 6,
        "segments": 2,
        "jumps": 0,
    }
    late = samples(cut, start=at(bars, 200)).counts
    assert (late["bars"], late["filled"], late["segments"]) == (97, 3, 1)


def test_start_between_two_bars() -> None:
    bars = random_bars(5, 100)
    made = samples(bars, start=at(bars, 50) + timedelta(seconds=1))
    assert made.frame["timestamp"][0] == at(bars, 51)


def test_start_after_the_last_bar_leaves_nothing() -> None:
    bars = random_bars(5, 100)
    made = samples(bars, start=at(bars, 99) + timedelta(days=1))
    assert made.frame.is_empty()
    assert set(made.counts.values()) == {0}
    assert made.label_stats["uniqueness"] is None
    assert made.label_stats["tie"] is None


def test_segments_start_cold_and_end_without_labels() -> None:
    bars = random_bars(6, 200)
    cut = pl.concat([bars[:80], bars[100:]])
    made = samples(cut)
    assert (made.counts["warmup"], made.counts["no_label"], made.counts["used"]) == (10, 6, 164)
    kept = made.frame["timestamp"].to_list()
    assert kept == [at(bars, row) for row in (*range(5, 77), *range(105, 197))]


def test_a_jump_starts_cold_too_and_is_counted() -> None:
    bars = random_bars(7, 200)
    doubled = pl.when(pl.int_range(pl.len()) >= 80).then(2.0).otherwise(1.0)
    made = samples(bars.with_columns(pl.col("open", "high", "low", "close") * doubled))
    counts = {name: made.counts[name] for name in ("segments", "jumps", "warmup", "no_label")}
    assert counts == {"segments": 2, "jumps": 1, "warmup": 10, "no_label": 6}


def test_a_filled_bar_is_no_sample_but_warms_up() -> None:
    bars = random_bars(8, 100)
    made = samples(pl.concat([bars[:40], bars[43:]]))
    assert (made.counts["filled"], made.counts["bars"], made.counts["warmup"], made.counts["segments"]) == (3, 97, 5, 1)
    assert not made.frame["timestamp"].is_in(bars["timestamp"][40:43].implode()).any()
    assert made.frame["timestamp"].is_in(bars["timestamp"][43:48].implode()).sum() == 5


def test_a_feature_that_is_not_finite_is_no_sample() -> None:
    bars = random_bars(9, 100)
    tall = bars.with_columns(high=pl.when(pl.int_range(pl.len()) == 60).then(1e300).otherwise("high"))
    made = samples(tall, features=[FEATURES["high_low"]])
    assert made.counts["not_finite"] == 1
    assert at(bars, 60) not in made.frame["timestamp"].to_list()


def test_resampling_counts_pass_through() -> None:
    bars = random_bars(10, 99)
    made = samples(pl.concat([bars[:31], bars[34:]]), timeframe="5m")
    assert made.counts["unfinished"] == 1
    assert made.counts["low_coverage"] == 1
    assert made.counts["filled"] == 1


def test_no_features_at_all() -> None:
    made = samples(random_bars(11, 20), features=())
    assert (made.counts["warmup"], made.counts["used"]) == (0, 17)


def test_label_statistics() -> None:
    bars = random_bars(12, 2000, tick=0.1, missing=0.05)
    label = TripleBarrier(k=1.5, window=5, horizon=2)
    made = samples(bars, label=label, features=[FEATURES["change_1"]])
    row = label.apply(segment(bars, timeframe="1m"), "1m")
    assert made.label_stats["definition"] == label.definition()
    assert made.label_stats["entry"] == "close"
    assert made.label_stats["filled"] == pytest.approx(row["filled"].mean())
    judged = made.counts["used"] + made.counts["no_label"]
    for note in ("tie", "timeout", "ambiguous"):
        assert made.label_stats[note] == pytest.approx((row["label_note"] == note).sum() / judged)
        assert 0 < made.label_stats[note] < 1
    widths = row.filter(pl.col("timestamp").is_in(made.frame["timestamp"].implode()))["barrier"]
    assert made.label_stats["barrier_bps"] == pytest.approx(1e4 * np.median(widths.to_numpy()))
    assert samples(bars).label_stats["barrier_bps"] is None


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), label=st.sampled_from([*LABELS, TripleBarrier(k=3.0, window=3, horizon=12)]))
def test_uniqueness_agrees_with_the_oracle(seed: int, label: Label) -> None:
    bars = random_bars(seed, 120, missing=0.1, tick=0.03)
    made = samples(bars, label=label)
    rows = {time: row for row, time in enumerate(segment(bars, timeframe="1m")["timestamp"].to_list())}
    minute = timedelta(microseconds=MINUTE)
    spans = [(rows[t], rows[end - minute]) for t, end in made.frame.select("timestamp", "label_end").iter_rows()]
    unique = oracle_uniqueness(spans) if spans else []
    assert made.label_stats["effective"] == pytest.approx(sum(unique))
    assert made.label_stats["uniqueness"] == (pytest.approx(np.mean(unique)) if unique else None)


def test_uniqueness_of_labels_that_overlap_fully_or_not_at_all() -> None:
    bars = random_bars(13, 5000)
    assert samples(bars, label=Direction(horizon=1)).label_stats["uniqueness"] == pytest.approx(1)
    assert samples(bars, label=Direction(horizon=10)).label_stats["uniqueness"] == pytest.approx(0.1, abs=0.001)


def test_uniqueness_where_gaps_are_ignored() -> None:
    bars = random_bars(14, 300)
    sessions = pl.concat([bars[:100], bars[200:]])
    made = samples(sessions, label=Direction(horizon=1), gaps="ignore")
    assert made.label_stats["uniqueness"] == pytest.approx(1)
    assert made.frame["label_end"].max() == at(bars, 299) + timedelta(minutes=1)


def test_a_series_of_real_bars_gives_nearly_every_row(shared_data: Path) -> None:
    raw = pl.read_ipc(shared_data / "binance_futures_1m" / "BTC_USDT_USDT-1m-futures.feather")
    cleaned = clean(raw.rename({"date": "timestamp"}))
    for timeframe in ("1m", "5m", "15m", "1h"):
        made = samples(
            cleaned.bars, source=cleaned.timeframe, timeframe=timeframe, features=PACKS["default"], label=Direction()
        )
        assert made.counts["segments"] == 1
        assert made.counts["warmup"] == 125
        assert made.counts["used"] > 0.9 * (made.counts["bars"] - 135)


PROGRAM = """
import polars as pl
from tests.oracles_transforms import random_bars
from transforms.bars import clean
from transforms.digest import content_digest
from transforms.features import PACKS
from transforms.labels import TripleBarrier
from transforms.preparing import Preparation
from transforms.samples import make_samples
cleaned = clean(random_bars(1, 40_000, missing=0.01, jumps=3).sample(fraction=1, shuffle=True, seed=1))
print(pl.thread_pool_size(), content_digest(cleaned.bars))
for timeframe in ("1m", "5m", "1h"):
    how = Preparation(source="1m", timeframe=timeframe)
    made = make_samples(cleaned.bars, how, features=PACKS["default"], label=TripleBarrier())
    print(content_digest(made.frame), made.counts, made.label_stats)
"""


def test_the_number_of_threads_changes_no_bit() -> None:
    printed = {}
    for threads in ("1", "2", "5"):
        environment = {**os.environ, "POLARS_MAX_THREADS": threads}
        root = Path(__file__).resolve().parents[1]
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], cwd=root, env=environment, capture_output=True, check=True
        )
        seen, printed[threads] = done.stdout.decode().split(" ", 1)
        assert seen == threads
    assert printed["1"] == printed["2"] == printed["5"]
    assert "'used': 3" in printed["1"]
