"""One way to run anything: start or join Ray, check its nodes, run tasks with retries, record the outcomes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from importlib import import_module

from job.cluster.bundles import Capacity
from job.cluster.connect import running
from job.cluster.limits import reason_to_stop
from job.cluster.nodes import check_nodes
from job.cluster.operation import Operation, OutcomeT, T
from job.cluster.retries import Runs, run_with_retries
from job.core.errors import ClusterError
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
    """Run every task and put its outcome into the record as it comes; `session` says how a run ends early.

    Where there is no task, Ray is not started.

    Raises:
        ConfigError: Ray cannot be started or joined, or a node cannot be used; nothing was run.
    """
    if not tasks:
        return
    with session(tasks, job, operation, record) as capacity:
        runs = partial(import_module(operation.pipeline).runs, capacity=capacity)
        run_in_session(tasks, job, operation, runs, record, watch=watch)


@contextmanager
def session(
    tasks: Sequence[T], job: Job, operation: Operation[T, OutcomeT], record: RunRecord[OutcomeT]
) -> Iterator[Capacity]:
    """Start or join Ray and yield what there is to run on.

    A run that ends early finishes its record at once, as `interrupted` on Ctrl-C and SIGTERM, as `aborted` where the
    cluster dies; otherwise the record is left open.

    Args:
        tasks: what a node must be able to run.
        job: of the run.
        operation: whose pipeline the workers import.
        record: of the run.

    Raises:
        ConfigError: Ray cannot be started or joined, or a node cannot be used; nothing was run.
    """
    try:
        with running(job.config.ray, on_death=partial(record.finish, "aborted")) as cluster:
            import_module(operation.pipeline)  # now, while the workers import the same
            record.cluster = {"nodes": cluster.nodes, "cpus": cluster.cpus}
            if cluster.joined:
                check_nodes(job, tasks)
            try:
                yield cluster.capacity
            except KeyboardInterrupt:
                # At once, before Ray is shut down: after SIGTERM there are three seconds, and Ray takes some of them.
                record.finish("interrupted")
    except KeyboardInterrupt:
        record.finish("interrupted")
    except ClusterError as error:
        record.finish("aborted", str(error))


def run_in_session(
    tasks: Sequence[T],
    job: Job,
    operation: Operation[T, OutcomeT],
    runs: Runs[T, OutcomeT],
    record: RunRecord[OutcomeT],
    *,
    watch: Callable[[OutcomeT], None] | None = None,
) -> None:
    """Run every task and put its outcome into the record as it comes; finish it as `aborted` if too many fail."""
    with closing(run_with_retries(tasks, job, operation, runs)) as outcomes:
        for outcome in outcomes:
            kept = record.add(outcome)
            if watch is not None:
                watch(kept)
            if reason := reason_to_stop(record, job.config.model_trainer.max_failures):
                record.finish("aborted", reason)
                break
