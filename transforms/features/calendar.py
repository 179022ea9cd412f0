"""The pack `calendar`: the time of day and the day of the week, on circles, and the time since the market opened.

Times are those at which bars begin, on the clocks of the market's sessions, or of the zone of the bars' grid, which
mostly is UTC.
"""

import math
from typing import Final

import polars as pl

from transforms.features.feature import Feature


def circle(name: str, column: str, period: int) -> tuple[Feature, Feature]:
    """Sine and cosine of a time that begins again after `period`: 23:59 is beside 00:00."""
    angle = pl.col(column) * (2 * math.pi / period)
    return Feature(f"{name}_sin", (column,), 0, angle.sin()), Feature(f"{name}_cos", (column,), 0, angle.cos())


PACK: Final = (
    *circle("minute", "minute_of_day", 24 * 60),
    *circle("weekday", "day_of_week", 7),
    Feature("session_minutes", ("session_minute",), 0, pl.col("session_minute")),
)
