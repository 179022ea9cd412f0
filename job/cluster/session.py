"""One way to run anything: start or join Ray, check its nodes, run tasks with retries, record the outcomes."""

from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from importlib import import_module

from job.cluster.connect import running
from job.cluster.limits import reason_to_stop
from job.cluster.nodes import check_nodes
from job.cluster.operation import Operation, OutcomeT, T
from job.cluster.retries import run_with_retries
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
    """Run every task and put its outcome into the record as it comes.

    A run that ends early finishes its record at once, as `interrupted` on Ctrl-C and SIGTERM, as `aborted` where the
    cluster dies or too many tasks fail; otherwise the record is left open. Where there is no task, Ray is not started.

    Raises:
        ConfigError: Ray cannot be started or joined, or a node cannot be used; nothing was run.
    """
    if not tasks:
        return
    try:
        with running(job.config.ray, on_death=partial(record.finish, "aborted")) as cluster:
            pipeline = import_module(operation.pipeline)  # now, while the workers import the same
            record.cluster = {"nodes": cluster.nodes, "cpus": cluster.cpus}
            if cluster.joined:
                check_nodes(job, tasks)
            runs = partial(pipeline.runs, capacity=cluster.capacity)
            try:
                with closing(run_with_retries(tasks, job, operation, runs)) as outcomes:
                    for outcome in outcomes:
                        kept = record.add(outcome)
                        if watch is not None:
                            watch(kept)
                        if reason := reason_to_stop(record, job.config.model_trainer.max_failures):
                            record.finish("aborted", reason)
                            break
            except KeyboardInterrupt:
                # At once, before Ray is shut down: after SIGTERM there are three seconds, and Ray takes some of them.
                record.finish("interrupted")
    except KeyboardInterrupt:
        record.finish("interrupted")
    except ClusterError as error:
        record.finish("aborted", str(error))
