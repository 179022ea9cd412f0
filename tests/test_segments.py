"""Filling short gaps, and cutting at long ones and at jumps."""

from typing import Literal

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.oracles_transforms import MINUTE, bar_rows, bars_frame, oracle_segment, random_bars
from transforms.segments import positions, segment


def minutes(*at: int, close: float = 10.0) -> pl.DataFrame:
    """Bars at these minutes."""
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    return bars_frame([{"timestamp": minute * MINUTE, **prices, "volume": 1.0} for minute in at])


def walk(*closes: float) -> pl.DataFrame:
    """Consecutive bars with these closes."""
    rows = [{"open": close, "high": close, "low": close, "close": close, "volume": 1.0} for close in closes]
    return bars_frame([{"timestamp": minute * MINUTE, **row} for minute, row in enumerate(rows)])


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 120),
    max_fill=st.integers(0, 12),
    gaps=st.sampled_from(["segment", "ignore"]),
)
def test_segments_agree_with_the_oracle(
    seed: int, count: int, max_fill: int, gaps: Literal["segment", "ignore"]
) -> None:
    bars = random_bars(seed, count, missing=0.3, jumps=2)
    made = segment(bars, timeframe="1m", max_fill=max_fill, gaps=gaps)
    expected = oracle_segment(bar_rows(bars), MINUTE, max_fill, gaps) if bars.height else []
    flags = ["filled", "contiguous_run", "segment"]
    numbers = pl.col("contiguous_run", "segment").cast(pl.UInt32)
    rows = (
        bars_frame(expected).hstack(pl.DataFrame(expected, schema_overrides={}).select(flags).with_columns(numbers))
        if expected
        else made.clear()
    )
    assert_frame_equal(made, rows.select(made.columns), check_exact=True)


@pytest.mark.parametrize(("missing", "filled", "runs"), [(0, 0, 1), (1, 1, 1), (5, 5, 1), (6, 0, 2), (60, 0, 2)])
def test_five_missing_bars_are_filled_and_six_cut(missing: int, filled: int, runs: int) -> None:
    made = segment(minutes(0, 1, 2 + missing, 3 + missing), timeframe="1m")
    assert (made["filled"].sum(), made["contiguous_run"].n_unique()) == (filled, runs)
    assert made["segment"].n_unique() == runs


def test_a_filled_bar_is_flat_at_the_close_before_it_without_volume() -> None:
    bars = minutes(0, 3).with_columns(high=pl.Series([12.0, 13.0]), close=pl.Series([11.0, 10.0]))
    made = segment(bars, timeframe="1m").filter("filled")
    assert made.select("open", "high", "low", "close").unique().row(0) == (11.0, 11.0, 11.0, 11.0)
    assert made["volume"].to_list() == [0.0, 0.0]
    assert made["timestamp"].to_physical().to_list() == [MINUTE, 2 * MINUTE]


def test_bars_without_volume_are_filled_too() -> None:
    assert segment(minutes(0, 3).drop("volume"), timeframe="1m")["filled"].sum() == 2


def test_ignored_gaps_neither_cut_nor_fill_but_jumps_do() -> None:
    bars = pl.concat([minutes(0, 3, 500), minutes(501, close=30.0)])
    made = segment(bars, timeframe="1m", gaps="ignore")
    assert made["filled"].sum() == 0
    assert made["contiguous_run"].to_list() == [0, 0, 0, 0]
    assert made["segment"].to_list() == [0, 0, 0, 1]


@pytest.mark.parametrize(("factor", "cut"), [(1.6, False), (1.65, True), (0.61, False), (0.6, True)])
def test_a_jump_cuts_the_segment_but_not_the_run(factor: float, cut: bool) -> None:
    made = segment(walk(10.0, 10.0, 10.0 * factor, 10.0 * factor), timeframe="1m")
    assert made["segment"].to_list() == [0, 0, int(cut), int(cut)]
    assert made["contiguous_run"].to_list() == [0, 0, 0, 0]


def test_a_jump_after_a_filled_gap_cuts_at_the_first_real_bar() -> None:
    made = segment(pl.concat([minutes(0, 1), minutes(4, close=30.0)]), timeframe="1m")
    assert made["segment"].to_list() == [0, 0, 0, 0, 1]


def test_a_jump_across_a_gap_counts_once() -> None:
    made = segment(pl.concat([minutes(0, 1), minutes(40, close=30.0)]), timeframe="1m")
    assert (made["contiguous_run"].to_list(), made["segment"].to_list()) == ([0, 0, 1], [0, 0, 1])


def test_positions_count_from_the_start_of_each_segment() -> None:
    assert positions(pl.Series([0, 0, 0, 1, 2, 2], dtype=pl.UInt32)).tolist() == [0, 1, 2, 0, 0, 1]
    assert positions(pl.Series([], dtype=pl.UInt32)).tolist() == []
