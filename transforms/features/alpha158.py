"""The pack `alpha158`: the 158 features of qlib's Alpha158, by their names there.

Source: Microsoft's qlib, `Alpha158DL.get_feature_config` for the formulas, `qlib/data/ops.py` for the operators. The
conventions are qlib's: deviations have ddof 1, quantiles lie linearly between two values, equal values share the mean
of their ranks, and of equal extremes the oldest counts. What differs:

- qlib gives values from a segment's first bars on; here a feature has none before its window is full.
- qlib adds 1e-12 to divisors, whatever the unit. Here nothing is added, and what is divided by 0 is 0: so it is in qlib
  where the dividend is 0, too; VMA and VSTD of a bar without volume are about 1e12 times the volume there.
- Correlations and R² are 0 where prices or volumes stand still; qlib has NaN, wherever a deviation is below 2e-5. Both
  leave changes of volume from a bar without any out of CORD.
- The average price of VWAP0 is quote volume over volume, and the close where there is no volume.
"""

from functools import cache, partial
from typing import Final

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from transforms.bars import PRICES
from transforms.features.feature import Feature, Term, window_total
from transforms.features.merged import Column, extreme, extreme_age, mean_offset, products, squares, trend

WINDOWS: Final = (5, 10, 20, 30, 60)
QUANTILES: Final = {"QTLU": 0.8, "QTLD": 0.2}
SORTED_AT_ONCE: Final = 2048
"""Windows that are sorted in one piece of memory."""

_CANCELLED: Final = 1e-13
"""Share of a sum of squares below which a difference of two such sums is rounding, not deviation."""

_open, _high, _low, _close, _volume = (pl.col(name) for name in ("open", "high", "low", "close", "volume"))
_MOVE: Final = Term("close_move", (_close - _close.shift(1)).abs())
_RISE: Final = Term("rise", (_close > _close.shift(1)).cast(pl.Int8))
_FALL: Final = Term("fall", (_close < _close.shift(1)).cast(pl.Int8))
_VOLUME_MOVE: Final = Term("volume_move", (_volume - _volume.shift(1)).abs())
_LOG_VOLUME: Final = Term("log_volume", (_volume + 1).log())
_RETURN: Final = Term("close_return", _close / _close.shift(1) - 1)
# Pairs of changes of price and of volume; from a bar without volume there is none, and it counts 0 in all sums. The log
# is less that of an unchanged volume: the nearer to 0 its mean is, the less is lost where that is taken off.
_traded_before = _volume.shift(1) > 0
_PAIRED: Final = Term("paired", _traded_before.cast(pl.Int8))
_PAIR_RETURN: Final = Term("pair_return", pl.when(_traded_before).then("close_return").otherwise(0.0), (_RETURN,))
_PAIR_VOLUME: Final = Term(
    "pair_volume", pl.when(_traded_before).then(((_volume / _volume.shift(1) + 1) / 2).log()).otherwise(0.0)
)
_PAIRS: Final = (
    Term("pair_return_squared", pl.col("pair_return") * pl.col("pair_return"), (_PAIR_RETURN,)),
    Term("pair_volume_squared", pl.col("pair_volume") * pl.col("pair_volume"), (_PAIR_VOLUME,)),
    Term("pair_product", pl.col("pair_return") * pl.col("pair_volume"), (_PAIR_RETURN, _PAIR_VOLUME)),
)
_WEIGHTED_MOVE: Final = Term("weighted_move", pl.col("close_return").abs() * _volume, (_RETURN,))
_VWAP: Final = pl.when(_volume > 0).then(pl.col("quote_volume") / _volume / _close).otherwise(1.0)
_SHAPE: Final = {
    "KMID": _close - _open,
    "KUP": _high - pl.max_horizontal("open", "close"),
    "KLOW": pl.min_horizontal("open", "close") - _low,
    "KSFT": 2 * _close - _high - _low,
}
"""Body, shadows and shift of a bar: features as shares of the open, and, with a 2 in the name, of the range."""
CLOSE: Final = Column("close")
VOLUME: Final = Column("volume")
LOG_VOLUME: Final = Column(_LOG_VOLUME.name, (_LOG_VOLUME,))
WEIGHTED_MOVE: Final = Column(_WEIGHTED_MOVE.name, (_WEIGHTED_MOVE,))


def quotient(dividend: pl.Expr, divisor: pl.Expr) -> pl.Expr:
    """Quotient by what is never negative; 0 where the divisor is 0."""
    return pl.when(divisor > 0).then(dividend / divisor).otherwise(0.0)


