"""Read the newest bars of a series: what was read before is known by the files that did not change since."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import polars as pl
import pyarrow as pa

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.registry.fingerprints import reading_fingerprint
from job.sources.known import SHORT, Cut, HashSums, Reading, listed_digest, moment
from job.sources.reading import SeriesBars, read_series
from job.sources.series import Series
from job.worker.cost import Meter
from job.worker.cuts import counted_since, head_digest, possible_cuts, thinned, with_counts, with_hashes
from job.worker.load_bars import clean_reading, finished, in_range, left_out, too_many_rejected
from job.worker.memory import reset_peak
from job.worker.messages import BarsRow, Job, SeriesInfo, check_versions, pack, recorded_failure, unpack
from transforms.bars import Cleaned, clean, duration_us, jumps_of
from transforms.grids import DAY, HOUR
from transforms.sessions import no_sessions_until

MOSTLY: Final = 0.8
"""Share of times on their grid, or a bar after the last one, by which they stay most of all, whatever comes."""
ROWS: Final = "rows-"
"""Mark of a digest that stands for `job.sources.known.Reading.digest`: that of the whole content is not known."""


@dataclass(frozen=True)
class Newest:
    """Bars of a series from some time on, as `job.worker.load_bars.read_clean` and `in_range` give them.

    `info` is of all bars, but for `digest` and `flow` where not all were read: the digest is then that of `reading`,
    behind `ROWS`. `revised_from` is the earliest time from which bars are others than those that were known, None
    where later ones came at most, or the first are gone. `whole` says that all bars were read, `why` for what reason,
    `notes` what was read how.
    """

    bars: pl.DataFrame
    info: SeriesInfo
    reading: Reading
    revised_from: datetime | None = None
    whole: bool = True
    why: str = ""
    notes: tuple[str, ...] = ()


class Doubt(Exception):  # noqa: N818 - no error: the reason why a series is read whole
    """Why bars that are read alone may be others than those that are read with all."""


def read_newest(
    series: Series, data: DataSettings, *, since: datetime | None, known: Reading | None, flow: bool
) -> Newest:
    """Read all bars of a series from `since` on, with the same bits as if all of it was read.

    What was decided on all bars is taken from `known`. Where new bars could decide it otherwise, where files that were
    read before have changed, or where bars are others than before, the whole series is read.

    Args:
        series: with the files that it has now.
        data: settings.
        since: open time of the first bar that is needed; None for all.
        known: what the last reading saw; None where there was none.
        flow: whether the columns of `transforms.bars.FLOW` are wanted.

    Raises:
        DataError: as `job.worker.load_bars.read_clean` and `in_range`.
    """
    how = reading_fingerprint(series, data, flow=flow)[:SHORT]
    if known is None or since is None:
        why = "nothing is known of it" if known is None else "all bars are asked for"
        return _read_whole(series, data, known, how, why, flow=flow)
    try:
        return _read_tail(series, data, since, known, how, flow=flow)
    except Doubt as doubt:
        return _read_whole(series, data, known, how, str(doubt), flow=flow)


def _read_whole(series: Series, data: DataSettings, known: Reading | None, how: str, why: str, *, flow: bool) -> Newest:
    read = read_series(series, data, flow=flow)
    cleaned, notes = clean_reading(series, read, data)
    bars, info = in_range(series, cleaned, data)
    sums = HashSums(bars)
    reason = _must_be_whole(series, read, cleaned, data)
    cuts: tuple[Cut, ...] = ()
    if not reason:
        possible = possible_cuts(read.bars, read.heights, series.files)
        counted = with_counts(possible, read.bars, read.heights, cleaned, duplicates=data.duplicates)
        cuts = with_hashes(counted, sums, info.last)
        reason = "" if cuts else "no file begins where the ones before it end"
    until: datetime | None = None
    step = duration_us(info.timeframe)
    if data.gaps == "auto" and not info.sessions and info.zone == "UTC" and step <= DAY:
        until = moment(no_sessions_until(bars["timestamp"].to_physical().to_numpy(), step))
    reading = Reading(
        how=how,
        timeframe=info.timeframe,
        offset_us=info.offset_us,
        zone=info.zone,
        columns=tuple(bars.columns),
        volumes=read.decided.volumes,
        steps=read.decided.steps,
        first=info.first,
        last=info.last,
        hashes=sums(info.first),
        no_sessions_until=until,
        cuts=cuts,
        whole=reason,
        marks=() if cuts else sums.marks(),
    )
    warnings = (*notes, *left_out(series, info.counts))
    revised = None
    if known is not None:
        revised = known.changed_from(bars) if known.grid == reading.grid else reading.first
    return Newest(bars, replace(info, warnings=warnings), reading, revised, why=why, notes=notes)


def _must_be_whole(series: Series, read: SeriesBars, cleaned: Cleaned, data: DataSettings) -> str:
    """Return why a series must always be read whole, empty where nothing stands against reading its end alone."""
    if not all(file.stamp for file in series.files):
        return "the storage does not say when files change"
    if len(series.files) == 1:
        return "one file holds it"
    if not read.decided.alone or len(read.decided.steps) > 1:
        return "its files are understood together"
    if duration_us(cleaned.timeframe) > DAY:
        return "bars are longer than a day"
    named = bool(data.timeframe or series.timeframe)
    if not _keeps_grid(read.bars["timestamp"], cleaned.timeframe, cleaned.offset_us, cleaned.zone, named=named):
        return "its grid is decided by all bars"
    return ""


def _keeps_grid(times: pl.Series, timeframe: str, offset_us: int, zone: str, *, named: bool) -> bool:
    """Whether times keep a grid so well that others, which keep it as well, cannot change it together with them.

    Bars that a shift of clocks could move must all keep it.
    """
    step = duration_us(timeframe)
    distinct = times.drop_nulls().unique().sort().to_physical()
    if zone != "UTC" or distinct.len() < 2:
        return False
    kept = float((distinct % step == offset_us).mean() or 0)  # type: ignore[arg-type]  # of truths
    steady = named or float((distinct.diff().drop_nulls() == step).mean() or 0) >= MOSTLY  # type: ignore[arg-type]
    return steady and kept >= (MOSTLY if HOUR % step == 0 else 1)


def _read_tail(series: Series, data: DataSettings, since: datetime, known: Reading, how: str, *, flow: bool) -> Newest:
    """Read what is behind a cut; raises Doubt where that may not be what the whole series has there."""
    cut = _cut_before(series, data, since, known, how)
    try:
        read = read_series(replace(series, files=series.files[cut.files :]), data, flow=flow)
    except DataError as error:
        raise Doubt(f"its newest files cannot be read alone: {error}") from None
    cleaned = _clean_behind(cut, read, series, known, data)
    try:
        cleaned, notes = finished(series, cleaned, read, data)
        bars, info = in_range(series, cleaned, data)
    except DataError as error:
        raise Doubt(str(error)) from None
    if data.gaps == "auto" and (known.no_sessions_until is None or info.last >= known.no_sessions_until):
        raise Doubt("all bars tell whether the market has sessions")
    if known.changed_from(bars, cut) is not None:
        raise Doubt("bars are others than before")
    sums = HashSums(bars)
    inside = [one for one in possible_cuts(read.bars, read.heights, series.files, cut.files) if one.start > cut.start]
    inside = with_counts(inside, read.bars, read.heights, cleaned, duplicates=data.duplicates, known=cut.files)
    deeper = [one for one in known.cuts if one.start < cut.start]
    behind = sum(one.hashes for one in known.cuts if one.start >= cut.start)
    reading = replace(
        known,
        steps=tuple(dict.fromkeys((*known.steps, *read.decided.steps))),
        last=info.last,
        hashes=(known.hashes - behind + sums(cut.start)) % 2**64,
        cuts=thinned([*deeper, *with_hashes([cut, *inside], sums, info.last)], len(series.files)),
    )
    warnings = (*notes, *left_out(series, info.counts))
    info = replace(info, first=known.first, digest=f"{ROWS}{reading.digest}", flow="", sessions=None, warnings=warnings)
    return Newest(bars, info, reading, whole=False, notes=notes)


def _clean_behind(cut: Cut, read: SeriesBars, series: Series, known: Reading, data: DataSettings) -> Cleaned:
    """Clean the rows of the files behind a cut; return those from it on, with the counts of the whole series.

    Raises Doubt unless these files are understood as all files were, and hold no rows of the time before.
    """
    decided = read.decided
    if not decided.alone or len({*decided.steps, *known.steps}) > 1 or not {*decided.volumes} <= {*known.volumes}:
        raise Doubt("its newest files are understood together with all others")
    if {*read.bars.columns} != {*known.columns}:
        raise Doubt("its newest files have other columns")
    if head_digest(read.bars, cut.start) != cut.head:
        raise Doubt("its newest files hold rows of a time that was read before")
    named = bool(data.timeframe or series.timeframe)
    if not _keeps_grid(read.bars["timestamp"], known.timeframe, known.offset_us, known.zone, named=named):
        raise Doubt("its newest bars are on no grid, or on another one")
    try:
        cleaned = clean(
            read.bars,
            timeframe=known.timeframe,
            zones=(data.timezone, *read.zones),
            duplicates=data.duplicates,
        )
    except ValueError as error:
        raise Doubt(str(error)) from None
    if (cleaned.offset_us, cleaned.zone) != (known.offset_us, known.zone):
        raise Doubt("its newest bars are on another grid")
    rows = [one.select("timestamp", "close") for one in (cleaned.bars, cleaned.rejected)]
    *_, jumps = jumps_of(pl.concat(rows).sort("timestamp")["close"])
    if jumps.size:
        raise Doubt("prices jump")
    since = counted_since(cut, read.bars, cleaned, data.duplicates)
    counts = {name: cut.counts.get(name, 0) + count for name, count in since.items()}
    bars, rejected = (one.filter(pl.col("timestamp") >= cut.start) for one in (cleaned.bars, cleaned.rejected))
    if bars.is_empty() or too_many_rejected(counts, data):
        raise Doubt("too many rows break a rule")
    return replace(cleaned, bars=bars, rejected=rejected, counts=counts)


def _cut_before(series: Series, data: DataSettings, since: datetime, known: Reading, how: str) -> Cut:
    """Return the last cut before some time, of which the files before it are those that were read."""
    if known.how != how:
        raise Doubt("files are read in another way")
    if data.gaps == "sessions":
        raise Doubt("all bars tell the sessions of its market")
    if known.whole:
        raise Doubt(known.whole)
    if not all(file.stamp for file in series.files):
        raise Doubt("the storage does not say when files change")
    early = [cut for cut in known.cuts if cut.start <= since]
    if not early:
        raise Doubt("bars are needed from before all places where it can be cut")
    for cut in reversed(early):
        if cut.files < len(series.files) and cut.listed == listed_digest(series.files[: cut.files]):
            return cut
    raise Doubt("files that were read before have changed")


def read_newest_bars(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Read the newest bars of each bundle's series, from the earliest time that one of its tasks needs.

    One row of bars per bundle, as `job.worker.load_bars.read_bars` yields it, with what is then known of the series.
    """
    for bundle, _ in unpack(batch):
        reset_peak()
        meter = Meter()
        with recorded_failure("reading bars", job) as failure:
            check_versions(job)
            newest = read_newest(
                bundle.series, job.config.data, since=bundle.since, known=bundle.reading, flow=bundle.flow
            )
        if failure.error is not None:
            yield pack(BarsRow(bundle, None, failure.error, cost=meter.cost()))
        else:
            row = BarsRow(
                bundle, newest.info, reading=newest.reading, whole=newest.whole, revised_from=newest.revised_from
            )
            yield pack(row, newest.bars)
