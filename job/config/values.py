"""What a setting may hold: names, times, timeframes, labels, as types that refuse everything else with a hint."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from job.config.yaml_text import read_yaml
from job.core.entries import is_import_path
from job.core.wording import did_you_mean
from job.learning.estimators import ALGORITHMS
from transforms.bars import duration_us
from transforms.features import FEATURES

COUNT_OR_SHARE: Final = "expected a count such as 10, or a share such as 0.05 or 5%"
YEARS: Final = (1900, 2200)
"""Bars outside of these years are taken for a slip, as arithmetic on times ends with year 1 and year 9999."""


def _one_of(known: Sequence[str], what: str) -> BeforeValidator:
    """Validator that refuses a name outside `known` and offers the nearest one."""

    def check(value: object) -> object:
        if isinstance(value, str) and value not in known:
            raise ValueError(f"unknown {what} {value!r}{did_you_mean(value, known)} (known: {', '.join(known)})")
        return value

    return BeforeValidator(check)


def _timeframe(value: object) -> object:
    duration_us(str(value))
    return value


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


Timeframe = Annotated[str, BeforeValidator(_timeframe)]
FeatureName = Annotated[str, _one_of(tuple(FEATURES), "feature")]
Algorithm = Annotated[str, BeforeValidator(_algorithm)]
Names = BeforeValidator(_names)
CountOrShare = Annotated[int | float, BeforeValidator(_count_or_share)]
Time = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_plausible)]
