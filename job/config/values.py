"""What a setting may hold: names, times, timeframes, counts, as types that refuse everything else with a hint."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, ValidatorFunctionWrapHandler, WrapValidator

from job.config.yaml_text import read_yaml
from job.core.timeframes import asked_timeframe
from job.learning.estimators import algorithm_named
from job.learning.features import expand_feature, expand_features
from transforms.bars import duration_us, timeframe_name

COUNT_OR_SHARE: Final = "expected a count such as 10, or a share such as 0.05 or 5%"
MAX_TIMEFRAME: Final = "366d"
MAX_DAYS: Final = 36_525.0
MAX_DURATION: Final = timedelta(days=MAX_DAYS)
MAX_BARS: Final = 10_000_000
"""More than any series has: a number of bars beyond it is a slip, and would overflow."""
YEARS: Final = (1900, 2200)
"""Bars outside of these years are taken for a slip, as arithmetic on times ends with year 1 and year 9999."""


def _check_feature(value: str) -> str:
    """Check each entry of a list of features by itself, so that the message names its place in the list."""
    expand_feature(value)
    return value


def check_timeframe(value: object) -> str:
    """Return a timeframe, `60min` as `1h`; raises ValueError if `value` is none, or is longer than bars are."""
    timeframe = asked_timeframe(str(value))
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


def _time(value: object, read: ValidatorFunctionWrapHandler) -> datetime:
    """Read a time, as UTC if it has no zone; refuse numbers, and years without bars."""
    numeric = isinstance(value, int | float)
    if isinstance(value, str):
        with suppress(ValueError):
            float(value)
            numeric = True
    if numeric:  # 20240131 would be read as seconds since 1970
        raise ValueError("write the time out, such as 2024-01-31 or 2024-01-31T12:00")
    time: datetime = read(value)
    first, last = YEARS
    if not first <= time.year <= last:
        raise ValueError(f"expected a year from {first} to {last}, got {time.date()}")
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _duration(value: object) -> timedelta:
    """Read `7d`, `36h` or `2w`."""
    if isinstance(value, timedelta):
        return value
    try:
        length = timedelta(microseconds=duration_us(asked_timeframe(str(value))))
    except (ValueError, OverflowError):
        raise ValueError("expected a duration such as 7d, 36h or 2w") from None
    if length > MAX_DURATION:
        raise ValueError(f"expected at most {MAX_DURATION.days}d")
    return length


def duration_text(length: timedelta) -> str:
    """Return a duration as settings have it: `7d`."""
    return timeframe_name(length // timedelta(microseconds=1))


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


def _check_algorithm(value: str) -> str:
    """Check the name or import path of an algorithm here, so that a mistake is told with its place."""
    algorithm_named(value)
    return value


Names = BeforeValidator(_names)
Timeframe = Annotated[str, BeforeValidator(check_timeframe)]
Timeframes = Annotated[tuple[Timeframe, ...], Names]
Features = Annotated[tuple[Annotated[str, AfterValidator(_check_feature)], ...], Names, AfterValidator(expand_features)]
Algorithm = Annotated[str, AfterValidator(_check_algorithm)]
CountOrShare = Annotated[int | float, BeforeValidator(_count_or_share)]
Time = Annotated[datetime, WrapValidator(_time)]
Duration = Annotated[timedelta, BeforeValidator(_duration), PlainSerializer(duration_text)]
