"""What a setting may hold: names, times, timeframes, counts, as types that refuse everything else with a hint."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from job.config.yaml_text import read_yaml
from job.core.entries import is_import_path
from job.core.timeframes import asked_timeframe
from job.core.wording import did_you_mean
from job.learning.estimators import ALGORITHMS
from job.learning.features import expand_feature, expand_features
from transforms.bars import duration_us

COUNT_OR_SHARE: Final = "expected a count such as 10, or a share such as 0.05 or 5%"
MAX_TIMEFRAME: Final = "366d"
MAX_BARS: Final = 10_000_000
"""More than any series has: a number of bars beyond it is a slip, and would overflow."""
YEARS: Final = (1900, 2200)
"""Bars outside of these years are taken for a slip, as arithmetic on times ends with year 1 and year 9999."""


def _feature(value: str) -> str:
    """Check one entry of a list of features by itself, so that a mistake is told with its place."""
    expand_feature(value)
    return value


def _timeframe(value: object) -> object:
    return asked_timeframe(str(value))


def check_max_timeframe(timeframe: str) -> str:
    """Return `timeframe`, `60min` as `1h`; raises ValueError for one that is too long, or for something else."""
    timeframe = asked_timeframe(timeframe)
    if duration_us(timeframe) > duration_us(MAX_TIMEFRAME):
        raise ValueError(f"timeframe {timeframe!r}: expected at most {MAX_TIMEFRAME}")
    return timeframe


def _names(value: object) -> object:
    """Accept `A,B` where a list is expected; names given twice count once."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return tuple(dict.fromkeys(value))
    return value


def _written_out(value: object) -> object:
    """Refuse a time given as a number: 20240131 would be read as seconds since 1970."""
    if isinstance(value, int | float) or (isinstance(value, str) and _is_number(value)):
        raise ValueError("write the time out, such as 2024-01-31 or 2024-01-31T12:00")
    return value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _count_or_share(value: object) -> object:
    """Read `5`, `0.05` and `5%`: a whole number is a count, anything below 1 a share."""
    if isinstance(value, str):
        try:
            share = value.strip().endswith("%")
            value = float(value.strip().rstrip("%")) / 100 if share else read_yaml(value)
        except ValueError:
            raise ValueError(COUNT_OR_SHARE) from None
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not whole and not (isinstance(value, float) and 0 < value < 1):
        raise ValueError(COUNT_OR_SHARE)
    return value


def _plausible(value: datetime) -> datetime:
    """Read a time without a zone as UTC; refuse years without bars."""
    first, last = YEARS
    if not first <= value.year <= last:
        raise ValueError(f"expected a year from {first} to {last}, got {value.date()}")
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _algorithm(value: object) -> object:
    """Refuse what is neither an entry of `ALGORITHMS` nor, like `mypackage.models:ALGORITHM`, an import path."""
    if isinstance(value, str) and value not in ALGORITHMS and not is_import_path(value):
        known = ", ".join(ALGORITHMS)
        raise ValueError(
            f"unknown algorithm {value!r}{did_you_mean(value, ALGORITHMS)} "
            f"(known: {known}; your own is named like mypackage.models:ALGORITHM)"
        )
    return value


Names = BeforeValidator(_names)
Timeframe = Annotated[str, BeforeValidator(_timeframe), AfterValidator(check_max_timeframe)]
Timeframes = Annotated[tuple[Timeframe, ...], Names]
Features = Annotated[tuple[Annotated[str, AfterValidator(_feature)], ...], Names, AfterValidator(expand_features)]
Algorithm = Annotated[str, BeforeValidator(_algorithm)]
CountOrShare = Annotated[int | float, BeforeValidator(_count_or_share)]
Time = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_plausible)]
