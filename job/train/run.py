"""One run from its plan to its closed record: what is current is taken, the rest trained, the traces swept."""

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import ClusterError, JobError, RegistryError
from job.registry.catalog import key_of, list_summaries, write_catalog
from job.registry.cleanup import OtherRun, other_runs, sweep
from job.registry.versions import new_run_id
from job.storage.files import Storage
from job.train.limits import reason_to_stop
from job.train.plan import Plan, make_plan
from job.train.record import RunRecord, RunStatus
from job.train.resume import open_registry, skip_completed
from job.train.retries import committed
from job.worker.attempts import folder
from job.worker.messages import Job
from job.worker.outcome import Outcome

log = logging.getLogger("job")

Watcher = Callable[[Outcome], None]
"""Sees each outcome as it arrives."""


def run(
    config: Config, *, force: bool = False, verify: bool = False, watch: Watcher | None = None, plan: Plan | None = None
) -> RunRecord:
    """Train every model that `config` describes and the registry does not hold; return the run record.

    Where nothing is left to train or to check, Ray is not started. Ctrl-C and SIGTERM end a run cleanly: what is
    committed stays, and the record says `interrupted`; where too many models fail or the cluster dies, `aborted`.

    Args:
        config: settings, with absolute paths.
        force: train models that are current, too.
        verify: believe no listing: read the bars to see what is current.
        watch: sees each outcome as it arrives.
        plan: what `skip_completed` made of the plan for `config`, if it was called before; `force` and `verify` went into it.

    Raises:
        ConfigError: a setting, path or node cannot be used; nothing was trained.
        DataError: there are no bars to train on.
        StoreError: the registry cannot be read or written.
    """
    plan = plan or skip_completed(make_plan(config), config, force=force, verify=verify)
    run_id = new_run_id(datetime.now(UTC))
    registry = open_registry(config, writer=run_id)
    record = RunRecord(run_id, config, registry, planned=plan.total)
    record.problems += plan.problems
    job = Job(run_id=run_id, config=config, output=registry.url, versions=versions(*plan.libraries))
    record.open()
    status: RunStatus = "aborted"
    reason: str | None = None
    others: list[OtherRun] = []
    try:
        others = other_runs(registry, run_id, lease_s=config.storage.lease_s)
        if any(not one.live for one in others):
            sweep(registry, run_id, others)
        _take(plan.current, record, None, config)
        with closing(_outcomes(plan, job, record)) as outcomes:
            status, reason = _take(outcomes, record, watch, config)
            if (
                status != "finished"
            ):  # at once: after SIGTERM there are three seconds, and Ray takes some of them to end
                record.finish(status, reason)
    except KeyboardInterrupt:
        status = "interrupted"
    except JobError as error:
        reason = str(error)
        raise
    finally:
        try:
            _conclude(plan, job, record, others)
        finally:
            record.finish(status, reason)
        record.close()
    return record


def _take(
    outcomes: Iterable[Outcome], record: RunRecord, watch: Watcher | None, config: Config
) -> tuple[RunStatus, str | None]:
    """Put outcomes into the record as they come, until they end, too many are failures, or the user stops it."""
    try:
        for outcome in outcomes:
            kept = record.add(outcome)
            if watch is not None:
                watch(kept)
            if reason := reason_to_stop(record, config.model_trainer.max_failures):
                return "aborted", reason
    except KeyboardInterrupt:
        return "interrupted", None
    except ClusterError as error:
        return "aborted", str(error)
    return "finished", None


def _outcomes(plan: Plan, job: Job, record: RunRecord) -> Generator[Outcome]:
    """Start or join Ray, check its nodes, and yield one outcome a task; do nothing where there is no task."""
    if not plan.tasks:
        return
    from job.cluster.connect import running  # noqa: PLC0415 - Ray takes seconds to import, and is needed from here on only

    with running(job.config.ray, on_death=partial(record.finish, "aborted")) as cluster:
        from job.cli.doctor import check_nodes  # noqa: PLC0415 - while the workers import the same
        from job.train.pipeline import train  # noqa: PLC0415

        record.cluster = {"nodes": cluster.nodes, "cpus": cluster.cpus}
        if cluster.joined:
            check_nodes(job, plan)
        yield from train(plan.tasks, job, capacity=cluster.capacity)


def _conclude(plan: Plan, job: Job, record: RunRecord, others: list[OtherRun]) -> None:
    """Add what was committed unseen, sweep what is half written, and bring the catalog up to date.

    The catalog is made of what is listed now, so that of two runs that end at once either lists both.
    """
    registry = job.registry()
    done = {outcome.key for outcome in record.outcomes}
    if len(done) < record.planned:
        missing = {task.key: task for task in plan.tasks if task.key not in done}
        for outcome in committed(missing, job):
            record.add(outcome)
    if record.disturbed or any(not one.live for one in others):
        sweep(registry, job.run_id, others, at_end=True)
    if plan.tasks:
        registry.remove_folder(folder(job.run_id))
    _list_versions(plan, record, registry)


def _list_versions(plan: Plan, record: RunRecord, registry: Storage) -> None:
    """Write into the catalog what stands in the folders of the plan; miss nothing that was reported as trained."""
    trained = {(one.key, str(one.version)) for one in record.outcomes if one.status == "trained"}
    folders = sorted({key.folder for key, _ in trained})
    found = [*plan.summaries, *(list_summaries(registry, *folders) if folders else ())]
    write_catalog(registry, found)
    for key, version in sorted(trained - {(key_of(one), one["version"]) for one in found}):
        record.problems.append(
            RegistryError(f"{key}: version {version} is gone from {registry.url}; train the model again")
        )
