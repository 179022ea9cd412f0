"""Columns of flow in a series' files: kept where all files have them and the bars bear them out."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from job.core.errors import DataError
from job.sources.access import display_path
from job.sources.bars import Raw
from job.sources.columns.flow import contradiction
from job.sources.series import SourceFile
from job.sources.words import quoted
from transforms.bars import FLOW


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
            notes.append(f"{name} is not read from {quoted(theirs)}: {reason}; features that need it are left out")
    return [replace(raw, bars=raw.bars.drop(left_out, strict=False)) for raw in raws], notes
