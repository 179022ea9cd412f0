"""Splits that the settings declare: prices before one are made comparable with those after it."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import ConfigError
from job.sources.columns.named import PRICES
from job.sources.names.symbols import symbol_named, unknown_symbol
from job.sources.series import Split


def declared(settings: DataSettings, known: Collection[str]) -> dict[str, tuple[Split, ...]]:
    """Return the splits in `data.splits` by the symbols of the input that are meant, of which there are `known`.

    Raises:
        ConfigError: one is of a symbol that is not among them.
        DataError: a name may mean several of them.
    """
    found: dict[str, tuple[Split, ...]] = {}
    for named, splits in settings.splits.items():
        symbol = symbol_named(named, known)
        if symbol is None:
            raise ConfigError(f"data.splits: {unknown_symbol(named, known)}")
        found[symbol] = (*found.get(symbol, ()), *splits.items())
    return found


def adjusted(bars: pl.DataFrame, splits: Iterable[Split], zone: str) -> pl.DataFrame:
    """Divide prices before each split by its ratio, and multiply volumes in units of the base by it.

    Args:
        bars: `timestamp` Datetime("us", "UTC"), prices and perhaps volumes, Float64.
        splits: each takes effect at midnight in `zone`.
        zone: `data.timezone`.
    """
    for day, ratio in splits:
        since = datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
        factor = pl.when(pl.col("timestamp") < since).then(ratio).otherwise(1.0)
        bars = bars.with_columns(pl.col(PRICES) / factor, pl.col("^(taker_buy_)?volume$") * factor)
    return bars
