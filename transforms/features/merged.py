"""Statistics of windows, merged from those of a newer and an older part of each.

Deviations and trends of prices cannot be told from plain sums: at a price of 100,000 the rounding of a sum of squares
is larger than the squares of small moves. Here all is of differences. A part is known by its mean less its newest
value; two parts are merged by the difference of their means, as in Chan, Golub and LeVeque (1983), "Algorithms for
computing the sample variance". Only terms of one sign are added to a sum of squares, so nothing cancels, and it is
exactly zero where all values are equal. Windows share their parts, and no value outside a window can change a bit.
"""

from collections.abc import Callable
from functools import cache, reduce
from operator import add
from typing import Final, NamedTuple

import polars as pl

from transforms.features.feature import Term

PARTS: Final = {2: (1, 1), 3: (1, 2), 5: (2, 3), 10: (5, 5), 20: (10, 10), 30: (10, 20), 60: (30, 30)}
"""Windows, in bars, by how many bars their newer and older parts have."""


class Column(NamedTuple):
    """A column of bars, or that of a term, with the term."""

    name: str
    terms: tuple[Term, ...] = ()


@cache
def mean_gap(column: Column, bars: int) -> Term:
    """Mean of the older part of a window less that of the newer part."""
    newer, older = PARTS[bars]
    value = pl.col(column.name)
    gap, below = value.shift(newer) - value, column.terms
    if older > 1:
        far = mean_offset(column, older)
        gap, below = gap + pl.col(far.name).shift(newer), (*below, far)
    if newer > 1:
        near = mean_offset(column, newer)
        gap, below = gap - pl.col(near.name), (*below, near)
    return Term(f"{column.name}_gap_{bars}", gap, below)


@cache
def mean_offset(column: Column, bars: int) -> Term:
    """Mean over a window less its newest value."""
    newer, older = PARTS[bars]
    gap = mean_gap(column, bars)
    near = [mean_offset(column, newer)] if newer > 1 else []
    offset = reduce(add, (pl.col(term.name) for term in near), pl.col(gap.name) * (older / bars))
    return Term(f"{column.name}_offset_{bars}", offset, (gap, *near))


@cache
def squares(column: Column, bars: int) -> Term:
    """Sum over a window of squared differences from its mean."""
    newer, older = PARTS[bars]
    gap = mean_gap(column, bars)
    between = pl.col(gap.name) * pl.col(gap.name) * (newer * older / bars)
    return _merged(f"{column.name}_squares_{bars}", bars, between, (gap,), lambda part: squares(column, part))


@cache
def products(one: Column, other: Column, bars: int) -> Term:
    """Sum over a window of the products of two columns' differences from their means."""
    newer, older = PARTS[bars]
    gaps = (mean_gap(one, bars), mean_gap(other, bars))
    between = pl.col(gaps[0].name) * pl.col(gaps[1].name) * (newer * older / bars)
    name = f"{one.name}_{other.name}_products_{bars}"
    return _merged(name, bars, between, gaps, lambda part: products(one, other, part))


@cache
def trend(column: Column, bars: int) -> Term:
    """Sum over a window of the products of a column's differences and those of the bars' numbers from their means."""
    newer, older = PARTS[bars]
    gap = mean_gap(column, bars)
    between = pl.col(gap.name) * (-newer * older / 2)  # the numbers' means are half a window apart
    return _merged(f"{column.name}_trend_{bars}", bars, between, (gap,), lambda part: trend(column, part))


def _merged(name: str, bars: int, between: pl.Expr, gaps: tuple[Term, ...], sum_over: Callable[[int], Term]) -> Term:
    """Add what lies between the parts of a window to what lies within them: nothing within a part of one bar."""
    newer, older = PARTS[bars]
    near = [sum_over(newer)] if newer > 1 else []
    far = [sum_over(older)] if older > 1 else []
    within = [*(pl.col(term.name) for term in near), *(pl.col(term.name).shift(newer) for term in far)]
    return Term(name, reduce(add, within, between), (*gaps, *near, *far))


@cache
def extreme(end: str, name: str, bars: int) -> Term:
    """Highest or lowest (`end`) value of a column of bars over a window."""
    near, far, below = _parts(end, name, bars)
    is_far = far >= near if end == "highest" else far <= near
    return Term(f"{name}_{end}_{bars}", pl.when(is_far).then(far).otherwise(near), below)


@cache
def extreme_age(end: str, name: str, bars: int) -> Term:
    """How many bars ago a column of bars first had its highest or lowest (`end`) value of a window, Int8."""
    newer, older = PARTS[bars]
    near, far, below = _parts(end, name, bars)
    near_age, far_age = pl.lit(0, dtype=pl.Int8), pl.lit(newer, dtype=pl.Int8)
    if newer > 1:
        term = extreme_age(end, name, newer)
        near_age, below = pl.col(term.name), (*below, term)
    if older > 1:
        term = extreme_age(end, name, older)
        far_age, below = pl.col(term.name).shift(newer) + far_age, (*below, term)
    is_far = far >= near if end == "highest" else far <= near
    return Term(f"{name}_{end}_age_{bars}", pl.when(is_far).then(far_age).otherwise(near_age), below)


def _parts(end: str, name: str, bars: int) -> tuple[pl.Expr, pl.Expr, tuple[Term, ...]]:
    """Return the extremes of both parts of a window, and the terms that hold them."""
    newer, older = PARTS[bars]
    near = (extreme(end, name, newer),) if newer > 1 else ()
    far = (extreme(end, name, older),) if older > 1 else ()
    first, second = (pl.col(part[0].name if part else name) for part in (near, far))
    return first, second.shift(newer), (*near, *far)
