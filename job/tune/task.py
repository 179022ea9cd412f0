"""One series of a study: which settings to fit on which folds, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

from job.core.keys import Key
from job.learning.choice import FoldLoss
from job.learning.spec import ModelSpec
from job.registry.outcome import Outcome
from job.train.task import Task


@dataclass(frozen=True)
class Request:
    """Settings to be tried, by the numbers of their trials, and on which folds; none, to make samples only."""

    specs: Mapping[int, ModelSpec] = field(default_factory=dict)
    folds: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TuningTask(Task):
    """A series of a study; `spec` is the default. Its samples are made once and serve every request."""

    study: Key
    request: Request = Request()


@dataclass(frozen=True)
class Tuned(Outcome):
    """What came of a request: the losses of each fold in order, by trial, or why a trial's settings cannot be fitted.

    `content` is the digest of the bars that the series' models see. A failed outcome is that of the series: of its
    bars, or of its worker.
    """

    content: str = ""
    losses: Mapping[int, list[FoldLoss]] = field(default_factory=dict)
    errors: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of_task(cls, task: TuningTask) -> Self:
        """Return the bare outcome of a task."""
        return cls(**vars(task.key), status="tuned", attempts=task.attempt)

    @classmethod
    def failed(cls, task: TuningTask, error: Mapping[str, str]) -> Self:
        """Return the outcome of a series that gave nothing."""
        return replace(cls.of_task(task), status="failed", error=dict(error))

    def record(self) -> dict[str, Any]:
        """Return what the run record keeps."""
        fields = super().record()
        del fields["losses"]
        return fields

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        made = super().from_json(text)
        losses = cast("dict[str, list[dict[str, Any]]]", made.losses)
        return replace(
            made,
            losses={int(number): [FoldLoss(**fold) for fold in folds] for number, folds in losses.items()},
            errors={int(number): error for number, error in made.errors.items()},
        )
