"""What a reading of a series saw, as small as a footer: by it, a later one need not read what did not change."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import numpy as np
import polars as pl

from job.core.paths import redact_url
from job.sources.series import SourceFile
from transforms.digest import row_hashes

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
SHORT: Final = 16
"""Hexadecimal digits of a digest that finds changes, which are no attacks."""
MARKS: Final = 16
"""Parts of a series that is read whole, of which each is compared by itself."""


@dataclass(frozen=True)
class Cut:
    """A place where a series can be cut: bars from `start` on are in the files behind the first `files` ones alone.

    `listed` is the digest of these first files as they were listed, `head` that of the rows before `start` in all
    others. `counts` are those of `transforms.bars.Cleaned` for the rows before `start`, where they are not 0, but for
    `out_of_order`, which is of the first files' rows, the last of which has the time `before`. `hashes` is the sum of
    `transforms.digest.row_hashes` of the bars from `start` to that of the next cut.
    """

    files: int
    listed: str
    start: datetime
    head: str
    before: datetime | None
    counts: Mapping[str, int]
    hashes: int = 0

    def record(self) -> list[Any]:
        """Return it as JSON values."""
        before = None if self.before is None else micros(self.before)
        return [self.files, self.listed, micros(self.start), self.head, before, dict(self.counts), f"{self.hashes:x}"]

    @classmethod
    def of_record(cls, record: Sequence[Any]) -> Self:
        """Inverse of `record`."""
        files, listed, start, head, before, counts, hashes = record
        return cls(files, listed, moment(start), head, None if before is None else moment(before), counts,
                   int(hashes, 16))  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a reading of a series saw, and decided on all of its files together.

    `how` is the digest of what decides how files are read. `columns` are those of the bars, `volumes` and `steps` as in
    `job.sources.bars.Decided`; `first` and `last` are the open times of its bars, `hashes` the sum of their
    `transforms.digest.row_hashes`. Before `no_sessions_until`, more bars cannot make a market with sessions of it. The
    `cuts` are in order of time; there is none where the series must be read whole: `whole` says why. Such a series has
    `marks` instead: times, and the sums of hashes of the bars from each to the next.
    """

    how: str
    timeframe: str
    offset_us: int
    zone: str
    columns: tuple[str, ...]
    volumes: tuple[str, ...]
    steps: tuple[int, ...]
    first: datetime
    last: datetime
    hashes: int
    no_sessions_until: datetime | None = None
    cuts: tuple[Cut, ...] = ()
    whole: str = ""
    marks: tuple[tuple[datetime, int], ...] = ()

    @property
    def grid(self) -> tuple[str | int, ...]:
        """What bars must have in common to be compared: their grid and their columns."""
        return (self.timeframe, self.offset_us, self.zone, *self.columns)

    @property
    def digest(self) -> str:
        """Digest of the bars, the same whether they were read at once or in rounds."""
        bars = [micros(self.first), micros(self.last), f"{self.hashes:x}"]
        return hashlib.sha256(json.dumps([self.grid, bars]).encode()).hexdigest()

    def record(self) -> dict[str, Any]:
        """Return it as JSON values; some 2 kB at most."""
        until = self.no_sessions_until
        times = {"first": micros(self.first), "last": micros(self.last), "until": until and micros(until)}
        lists = {name: list(getattr(self, name)) for name in ("columns", "volumes", "steps")}
        own = {name: getattr(self, name) for name in ("how", "timeframe", "offset_us", "zone", "whole")}
        marks = [[micros(start), f"{hashes:x}"] for start, hashes in self.marks]
        cuts = [cut.record() for cut in self.cuts]
        return {**own, **lists, **times, "hashes": f"{self.hashes:x}", "cuts": cuts, "marks": marks}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `record`; raises LookupError, TypeError or ValueError for anything else."""
        values: dict[str, Any] = {name: record[name] for name in ("how", "timeframe", "offset_us", "zone", "whole")}
        values |= {name: tuple(record[name]) for name in ("columns", "volumes", "steps")}
        until = record["until"]
        return cls(
            **values,
            first=moment(record["first"]),
            last=moment(record["last"]),
            hashes=int(record["hashes"], 16),
            no_sessions_until=None if until is None else moment(until),
            cuts=tuple(Cut.of_record(cut) for cut in record["cuts"]),
            marks=tuple((moment(start), int(hashes, 16)) for start, hashes in record.get("marks", ())),
        )

    def changed_from(self, bars: pl.DataFrame, cut: Cut | None = None) -> datetime | None:
        """Return from when on bars differ from those that were seen; None where only later ones were added.

        It is the last cut or mark before the first difference, or the first bar. Where the first bars are gone, as
        where files are kept for some weeks only, those are compared that begin at a cut or mark: what comes before it
        is not known any more.

        Args:
            bars: of the whole series, or of all its time from one of the cuts on; on the same grid, of equal columns.
            cut: that one.
        """
        sums, first = HashSums(bars), bars["timestamp"][0]
        parts = [*((one.start, one.hashes) for one in self.cuts), *self.marks]
        if cut is not None:
            parts = [one for one in parts if one[0] >= cut.start]
        elif first > self.first:
            parts = [one for one in parts if one[0] >= first]
        else:
            rest = self.hashes - sum(hashes for _, hashes in parts)
            parts = [(first, rest % 2**64), *parts]
        ends = [*(start for start, _ in parts[1:]), moment(micros(self.last) + 1)]
        for (start, hashes), end in zip(parts, ends, strict=False):
            if sums(start, end) != hashes:
                return start
        return None


class HashSums:
    """Sums of the rows' hashes of bars between any two times."""

    def __init__(self, bars: pl.DataFrame) -> None:
        self.times = bars["timestamp"].to_physical().to_numpy()
        self.sums = np.append(np.zeros(1, np.uint64), np.cumsum(row_hashes(bars), dtype=np.uint64))

    def __call__(self, start: datetime, end: datetime | None = None) -> int:
        """Return the sum over the bars from `start` to before `end`, all later ones where that is None."""
        first, last = (len(self.times) if time is None else int(np.searchsorted(self.times, micros(time)))
                       for time in (start, end))  # fmt: skip
        return (int(self.sums[last]) - int(self.sums[first])) % 2**64

    def marks(self) -> tuple[tuple[datetime, int], ...]:
        """Return `MARKS` times or fewer, with as many bars between them, and the sum from each to the next."""
        places = np.unique(np.linspace(0, len(self.times), MARKS + 1).astype(np.int64))[1:-1]
        starts = [moment(int(time)) for time in self.times[places]]
        return tuple((start, self(start, end)) for start, end in zip(starts, [*starts[1:], None], strict=True))


def listed_digest(files: Sequence[SourceFile]) -> str:
    """Return the digest of files as they were listed: another one where any of them changed, came or went."""
    told = [
        [redact_url(file.url), file.member, file.size, file.stamp, file.format, file.unread, file.labels, file.without]
        for file in files
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:SHORT]


def micros(time: datetime) -> int:
    """Return a time as microseconds since 1970."""
    return (time - EPOCH) // timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """Return the time that is so many microseconds after 1970, UTC."""
    return EPOCH + timedelta(microseconds=us)