def regression(bars: int) -> tuple[Feature, ...]:
    """Mean and deviation of the close; slope, R² and last residual of its regression on time."""
    offset, square, slope_sum = (make(CLOSE, bars) for make in (mean_offset, squares, trend))
    mean_less_close, variation, moved = (pl.col(term.name) for term in (offset, square, slope_sum))
    times = bars * (bars**2 - 1) / 12  # sum of the squared differences of the bars' numbers from their mean
    residual = -mean_less_close - moved * ((bars - 1) / 2 / times)
    shares = {
        "ROC": (_close.shift(bars), bars, ()),
        "MA": (mean_less_close + _close, bars - 1, (offset,)),
        "STD": ((variation / (bars - 1)).sqrt(), bars - 1, (square,)),
        "BETA": (moved / times, bars - 1, (slope_sum,)),
        "RESI": (residual, bars - 1, (offset, slope_sum)),
    }
    fit = quotient(moved * moved, variation * times)
    return (
        *(
            Feature(f"{name}{bars}", ("close",), lookback, value / _close, terms)
            for name, (value, lookback, terms) in shares.items()
        ),
        Feature(f"RSQR{bars}", ("close",), bars - 1, fit, (slope_sum, square)),
    )


def extremes(bars: int) -> tuple[Feature, ...]:
    """Highest high and lowest low, the close's place between them, and how long ago each was first reached."""
    high, low = extreme("highest", "high", bars), extreme("lowest", "low", bars)
    high_age, low_age = extreme_age("highest", "high", bars), extreme_age("lowest", "low", bars)
    top, bottom = pl.col(high.name), pl.col(low.name)
    since_top, since_bottom = pl.col(high_age.name), pl.col(low_age.name)
    place = quotient(_close - bottom, top - bottom)
    return (
        Feature(f"MAX{bars}", ("high", "close"), bars - 1, top / _close, (high,)),
        Feature(f"MIN{bars}", ("low", "close"), bars - 1, bottom / _close, (low,)),
        Feature(f"RSV{bars}", ("high", "low", "close"), bars - 1, place, (high, low)),
        Feature(f"IMAX{bars}", ("high",), bars - 1, (bars - since_top) / bars, (high_age,)),
        Feature(f"IMIN{bars}", ("low",), bars - 1, (bars - since_bottom) / bars, (low_age,)),
        Feature(f"IMXD{bars}", ("high", "low"), bars - 1, (since_bottom - since_top) / bars, (high_age, low_age)),
    )


def order(bars: int) -> tuple[Feature, ...]:
    """Upper and lower quantile of closes, and the rank of the last one."""
    returned = pl.Struct(dict.fromkeys(QUANTILES, pl.Float64))
    both = Term(f"close_quantiles_{bars}", _close.map_batches(partial(quantiles, bars=bars), return_dtype=returned))
    points = rank_points(bars)
    return (
        *(
            Feature(f"{name}{bars}", ("close",), bars - 1, pl.col(both.name).struct.field(name) / _close, (both,))
            for name in QUANTILES
        ),
        Feature(f"RANK{bars}", ("close",), bars - 1, (pl.col(points.name) + 2) / (2 * bars), (points,)),
    )


def quantiles(closes: pl.Series, bars: int) -> pl.Series:
    """Return `QUANTILES` of each window as a struct of Float64, NaN before the first window is full.

    NumPy sorts whole windows in less time than a window that slides takes for one quantile.
    """
    values = closes.to_numpy()
    found = {name: np.full(values.size, np.nan) for name in QUANTILES}
    for first in range(0, values.size - bars + 1, SORTED_AT_ONCE):
        windows = np.sort(sliding_window_view(values[first : first + SORTED_AT_ONCE + bars - 1], bars), axis=1)
        for name, share in QUANTILES.items():
            place = share * (bars - 1)
            lower, upper = windows[:, int(place)], windows[:, int(place) + 1]
            found[name][first + bars - 1 :][: len(windows)] = lower + (upper - lower) * (place - int(place))
    return pl.DataFrame(found).to_struct(closes.name)


@cache
def rank_points(bars: int) -> Term:
    """Over the window's earlier closes: 2 for each below the last one, 1 for each that equals it, UInt8."""
    shorter = max((window for window in WINDOWS if window < bars), default=1)
    points = _close.map_batches(partial(points_against, backs=range(shorter, bars)), return_dtype=pl.UInt8)
    if shorter == 1:
        return Term(f"rank_points_{bars}", points)
    below = rank_points(shorter)
    return Term(f"rank_points_{bars}", pl.col(below.name) + points, (below,))


def points_against(closes: pl.Series, backs: range) -> pl.Series:
    """Return the points of each close against those so many bars before it, as `rank_points` counts them.

    A loop of two comparisons each: Polars plans a sum of so many for longer than it takes.
    """
    values = closes.to_numpy()
    points = np.zeros(values.size, dtype=np.uint8)
    for back in backs:
        earlier, later = values[:-back], values[back:]
        points[back:] += earlier < later
        points[back:] += earlier <= later
    return pl.Series(closes.name, points)


def price_and_volume(bars: int) -> Feature:
    """Correlation of price and log volume, which is not free of the unit of volume."""
    terms = (squares(CLOSE, bars), squares(LOG_VOLUME, bars), products(CLOSE, LOG_VOLUME, bars))
    first, second, both = (pl.col(term.name) for term in terms)
    value = quotient(both, (first * second).sqrt())
    return Feature(f"CORR{bars}", ("close", "volume"), bars - 1, value, terms, scale_free=False)


