"""Times of bars in any usual notation, as UTC in microseconds."""

import re
from datetime import UTC, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from job.config.values import YEARS
from job.core.errors import DataError
from job.sources.times.notations import CLOCKS, DATES, READ_AS, REWRITES
from job.sources.times.zones import from_zone
from job.sources.words import quoted

UTC_TIME: Final = pl.Datetime("us", "UTC")
NAIVE: Final = pl.Datetime("us")

_BLANKS: Final = " \t\"'"
_FAR_APART: Final = 20
_CLOSE: Final = 4
"""Days from one day with bars to the next: a wrong reading of days and months makes months of them."""

_ROUNDED: Final = 6
"""Digits behind the first one of seconds since 1970, such as `1.704067e9`, that cannot tell hours from others."""

MIDNIGHT: Final = r"[ T]00:00(:00(\.0+)?)?(Z|[+-]00:?00)?$"
"""What stands behind a day that was written as a time."""

_PARTS: Final = re.compile(
    r"(?P<date>[A-Za-z]{3} \d{1,2},? \d{4}|\d{1,2} [A-Za-z]{3} \d{4}|[^ ]+)"
    r"(?: (?P<clock>.+?))?(?P<zone>[+-]\d{2}:?\d{2})?"
)
_EPOCHS: Final = ((10**11, 10**6, 1), (10**14, 10**3, 1), (10**17, 1, 1), (2**63, 1, 10**3))
"""Upper bound, factor and divisor to microseconds, for seconds, milli-, micro- and nanoseconds since 1970."""

EARLIEST: Final = 10**8
"""Smallest number taken for a time: 1973-03-03 in seconds. In every unit, the bounds lie at least a century away."""

_DAYS: Final = tuple((datetime(year, 1, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)).days for year in YEARS)
"""First day of the years that bars may be of, and of the first year after them, since 1970."""

_PER_DAY: Final = {unit: 86_400 * per_second for unit, per_second in (("ms", 10**3), ("us", 10**6), ("ns", 10**9))}

_CALENDAR: Final = r"^(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?)?$"
_CALENDARS: Final = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


Dates = Literal["auto", "day_first", "month_first"]
"""Which comes first in `01/02/2024`; `auto` asks all rows together."""


class NotATimeError(DataError):
    """A row holds no time in any notation, or not with days and months in the order asked for."""


class UnclearDaysError(DataError):
    """Days and months of a column cannot be told apart by its rows."""


def utc(times: pl.Series, *, zone: str, where: str, dates: Dates = "auto") -> pl.Series:
    """Decode times: Datetime, Date, epoch numbers or text, the notation and unit decided for each row.

    Args:
        times: any of the types above; null stays null.
        zone: of times that name none, such as `America/New_York`.
        where: what an error names: the file and column.
        dates: whether days or months come first where they are numbers.

    Returns:
        `Datetime("us", "UTC")`, rows as given.

    Raises:
        UnclearDaysError: days may be months, and the rows do not tell.
        NotATimeError: a row holds no time.
        DataError: a time is outside of `YEARS`; a local time does not exist, or is of an hour that comes twice where
            the rows do not tell which is meant.
    """
    if times.dtype == pl.Null:
        return times.cast(UTC_TIME)
    if isinstance(times.dtype, pl.Datetime | pl.Date):
        _refuse_far(times, times, where)
        naive = times.cast(NAIVE) if times.dtype == pl.Date else times.dt.cast_time_unit("us")
        zoned = isinstance(times.dtype, pl.Datetime) and times.dtype.time_zone is not None
        return naive.dt.convert_time_zone("UTC") if zoned else from_zone(naive, zone, where)
    decoded = _numbers(times, zone, where) if times.dtype.is_numeric() else _text(times, zone, where, dates)
    _refuse_far(decoded, times, where)
    return decoded


def joined(day: pl.Series, clock: pl.Series) -> pl.Series:
    """Days and clocks of two columns as one text a row; `930` on a clock is 09:30."""
    if day.dtype == pl.Datetime:
        day = day.dt.date()
    days, hours = (part.cast(pl.String).str.strip_chars(_BLANKS) for part in (day, clock))
    days = days.str.replace(MIDNIGHT, "").str.replace(r"^(\d{8})\.0$", "${1}")
    return days + " " + _padded(hours.str.replace(r"^(\d{1,6})\.0$", "${1}"))


def _padded(clocks: pl.Series) -> pl.Series:
    """Clocks of digits alone with the zeros that they lack: hours, hours and minutes, or with seconds, as most are."""
    plain = clocks.str.contains(r"^\d{1,6}$").fill_null(value=False)
    digits = clocks.filter(plain)
    longest = digits.str.len_bytes().max()
    if not isinstance(longest, int) or (longest in {4, 6} and digits.str.len_bytes().min() == longest):
        return clocks
    if longest <= len("23") and digits.cast(pl.Int64).max() in range(25):  # 24 is refused then, not taken for a minute
        return clocks.zip_with(~plain, clocks.str.zfill(2) + ":00")
    return clocks.zip_with(~plain, clocks.str.zfill(4 if longest <= len("2359") else 6))


