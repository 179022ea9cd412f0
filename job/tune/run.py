"""Tuning from its plan to the winners: studies side by side, each asking for more when all it asked for has come."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from job.cluster.operation import Operation
from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import DataError, JobError
from job.core.keys import Key
from job.learning.estimators import libraries_of
from job.registry.catalog import open_registry
from job.registry.kept_record import KeptRecord
from job.registry.outcome import Outcome, Status
from job.registry.runs import attempts_folder
from job.registry.studies import Winner
from job.registry.versions import new_run_id
from job.storage.files import Storage
from job.train.run import begun
from job.tune.plan import TuningPlan
from job.tune.study import OF_ITS_BARS, Requests, conduct
from job.tune.task import Tuned, TuningTask
from job.worker.messages import Job


class TuningRecord(KeptRecord[Tuned]):
    """The record of one run of studies; an outcome is one series of one request, and leaves its losses with `made`."""

    def __init__(self, run_id: str, config: Config, registry: Storage, *, planned: int) -> None:
        statuses: tuple[Status, ...] = ("tuned", "failed")
        super().__init__(run_id, config, registry, operation="tune", planned=planned, statuses=statuses, kind=Tuned)
        self.made: dict[Key, Tuned] = {}
        self.winners: list[Winner] = []

    def add(self, outcome: Tuned) -> Tuned:
        """Take an outcome and return it as it is kept."""
        self.made[outcome.key] = outcome
        return super().add(replace(outcome, losses={}))

    @property
    def exit_status(self) -> int:
        """As of any run; a series of bad bars that its study does without is no failure. 3 where none can be used."""
        if self.status == "finished" and not self.winners and {type(one) for one in self.problems} == {DataError}:
            return DataError.exit_status
        of_bars = all((one.error or {}).get("type") in OF_ITS_BARS for one in self.failures)
        if self.status == "finished" and not self.problems and of_bars:
            return 0
        return super().exit_status

    def as_dict(self, *, first: int = 0) -> dict[str, Any]:
        """Return the record as JSON values, with what the studies chose."""
        studies = [{name: value for name, value in vars(one).items() if name != "spec"} for one in self.winners]
        return {**super().as_dict(first=first), "studies": studies}


TUNING: Final = Operation[TuningTask, Tuned]("job.tune.pipeline", failed=Tuned.failed, begun=begun)


def planned_outcomes(plan: TuningPlan) -> int:
    """Return how many outcomes a plan has at most: a request for the samples, and two per batch."""
    return sum(len(study.tasks) * (1 + 2 * -(-study.trials // study.batch)) for study in plan.studies)


def run(config: Config, plan: TuningPlan, *, watch: Callable[[Outcome], None] | None = None) -> TuningRecord:
    """Conduct every study of a plan and return the record with all winners; Ray is not started where none is left.

    Trials that are finished stay, whatever ends a run: the next one goes on from them.

    Raises:
        ConfigError: a setting, path or node cannot be used; nothing was tried.
        RegistryError: the registry cannot be written.
    """
    run_id = new_run_id(datetime.now(UTC))
    registry = open_registry(config, writer=run_id)
    record = TuningRecord(run_id, config, registry, planned=planned_outcomes(plan))
    record.problems += plan.problems
    record.notes = plan.notes
    record.winners += plan.finished
    with record.kept(partial(registry.remove_folder, attempts_folder(run_id))):
        if plan.studies:
            from job.cluster.session import logged_events, run_in_session, session  # noqa: PLC0415 - takes seconds
            from job.tune import pipeline  # noqa: PLC0415 - as above

            libraries = sorted({library for study in plan.studies for library in libraries_of(study.spec)})
            job = Job(
                run_id=run_id, config=config, output=registry.url, versions=versions(*libraries), fleet=plan.fleet
            )
            with logged_events(job, TUNING, record) as events, session(plan.tasks, job, TUNING, record) as capacity:
                runs = pipeline.Runs(capacity).runs
                asked = [(one, next(one)) for one in (conduct(study, registry, config) for study in plan.studies)]
                # Round after round of all studies together, so that none waits for another's last series.
                while asked and record.status == "running":
                    tasks = [task for _, own in asked for task in own]
                    run_in_session(tasks, job, TUNING, runs, record, events=events, watch=watch)
                    asked = [(one, more) for one, _ in asked if (more := _next(one, record)) is not None]
    return record


def _next(study: Requests, record: TuningRecord) -> list[TuningTask] | None:
    """Return what a study asks for next, given what came of its last request; None where it has ended."""
    if record.status != "running":
        return None
    try:
        return study.send(record.made)
    except StopIteration as end:
        record.winners.append(end.value)
    except JobError as error:
        record.problems.append(error)
    return None
