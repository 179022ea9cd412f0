"""Find the series that an input holds, and choose among them what is asked for."""

from collections import defaultdict
from dataclasses import replace
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from job.config.settings import DataSettings
from job.core.errors import ConfigError, DataError
from job.core.keys import encode
from job.core.paths import redact_url
from job.core.wording import did_you_mean
from job.sources.access import display_path
from job.sources.columns.named import BAR, FINISHED, KEYS
from job.sources.formats import FORMATS
from job.sources.grouping.groups import check_folders, notes_on_timeframes, one_timeframe, split_markets
from job.sources.grouping.numbered import with_symbols
from job.sources.grouping.part import UNKNOWN, Part, Parts, Unreadable
from job.sources.grouping.parts import note_on, notes_on_doubts, parts_of
from job.sources.names.symbols import symbol_named, unknown_symbol
from job.sources.series import Found, Series, Split
from job.sources.words import quoted
from job.storage.listing import list_files
from transforms.bars import FLOW

LONGEST_NAME: Final = 255
"""Bytes that any file system takes for the name of a folder."""


def find_series(settings: DataSettings, *, registry: str | None = None) -> Found:
    """Find all series below `data.input`: a file, a folder, a glob, on any storage.

    Where the files state their exchange, `data.exchange` chooses among these; elsewhere it names them. What lies in the
    model registry, if that is a folder below the input, is no bars.

    Raises:
        ConfigError: a setting of the data is unknown, or splits are of a symbol that the input does not hold.
        DataError: nothing is there, no file holds bars, none of the symbols asked for is in them, or the name of one in
            `data.splits` may mean several of them.
    """
    check(settings)
    if settings.input is None:
        raise ConfigError("data.input is not set: give a file, a folder or a URL with bars, such as --input bars/")
    listed = list_files(settings.input, settings.options)
    models = f"{redact_url(registry)}/" if registry is not None else ""
    if models.startswith(f"{redact_url(settings.input).rstrip('/')}/"):
        listed = tuple(file for file in listed if not redact_url(file.url).startswith(models))
    parts = parts_of(listed, settings)
    parts = replace(parts, good=with_symbols(parts.good, settings))
    known = {part.symbol for part in parts.good} | {bad.symbol for bad in parts.bad}
    splits: dict[str, tuple[Split, ...]] = {}
    for named, own in settings.splits.items():
        symbol = symbol_named(named, known)
        if symbol is None:
            raise ConfigError(f"data.splits: {unknown_symbol(named, known)}")
        splits[symbol] = (*splits.get(symbol, ()), *own.items())
    found = _grouped(_asked(parts, settings), settings)
    found = replace(found, series=tuple(replace(one, splits=splits.get(one.symbol, ())) for one in found.series))
    if not found.series and not found.problems:
        formats = f"known formats: {', '.join(FORMATS)}"
        raise DataError("; ".join([f"{redact_url(settings.input)}: no bars found", *found.notes, formats]))
    return found


def find_fleet(found: Found, settings: DataSettings, *, registry: str | None = None) -> tuple[Series, ...]:
    """Return all series of an input, given those of the symbols that are asked for; raises as `find_series`."""
    if not settings.symbols:
        return found.series
    return find_series(settings.model_copy(update={"symbols": ()}), registry=registry).series


