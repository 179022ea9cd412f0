"""A round of watching: what is asked of it, and what came of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from job.cluster.warm import WarmRay
from job.compare.decisions import Action, Decision, carry_out
from job.config.settings import Config
from job.core.errors import ClusterError, JobError, RegistryError
from job.core.keys import Key
from job.learning.judging import Judged
from job.registry.outcome import Outcome
from job.registry.record import INTERRUPTED, RunRecord
from job.sources.series import Found
from job.storage.files import Storage

Progress = Callable[[int, str], AbstractContextManager[Callable[[Outcome], None]]]
"""Shows what becomes of so many tasks of a step."""
Status = Literal["finished", "failed", "interrupted", "idle"]


@contextmanager
def unseen(_total: int, _step: str) -> Iterator[Callable[[Outcome], None]]:
    """Show nothing."""
    yield lambda _outcome: None


@dataclass(frozen=True)
class Change:
    """What was decided about a version of a model, and why."""

    key: Key
    version: str
    action: Action
    reason: str


@dataclass
class Round:
    """A round that is going on, and what came of it.

    `problems` are those for which it is tried again, by stage; `failures` are those of single models and files, which
    new bars may mend. `changes` are those of aliases. `scored` are the models that were, `judged` is what is known of
    all, `drift` how far new rows of series are from training rows, where that is unusual. `decisions` is the digest of
    those on aliases by which it predicts.
    """

    config: Config
    registry: Storage
    run_id: str
    warm: WarmRay
    found: Found
    progress: Progress = unseen
    status: Status = "finished"
    counts: dict[str, int] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)
    scored: set[Key] = field(default_factory=set)
    judged: dict[Key, Judged] = field(default_factory=dict)
    drift: dict[Key, dict[str, Any]] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    problems: list[tuple[str, JobError]] = field(default_factory=list)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    decisions: str | None = None

    @property
    def exit_status(self) -> int:
        """0 all of it is done, 1 some of it failed, 130 interrupted; that of its problem where all failed by one."""
        if self.status == "interrupted":
            return INTERRUPTED
        if self.problems and not self.counts:
            return self.problems[0][1].exit_status
        return JobError.exit_status if self.problems or self.failures else 0

    def keep(self, name: str, record: RunRecord[Any]) -> None:
        """Take over what a run of an operation came to.

        Raises:
            KeyboardInterrupt: it was interrupted.
            ClusterError: it was given up.
        """
        self.runs[name] = record.run_id
        self.counts |= {what: self.counts.get(what, 0) + count for what, count in record.counts.items()}
        self.failures += [f"{one.key}: {one.error_message}" for one in record.failures]
        self.failures += map(str, record.problems)
        if record.status == "interrupted":
            raise KeyboardInterrupt
        if record.status == "aborted":
            raise ClusterError(record.reason or "the run was given up")

    def change(self, key: Key, version: str, decision: Decision, **rest: Any) -> None:
        """Move the alias that a decision is about; where another decision came first, that one holds."""
        try:
            carry_out(decision, self.registry, key, version, command="watch", **rest)
        except RegistryError as error:
            self.failures.append(str(error))
            return
        self.changes.append(Change(key, version, decision.action, decision.reason))

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "counts": self.counts,
            "runs": self.runs,
            "changes": [{**asdict(one), **asdict(one.key)} for one in self.changes],
            "models": [{**asdict(key), **one.record()} for key, one in sorted(self.judged.items())],
            "drift": [{**asdict(key), **one} for key, one in sorted(self.drift.items())],
            "notes": self.notes,
            "failures": self.failures,
            "problems": [{"stage": stage, "type": type(e).__name__, "message": str(e)} for stage, e in self.problems],
        }
