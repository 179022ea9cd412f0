"""One way to run anything: start or join Ray, check its nodes, run tasks with retries, record the outcomes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from importlib import import_module

from job.cluster.bundles import Capacity
from job.cluster.connect import running
from job.cluster.limits import reason_to_stop
from job.cluster.nodes import node_findings
from job.cluster.observing import told_to_ray
from job.cluster.operation import Operation, OutcomeT, T
from job.cluster.retries import Runs, run_with_retries
from job.core.errors import ClusterError, ConfigError, JobError
from job.registry.attempts import Attempt
from job.registry.catalog import open_registry
from job.registry.events import EventLog
from job.registry.metrics import process_metrics
from job.registry.record import RunRecord
from job.worker.messages import Job


def run_tasks(
    tasks: Sequence[T],
    job: Job,
    operation: Operation[T, OutcomeT],
    record: RunRecord[OutcomeT],
    *,
    watch: Callable[[OutcomeT], None] | None = None,
) -> None:
    """Run every task and put its outcome into the record as it comes; `logged_events` says how a run ends early.

    Where there is no task, Ray is not started.

    Raises:
        ConfigError: Ray cannot be started or joined, or a node cannot be used; nothing was run.
    """
    if not tasks:
        return
    with logged_events(job, operation, record) as events, session(tasks, job, operation, record) as capacity:
        runs = partial(import_module(operation.pipeline).runs, capacity=capacity)
        run_in_session(tasks, job, operation, runs, record, events=events, watch=watch)


@contextmanager
def logged_events(job: Job, operation: Operation[T, OutcomeT], record: RunRecord[OutcomeT]) -> Iterator[EventLog]:
    """Yield the log of what happens in a run, kept in the registry of models whatever the operation.

    A body that ends early finishes the record, as `interrupted` on Ctrl-C and SIGTERM, as `aborted` where the cluster
    dies; otherwise the record is left open.
    """
    events = EventLog(open_registry(job.config, writer=job.run_id), job.run_id)
    events.run_began(operation.name, planned=record.planned, settled=len(record.outcomes))
    status, reason = "finished", None
    try:
        yield events
    except KeyboardInterrupt:
        record.finish("interrupted")
    except ClusterError as error:
        record.finish("aborted", str(error))
    except JobError as error:
        status, reason = "aborted", str(error)
        raise
    finally:
        if record.status != "running":
            status, reason = record.status, record.reason
        events.run_ended(status, reason, counts=record.counts)
        events.close()


@contextmanager
def session(
    tasks: Sequence[T], job: Job, operation: Operation[T, OutcomeT], record: RunRecord[OutcomeT]
) -> Iterator[Capacity]:
    """Start or join Ray and yield what there is to run on.

    Args:
        tasks: what a node must be able to run.
        job: of the run.
        operation: whose pipeline the workers import.
        record: of the run; on Ctrl-C and SIGTERM it is finished as `interrupted` before Ray is shut down.

    Raises:
        ConfigError: Ray cannot be started or joined, or a node cannot be used; nothing was run.
        ClusterError: the cluster died.
        KeyboardInterrupt: on Ctrl-C and SIGTERM.
    """
    with running(job.config.ray, on_death=partial(record.finish, "aborted")) as cluster:
        import_module(operation.pipeline)  # now, while the workers import the same
        record.cluster = {"nodes": cluster.nodes, "cpus": cluster.cpus}
        if cluster.joined:
            findings = node_findings(job, tasks)
            if bad := [f"{node}: {finding}" for node, found in findings.items() for finding in found]:
                raise ConfigError("; ".join(bad))
        try:
            with told_to_ray(process_metrics()) if cluster.joined else nullcontext():
                yield cluster.capacity
        except KeyboardInterrupt:
            # At once, before Ray is shut down: after SIGTERM there are three seconds, and Ray takes some of them.
            record.finish("interrupted")
            raise


def run_in_session(
    tasks: Sequence[T],
    job: Job,
    operation: Operation[T, OutcomeT],
    runs: Runs[T, OutcomeT],
    record: RunRecord[OutcomeT],
    *,
    events: EventLog,
    watch: Callable[[OutcomeT], None] | None = None,
) -> None:
    """Run every task and put its outcome into the record as it comes; finish it as `aborted` if too many fail."""

    def retried(task: T, note: Attempt | None, error: Mapping[str, str]) -> None:
        process_metrics().task_retried(operation.name)
        events.task_retried(task.key, note, error, attempt=task.attempt)

    with closing(run_with_retries(tasks, job, operation, runs, retried)) as outcomes:
        for outcome in outcomes:
            events.task_ended(outcome)
            kept = record.add(outcome)
            if watch is not None:
                watch(kept)
            if reason := reason_to_stop(record, job.config.model_trainer.max_failures):
                record.finish("aborted", reason)
                break
