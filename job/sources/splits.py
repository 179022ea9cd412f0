"""Splits that the settings declare: prices before one are made comparable with those after it."""

from collections.abc import Collection
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import ConfigError
from job.sources.columns.named import PRICES
from job.sources.names.symbols import symbol_named, unknown_symbol


def check_splits(settings: DataSettings, known: Collection[str]) -> None:
    """Refuse splits of a symbol that is not among those of the input.

    Raises:
        ConfigError: naming it, and what it may mean.
    """
    for symbol in settings.splits:
        if symbol_named(symbol, known) is None:
            raise ConfigError(f"data.splits: {unknown_symbol(symbol, known)}")


def adjusted(bars: pl.DataFrame, symbol: str, settings: DataSettings) -> pl.DataFrame:
    """Divide prices before each split of a symbol by its ratio, and multiply volumes by it.

    A split takes effect at midnight in `data.timezone`; its ratio is the number of new shares for an old one.

    Args:
        bars: `timestamp` Datetime("us", "UTC"), prices and perhaps `volume`, Float64.
        symbol: as it was found in the input.
        settings: `splits` by symbols as users write them, and `timezone`.
    """
    for named, splits in settings.splits.items():
        if symbol_named(named, [symbol]) is None:
            continue
        for day, ratio in splits.items():
            since = datetime.combine(day, time(), ZoneInfo(settings.timezone)).astimezone(UTC)
            factor = pl.when(pl.col("timestamp") < since).then(ratio).otherwise(1.0)
            bars = bars.with_columns(pl.col(PRICES) / factor, pl.col("^volume$") * factor)
    return bars
