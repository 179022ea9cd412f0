"""One run of predictions: start Ray where a file is left to be made, and note what became of each."""

import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import DataError, JobError, RegistryError
from job.predict.plan import PredictionPlan, Request
from job.predict.task import Predicted
from job.registry.versions import new_run_id
from job.storage.files import Storage
from job.train.record import RunStatus
from job.train.run import Watcher
from job.worker.messages import Job

log = logging.getLogger("job")


@dataclass
class PredictionRecord:
    """What a run of predictions was asked, and what became of every file."""

    run_id: str
    config: Config
    request: Request
    planned: int
    started_at: datetime
    status: RunStatus = "running"
    finished_at: datetime | None = None
    cluster: dict[str, int] = field(default_factory=lambda: {"nodes": 0, "cpus": 0})
    outcomes: list[Predicted] = field(default_factory=list)
    problems: tuple[DataError, ...] = ()

    @property
    def failures(self) -> list[Predicted]:
        """Outcomes of files that could not be made."""
        return [one for one in self.outcomes if one.status == "failed"]

    @property
    def counts(self) -> dict[str, int]:
        """Files by what became of them; a series that cannot be read counts as one that failed."""
        statuses = [one.status for one in self.outcomes]
        return {
            "predicted": statuses.count("predicted"),
            "current": statuses.count("current"),
            "failed": statuses.count("failed") + len(self.problems),
            "not_run": self.planned - len(self.outcomes),
        }

    @property
    def exit_status(self) -> int:
        """0 all made or current, 1 some failed; where all did for one kind of reason, 2 or 3; 130 interrupted."""
        if self.status == "interrupted":
            return 130
        counts = self.counts
        if not counts["failed"] and not counts["not_run"]:
            return 0
        kinds = {(one.error or {}).get("type") for one in self.failures}
        if len(self.failures) == self.planned and len(kinds) == 1:
            return {kind.__name__: kind.exit_status for kind in (DataError, RegistryError)}.get(
                str(kinds.pop()), JobError.exit_status
            )
        return JobError.exit_status

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "finished_at": self.finished_at.isoformat(timespec="seconds") if self.finished_at else None,
            "models": self.config.model_trainer.model_directory,
            "output": self.request.output,
            "version": self.request.version,
            "config": self.config.masked(),
            "cluster": self.cluster,
            "counts": self.counts,
            "problems": [{"type": type(problem).__name__, "message": str(problem)} for problem in self.problems],
            "outcomes": [one.record() for one in self.outcomes],
        }


def run_predictions(
    plan: PredictionPlan, config: Config, request: Request, *, watch: Watcher | None = None
) -> PredictionRecord:
    """Make every file of a plan and return the record; Ray is not started where none is left to be made.

    Each file appears whole or not at all, so that an interrupted run leaves those that it made, and a rerun the rest.

    Raises:
        ConfigError: a setting, path or node cannot be used; nothing was predicted.
        StoreError: the output cannot be written.
        ClusterError: the cluster died.
    """
    now = datetime.now(UTC)
    record = PredictionRecord(new_run_id(now), config, request, plan.total, now, problems=plan.problems)
    record.outcomes += plan.settled
    try:
        with closing(_outcomes(plan, record)) as outcomes:
            for outcome in outcomes:
                record.outcomes.append(outcome)
                if watch is not None:
                    watch(outcome)
        record.status = "finished"
    except KeyboardInterrupt:
        record.status = "interrupted"
    record.finished_at = datetime.now(UTC)
    return record


def _outcomes(plan: PredictionPlan, record: PredictionRecord) -> Generator[Predicted]:
    """Start or join Ray, check its nodes, and yield one outcome a task; do nothing where there is no task."""
    if not plan.tasks:
        return
    config, output = record.config, record.request.output
    Storage(output, options=config.storage.options, writer=record.run_id).check_writable()
    job = Job(run_id=record.run_id, config=config, output=output, versions=versions())
    from job.cluster.connect import running  # noqa: PLC0415 - Ray takes seconds to import, and is needed from here on only

    with running(config.ray, on_death=log.debug) as cluster:
        from job.cli.doctor import check_nodes  # noqa: PLC0415 - while the workers import the same
        from job.train.pipeline import predict  # noqa: PLC0415

        record.cluster = {"nodes": cluster.nodes, "cpus": cluster.cpus}
        if cluster.joined:
            check_nodes(job, plan)
        yield from predict(plan.tasks, job, capacity=cluster.capacity)
