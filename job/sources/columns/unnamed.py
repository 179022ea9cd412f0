"""Columns without names: taken in the usual order, if their values behave as bars do."""

from collections.abc import Mapping
from typing import Final

import polars as pl

from job.sources.columns.named import BAR, PRICES, Indices, mapped

_MIN_CONSISTENT: Final = 0.98
"""Share of rows in which the high must be the highest and the low the lowest: a few bad bars are no other layout."""
_NEAR_PRICE: Final = 0.05
"""How near to the close the average price of a bar lies, as a share of it."""


def in_order(width: int, mapping: Mapping[str, str | None], where: str) -> Indices:
    """Positions of time, open, high, low, close and volume as the first columns.

    `mapping` says otherwise: by numbers from 1, or with null, that a column is left out.

    Raises:
        DataError: an entry of `mapping` is no number of a column.
    """
    kept: Indices = {name: (index,) for index, name in enumerate(BAR[:width]) if mapping.get(name, "") is not None}
    return kept | mapped([str(number) for number in range(1, width + 1)], mapping, where)


def volume_place(frame: pl.DataFrame) -> int:
    """Position of the volume in rows of more than six values without names: the sixth or, by its values, the seventh.

    The sixth is none if it is an average price, between low and high, or the seventh times the price.

    Args:
        frame: all columns by their position: `0` is the time, `1` to `4` are open, high, low and close.
    """
    high, low, close, sixth, seventh = (pl.col(name).cast(pl.Float64, strict=False) for name in "23456")
    told = frame.select(
        price=sixth.is_between(low, high).mean(), paid=((sixth / (seventh * close) - 1).abs() < _NEAR_PRICE).mean()
    )
    return 6 if any((share or 0) > _MIN_CONSISTENT for share in told.row(0)) else 5


def check_ohlc_order(bars: pl.DataFrame) -> str | None:
    """Return why unnamed columns cannot be time, open, high, low, close[, volume] in this order; None if they can.

    The high must be the highest and the low the lowest of a row, open must follow the close before it at least as
    closely as close follows the open before it, and a volume must not lie between low and high as a price does.
    """
    rows = bars.drop_nulls()
    if rows.is_empty():
        return "no row is complete"
    inside = (pl.col("high") >= pl.max_horizontal(PRICES)) & (pl.col("low") <= pl.min_horizontal(PRICES))
    if rows.select(inside.mean()).item() < _MIN_CONSISTENT:
        return "columns 2 to 5 do not behave as open, high, low, close"
    follows = rows.sort("timestamp").select(
        forward=(pl.col("open") - pl.col("close").shift(1)).abs().mean(),
        backward=(pl.col("close") - pl.col("open").shift(1)).abs().mean(),
    )
    forward, backward = follows.row(0)
    if forward is not None and forward > backward:
        return "columns 2 and 5 look like close and open, not open and close"
    between = pl.col("volume").is_between("low", "high") if "volume" in rows.columns else pl.lit(value=False)
    if rows.select(between.mean()).item() > 1 - _MIN_CONSISTENT and rows.height > 1:
        return "column 6 looks like a price, not a volume"
    return None
