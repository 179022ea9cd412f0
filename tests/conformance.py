"""What must hold for every feature and every label, of this project or of a user's module.

A feature or label that is added to its table is tried because it is there. Each property is a function that raises
AssertionError; those in `FEATURE_PROPERTIES` take one or several features, which are made together, and name those that
lack it; those in `LABEL_PROPERTIES` take a label.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from tests.oracles_transforms import random_bars
from transforms.bars import FLOW, PRICES, TIME, duration_us
from transforms.clock import CLOCK, add_clock
from transforms.features.compute import add_features, warmup_bars
from transforms.features.feature import EXACT, WARM, Feature
from transforms.labels import NOTES, Label
from transforms.resampling import resample
from transforms.segments import segment
from transforms.sessions import Sessions

T = TypeVar("T")
Make = Callable[[pl.DataFrame], pl.DataFrame]
"""Bars to a table with `known_at`, the time from which on a row is known, and `timestamp`."""


def values_of(bars: pl.DataFrame, feature: Feature) -> pl.Series:
    """Return a feature of bars that `segment` made."""
    return add_features(bars, [feature])[feature.name]


def minutes(seed: int, count: int) -> pl.DataFrame:
    """Return minutes of one segment; for a third of the time prices stand still."""
    return with_clock(paused(random_bars(seed, count, flow=True), 100))


def with_clock(bars: pl.DataFrame, timeframe: str = "1m") -> pl.DataFrame:
    """Return bars in segments, with all that features may read; the market is open around some of the clock."""
    sessions = Sessions("UTC", ((60, 750), (800, 1435)))
    return add_clock(segment(bars, timeframe=timeframe), CLOCK, zone="UTC", gaps=sessions)


def paused(bars: pl.DataFrame, length: int) -> pl.DataFrame:
    """Let prices stand still throughout the second of every three stretches of `length` bars."""
    stretch = pl.int_range(pl.len()) // length
    held = pl.col("close").first().over(stretch)
    return bars.with_columns(pl.when(stretch % 3 == 1).then(held).otherwise(name).alias(name) for name in PRICES)


def closing(timeframe: str) -> pl.Expr:
    return (pl.col("timestamp") + pl.duration(microseconds=duration_us(timeframe))).alias("known_at")


def segmented(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    return segment(resample(bars, source="1m", timeframe=timeframe).bars, timeframe=timeframe)


def featured(bars: pl.DataFrame, timeframe: str, *features: Feature) -> pl.DataFrame:
    made = add_features(with_clock(resample(bars, source="1m", timeframe=timeframe).bars, timeframe), features)
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
        "low": pl.col("low") * factor / wide**2,
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
    """Columns in which two tables differ; where they have different times, this is `timestamp` alone."""
    if "timestamp" in one.columns and not one["timestamp"].equals(other["timestamp"]):
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
    bars = paused(bars, count // 8) if seed % 2 else bars
    time = some_time(bars, share)
    for found in (leaks_when_rewritten(make, bars, time, seed), leaks_when_continued(make, bars, time)):
        assert_none(found, "looks ahead")


def feature_never_looks_ahead(*features: Feature) -> None:
    count = 2 * warmup_bars(features) + 300
    make = partial(featured_minutes, features=features)
    for seed, share in enumerate((0.5, 0.8, 0.95)):
        assert_no_leak(make, seed=seed, share=share, count=count)
    made = columns_of(minutes(1, count), features)
    found = [name for name in made.columns if made[name].drop_nulls().n_unique() < 2]
    assert_none(found, "there is nothing to compare")


def featured_minutes(bars: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
    return featured(bars, "1m", *features)


def feature_is_of_one_segment(*features: Feature) -> None:
    count = 3 * warmup_bars(features) + 900
    bars = with_clock(random_bars(14, count, missing=0.03, jumps=3, flow=True))
    parts = bars.partition_by("segment", maintain_order=True)
    assert len(parts) > 3
    alone = pl.concat(columns_of(part, features) for part in parts)
    assert_none(leaks(columns_of(bars, features), alone), "not of one segment")


def feature_needs_its_lookback_and_no_more(*features: Feature) -> None:
    """An average has no last bar that it needs: of a feature with one, the first of its lookback still matters.

    Many bars are changed at once, so far apart that no window holds two: the oldest low of a window, say, matters only
    where it is the lowest.
    """
    for (lookback, warmup), alike in grouped(features, lambda each: (each.lookback, each.warmup)).items():
        first, apart, tries = max(warmup - lookback, 0) + 20, lookback + 2, 200 if warmup == lookback else 1
        bars = minutes(2, first + tries * apart + lookback)
        number = pl.int_range(pl.len()) - first
        factor = pl.when((number % apart == 0) & number.is_between(0, apart * tries - 1)).then(1.01).otherwise(1.0)
        columns = sorted({column for feature in alike for column in feature.inputs})
        before = columns_of(bars, alike)
        others = [columns_of(bars.with_columns(disturbed(column, factor)), alike) for column in columns]
        oldest = first + lookback + apart * np.arange(tries)
        needed, needed_more = (
            {name for other in others for name in leaks(before[rows], other[rows])} for rows in (oldest, oldest + 1)
        )
        assert_none(set(before.columns) - needed, f"the bar {lookback} bars ago does not matter")
        if warmup > lookback:
            assert_none(set(before.columns) - needed_more, f"the bar {lookback + 1} bars ago does not matter")
        else:
            assert_none(needed_more, f"the bar {lookback + 1} bars ago matters")


def feature_begins_at_the_end_of_its_warm_up(*features: Feature) -> None:
    count = warmup_bars(features) + 100
    made = columns_of(minutes(3, count), features)
    begins = {feature.name: [at < feature.warmup for at in range(count)] for feature in features}
    found = [name for name in made.columns if made[name].is_null().to_list() != begins[name]]
    assert_none(found, "does not begin at the end of its warm-up")
    assert_none([name for name in made.columns if made[name].dtype != pl.Float32], "not Float32")


def feature_forgets_what_came_before_its_warm_up(*features: Feature) -> None:
    averages = [feature for feature in features if feature.warmup > feature.lookback]
    for tolerance, allowed, tried in ((WARM, 1e-3, averages), (EXACT, 1e-7, features)):
        for past, alike in grouped(tried, partial(Feature.settled_after, tolerance=tolerance)).items():
            bars = with_clock(random_bars(4, past + 1200, tick=0.01, flow=True))
            every = columns_of(bars, alike)
            rows = [*range(past + 100, past + 1200, 100)]
            short = pl.concat(columns_of(bars[at - past : at + 1], alike)[-1] for at in rows)
            found = []
            for name in every.columns:
                full, deviation = every[name].to_numpy()[rows], np.std(every[name].drop_nulls().to_numpy())
                if (abs(short[name].to_numpy() - full) > np.maximum(2e-7 * abs(full), allowed * deviation)).any():
                    found.append(name)
            assert_none(found, f"remembers more than {past} bars")


def feature_reads_its_inputs_and_no_more(*features: Feature) -> None:
    for inputs, alike in grouped(features, lambda each: each.inputs).items():
        bars = minutes(6, warmup_bars(alike) + 175)
        made = columns_of(bars, alike)
        others = [column for column in (*PRICES, "volume", *FLOW, *CLOCK) if column not in inputs]
        found = leaks(made, columns_of(bars.with_columns(pl.col(others) * 3 + 1), alike))
        assert_none(found, f"reads more than {', '.join(inputs)}")
        for column in inputs:
            noise = 1 + pl.int_range(pl.len()) % 7 / 100
            changed = leaks(made, columns_of(bars.with_columns(disturbed(column, noise)), alike))
            assert_none(set(made.columns) - set(changed), f"does not read {column}")


def feature_is_scale_free(*features: Feature) -> None:
    free = [feature for feature in features if feature.scale_free]
    bars = minutes(7, warmup_bars(free) + 175)
    scaled = bars.with_columns(
        pl.col(PRICES) * 1024, pl.col("volume", "taker_buy_volume") / 64, pl.col("quote_volume") * (1024 / 64)
    )
    assert_none(leaks(columns_of(bars, free), columns_of(scaled, free)), "not scale-free")


def feature_is_finite(*features: Feature) -> None:
    """Also where ticks are so wide that prices stand still, and where no bar has volume."""
    for seed, tick in enumerate((0.0, 0.01, 0.5)):
        bars = random_bars(seed, warmup_bars(features) + 300, tick=tick, missing=0.1, jumps=1, flow=True)
        for each in (
            bars,
            bars.with_columns(pl.col("volume", *FLOW) * 0),
            bars.with_columns(pl.col("close").alias(name) for name in PRICES),
        ):
            made = columns_of(with_clock(each), features)
            assert_none([column.name for column in made if not column.drop_nulls().is_finite().all()], "not finite")


def columns_of(bars: pl.DataFrame, features: Sequence[Feature]) -> pl.DataFrame:
    """Return the features of bars that `segment` made, and nothing else."""
    return add_features(bars, features).select(feature.name for feature in features)


def grouped(features: Sequence[Feature], key: Callable[[Feature], T]) -> dict[T, list[Feature]]:
    """Return features by what they are tried with."""
    groups: dict[T, list[Feature]] = {}
    for feature in features:
        groups.setdefault(key(feature), []).append(feature)
    return groups


def disturbed(column: str, factor: pl.Expr) -> pl.Expr:
    """Return a column that is changed where a factor is not 1: any number, and a time by more than a day."""
    if column == "timestamp":
        return pl.when(factor == 1).then(column).otherwise(pl.col(column) + pl.duration(hours=31)).alias(column)
    return pl.col(column) * factor + (factor - 1)


def assert_none(names: Iterable[str], wrong: str) -> None:
    """Raise an AssertionError that says what is wrong with which features."""
    found = sorted(names)
    assert not found, f"{wrong}: {', '.join(found)}"


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
