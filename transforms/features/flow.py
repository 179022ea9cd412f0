"""The pack `flow`: how volume was traded, from what exchanges give beside prices and volume.

Sources: Amihud (2002), "Illiquidity and stock returns: cross-section and time-series effects". Takers are the side that
crosses the spread, so their share of the volume is the sign of order flow (Hasbrouck 1991, "Measuring the information
content of stock trades"); where it is not given, the sign of a bar's own return stands for it.
"""

from typing import Final

import polars as pl

from transforms.features.default import LOG_RETURN, volume_total
from transforms.features.feature import Feature, Term, window_total

WINDOWS: Final = (1, 5, 20, 60)
LONG: Final = 60
"""Window that shorter ones are measured by."""

_volume, _quote, _trades, _taker = (pl.col(name) for name in ("volume", "quote_volume", "trades", "taker_buy_volume"))
_SIGNED: Final = Term("signed", (pl.col("close") - pl.col("open")).sign() * _volume)
_IMPACT: Final = Term(
    "impact", pl.when(_quote > 0).then(pl.col("log_return").abs() / _quote).otherwise(0.0 * _quote), (LOG_RETURN,)
)


def ratio(above: Term, below: Term, *, empty: float) -> pl.Expr:
    """One total over another; `empty` where that is 0."""
    total = pl.col(below.name)
    return pl.when(total > 0).then(pl.col(above.name) / total).when(total == 0).then(empty)


def taker_share(bars: int) -> tuple[pl.Expr, tuple[Term, ...]]:
    """Share of the volume that takers bought, and the terms that it reads; half where nothing was traded."""
    bought, traded = window_total("taker_sum", bars, _taker), volume_total(bars)
    return ratio(bought, traded, empty=0.5), (bought, traded)


def taker_share_change(bars: int) -> Feature:
    """Takers' share over a short window, less that over a long one."""
    (now, short), (usual, long) = taker_share(bars), taker_share(LONG)
    return Feature(f"taker_share_change_{bars}", ("volume", "taker_buy_volume"), LONG - 1, now - usual, short + long)


def signed_volume(bars: int) -> Feature:
    """Volume of rising bars less that of falling ones, as a share of all; 0 where nothing was traded."""
    signed, traded = window_total("signed_sum", bars, pl.col("signed"), (_SIGNED,)), volume_total(bars)
    share = ratio(signed, traded, empty=0.0)
    return Feature(f"signed_volume_{bars}", ("open", "close", "volume"), bars - 1, share, (signed, traded))


def trade_size(bars: int) -> Feature:
    """Volume of a trade over a short window against that over a long one, less 1; 0 where there was no trade."""
    terms = [(volume_total(one), window_total("trades_sum", one, _trades)) for one in (bars, LONG)]
    now, usual = (ratio(*pair, empty=0.0) for pair in terms)
    change = pl.when(usual > 0).then(now / usual - 1).when(usual == 0).then(0.0)
    return Feature(f"trade_size_{bars}", ("volume", "trades"), LONG - 1, change, (*terms[0], *terms[1]))


def trades_ma(bars: int) -> Feature:
    """Number of trades over its moving average, less 1; 0 where there was no trade."""
    total = window_total("trades_sum", bars, _trades)
    usual = pl.col(total.name) / bars
    change = pl.when(usual > 0).then(_trades / usual - 1).when(usual == 0).then(0.0)
    return Feature(f"trades_ma_{bars}", ("trades",), bars - 1, change, (total,))


def amihud(bars: int) -> Feature:
    """Amihud's illiquidity over a short window against that over a long one, less 1; 0 where prices stood still.

    It is the mean of |log return| / what was paid; a bar in which nothing was traded counts 0.
    """
    short, long = (window_total("impact_sum", one, pl.col("impact"), (_IMPACT,)) for one in (bars, LONG))
    change = LONG / bars * ratio(short, long, empty=bars / LONG) - 1
    return Feature(f"amihud_{bars}", ("close", "quote_volume"), LONG, change, (short, long))


def vwap_distance(bars: int) -> Feature:
    """Close over the volume-weighted average price, less 1; 0 where nothing was traded."""
    paid, traded = window_total("quote_sum", bars, _quote), volume_total(bars)
    average = ratio(paid, traded, empty=0.0)
    distance = pl.when(average > 0).then(pl.col("close") / average - 1).when(average == 0).then(0.0)
    return Feature(f"vwap_distance_{bars}", ("close", "volume", "quote_volume"), bars - 1, distance, (paid, traded))


def share_of_takers(bars: int) -> Feature:
    """Share of the volume that takers bought, less a half."""
    share, terms = taker_share(bars)
    return Feature(f"taker_share_{bars}", ("volume", "taker_buy_volume"), bars - 1, share - 0.5, terms)


PACK: Final = (
    *map(share_of_takers, WINDOWS),
    *map(taker_share_change, WINDOWS[:-1]),
    *map(signed_volume, WINDOWS),
    *map(trade_size, WINDOWS[:-1]),
    *map(trades_ma, WINDOWS[1:]),
    *map(amihud, WINDOWS[:-1]),
    *map(vwap_distance, WINDOWS),
)
