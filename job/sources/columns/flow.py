"""Columns that say how a volume was traded: what was paid for it, in how many trades, how much of it takers bought."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import polars as pl
import polars.selectors as cs

from job.sources.columns.named import Indices, positions
from job.sources.columns.volumes import unit_of, volume_columns
from job.sources.words import normal
from transforms.bars import FLOW

NONE: Final[Indices] = {}
KLINES: Final[Indices] = {"quote_volume": (7,), "trades": (8,), "taker_buy_volume": (9,)}
"""Where Binance's klines have them, which are twelve values without names."""

_TRADES: Final = (
    *("trades", "numberoftrades", "numtrades", "nooftrades", "nrtrades", "nbtrades", "tradecount", "tradescount"),
    *("counttrades", "tradenum", "tradesnum", "tradesdone", "transactions", "numberoftransactions", "count", "n"),
    *("成交笔数",),
)
_TAKER: Final = (
    *("takerbuyvolume", "takerbuybasevolume", "takerbuybaseassetvolume", "takerbuybase", "takerbasevolume"),
    *("takerbuyvol", "takerbuybasevol", "takerbuyqty", "tbbav", "tbbasevolume", "buyvolume", "volumebuy"),
)
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {"trades": _TRADES, "taker_buy_volume": _TAKER}
"""Names as `normal` writes them, without underscores, the preferred one first."""

_MOST: Final = 0.98
"""Share of bars that must be as a column's meaning has them: a few bad ones are no other column."""
_ROUNDED: Final = 1e-3
"""Share of a price by which an average may lie outside its bar, since volumes are rounded."""


def flow_columns(
    indices: Indices, names: Sequence[str], mapping: Mapping[str, str | None], *, wanted: bool, usual: Indices = NONE
) -> Indices:
    """Return the columns of a bar with those of `FLOW` if they are wanted, else without.

    Args:
        indices: positions of the columns of a bar; those that `data.columns` names are among them already.
        names: of all columns as the file has them; none where it has no header.
        mapping: `data.columns`.
        wanted: whether columns of `FLOW` are.
        usual: where they stand if there are no names.

    They are found by their names, unless they are read as something else.
    """
    if not wanted:
        return {ours: places for ours, places in indices.items() if ours not in FLOW}
    words, taken = [normal(name) for name in names], {*positions(indices)}
    quotes = [place for place in volume_columns(words) if unit_of(words[place]) == "quote"]
    found = {"quote_volume": quotes} | {
        ours: [place for alias in aliases for place, word in enumerate(words) if word.replace("_", "") == alias]
        for ours, aliases in _ALIASES.items()
    }
    free = {ours: [place for place in places if place not in taken] for ours, places in found.items()}
    told = {ours: (places[0],) for ours, places in free.items() if places} if names else usual
    return indices | {ours: places for ours, places in told.items() if ours not in {*indices, *mapping}}


def contradiction(name: str, frames: Iterable[pl.DataFrame]) -> str | None:
    """Return why a column of `FLOW` cannot be what its name says, by the bars of a series; None if it can be.

    Args:
        name: one of `FLOW`, a column of all frames.
        frames: of bars.
    """
    bars = pl.concat([frame.select(cs.by_name("low", "high", "volume", name, require_all=False)) for frame in frames])
    value, volume = pl.col(name), pl.col("volume")
    known = bars.filter(value.is_finite())
    if name == "trades":
        return None if known.select((value == value.round()).all()).item() else "it holds no whole numbers"
    if "volume" not in bars.columns:
        return "there is no volume to compare it with"
    if name == "taker_buy_volume":
        fits, otherwise = value <= volume * (1 + _ROUNDED), "it is no part of the volume"
    else:
        fits = (value / volume).is_between(pl.col("low") * (1 - _ROUNDED), pl.col("high") * (1 + _ROUNDED))
        otherwise = "divided by the volume, it is no price of the bar"
    wrong = known.filter((volume > 0) & ~fits).height
    share = wrong / max(1, known.filter(volume > 0).height)
    return f"{otherwise} in {share:.0%} of bars" if share > 1 - _MOST else None
