"""New rows of a watched model, summed up by blocks of the calendar: what a worker finds, and the driver adds up."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np

from job.learning.comparison import SeedVariance
from job.learning.evidence import HORIZONS
from job.learning.metrics import FloatArray
from job.learning.times import IntArray

Seeds = tuple[SeedVariance, ...] | None
"""Of both versions, as `comparison.compare` takes them; None where one is not known."""

BlockSums = tuple[int, int, float, float, int, float, float]
"""Number of a block, rows, log-loss of base rate and champion; rows of the challenger, log-loss of champion and
challenger on these."""


def block_us(horizon: int, timeframe_us: int) -> int:
    """Return the length of a block of time in µs: so many horizons that overlapping labels hardly matter."""
    return HORIZONS * horizon * timeframe_us


@dataclass(frozen=True)
class Blocks:
    """New rows of one model, as sums over blocks of `length` µs, which are numbered since the epoch.

    Rows became available from `first` to `last` (µs, both inclusive), those of the challenger from `challenger_first`
    to `challenger_last`, null without any. `seeds` are about the challenger's rows.
    """

    champion: str
    challenger: str | None
    length: int
    first: int
    last: int
    sums: tuple[BlockSums, ...]
    challenger_first: int | None = None
    challenger_last: int | None = None
    seeds: Seeds = ()

    @classmethod
    def of(
        cls,
        times: IntArray,
        base: FloatArray,
        champion: FloatArray,
        challenger: FloatArray | None = None,
        *,
        versions: tuple[str, str | None],
        length: int,
        seeds: Seeds = (),
    ) -> Self:
        """Return the sums of rows.

        Args:
            times: `available_at` in µs, in any order; at least one row. A row counts only once a whole horizon of bars
                lies after it: labels that are known early differ from those that are not.
            base: log-loss of each row by the champion's base rate, in nats.
            champion: log-loss by the champion.
            challenger: log-loss by the challenger, nan where it has no row, or has seen it; by default there is none.
            versions: names of champion and challenger.
            length: of a block, as `block_us` gives it.
            seeds: of both versions on the challenger's rows; None where one is not known.
        """
        block, position = np.unique(times // length, return_inverse=True)
        paired = np.zeros(len(times), np.bool_) if challenger is None else ~np.isnan(challenger)
        pairs = position[paired]
        own, others = times[paired], (None, champion[paired], None if challenger is None else challenger[paired])
        sums = (
            block,
            *(np.bincount(position, weights) for weights in (None, base, champion)),
            *(np.bincount(pairs, weights, minlength=len(block)) for weights in others),
        )
        return cls(
            *versions,
            length,
            first=int(times.min()),
            last=int(times.max()),
            sums=tuple(zip(*(one.tolist() for one in sums), strict=True)),
            challenger_first=int(own.min()) if len(own) else None,
            challenger_last=int(own.max()) if len(own) else None,
            seeds=seeds if len(own) else (),
        )

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return what `record` gave, also after it went through JSON.

        Raises:
            TypeError, LookupError: it is something else.
        """
        return cls(**{**record, "sums": tuple(map(tuple, record["sums"])), "seeds": seeds_of_record(record["seeds"])})

    @property
    def pairs(self) -> int:
        """How many rows the challenger has."""
        return sum(one[4] for one in self.sums)


def merge(parts: Sequence[Blocks]) -> Blocks:
    """Return the rows of all series of a pooled model together, in whatever order they come.

    Raises:
        ValueError: there is none, or they are of different versions or lengths.
    """
    if len({(one.champion, one.challenger, one.length) for one in parts}) != 1:
        raise ValueError("blocks of one model are of one champion, one challenger and one length")
    by_block: dict[int, list[BlockSums]] = {}
    for one in parts:
        for sums in one.sums:
            by_block.setdefault(sums[0], []).append(sums)
    firsts, lasts = ([one for one in ends if one is not None] for ends in zip(
        *((one.challenger_first, one.challenger_last) for one in parts), strict=True
    ))  # fmt: skip
    return replace(
        parts[0],
        first=min(one.first for one in parts),
        last=max(one.last for one in parts),
        sums=tuple(add_up(by_block[block]) for block in sorted(by_block)),
        challenger_first=min(firsts, default=None),
        challenger_last=max(lasts, default=None),
        seeds=mean_seeds([(one.pairs, one.seeds) for one in parts]),
    )


def add_up(parts: Sequence[BlockSums]) -> BlockSums:
    """Add up sums of one block; `fsum` is exact, so their order does not matter."""
    _, rows, base, champion, pairs, paired, challenger = zip(*parts, strict=True)
    return (
        parts[0][0], sum(rows), math.fsum(base), math.fsum(champion),
        sum(pairs), math.fsum(paired), math.fsum(challenger),
    )  # fmt: skip


def mean_seeds(parts: Iterable[tuple[int, Seeds]]) -> Seeds:
    """Return the variances over seeds of the mean over several sets of rows, which are given with their number.

    What a seed does on one set of rows it mostly does on the next. So variances are weighed by rows, as if it did
    wholly; the variance of the mean is never more. Degrees of freedom are the fewest of all.
    """
    own = [(rows, seeds) for rows, seeds in parts if rows]
    if any(seeds is None for _, seeds in own):
        return None
    if not any(seeds for _, seeds in own):
        return ()
    total = sum(rows for rows, _ in own)
    by_version = zip(*([(rows, one) for one in seeds or ()] for rows, seeds in own), strict=True)
    return tuple(
        SeedVariance(
            math.fsum(rows * one.variance for rows, one in version) / total, min(one.freedom for _, one in version)
        )
        for version in by_version
    )


def seeds_of_record(record: Sequence[Mapping[str, float]] | None) -> Seeds:
    """Return the seeds that a JSON record has."""
    return None if record is None else tuple(SeedVariance(**one) for one in record)
