"""What the session must know of an operation; training, predicting and comparing differ in nothing else."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from job.core.keys import Key
from job.registry.attempts import Attempt
from job.registry.outcome import Outcome
from job.worker.messages import Job, Work

T = TypeVar("T", bound=Work)
OutcomeT = TypeVar("OutcomeT", bound=Outcome)


@dataclass(frozen=True)
class Operation(Generic[T, OutcomeT]):
    """One kind of work on tasks of type T, with outcomes of type OutcomeT.

    Attributes:
        pipeline: the module whose `runs(tasks, job, capacity=…)` starts every task once: it yields one iterator of
            outcomes per Dataset. It is named, not imported, since Ray takes seconds to import.
        failed: makes the outcome of a task from its error.
        finished: yields the outcomes of tasks whose work is done though no outcome came: a dead worker may have
            committed. By default there are none.
        begun: returns, of the tasks without an outcome, those that a worker had begun, with the note that it left.
            Only these lose one of their attempts. By default all count as begun.
    """

    pipeline: str
    failed: Callable[[T, Mapping[str, str]], OutcomeT]
    finished: Callable[[Mapping[Key, T], Job], Iterable[OutcomeT]] = lambda _missing, _job: ()
    begun: Callable[[Mapping[Key, T], Job], Mapping[Key, Attempt | None]] = lambda missing, _job: dict.fromkeys(missing)

    @property
    def name(self) -> str:
        """Such as `train`, the folder of its pipeline."""
        return self.pipeline.split(".")[1]
