"""The pack `microstructure`: what spreads, coarse ticks and idle quotes leave in bars.

Sources: Roll (1984), "A simple implicit measure of the effective bid-ask spread in an efficient market"; Corwin and
Schultz (2012), "A simple way to estimate bid-ask spreads from daily high and low prices"; Harris (1994), "Minimum price
variations, discrete bid-ask spreads, and quotation sizes"; Lesmond, Ogden and Trzcinka (1999), "A new estimate of
transaction costs"; Bandi, Kolokolov, Pirino and Renò (2020), "Zeros".
"""

import math
from typing import Final

import polars as pl

from transforms.features.default import LOG_RETURN, return_deviation
from transforms.features.feature import Feature, Term, window_total

WINDOWS: Final = (20, 60)

_ROOT: Final = 3 - 2 * math.sqrt(2)
"""The constant of Corwin and Schultz' equation 14."""

_high, _low, _close = (pl.col(name) for name in ("high", "low", "close"))
_before: Final = _close.shift(1)

_PAIR: Final = Term("return_pair", pl.col("log_return") * pl.col("log_return").shift(1), (LOG_RETURN,))
# Prices may jump between bars, over a night say: such a jump is taken out of the later bar.
_JUMP: Final = Term("range_jump", _before - pl.max_horizontal(_low, pl.min_horizontal(_high, _before)))
_RANGE: Final = Term("range_squared", (_high / _low).log() ** 2)
_NEXT_RANGE: Final = Term(
    "moved_range_squared", ((_high + pl.col("range_jump")) / (_low + pl.col("range_jump"))).log() ** 2, (_JUMP,)
)
_TWO_BAR_RANGE: Final = Term(
    "two_bar_range_squared",
    (
        pl.max_horizontal(_high + pl.col("range_jump"), _high.shift(1))
        / pl.min_horizontal(_low + pl.col("range_jump"), _low.shift(1))
    ).log()
    ** 2,
    (_JUMP,),
)
_BOTH_RANGES: Final = Term(
    "both_ranges_squared", pl.col("range_squared").shift(1) + pl.col("moved_range_squared"), (_RANGE, _NEXT_RANGE)
)
_ALPHA: Final = Term(
    "range_alpha",
    pl.col("both_ranges_squared").sqrt() * ((math.sqrt(2) - 1) / _ROOT)
    - (pl.col("two_bar_range_squared") / _ROOT).sqrt(),
    (_BOTH_RANGES, _TWO_BAR_RANGE),
)
_TWO_BAR_SPREAD: Final = Term("two_bar_spread", 2 * (pl.col("range_alpha").clip(0) / 2).tanh(), (_ALPHA,))
_PLACE: Final = Term("close_place", pl.when(_high > _low).then((_close - _low) / (_high - _low)).otherwise(0.5))
_STILL: Final = Term("still", (_close == _before).cast(pl.UInt8))
_TICK: Final = Term("close_tick", pl.when(_close == _before).then(math.inf).otherwise((_close - _before).abs()))


def roll_spread(bars: int) -> Feature:
    """Roll's spread as a share of the price: 2 √-cov of a log return and the one before; 0 where they move together."""
    pairs = window_total("return_pairs", bars, pl.col(_PAIR.name), (_PAIR,))
    total = window_total("return_sum", bars, pl.col(LOG_RETURN.name), (LOG_RETURN,))
    returns = pl.col(total.name)
    covariance = (pl.col(pairs.name) - returns * returns.shift(1) / bars) / (bars - 1)
    return Feature(f"roll_spread_{bars}", ("close",), bars + 1, 2 * (-covariance).clip(0).sqrt(), (pairs, total))


def corwin_schultz(bars: int) -> Feature:
    """Mean of Corwin and Schultz' spreads of two bars each, as a share of the price; negative ones count as 0."""
    total = window_total("two_bar_spreads", bars, pl.col(_TWO_BAR_SPREAD.name), (_TWO_BAR_SPREAD,))
    return Feature(f"corwin_schultz_{bars}", ("high", "low", "close"), bars, pl.col(total.name) / bars, (total,))


def close_place(bars: int) -> Feature:
    """Mean place of the close in its bar's range, from 0 at the low to 1 at the high; ½ where there is no range."""
    total = window_total("close_places", bars, pl.col(_PLACE.name), (_PLACE,))
    return Feature(f"close_place_{bars}", ("high", "low", "close"), bars - 1, pl.col(total.name) / bars, (total,))


def smallest_tick(bars: int) -> Term:
    """Smallest move of the close but 0 over a window, infinite where there is none."""
    if bars == 1:
        return _TICK
    half = smallest_tick((bars + 1) // 2)  # the halves of an odd window share a bar
    near, far = pl.col(half.name), pl.col(half.name).shift(bars // 2)
    return Term(f"smallest_tick_{bars}", pl.when(far < near).then(far).otherwise(near), (half,))


def tick(bars: int) -> tuple[Feature, ...]:
    """Smallest move of the close but 0, told from the window alone, over the close and over the deviation of returns.

    Both are 0 where the close did not move.
    """
    least = smallest_tick(bars)
    share = pl.when(pl.col(least.name).is_finite()).then(pl.col(least.name)).otherwise(0.0) / _close
    term = return_deviation(bars)
    deviation = pl.col(term.name)
    in_deviations = pl.when(deviation > 0).then(share / deviation).otherwise(0.0)
    return (
        Feature(f"tick_{bars}", ("close",), bars, share, (least,)),
        Feature(f"tick_volatility_{bars}", ("close",), bars, in_deviations, (least, term)),
    )


def zero_share(bars: int) -> Feature:
    """Share of bars that close where the one before did."""
    total = window_total("stills", bars, pl.col(_STILL.name), (_STILL,))
    return Feature(f"zero_share_{bars}", ("close",), bars, pl.col(total.name).cast(pl.Int16) / bars, (total,))


def still_run(bars: int) -> Term:
    """How many of the last bars in a row close where the one before did, at most `bars`; UInt8."""
    if bars == 1:
        return _STILL
    newer = bars // 2
    near, far = still_run(newer), still_run(bars - newer)
    run = pl.col(near.name)
    longer = pl.when(run == newer).then(run + pl.col(far.name).shift(newer)).otherwise(run)
    return Term(f"still_run_{bars}", longer, (near, far))


def zero_run(bars: int) -> Feature:
    """How many of the last bars in a row, up to a window of them, close where the one before did."""
    run = still_run(bars)
    return Feature(f"zero_run_{bars}", ("close",), bars, pl.col(run.name), (run,))


PACK: Final = (
    *map(roll_spread, WINDOWS),
    *map(corwin_schultz, WINDOWS),
    *map(close_place, WINDOWS),
    *(feature for bars in WINDOWS for feature in tick(bars)),
    *map(zero_share, WINDOWS),
    zero_run(max(WINDOWS)),
)
