"""Columns that hold times, decoded, with what their names say of them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import time
from typing import Final

import polars as pl

from job.core.errors import DataError
from job.sources.times.decoding import MIDNIGHT, Dates, UnclearDaysError, joined, utc
from job.sources.times.names import ZONE_WORDS, End, end_named
from job.sources.times.zones import DoubtfulHourError
from job.sources.words import normal, printable

_HEAD: Final = 50


@dataclass(frozen=True)
class TimeColumn:
    """A column of times: its name in the file, UTC times, the end its name says, and if the values tell their zone.

    `zone` is what its name says of the zone of values that do not tell it.
    """

    name: str
    times: pl.Series
    end: End | None
    absolute: bool
    zone: str | None = None


def decoded(given: Mapping[str, Sequence[pl.Series]], zone: str, where: str, dates: Dates) -> list[TimeColumn]:
    """Columns that hold times; a day and a clock are one, unless each of them is a whole time.

    Days that repeat are put together with the one column of clocks, whatever these are called. One that holds times
    whose days or hours are in doubt is no reason to take another, which may be of another zone.
    """
    found, errors, clocks = [], [], list[str]()
    apart = _apart(given)
    for name, parts in apart.items():
        values = joined(*parts) if len(parts) > 1 else parts[0]
        try:
            times = utc(values, zone=zone, where=f"{where}: column 'timestamp'", dates=dates)
        except UnclearDaysError:
            raise
        except DataError as error:
            errors.append(error)
            clocks += [name] * (len(parts) == 1 and is_clock(parts[0]))
            continue
        if times.null_count() < times.len():
            found.append(TimeColumn(name, times, end_named(normal(name)), is_absolute(values), zone_of(name, values)))
        elif len(given) == 1:
            found.append(TimeColumn(name, times, None, absolute=True))
    for day in found if len(clocks) == 1 else ():
        known = day.times.drop_nulls()
        if len(apart[day.name]) == 1 and known.n_unique() < known.len() and known.dt.time().n_unique() == 1:
            pair = {f"{day.name} and {clocks[0]}": [*apart[day.name], *apart[clocks[0]]]}
            return decoded(pair, zone, where, dates)
    doubt = next((error for error in errors if isinstance(error, DoubtfulHourError)), None)
    if doubt and not any(column.absolute for column in found):
        raise doubt
    if not found:
        raise errors[0] if errors else DataError(f"{where}: no row has a time; set data.columns.timestamp")
    return found


def _apart(given: Mapping[str, Sequence[pl.Series]]) -> dict[str, Sequence[pl.Series]]:
    """The same, with a day and a clock as two columns where one is a whole time: seconds, or a time beside its hour."""
    result: dict[str, Sequence[pl.Series]] = {}
    for name, parts in given.items():
        if len(parts) == 1 or (is_clock(parts[1]) and not _has_clock(parts[0])):
            result[name] = parts
        else:
            result |= {
                part: [one] for part, one in zip(reversed(name.split(" and ", 1)), reversed(parts), strict=False)
            }
    return result


def _has_clock(days: pl.Series) -> bool:
    head = days.drop_nulls().head(_HEAD)
    if isinstance(head.dtype, pl.Datetime):
        return bool((head.dt.time() != time()).any())
    text = head.cast(pl.String).str.strip_chars(" \t\"'").str.replace(MIDNIGHT, "").str.replace(r"\.0$", "")
    return bool(text.str.contains(r"\d:\d|^\d{9,}$").any())


def is_clock(column: pl.Series) -> bool:
    """Return whether a column may hold clocks: times of a day, or short texts or numbers that are no dates."""
    if column.dtype in (pl.Time, pl.Duration) or column.dtype.is_float():
        return True
    text = column.drop_nulls().head(_HEAD).cast(pl.String).str.strip_chars(" \t\"'")
    return bool(
        (text.str.len_bytes() <= len("00:00:00.000000 PM")).all()
        and (~text.str.contains(r"^\d{7,}$|\d[-/.]\d+[-/.]\d")).all()
    )


def is_absolute(values: pl.Series) -> bool:
    """Whether values are moments wherever they are read: numbers since 1970, or times that name their zone."""
    if isinstance(values.dtype, pl.Datetime):
        return values.dtype.time_zone is not None
    head = values.drop_nulls().head(_HEAD)
    orders: tuple[Dates, ...] = ("day_first", "month_first")  # either will do, but only one may read these rows
    for dates in orders:
        with suppress(DataError):
            here, there = (utc(head, zone=zone, where="", dates=dates) for zone in ("UTC", "Etc/GMT+5"))
            return here.equals(there)
    return False


def zone_of(name: str, values: pl.Series) -> str | None:
    """Zone that the name of a column says, None where that is UTC or its values tell theirs."""
    name = normal(name)
    words = name.split("_")
    told = next((zone for word, zone in ZONE_WORDS.items() if word in words or ("_" in word and word in name)), None)
    return told if told and {"utc", "gmt"}.isdisjoint(words) and not is_absolute(values) else None


def refuse_zone(told: str | None, name: str, zone: str, where: str) -> None:
    """Refuse times in UTC whose column says another zone.

    Raises:
        DataError: the column says one, and `zone` is UTC.
    """
    if told and zone == "UTC":
        raise DataError(
            f"{where}: {printable(name)!r} says that its times are not UTC; set data.timezone to their zone, such as "
            f"{told}, or to Etc/UTC if they are UTC"
        )
