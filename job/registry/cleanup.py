"""What dead runs left behind: found by their leases, swept once nobody writes it any more."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from job.registry.events import close_dead
from job.registry.leases import Lease
from job.registry.names import listed_versions
from job.registry.runs import attempts_folder, open_marker, record_path
from job.storage.files import MissingFileError, Storage

log = logging.getLogger("job")

MARKER = ".open"
UNKNOWN_S = 86_400.0
"""How long files of a run without a record are kept, such as those of a model trained on the caller's samples."""


@dataclass(frozen=True)
class OtherRun:
    """A run whose record is not closed; a dead one may have a lease that has not yet expired."""

    run_id: str
    live: bool
    expires_at: datetime


def open_runs(registry: Storage, *, lease_s: float) -> list[OtherRun]:
    """Return all runs that have begun and not ended, oldest first."""
    now, lasts = datetime.now(UTC), timedelta(seconds=lease_s)
    found: list[OtherRun] = []
    for path in registry.list("runs"):
        if not path.endswith(MARKER):
            continue
        run_id = path.removeprefix("runs/").removesuffix(MARKER)
        try:
            record = json.loads(registry.read(record_path(run_id)))
            if record["status"] == "running":
                lease = Lease.from_record(record["lease"])
                live, expires_at = lease.live(now), lease.expires_at
            else:  # it ended before it removed its marker; its workers may still write
                live, expires_at = False, datetime.fromisoformat(record["finished_at"]) + lasts
        except (MissingFileError, ValueError, LookupError, TypeError):  # it died before, or while, it wrote its record
            expires_at = _began(run_id) + lasts
            live = now < expires_at
        found.append(OtherRun(run_id, live, expires_at))
    return found


def sweep(registry: Storage, own: str, others: Iterable[OtherRun], *, at_end: bool = False) -> int:
    """Delete what dead runs left half written, close their records, and return the number of files deleted.

    Left half written are unfinished files, and the parts of versions that were not committed. Those of live runs and
    of this one are kept (of this one until `at_end`, when its workers are gone), and for a day those of runs without a
    record. A run's marker goes once its lease has expired: until then, workers that outlive their driver by seconds
    may still write.
    """
    others = list(others)
    kept = {run.run_id for run in others if run.live} | (set() if at_end else {own})
    dead = {run.run_id for run in others if not run.live} | ({own} if at_end else set())
    unfinished = [(run_id, path) for path, run_id in registry.unfinished().items()]
    uncommitted = [one for one in listed_versions(registry.list()) if not one.committed]
    parts = [(one.run_id, path) for one in uncommitted for path in sorted(one.files.values())]
    long_ago = datetime.now(UTC) - timedelta(seconds=UNKNOWN_S)
    left = [
        path
        for run_id, path in unfinished + parts
        if run_id in dead or (run_id not in kept and _began(run_id) < long_ago)
    ]
    for path in left:
        registry.remove(path)
    for run in others:
        if not run.live:
            _close(registry, run)
    return len(left)


def _began(run_id: str) -> datetime:
    """Return when a run began, by its id; now, if the id does not say."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)


def _close(registry: Storage, run: OtherRun) -> None:
    """Write into a dead run's record that it ended, remove its notes, and its marker if its lease has expired."""
    reason = "its process ended without closing the record"
    try:
        close_dead(registry, run.run_id, reason=reason)
    except (ValueError, LookupError, TypeError) as error:
        log.warning("the notes of run %s cannot be read (%s)", run.run_id, error)
    registry.remove_folder(attempts_folder(run.run_id))
    try:
        record = json.loads(registry.read(record_path(run.run_id)))
        if record["status"] == "running":
            closed = {**record, "status": "aborted", "reason": reason}
            registry.replace(record_path(run.run_id), json.dumps(closed, indent=1).encode())
    except (MissingFileError, ValueError, LookupError, TypeError) as error:
        log.warning("the record of run %s cannot be read (%s)", run.run_id, error)
    if datetime.now(UTC) >= run.expires_at:
        registry.remove(open_marker(run.run_id))
