"""Rounds: what a run does about workers that die, so that each death costs its own model an attempt and no other."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Final

from job.core.keys import Key
from job.registry.versions import listed_versions, read_metadata, version_name
from job.train.plan import Task
from job.worker.attempts import Attempt, read_attempts
from job.worker.messages import Job
from job.worker.outcome import Outcome, failed, of_version

log = logging.getLogger("job")

MAX_ATTEMPTS: Final = 3
"""How often a model is begun whose worker died; failures with a cause are final at once."""
MAX_IDLE_ROUNDS: Final = 2
"""How many rounds in a row may begin nothing at all, as when the cluster is gone."""

SHORT_OF_MEMORY: Final = re.compile(r"low on memory\b.*?([\d.]+GB used / [\d.]+GB limit)")
"""What Ray says of a worker that its memory monitor ended, and how much memory there was."""
SAID: Final = 200
"""Characters of Ray's words that a message quotes."""

Missing = dict[Key, Task]
Round = Callable[[Sequence[Task], Job], Iterator[Outcome]]
"""Starts every task once and yields the outcomes that come; those of dead workers do not."""
WorkerErrors = Callable[[], Sequence[str]]
"""Returns what was said of dead workers since it was last asked."""


def run_with_retries(tasks: Iterable[Task], job: Job, start: Round, worker_errors: WorkerErrors) -> Iterator[Outcome]:
    """Yield one outcome a task, as they end.

    Ray retries nothing. A round's tasks that are left without an outcome run in the next one: those that a worker had
    begun when it died have an attempt less, all others lose nothing but time.
    """
    missing: Missing = {task.key: task for task in tasks}
    idle = 0
    for number in count(1):
        before = len(missing)
        this = replace(job, round=number)
        for outcome in chain(start(list(missing.values()), this), committed(missing, this)):
            del missing[outcome.key]
            yield outcome
        errors = worker_errors()
        notes = read_attempts(job.registry(), job.run_id, number) if missing else {}
        begun = {key: note for key, note in notes.items() if key in missing}
        yield from fail_exhausted(begun, missing, errors, job)
        if not missing:
            return
        idle = 0 if begun or len(missing) < before else idle + 1
        if idle == MAX_IDLE_ROUNDS:
            yield from (failed(key, never_started(errors), attempts=task.attempt) for key, task in missing.items())
            return


def committed(missing: Missing, job: Job) -> Iterator[Outcome]:
    """Yield outcomes of models that this run committed although their worker's answer was lost."""
    registry, left = job.registry(), list(missing.values())
    versions = {version_name(task.key, job.run_id): task for task in left}
    if not left:
        return
    for one in listed_versions(registry.list(*sorted({task.key.folder for task in left}))):
        if one.committed and one.version in versions and one.key in missing:
            outcome = of_version(one.key, read_metadata(registry, one.key, one.version))
            yield replace(outcome, attempts=missing[one.key].attempt)


def fail_exhausted(
    begun: Mapping[Key, Attempt], missing: Missing, errors: Sequence[str], job: Job
) -> Iterator[Outcome]:
    """Count an attempt for each model that a dead worker had begun; yield, and drop, those that had their last."""
    for key, note in begun.items():
        task, error = missing[key], failure_reason(note, errors, job)
        if note.trace is not None or task.attempt >= MAX_ATTEMPTS:
            del missing[key]
            yield failed(key, error, attempts=task.attempt)
        else:
            log.warning("%s: attempt %d of %d failed: %s", key, task.attempt, MAX_ATTEMPTS, error["message"])
            missing[key] = replace(task, attempt=task.attempt + 1)


def failure_reason(note: Attempt, errors: Sequence[str], job: Job) -> dict[str, str]:
    """Return why a worker ended, from the note that it left and from what Ray said of dead workers."""
    where = f"process {note.pid} on node {note.node}"
    if note.trace is not None:
        limit = job.config.model_trainer.task_timeout_s or 0.0
        message = f"{note.step} took longer than model_trainer.task_timeout_s ({limit:g} s); {where} was ended"
        return {"type": "TaskTimeout", "where": note.step, "message": message, "stack": note.trace}
    for text in errors:
        if f"pid={note.pid}," in text and (memory := SHORT_OF_MEMORY.search(text)):
            message = f"{where} was ended while {note.step}: its node ran out of memory, {memory[1]}"
            return {"type": "OutOfMemory", "where": note.step, "message": message}
    message = f"{where} died while {note.step}: killed, out of memory, or its node is gone"
    return {"type": "WorkerDied", "where": note.step, "message": message}


def never_started(errors: Sequence[str]) -> dict[str, str]:
    """Return the error of models that no worker began, round after round."""
    reason = errors[-1] if errors else "nothing is known of the workers"
    if memory := SHORT_OF_MEMORY.search(reason):
        message = f"no worker could begin this model: its node ran out of memory, {memory[1]}"
        return {"type": "OutOfMemory", "where": "the cluster", "message": message}
    return {"type": "NotBegun", "where": "the cluster", "message": f"no worker began this model: {reason[:SAID]}"}
