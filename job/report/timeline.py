"""The picture of a run over time: what its workers did, what of the CPUs they took, and how much memory."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import altair as alt
import polars as pl

from job.report import values
from job.report.contents import Contents
from job.report.theme import BLUE, GREEN, INK, PURPLE

SLOTS: Final = 60
MOST_WORKERS: Final = 24
LONGEST: Final = timedelta(days=30)
TIMES: Final = ("begun", "until")
SCHEMA: Final[dict[str, Any]] = {
    "worker": pl.String,
    **dict.fromkeys(TIMES, pl.Datetime("us", "UTC")),
    **dict.fromkeys(("busy", "cpus", "memory"), pl.Float64),
    **dict.fromkeys(("tasks", "failed"), pl.Int64),
}


@dataclass(frozen=True)
class Span:
    """A task in a worker, from when to when; CPU seconds and peak memory (MiB) are None where they are not known."""

    worker: str
    begun: datetime
    until: datetime
    cpu_seconds: float | None = None
    memory: float | None = None
    failed: bool = False


def workers(contents: Contents) -> pl.DataFrame:
    """Return when each worker of a run was busy: from its event log, else from `timing` of its versions.

    The log has every task, also those that failed, and those that were begun again as their worker died.

    Returns:
        worker: `node/process`, or only the node where there are more than `MOST_WORKERS` of them; begun: Datetime, when
        one of `SLOTS` equal parts of the run begins; until: when it ends; busy: Float64, share of it spent at tasks;
        cpus: Float64, how many CPUs these took on average, null where that is not known; memory: Float64, MiB, the
        most that a task of it held by its end, null as before; tasks, failed: Int64, how many tasks ended in it, and
        how many of these failed or lost their worker. What several workers of a node did is added up.
    """
    spans = [*_told(contents.events)] or [*_described(contents)]
    if not spans:
        return pl.DataFrame(schema=SCHEMA)
    start, end = min(one.begun for one in spans), max(one.until for one in spans)
    slot = max((end - start) / SLOTS, timedelta(milliseconds=1))
    names = [one.worker for one in spans]
    rows = [row for one in spans for row in _slots(one, start, slot)]
    by_worker = (
        pl.DataFrame(rows, schema={"slot": pl.Int64, **{name: SCHEMA[name] for name in SCHEMA if name not in TIMES}})
        .group_by("worker", "slot")
        .agg(pl.col("busy", "cpus", "tasks", "failed").sum(), pl.col("memory").max(), known=pl.col("cpus").count())
        .with_columns(cpus=pl.when(pl.col("known") > 0).then("cpus"))
    )
    if len(set(names)) > MOST_WORKERS:
        node = pl.col("worker").str.replace(r"/[^/]*\z", "")
        summed = pl.col("busy", "cpus", "memory", "tasks", "failed").sum()
        by_worker = by_worker.with_columns(worker=node).group_by("worker", "slot").agg(summed)
    begins = pl.lit(start) + pl.lit(slot) * pl.col("slot")
    return (
        by_worker.with_columns(begun=begins, until=begins + slot)
        .sort("worker", "slot")
        .select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
    )


def _slots(span: Span, start: datetime, slot: timedelta) -> Iterator[dict[str, Any]]:
    """Yield what a span adds to each part of a run."""
    first, last = (min(SLOTS - 1, int((at - start) / slot)) for at in (span.begun, span.until))
    length = max(span.until - span.begun, timedelta(milliseconds=1))
    for number in range(first, last + 1):
        opens = start + number * slot
        spent = max(timedelta(0), min(span.until, opens + slot) - max(span.begun, opens))
        yield {
            "worker": span.worker,
            "slot": number,
            "busy": spent / slot,
            "cpus": None if span.cpu_seconds is None else span.cpu_seconds * (spent / length) / slot.total_seconds(),
            "memory": span.memory,
            "tasks": int(number == last),
            "failed": int(number == last and span.failed),
        }


def _told(events: Iterable[Mapping[str, Any]]) -> Iterator[Span]:
    """Yield the spans of a run's events: of tasks that ended, and of those whose workers died."""
    for event in events:
        node, process = values.text(event.get("node")), values.count(event.get("pid"))
        begun, until = (values.time(event.get(name)) for name in ("started_at", "time"))
        if node and process and begun and until and timedelta(0) <= until - begun < LONGEST:
            died = event.get("event") == "task_retried"
            yield Span(
                f"{node}/{process}",
                begun,
                until,
                None if died else values.number(event.get("cpu_seconds"), least=0.0, most=1e9),
                None if died else values.number(event.get("peak_rss_mb"), least=1.0, most=1e8),
                failed=died or event.get("status") == "failed",
            )


def _described(contents: Contents) -> Iterator[Span]:
    """Yield the spans of the versions of a run, where it left no log."""
    run = values.at(contents.run, "run_id")
    for one in contents.described:
        timing = values.at(one.metadata, "timing")
        begun, until = (values.time(values.at(timing, name)) for name in ("started_at", "finished_at"))
        worker = values.text(values.at(timing, "worker"))
        own = run is not None and values.at(one.metadata, "run_id") == run
        if own and begun and until and worker and timedelta(0) <= until - begun < LONGEST:
            yield Span(worker, begun, until, memory=values.number(one.metadata.get("peak_rss_mb"), least=1.0, most=1e8))


def draw_workers(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a row per worker, filled as far as it was busy, and below them the CPUs and the memory of all."""
    letters = min(150, 7 * max(map(len, frame["worker"])))
    own = width - letters - 20
    scale = alt.Scale(domain=[0, frame["busy"].max()], range=[0, 0.9])
    axis = alt.Axis(format="%H:%M:%S", tickCount=4)
    x = alt.X("begun:T", title="time of day, UTC", axis=axis, scale=alt.Scale(type="utc"))
    rows = (
        alt.Chart(frame)
        .mark_rect(color=BLUE)
        .encode(
            x=x,
            x2="until:T",
            y=alt.Y("worker:N", title=None, axis=alt.Axis(labelColor=INK, labelLimit=150)),
            opacity=alt.Opacity("busy:Q", legend=None, scale=scale),
        )
        .properties(width=own, height=alt.Step(22))
    )
    summed = frame.group_by("begun", "until").agg(
        pl.col("cpus").sum(), memory=pl.col("memory").sum() / 1024, known=pl.col("cpus").count()
    )
    below = {"cpus": ("CPUs", GREEN, summed["known"].sum()), "memory": ("GiB", PURPLE, summed["memory"].sum())}
    charts = [
        alt.Chart(summed.sort("begun").drop("known"))
        .mark_rect(color=color, opacity=0.7)
        .encode(
            x=x,
            x2="until:T",
            y=alt.Y(f"{name}:Q", title=title, axis=alt.Axis(tickCount=3), scale=alt.Scale(zero=True)),
            y2=alt.datum(0),
        )
        .properties(width=own, height=60)
        for name, (title, color, there) in below.items()
        if there
    ]
    return alt.vconcat(rows, *charts).resolve_scale(x="shared")
