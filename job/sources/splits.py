"""Splits that the settings declare: prices before one are made comparable with those after it."""

from collections.abc import Iterable
from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import polars as pl

from job.sources.columns.named import PRICES
from job.sources.series import Split


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
