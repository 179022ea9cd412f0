"""What each listed file holds: by its name where that is enough, else by a look into it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.access import as_data_errors, display_path, max_unpacked, unpacks_to_too_much
from job.sources.columns.named import given, named_columns, resolve
from job.sources.formats import FORMATS, format_of, name_of, stem_of
from job.sources.grouping.keyed import by_columns
from job.sources.grouping.mixtures import unknown_columns
from job.sources.grouping.part import UNKNOWN, Part, Parts, Unreadable, part_of
from job.sources.names.paths import Name
from job.sources.names.symbols import normalize_symbol
from job.sources.no_bars import EmptyFileError, NoBarsError, Stray, check_header
from job.sources.readers.layouts import USUAL
from job.sources.series import WILL_FAIL, SourceFile
from job.sources.words import printable, quoted
from job.storage.listing import ListedFile
from job.storage.messages import with_retries
from job.storage.opening import is_packed, zip_members

LOOKS_AT_ONCE: Final = 16
"""Files looked into at the same time: each look is one short request."""

NO_BARS: Final = {"no_bars": "without bars of trades", "no_fixed_length": "of bars without a fixed length"}
"""What is said of files that are left out for what their names say that they hold."""

HEADERS_ALONE: Final = frozenset({"parquet", "feather", "json", USUAL.name})
"""Formats whose header alone tells which column is which."""


def parts_of(listed: Sequence[ListedFile], settings: DataSettings) -> Parts:
    """Understand every listed file."""
    links = sorted({file.left_out for file in listed if file.left_out})
    left_out = {f"({why})": [one.path for one in listed if one.left_out == why] for why in links}
    listed = [file for file in listed if not file.left_out]
    known = [(file, fmt) for file in listed if (fmt := format_of(file.path, settings.format)) is not None]
    if not known and settings.format != "auto":
        known = [(file, settings.format) for file in listed]
    readable = {file for file, _ in known}
    left_out["of no known format"] = [file.path for file in listed if file not in readable]
    left_out |= {why: [] for why in NO_BARS.values()}
    bars = []
    for one, fmt in known:
        name = name_of(one.path)
        if name.contents == "bars":
            layout = fmt if fmt != USUAL.name else name.layout or fmt
            bars.append((SourceFile(one.url, one.size, one.stamp, layout, modified=one.modified), name, one.path))
        else:
            left_out[NO_BARS[name.contents]].append(one.path)
    with ThreadPoolExecutor(LOOKS_AT_ONCE) as pool:  # a file whose name says all is not looked into
        looks = [None if item[1].certain else pool.submit(_understood, *item, settings) for item in bars]
        found = (look.result() if look else [part_of(*item, settings)] for look, item in zip(looks, bars, strict=True))
        outcomes = [one for parts in found for one in parts]
    good = _concerned([one for one in outcomes if isinstance(one, Part)], settings)
    bad = [one for one in outcomes if isinstance(one, Unreadable)]
    suffixes = {(part.exchange, part.symbol, part.path.rpartition(".")[2]) for part in good}
    left_out["without any bars"] = []
    for stray in (one for one in outcomes if isinstance(one, Stray)):
        # A text that is called like a part of bars that are there, with a date or as they are, failed to load; where
        # there are no bars, all did.
        due = stray.dated or (stray.exchange, stray.symbol, stray.path.rpartition(".")[2]) in suffixes
        if not good or (due and not stray.error.table):
            bad.append(Unreadable(stray.exchange, stray.symbol, DataError(str(stray.error))))
        else:
            left_out["without any bars"].append(stray.path)
    file_names = {why: [printable(path.rsplit("/", 1)[-1]) for path in paths] for why, paths in left_out.items()}
    return Parts(good, bad, [line for why, names in file_names.items() for line in note_on(names, why)])


def note_on(files: Sequence[str], why: str) -> list[str]:
    """One note for all files that were left out for one reason, with some of what is said of them, if there are any."""
    kind = "file" if len(files) == 1 else "files"
    return [f"left out {len(files)} {kind} {why}: {first_of(files, 3)}"] if files else []


def _concerned(parts: list[Part], settings: DataSettings) -> list[Part]:
    """Note which entries of `data.columns` name columns that only other files have: these leave a file alone."""
    seen = {name for part in parts for name in part.names or ()}
    wanted = {
        ours: columns
        for ours, theirs in given(settings.columns).items()
        if seen.issuperset(columns := named_columns(ours, theirs, tuple(seen)))
    }

    found = []
    for part in parts if wanted else ():
        names = seen if part.names is None else {*part.names}
        without = tuple(ours for ours, columns in wanted.items() if not names.issuperset(columns))
        found.append(replace(part, file=replace(part.file, without=without)) if without else part)
    return found or parts


def _understood(file: SourceFile, name: Name, path: str, settings: DataSettings) -> list[Part | Unreadable | Stray]:
    """Parts that a file or the files of an archive hold, or why these cannot be understood."""
    try:
        inner = _members(file, path, settings) if path.lower().endswith(".zip") else [(file, path)]
    except DataError as error:
        return [_unreadable(name, error, settings)]
    return [one for part, path in inner for one in _looked(part, path, settings)]


def notes_on_doubts(parts: Sequence[Part], settings: DataSettings) -> list[str]:
    """One note on all series that will fail by the headers of their files, as reading these will find."""
    doubts: dict[tuple[str, str], str] = {}
    for part in parts:
        if part.names and not part.symbol_column and part.file.format in HEADERS_ALONE:
            try:
                resolve(part.names, part.file.settings(settings).columns, display_path(part.file))
            except DataError as error:
                doubts[part.exchange, part.symbol] = str(error)
    if not doubts:
        return []
    count = f"{len(doubts)} series, " if len(doubts) > 1 else ""
    return [f"{WILL_FAIL}{count}{first_of(doubts.values(), 2)}"]


def _unreadable(name: Name, error: DataError, settings: DataSettings) -> Unreadable:
    return Unreadable(settings.exchange or name.exchange or UNKNOWN, name.symbol, error)


def _members(file: SourceFile, path: str, settings: DataSettings) -> list[tuple[SourceFile, str]]:
    """Files in an archive with their paths; the only file of an archive is called as the archive is."""
    inner = with_retries(file.url, settings.options, lambda: zip_members(file.url, settings.options))
    if file.size and sum(size for _, size in inner) > max_unpacked(file):
        raise unpacks_to_too_much(file)
    if len({name for name, _ in inner}) < len(inner):
        raise DataError(
            f"{display_path(file)}: several files in the archive have one name; unpack it, and name them apart"
        )
    if packed := [name for name, _ in inner if is_packed(name)]:
        raise DataError(
            f"{display_path(file)}: {quoted(packed[0])} in the archive is packed itself; unpack the archive"
        )
    if len(inner) == 1:
        fmt = format_of(inner[0][0], settings.format) or file.format
        return [(replace(file, member=inner[0][0], size=inner[0][1], format=fmt), path)]
    known = [(name, size, format_of(name, settings.format)) for name, size in inner]
    return [
        (replace(file, member=name, size=size, format=fmt), f"{path.rpartition('/')[0]}/{name}")
        for name, size, fmt in known
        if fmt is not None and name_of(name).contents == "bars"
    ]


def _looked(file: SourceFile, path: str, settings: DataSettings) -> list[Part | Unreadable | Stray]:
    """Parts by what stands in the file: one a symbol where a column names symbols, else the one that its name says."""
    name = name_of(path)
    try:
        with as_data_errors(file):
            try:
                look = with_retries(file.url, settings.options, lambda: FORMATS[file.format].look(file, settings))
                check_header(look.names, look.first, given(settings.columns), display_path(file))
            except NoBarsError as error:
                exchange = settings.exchange or name.exchange or UNKNOWN
                dated = normalize_symbol(stem_of(path)) != normalize_symbol(name.symbol)
                return [Stray(exchange, name.symbol, path, dated, error)]
            except EmptyFileError as error:
                return [replace(_unreadable(name, DataError(str(error)), settings), empty=True)]
            name, file = name_of(path, look.format), replace(file, format=look.format)
            unread = unknown_columns(look, settings)
            file = replace(file, unread=unread, labels=tuple(name for name in unread if name in look.text))
            return [replace(part, names=look.names) for part in by_columns(file, name, path, look, settings)]
    except DataError as error:
        return [_unreadable(name, error, settings)]
