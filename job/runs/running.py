"""One run from its plan to its closed record: what is current is taken, the rest trained, the traces swept."""

import logging
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from datetime import UTC, datetime
from functools import partial

from job.config import Config
from job.environment import versions
from job.errors import ClusterError, JobError, StoreError
from job.outcomes import Outcome
from job.planning import Plan, make_plan
from job.runs.limits import reason_to_stop
from job.runs.record import RunRecord, RunStatus
from job.runs.resuming import open_store, settle
from job.runs.rounds import committed
from job.runs.sweeping import OtherRun, other_runs, sweep
from job.store import Store, key_of, new_run_id, write_catalogue
from job.store import versions as versions_in
from job.worker.notes import folder
from job.worker.rows import Job

log = logging.getLogger("job")

Watcher = Callable[[Outcome], None]
"""Sees each outcome as it arrives."""


def run(
    config: Config, *, force: bool = False, verify: bool = False, watch: Watcher | None = None, plan: Plan | None = None
) -> RunRecord:
    """Train every model that `config` describes and the store does not hold; return the run record.

    Where nothing is left to train or to check, Ray is not started. Ctrl-C and SIGTERM end a run cleanly: what is
    committed stays, and the record says `interrupted`; where too many models fail or the cluster dies, `aborted`.

    Args:
        config: settings, with absolute paths.
        force: train models that are current, too.
        verify: believe no listing: read the bars to see what is current.
        watch: sees each outcome as it arrives.
        plan: what `settle` made of the plan for `config`, if it was called before; `force` and `verify` went into it.

    Raises:
        ConfigError: a setting, path or node cannot be used; nothing was trained.
        DataError: there are no bars to train on.
        StoreError: the store cannot be read or written.
    """
    plan = plan or settle(make_plan(config), config, force=force, verify=verify)
    run_id = new_run_id(datetime.now(UTC))
    store = open_store(config, writer=run_id)
    record = RunRecord(run_id, config, store, planned=plan.total)
    record.problems += plan.problems
    job = Job(run_id=run_id, config=config, output=store.url, versions=versions(*plan.engines))
    record.open()
    status: RunStatus = "aborted"
    reason: str | None = None
    others: list[OtherRun] = []
    try:
        others = other_runs(store, run_id, lease_s=config.storage.lease_s)
        if any(not one.live for one in others):
            sweep(store, run_id, others)
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
    from job.cluster import running  # noqa: PLC0415 - Ray takes seconds to import, and is needed from here on only

    with running(job.config.ray, on_death=partial(record.finish, "aborted")) as cluster:
        from job.doctor import check_nodes  # noqa: PLC0415 - while the workers import the same
        from job.pipeline import train  # noqa: PLC0415

        record.cluster = {"nodes": cluster.nodes, "cpus": cluster.cpus}
        if cluster.joined:
            check_nodes(job, plan)
        yield from train(plan.tasks, job, capacity=cluster.capacity)


def _conclude(plan: Plan, job: Job, record: RunRecord, others: list[OtherRun]) -> None:
    """Add what was committed unseen, sweep what is half written, and bring the catalogue up to date.

    The catalogue is made of what is listed now, so that of two runs that end at once either lists both.
    """
    store = job.store()
    done = {outcome.key for outcome in record.outcomes}
    if len(done) < record.planned:
        missing = {task.key: task for task in plan.tasks if task.key not in done}
        for outcome in committed(missing, job):
            record.add(outcome)
    if record.disturbed or any(not one.live for one in others):
        sweep(store, job.run_id, others, at_end=True)
    if plan.tasks:
        store.remove_folder(folder(job.run_id))
    _list_versions(plan, record, store)


def _list_versions(plan: Plan, record: RunRecord, store: Store) -> None:
    """Write into the catalogue what stands in the folders of the plan; miss nothing that was reported as trained."""
    trained = {(one.key, str(one.version)) for one in record.outcomes if one.status == "trained"}
    folders = sorted({key.folder for key, _ in trained})
    found = [*plan.summaries, *(versions_in(store, *folders) if folders else ())]
    write_catalogue(store, found)
    for key, version in sorted(trained - {(key_of(one), one["version"]) for one in found}):
        record.problems.append(StoreError(f"{key}: version {version} is gone from {store.url}; train the model again"))
