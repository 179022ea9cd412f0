"""Parts that bear one symbol: of one series, of several markets or timeframes, or of what cannot be told."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.access import display_path
from job.sources.estimates import expected_rows
from job.sources.formats import stem_of
from job.sources.grouping.evidence import relation
from job.sources.grouping.part import UNKNOWN, Part
from job.sources.names.folders import read_folders
from job.sources.names.paths import EXCHANGES
from job.sources.series import Series
from transforms.bars import duration_us

NAMED: Final = 3
"""Symbols that a note names."""

ENOUGH_ROWS: Final = 500
MUCH_LONGER: Final = 2
"""Times that bars left out must be as long as those read to be worth mentioning."""


def split_markets(parts: Iterable[Part]) -> tuple[list[Part], list[str]]:
    """Make parts that differ in the market series of their own: the market goes to the name of the exchange."""
    markets: dict[tuple[str, str], set[str]] = defaultdict(set)
    parts = list(parts)
    for part in parts:
        markets[part.exchange, part.symbol].add(part.market or "")
    several = {name: sorted(filter(None, found)) for name, found in markets.items() if len(found) > 1}
    split = [
        replace(part, exchange=part.market if part.exchange == UNKNOWN else f"{part.exchange}-{part.market}")
        if part.market and (part.exchange, part.symbol) in several
        else part
        for part in parts
    ]
    by_markets: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for (_, symbol), found in sorted(several.items()):
        by_markets[tuple(found)].append(symbol)
    notes = [
        f"{first_of(symbols, NAMED)}: the markets {', '.join(found)} are read as series of their own"
        if len(found) > 1
        else f"{first_of(symbols, NAMED)}: the market {found[0]} is read as a series of its own"
        for found, symbols in by_markets.items()
    ]
    return split, notes


def check_folders(group: list[Part], settings: DataSettings) -> None:
    """Refuse parts of one symbol from folders that differ, unless their bars show that they are of one series.

    Folders that differ in dates and numbers only are parts; so are files whose own names differ, by a date for example.
    Where a `key=value` differs that nobody knows, contracts may follow each other: only equal bars are of one series.

    Raises:
        DataError: several files of one name, and nothing tells that they are of one series.
    """
    if len(group) == 1:
        return
    by_place: dict[tuple[str, ...], Part] = {}
    for part in group:
        by_place.setdefault(read_folders(part.path, EXCHANGES).others, part)
    (place, first), *others = by_place.items()
    for elsewhere, other in others:
        keyed = any("=" in name for name in (*place, *elsewhere))
        if not keyed and stem_of(first.path) != stem_of(other.path):
            continue
        series = Series(first.exchange, first.symbol, first.timeframe, (first.file,), first.symbol_column)
        told = relation(first.file, other.file, series, settings)
        if told != "same" and (keyed or told != "follows"):
            why = "their bars differ at the same times" if told == "different" else "nothing tells which"
            raise DataError(
                f"{display_path(first.file)} and {display_path(other.file)} may be one series or two "
                f"({why}); name one of their folders in data.input, or call the folders symbol=… or exchange=…"
            )


@dataclass(frozen=True)
class LeftOut:
    """Timeframes of a symbol: the one that is read, those left out, and which of them is how much longer."""

    symbol: str
    chosen: str
    left: tuple[str, ...]
    longer: tuple[str, ...]


def one_timeframe(group: list[Part], settings: DataSettings) -> tuple[list[Part], LeftOut | None]:
    """Parts of the timeframe that is asked for, else of the finest, and what is left out.

    Raises:
        DataError: there are no bars of `data.timeframe`, or some files name none and nothing says which to take.
    """
    by_timeframe: dict[str | None, list[Part]] = defaultdict(list)
    for part in group:
        by_timeframe[part.timeframe].append(part)
    only = next(iter(by_timeframe)) if len(by_timeframe) == 1 else None
    asked, by_folder = settings.timeframe, all(part.by_folder for part in group)
    if len(by_timeframe) == 1 and (only is None or asked in {None, only} or by_folder):
        return group, None
    symbol, known = group[0].symbol, sorted((one for one in by_timeframe if one is not None), key=duration_us)
    if asked is not None and asked not in by_timeframe:
        raise DataError(f"{symbol}: no bars of {asked} (data.timeframe); the names say {', '.join(known)}")
    if asked is None and None in by_timeframe:
        without = stem_of(by_timeframe[None][0].file.url)
        raise DataError(f"{symbol}: {without} names no timeframe, others say {', '.join(known)}; set data.timeframe")
    chosen = asked or known[0]
    left = [one for one in known if one != chosen] + ["files that name none"] * (None in by_timeframe)
    longer = tuple(_longer(by_timeframe, chosen)) if asked is None else ()
    return by_timeframe[chosen], LeftOut(symbol, chosen, tuple(left), longer)


def _longer(by_timeframe: Mapping[str | None, list[Part]], chosen: str) -> Iterator[str]:
    """Yield the timeframes whose files seem to reach over a much longer time than those of the chosen one."""
    rows = {
        timeframe: expected_rows(Series("", "", timeframe, tuple(part.file for part in parts)))
        for timeframe, parts in by_timeframe.items()
        if timeframe is not None
    }
    spans = {timeframe: count * duration_us(timeframe) for timeframe, count in rows.items()}
    for timeframe, span in spans.items():
        if span > MUCH_LONGER * spans[chosen] and rows[timeframe] >= ENOUGH_ROWS:
            yield f"{timeframe}, about {span / max(spans[chosen], 1):.0f} times as long"


def notes_on_timeframes(found: Iterable[LeftOut]) -> list[str]:
    """One note for all symbols of which the same is read and left out."""
    symbols: dict[tuple[str, tuple[str, ...], str], list[str]] = defaultdict(list)
    for one in found:
        longer = f" ({'; '.join(one.longer)}: set data.timeframe to read it)" if one.longer else ""
        symbols[one.chosen, one.left, longer].append(one.symbol)
    return [
        f"{first_of(names, NAMED)}: reading {chosen}; left out {', '.join(left)}{longer}"
        for (chosen, left, longer), names in symbols.items()
    ]
