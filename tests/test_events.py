"""The event log of runs: complete, bounded, readable after a kill, and one line per event whatever names hold."""

import logging
import time
import tracemalloc
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from job.core.errors import RegistryError
from job.core.keys import Key
from job.core.synth import write_world
from job.registry.attempts import Attempt, record_attempt
from job.registry.cleanup import open_runs, sweep
from job.registry.events import PART_BYTES, EventLog, event_files, read_events
from job.registry.outcome import Outcome, failed
from job.registry.runs import events_path, open_marker
from job.storage.files import Storage
from tests.growing import Feed
from tests.here import run_here, watch_here
from tests.kills import LONGEST_RUN_S, becomes, launched, stage_of
from tests.registries import KINDS

RUN = "20240101_000000_abcdef"
AT = "2024-01-01T00:00:01.000+00:00"
WRITING = {"trained", "predicted"}
HOSTILE = ("BTC\nUSDT", '"}<script>alert(1)</script>', "\u2028\x00\x1b[31m", "..", "a" * 2_000)


def outcome(number: int, symbol: str = "") -> Outcome:
    return Outcome(
        "binance", symbol or f"S{number:05d}", "1h", "analyst", "trained", version=f"analyst_1h_{RUN}", node="box",
        pid=4711, rows=1000, seconds=1.5, cpu_seconds=1.25, peak_rss_mb=300.0, started_at=AT, finished_at=AT,
        bytes=9_000,
    )  # fmt: skip


def events_of(registry: Storage, run_id: str = RUN) -> list[dict[str, Any]]:
    return [*read_events(registry, run_id)]


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [one for one in events if one["event"] == name]


def logs_of(registry: Storage) -> dict[str, list[dict[str, Any]]]:
    """Return the events of every run, by its operation."""
    paths = [path for path in registry.list("runs") if path.endswith(".events.jsonl")]
    found = [events_of(registry, path.removeprefix("runs/").removesuffix(".events.jsonl")) for path in paths]
    return {events[0]["operation"]: events for events in found}


def check(events: list[dict[str, Any]], *, status: str = "finished") -> list[dict[str, Any]]:
    """Check what holds for the log of any run that came to its end, and return its tasks' ends."""
    names = Counter(one["event"] for one in events)
    assert [events[0]["event"], events[-1]["event"]] == ["run_began", "run_ended"]
    assert names["run_began"] == names["run_ended"] == 1
    ended = named(events, "task_ended")
    assert names["task_began"] == names["task_ended"] + names["task_retried"]
    assert events[-1]["status"] == status
    for one in events:
        assert datetime.fromisoformat(one["time"]).tzinfo == UTC
        assert len(one["time"]) == len(AT)
    for one in ended:
        assert one["started_at"] <= one["time"]
        assert one["node"]
        assert min(one["pid"], one["attempt"], one["peak_rss_mb"]) > 0
        assert min(one["seconds"], one["cpu_seconds"]) >= 0
    return ended


