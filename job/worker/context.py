"""What the tasks of a run see of other series: read once by workers, then handed to every task."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal

import polars as pl

from job.config.settings import DataSettings, GapsSetting
from job.core.errors import ConfigError, DataError
from job.core.wording import first_of
from job.learning.context import AT, Origins
from job.learning.features import flow_is_read, resolve_features
from job.registry.definition import Definition
from job.sources.names.symbols import symbol_named, unknown_symbol
from job.sources.series import Series
from transforms.bars import duration_us
from transforms.clock import clock_columns
from transforms.context import FEWEST, MOVES, Beside, longer_bars, market, moves
from transforms.features.compute import available, warmup_bars
from transforms.features.feature import Feature
from transforms.preparing import OnGrid, Preparation

Digests = Mapping[tuple[Series, bool], str]
Table = Callable[[], pl.DataFrame]
"""Gives a table where it is needed: it may have to come from another node."""


@dataclass(frozen=True)
class Sampling:
    """How bars of other series become bars of a model's timeframe: as `data` says, or as it did when it was trained."""

    max_fill: int
    min_coverage: float
    gaps: GapsSetting

    @classmethod
    def of(cls, data: DataSettings) -> "Sampling":
        """Return what settings say."""
        return cls(data.max_fill, data.min_coverage, data.gaps)


Flow = Literal["bars", "flow"]
Place = tuple[str, Sampling]
"""The timeframe of a model, and how bars of other series are made for it."""


@dataclass(frozen=True)
class Need:
    """What a task needs of other series: the market, and features of `others` by the symbol that its model names.

    `pooled` means that a member of its blend is fitted on the bars of all series, with flow or without; None on none.
    """

    sampling: Sampling
    others: tuple[tuple[str, Series, tuple[str, ...]], ...] = ()
    market: bool = False
    pooled: Flow | None = None


def needs(
    seen: Origins, fleet: Sequence[Series], exchange: str, sampling: Sampling, *, pooled: Flow | None = None
) -> tuple[Need, ...]:
    """Return what a model needs of other series, if it needs any.

    Args:
        seen: its features by origin.
        fleet: all series of the input.
        exchange: of its own series: of two series of one symbol, that on the same exchange is meant.
        sampling: how bars of others become bars of its timeframe.
        pooled: as `Need`.

    Raises:
        ConfigError: the input does not hold a symbol, or holds it twice.
    """
    others: list[tuple[str, Series, tuple[str, ...]]] = []
    for symbol, names in seen.others.items():
        known = {one.symbol for one in fleet}
        name = symbol_named(symbol, known)
        if name is None:
            raise ConfigError(f"context of {symbol}: {unknown_symbol(symbol, known)}")
        found = [one for one in fleet if one.symbol == name]
        meant = found if len(found) == 1 else [one for one in found if one.exchange == exchange]
        if len(meant) != 1:
            where = ", ".join(sorted(one.exchange for one in found))
            raise ConfigError(f"context of {symbol}: the input has it on {where}: name an input that holds one of them")
        others.append((symbol, meant[0], names))
    is_market = bool(seen.market) and len(fleet) > FEWEST
    return (Need(sampling, tuple(others), is_market, pooled),) if others or is_market or pooled else ()


def needs_of(definition: Definition, fleet: Sequence[Series], exchange: str) -> tuple[Need, ...]:
    """Return what a version needs of other series; arguments and errors are those of `needs`."""
    sampling = Sampling(definition.max_fill, definition.min_coverage, definition.gaps_beside)
    return needs(definition.origins, fleet, exchange, sampling)


