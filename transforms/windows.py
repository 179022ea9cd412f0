"""Sums and standard deviations over the last bars."""

from typing import Final, TypeVar

import polars as pl

Column = TypeVar("Column", pl.Expr, pl.Series)

_CANCELLED: Final = 1e-13
"""Share of a sum of squares below which a difference of two such sums is rounding, not deviation."""


def window_sum(values: Column, bars: int) -> Column:
    """Sum of each value and the `bars - 1` before it, null where there are fewer.

    Only values in the window are added, by doubling: sums of 2, 4, 8, … values. A running sum would keep the rounding
    of all values that it ever held; here a window of zeros sums to exactly zero, and no value outside the window can
    change a bit.
    """
    if bars == 1:
        return values
    half = window_sum(values, bars // 2)
    total = half + half.shift(bars // 2)
    return total + values.shift(bars - 1) if bars % 2 else total


def rolling_std(total: Column, squares: Column, bars: int) -> Column:
    """Standard deviation, ddof 1, of `bars` values with this sum and this sum of squares.

    It is exactly zero where all values are equal.
    """
    return deviation(squared_deviations(total, squares, bars), squares, bars)


def squared_deviations(total: Column, squares: Column, bars: int) -> Column:
    """Sum of the squared differences of `bars` values from their mean, with the rounding of such sums."""
    return squares - total * total / bars


def deviation(deviations: Column, squares: Column, bars: int) -> Column:
    """Standard deviation, ddof 1, of `bars` values with this sum of squared deviations and this sum of squares."""
    return (deviations * (deviations > squares * _CANCELLED) / (bars - 1)).sqrt()