def _grouped(parts: Parts, settings: DataSettings) -> Found:
    """Put the parts of a series together; a file that cannot be understood fails its whole series.

    A file that holds nothing fails only itself.
    """
    good, notes = split_markets(parts.good)
    groups: dict[tuple[str, str], list[Part]] = defaultdict(list)
    for part in good:
        groups[part.exchange, part.symbol].append(part)
    empty = [one for one in parts.bad if one.empty and (one.exchange, one.symbol) in groups]
    bad = [one for one in parts.bad if one not in empty]
    failed = {(one.exchange, one.symbol) for one in bad}
    series, problems, left, read = [], [one.problem for one in bad], [], list[Part]()
    for name in sorted(groups.keys() - failed):
        try:
            _check_names(groups[name][0])
            chosen, left_out = one_timeframe(groups[name], settings)
            check_folders(chosen, settings)
        except DataError as error:
            problems.append(error)
        else:
            first = chosen[0]
            one = Series(
                first.exchange,
                first.symbol,
                first.timeframe,
                files=tuple(part.file for part in chosen),
                # The columns that tell it from others are those of whichever file has them.
                symbol_column=next((part.symbol_column for part in chosen if part.symbol_column), None),
                exchange_column=next((part.exchange_column for part in chosen if part.exchange_column), None),
                timeframe_column=next((part.timeframe_column for part in chosen if part.timeframe_column), None),
            )
            series.append(one)
            read += chosen
            left += [left_out] if left_out else []
    notes += [*notes_on_timeframes(left), *note_on([str(one.problem) for one in empty], "without a row")]
    return Found(tuple(series), tuple(problems), (*parts.notes, *notes, *notes_on_doubts(read, settings)))


def _check_names(part: Part) -> None:
    """Refuse an exchange or a symbol after which no folder of a registry can be called."""
    for what, name in (("exchange", part.exchange), ("symbol", part.symbol)):
        if not name:
            raise DataError(f"{display_path(part.file)}: its {what} has no name; name the file or its folder after it")
        if not name.isascii() and name != name.encode(errors="ignore").decode():
            raise DataError(f"{display_path(part.file)}: its {what} {quoted(name)} is not UTF-8; rename it")
        if len(encode(name)) > LONGEST_NAME:
            raise DataError(
                f"{display_path(part.file)}: its {what} {quoted(name)} is too long to name a folder; shorten it"
            )


def check(settings: DataSettings) -> None:
    """Refuse settings that no file could be read with.

    Raises:
        ConfigError: the format, a column's name or the time zone is unknown.
    """
    if settings.format != "auto" and settings.format not in FORMATS:
        known = ("auto", *FORMATS)
        hint = did_you_mean(settings.format, known)
        raise ConfigError(f"data.format: unknown format {settings.format!r}{hint} (known: {', '.join(known)})")
    for name, column in settings.columns.items():
        if column is None and name in {*BAR, *KEYS} - {"volume"}:
            raise ConfigError(f"data.columns.{name}: null leaves a column out, as only volume may be; name it")
        if name not in (known := (*BAR, *FLOW, *KEYS, FINISHED)):
            raise ConfigError(
                f"data.columns: unknown column {name!r}{did_you_mean(name, known)}; "
                f"write {{name here: name in the file}}, names here: {', '.join(known)}"
            )
    try:
        ZoneInfo(settings.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(
            f"data.timezone: unknown time zone {quoted(settings.timezone)}; write it as America/New_York"
        ) from None


def _asked(parts: Parts, settings: DataSettings) -> Parts:
    """Keep what is asked for: what lies on `data.exchange`, where files state it, and is of one of `data.symbols`.

    All symbols are where none is named; those that no file holds are problems.
    """
    if settings.exchange is not None:
        wanted = settings.exchange.casefold()
        kept = [part for part in parts.good if not part.stated or part.exchange.casefold() == wanted]
        if parts.good and not kept:
            known = ", ".join(sorted({part.exchange for part in parts.good}))
            raise DataError(f"no bars of exchange {settings.exchange!r} in the input; known: {known}")
        parts = replace(parts, good=kept)
    if not settings.symbols:
        return parts
    there = {part.symbol for part in parts.good} | {bad.symbol for bad in parts.bad}
    found = {named: symbol_named(named, there) for named in settings.symbols}
    absent = [Unreadable(UNKNOWN, named, unknown_symbol(named, there)) for named, name in found.items() if not name]
    if len(absent) == len(found):
        raise DataError("; ".join(str(one.problem) for one in absent))
    asked = set(found.values())
    good = [one for one in parts.good if one.symbol in asked]
    return replace(parts, good=good, bad=[*(one for one in parts.bad if one.symbol in asked), *absent])
