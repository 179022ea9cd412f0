"""The run record: what a run was asked, what became of every task, kept in the registry while it runs."""

import json
import logging
import math
import threading
from dataclasses import dataclass, field, replace
from typing import Any, Final

from job.config.settings import Config
from job.core.errors import RegistryError
from job.core.keys import kind_order
from job.learning.fleet import LogLossDelta, add_log_loss_delta, fleet_of_one, fleet_test, p_of_interval
from job.registry.catalog import write_catalog
from job.registry.leases import Lease
from job.registry.outcome import Outcome
from job.registry.record import RunRecord, RunStatus
from job.registry.runs import open_marker, record_path
from job.storage.files import Storage

SAVE_EVERY_S: Final = 30.0
OUTCOMES_PER_FILE: Final = 1_000

log = logging.getLogger("job")


@dataclass
class Fleet:
    """The trained models of one kind and timeframe, added up: what each adds does not grow with their number."""

    model_type: str
    timeframe: str
    models: int = 0
    beat_base: int = 0
    log_loss_delta: LogLossDelta = field(default_factory=dict)
    last: Outcome | None = None
    """The model that was added last: all there is to a fleet of one."""

    def add(self, outcome: Outcome) -> None:
        """Count one trained model."""
        self.models += 1
        self.beat_base += (outcome.scores["skill"] or 0.0) > 0
        self.last = outcome
        add_log_loss_delta(self.log_loss_delta, outcome.log_loss_delta)

    def scores(self) -> dict[str, Any]:
        """Return how many models beat their base rate, and the clustered test.

        Symbols move together, so a count of winners alone overstates the evidence. A single model has the test of its
        own interval, which it never contradicts.
        """
        found = fleet_test([self.log_loss_delta])
        if self.models == 1 and self.last is not None and self.last.blocks:
            saved, low, high = (self.last.scores[f"skill{end}"] for end in ("", "_low", "_high"))
            p = p_of_interval(saved or 0.0, low, high, self.last.blocks)
            found = fleet_of_one(found.mean, p, self.last.blocks)
        return {
            "model_type": self.model_type,
            "timeframe": self.timeframe,
            "models": self.models,
            "beat_base": self.beat_base,
            "change": None if math.isnan(found.mean) else found.mean,
            **found.record(),
        }


class TrainingRecord(RunRecord[Outcome]):
    """The record of one training run, kept in the registry.

    Between `open` and `finish` a thread keeps it, its lease and the catalog up to date.
    """

    def __init__(self, run_id: str, config: Config, registry: Storage, *, planned: int) -> None:
        super().__init__(
            run_id,
            config,
            planned=planned,
            statuses=("trained", "current", "failed"),
            about={"output": registry.url},
        )
        self._registry = registry
        self._fleets: dict[tuple[str, str], Fleet] = {}
        self._files: list[str] = []
        self._listed = 0
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="run record", daemon=True)

    def open(self) -> None:
        """Write the record for the first time, with its lease, and keep it up to date from now on.

        The marker comes before all else, so that whatever a killed run leaves behind is known to be its own.

        Raises:
            RegistryError: the registry cannot be written, or not by two runs.
        """
        self._registry.create(open_marker(self.run_id), b"")
        try:
            self._registry.check_writable()
        except RegistryError:
            self.close()
            raise
        self.save()
        self._keeper.start()

    def add(self, outcome: Outcome) -> Outcome:
        """Take an outcome and return it as it is kept.

        Its `log_loss_delta` is added to its fleet's and dropped, since it has an entry for every hour of the holdout.
        """
        with self._lock:
            if outcome.status == "trained":
                kind = (outcome.model_type, outcome.timeframe)
                self._fleets.setdefault(kind, Fleet(*kind)).add(outcome)
            return super().add(replace(outcome, log_loss_delta={}))

    def finish(self, status: RunStatus, reason: str | None = None) -> None:
        """Write the record for the last time; once more, where something was added since."""
        self._closing.set()
        with self._lock:
            super().finish(status, reason)
            self.save()

    def close(self) -> None:
        """Remove the run's marker: it has left nothing that another run would have to sweep."""
        self._registry.remove(open_marker(self.run_id))

    def _keep(self) -> None:
        """Save until the record is closed, so often that its lease never expires; a registry that fails may recover."""
        while not self._closing.wait(min(SAVE_EVERY_S, self.config.storage.lease_s / 3)):
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
            self._registry.create(path, "".join(json.dumps(one.record()) + "\n" for one in part).encode())
            self._files.append(path)
        record = self.as_dict(first=len(self._files) * OUTCOMES_PER_FILE)
        if self.status == "running":
            record["lease"] = Lease.of_this_process(self.config.storage.lease_s).record()
        self._registry.replace(record_path(self.run_id), json.dumps(record, indent=1).encode())
        if new := [one.summary for one in self.outcomes[self._listed :] if one.summary]:
            write_catalog(self._registry, new)
        self._listed = len(self.outcomes)

    @property
    def counts(self) -> dict[str, int]:
        """Outcomes by status; `current_not_latest` are current ones that a later version hides."""
        hidden = sum(outcome.status == "current" and bool(outcome.warnings) for outcome in self.outcomes)
        return {**super().counts, "current_not_latest": hidden}

    def as_dict(self, *, first: int = 0) -> dict[str, Any]:
        """Return the record as JSON values, with what the fleet of each kind scores."""
        fleet = [fleet.scores() for fleet in sorted(self._fleets.values(), key=kind_order)]
        return {**super().as_dict(first=first), "fleet": fleet, "outcome_files": self._files}
