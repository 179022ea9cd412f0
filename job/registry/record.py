"""The run record: what a run was asked, and what became of every task."""

from array import array
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, Literal

from job.config.settings import Config
from job.core.errors import DataError, JobError, RegistryError
from job.core.log_fields import set_run
from job.core.wording import once_per_kind
from job.registry.metrics import process_metrics
from job.registry.outcome import Status
from job.registry.spool import Outcomes, OutcomeT, Spool

RunStatus = Literal["running", "finished", "interrupted", "aborted"]
INTERRUPTED: Final = 130
SAME_FOR_ALL: Final = {kind.__name__: kind.exit_status for kind in (DataError, RegistryError)}
"""Errors that decide the exit status where every task fails by the same one."""


class RunRecord(Generic[OutcomeT]):
    """The record of one run, whatever the operation.

    Args:
        run_id: of the run.
        config: its settings.
        operation: what it does, such as `train`.
        planned: how many tasks there are, those included that need not be done.
        statuses: of outcomes, in the order in which they are counted.
        about: what else the record says of the run, by name.
        spool: where to keep the outcomes as far as their `record` goes; by default they are kept in memory, whole.
    """

    def __init__(
        self,
        run_id: str,
        config: Config,
        *,
        operation: str,
        planned: int,
        statuses: tuple[Status, ...],
        about: Mapping[str, Any] | None = None,
        spool: Spool[OutcomeT] | None = None,
    ) -> None:
        set_run(run_id)
        self.run_id = run_id
        self.config = config
        self.operation = operation
        self.planned = planned
        self.status: RunStatus = "running"
        self.reason: str | None = None
        self.outcomes: Outcomes[OutcomeT] = [] if spool is None else spool
        self.by_status = Counter[str]()
        self.retried = 0
        """How many outcomes took more than one attempt."""
        self.problems: list[JobError] = []
        self.notes: tuple[str, ...] = ()
        self.cluster: dict[str, int] = {"nodes": 0, "cpus": 0}
        self.about = dict(about or {})
        self._statuses = statuses
        self._failed = array("Q")
        self._errors = Counter[str]()
        self._warnings: set[str] = set()
        self._started = datetime.now(UTC)
        self._finished: datetime | None = None
        self._metrics = process_metrics()
        if config.metrics.textfile is not None:
            self._metrics.textfile = Path(config.metrics.textfile).expanduser().absolute()
        self._metrics.run_began(operation, planned=planned)

    def add(self, outcome: OutcomeT) -> OutcomeT:
        """Take an outcome and return it as it is kept."""
        if outcome.status == "failed":
            self._failed.append(len(self.outcomes))
        self.outcomes.append(outcome)
        self.by_status[outcome.status] += 1
        self._errors.update([outcome.error["type"]] if outcome.error else [])
        self._warnings.update(outcome.warnings)
        self.retried += outcome.attempts > 1
        self._metrics.task_ended(self.operation, outcome, left=self.left)
        return outcome

    @property
    def failures(self) -> list[OutcomeT]:
        """The outcomes that failed; `by_status` says how many without making them again."""
        return [outcome for number in self._failed for outcome in self.outcomes[number : number + 1]]

    @property
    def left(self) -> int:
        """How many tasks have not ended."""
        return self.planned - len(self.outcomes)

    def finish(self, status: RunStatus, reason: str | None = None) -> None:
        """Say how the run ended."""
        self.status, self.reason, self._finished = status, reason, datetime.now(UTC)
        self._metrics.run_ended(self.operation, left=self.left)

    @property
    def counts(self) -> dict[str, int]:
        """Outcomes by status; a file that cannot be read counts as a failure."""
        return {
            **{status: self.by_status[status] for status in self._statuses},
            "failed": self.by_status["failed"] + len(self.problems),
            "not_run": self.left,
        }

    @property
    def exit_status(self) -> int:
        """0 all done or current, 1 some failed, 130 interrupted; where all failed for one kind of reason, 2 or 3."""
        if self.status == "interrupted":
            return INTERRUPTED
        failed = self.by_status["failed"]
        if not failed and not self.problems and not self.counts["not_run"]:
            return 0
        if failed == self.planned and len(self._errors) == 1:
            (kind,) = self._errors
            return SAME_FOR_ALL.get(kind, JobError.exit_status)
        return JobError.exit_status

    def warnings(self) -> set[str]:
        """Return what the outcomes warn of, each once."""
        return self._warnings

    def as_dict(self, *, first: int = 0) -> dict[str, Any]:
        """Return the record as JSON values, with the outcomes from number `first` on."""
        return {
            "run_id": self.run_id,
            "operation": self.operation,
            "status": self.status,
            "reason": self.reason,
            "started_at": self._started.isoformat(timespec="seconds"),
            "finished_at": self._finished.isoformat(timespec="seconds") if self._finished else None,
            **self.about,
            "config": self.config.masked(),
            "cluster": self.cluster,
            "counts": self.counts,
            "problems": [
                *({"type": type(problem).__name__, "message": str(problem)} for problem in self.problems),
                *({"type": "Note", "message": note} for note in (*self.notes, *once_per_kind(self.warnings()))),
            ],
            "outcomes": [outcome.record() for outcome in self.outcomes[first:]],
        }