@pytest.fixture(scope="module")
def round_(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """The registry of a feed that was trained, with a series that fails, and watched as bars came in."""
    feed = Feed.of(tmp_path_factory.mktemp("events"), days=12, symbols=2)
    feed.until(8)
    (feed.folder / "bars" / "exchange=synthetic" / "symbol=BAD").mkdir()
    (feed.folder / "bars" / "exchange=synthetic" / "symbol=BAD" / "BAD-1m-2024-01-01.parquet").write_bytes(b"no bars")
    config = feed.config(watch={"predictions": str(feed.folder / "predictions")})
    watch_here(config)
    feed.until(12)
    watch_here(config)
    return Storage(str(feed.folder / "models"))


def test_every_operation_of_a_round_leaves_a_log(round_: Storage) -> None:
    logs = logs_of(round_)
    assert set(logs) == {"train", "predict", "watch"}
    statuses = {operation: {one["status"] for one in check(events)} for operation, events in logs.items()}
    assert statuses == {"train": {"trained", "failed"}, "predict": {"predicted"}, "watch": {"scored"}}
    written = [one["bytes"] for events in logs.values() for one in check(events) if one["status"] in WRITING]
    assert min(written) > 0
    assert all(one["drift"]["features"] for one in named(logs["predict"], "task_ended"))


def test_the_log_of_a_run_is_what_its_record_says(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=6, symbols=3)
    feed.until(6)
    for path in feed.path(1, None).parent.glob("*.parquet"):
        path.write_bytes(b"no bars")
    few = sorted(feed.path(2, None).parent.glob("*.parquet"))
    for path in few[1:]:
        path.unlink()
    record = run_here(feed.config())
    events = events_of(Storage(str(tmp_path / "models")), record.run_id)
    ended = check(events)
    assert events[0]["planned"] == record.planned
    assert events[-1]["counts"] == record.counts
    told = {(one["symbol"], one["status"], one["seconds"], one["attempt"], one["node"], one["pid"]) for one in ended}
    assert told == {(one.symbol, one.status, one.seconds, one.attempts, one.node, one.pid) for one in record.outcomes}
    assert {one["status"] for one in ended} == {"trained", "failed"}
    for one in record.outcomes:
        assert one.started_at
        assert one.finished_at >= one.started_at
        assert one.seconds > 0
        assert one.peak_rss_mb > 0


@pytest.mark.parametrize("registry", KINDS, indirect=True)
def test_a_log_is_kept_on_any_storage_and_goes_on_where_it_was(registry: Storage) -> None:
    first = EventLog(registry, RUN)
    first.run_began("train", planned=3, settled=0)
    for number in range(900):
        first.task_ended(outcome(number))
    first.close()
    again = EventLog(registry, RUN)
    again.run_ended("finished")
    again.close()
    events = events_of(registry)
    assert [one["symbol"] for one in named(events, "task_ended")] == [f"S{number:05d}" for number in range(900)]
    assert [events[0]["event"], events[-1]["event"]] == ["run_began", "run_ended"]
    sizes = [registry.sizes("runs")[path] for path in event_files(registry, RUN)]
    assert len(sizes) > 1 or registry.appends
    assert registry.appends or max(sizes) < 1.1 * PART_BYTES


def test_what_waits_for_an_object_store_is_written_after_some_time(
    memory: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.registry.events.WRITE_AFTER_S", 0.01)
    log = EventLog(memory, RUN)
    log.run_began("train", planned=1, settled=0)
    deadline = time.monotonic() + 10
    while not events_of(memory) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert [one["event"] for one in events_of(memory)] == ["run_began"]
    log.close()


@pytest.mark.parametrize("symbol", HOSTILE)
def test_names_of_any_kind_make_one_line_each(tmp_path: Path, symbol: str) -> None:
    registry = Storage(str(tmp_path))
    log = EventLog(registry, RUN)
    error = {"type": "DataError", "message": f"{symbol}\r\n{symbol}", "where": "here"}
    log.task_ended(replace(failed(Key("x", symbol, "1h", "analyst"), error), started_at=AT, finished_at=AT))
    log.close()
    data = registry.read(events_path(RUN))
    assert data.count(b"\n") == len(data.splitlines()) == 2
    assert data.isascii()
    assert [one["symbol"] for one in events_of(registry)] == [symbol] * 2
    (ended,) = named(events_of(registry), "task_ended")
    assert len(ended["error"]["message"]) <= 300


class Discarding(Storage):
    """Counts what is written, and keeps none of it; `appends` as the test wants."""

    def __init__(self, *, appends: bool) -> None:
        super().__init__("memory://discarding")
        self._can_append = appends
        self.written = 0

    @property
    def appends(self) -> bool:
        return self._can_append

    def append(self, path: str, data: bytes) -> None:  # noqa: ARG002 - as the class above
        self.written += len(data)

    replace = append


@pytest.mark.parametrize("outcomes", [10_000, pytest.param(50_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("appends", [True, False], ids=["a local disk", "an object store"])
def test_many_outcomes_take_no_memory(appends: bool, outcomes: int) -> None:
    registry = Discarding(appends=appends)
    log = EventLog(registry, RUN)
    tracemalloc.start()
    try:
        for number in range(1_000):
            log.task_ended(outcome(number))
        tracemalloc.reset_peak()
        for number in range(outcomes):
            log.task_ended(outcome(number))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        log.close()
    assert peak < 8 * PART_BYTES
    assert registry.written < (1_000 + outcomes) * 700, "each line is written once, also in parts that come fast"


class Broken(Discarding):
    """An object store or a disk that takes nothing."""

    full = True

    def append(self, path: str, data: bytes) -> None:
        if self.full:
            raise RegistryError("no space left")
        super().append(path, data)

    replace = append


@pytest.mark.parametrize("appends", [True, False])
def test_a_log_that_cannot_be_written_costs_nothing(
    appends: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Broken(appends=appends)
    log = EventLog(registry, RUN)
    with caplog.at_level(logging.INFO, "job"):
        for number in range(2_000):
            log.task_ended(outcome(number))
        log.close()
    assert [one.getMessage() for one in caplog.records] == ["the event log cannot be written: no space left"]
    assert len(log._pending) <= 1.1 * PART_BYTES
    monkeypatch.setattr("job.registry.events.TRY_AGAIN_S", 0.0)
    registry.full = False
    lost = log._lost
    log.flush()
    log.close()
    assert log._lost == 0 < lost
    assert registry.written > 0.9 * PART_BYTES


def test_a_line_that_is_cut_or_none_is_left_out(memory: Storage) -> None:
    memory.create(events_path(RUN), b'{"event": "run_began"}\n[1]\nnull\n{"event": "run_en')
    assert events_of(memory) == [{"event": "run_began"}]
    assert events_of(memory, "20240101_000000_00000b") == []


def test_the_log_of_a_dead_run_is_closed_by_the_next_one(memory: Storage) -> None:
    memory.create(open_marker(RUN), b"")
    log = EventLog(memory, RUN)
    log.run_began("train", planned=3, settled=0)
    log.task_ended(outcome(1))
    log.close()
    for one in (outcome(1).key, outcome(2).key):
        record_attempt(memory, RUN, 1, Attempt.of_this_process(one, "training"))
    sweep(memory, "20240102_000000_00000b", open_runs(memory, lease_s=1))
    events = events_of(memory)
    began = [one for one in named(events, "task_began") if "step" in one]
    assert [(one["symbol"], one["step"]) for one in began] == [("S00002", "training")]
    assert events[-1]["event"] == "run_ended"
    assert (events[-1]["status"], len(named(events, "run_ended"))) == ("aborted", 1)


@pytest.mark.slow
@pytest.mark.alone
def test_a_killed_run_leaves_what_happened_until_then(tmp_path: Path) -> None:
    bars, models = tmp_path / "bars", tmp_path / "models"
    write_world(bars, symbols=2, days=4, seed=3, world="signal")
    registry = Storage(str(models))
    with launched(bars, models) as run:
        assert becomes(lambda: stage_of(models) >= 5 or not run.running, LONGEST_RUN_S)
        run.process.kill()
        run.process.wait()
        (marker,) = [path for path in registry.list("runs") if path.endswith(".open")]
        run_id = marker.removeprefix("runs/").removesuffix(".open")
        events = events_of(registry, run_id)
        run.kill_all()
    ended = named(events, "task_ended")
    assert events[0]["event"] == "run_began"
    assert not named(events, "run_ended")
    assert 0 < len(ended) < events[0]["planned"]
    assert {one["status"] for one in ended} == {"trained"}
    with launched(bars, models) as rerun:
        rerun.finish()
    closed = events_of(registry, run_id)
    assert closed[: len(events)] == events
    assert (closed[-1]["event"], closed[-1]["status"]) == ("run_ended", "aborted")
    (later,) = {path for path in registry.list("runs") if path.endswith(".events.jsonl")} - {events_path(run_id)}
    check(events_of(registry, later.removeprefix("runs/").removesuffix(".events.jsonl")))