@dataclass(frozen=True)
class Context:
    """Tables of other series.

    `others` are features, with the time at which each bar closed, by series, timeframe and sampling; `markets` are sums
    of moves by timeframe and sampling, and `members` is how many series are in each. `fleet` are the series that were
    read for a market or a pooled member, `digests` those of the bars of every series that was read, alone and with
    flow. `errors` say why a series could not be read, or a table of features not be made of it. `certificates` are of
    the features in a table that users bring, where they were audited.
    """

    others: Mapping[tuple[Series, Place], Table] = field(default_factory=dict)
    markets: Mapping[Place, Table] = field(default_factory=dict)
    members: Mapping[Place, int] = field(default_factory=dict)
    fleet: frozenset[Series] = frozenset()
    digests: Digests = field(default_factory=dict)
    errors: Mapping[tuple[Series, Place | None], str] = field(default_factory=dict)
    certificates: Mapping[tuple[Series, Place], Mapping[str, Any]] = field(default_factory=dict)

    def digest(self, need: Need) -> str:
        """Return the digest of all bars that a task sees of other series."""
        return context_digest(need, self.fleet, self.digests) or ""

    def record(self, need: Need, timeframe: str) -> dict[str, Any]:
        """Return what a version's metadata keeps of it, as JSON values."""
        return {
            "gaps": need.sampling.gaps,
            "series": {symbol: str(series) for symbol, series, _ in need.others},
            "members": self.members.get((timeframe, need.sampling), 0) if need.market else 0,
            "content_digest": self.digest(need),
        }


def context_digest(need: Need, fleet: Iterable[Series], digests: Digests) -> str | None:
    """Return the digest of the bars that a task sees of other series; None where that of one of them is not known.

    Args:
        need: of the task.
        fleet: series that a market is made of, and on which pooled members are fitted.
        digests: of bars, by series and whether flow is one of the columns.
    """
    seen = [(f"{symbol} {other}", (other, flow_is_read(names))) for symbol, other, names in need.others]
    seen += [(f"market {one}", (one, False)) for one in fleet if need.market]
    seen += [(f"pooled {one}", (one, need.pooled == "flow")) for one in fleet if need.pooled]
    known = [(name, digests.get(place)) for name, place in seen]
    if any(digest is None for _, digest in known):
        return None
    return hashlib.sha256(repr(sorted(known)).encode()).hexdigest()


def history(
    seen: Origins, features: Sequence[Feature], timeframe: str, *, sequence_bars: int = 1, exact: bool = False
) -> timedelta:
    """Return how long before a bar of `timeframe` its series must begin for all that a model sees of it to be warm.

    Args:
        seen: the model's features by origin.
        features: those of its own bars.
        timeframe: of the model.
        sequence_bars: that it sees at once.
        exact: as `transforms.features.compute.warmup_bars`.
    """
    warmups = {timeframe: [*features, *(MOVES if seen.market else ())]}
    warmups |= {longer: [*resolve_features(names)] for longer, names in seen.longer.items()}
    longest = max(
        timedelta(microseconds=duration_us(one)) * (warmup_bars(needed, exact=exact) + 1 + (one != timeframe))
        for one, needed in warmups.items()
    )
    return longest + timedelta(microseconds=duration_us(timeframe)) * (sequence_bars - 1)


def history_of(definition: Definition) -> timedelta:
    """Return `history` of all that a version sees, exact."""
    return history(
        definition.origins,
        definition.features,
        definition.timeframe,
        sequence_bars=definition.sequence_bars,
        exact=True,
    )


MEMBERS: Final = 0.8
"""Share of the series of a market without which it is another one."""
_GIVE: Final = "give the series that it was trained with, too, or retrain the model on these"

Found = tuple[list[Beside], list[str]]
"""Columns beside a series' own, and the names of those that are wanted and cannot be had."""


