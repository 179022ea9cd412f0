"""Read one series: clean its bars, keep those that break a rule, and note what its files hold."""

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import polars as pl
import pyarrow as pa

from job.config.settings import DataSettings, GapsSetting
from job.core.errors import DataError
from job.core.keys import encode
from job.core.paths import redact_url
from job.registry.fingerprints import bare_digest, listing_fingerprint, mark_sessions
from job.registry.listings import write_listing
from job.sources.collisions import colliding_files
from job.sources.finished import without_unfinished
from job.sources.reading import SeriesBars, as_listed, read_series
from job.sources.series import Series
from job.storage.files import ExistingFileError
from job.worker.cost import Meter
from job.worker.memory import reset_peak
from job.worker.messages import BarsRow, Job, SeriesInfo, check_versions, pack, recorded_failure, unpack
from transforms.bars import FLOW, RULES, Cleaned, clean, duration_us
from transforms.digest import content_digest
from transforms.sessions import Sessions, find_sessions, opening_hours

BARS_ALONE: Final[Mapping[bool, str | None]] = {False: None}


def read_bars(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Read and clean each bundle's series; one row of bars per bundle. The registry is left as it is."""
    for bundle, _ in unpack(batch):
        reset_peak()
        meter = Meter()
        with recorded_failure("reading bars", job) as failure:
            check_versions(job)
            cleaned, notes = read_clean(bundle.series, job.config.data, flow=bundle.flow)
            bars, info = in_range(bundle.series, cleaned, job.config.data)
        if failure.error is not None:
            yield pack(BarsRow(bundle, None, failure.error, cost=meter.cost()))
        else:
            warnings = (*notes, *left_out(bundle.series, info.counts))
            yield pack(BarsRow(bundle, replace(info, warnings=warnings)), bars)


def load_series(
    series: Series, job: Job, *, listed: Mapping[bool, str | None] = BARS_ALONE
) -> tuple[pl.DataFrame, SeriesInfo]:
    """Read, clean and date-limit one series; rejected bars go to the registry, and so does what the files hold.

    `listed` is what listings say of its bars, None where none does: under False of the bars alone, under True of bars
    with the columns of `transforms.bars.FLOW`, which then come with them.

    Raises:
        DataError: no usable bar is left, or more than `data.max_rejected` of them break a rule.
    """
    cleaned, notes = read_clean(series, job.config.data, flow=True in listed)
    bars, info = in_range(series, cleaned, job.config.data)
    kept: tuple[str, ...] = ()
    if not cleaned.rejected.is_empty():
        path = f"rejected/{encode(series.exchange)}/{encode(series.symbol)}/{bare_digest(info.digest)}.parquet"
        buffer = io.BytesIO()
        cleaned.rejected.write_parquet(buffer)
        with suppress(ExistingFileError):  # the same bars, written by another version of the library
            job.registry().create(path, buffer.getvalue())
        kept = (f"{series}: rejected {rule_counts(cleaned.counts)}; kept in {path}{_revised(cleaned)}",)
    changed = [note for flow in listed for note in keep_listing(series, bars, info, listed[flow], job, flow=flow)]
    warnings = (*notes, *kept, *dict.fromkeys(changed))
    if info.sessions:
        on_sessions = (
            f"{series}: a market with sessions ({info.sessions}): its closing times are neither filled nor cut, "
            "windows and labels count bars across them; data.gaps: segment cuts there"
        )
        warnings = (*warnings, on_sessions)
    return bars, replace(info, warnings=warnings)


def read_clean(series: Series, data: DataSettings, *, flow: bool = False) -> tuple[Cleaned, tuple[str, ...]]:
    """Read and clean one series, without a last bar that may not be finished, and say what was read how.

    Raises:
        DataError: no usable bar is left, or more than `data.max_rejected` of them break a rule.
    """
    return clean_reading(series, read_series(series, data, flow=flow), data)


def clean_reading(series: Series, reading: SeriesBars, data: DataSettings) -> tuple[Cleaned, tuple[str, ...]]:
    """Clean what was read of a series; the rest is as `read_clean` says."""
    try:
        cleaned = clean(
            reading.bars,
            timeframe=data.timeframe or series.timeframe,
            zones=(data.timezone, *reading.zones),
            duplicates=data.duplicates,
        )
    except ValueError as error:
        raise DataError(f"{series}: {error}") from None
    reading = replace(reading, bars=reading.bars.clear())
    pa.default_memory_pool().release_unused()  # Arrow keeps what it read files into, as much as the bars themselves
    try:
        check_rejected(str(series), cleaned, data)
    except DataError as error:
        if cleaned.counts["conflicting_duplicate"] and (files := colliding_files(series, data)):
            raise DataError(f"{error}; {files}") from None
        raise
    return finished(series, cleaned, reading, data)


def finished(
    series: Series, cleaned: Cleaned, reading: SeriesBars, data: DataSettings
) -> tuple[Cleaned, tuple[str, ...]]:
    """Leave out a last bar that may not be finished, and return what is worth a note, as `read_clean` does.

    Raises:
        DataError: there is no other bar.
    """
    cleaned, unfinished = without_unfinished(cleaned, reading.files, end=data.end)
    notes = (*reading.notes, *unfinished)
    if cleaned.bars.is_empty():
        raise DataError(f"{series}: {unfinished[0]}; there is no other bar")
    if superseded := cleaned.counts.get("superseded"):
        notes = (*notes, f"{superseded} rows gave way to others of the same time (data.duplicates: {data.duplicates})")
    if cleaned.zone not in {"UTC", data.timezone, *reading.zones}:
        notes = (*notes, f"bars are on one grid by the clocks of {cleaned.zone}, which is taken for their zone")
    return cleaned, tuple(f"{series}: {note}" for note in notes)


def in_range(series: Series, cleaned: Cleaned, data: DataSettings) -> tuple[pl.DataFrame, SeriesInfo]:
    """Return the bars before `data.end`, and what is known of them.

    Raises:
        DataError: none of them lies in the settings' date range.
    """
    first, last = cleaned.bars["timestamp"][0], cleaned.bars["timestamp"][-1]
    start = range_start(last, cleaned.timeframe, data)
    if (start is not None and start > last) or (data.end is not None and data.end <= first):
        lies = " and ".join(f"{word} {time}" for word, time in (("from", start), ("before", data.end)) if time)
        raise DataError(
            f"{series}: no bars {lies}, it has {first} to {last}: change data.start, data.end or data.lookback_days"
        )
    bars = cleaned.bars if data.end is None else cleaned.bars.filter(pl.col("timestamp") < data.end)
    sessions = sessions_of(bars, cleaned.timeframe, data.gaps, cleaned.zone)
    info = SeriesInfo(
        timeframe=cleaned.timeframe,
        offset_us=cleaned.offset_us,
        zone=cleaned.zone,
        first=bars["timestamp"][0],
        last=bars["timestamp"][-1],
        counts=cleaned.counts,
        digest="",
        files=tuple({"url": redact_url(file.url), "bytes": file.size} for file in series.files),
        sessions=sessions,
    )
    return bars, with_digests(info, bars)


def with_digests(info: SeriesInfo, bars: pl.DataFrame) -> SeriesInfo:
    """Return what is known of a series, with the digests of these of its bars."""
    grid = info.timeframe if info.zone == "UTC" else f"{info.timeframe} {info.zone}"
    flow = [name for name in FLOW if name in bars.columns]
    digest = content_digest(bars.drop(flow), timeframe=grid)
    return replace(
        info,
        digest=mark_sessions(digest) if info.sessions else digest,
        flow=content_digest(bars.select(flow)) if flow else "",
    )


def sessions_of(bars: pl.DataFrame, timeframe: str, gaps: GapsSetting, zone: str = "UTC") -> Sessions | None:
    """Return the sessions by which `data.gaps` has these bars taken: under `auto` those that they have, if any."""
    if gaps in {"segment", "ignore"}:
        return None
    times, step = bars["timestamp"].to_physical().to_numpy(), duration_us(timeframe)
    return find_sessions(times, step, zone) or (opening_hours(times, step) if gaps == "sessions" else None)


def check_rejected(name: str, cleaned: Cleaned, data: DataSettings) -> None:
    """Raise DataError when too large a share of a series breaks the cleaning rules."""
    rejected, read = rejected_rows(cleaned.counts), cleaned.counts["rows_read"]
    by_rule = rule_counts(cleaned.counts)
    if cleaned.bars.is_empty():
        raise DataError(
            f"{name}: no usable bar among {read} rows ({by_rule or 'no rows'}): check data.columns and the files"
            f"{_revised(cleaned)}"
        )
    if too_many_rejected(cleaned.counts, data):
        raise DataError(
            f"{name}: {rejected} of {read} rows break a rule ({by_rule}): check data.columns and the files, "
            f"or raise data.max_rejected (now {data.max_rejected:g}){_revised(cleaned)}"
        )


def too_many_rejected(counts: Mapping[str, int], data: DataSettings) -> bool:
    """Return whether a larger share of all rows breaks the cleaning rules than settings allow."""
    return rejected_rows(counts) > data.max_rejected * counts["rows_read"]


def rejected_rows(counts: Mapping[str, int]) -> int:
    """Return how many rows break a rule, by the counts of `transforms.bars.Cleaned`."""
    return sum(counts[rule.name] for rule in RULES)


def left_out(series: Series, counts: Mapping[str, int]) -> tuple[str, ...]:
    """Return the warning that names the rules which rows break, the most frequent one first, if any do."""
    by_rule = rule_counts(counts)
    return (f"{series}: left out bars that break a rule: {by_rule}",) if by_rule else ()


def _revised(cleaned: Cleaned) -> str:
    """Return what to do about rows that share a time, if there are any: live collectors write a bar several times.

    Rows of one bar open at one price; others are of bars that their times do not tell apart, and none of them is it.
    """
    rows = cleaned.rejected.filter(pl.col("rule") == "conflicting_duplicate")
    if rows.is_empty():
        return ""
    opens = rows.group_by("timestamp").agg(one=pl.col("open").n_unique() == 1)["one"]
    if 2 * int(opens.sum()) < opens.len():
        return "; rows that share a time open at other prices, as bars of several series or longer times than theirs do"
    return "; of rows that share a time, data.duplicates: last (or fullest) keeps the last (or that of most volume)"


def rule_counts(counts: Mapping[str, int]) -> str:
    """Return `rule count` pairs of the rules that rows break, by the counts of `Cleaned`, most frequent first."""
    broken = sorted((-counts[rule.name], rule.name) for rule in RULES if counts[rule.name])
    return ", ".join(f"{name} {-count}" for count, name in broken)


def keep_listing(
    series: Series, bars: pl.DataFrame, info: SeriesInfo, listed: str | None, job: Job, *, flow: bool
) -> Iterator[str]:
    """Note in the registry what the files of a series hold; yield a warning where this is not what was noted before.

    Files that changed while they were read are not noted: which state of them was read cannot be told.
    """
    listing, content = listing_fingerprint(series, job.config.data, flow=flow), info.content(flow=flow)
    if listing is None or content == listed or not as_listed(series, job.config.data):
        return
    if listed is not None:
        yield f"{series}: the files hold other bars than before, although names, sizes and times of change are the same"
    digest = bare_digest(content)
    about = {
        "exchange": series.exchange,
        "symbol": series.symbol,
        "files": len(series.files),
        "rows": bars.height,
        "first_bar": info.first.isoformat(),
        "last_bar": info.last.isoformat(),
        "content_digest": digest,
    }
    # Another run may ask for what was noticed, whatever this one was told.
    noticed = sessions_of(bars, info.timeframe, "auto", info.zone)
    held = mark_sessions(digest) if noticed else digest
    write_listing(job.registry(), listing, held, about, instead_of=listed)


def range_start(last: datetime, timeframe: str, data: DataSettings) -> datetime | None:
    """Return the open time of the first bar that may be a sample: `start`, or `lookback_days` before the end.

    `last` and `timeframe` are of the series' last bar.
    """
    if data.lookback_days is None:
        return data.start
    end = data.end or last + timedelta(microseconds=duration_us(timeframe))
    looked_back = end - timedelta(days=data.lookback_days)
    return looked_back if data.start is None else max(looked_back, data.start)
