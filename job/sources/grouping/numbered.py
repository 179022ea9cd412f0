"""Files that are called by numbers: tickers such as `600000`, years, or parts of one series."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from job.config.settings import DataSettings
from job.sources.grouping.evidence import relation
from job.sources.grouping.part import Part
from job.sources.names.stems import is_date
from job.sources.series import Series

SHORTEST_TICKER: Final = 3
LONGEST_TICKER: Final = 6
"""Digits of a ticker that is a number: Hong Kong, Tokyo, Korea and China have three to six."""

_COUNTED: Final = re.compile(r"(?P<name>.*[A-Za-z].*?)[-_.]p?(?P<number>\d{1,5})", re.DOTALL)


def by_number(parts: Iterable[Part], settings: DataSettings) -> list[Part]:
    """Give the parts whose name is a bare number the symbol that they are of: the number, or what their folder says.

    The bars of two files decide where they are at the same times; else, numbers that count up and dates are parts.
    """
    groups: dict[tuple[str, str, str | None, str | None, str], list[Part]] = defaultdict(list)
    result = []
    for part in parts:
        if part.number is None or part.symbol_column is not None:
            result.append(part)
        else:
            folder = part.path.rpartition("/")[0]
            groups[part.exchange, part.symbol, part.market, part.timeframe, folder].append(part)
    for group in groups.values():
        tickers = _are_tickers(group, settings)
        result += [replace(part, symbol=part.number) if tickers and part.number else part for part in group]
    return result


def by_count(parts: Iterable[Part], settings: DataSettings) -> list[Part]:
    """Give parts whose names count from 0 or 1 (`BTC_0`, `BTC_1`) one symbol, if the bars of two are of one series."""
    groups: dict[tuple[str, ...], list[tuple[int, Part]]] = defaultdict(list)
    result = []
    for part in parts:
        counted = _COUNTED.fullmatch(part.symbol)
        if counted is None or part.symbol_column is not None or part.number is not None:
            result.append(part)
        else:
            folder, told = part.path.rpartition("/")[0], (str(part.market), str(part.timeframe))
            groups[counted["name"], part.exchange, *told, folder].append((int(counted["number"]), part))
    for (name, *_), group in groups.items():
        numbers = sorted(number for number, _ in group)
        first, *others = [part for _, part in sorted(group, key=lambda one: one[0])]
        series = Series(first.exchange, first.symbol, None, (first.file,))
        counting = len(group) > 1 and numbers in (list(range(len(group))), list(range(1, len(group) + 1)))
        one = counting and relation(first.file, others[0].file, series, settings) in {"same", "follows"}
        result += [replace(part, symbol=name) if one else part for _, part in group]
    return result


def _are_tickers(group: list[Part], settings: DataSettings) -> bool:
    numbers = sorted({part.number for part in group if part.number is not None}, key=lambda text: (int(text), text))
    if settings.symbols and set(settings.symbols) & set(numbers):
        return True
    if not all(len(number) <= LONGEST_TICKER for number in numbers):
        return False
    first, *others = {part.number: part for part in group}.values()
    for other in others[:2]:
        told = relation(first.file, other.file, Series(first.exchange, first.symbol, None, (first.file,)), settings)
        if told != "apart":
            return told == "different"
    if not all(len(number) >= SHORTEST_TICKER and int(number) for number in numbers):
        return False
    counting = [int(number) - int(numbers[0]) for number in numbers] == list(range(len(numbers)))
    from_start = counting and int(numbers[0]) <= 1 and len(numbers) > 1
    return not from_start and not all(map(is_date, numbers))