def _refuse_far(times: pl.Series, given: pl.Series, where: str) -> None:
    """Refuse times outside of `YEARS`: a slip, or a number in another unit, on which arithmetic may overflow."""
    per_day = _PER_DAY[times.dtype.time_unit] if isinstance(times.dtype, pl.Datetime) else 1
    days = times.to_physical()
    far = ~days.is_between(_DAYS[0] * per_day, _DAYS[1] * per_day, closed="left").fill_null(value=True)
    if far.any():
        row = int(far.arg_true()[0])
        year = 1970 + int(days[row] / per_day // 365.2425)
        text = "" if given is times else f"{quoted(str(given[row]))} is "
        raise DataError(
            f"{where}, row {row + 1}: {text}a time of about the year {year}, not of {YEARS[0]} to {YEARS[1]}; "
            "correct it or set data.columns.timestamp"
        )


def _numbers(times: pl.Series, zone: str, where: str) -> pl.Series:
    """Decode epoch numbers, or `20230102`, `202301021530` or `20230102153000` if all rows are such.

    As epochs most of the latter lie before 1977.
    """
    whole = times.cast(pl.Int64, strict=False) if times.dtype.is_integer() else times.cast(pl.Float64)
    if whole.null_count() > times.null_count():
        _refuse(times.cast(pl.String), whole.is_null() & times.is_not_null(), where)
    digits = whole.cast(pl.String)
    given = digits.drop_nulls()
    length = len(given[0]) if given.len() and whole.dtype == pl.Int64 else 0
    if length not in _CALENDARS or not (given.str.contains(_CALENDAR) & (given.str.len_bytes() == length)).all():
        return _epoch(whole, digits, where)
    complete, notation = (digits + "00", "%Y%m%d%H%M%S") if length == 12 else (digits, _CALENDARS[length])
    naive = complete.str.to_datetime(notation, time_unit="us", strict=False)
    _refuse(digits, naive.is_null() & digits.is_not_null(), where)
    return from_zone(naive, zone, where)


def _epoch(numbers: pl.Series, given: pl.Series, where: str) -> pl.Series:
    """Decode epoch numbers, Int64 or Float64, each in the unit that fits its size; `given` is how they are written."""
    latest = _EPOCHS[-1][0]
    wrong = ~numbers.cast(pl.Float64).is_between(EARLIEST, latest, closed="left").fill_null(value=True)
    _refuse(given, wrong, where)
    value, whole = pl.col("n"), numbers.dtype == pl.Int64
    units = [
        pl.when(value < bound).then(value * factor // divisor if whole else (value * factor / divisor).round())
        for bound, factor, divisor in _EPOCHS
    ]
    decoded = numbers.alias("n").to_frame().select(pl.coalesce(units).cast(pl.Int64).cast(UTC_TIME))
    return decoded.to_series().alias(numbers.name)


def _text(times: pl.Series, zone: str, where: str, dates: Dates) -> pl.Series:
    text = times.cast(pl.String).str.strip_chars(_BLANKS)
    text = text.set(text == "", None)
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == text.null_count():
        return _numbers(whole, zone, where)
    # Where all numbers since 1970 are as short as `1.70839E+12`, their last digits, such as hours, are gone.
    digits = text.str.extract(r"^\d\.?(\d*)[eE]\+?(?:0?9|1\d)$")
    longest = digits.str.len_bytes().max()
    if isinstance(longest, int) and longest <= _ROUNDED and digits.null_count() == text.null_count() < text.len() - 1:
        row = int(text.is_not_null().arg_true()[0])
        raise NotATimeError(
            f"{where}, row {row + 1}: {quoted(text[row])} is a rounded number, as spreadsheets write it; export the "
            "times as whole numbers, or set data.columns.timestamp to another column"
        )
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == text.null_count():
        return _epoch(numbers, text, where)
    rest = text.set(numbers.is_not_null(), None)
    return _epoch(numbers, text, where).zip_with(numbers.is_not_null(), _in_zones(rest, zone, where, dates))


def _in_zones(text: pl.Series, zone: str, where: str, dates: Dates) -> pl.Series:
    """Read times written as text, each in the zone that it names, else in `zone`."""
    if text.str.contains(r"\s\s").any():
        text = text.str.replace_all(r"\s+", " ")
    if text.str.contains(r" \d{1,3}$| \d{5}$").any():
        day, clock = text.str.extract(r"^(\S+) \d{1,6}$"), text.str.extract(r"^\S+ (\d{1,6})$")
        text = (day + " " + _padded(clock)).zip_with(clock.is_not_null(), text)
    named = text.str.extract(r"\d(?: ?[AaPp]\.?[Mm]\.?)? ([A-Za-z][A-Za-z0-9_]*(?:/[A-Za-z0-9_+-]+)*)$")
    named = named.set(named.str.contains(r"^(?i:[ap]m|utc|gmt)$").fill_null(value=False), None)
    result = pl.Series(text.name, [None] * text.len(), dtype=UTC_TIME)
    for name in named.drop_nulls().unique().sort():
        known = zone_called(name)
        if known is None:
            _refuse(text, named == name, where)
            continue
        own = text.set((named != name).fill_null(value=True), None).str.replace(rf" {re.escape(name)}$", "")
        result = result.zip_with(result.is_not_null(), _written(own, known, where, dates))
    if named.null_count() == 0:
        return result
    return result.zip_with(named.is_not_null(), _written(text.set(named.is_not_null(), None), zone, where, dates))


def zone_called(name: str) -> str | None:
    """Zone of this name; None for short ones such as EST, by which people mean clocks with summer time and without."""
    if name.isupper():
        return None
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _written(text: pl.Series, zone: str, where: str, dates: Dates) -> pl.Series:
    """Read times written as text, one notation after the other until every row is read."""
    rest, result = text, pl.Series(text.name, [None] * text.len(), dtype=UTC_TIME)
    while (left := rest.is_not_null()).any():
        first = int(left.arg_true()[0])
        read = _parsed(rest, rest[first], zone, where, dates)
        if read.is_null()[first]:
            _refuse(text, left, where)
        result = result.zip_with(result.is_not_null(), read)
        rest = rest.set(read.is_not_null(), None)
    return result


def _parsed(text: pl.Series, example: str, zone: str, where: str, dates: Dates) -> pl.Series:
    """Read times in the notation of an example, one of them: null where they are in another, or it is in none.

    Of the formats that a notation may be in, the right one reads most rows, and makes no months of the days between.

    Raises:
        UnclearDaysError: neither tells which format is right.
    """
    for pattern, replacement in REWRITES:
        if re.search(pattern, example):
            example = re.sub(pattern, re.sub(r"\$\{(\d)\}", r"\\g<\1>", replacement), example)
            text = text.str.replace(pattern, replacement)
    parts = _PARTS.fullmatch(example)
    days = next((formats for pattern, formats in DATES if parts and pattern.fullmatch(parts["date"])), ())
    clock = next(
        (fmt for pattern, fmt in CLOCKS if parts and parts["clock"] and pattern.fullmatch(parts["clock"])), None
    )
    if parts is None or not days or (parts["clock"] and clock is None):
        return text.clear(text.len())
    formats = [f"{day} {clock}{'%z' if parts['zone'] else ''}" if clock else day for day in days]
    if len(formats) > 1:
        formats = formats[{"auto": slice(None), "day_first": slice(1), "month_first": slice(1, 2)}[dates]]
    readings = [text.str.to_datetime(fmt, time_unit="us", strict=False) for fmt in formats]
    fewest = min(reading.null_count() for reading in readings)
    fitting = [reading for reading in readings if reading.null_count() == fewest]
    # That a two-digit year comes first, nothing but the days that it gives can show.
    year_first = formats[-1].startswith("%y/") and fitting[-1] is readings[-1]
    if year_first and len(fitting) > 1 and _gap(fitting[-1]) == 0:
        fitting = fitting[:-1]
    if not all(other.equals(fitting[0]) for other in fitting):
        near = [reading for reading in fitting if 0 < _gap(reading) <= _CLOSE]
        far = [reading for reading in fitting if _gap(reading) >= _FAR_APART]
        if len(near) != 1 or len(near) + len(far) != len(fitting):
            raise UnclearDaysError(
                f"{where}: {quoted(text.drop_nulls()[0])} may be day/month or month/day, and no row tells; "
                "write the dates as 2024-01-31, or set data.dates: day_first or data.dates: month_first"
            )
        fitting = near
    return fitting[0] if parts["zone"] else from_zone(fitting[0], zone, where)


def _gap(times: pl.Series) -> float:
    """Days that usually lie between a day with rows and the next, 0 where there are too few days to tell."""
    steps = times.dt.date().drop_nulls().unique().sort().to_physical().diff().drop_nulls()
    return float(steps.median() or 0) if steps.len() > 1 else 0.0  # type: ignore[arg-type]


def _refuse(text: pl.Series, wrong: pl.Series, where: str) -> None:
    """Raise for the first wrong row."""
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise NotATimeError(
            f"{where}, row {row + 1}: {quoted(text[row])} is not a time; correct it or set data.columns.timestamp "
            f"({READ_AS})"
        )
