"""Features: what a model sees of the bars up to and including one bar.

Each feature is a value in `FEATURES`; adding one is adding an entry. All are scale-free: multiplying every price or
every volume by a constant changes nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from transforms.segments import positions
from transforms.windows import rolling_std, window_sum

CHANGES: Final = (1, 2, 3, 5, 10)
WINDOWS: Final = (5, 10, 20)
RSI_BARS: Final = 14
MACD_BARS: Final = (12, 26, 9)


@dataclass(frozen=True)
class Term:
    """An intermediate column that features share. `recursive` ones remember all earlier bars of the segment."""

    expr: pl.Expr = field(compare=False)
    recursive: bool = False


@dataclass(frozen=True)
class Feature:
    """A column that a model sees.

    Attributes:
        name: of the column.
        inputs: columns of a bar that it needs.
        lookback: earlier bars without which it has no value.
        warmup: earlier bars in the segment from which on it is used: for exponential averages, as many as bring what
            they still owe to their start below 1e-4.
        warmup_exact: the same for 1e-9.
        expr: of the columns of a bar, `TERMS` and each other's terms; meaningful from `lookback` on.
        version: raised whenever the numbers change.
    """

    name: str
    inputs: tuple[str, ...]
    lookback: int
    warmup: int
    warmup_exact: int
    expr: pl.Expr = field(compare=False, repr=False)
    version: int = 1


_close = pl.col("close")


def _window_sums(column: str, name: str) -> dict[str, Term]:
    """Sums over the last 5, 10 and 20 bars, each made of the one before."""
    return {
        f"{name}_5": Term(window_sum(pl.col(column), 5)),
        f"{name}_10": Term(pl.col(f"{name}_5") + pl.col(f"{name}_5").shift(5)),
        f"{name}_20": Term(pl.col(f"{name}_10") + pl.col(f"{name}_10").shift(10)),
    }


def _ema(column: str, bars: int) -> Term:
    """Exponential average with weight 2/(bars + 1), started at the segment's first value."""
    return Term(pl.col(column).ewm_mean(span=bars, adjust=False), recursive=True)


def _wilder(value: pl.Expr) -> Term:
    """Wilder's average: weight 1/14, started at the segment's first value."""
    return Term(value.ewm_mean(alpha=1 / RSI_BARS, adjust=False), recursive=True)


TERMS: Final[Mapping[str, Term]] = {
    "step": Term(pl.when(pl.col("position") > 0).then(_close - _close.shift(1))),
    "log_return": Term((_close / _close.shift(1)).log()),
    "log_return_squared": Term(pl.col("log_return") ** 2),
    **_window_sums("close", "close_sum"),
    **_window_sums("volume", "volume_sum"),
    **_window_sums("log_return", "return_sum"),
    **_window_sums("log_return_squared", "square_sum"),
    "average_step": _wilder(pl.col("step")),
    "average_size": _wilder(pl.col("step").abs()),
    "ema_fast": _ema("close", MACD_BARS[0]),
    "ema_slow": _ema("close", MACD_BARS[1]),
    "macd_line": Term(pl.col("ema_fast") - pl.col("ema_slow")),
    "macd_average": _ema("macd_line", MACD_BARS[2]),
}
"""Each reads the columns of a bar, `position` (bars of the segment before this one) and terms above it."""


def _windowed(name: str, inputs: tuple[str, ...], lookback: int, expr: pl.Expr) -> Feature:
    return Feature(name, inputs, lookback, lookback, lookback, expr)


def _exponential(name: str, lookback: int, expr: pl.Expr) -> Feature:
    """125 and 280 bars: 1e-4 and 1e-9 of the slowest average here, Wilder's (13/14 a bar)."""
    return Feature(name, ("close",), lookback, 125, 280, expr)


def _change(bars: int) -> Feature:
    return _windowed(f"change_{bars}", ("close",), bars, _close / _close.shift(bars) - 1)


def _close_ma(bars: int) -> Feature:
    return _windowed(f"close_ma_{bars}", ("close",), bars - 1, _close / (pl.col(f"close_sum_{bars}") / bars) - 1)


def _volatility(bars: int) -> Feature:
    """Standard deviation, ddof 1, of one-bar log returns."""
    deviation = rolling_std(pl.col(f"return_sum_{bars}"), pl.col(f"square_sum_{bars}"), bars)
    return _windowed(f"volatility_{bars}", ("close",), bars, deviation)


def _volume_ma(bars: int) -> Feature:
    """A window without any volume counts as average: 0."""
    total = pl.col(f"volume_sum_{bars}")
    ratio = pl.when(total > 0).then(pl.col("volume") / (total / bars)).otherwise(1.0)
    return _windowed(f"volume_ma_{bars}", ("volume",), bars - 1, ratio - 1)


