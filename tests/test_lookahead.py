"""No look-ahead: nothing that is known at a time depends on what comes after it.

Two properties hold it. Rewriting the values of later bars changes nothing that was known before them; and what is made
of a series' beginning alone stands unchanged when the rest arrives. Leaks planted on purpose show that both bite.
"""

from datetime import timedelta
from functools import cache, partial

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance import (
    Make,
    assert_no_leak,
    closing,
    featured,
    labeled,
    leaks,
    leaks_when_continued,
    leaks_when_rewritten,
    paused,
    rewrite_after,
    some_time,
)
from tests.oracles_transforms import random_bars
from transforms import resampling
from transforms.bars import clean, duration_us
from transforms.clock import CLOCK
from transforms.features import FEATURES, PACKS
from transforms.features.feature import Feature
from transforms.grids import Grid
from transforms.labels import Direction, Label, TripleBarrier
from transforms.resampling import resample

TIMEFRAMES = ("1m", "5m", "15m", "1h")
LABELS = (
    Direction(horizon=10),
    Direction(horizon=1),
    Direction(horizon=4, threshold=3e-4, entry="next_open"),
    Direction(horizon=3, flat="down"),
    TripleBarrier(),
    TripleBarrier(k=1.0, window=5, horizon=6, entry="next_open"),
    TripleBarrier(k=4.0, window=10, horizon=25),
)


def resampled(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    return resample(bars, source="1m", timeframe=timeframe).bars.with_columns(closing(timeframe))


def all_features(bars: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    return featured(bars, timeframe, *FEATURES.values())


BARS = {"1m": 400, "5m": 1500, "15m": 3500, "1h": 9600}
"""Minutes that give enough bars of a timeframe for its features to warm up."""

a_case = given(seed=st.integers(0, 10_000), share=st.floats(0.3, 1), timeframe=st.sampled_from(TIMEFRAMES))


@settings(max_examples=40, deadline=None)
@a_case
def test_resampled_bars_stand(seed: int, share: float, timeframe: str) -> None:
    assert_no_leak(partial(resampled, timeframe=timeframe), seed=seed, share=share, count=BARS[timeframe])


@settings(max_examples=24, deadline=None)
@a_case
def test_features_stand(seed: int, share: float, timeframe: str) -> None:
    assert_no_leak(partial(all_features, timeframe=timeframe), seed=seed, share=share, count=BARS[timeframe])


@pytest.mark.parametrize("label", LABELS, ids=str)
@settings(max_examples=15, deadline=None)
@a_case
def test_labels_stand(label: Label, seed: int, share: float, timeframe: str) -> None:
    assert_no_leak(partial(labeled, timeframe=timeframe, label=label), seed=seed, share=share, count=BARS[timeframe])


@cache
def before_and_after(timeframe: str) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return all features known by some time, and those known later: as they are, and with later bars rewritten."""
    bars = paused(random_bars(1, BARS[timeframe], flow=True), BARS[timeframe] // 7)
    time = some_time(bars, 0.95)
    made, rewritten = (all_features(each, timeframe) for each in (bars, rewrite_after(bars, time, 1)))
    later = pl.col("known_at") > time
    return made.filter(~later), made.filter(later), rewritten.filter(later)


@pytest.mark.parametrize("pack", sorted(set(PACKS) - {"all"}))
@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_each_feature_is_tried_on_values(pack: str, timeframe: str) -> None:
    """Guard against a property that holds because there is nothing to compare."""
    known, after, rewritten = before_and_after(timeframe)
    names = [feature.name for feature in PACKS[pack] if set(feature.inputs).isdisjoint(CLOCK)]
    assert [name for name in names if known[name].drop_nulls().n_unique() < 3] == []
    assert set(names) <= set(leaks(after, rewritten))


@pytest.mark.parametrize("label", LABELS, ids=str)
def test_each_label_is_tried_on_values(label: Label) -> None:
    bars = random_bars(1, 600)
    time = some_time(bars, 0.8)
    known = labeled(bars, "1m", label).filter(pl.col("label_end") <= time)
    assert known["label"].n_unique() == 2
    assert not known.filter(pl.col("label_end") > time - timedelta(minutes=30)).is_empty()


def centred_window(bars: pl.DataFrame) -> pl.DataFrame:
    """A feature whose window reaches two bars ahead."""
    expr = pl.col("close") / pl.col("close").rolling_mean(5, center=True) - 1
    return featured(bars, "5m", FEATURES["change_1"], Feature("centred", ("close",), 4, expr))


def whole_series_scaling(bars: pl.DataFrame) -> pl.DataFrame:
    """A feature that is standardised over the whole series."""
    made = featured(bars, "5m", FEATURES["change_1"])
    return made.with_columns(scaled=pl.col("change_1") / pl.col("change_1").std())


def unfinished_hour(bars: pl.DataFrame) -> pl.DataFrame:
    """Hourly bars with the one that is still going on."""
    made = resampling._aggregate(bars, Grid(duration_us("1h"))).drop("rows")
    return made.with_columns(closing("1h"))


def hour_joined_by_its_open(bars: pl.DataFrame) -> pl.DataFrame:
    """Minutes that see their own hour's bar, since they were joined on its open time instead of its close."""
    hours = resampled(bars, "1h").select("timestamp", hour_close="close")
    return bars.join_asof(hours, on="timestamp").select("timestamp", closing("1m"), "close", "hour_close")


def label_without_its_end(bars: pl.DataFrame) -> pl.DataFrame:
    """A label that is said to be known when its own bar closes."""
    return labeled(bars, "1m", Direction(horizon=3)).with_columns(closing("1m"))


@pytest.mark.parametrize(
    ("leak", "columns"),
    [
        (centred_window, {"centred"}),
        (whole_series_scaling, {"scaled"}),
        (hour_joined_by_its_open, {"hour_close"}),
        (label_without_its_end, {"timestamp", "label"}),
    ],
)
def test_planted_leak_is_caught_by_rewriting(leak: Make, columns: set[str]) -> None:
    bars = random_bars(2, 2000)
    for share in (0.5, 0.7, 0.9):
        found = set(leaks_when_rewritten(leak, bars, some_time(bars, share), 3))
        assert found
        assert found <= columns


@pytest.mark.parametrize(("leak", "column"), [(unfinished_hour, "close"), (whole_series_scaling, "scaled")])
def test_planted_leak_is_caught_by_continuing(leak: Make, column: str) -> None:
    bars = random_bars(2, 2000)
    assert column in leaks_when_continued(leak, bars, some_time(bars, 0.66))


def test_cleaning_judges_a_row_without_later_prices() -> None:
    bars = random_bars(3, 300)
    time = some_time(bars, 0.5)
    early = [clean(some).bars.filter(pl.col("timestamp") < time) for some in (bars, rewrite_after(bars, time, 1))]
    assert leaks(*early) == []
