"""The record of a run that is kept in the registry while it runs, with a lease by which others see that it lives."""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from job.config.settings import Config
from job.core.errors import JobError, RegistryError
from job.registry.catalog import Summary, write_catalog
from job.registry.leases import Lease
from job.registry.outcome import Status
from job.registry.record import RunRecord, RunStatus
from job.registry.runs import open_marker, record_path
from job.registry.spool import OutcomeT, Spool
from job.storage.files import Storage

SAVE_EVERY_S: Final = 30.0
OUTCOMES_PER_FILE: Final = 1_000
CATALOG_GROWTH: Final = 0.1
"""By what share of what a run has added the catalog may lag behind while it goes on."""

log = logging.getLogger("job")


class KeptRecord(RunRecord[OutcomeT]):
    """The record of one run, kept in the registry.

    Between `open` and `finish` a thread keeps it, its lease and the catalog up to date. Its outcomes, of the class
    `kind`, are spooled: what memory holds of them does not grow with their number, but for warnings.
    """

    def __init__(
        self,
        run_id: str,
        config: Config,
        registry: Storage,
        *,
        operation: str,
        planned: int,
        statuses: tuple[Status, ...],
        kind: type[OutcomeT],
        about: Mapping[str, Any] | None = None,
    ) -> None:
        about = {"output": registry.url, **(about or {})}
        self._spool = Spool(kind)
        super().__init__(
            run_id, config, operation=operation, planned=planned, statuses=statuses, about=about, spool=self._spool
        )
        self._registry = registry
        self._files: list[str] = []
        self._summaries: list[Summary] = []
        """Of versions that the catalog lacks."""
        self._catalogued = 0
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

    @contextmanager
    def kept(self, conclude: Callable[[], None]) -> Iterator[None]:
        """Keep the record while a run goes on, then `conclude` and close it, whatever ended the run.

        Ctrl-C and SIGTERM end it as `interrupted`, a JobError as `aborted`, for its reason.

        Raises:
            RegistryError: as `open`.
        """
        self.open()
        status: RunStatus = "aborted"
        reason: str | None = None
        try:
            yield
            status, reason = ("finished", None) if self.status == "running" else (self.status, self.reason)
        except KeyboardInterrupt:
            status = "interrupted"
        except JobError as error:
            reason = str(error)
            raise
        finally:
            try:
                conclude()
            finally:
                self.finish(status, reason)
            self.close()

    def add(self, outcome: OutcomeT) -> OutcomeT:
        """Take an outcome and return it as it is kept."""
        with self._lock:
            self.add_to_catalog([outcome.summary] if outcome.summary else [])
            return super().add(outcome)

    def add_to_catalog(self, summaries: Iterable[Summary]) -> None:
        """Take summaries that the catalog may lack: it is written by who holds the lock, so that none is lost."""
        with self._lock:
            self._summaries += summaries

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
            part = slice(number * OUTCOMES_PER_FILE, (number + 1) * OUTCOMES_PER_FILE)
            self._registry.create(path, self._spool.lines(part))
            self._files.append(path)
        record = self.as_dict(first=len(self._files) * OUTCOMES_PER_FILE)
        if self.status == "running":
            record["lease"] = Lease.of_this_process(self.config.storage.lease_s).record()
        self._registry.replace(record_path(self.run_id), json.dumps(record, indent=1).encode())
        # It is read and written whole: as it grows, less often. What a killed run leaves out, the next one reads.
        if self.status != "running" or len(self._summaries) >= CATALOG_GROWTH * self._catalogued:
            write_catalog(self._registry, self._summaries)
            self._catalogued += len(self._summaries)
            self._summaries.clear()

    def as_dict(self, *, first: int = 0) -> dict[str, Any]:
        """Return the record as JSON values, with the files that hold the outcomes before number `first`."""
        return {**super().as_dict(first=first), "outcome_files": self._files}
