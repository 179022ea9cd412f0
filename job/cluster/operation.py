"""What an operation tells the session that runs it: training, predicting and comparing differ in this and no more."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from job.core.keys import Key
from job.registry.outcome import Outcome
from job.worker.attempts import Attempt
from job.worker.messages import Job, Work

T = TypeVar("T", bound=Work)
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


def _nothing_finished(missing: Mapping[Key, T], job: Job) -> Iterable[OutcomeT]:  # noqa: ARG001
    return ()


def _all_begun(missing: Mapping[Key, T], job: Job) -> Mapping[Key, Attempt | None]:  # noqa: ARG001
    return dict.fromkeys(missing)


@dataclass(frozen=True)
class Operation(Generic[T, OutcomeT]):
    """One kind of work on tasks of type T, with outcomes of type OutcomeT.

    Attributes:
        pipeline: the module whose `runs(tasks, job, capacity=…)` starts every task once: it yields one iterator of
            outcomes per Dataset. It is named, not imported, since Ray takes seconds to import.
        failed: makes the outcome of a task from its error.
        finished: of tasks without an outcome, yields those of which the work is done: a dead worker may have committed.
        begun: of tasks without an outcome, returns those that a worker had begun, with what it left behind. Only these
            lose one of their attempts. By default all count as begun.
    """

    pipeline: str
    failed: Callable[[T, Mapping[str, str]], OutcomeT]
    finished: Callable[[Mapping[Key, T], Job], Iterable[OutcomeT]] = _nothing_finished
    begun: Callable[[Mapping[Key, T], Job], Mapping[Key, Attempt | None]] = _all_begun