def besides(
    seen: Origins,
    bars: pl.DataFrame,
    how: Preparation,
    needs: Sequence[Need],
    context: Context | None,
    *,
    tolerance: float,
    itself: str | None,
) -> tuple[list[Beside], tuple[str, ...]]:
    """Return the columns of other bars that a model sees beside those of a series, and the names of those it cannot.

    Args:
        seen: the model's features by origin.
        bars: clean, of the series.
        how: they become bars of the model's timeframe.
        needs: the first is what the model needs of other series, if it needs any.
        context: of the run.
        tolerance: share that averages may owe to their start.
        itself: name of the series where the model is of this one alone, since it is not its own context.

    Raises:
        DataError: another series could not be read.
        ValueError: the bars cannot be made.
    """
    found = [_longer(seen, bars, how, tolerance)]
    of_market: Found = ([], [*seen.market])
    if needs and context is not None:
        found.append(_others(how, itself, needs[0], context))
        place = (how.timeframe, needs[0].sampling)
        members = context.members.get(place, 0) if needs[0].market else 0
        if members > FEWEST:
            of_market = ([market(moves(bars, how), context.markets[place](), members, seen.market)], [])
    found.append(of_market)
    return [one for columns, _ in found for one in columns], tuple(name for _, absent in found for name in absent)


def beside_version(
    definition: Definition,
    bars: pl.DataFrame,
    grid: OnGrid,
    *,
    name: str,
    needs: Sequence[Need] = (),
    context: Context | None = None,
    tolerance: float,
) -> list[Beside]:
    """Return the columns of other bars that a version sees beside those of a series.

    Args:
        definition: of the version.
        bars: clean, of one series.
        grid: of the bars.
        name: of the series.
        needs: as `besides`.
        context: of the run; None for a frame of bars that came without others.
        tolerance: share that averages may owe to their start.

    Raises:
        DataError: not all of them can be had.
    """
    seen, where = definition.origins, f"{name} {definition.timeframe}: {definition.version}"
    if not seen.alone and context is None:
        raise DataError(f"{where} sees other series than its own: predict files that hold them all, not a frame of one")
    how = definition.preparation(bars, grid, name=name)
    try:
        found, without = besides(seen, bars, how, needs, context, tolerance=tolerance, itself=None)
    except ValueError as error:
        raise DataError(f"{name} {definition.timeframe}: {error}") from None
    if without:
        raise DataError(f"{where} was trained on {first_of(without)}, which cannot be made of these bars: {_GIVE}")
    members = context.members.get((definition.timeframe, needs[0].sampling), 0) if context is not None and needs else 0
    if seen.market and members < MEMBERS * definition.members:
        raise DataError(f"{where} was trained on a market of {definition.members} series, here are {members}: {_GIVE}")
    return found


def _longer(seen: Origins, bars: pl.DataFrame, how: Preparation, tolerance: float) -> Found:
    found, absent = list[Beside](), list[str]()
    for timeframe, names in seen.longer.items():
        features = resolve_features(names)
        kept, left_out = available(features, (*bars.columns, *clock_columns(how.gaps)))
        length, own = duration_us(timeframe), duration_us(how.timeframe)
        if length > own and length % own == 0:  # a multiple: its bars end where bars of the model do
            found.append(longer_bars(bars, how, timeframe, kept, tolerance=tolerance))
        else:
            left_out = tuple(feature.name for feature in features)
        absent += [f"{name}{AT}{timeframe}" for name in left_out]
    return found, absent


def _others(how: Preparation, itself: str | None, need: Need, context: Context) -> Found:
    found, absent = list[Beside](), list[str]()
    place = (how.timeframe, need.sampling)
    for symbol, other, names in need.others:
        if error := context.errors.get((other, None)) or context.errors.get((other, place)):
            raise DataError(f"context of {symbol}: {error}")
        wanted = [feature.name for feature in resolve_features(names)]
        table = context.others[other, place]()
        present = [name for name in wanted if name in table.columns and str(other) != itself]
        found.append(Beside(table.select("available_at", pl.col(present).name.suffix(f"{AT}{symbol}"))))
        absent += [f"{name}{AT}{symbol}" for name in wanted if name not in present]
    return found, absent
