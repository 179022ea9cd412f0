"""What dead runs left behind: found by their leases, swept once nobody writes it any more."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from job.registry.leases import Lease
from job.registry.runs import attempts_folder, open_marker, record_path
from job.registry.versions import listed_versions
from job.storage.files import MissingFileError, Storage

log = logging.getLogger("job")

MARKER = ".open"
UNKNOWN_S = 86_400.0
"""How long files of a run without a record are left alone, such as those of a model trained on samples of one's own."""


@dataclass(frozen=True)
class OtherRun:
    """Another run whose record is not closed; a dead one may have a lease that has not yet expired."""

    run_id: str
    live: bool
    expires_at: datetime


def other_runs(registry: Storage, own: str, *, lease_s: float) -> list[OtherRun]:
    """Return the runs that have begun and not ended, oldest first; log those that are alive."""
    runs = [one for one in open_runs(registry, lease_s=lease_s) if one.run_id != own]
    for run in runs:
        if run.live:
            log.warning("run %s is writing to %s, too: both will commit what they train", run.run_id, registry.url)
    return runs


def open_runs(registry: Storage, *, lease_s: float) -> list[OtherRun]:
    """Return all runs that have begun and not ended, oldest first."""
    marked = [path for path in registry.list("runs") if path.endswith(MARKER)]
    return [_other_run(registry, path.removeprefix("runs/").removesuffix(MARKER), lease_s) for path in marked]


def sweep(registry: Storage, own: str, others: Iterable[OtherRun], *, at_end: bool = False) -> int:
    """Delete what dead runs left half written, close their records, and return the number of files deleted.

    Files are left alone whose run is alive or is this one (unless `at_end`, when its workers are gone), and for a day
    those of runs that no record tells of. A run's marker goes once its lease has expired: until then, workers that
    outlive their driver by seconds may still write.
    """
    others = list(others)
    spared = {run.run_id for run in others if run.live} | (set() if at_end else {own})
    dead = {run.run_id for run in others if not run.live} | ({own} if at_end else set())
    left = _left_behind(registry, dead, spared)
    for path in left:
        registry.remove(path)
    for run in others:
        if not run.live:
            _close(registry, run)
    return len(left)


def _other_run(registry: Storage, run_id: str, lease_s: float) -> OtherRun:
    now = datetime.now(UTC)
    try:
        record = json.loads(registry.read(record_path(run_id)))
        if record["status"] != "running":  # it ended between its last words and its marker; its workers may still write
            ended = datetime.fromisoformat(record["finished_at"])
            return OtherRun(run_id, live=False, expires_at=ended + timedelta(seconds=lease_s))
        lease = Lease.from_record(record["lease"])
    except (MissingFileError, ValueError, LookupError, TypeError):  # it died before, or while, it wrote its record
        assumed = _began(run_id) + timedelta(seconds=lease_s)
        return OtherRun(run_id, live=now < assumed, expires_at=assumed)
    return OtherRun(run_id, live=lease.live(now), expires_at=lease.expires_at)


def _left_behind(registry: Storage, dead: set[str], spared: set[str]) -> list[str]:
    """Return the unfinished files and the parts of uncommitted versions that nobody will complete."""
    unfinished = [(run_id, path) for path, run_id in registry.unfinished().items()]
    torn = [one for one in listed_versions(registry.list()) if not one.committed]
    parts = [(one.run_id, path) for one in torn for path in sorted(one.files.values())]
    long_ago = datetime.now(UTC) - timedelta(seconds=UNKNOWN_S)
    return [
        path
        for run_id, path in unfinished + parts
        if run_id in dead or (run_id not in spared and _began(run_id) < long_ago)
    ]


def _began(run_id: str) -> datetime:
    """Return when a run began, by the name that it gave itself."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d_%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.now(UTC)


def _close(registry: Storage, run: OtherRun) -> None:
    """Write into a dead run's record that it ended, and remove its notes; its marker, too, if its lease has expired."""
    registry.remove_folder(attempts_folder(run.run_id))
    try:
        record = json.loads(registry.read(record_path(run.run_id)))
        if record["status"] == "running":
            closed = {**record, "status": "aborted", "reason": "its process ended without closing the record"}
            registry.replace(record_path(run.run_id), json.dumps(closed, indent=1).encode())
    except (MissingFileError, ValueError, LookupError, TypeError) as error:
        log.warning("the record of run %s cannot be read (%s)", run.run_id, error)
    if datetime.now(UTC) >= run.expires_at:
        registry.remove(open_marker(run.run_id))
