"""Names of columns that hold times, and which end of a bar they say that they name."""

import re
from collections.abc import Sequence
from typing import Final, Literal

TIME: Final = "time:"
"""Before the name in the file, the key of a column that may name the time of a bar where several may."""

TIME_WORDS: Final = (
    *("start", "begin", "begins_at", "start_at", "starttime", "begin_time", "candle_date_time_utc", "time_key"),
    *("timestamp_utc", "utc_timestamp", "datetime_utc", "utc_datetime", "date_utc", "date_time_utc", "utc", "utc_date"),
    *("ts_utc", "bar_time", "bartime", "bar_timestamp", "candle_time", "kline_time", "period_start", "bar_start"),
    *("dt", "dttm", "dtime", "time_stamp", "date_timestamp", "timestamp_s", "timestamp_us", "timestamp_ns", "ts_ms"),
    *("ts_s", "ts_us", "ts_ns", "epoch", "epoch_s", "epoch_ms", "epoch_time", "unix_ms", "unix_timestamp_ms"),
    *("time_ms", "time_s", "timems", "trade_time", "trade_date", "tradedate", "trading_day", "tradingdate", "day"),
    *("datetime_local", "local_datetime", "local_date", "quote_date", "price_date", "dtyyyymmdd", "yyyymmdd"),
    *("bucket", "time_bucket", "wstart", "asof", "as_of", "tradingday", "epochmillis", "epoch_millis", "epoch_seconds"),
    *("index", "unnamed_0", "level_0"),
    *("fecha_y_hora", "data_e_ora", "tanggal", "tid", "pvm", "päivämäärä", "일자"),
    *("fecha", "datum", "zeit", "datum_zeit", "data", "data_ora", "temps", "horodatage", "tarih", "дата", "время"),
    *("日期", "时间", "交易日期", "交易时间", "日付", "日時", "날짜", "시간"),
)
"""Less usual names of columns of times, as `normal` writes them."""

BOTH_ENDS: Final = frozenset({"ts_event", "ts_init"})
"""Columns of Nautilus: equal, they say nothing of which end of a bar they name, which is a setting there."""

_PLACE: Final = "time|date|datetime|timestamp|ts|at"
_FILLER: Final = f"{_PLACE}|bar|candle|kline|period|interval|window|utc|gmt|ms|unix|epoch"
_OF_ENDS: Final = {"start": "start|starts|begin|begins|from|open", "end": "end|ends|until|finish|close"}
_ALONE: Final = {"start": {"start", "begin", "from"}, "end": {"end", "until"}}
_GENERIC: Final = re.compile(
    r"(?:.*_)?(?:time|date|timestamp|datetime|dt|ts)(?:_.*)?|ticks"
    r"|[a-z]*(?:time|date|timestamp)(?:utc|gmt|ms|us|ns|iso|millis|seconds)?"
)
_OTHER: Final = re.compile(
    r"(?:.*_)?(?:local_timestamp|received?|recv|created|updated|modified|ingested|fetched|downloaded|inserted|expiry|"
    r"expiration|high|low|timehigh|timelow|settlement|funding|last|listing|delivery)(?:_.*)?"
    r"|(?:last|recei|creat|up|expir|settle|fund|list|deliver)[a-z]*(?:time|date|timestamp)[a-z]*|.*update.*"
)

End = Literal["start", "end"]

ZONE_WORDS: Final = {
    word: zone
    for zone, words in {
        "America/New_York": ("est", "edt", "et", "eastern", "est5edt", "ny", "nyc", "new_york", "newyork"),
        "America/Chicago": ("cst", "cdt", "chicago"),
        "America/Los_Angeles": ("pst", "pdt", "pacific"),
        "Europe/London": ("bst", "london"),
        "Europe/Berlin": ("cet", "cest", "mez", "mesz", "berlin", "frankfurt", "paris"),
        "Europe/Athens": ("eet", "eest", "athens"),
        "Europe/Moscow": ("msk", "moscow"),
        "Asia/Tokyo": ("jst", "tokyo"),
        "Asia/Seoul": ("kst", "seoul"),
        "Asia/Shanghai": ("beijing", "shanghai"),
        "Asia/Hong_Kong": ("hkt", "hong_kong", "hongkong"),
        "Asia/Singapore": ("sgt", "singapore"),
        "Asia/Kolkata": ("ist", "kolkata"),
        "Australia/Sydney": ("aest", "aedt", "sydney"),
    }.items()
    for word in words
}
"""Words in the names of columns that say that their times are not UTC, and the zone that is likely meant."""

WRITE_ENDS: Final = {
    "BitMEX": frozenset({"timestamp", "homenotional", "foreignnotional"}),
    "TradeStation": frozenset({"date", "time", "up", "down"}),
}
"""Columns by which files of those are known that stamp bars with their ends: the API of BitMEX calls `timestamp` the
end of a bucket, TradeStation's export writes the time at which a bar closed."""


def end_named(name: str) -> End | None:
    """End of a bar that a column's name says, None where it says none; `open` and `close` alone are prices."""
    plain = name.replace("_", "")
    ends: tuple[End, End] = ("start", "end")
    for end in ends:
        if name in _ALONE[end]:
            return end
        if re.fullmatch(f"(?:{_FILLER})*(?:{_OF_ENDS[end]})(?:{_FILLER})*", plain):
            weak = plain.replace("open", "", 1) if end == "start" else plain.replace("close", "", 1)
            if re.search(_PLACE, weak) or (weak == plain and re.search(r"period|window|bar|candle|interval", plain)):
                return end
    return None


def time_columns(
    header: Sequence[str], names: Sequence[str], aliases: Sequence[str], chosen: tuple[int, ...]
) -> dict[str, tuple[int, ...]]:
    """Columns that may name the time of a bar, where the names alone do not settle which one does.

    Args:
        header: names as the file has them.
        names: the same as `normal` writes them.
        aliases: names of columns of times, the preferred one first.
        chosen: positions that the names suggest; two are a day and a clock.

    Returns:
        Positions by `TIME` and the name in the file, the preferred one first, and `timestamp`, if `chosen` is empty;
        nothing where there is one such column, and it does not name the end of a bar.
    """
    usual = {name: rank for rank, name in enumerate(aliases)}
    places = sorted((usual[name], place) for place, name in enumerate(names) if name in usual and name)
    singles = [place for _, place in places]
    singles += [
        place
        for place, name in enumerate(names)
        if place not in singles and (end_named(name) is not None or name in BOTH_ENDS)
    ]
    if not singles and not chosen:
        singles = [place for place, name in enumerate(names) if _GENERIC.fullmatch(name) and not _OTHER.fullmatch(name)]
    if len(chosen) == 2:
        singles = [place for place in singles if place not in chosen]
        pairs: dict[str, tuple[int, ...]] = {f"{TIME}{header[chosen[0]]} and {header[chosen[1]]}": chosen}
    elif chosen:
        singles = [*chosen, *(place for place in singles if place not in chosen)]
        pairs = {}
    else:
        pairs = {}
    found = pairs | {f"{TIME}{header[place]}": (place,) for place in singles}
    if not found or (len(found) == 1 and len(chosen) == 1 and end_named(names[singles[0]]) != "end"):
        return {}
    return found if chosen else {"timestamp": next(iter(found.values())), **found}
