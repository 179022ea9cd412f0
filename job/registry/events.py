"""The event log of a run: what happened, a line of JSON each, added as the driver hears of it and never rewritten.

    runs/<run id>.events.jsonl        the log; on object stores, which cannot append, its first part
    runs/<run id>/events-00001.jsonl  the parts after it

A line has the `time` at which it happened (UTC, ISO 8601 to the ms) and the `event`: `run_began`, `task_began`,
`task_retried`, `task_ended`, `run_ended`; `events_lost` counts those that could not be written. Those of tasks have the
fields of the key. A log without its last line is of a run that was killed; the next run that writes to the registry
adds what the dead one's workers had begun.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

from job.core.clock import now
from job.core.delayed import Delayed
from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.attempts import Attempt, read_attempts
from job.registry.leases import this_host
from job.registry.outcome import Outcome
from job.registry.runs import events_path
from job.storage.files import MissingFileError, Storage

SCHEMA: Final = 1
PART_BYTES: Final = 2**17
"""On object stores a part is begun after so many bytes: it is written whole each time that it grows."""
WRITE_AFTER_S: Final = 10.0
"""How long lines may wait on the way to an object store."""
TRY_AGAIN_S: Final = 30.0
MOST_BYTES: Final = 2**26
MOST_TEXT: Final = 300
MEASURED: Final = ("node", "pid", "rows", "seconds", "cpu_seconds", "peak_rss_mb", "bytes")

log = logging.getLogger("job")


class EventLog:
    """The log of one run, from any thread; what it holds in memory does not grow with the number of events.

    A log that cannot be written costs the run nothing: it is said once, tried again, and of events
    that do not fit into a part meanwhile only the number is kept. A run goes on with a log that is there.

    Args:
        registry: where to.
        run_id: of the run.
    """

    def __init__(self, registry: Storage, run_id: str) -> None:
        self._registry = registry
        self._run_id = run_id
        self._part = 0
        self._written = b""
        """What the part on the object store holds; a local file is appended to."""
        self._pending = bytearray()
        self._lost = 0
        self._lock = threading.RLock()
        self._failed_at: float | None = None
        self._later = Delayed(self.flush, WRITE_AFTER_S)
        if not registry.appends:
            self._part = len(event_files(registry, run_id))

    def run_began(self, operation: str, *, planned: int, settled: int) -> None:
        """Note that a run begins with its tasks: of `planned` ones, `settled` need not be done."""
        about = {"operation": operation, "planned": planned, "settled": settled}
        process = {"host": this_host(), "pid": os.getpid()}
        self._add(now(), "run_began", {"schema_version": SCHEMA, "run_id": self._run_id, **about, **process})

    def task_ended(self, outcome: Outcome) -> None:
        """Note from when to when a task was worked at, and what became of it."""
        attempt = {"attempt": outcome.attempts}
        if outcome.started_at:
            where = {"node": outcome.node, "pid": outcome.pid}
            self._add(outcome.started_at, "task_began", {**asdict(outcome.key), **where, **attempt}, more=True)
        found = {name: getattr(outcome, name) for name in MEASURED}
        own = {name: value for name in outcome.logged if (value := getattr(outcome, name)) is not None}
        told = {**attempt, "status": outcome.status, "version": outcome.version, **found, **own}
        error = _error(outcome.error)
        began = {"started_at": outcome.started_at} if outcome.started_at else {}
        self._add(outcome.finished_at or now(), "task_ended", {**asdict(outcome.key), **began, **told, **error})

    def task_retried(self, key: Key, note: Attempt | None, error: Mapping[str, str], *, attempt: int) -> None:
        """Note that a worker died at a task, which is tried again; `note` is what it had left."""
        where = {} if note is None else {"node": note.node, "pid": note.pid}
        told = {**asdict(key), **where, "attempt": attempt}
        if note is not None:
            self.task_begun(note, attempt=attempt, more=True)
            told = {**told, "started_at": note.started_at, "step": note.step}
        self._add(now(), "task_retried", {**told, **_error(error)})

    def task_begun(self, note: Attempt, *, more: bool = False, **rest: Any) -> None:
        """Note what a worker had begun that died, by the note that it left."""
        told = {**asdict(Key(*note.key)), "node": note.node, "pid": note.pid, **rest}
        self._add(note.started_at, "task_began", told, more=more)

    def run_ended(self, status: str, reason: str | None = None, **rest: Any) -> None:
        """Note that a run is done with its tasks."""
        self._add(now(), "run_ended", {"status": status, "reason": reason and _cut(reason), **rest})

    def flush(self) -> None:
        """Write what waits; a failure is logged once, and what waits is kept as far as it fits."""
        with self._lock:
            waits = self._failed_at is not None and time.monotonic() < self._failed_at + TRY_AGAIN_S
            if not self._pending or waits:
                return
            try:
                self._write()
            except RegistryError as error:
                if self._failed_at is None:
                    log.info("the event log cannot be written: %s", error)
                self._failed_at = time.monotonic()
                return
            self._failed_at = None
            self._pending.clear()
            lost, self._lost = self._lost, 0
        if lost:
            self._add(now(), "events_lost", {"events": lost})

    def close(self) -> None:
        """Write what waits, and wait no longer."""
        self._later.close()
        self.flush()

    def _add(self, at: str, event: str, fields: Mapping[str, Any], *, more: bool = False) -> None:
        """Add a line; with `more` it waits for the one that follows at once."""
        line = json.dumps({"time": at, "event": event, **fields}, separators=(",", ":"), allow_nan=False)
        with self._lock:
            if len(self._pending) >= PART_BYTES:  # they could not be written
                self._lost += 1
                self.flush()
                return
            self._pending += line.encode() + b"\n"
            if more:
                return
            if self._registry.appends or len(self._written) + len(self._pending) >= PART_BYTES:
                self.flush()
            else:
                self._later.ask()

    def _write(self) -> None:
        if self._registry.appends:
            self._registry.append(events_path(self._run_id), bytes(self._pending))
            return
        whole = self._written + self._pending
        self._registry.replace(events_path(self._run_id, self._part), whole)
        full = len(whole) >= PART_BYTES
        self._part, self._written = (self._part + 1, b"") if full else (self._part, whole)


def close_dead(registry: Storage, run_id: str, *, reason: str) -> None:
    """Add to the log of a dead run what its workers had begun and not ended, and that it is over; nothing without one.

    Raises:
        RegistryError: the log or the workers' notes cannot be read.
    """
    known, over = set[Key](), True
    for event in read_events(registry, run_id):
        over = event.get("event") == "run_ended"
        if event.get("event") == "task_ended":
            known.add(Key(*(str(event.get(name)) for name in Key.__dataclass_fields__)))
    if over:
        return
    log_of_run = EventLog(registry, run_id)
    for key, note in read_attempts(registry, run_id).items():
        if key not in known:
            log_of_run.task_begun(note, step=note.step)
    log_of_run.run_ended("aborted", reason)
    log_of_run.close()


def event_files(registry: Storage, run_id: str) -> list[str]:
    """Return the files of a run's log in the order of their lines, none if it has none."""
    if not registry.exists(events_path(run_id)):
        return []
    parts = [events_path(run_id, 0)]
    listed = frozenset(registry.list(f"runs/{run_id}")) if not registry.appends else frozenset()
    while (following := events_path(run_id, len(parts))) in listed:
        parts.append(following)
    return parts


def read_events(registry: Storage, run_id: str, *, most_bytes: int = MOST_BYTES) -> Iterator[dict[str, Any]]:
    """Yield the events of a run in the order of the log; lines that are none, as a last one that was cut, are left out.

    Of each file of the log so many bytes are read.

    Raises:
        RegistryError: the log cannot be read.
    """
    for path in event_files(registry, run_id):
        try:
            data = registry.look_into(path, lambda file: file.read(most_bytes))
        except MissingFileError:
            continue
        for line in data.splitlines():
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                yield event


def _error(error: Mapping[str, str] | None) -> dict[str, Any]:
    return {} if error is None else {"error": {name: _cut(error.get(name, "")) for name in ("type", "message")}}


def _cut(text: str) -> str:
    return " ".join(text.split())[:MOST_TEXT]
