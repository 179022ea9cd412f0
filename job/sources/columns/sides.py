"""Prices of several sides of a market, as quotes have them: `bid_open`, `askClose`, `mid.c`."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from job.core.errors import DataError
from job.sources.words import normal

SIDES: Final = ("mid", "bid", "ask")
_LETTERS: Final = {"o": "open", "h": "high", "l": "low", "c": "close"}
_SIDED: Final = re.compile(
    "(?P<side>mid|bid|ask)_?(?P<price>open|high|low|close|[ohlc])|(?P<first>open|high|low|close)_?(?P<last>mid|bid|ask)"
)


def sides(names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the positions of open, high, low and close of each side that has all four, the preferred side first.

    Args:
        names: of columns, as `normal` writes them.
    """
    found: dict[str, dict[str, int]] = {side: {} for side in SIDES}
    for index, name in enumerate(names):
        if match := _SIDED.fullmatch(name):
            price = match["first"] or match["price"]
            found[match["side"] or match["last"]][_LETTERS.get(price, price)] = index
    return {side: prices for side, prices in found.items() if len(prices) == len(_LETTERS)}


def one_side(header: Sequence[str], names: Sequence[str], where: str) -> Mapping[str, int]:
    """Return the positions of the prices in the middle, or of the one side that there is; nothing where there is none.

    Raises:
        DataError: there are bids and asks, and no prices between them.
    """
    found = sides(names)
    if "mid" not in found and len(found) > 1:
        bid = ", ".join(f"{price}: {header[index]}" for price, index in found["bid"].items())
        raise DataError(
            f"{where}: prices of bids and of asks, and none between them; choose in data.columns, such as {{{bid}}}"
        )
    return next(iter(found.values()), {})


def note_on_side(name: str) -> tuple[str, ...]:
    """Say which side the prices are of, by the name of the column of one of them."""
    match = _SIDED.fullmatch(normal(name))
    meant = {"mid": "in the middle of bid and ask", "bid": "bids", "ask": "asks"}
    return (f"prices are {meant[match['side'] or match['last']]}",) if match else ()