def changes_together(bars: int) -> Feature:
    """Correlation of the changes of price and of volume, over the bars that follow one with volume.

    It is 0 where either is the same all over the window but for rounding, such as one tick a bar of a high price.
    """
    own = (_PAIRED, _PAIR_RETURN, _PAIR_VOLUME, *_PAIRS)
    terms = tuple(window_total(f"{term.name}s", bars, pl.col(term.name), (term,)) for term in own)
    count, first, second, first_squares, second_squares, both = (pl.col(term.name) for term in terms)
    first_deviations = first_squares - first * first / count
    second_deviations = second_squares - second * second / count
    is_known = (count > 1) & (first_deviations > first_squares * _CANCELLED)
    is_known &= second_deviations > second_squares * _CANCELLED
    together = (both - first * second / count) / (first_deviations * second_deviations).sqrt()
    return Feature(f"CORD{bars}", ("close", "volume"), bars, pl.when(is_known).then(together).otherwise(0.0), terms)


def steps(bars: int) -> tuple[Feature, ...]:
    """Shares of rising and falling bars; gains and losses of price and of volume over all moves; D is P less N."""
    ups, downs = (window_total(f"{term.name}s", bars, pl.col(term.name), (term,)) for term in (_RISE, _FALL))
    rising, falling = (pl.col(term.name) for term in (ups, downs))
    return (
        Feature(f"CNTP{bars}", ("close",), bars, rising / bars, (ups,)),
        Feature(f"CNTN{bars}", ("close",), bars, falling / bars, (downs,)),
        Feature(f"CNTD{bars}", ("close",), bars, (rising - falling) / bars, (ups, downs)),
        *_gains("SUM", "close", _MOVE, bars),
        *_gains("VSUM", "volume", _VOLUME_MOVE, bars),
    )


def _gains(name: str, column: str, move: Term, bars: int) -> tuple[Feature, ...]:
    """Gains, losses and their difference over the sum of all moves; the difference is the change over the window."""
    moves = window_total(f"{move.name}s", bars, pl.col(move.name), (move,))
    moved = pl.col(moves.name)
    change = pl.col(column) - pl.col(column).shift(bars)
    balance = Term(f"{column}_balance_{bars}", quotient(change, moved).clip(-1, 1), (moves,))
    half = pl.when(moved > 0).then(0.5).otherwise(0.0)
    values = {
        "P": half + pl.col(balance.name) / 2,
        "N": half - pl.col(balance.name) / 2,
        "D": pl.col(balance.name),
    }
    return tuple(
        Feature(f"{name}{letter}{bars}", (column,), bars, value, (moves, balance)) for letter, value in values.items()
    )


def volumes(bars: int) -> tuple[Feature, ...]:
    """Mean and deviation of volume over the bar's; deviation over mean of moves weighted by volume."""
    offset, square = mean_offset(VOLUME, bars), squares(VOLUME, bars)
    mean, deviation = pl.col(offset.name) + _volume, (pl.col(square.name) / (bars - 1)).sqrt()
    moves, scatter = (make(WEIGHTED_MOVE, bars) for make in (mean_offset, squares))
    move, move_deviation = pl.col(moves.name) + pl.col("weighted_move"), (pl.col(scatter.name) / (bars - 1)).sqrt()
    return (
        Feature(f"VMA{bars}", ("volume",), bars - 1, quotient(mean, _volume), (offset,)),
        Feature(f"VSTD{bars}", ("volume",), bars - 1, quotient(deviation, _volume), (square,)),
        Feature(f"WVMA{bars}", ("close", "volume"), bars, quotient(move_deviation, move), (moves, scatter)),
    )


def _inputs(part: pl.Expr, *others: str) -> tuple[str, ...]:
    """Return the columns of a bar that a part of it and others need."""
    return tuple(name for name in PRICES if name in {*part.meta.root_names(), *others})


PACK: Final = (
    Feature("KLEN", ("open", "high", "low"), 0, (_high - _low) / _open),
    *(Feature(name, _inputs(part, "open"), 0, part / _open) for name, part in _SHAPE.items()),
    *(
        Feature(f"{name}2", _inputs(part, "high", "low"), 0, quotient(part, _high - _low))
        for name, part in _SHAPE.items()
    ),
    *(Feature(f"{name.upper()}0", (name, "close"), 0, pl.col(name) / _close) for name in ("open", "high", "low")),
    Feature("VWAP0", ("quote_volume", "volume", "close"), 0, _VWAP),
    *(
        feature
        for group in (regression, extremes, order, steps, volumes)
        for bars in WINDOWS
        for feature in group(bars)
    ),
    *map(price_and_volume, WINDOWS),
    *map(changes_together, WINDOWS),
)
