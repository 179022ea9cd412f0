"""JSON in other shapes than a list of bars: a bar a line, wrapped, by column or by time, as APIs and pandas do."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.columns.named import COLUMN_ALIASES, names_prices
from job.sources.columns.sides import SIDES
from job.sources.no_bars import NoBarsError
from job.sources.times.decoding import zone_called
from job.sources.words import normal, printable, quoted

Rows = list[Any]
"""Bars, each a list of values or a mapping of names to values."""

_ZONE: Final = re.compile(r"(?:.*_)?(?:time_?zone|tz)(?:_?(?:name|id))?|.*timezonename")

DEEPEST: Final = 6
FEWEST_VALUES: Final = 5
_ANSWER: Final = re.compile(r'"(?:code|error|errors|msg|message|detail|ret_?msg)"\s*:', re.IGNORECASE)
"""What stands in an exchange's answer that it gives no bars."""


def rows_in(text: str, where: str) -> tuple[Rows, str | None]:
    """Find the bars in a JSON text of any of these shapes; `NaN` and `Infinity`, which Python writes, are null.

    Returns:
        The bars, and the zone that stands beside them for their times, if one does.

    Raises:
        DataError: it is no JSON, holds no table of bars, or several of them.
    """
    parsed = _parsed(text, where)
    tables = [*_tables(parsed, "")]
    if not tables:
        message = (
            f"{where}: expected a list of bars, found {text[:60]!r}; download it again, "
            "or write it with pandas: frame.to_json(..., orient='records')"
        )
        raise DataError(message) if _ANSWER.search(text[:200]) else NoBarsError(message)
    if len(tables) > 1:
        paths = first_of((quoted(path) for path, _ in tables), 4)
        raise DataError(f"{where}: {len(tables)} lists of bars in one file ({paths}); write a file for each")
    return tables[0][1], next(_zones(parsed), None)


def _zones(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield the names of zones that stand beside bars under such keys as `timezone` or `6. Time Zone`."""
    if not isinstance(value, dict | list) or depth > DEEPEST:
        return
    for key, inner in value.items() if isinstance(value, dict) else (("", one) for one in value[:1]):
        if isinstance(inner, str) and _ZONE.fullmatch(normal(key)) and (zone := zone_called(inner)) is not None:
            yield zone
        yield from _zones(inner, depth + 1)


def _parsed(text: str, where: str) -> Any:
    """Parse a whole text or, where it is none but its lines may be, each line by itself."""
    try:
        return _loads(text, where, "download it again")
    except DataError:
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) < 2 or not all(line.lstrip().startswith(("{", "[")) for line in lines):
            raise
    remedy = "correct it or download it again"
    return [_loads(line.rstrip().rstrip(","), f"{where}, line {n}", remedy) for n, line in enumerate(lines, start=1)]


def _loads(text: str, where: str, remedy: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except RecursionError:
        why = "nested too deeply"
    except ValueError as error:
        why = str(error)[:200]
    raise DataError(f"{where}: truncated or no JSON ({why}); {remedy}")


def _tables(
    value: Any, path: str, times: Mapping[str, list[Any]] | None = None, depth: int = 0
) -> Iterator[tuple[str, Rows]]:
    """Yield the tables of bars in a value, with their paths.

    `times` are columns further out, maybe those of one further in.
    """
    if depth > DEEPEST:
        return
    if isinstance(value, list):
        if rows := _listed(value):
            yield path, rows
        elif len(value) == 1 or any(isinstance(one, dict | list) for one in value[:5]):
            for number, inner in enumerate(value[:100]):
                yield from _tables(inner, f"{path}[{number}]", times, depth + 1)
    elif isinstance(value, dict):
        rows = _by_column(value, times or {}) or _by_row(value)
        if rows:
            yield path, rows
            return
        around = {**(times or {}), **{key: one for key, one in value.items() if isinstance(one, list)}}
        for key, inner in value.items():
            yield from _tables(inner, f"{path}.{printable(str(key))}".lstrip("."), around, depth + 1)


def _listed(value: list[Any]) -> Rows | None:
    first = value[0] if value else None
    if isinstance(first, dict):
        if any(isinstance(one, dict) for one in first.values()) and names_prices([*_flat(first)]):
            return [_flat(row) for row in value if isinstance(row, dict)]
        flat = not isinstance(next(iter(first.values()), None), dict | list)
        return value if flat and names_prices([*map(str, first)]) else None
    if not isinstance(first, list) or any(isinstance(one, dict | list) for one in first):
        return None
    return value if len(first) >= FEWEST_VALUES else None


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row with the values of mappings in it: under the names of these, and of the side, where one is meant."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict):
            flat |= {
                f"{key}.{name}" if normal(key) in SIDES or name in row else name: one for name, one in value.items()
            }
        else:
            flat[key] = value
    return flat


def _by_column(value: dict[str, Any], times: Mapping[str, list[Any]]) -> Rows | None:
    """`{"open": [1, 2], …}`, and pandas' default `{"open": {"0": 1, "1": 2}, …}`, whose inner keys may be the times."""
    if not names_prices([*value]):
        return None
    price = next(one for key, one in value.items() if normal(key) in COLUMN_ALIASES["open"] + COLUMN_ALIASES["close"])
    if isinstance(price, dict):
        columns = {key: one for key, one in value.items() if isinstance(one, dict)}
        labels = [*price]
        front = {} if _names_time(columns) else {"": labels}
        return [
            {
                **{key: one[number] for key, one in front.items()},
                **{key: one.get(label) for key, one in columns.items()},
            }
            for number, label in enumerate(labels)
        ]
    if isinstance(price, list):
        listed = {**times, **value}
        lists = {key: one for key, one in listed.items() if isinstance(one, list) and len(one) == len(price)}
        return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    return [value] if _names_time(value) else None


def _names_time(names: Iterable[Any]) -> bool:
    return any(normal(str(name)) in COLUMN_ALIASES["timestamp"] for name in names)


def _by_row(value: dict[str, Any]) -> Rows | None:
    """Rows whose labels, maybe the times, stand beside them.

    `{"2024-01-01": {"open": 1, …}, …}`: pandas' orient='index', and APIs that key bars by their times; or
    `{"columns": […], "index": […], "data": [[…], …]}`: pandas' orient='split'.
    """
    first = next(iter(value.values()), None)
    columns, data, labels = value.get("columns"), value.get("data"), value.get("index")
    if isinstance(first, dict) and names_prices([*first]) and not isinstance(next(iter(first.values())), dict | list):
        bars = {key: one for key, one in value.items() if isinstance(one, dict)}
        columns, rows, labels = [*first], [*bars.values()], [*bars]
    elif isinstance(columns, list) and isinstance(data, list) and names_prices([*map(str, columns)]):
        rows = [dict(zip(map(str, columns), row, strict=False)) for row in data]
    else:
        return None
    if _names_time(columns) or not isinstance(labels, list):
        return rows
    return [{"": label, **row} for label, row in zip(labels, rows, strict=False)]
