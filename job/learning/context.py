"""Columns of other bars, as a model's features name them: `change_1@1h`, `change_1@BTCUSDT`, `market_change_1`.

What stands after the @ is a timeframe, for longer bars of the model's own series, or a symbol, for bars of another
series at the model's timeframe. The columns of the market are those of `transforms.context.MARKET_FEATURES`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from job.core.timeframes import timeframe_of
from transforms.context import MARKET_FEATURES

AT: Final = "@"
_TIMEFRAME: Final = re.compile(r"[1-9][0-9]*[smhd]")


@dataclass(frozen=True)
class Origins:
    """A model's features by the bars that they are made of.

    `own` are of its own bars; `longer` by timeframe and `others` by symbol are named as of these bars; `market` are
    columns of the market.
    """

    own: tuple[str, ...] = ()
    longer: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    market: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether no bars of other series are needed."""
        return not self.others and not self.market


def split_origin(feature: str) -> tuple[str, str | None]:
    """Return a feature as its bars name it, and the timeframe or symbol of these; None for the model's own bars."""
    base, at, where = feature.rpartition(AT)
    return (base, where) if at else (feature, None)


def as_timeframe(where: str) -> str | None:
    """Return what stands after an @ as a timeframe, whichever way it is spelled: `60m`, `1w`; None for a symbol."""
    return timeframe_of(where) if where[:1].isdigit() else None


def is_timeframe(where: str) -> bool:
    """Return whether what stands after the @ is a timeframe; no symbol looks like one."""
    return _TIMEFRAME.fullmatch(where) is not None


@lru_cache
def origins(features: tuple[str, ...]) -> Origins:
    """Sort a model's features by the bars that they are made of, each kind in their order."""
    own, market = list[str](), list[str]()
    longer, others = dict[str, tuple[str, ...]](), dict[str, tuple[str, ...]]()
    for feature in features:
        base, where = split_origin(feature)
        if where is None:
            (market if feature in MARKET_FEATURES else own).append(feature)
        else:
            group = longer if is_timeframe(where) else others
            group[where] = (*group.get(where, ()), base)
    return Origins(tuple(own), longer, others, tuple(market))
