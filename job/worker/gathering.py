"""The pass before the others: what tasks of a run need of other series, read once, series by series."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import polars as pl
import pyarrow as pa

from job.core.keys import Key
from job.learning.features import flow_is_read, resolve_features
from job.sources.series import Series
from job.worker.audit import certificates
from job.worker.context import Context, Place, Table
from job.worker.load_bars import read_bars
from job.worker.messages import Bundle, Job, SeriesInfo, Work, pack, recorded_failure, unpack
from transforms.clock import clock_columns
from transforms.context import known_features, market_sums, moves
from transforms.features.compute import available


@dataclass(frozen=True, kw_only=True)
class Gathering(Work):
    """What a run needs of one series: `features` by timeframe and sampling, and its `moves` at some of these.

    It is a `member` where models see the fleet as a whole, `with_flow` where they read the columns of
    `transforms.bars.FLOW` of all. `audits` means that a model will be trained on them, so that those of users are
    audited.
    """

    features: tuple[tuple[Place, tuple[str, ...]], ...] = ()
    moves: tuple[Place, ...] = ()
    member: bool = False
    with_flow: bool = False
    tolerance: float
    audits: bool = False

    @property
    def rows(self) -> int:
        """How many rows `gather` yields of a series that can be read."""
        return 1 + len(self.features) + len(self.moves)

    @property
    def flow(self) -> bool:
        """Whether a feature reads a column of `transforms.bars.FLOW`."""
        return self.with_flow or any(flow_is_read(names) for _, names in self.features)


@dataclass(frozen=True)
class GatheredRow:
    """Header of a row: first the digests of a series, alone and with flow, or an error; then its tables.

    The first also says whether the series is a `member` of the fleet that models see as a whole.
    `table` is None in the first; where there is an `error` in another, it says why this table cannot be made.
    `certificates` are those of the table's features that users bring, where they are audited.
    """

    series: Series
    digests: tuple[str, str] = ("", "")
    member: bool = False
    table: Place | None = None
    moves: bool = False
    error: str | None = None
    certificates: Mapping[str, Any] = field(default_factory=dict)


def gatherings(tasks: Sequence[Work], fleet: Sequence[Series], *, tolerance: float) -> list[Gathering]:
    """Return what must be read of other series, in the order of their names; nothing where no task needs any."""
    features: dict[Series, dict[Place, dict[str, None]]] = {}
    markets: dict[Place, None] = {}
    pooled = {need.pooled for task in tasks for need in task.needs if need.pooled}
    for task in tasks:
        for need in task.needs:
            place = (task.key.timeframe, need.sampling)
            for _, series, names in need.others:
                features.setdefault(series, {}).setdefault(place, {}).update(dict.fromkeys(names))
            if need.market:
                markets[place] = None
    members = frozenset(fleet if markets or pooled else ())
    return [
        Gathering(
            key=Key(one.exchange, one.symbol, "", ""),
            series=(one,),
            seconds=0.0,
            memory=0,
            features=tuple((place, tuple(names)) for place, names in features.get(one, {}).items()),
            moves=tuple(markets) if one in members else (),
            member=one in members,
            with_flow="flow" in pooled and one in members,
            tolerance=tolerance,
            audits=any(task.audited for task in tasks),
        )
        for one in sorted({*features, *members}, key=str)
    ]


def gather(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a series' bars into one row that says what was read, and one a table that is wanted of it."""
    for row, bars in unpack(batch):
        (work,), series, info = row.bundle.tasks, row.bundle.series, row.info
        if info is None:
            yield pack(GatheredRow(series, error=(row.error or {}).get("message", "")))
            continue
        digests = (info.content(flow=False), info.content(flow=True))
        yield pack(GatheredRow(series, digests=digests, member=work.member))
        wanted: list[tuple[GatheredRow, Callable[[], pl.DataFrame]]] = [
            (GatheredRow(series, table=place), partial(features_at, place, bars, info, names, work.tolerance))
            for place, names in work.features
        ]
        for place in work.moves:
            part = partial(moves, bars, info.preparation(*place))
            wanted.append((GatheredRow(series, table=place, moves=True), part))
        for header, make in wanted:
            of_users: dict[str, Any] = {}
            with recorded_failure("making context", job) as failure:
                if work.audits and header.table is not None and not header.moves:
                    names, timeframe = dict(work.features)[header.table], header.table[0]
                    of_users = certificates(names, bars, info, job.config.data, timeframe=timeframe, name=str(series))
                table = make()
            if failure.error is not None:
                yield pack(replace(header, error=failure.error["message"]))
            else:
                yield pack(replace(header, certificates=of_users), table)


def features_at(
    place: Place, bars: pl.DataFrame, info: SeriesInfo, names: Sequence[str], tolerance: float
) -> pl.DataFrame:
    """Return features of a series' bars at some timeframe; see `transforms.context.known_features`."""
    how = info.preparation(*place)
    kept, _ = available(resolve_features(names), (*bars.columns, *clock_columns(how.gaps)))
    return known_features(bars, how, kept, tolerance=tolerance)


def collect(rows: Iterable[tuple[GatheredRow, pl.DataFrame]], put: Callable[[pl.DataFrame], Table]) -> Context:
    """Return the context from all rows of `gather`, in whatever order they come.

    `put` keeps a table for tasks to get. Memory grows with the number of times, not of series.
    """
    others: dict[tuple[Series, Place], Table] = {}
    sums: dict[Place, pl.DataFrame] = {}
    members: Counter[Place] = Counter()
    fleet, digests = set[Series](), dict[tuple[Series, bool], str]()
    errors: dict[tuple[Series, Place | None], str] = {}
    of_users: dict[tuple[Series, Place], Mapping[str, Any]] = {}
    for header, frame in rows:
        series, place = header.series, header.table
        fleet |= {series} if header.member else set()
        if header.error is not None:
            errors |= {} if header.moves else {(series, place): header.error}  # it is no member
        elif place is None:
            digests |= {(series, flow): header.digests[flow] for flow in (False, True)}
        elif header.moves:
            members[place] += 1
            sums[place] = market_sums([frame, *([sums[place]] if place in sums else [])])
        else:
            others[series, place] = put(frame)
            of_users[series, place] = header.certificates
    markets = {place: put(table) for place, table in sums.items()}
    return Context(others, markets, members, frozenset(fleet), digests, errors, of_users)


def with_context_here(tasks: Sequence[Work], job: Job, *, tolerance: float) -> Job:
    """Return the job with what its tasks see of other series, read in this process."""
    works = gatherings(tasks, job.fleet, tolerance=tolerance)
    alone = replace(job, fleet=())
    bundles = (pack(Bundle(work.series[0], (work,))) for work in works)
    rows = (
        found
        for bundle in bundles
        for bars in read_bars(bundle, job=alone)
        for table in gather(bars, job=alone)
        for found in unpack(table)
    )
    return replace(alone, context=collect(rows, lambda frame: lambda: frame)) if works else alone
