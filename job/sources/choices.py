"""Which columns of volume and of flow a series is read with: those that all its files have, and whose values fit."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from job.core.errors import DataError
from job.core.wording import first_of
from job.sources.access import display_path
from job.sources.bars import Raw
from job.sources.columns.flow import contradiction
from job.sources.columns.volumes import PLAIN, Unit, unit_of, volume_columns
from job.sources.series import SourceFile
from job.sources.words import LONGEST_QUOTE, normal, printable, quoted
from transforms.bars import FLOW

_COUNTS: Final[Mapping[Unit | None, str]] = {"ticks": ", which counts ticks", "quote": ", in units of the quote"}
LEFT_OUT: Final = "features that need it are left out"


def choose_volume(
    raws: Sequence[Raw], chosen: Mapping[str, str | None], read: Callable[[str], Sequence[Raw]]
) -> tuple[list[Raw], list[str]]:
    """Return the files of a series with the volume that has values, or without one, and notes that say which.

    Args:
        raws: all files of the series.
        chosen: `data.columns`, which wins.
        read: reads all files again, with the volume in the column of that name.
    """
    state = without_meaning(raw.bars for raw in raws)
    if state is None:
        return [*raws], [] if "volume" in chosen else [*_notes(raws)]
    for name in [] if "volume" in chosen else _others(raws):
        again = [*read(name)]
        if without_meaning(raw.bars for raw in again) is None:
            return again, [f"volume is read from {_quoted(name)}{_counts(name)}, since {_named(raws)} is {state}"]
    bare = [replace(raw, bars=raw.bars.drop("volume", strict=False)) for raw in raws]
    return bare, [f"volume counts as none, since {_named(raws)} is {state}; {LEFT_OUT}"]


def without_meaning(frames: Iterable[pl.DataFrame]) -> str | None:
    """Return in words what a volume is throughout that says nothing: empty, 0, -1 or another number below.

    None where it says something, or there is none.
    """
    volumes = [frame["volume"] for frame in frames if "volume" in frame.columns]
    if not volumes:
        return None
    values = pl.concat(volumes).fill_nan(None)
    if (values > 0).any():
        return None
    known = values.drop_nulls().unique()
    if known.is_empty():
        return "empty"
    if known.len() == 1:
        return f"{known[0]:g} throughout"
    return "0 or -1 throughout" if known.is_in([0.0, -1.0]).all() else None


def _others(raws: Sequence[Raw]) -> list[str]:
    """Names of other volumes that all files have, the preferred one first."""
    first = raws[0]
    names = [first.names[index] for index in volume_columns([normal(name) for name in first.names])]
    return [name for name in names if name != first.volume and all(name in raw.names for raw in raws)]


def _notes(raws: Sequence[Raw]) -> Iterator[str]:
    """Yield a note on which column is the volume, unless its name leaves no doubt, or that there is none."""
    name = next((raw.volume for raw in raws if raw.volume and normal(raw.volume) not in PLAIN), None)
    left = [_quoted(name) for name in dict.fromkeys(name for raw in raws for name in raw.unused) if name]
    if name is not None:
        others = [_quoted(other) for other in _others(raws)] if raws[0].volume == name else []
        instead = f", not from {first_of(others, 4)}" if others else ""
        yield f"volume is read from {_quoted(name)}{instead}{_counts(name)}"
    elif any("volume" in raw.bars.columns for raw in raws):
        return
    elif left:
        yield (
            f"no volume is read, since none of {first_of(left, 8)} is surely one; {LEFT_OUT}; "
            "set data.columns.volume to the name of the column that is, or to null"
        )
    else:
        yield f"there is no column for volume; {LEFT_OUT}"


def _named(raws: Sequence[Raw]) -> str:
    return next((_quoted(raw.volume) for raw in raws if raw.volume), "its column")


def _quoted(name: str) -> str:
    return f"'{printable(name[:LONGEST_QUOTE])}'"


def _counts(name: str) -> str:
    return _COUNTS.get(unit_of(normal(name)), "")


def choose_flow(
    raws: Sequence[Raw], files: Sequence[SourceFile], chosen: Mapping[str, str | None]
) -> tuple[list[Raw], list[str]]:
    """Return the files of a series with the columns of `FLOW` that can be used, and notes on those that cannot.

    Args:
        raws: all files of the series, in the order of `files`.
        files: of the series.
        chosen: `data.columns`.

    Raises:
        DataError: a column that `chosen` names is not what it should be.
    """
    notes, left_out = [], set()
    for name in FLOW:
        without = [file for raw, file in zip(raws, files, strict=True) if name not in raw.bars.columns]
        if len(without) == len(raws):
            continue
        theirs = next(raw.flow[name] for raw in raws if name in raw.flow)
        if without:
            reason: str | None = f"{display_path(without[0])} has none"
        elif not any((raw.bars[name] > 0).any() for raw in raws):
            reason = "it is empty, or 0 throughout"
        else:
            reason = contradiction(name, (raw.bars for raw in raws))
        if reason and not without and chosen.get(name):
            raise DataError(f"{display_path(files[0])}: data.columns.{name} names {quoted(theirs)}, but {reason}")
        if reason:
            left_out.add(name)
            notes.append(f"{name} is not read from {quoted(theirs)}: {reason}; {LEFT_OUT}")
    return [replace(raw, bars=raw.bars.drop(left_out, strict=False)) for raw in raws], notes
