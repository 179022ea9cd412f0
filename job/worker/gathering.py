"""The pass before the others: what tasks of a run need of other series, read once, series by series."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl
import pyarrow as pa

from job.core.keys import Key
from job.learning.features import reads_flow, resolve_features
from job.sources.series import Series
from job.worker.context import Context, Sampling, Table
from job.worker.load_bars import read_bars
from job.worker.messages import BarsRow, Bundle, Job, SeriesInfo, Work, pack, recorded_failure, unpack
from transforms.bars import Gaps
from transforms.clock import clock_columns
from transforms.context import known_features, market_sums, moves
from transforms.features.compute import available
from transforms.preparing import Preparation
from transforms.sessions import Sessions


@dataclass(frozen=True, kw_only=True)
class Gathering(Work):
    """What a run needs of one series: `features` by timeframe and sampling, and its `moves` at some of these."""

    features: tuple[tuple[str, Sampling, tuple[str, ...]], ...] = ()
    moves: tuple[tuple[str, Sampling], ...] = ()
    tolerance: float

    @property
    def flow(self) -> bool:
        """Whether a feature reads a column of `transforms.bars.FLOW`."""
        return any(reads_flow(resolve_features(names)) for _, _, names in self.features)


@dataclass(frozen=True)
class GatheredRow:
    """Header of a row: first, for every series, its digests, alone and with flow, or an error; then its tables."""

    series: Series
    digests: tuple[str, str] = ("", "")
    table: tuple[str, Sampling] | None = None
    moves: bool = False
    error: str | None = None


def gatherings(tasks: Iterable[Work], fleet: Sequence[Series], *, tolerance: float) -> list[Gathering]:
    """Return what must be read of other series, in the order of their names; nothing where no task needs any."""
    features: dict[Series, dict[tuple[str, Sampling], dict[str, None]]] = {}
    markets: dict[tuple[str, Sampling], None] = {}
    for task in tasks:
        for need in task.needs:
            place = (task.key.timeframe, need.sampling)
            for _, series, names in need.others:
                features.setdefault(series, {}).setdefault(place, {}).update(dict.fromkeys(names))
            if need.market:
                markets[place] = None
    wanted = {*features, *(fleet if markets else ())}
    return [
        Gathering(
            key=Key(one.exchange, one.symbol, "", ""),
            series=(one,),
            seconds=0.0,
            memory=0,
            features=tuple((*place, tuple(names)) for place, names in features.get(one, {}).items()),
            moves=tuple(markets) if one in fleet else (),
            tolerance=tolerance,
        )
        for one in sorted(wanted, key=str)
    ]


def gather(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Turn a series' bars into the tables that are wanted of it."""
    for row, bars in unpack(batch):
        yield from gathered(row, bars, job)


def gathered(row: BarsRow, bars: pl.DataFrame, job: Job) -> Iterator[pa.Table]:
    """Yield one row that says what was read, and one a table; where one cannot be made, the series fails."""
    (work,), series, info = row.bundle.tasks, row.bundle.series, row.info
    if info is None:
        yield pack(GatheredRow(series, error=(row.error or {}).get("message", "")))
        return
    tables = []
    with recorded_failure("making context", job) as failure:
        for timeframe, sampling, names in work.features:
            how = preparation(info, timeframe, sampling)
            kept, _ = available(resolve_features(names), (*bars.columns, *clock_columns(how.gaps)))
            made = known_features(bars, how, kept, tolerance=work.tolerance)
            tables.append((GatheredRow(series, table=(timeframe, sampling)), made))
        for timeframe, sampling in work.moves:
            made = moves(bars, preparation(info, timeframe, sampling))
            tables.append((GatheredRow(series, table=(timeframe, sampling), moves=True), made))
    if failure.error is not None:
        yield pack(GatheredRow(series, error=failure.error["message"]))
        return
    yield pack(GatheredRow(series, digests=(info.content(flow=False), info.content(flow=True))))
    for header, table in tables:
        yield pack(header, table)


def preparation(info: SeriesInfo, timeframe: str, sampling: Sampling) -> Preparation:
    """Return how the bars of a series become bars of a timeframe."""
    return Preparation(
        source=info.timeframe,
        timeframe=timeframe,
        offset_us=info.offset_us,
        zone=info.zone,
        max_fill=sampling.max_fill,
        min_coverage=sampling.min_coverage,
        gaps=understood(sampling, info.sessions),
    )


def understood(sampling: Sampling, sessions: Sessions | None) -> Gaps:
    """Return what gaps of a series mean, whose bars were read with these sessions."""
    return "ignore" if sampling.gaps == "ignore" else sessions or "segment"


def collect(rows: Iterable[tuple[GatheredRow, pl.DataFrame]], put: Callable[[pl.DataFrame], Table]) -> Context:
    """Return the context from all rows of `gather`, in whatever order they come.

    `put` keeps a table for tasks to get. Memory grows with the number of times, not of series.
    """
    others: dict[tuple[Series, str, Sampling], Table] = {}
    sums: dict[tuple[str, Sampling], pl.DataFrame] = {}
    members, digests, errors = set[Series](), dict[tuple[Series, bool], str](), dict[Series, str]()
    for header, frame in rows:
        if header.error is not None:
            errors[header.series] = header.error
        elif header.table is None:
            digests |= {(header.series, flow): header.digests[flow] for flow in (False, True)}
        elif header.moves:
            members.add(header.series)
            sums[header.table] = market_sums([frame, *([sums[header.table]] if header.table in sums else [])])
        else:
            others[header.series, *header.table] = put(frame)
    markets = {place: put(table) for place, table in sums.items()}
    return Context(others, markets, frozenset(members), digests, errors)


def with_context_here(tasks: Iterable[Work], job: Job, *, tolerance: float) -> Job:
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
