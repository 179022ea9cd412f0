"""Columns without names: taken in the usual order, if their values behave as bars do."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import permutations
from typing import Final

import polars as pl

from job.core.errors import DataError
from job.sources.columns.named import BAR, PRICES, Indices, mapped
from job.sources.times.decoding import Dates, joined, utc

_MIN_CONSISTENT: Final = 0.98
"""Share of rows in which the high must be the highest and the low the lowest: a few bad bars are no other layout."""
_MOST_PLACES: Final = 7
"""Columns behind the time among which prices are looked for."""
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


def suggested(rows: Sequence[Sequence[object]]) -> str:
    """Return `data.columns` for rows without names, by numbers from 1, as their values suggest, for a message.

    The time is the first column of times, with the clock behind it where days repeat. Of the columns after it, those
    are open, high, low and close of which the high is the highest and the low the lowest in nearly all rows, and the
    open is nearest to the close before; the usual order comes first. The volume is the next one that is left.
    """
    columns = [pl.Series([str(value) for value in values]) for values in zip(*rows, strict=False)]
    first = next((place for place, column in enumerate(columns) if _times(column) is not None), 0)
    day, behind = columns[first], columns[first + 1 : first + 2]
    both = _times(joined(day, *behind)) if behind and day.n_unique() < day.len() else None
    start = first + 1 + (both is not None)
    places = range(start, min(start + _MOST_PLACES, len(columns)))
    numeric = (columns[place].alias(str(place)).cast(pl.Float64, strict=False) for place in places)
    values = pl.DataFrame([column for column in numeric if not column.null_count()])
    times = _times(day) if both is None else both
    if times is not None and values.width:
        values = values.select(pl.all().sort_by(times))
    best = min(permutations(values.columns, len(PRICES)), key=lambda four: _misfit(values, four), default=())
    if not best or _misfit(values, best) == math.inf:
        best = tuple(str(place) for place in range(start, start + len(PRICES)))
    found = dict(zip(PRICES, best, strict=True))
    if left := [name for name in values.columns if name not in best]:
        found["volume"] = left[0]
    numbers = ", ".join(f"{name}: '{int(place) + 1}'" for name, place in found.items())
    time = f"{first + 1}" if both is None else f"{first + 1}+{first + 2}"
    return f"{{timestamp: '{time}', {numbers}}}"


def _times(column: pl.Series) -> pl.Series | None:
    """Times of a column, with days or months first, None where it holds none."""
    orders: tuple[Dates, ...] = ("day_first", "month_first")
    for dates in orders:
        with suppress(DataError):
            return utc(column, zone="UTC", where="", dates=dates)
    return None


def _misfit(values: pl.DataFrame, four: Sequence[str]) -> float:
    """How far opens are from the closes before them, and lows from highs; infinite where these are no bars."""
    prices = values.select(pl.col(name).alias(price) for name, price in zip(four, PRICES, strict=True))
    inside = (pl.col("high") >= pl.max_horizontal(PRICES)) & (pl.col("low") <= pl.min_horizontal(PRICES))
    gap, reach = (pl.col("open") - pl.col("close").shift(1)).abs().mean(), (pl.col("high") - pl.col("low")).mean()
    share, far = prices.select(inside=inside.mean(), far=gap.fill_null(0) + reach).row(0)
    return math.inf if (share or 0) < _MIN_CONSISTENT else float(far or 0)


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
