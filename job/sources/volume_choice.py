"""The volume of a series: of several columns the first that has values, none where none means anything."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from job.core.wording import first_of
from job.sources.bars import Raw
from job.sources.columns.volumes import PLAIN, Unit, unit_of, volume_columns
from job.sources.words import LONGEST_QUOTE, normal, printable

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
    if not any("volume" in raw.bars.columns for raw in raws):
        return [*raws], [] if "volume" in chosen else [_none_read(raws)]
    state = without_meaning(raw.bars for raw in raws)
    if state is None:
        return [*raws], [] if "volume" in chosen else _which(raws)
    for name in [] if "volume" in chosen else _others(raws):
        again = [*read(name)]
        if without_meaning(raw.bars for raw in again) is None:
            return again, [f"volume is read from {_quoted(name)}{_counts(name)}, since {_named(raws)} is {state}"]
    bare = [replace(raw, bars=raw.bars.drop("volume", strict=False)) for raw in raws]
    return bare, [f"volume counts as none, since {_named(raws)} is {state}; {LEFT_OUT}"]


def without_meaning(frames: Iterable[pl.DataFrame]) -> str | None:
    """Return in words what a volume is throughout that says nothing: empty, 0, -1 or another number below."""
    values = pl.concat([frame["volume"] for frame in frames if "volume" in frame.columns]).fill_nan(None)
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


def _which(raws: Sequence[Raw]) -> list[str]:
    """Note which column is the volume, unless its name leaves no doubt."""
    name = next((raw.volume for raw in raws if raw.volume and normal(raw.volume) not in PLAIN), None)
    if name is None:
        return []
    others = [_quoted(other) for other in _others(raws)] if raws[0].volume == name else []
    instead = f", not from {first_of(others, 4)}" if others else ""
    return [f"volume is read from {_quoted(name)}{instead}{_counts(name)}"]


def _none_read(raws: Sequence[Raw]) -> str:
    left = [_quoted(name) for name in dict.fromkeys(name for raw in raws for name in raw.unused) if name]
    if not left:
        return f"there is no column for volume; {LEFT_OUT}"
    return (
        f"no volume is read, since none of {first_of(left, 8)} is surely one; {LEFT_OUT}; "
        "set data.columns.volume to the name of the column that is, or to null"
    )


def _named(raws: Sequence[Raw]) -> str:
    return next((_quoted(raw.volume) for raw in raws if raw.volume), "its column")


def _quoted(name: str) -> str:
    return f"'{printable(name[:LONGEST_QUOTE])}'"


def _counts(name: str) -> str:
    return _COUNTS.get(unit_of(normal(name)), "")
