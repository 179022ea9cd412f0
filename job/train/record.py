"""The run record: what a run was asked, what became of every task, kept in the registry while it runs."""

import json
import logging
import math
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from job.config.settings import Config
from job.core.errors import DataError, JobError, RegistryError
from job.core.keys import kind_order
from job.learning.fleet import LogLossDelta, add_log_loss_delta, fleet_z
from job.registry.catalog import write_catalog
from job.registry.leases import Lease
from job.storage.files import Storage
from job.worker.outcome import Outcome

SAVE_EVERY_S: Final = 30.0
OUTCOMES_PER_FILE: Final = 1_000

log = logging.getLogger("job")

RunStatus = Literal["running", "finished", "interrupted", "aborted"]


@dataclass
class Fleet:
    """The trained models of one kind and timeframe, added up: what each adds does not grow with their number."""

    model_type: str
    timeframe: str
    models: int = 0
    beat_base: int = 0
    log_loss_delta: LogLossDelta = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one trained model."""
        self.models += 1
        self.beat_base += (outcome.scores["skill"] or 0.0) > 0
        add_log_loss_delta(self.log_loss_delta, outcome.log_loss_delta)

    def scores(self) -> dict[str, Any]:
        """Return how many models beat their base rate, and the clustered z.

        Symbols move together, so a count of winners alone overstates the evidence.
        """
        found = fleet_z([self.log_loss_delta])
        return {
            "model_type": self.model_type,
            "timeframe": self.timeframe,
            "models": self.models,
            "beat_base": self.beat_base,
            "change": None if math.isnan(found.mean) else found.mean,
            "z": None if math.isnan(found.z) else found.z,
            "clusters": found.clusters,
        }


class RunRecord:
    """The record of one run. Between `open` and `finish` a thread keeps it, its lease and the catalog up to date."""

    def __init__(self, run_id: str, config: Config, registry: Storage, *, planned: int) -> None:
        self.run_id = run_id
        self.status: RunStatus = "running"
        self.reason: str | None = None
        self.planned = planned
        self.outcomes: list[Outcome] = []
        self.failures: list[Outcome] = []
        self.problems: list[JobError] = []
        self.cluster: dict[str, int] = {"nodes": 0, "cpus": 0}
        self._config = config
        self._store = registry
        self._fleets: dict[tuple[str, str], Fleet] = {}
        self._started = datetime.now(UTC)
        self._finished: datetime | None = None
        self._files: list[str] = []
        self._listed = 0
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="run record", daemon=True)

    def open(self) -> None:
        """Write the record for the first time, with its lease, and keep it from now on.

        The marker comes before all else, so that whatever a run leaves that is killed is known to be its own.

        Raises:
            StoreError: the registry cannot be written, or not by two runs.
        """
        self._store.create(open_marker(self.run_id), b"")
        try:
            self._store.check_writable()
        except RegistryError:
            self.close()
            raise
        self.save()
        self._keeper.start()

    def add(self, outcome: Outcome) -> Outcome:
        """Take an outcome and return it as it is kept.

        Its `log_loss_delta` is added to its fleet's and dropped, since it has an entry for every hour of the holdout.
        """
        kept = replace(outcome, log_loss_delta={})
        with self._lock:
            if outcome.status == "trained":
                kind = (outcome.model_type, outcome.timeframe)
                self._fleets.setdefault(kind, Fleet(*kind)).add(outcome)
            if outcome.status == "failed":
                self.failures.append(kept)
            self.outcomes.append(kept)
        return kept

    def finish(self, status: RunStatus, reason: str | None = None) -> None:
        """Write the record for the last time; once more, where something was added since."""
        self._closing.set()
        with self._lock:
            self.status, self.reason, self._finished = status, reason, datetime.now(UTC)
            self.save()

    def close(self) -> None:
        """Let go of the run: nothing of it is left to be swept."""
        self._store.remove(open_marker(self.run_id))

    @property
    def disturbed(self) -> bool:
        """Whether a worker may have left something half written: it failed, died or was stopped."""
        return self.status != "running" or bool(self.failures) or any(one.attempts > 1 for one in self.outcomes)

    def _keep(self) -> None:
        """Save until the record is closed, so often that its lease never expires; a registry that fails may recover."""
        while not self._closing.wait(min(SAVE_EVERY_S, self._config.storage.lease_s / 3)):
            try:
                with self._lock:
                    if not self._closing.is_set():
                        self.save()
            except RegistryError as error:
                log.warning("the run record could not be saved, and is tried again: %s", error)

    def save(self) -> None:
        """Write record and catalog; outcomes past the first thousand go to numbered files, written once."""
        full = (len(self.outcomes) - 1) // OUTCOMES_PER_FILE
        for number in range(len(self._files), max(full, 0)):
            path = f"runs/{self.run_id}/outcomes-{number}.jsonl"
            part = self.outcomes[number * OUTCOMES_PER_FILE : (number + 1) * OUTCOMES_PER_FILE]
            self._store.create(path, "".join(json.dumps(one.record()) + "\n" for one in part).encode())
            self._files.append(path)
        record = self.as_dict(outcomes=self.outcomes[len(self._files) * OUTCOMES_PER_FILE :])
        if self.status == "running":
            record["lease"] = Lease.of_this_process(self._config.storage.lease_s).record()
        self._store.replace(record_path(self.run_id), json.dumps(record, indent=1).encode())
        if new := [one.summary for one in self.outcomes[self._listed :] if one.summary]:
            write_catalog(self._store, new)
        self._listed = len(self.outcomes)

    @property
    def counts(self) -> dict[str, int]:
        """Outcomes by status; a file that cannot be read counts as a failure."""
        statuses = [outcome.status for outcome in self.outcomes]
        counts = {status: statuses.count(status) for status in ("trained", "current", "failed")}
        counts["current_not_latest"] = sum(
            outcome.status == "current" and bool(outcome.warnings) for outcome in self.outcomes
        )
        counts["failed"] += len(self.problems)
        counts["not_run"] = self.planned - len(self.outcomes)
        return counts

    @property
    def exit_status(self) -> int:
        """0 all trained, 1 some failed, 3 nothing but unusable data, 130 interrupted."""
        if self.status == "interrupted":
            return 130
        if not self.failures and not self.problems and not self.counts["not_run"]:
            return 0
        unusable = all(
            outcome.error is not None and outcome.error["type"] == DataError.__name__ for outcome in self.failures
        )
        nothing = len(self.failures) == len(self.outcomes) == self.planned
        return DataError.exit_status if nothing and unusable else JobError.exit_status

    def as_dict(self, outcomes: list[Outcome] | None = None) -> dict[str, Any]:
        """Return the record as JSON values."""
        redact_url = self.outcomes if outcomes is None else outcomes
        return {
            "run_id": self.run_id,
            "status": self.status,
            "reason": self.reason,
            "started_at": self._started.isoformat(timespec="seconds"),
            "finished_at": self._finished.isoformat(timespec="seconds") if self._finished else None,
            "output": self._store.url,
            "config": self._config.masked(),
            "cluster": self.cluster,
            "counts": self.counts,
            "fleet": [fleet.scores() for fleet in sorted(self._fleets.values(), key=kind_order)],
            "problems": [{"type": type(problem).__name__, "message": str(problem)} for problem in self.problems],
            "outcome_files": self._files,
            "outcomes": [outcome.record() for outcome in redact_url],
        }


def record_path(run_id: str) -> str:
    """Return where the record of a run stands."""
    return f"runs/{run_id}.json"


def open_marker(run_id: str) -> str:
    """Return the empty file that is there while a run's record is not closed, so that a listing shows such runs."""
    return f"runs/{run_id}.open"
