"""Names of volumes: in units of the base, in ticks, or in units of the quote, and which of several is preferred."""

import re
from collections.abc import Sequence
from typing import Final, Literal

Unit = Literal["base", "ticks", "quote"]
"""What a volume counts: what was traded, how often the price changed, or what was paid."""

PLAIN: Final = (
    *("volume", "vol", "v", "base_volume", "basevolume", "volume_base", "volumefrom", "volume_traded", "5_volume"),
    "qty",
)
"""Usual names of a volume in units of the base, the preferred one first."""

_OTHER: Final = (
    *("real_volume", "realvol", "realvolume", "base_vol", "base_asset_volume", "total_volume", "totalvolume"),
    *(
        "trade_volume",
        "traded_volume",
        "trading_volume",
        "volume_shares",
        "volume_contracts",
        "shares",
        "quantity",
        "size",
    ),
    *("vol_traded", "sum_volume", "sumvolume", "shares_traded", "no_of_shares", "traded_qty", "traded_quantity"),
    *("total_traded_quantity", "tottrdqty", "ttl_trd_qnty", "contracts", "lots", "trdvol"),
    *("volumen", "volumes", "volumi", "volym", "volum", "wolumen", "hacim", "handelsvolumen", "stück", "umsatz_stück"),
    *("объем", "объём", "成交量", "成交量_股", "成交量_手", "出来高", "거래량"),
)
_TICKS: Final = ("tick_volume", "tickvol", "tickvolume", "tick_vol", "tick_count", "ticks")
_QUOTE: Final = (
    *("quote_volume", "quotevolume", "quote_vol", "volume_quote", "volumeto", "quote_asset_volume", "turnover"),
    *("amount", "amt", "dollar_volume", "notional", "volume_notional", "volccyquote", "成交额", "成交金额", "売買代金"),
)
ALIASES: Final = (*PLAIN, *_OTHER, *_TICKS, *_QUOTE)
"""All names of a volume, the preferred one first: the quote's comes last, what others count before it."""

_WITH_UNIT: Final = re.compile(r"(?:volume|vol)_(?:in_)?(?P<unit>[a-z]{2,8})")
_QUOTE_UNITS: Final = frozenset(
    (
        *("usd", "usdt", "usdc", "busd", "tusd", "fdusd", "dai", "eur", "gbp", "jpy", "krw", "try", "brl", "aud"),
        *("cad", "chf", "cny", "inr", "rub", "currency", "quote", "fiat", "money", "value", "dollar", "dollars"),
    )
)
_NO_UNITS: Final = frozenset(
    (
        *(
            "ma",
            "sma",
            "ema",
            "wma",
            "avg",
            "mean",
            "median",
            "change",
            "chg",
            "pct",
            "delta",
            "ratio",
            "weight",
            "buy",
        ),
        *("sell", "taker", "maker", "bid", "ask", "std", "zscore", "log", "adj", "norm", "rank", "prev", "next", "up"),
        *("down", "low", "high", "min", "max", "roll", "day", "hour", "week", "month", "year", "price", "imb", "diff"),
        *("sum", "cum", "lag", "trend", "spike", "oi", "long", "short", "score", "index", "osc"),
    )
)


def unit_of(name: str) -> Unit | None:
    """Return what the volume of a column counts, by its name as `normal` writes it; None where it is no volume."""
    for unit, aliases in (("base", (*PLAIN, *_OTHER)), ("ticks", _TICKS), ("quote", _QUOTE)):
        if name in aliases:
            return unit  # type: ignore[return-value]  # of the tuple above
    named = _WITH_UNIT.fullmatch(name)
    if named is None or named["unit"] in _NO_UNITS:
        return None
    return "quote" if named["unit"] in _QUOTE_UNITS else "base"


def volume_columns(names: Sequence[str]) -> list[int]:
    """Return the positions of volumes among names as `normal` writes them, the preferred one first.

    Of several in units of the base that are named after these (`Volume ETH`, `Volume BTC`), which is the base cannot be
    told, so they are none.
    """
    known = [names.index(alias) for alias in ALIASES if alias in names]
    by_unit = {
        unit: [i for i, name in enumerate(names) if name not in ALIASES and unit_of(name) == unit] for unit in UNITS
    }
    base = by_unit["base"] if len(by_unit["base"]) == 1 else []
    quote = by_unit["quote"] if len(by_unit["base"]) < 2 else []
    found = [*known, *base, *quote]
    return sorted(found, key=lambda index: UNITS.index(unit_of(names[index]) or "quote"))


UNITS: Final[tuple[Unit, ...]] = ("base", "ticks", "quote")
