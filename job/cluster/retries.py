"""What a run does about workers that die: each death costs its own task an attempt, and no other task anything."""

import logging
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import Final

from ray.exceptions import RayError

from job.cluster.operation import Operation, OutcomeT, T
from job.core.clock import now
from job.core.errors import LostRowsError
from job.core.keys import Key
from job.core.log_fields import of_model
from job.core.wording import on_one_line
from job.registry.attempts import Attempt
from job.worker.messages import Job

log = logging.getLogger("job")

MAX_ATTEMPTS: Final = 3
"""How often a task is started if its workers die; other failures are final at once."""
MAX_IDLE_ROUNDS: Final = 2
"""How many rounds in a row may begin nothing at all, as when the cluster is gone."""

RAY_ERROR_LOGGER: Final = "ray.data._internal.execution.streaming_executor_state"
"""Ray's logger that says what a block's task died of; a Dataset says it nowhere else."""
SHORT_OF_MEMORY: Final = re.compile(r"low on memory\b.*?([\d.]+GB used / [\d.]+GB limit)")
"""What Ray says of a worker that its memory monitor ended, and how much memory there was."""
MAX_QUOTED: Final = 200
"""Characters of Ray's words that a message quotes."""

Runs = Callable[[Sequence[T], Job], Iterable[Iterator[OutcomeT]]]
"""Starts every task once; yields the outcomes that come, Dataset by Dataset; those of dead workers do not come."""
Retried = Callable[[T, Attempt | None, Mapping[str, str]], None]
"""Hears of a task that is tried again: the task, the note that its dead worker left, and what is known of the death."""
WorkerErrors = Callable[[], Sequence[str]]
"""Returns what Ray said of dead workers since it was last asked."""


def run_with_retries(
    tasks: Iterable[T],
    job: Job,
    operation: Operation[T, OutcomeT],
    runs: Runs[T, OutcomeT],
    retried: Retried[T] = lambda _task, _note, _error: None,
) -> Generator[OutcomeT]:
    """Yield one outcome per task, as they end; `retried` hears of each that is tried again.

    Ray retries nothing. Tasks of a round that are left without an outcome run in the next one: those that a worker had
    begun when it died have an attempt less, all others lose nothing but time. Where Ray gives up a whole Dataset, what
    it still owed is missing like the work of any dead worker.
    """
    missing: dict[Key, T] = {task.key: task for task in tasks}
    idle = 0
    with capture_worker_errors() as worker_errors:
        for number in count(1):
            before, this = len(missing), replace(job, round=number)
            datasets = iter(runs(list(missing.values()), this))
            while True:
                try:
                    if (outcomes := next(datasets, None)) is None:
                        break
                    for outcome in outcomes:
                        del missing[outcome.key]
                        yield outcome
                except (RayError, LostRowsError) as error:  # in making a Dataset or in running it; the others still run
                    log.warning("round %d ended early: %s", number, on_one_line(error))
            for outcome in operation.finished(missing, this):
                del missing[outcome.key]
                yield outcome
            if not missing:
                return
            errors = worker_errors()
            begun = operation.begun(missing, this)
            yield from fail_exhausted(begun, missing, errors, operation, job, retried=retried)
            idle = 0 if begun or len(missing) < before else idle + 1
            if not missing:
                return
            if idle == MAX_IDLE_ROUNDS:
                yield from (operation.failed(task, never_started(errors)) for task in missing.values())
                return


def fail_exhausted(
    begun: Mapping[Key, Attempt | None],
    missing: dict[Key, T],
    errors: Sequence[str],
    operation: Operation[T, OutcomeT],
    job: Job,
    *,
    retried: Retried[T],
) -> Iterator[OutcomeT]:
    """Count an attempt for each task that a dead worker had begun; yield, and drop, those that had their last."""
    for key, attempt in begun.items():
        task, error = missing[key], failure_reason(attempt, errors, job)
        timed_out = attempt is not None and attempt.trace is not None
        if timed_out or task.attempt >= MAX_ATTEMPTS:
            del missing[key]
            failed = operation.failed(task, error)
            if attempt is not None:  # what the dead worker told of itself
                began = attempt.started_at
                failed = replace(failed, node=attempt.node, pid=attempt.pid, started_at=began, finished_at=now())
            yield failed
        else:
            retried(task, attempt, error)
            said = f"attempt {task.attempt} of {MAX_ATTEMPTS} failed: {error['message']}"
            log.warning("%s: %s", key, said, extra=of_model(key, attempt=task.attempt))
            missing[key] = replace(task, attempt=task.attempt + 1)


def failure_reason(attempt: Attempt | None, errors: Sequence[str], job: Job) -> dict[str, str]:
    """Return the error of a task whose worker died, from the note that it left and from what Ray said of workers."""
    if attempt is None:
        return never_started(errors)
    where = f"process {attempt.pid} on node {attempt.node}"
    if attempt.trace is not None:
        limit = job.config.model_trainer.task_timeout_s or 0.0
        message = f"{attempt.step} took longer than model_trainer.task_timeout_s ({limit:g} s); {where} was ended"
        return {"type": "TaskTimeout", "where": attempt.step, "message": message, "stack": attempt.trace}
    for text in errors:
        if f"pid={attempt.pid}," in text and (memory := SHORT_OF_MEMORY.search(text)):
            message = f"{where} was ended while {attempt.step}: its node ran out of memory, {memory[1]}"
            return {"type": "OutOfMemory", "where": attempt.step, "message": message}
    message = f"{where} died while {attempt.step}: killed, out of memory, or its node is gone"
    return {"type": "WorkerDied", "where": attempt.step, "message": message}


def never_started(errors: Sequence[str]) -> dict[str, str]:
    """Return the error of tasks that no worker is known to have begun."""
    reason = errors[-1] if errors else "nothing is known of the workers"
    if memory := SHORT_OF_MEMORY.search(reason):
        message = f"no worker could begin this model: its node ran out of memory, {memory[1]}"
        return {"type": "OutOfMemory", "where": "the cluster", "message": message}
    return {"type": "NotBegun", "where": "the cluster", "message": f"no worker began this model: {reason[:MAX_QUOTED]}"}


@contextmanager
def capture_worker_errors() -> Iterator[WorkerErrors]:
    """Yield a function that returns what Ray said of dead workers since it was last called; nothing is printed."""
    errors: list[str] = []

    def capture(record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            errors.append(on_one_line(record.exc_info[1]))
        return False

    def take() -> list[str]:
        taken, errors[:] = list(errors), []
        return taken

    logger = logging.getLogger(RAY_ERROR_LOGGER)
    level = logger.level
    logger.setLevel(logging.ERROR)
    logger.addFilter(capture)
    try:
        yield take
    finally:
        logger.removeFilter(capture)
        logger.setLevel(level)
