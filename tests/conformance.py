"""What must hold for every feature and every label, of this project or of a user's module.

A feature or label that is added to its table is tried because it is there. Each property is a function that raises
AssertionError; those in `FEATURE_PROPERTIES` take a feature, those in `LABEL_PROPERTIES` a label.
"""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from tests.oracles_transforms import random_bars
from transforms.bars import FLOW, PRICES, TIME, duration_us
from transforms.features.compute import add_features, warmup_bars
from transforms.features.feature import Feature
from transforms.labels import NOTES, Label
from transforms.resampling import resample
from transforms.segments import segment

Make = Callable[[pl.DataFrame], pl.DataFrame]
"""Bars to a table with `known_at`, the time from which on a row is known, and `timestamp`."""


def values_of(bars: pl.DataFrame, feature: Feature) -> pl.Series:
    """Return a feature of bars that `segment` made."""
    return add_features(bars, [feature])[feature.name]


def minutes(seed: int, count: int) -> pl.DataFrame:
    """Return minutes of one segment."""
    return segment(random_bars(seed, count, flow=True), timeframe="1m")


def closing(timeframe: str) -> pl.Expr:
    return (pl.col("timestamp") + pl.duration(microseconds=duration_us(timeframe))).alias("known_at")


def segmented(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    return segment(resample(bars, source="1m", timeframe=timeframe).bars, timeframe=timeframe)


def featured(bars: pl.DataFrame, timeframe: str, *features: Feature) -> pl.DataFrame:
    made = add_features(segmented(bars, timeframe), features)
    return made.select("timestamp", closing(timeframe), *(feature.name for feature in features))


def labeled(bars: pl.DataFrame, timeframe: str, label: Label) -> pl.DataFrame:
    made = label.apply(segmented(bars, timeframe), timeframe).drop_nulls("label")
    return made.select("timestamp", "label", "label_end", "barrier", known_at="label_end")


def rewrite_after(bars: pl.DataFrame, time: datetime, seed: int) -> pl.DataFrame:
    """Give every bar from `time` on other prices and another volume and flow, jumps among them."""
    rng = np.random.default_rng(seed)
    later = pl.col("timestamp") >= time
    factor = pl.Series(np.exp(np.cumsum(rng.normal(0, 0.01, bars.height)) + rng.choice([-1, 0, 0, 0, 1], bars.height)))
    wide = pl.Series(rng.uniform(1, 1.05, bars.height))
    rewritten = {
        "open": pl.col("open") * factor / wide,
        "high": pl.col("high") * factor * wide,
        "low": pl.col("low") * factor / wide,
        "close": pl.col("close") * factor,
        "volume": pl.col("volume") * 7 + 1,
        "quote_volume": (pl.col("quote_volume") * 7 + pl.col("close")) * factor,
        "trades": pl.col("trades") * 5 + 1,
        "taker_buy_volume": pl.col("taker_buy_volume") * 6 + 1,
    }
    return bars.with_columns(
        pl.when(later).then(value).otherwise(name).alias(name)
        for name, value in rewritten.items()
        if name in bars.columns
    )


def leaks(one: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    """Columns in which two tables differ; rows that only one of them has differ in `timestamp`."""
    if not one["timestamp"].equals(other["timestamp"]):
        return ["timestamp"]
    return [name for name in one.columns if not one[name].equals(other[name])]


def leaks_when_rewritten(make: Make, bars: pl.DataFrame, time: datetime, seed: int) -> list[str]:
    """Columns that were known at `time` and change with bars that open at `time` or later."""
    known = pl.col("known_at") <= time
    return leaks(make(bars).filter(known), make(rewrite_after(bars, time, seed)).filter(known))


def leaks_when_continued(make: Make, bars: pl.DataFrame, time: datetime) -> list[str]:
    """Columns that the bars before `time` give, and that change when the others arrive."""
    early = make(bars.filter(pl.col("timestamp") < time))
    return leaks(early, make(bars).join(early.select("timestamp"), on="timestamp", maintain_order="left"))


def some_time(bars: pl.DataFrame, share: float) -> datetime:
    time = bars["timestamp"][int(share * (bars.height - 1))]
    assert isinstance(time, datetime)
    return time


def assert_no_leak(make: Make, *, seed: int, share: float, count: int) -> None:
    bars = random_bars(seed, count, missing=0.02, jumps=2, tick=0.01 * (seed % 2), flow=True)
    time = some_time(bars, share)
    assert leaks_when_rewritten(make, bars, time, seed) == []
    assert leaks_when_continued(make, bars, time) == []


def feature_never_looks_ahead(feature: Feature) -> None:
    count = 2 * feature.warmup + 300
    make = partial(featured_minutes, feature=feature)
    for seed, share in enumerate((0.5, 0.8, 0.95)):
        assert_no_leak(make, seed=seed, share=share, count=count)
    bars = random_bars(1, count, flow=True)
    assert make(bars)[feature.name].n_unique() > 10, "there is nothing to compare"


def featured_minutes(bars: pl.DataFrame, feature: Feature) -> pl.DataFrame:
    return featured(bars, "1m", feature)


def feature_is_of_one_segment(feature: Feature) -> None:
    bars = segment(random_bars(14, 3 * feature.warmup + 900, missing=0.03, jumps=3, flow=True), timeframe="1m")
    parts = bars.partition_by("segment", maintain_order=True)
    assert len(parts) > 3
    alone = [add_features(part, [feature]) for part in parts]
    assert_frame_equal(add_features(bars, [feature]), pl.concat(alone), check_exact=True)


def feature_needs_its_lookback_and_no_more(feature: Feature) -> None:
    """An average has no last bar that it needs: of a feature with one, the first of its lookback still matters."""
    at = max(feature.lookback, feature.warmup) + 20
    bars = minutes(2, at + 20)
    value = values_of(bars, feature)[at]
    changed: dict[int, bool] = {}
    for back in (feature.lookback, feature.lookback + 1):
        bump = pl.when(pl.int_range(pl.len()) == at - back).then(1.01).otherwise(1.0)
        others = [bars.with_columns(pl.col(column) * bump) for column in feature.inputs if column != "timestamp"]
        changed[back] = any(values_of(other, feature)[at] != value for other in others)
    unbounded = feature.warmup > feature.lookback
    assert changed == {feature.lookback: True, feature.lookback + 1: unbounded}


def feature_begins_at_the_end_of_its_warm_up(feature: Feature) -> None:
    count = feature.warmup + 100
    values = values_of(minutes(3, count), feature)
    assert values.is_null().to_list() == [at < feature.warmup for at in range(count)]
    assert values.dtype == pl.Float32


def feature_forgets_what_came_before_its_warm_up(feature: Feature) -> None:
    for exact, allowed in ((False, 1e-3), (True, 1e-7)):
        past = warmup_bars([feature], exact=exact)
        bars = minutes(4, past + 1200)
        every = values_of(bars, feature)
        deviation = float(np.std(every.drop_nulls().to_numpy()))
        for at in range(past + 100, past + 1200, 100):
            value = values_of(bars[at - past : at + 1], feature)[-1]
            assert abs(value - every[at]) <= max(2e-7 * abs(every[at]), allowed * deviation)


def feature_reads_its_inputs_and_no_more(feature: Feature) -> None:
    bars = minutes(6, feature.warmup + 175)
    others = [column for column in (*PRICES, "volume", *FLOW) if column not in feature.inputs]
    value = values_of(bars, feature)
    assert value.equals(values_of(bars.with_columns(pl.col(others) * 3 + 1), feature))
    for column in feature.inputs:
        noisy = bars.with_columns(pl.col(column) * (1 + pl.int_range(pl.len()) % 7 / 100))
        assert not value.equals(values_of(noisy, feature))


def feature_is_scale_free(feature: Feature) -> None:
    bars = minutes(7, feature.warmup + 175)
    scaled = bars.with_columns(
        pl.col(PRICES) * 1024, pl.col("volume", "taker_buy_volume") / 64, pl.col("quote_volume") * (1024 / 64)
    )
    assert not feature.scale_free or values_of(bars, feature).equals(values_of(scaled, feature))


def feature_is_finite(feature: Feature) -> None:
    """Also where ticks are so wide that prices stand still, and where no bar has volume."""
    for seed, tick in enumerate((0.0, 0.01, 0.5)):
        bars = random_bars(seed, feature.warmup + 300, tick=tick, missing=0.1, jumps=1, flow=True)
        for each in (
            bars,
            bars.with_columns(pl.col("volume", *FLOW) * 0),
            bars.with_columns(pl.col("close").alias(n) for n in PRICES),
        ):
            assert values_of(segment(each, timeframe="1m"), feature).drop_nulls().is_finite().all()


FEATURE_PROPERTIES: Final = (
    feature_never_looks_ahead,
    feature_is_of_one_segment,
    feature_needs_its_lookback_and_no_more,
    feature_begins_at_the_end_of_its_warm_up,
    feature_forgets_what_came_before_its_warm_up,
    feature_reads_its_inputs_and_no_more,
    feature_is_scale_free,
    feature_is_finite,
)


def label_never_looks_ahead(label: Label) -> None:
    make = partial(labeled_minutes, label=label)
    for seed, share in enumerate(np.linspace(0.4, 0.95, 10)):  # half of all leaks leave a label of two classes as it is
        assert_no_leak(make, seed=seed, share=share, count=600 + 20 * label.horizon)
    assert make(random_bars(1, 600 + 20 * label.horizon))["label"].n_unique() == 2, "there is nothing to compare"


def labeled_minutes(bars: pl.DataFrame, label: Label) -> pl.DataFrame:
    return labeled(bars, "1m", label)


def label_is_of_one_contiguous_run(label: Label) -> None:
    bars = segment(random_bars(14, 3000 + 20 * label.horizon, missing=0.1, jumps=3), timeframe="1m")
    parts = bars.partition_by("contiguous_run", maintain_order=True)
    assert len(parts) > 3
    alone = [label.apply(part, "1m") for part in parts]
    assert_frame_equal(label.apply(bars, "1m"), pl.concat(alone), check_exact=True)


def label_is_known_within_its_horizon(label: Label) -> None:
    made = label.apply(minutes(5, 600 + 20 * label.horizon), "1m").drop_nulls("label")
    bars_waited = (pl.col("label_end") - pl.col("timestamp")).dt.total_minutes() - 1
    assert made.select(bars_waited.is_between(1, label.horizon).all()).item()
    assert made["label"].is_in([0, 1]).all()


def label_is_scale_free(label: Label) -> None:
    bars = minutes(7, 600 + 20 * label.horizon)
    scaled = bars.with_columns(pl.col(PRICES) * 1024, pl.col("volume") / 64)
    columns = ["label", "label_end", "label_note", "barrier"]
    assert_frame_equal(label.apply(bars, "1m").select(columns), label.apply(scaled, "1m").select(columns))


def label_adds_its_columns(label: Label) -> None:
    bars = segment(random_bars(3, 300, missing=0.05), timeframe="1m")
    made = label.apply(bars, "1m")
    added = {"label": pl.Int8, "label_end": TIME, "label_note": NOTES, "barrier": pl.Float64}
    assert dict(made.schema) == {**bars.schema, **added}
    assert made["label"].is_null().equals(made["label_end"].is_null())
    assert label.apply(bars.clear(), "1m").schema == made.schema


LABEL_PROPERTIES: Final = (
    label_never_looks_ahead,
    label_is_of_one_contiguous_run,
    label_is_known_within_its_horizon,
    label_is_scale_free,
    label_adds_its_columns,
)
