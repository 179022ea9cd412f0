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


def with_symbols(parts: Iterable[Part], settings: DataSettings) -> list[Part]:
    """Give the parts that are called by a number, alone or behind a name, the symbol that they are of.

    A bare number is a ticker or, with others that count up and with dates, a part of what their folder says; where the
    bars of two files are at the same times, these decide. Names that count from 0 or 1 (`BTC_0`, `BTC_1`) are one
    symbol if the bars of two are of one series.
    """
    bare: dict[tuple[str | None, ...], list[Part]] = defaultdict(list)
    counted: dict[tuple[str, ...], list[tuple[int, Part]]] = defaultdict(list)
    result = []
    for part in parts:
        folder, count = part.path.rpartition("/")[0], _COUNTED.fullmatch(part.symbol)
        if part.symbol_column is None and part.number is not None:
            bare[part.exchange, part.symbol, part.market, part.timeframe, folder].append(part)
        elif part.symbol_column is None and count is not None:
            told = (str(part.market), str(part.timeframe))
            counted[count["name"], part.exchange, *told, folder].append((int(count["number"]), part))
        else:
            result.append(part)
    for group in bare.values():
        tickers = _are_tickers(group, settings)
        result += [replace(part, symbol=part.number) if tickers and part.number else part for part in group]
    for (name, *_), numbered in counted.items():
        numbers = sorted(number for number, _ in numbered)
        first, *others = [part for _, part in sorted(numbered, key=lambda one: one[0])]
        series = Series(first.exchange, first.symbol, None, (first.file,))
        counting = len(numbered) > 1 and numbers in (list(range(len(numbered))), list(range(1, len(numbered) + 1)))
        one = counting and relation(first.file, others[0].file, series, settings) in {"same", "follows"}
        result += [replace(part, symbol=name) if one else part for _, part in numbered]
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
