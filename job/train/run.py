"""One run from its plan to its closed record: what is current is taken, the rest trained, the traces swept."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Final

from job.cluster.operation import Operation
from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.attempts import Attempt, read_attempts
from job.registry.catalog import key_of, list_summaries, open_registry
from job.registry.cleanup import OtherRun, open_runs, sweep
from job.registry.ledger import scored_versions, tried
from job.registry.names import listed_versions, version_name
from job.registry.outcome import Outcome, failed, of_version
from job.registry.runs import attempts_folder
from job.registry.versions import new_run_id, read_metadata
from job.train.plan import plan as plan_training
from job.train.record import TrainingRecord
from job.train.task import Plan, Task
from job.worker.messages import Job

log = logging.getLogger("job")


def run(
    config: Config,
    *,
    force: bool = False,
    verify: bool = False,
    watch: Callable[[Outcome], None] | None = None,
    plan: Plan | None = None,
) -> TrainingRecord:
    """Train every model that `config` describes and the registry does not hold; return the run record.

    Where nothing is left to train or to check, Ray is not started. Ctrl-C and SIGTERM end a run cleanly: what is
    committed stays, and the record says `interrupted`; where too many models fail or the cluster dies, `aborted`.

    Args:
        config: settings, with absolute paths.
        force: train models that are current, too.
        verify: trust no listing: read the bars to see what is current.
        watch: sees each outcome as it arrives.
        plan: what `train.plan.plan` made for `config`, if it was called before; `force` and `verify` went into it.

    Raises:
        ConfigError: a setting, path or node cannot be used; nothing was trained.
        DataError: there are no bars to train on.
        RegistryError: the registry cannot be read or written.
    """
    plan = plan or plan_training(config, force=force, verify=verify)
    run_id = new_run_id(datetime.now(UTC))
    registry = open_registry(config, writer=run_id)
    record = TrainingRecord(run_id, config, registry, planned=plan.total)
    record.problems += plan.problems
    record.notes = plan.notes
    job = Job(run_id=run_id, config=config, output=registry.url, versions=versions(*plan.libraries), fleet=plan.fleet)
    others: list[OtherRun] = []
    with record.kept(partial(_conclude, plan, job, record, others)):
        others += (one for one in open_runs(registry, lease_s=config.storage.lease_s) if one.run_id != run_id)
        for other in others:
            if other.live:
                log.warning(
                    "run %s is writing to %s, too: both will commit what they train", other.run_id, registry.url
                )
        if any(not one.live for one in others):
            sweep(registry, run_id, others)
        for outcome in plan.settled:
            record.add(outcome)
        if plan.tasks:
            from job.cluster.session import run_tasks  # noqa: PLC0415 - Ray takes seconds to import

            run_tasks(plan.tasks, job, TRAINING, record, watch=watch)
    return record


def recovered(missing: Mapping[Key, Task], job: Job) -> Iterator[Outcome]:
    """Yield outcomes of models that this run committed although their worker's answer was lost."""
    registry, left = job.registry(), dict(missing)
    expected = {version_name(key, job.run_id) for key in left}
    if not left:
        return
    for one in listed_versions(registry.list(*sorted({key.folder for key in left}))):
        if one.committed and one.version in expected and one.key in left:
            metadata = read_metadata(registry, one.key, one.version)
            timing, seconds = metadata["timing"], metadata["seconds"]
            node, _, pid = timing["worker"].rpartition("/")
            yield replace(
                of_version(one.key, metadata),
                attempts=left[one.key].attempt,
                started_at=timing["started_at"],
                finished_at=timing["finished_at"],
                node=node,
                pid=int(pid),
                seconds=round(seconds["samples"] + seconds["training"], 3),
                peak_rss_mb=metadata["peak_rss_mb"],
            )


def begun(missing: Mapping[Key, Task], job: Job) -> dict[Key, Attempt]:
    """Return the tasks that a worker had begun, with the note that it left."""
    attempts = read_attempts(job.registry(), job.run_id, job.round)
    return {key: attempt for key, attempt in attempts.items() if key in missing}


TRAINING: Final = Operation[Task, Outcome](
    "job.train.pipeline",
    failed=lambda task, error: failed(task.key, error, attempts=task.attempt),
    finished=recovered,
    begun=begun,
)


def _conclude(plan: Plan, job: Job, record: TrainingRecord, others: list[OtherRun]) -> None:
    """Add what was committed unseen, sweep what is half written, and bring the catalog up to date."""
    registry = job.registry()
    if len(record.outcomes) < record.planned:
        done = {outcome.key for outcome in record.outcomes}
        missing = {task.key: task for task in plan.tasks if task.key not in done}
        for outcome in recovered(missing, job):
            record.add(outcome)
    # A worker may have left something half written where it failed, died or was stopped.
    disturbed = record.status != "running" or record.by_status["failed"] or record.retried
    if disturbed or any(not one.live for one in others):
        sweep(registry, record.run_id, others, at_end=True)
    if plan.tasks:
        registry.remove_folder(attempts_folder(record.run_id))
    # The catalog is made of what is listed now, so that of two runs that end at once either lists both.
    outcomes = record.outcomes if record.by_status["trained"] else ()
    trained = {(one.key, str(one.version)) for one in outcomes if one.status == "trained"}
    folders = sorted({key.folder for key, _ in trained})
    found = list_summaries(registry, *folders) if folders else []
    record.add_to_catalog([*plan.uncatalogued, *found])
    scored = scored_versions(registry, {key for key, _ in trained}, found)
    holdouts = {
        key: (one.first, one.last) for key, own in scored.items() for one in own if (key, one.version) in trained
    }
    record.tried = tried(registry, scored, holdouts)
    for key, version in sorted(trained - {(key_of(one), one["version"]) for one in found}):
        gone = f"{key}: version {version} is gone from {registry.url}; train the model again"
        record.problems.append(RegistryError(gone))
