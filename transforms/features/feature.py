"""What a feature is: an expression, the terms that it shares with others, and the warm-up that follows from them."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import polars as pl

from transforms.bars import FLOW, PRICES
from transforms.clock import CLOCK
from transforms.windows import window_sum

BAR_COLUMNS: Final = ("timestamp", *PRICES, "volume", *FLOW, *CLOCK)
POSITION: Final = "position"
"""Column beside those of a bar: how many bars of its segment come before it."""

WARM: Final = 1e-4
"""Share that an exponential average may still owe to its start where a model is trained."""
EXACT: Final = 1e-9
"""The same where a number must not depend on where the bars begin."""

_UNBOUNDED: Final = re.compile(r"\.(ewm|cum)_")
"""Functions of Polars that remember every earlier row, whatever segment it belongs to."""


@dataclass(frozen=True)
class Term:
    """An intermediate column, made once for all features that hold it.

    Attributes:
        name: of the column. Two terms of one name must be the same.
        expr: of the columns of a bar, `position` and the columns of `terms`.
        terms: those that `expr` reads.
        weight: of the newest value in an exponential average, which remembers every earlier bar of its segment. None
            for a term that reads a fixed number of bars; it may reach across a segment's start, where its features
            have no value yet.

    Raises:
        ValueError: the name is that of a column of a bar, or an average without a weight remembers every earlier bar.
    """

    name: str
    expr: pl.Expr = field(compare=False, repr=False)
    terms: tuple["Term", ...] = field(default=(), repr=False)
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.name in (*BAR_COLUMNS, POSITION, "segment"):
            raise ValueError(f"term {self.name}: a column of bars has this name; rename the term")
        if self.weight is None:
            _check_bounded(f"term {self.name}", self.expr)
        elif not 0 < self.weight < 1:
            raise ValueError(f"term {self.name}: weight must lie between 0 and 1, got {self.weight}")

    @cached_property
    def roots(self) -> frozenset[str]:
        """Columns that it reads, itself or through its terms."""
        return frozenset(self.expr.meta.root_names()).union(*(term.roots for term in self.terms))

    @cached_property
    def depth(self) -> int:
        """Length of the longest chain of terms below it."""
        return 1 + max((term.depth for term in self.terms), default=-1)


@dataclass(frozen=True)
class Feature:
    """A column that a model sees.

    It is scale-free, if it does not say otherwise: multiplying all prices, or all volumes, by a constant changes
    nothing.

    Attributes:
        name: of the column.
        inputs: columns of a bar that it needs, itself or through its terms.
        lookback: earlier bars without which it has no value.
        expr: of the columns of a bar, `position` and the columns of `terms`; meaningful from `lookback` on, and finite
            wherever its inputs are.
        terms: those that `expr` reads.
        slowest: weight of an average that it waits for, beside those of its terms, so that the features of a pack begin
            at the same bar.
        version: raised whenever the numbers change.
        scale_free: False only where a published formula is not, such as one of log(volume + 1).

    Raises:
        ValueError: `lookback` is negative, `expr` or a term reads a column that `inputs` does not name, or `expr`
            itself remembers every earlier bar.
    """

    name: str
    inputs: tuple[str, ...]
    lookback: int
    expr: pl.Expr = field(compare=False, repr=False)
    terms: tuple[Term, ...] = ()
    slowest: float | None = None
    version: int = 1
    scale_free: bool = True

    def __post_init__(self) -> None:
        if self.lookback < 0:
            raise ValueError(f"feature {self.name}: lookback must be 0 bars or more, got {self.lookback}")
        _check_bounded(f"feature {self.name}", self.expr)
        known = {*self.inputs, POSITION, *(term.name for term in self.every_term)}
        read = set(self.expr.meta.root_names()).union(*(term.roots for term in self.terms))
        if undeclared := sorted(read - known):
            raise ValueError(f"feature {self.name} reads {', '.join(undeclared)}: add it to its inputs or terms")
        if absent := [name for name in self.inputs if name not in BAR_COLUMNS]:
            raise ValueError(f"feature {self.name}: bars have no {absent[0]}, they have {', '.join(BAR_COLUMNS)}")

    @cached_property
    def column(self) -> pl.Expr:
        """The feature as a Float32 column of bars with `position` and the terms' columns; its warm-up is not masked."""
        return self.expr.cast(pl.Float32).alias(self.name)

    @cached_property
    def every_term(self) -> tuple[Term, ...]:
        """The terms that it reads, itself or through others, each once and after those that it reads."""
        return tuple(_each_once(self.terms, set()))

    @cached_property
    def warmup(self) -> int:
        """Earlier bars in the segment from which on it is used: its averages owe less than 1e-4 to their start."""
        return self.settled_after(WARM)

    def settled_after(self, tolerance: float) -> int:
        """Return after how many bars of a segment the averages owe no more than `tolerance` to their start.

        An exponential average of weight a owes the share (1 - a)^n to its start after n bars.
        """
        weights = [term.weight for term in self.every_term if term.weight is not None]
        if self.slowest is not None:
            weights.append(self.slowest)
        settled = (math.ceil(math.log(tolerance) / math.log1p(-weight)) for weight in weights)
        return max((self.lookback, *settled))


def _each_once(terms: tuple[Term, ...], seen: set[int]) -> Iterator[Term]:
    """Yield terms and those below them.

    A term may be held by many others: each is visited once, or a few levels of windows would take millions of visits.
    """
    for term in terms:
        if id(term) not in seen:
            seen.add(id(term))
            yield from _each_once(term.terms, seen)
            yield term


def window_total(name: str, bars: int, value: pl.Expr, terms: tuple[Term, ...] = ()) -> Term:
    """Sum of `value`, which reads `terms`, over the last `bars` bars; the column is `<name>_<bars>`.

    A window is two of half its length, and a bar where that is odd; the half is a term of its own: windows of 5, 10 and
    20 share sums.
    """
    if bars < 4:
        return Term(f"{name}_{bars}", window_sum(value, bars), terms)
    half = window_total(name, bars // 2, value, terms)
    total = pl.col(half.name) + pl.col(half.name).shift(bars // 2)
    if bars % 2:
        return Term(f"{name}_{bars}", total + value.shift(bars - 1), (half, *terms))
    return Term(f"{name}_{bars}", total, (half,))


def exponential_average(name: str, weight: float, value: pl.Expr, terms: tuple[Term, ...] = ()) -> Term:
    """Exponential average of `value`, which reads `terms`, started at the segment's first value.

    Each bar counts `weight`, and all before it 1 - `weight`: 2 / (n + 1) for an average "over n bars", 1 / n for
    Wilder's.
    """
    return Term(name, value.ewm_mean(alpha=weight, adjust=False), terms, weight)


def _check_bounded(owner: str, expr: pl.Expr) -> None:
    """Refuse what would carry numbers from one segment into the next, and has no known warm-up."""
    if _UNBOUNDED.search(str(expr)):
        raise ValueError(
            f"{owner} remembers every earlier bar: use `exponential_average`, which knows its weight, or a window"
        )
