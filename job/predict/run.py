"""One run of predictions: start Ray where a file is left to be made, and record what became of each."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from job.cluster.operation import Operation
from job.config.settings import Config
from job.core.environment import versions
from job.predict.plan import PredictionPlan, Request
from job.predict.task import Predicted, PredictionTask
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.registry.spool import Spool
from job.registry.versions import new_run_id
from job.storage.files import Storage
from job.worker.messages import Job

PREDICTING: Final = Operation[PredictionTask, Predicted]("job.predict.pipeline", failed=Predicted.failed)


def run(
    config: Config, request: Request, plan: PredictionPlan, *, watch: Callable[[Outcome], None] | None = None
) -> RunRecord[Predicted]:
    """Make every file of a plan and return the record; Ray is not started where none is left to be made.

    Each file appears whole or not at all, so that an interrupted run leaves those that it made, and a rerun the rest.

    Raises:
        ConfigError: a setting, path or node cannot be used; nothing was predicted.
        RegistryError: the output cannot be written.
    """
    run_id = new_run_id(datetime.now(UTC))
    record = RunRecord[Predicted](
        run_id,
        config,
        operation="predict",
        planned=plan.total,
        statuses=("predicted", "current", "failed"),
        about={
            "models": config.model_trainer.model_directory,
            "output": request.output,
            "version": request.version,
        },
        spool=Spool(Predicted),
    )
    record.problems += plan.problems
    record.notes = plan.notes
    for outcome in plan.settled:
        record.add(outcome)
    if plan.tasks:
        from job.cluster.session import run_tasks  # noqa: PLC0415 - Ray takes seconds to import

        Storage(request.output, options=config.storage.options, writer=run_id).check_writable()
        job = Job(run_id=run_id, config=config, output=request.output, versions=versions(), fleet=plan.fleet)
        run_tasks(plan.tasks, job, PREDICTING, record, watch=watch)
    if record.status == "running":
        record.finish("finished")
    return record