def _rsi() -> Feature:
    """Wilder's RSI, 100 · up / (up + down).

    The average step is up less down and the average size is up + down, so it is 50 · (1 + step / size). Prices that
    never moved in the segment give 50.
    """
    size = pl.col("average_size")
    ratio = pl.when(size > 0).then(pl.col("average_step") / size).otherwise(0.0)
    return _exponential(f"rsi_{RSI_BARS}", RSI_BARS, 50 * (1 + ratio))


def _table(features: Iterable[Feature]) -> dict[str, Feature]:
    return {feature.name: feature for feature in features}


_macd_lookback = MACD_BARS[1] + MACD_BARS[2] - 2

FEATURES: Final[Mapping[str, Feature]] = _table(
    (
        *map(_change, CHANGES),
        _windowed("high_low", ("high", "low"), 0, pl.col("high") / pl.col("low") - 1),
        _windowed("open_close", ("open", "close"), 0, pl.col("open") / _close - 1),
        *map(_close_ma, WINDOWS),
        *map(_volatility, WINDOWS),
        *map(_volume_ma, WINDOWS),
        _rsi(),
        _exponential("macd", _macd_lookback, pl.col("macd_line") / _close),
        _exponential("macd_signal", _macd_lookback, pl.col("macd_average") / _close),
        _exponential("macd_histogram", _macd_lookback, (pl.col("macd_line") - pl.col("macd_average")) / _close),
    )
)
DEFAULT_FEATURES: Final = tuple(FEATURES)


def available(names: Sequence[str], columns: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split feature names into those that bars with `columns` can give and those left out."""
    present = set(columns)
    kept = tuple(name for name in names if present.issuperset(FEATURES[name].inputs))
    return kept, tuple(name for name in names if name not in kept)


def warmup_bars(names: Iterable[str], *, exact: bool = False) -> int:
    """Earlier bars of a segment that the features need between them, to 1e-4, or to 1e-9 where `exact`."""
    return max(
        (FEATURES[name].warmup_exact if exact else FEATURES[name].warmup for name in names),
        default=0,
    )


def add_features(bars: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Add one Float32 column a feature, in the order of `names`.

    Args:
        bars: as `transforms.bars.segment` gives them. No window reaches across a segment.
        names: entries of `FEATURES`.

    A value is null where its segment has had fewer than `warmup` bars before.

    Raises:
        ValueError: a feature's inputs are not among the columns.
    """
    left_out = available(names, bars.columns)[1]
    if left_out:
        raise ValueError(f"no volume in these bars: leave out the features {', '.join(left_out)}")
    several = bars.height > 0 and bars["segment"][0] != bars["segment"][-1]
    base = bars.with_columns(pl.col("segment").set_sorted(), position=pl.Series(positions(bars["segment"])))
    made: dict[str, pl.Series] = {}
    for family in _families(names):  # one at a time: the terms of all take several times the room of the features
        working = base
        for level in _levels(family):
            working = working.with_columns(
                (term.expr.over("segment") if several and term.recursive else term.expr).alias(name)
                for name, term in level.items()
            )
        made |= working.select(_masked(FEATURES[name]) for name in family).to_dict()
    return bars.hstack([made[name] for name in names])


def _masked(feature: Feature) -> pl.Expr:
    warm = pl.col("position") >= feature.warmup
    return pl.when(warm).then(feature.expr).cast(pl.Float32).alias(feature.name)


def _families(names: Iterable[str]) -> list[list[str]]:
    """Split features into groups that share no term."""
    groups: list[tuple[list[str], set[str]]] = []
    for name in names:
        family, terms = [name], set(_depths([name]))
        for group in [group for group in groups if group[1] & terms]:
            groups.remove(group)
            family, terms = group[0] + family, group[1] | terms
        groups.append((family, terms))
    return [family for family, _ in groups]


def _levels(names: Iterable[str]) -> list[dict[str, Term]]:
    """Terms that the features need, in steps: each step reads only what stands in earlier ones."""
    depth = _depths(names)
    return [
        {name: TERMS[name] for name, at in depth.items() if at == level}
        for level in range(max(depth.values(), default=-1) + 1)
    ]


def _depths(names: Iterable[str]) -> dict[str, int]:
    """How many terms each term that the features need rests on, one upon the other."""
    depth: dict[str, int] = {}

    def visit(expr: pl.Expr) -> int:
        roots = [root for root in expr.meta.root_names() if root in TERMS]
        for root in roots:
            depth.setdefault(root, visit(TERMS[root].expr))
        return 1 + max((depth[root] for root in roots), default=-1)

    for name in names:
        visit(FEATURES[name].expr)
    return depth
