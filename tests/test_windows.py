"""Window sums and spreads."""

import math
import statistics

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.windows import rolling_std, window_sum

values = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)


@settings(max_examples=80, deadline=None)
@given(column=st.lists(values, min_size=1, max_size=60), bars=st.integers(1, 40))
def test_window_sum_agrees_with_adding_up(column: list[float], bars: int) -> None:
    made = window_sum(pl.Series(column), bars).to_list()
    for at in range(len(column)):
        window = column[at - bars + 1 : at + 1]
        expected = math.fsum(window) if at >= bars - 1 else None
        assert made[at] == (None if expected is None else pytest.approx(expected, rel=1e-12, abs=1e-6))


@settings(max_examples=80, deadline=None)
@given(before=st.lists(values, max_size=30), window=st.lists(values, min_size=1, max_size=30))
def test_a_window_sum_is_of_its_window_alone(before: list[float], window: list[float]) -> None:
    made = window_sum(pl.Series([*before, *window], dtype=pl.Float64), len(window))
    assert made[-1] == window_sum(pl.Series(window, dtype=pl.Float64), len(window))[-1]


def test_an_expression_and_a_series_give_the_same() -> None:
    column = pl.Series("value", [0.1 * number**2 for number in range(50)])
    assert column.to_frame().select(window_sum(pl.col("value"), 13)).to_series().equals(window_sum(column, 13))


def spread_of(column: list[float]) -> float:
    series, bars = pl.Series(column, dtype=pl.Float64), len(column)
    return float(rolling_std(window_sum(series, bars), window_sum(series * series, bars), bars)[-1])


@settings(max_examples=80, deadline=None)
@given(column=st.lists(values, min_size=2, max_size=40))
def test_spread_agrees_with_the_standard_deviation(column: list[float]) -> None:
    root_mean_square = math.sqrt(statistics.fmean(value * value for value in column))
    assert spread_of(column) == pytest.approx(statistics.stdev(column), rel=1e-6, abs=2e-6 * root_mean_square)


@settings(max_examples=80, deadline=None)
@given(value=values, bars=st.integers(2, 40))
def test_spread_of_equal_values_is_zero(value: float, bars: int) -> None:
    assert spread_of([value] * bars) == 0
