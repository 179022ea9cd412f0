"""Two versions of a model to be compared, and what became of it: what travels to the workers and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self, cast

from job.learning.comparison import Comparison
from job.learning.evidence import Evidence
from job.registry.outcome import Outcome
from job.worker.messages import Work


@dataclass(frozen=True, kw_only=True)
class ComparisonTask(Work):
    """Versions `a` and `b` of a model, to be scored on the samples that are available at `usable_from` or later.

    `earlier` counts comparisons of other versions that used rows from then on, `others` versions beside these two that
    were scored on some of them in training; `evidence` is what the last comparison of these two knew. Where its rows do
    not count, `looked` says how many looks at them there were.
    """

    a: str
    b: str
    usable_from: datetime
    fresher: bool = False
    """Whether b was trained on later bars than a."""
    earlier: int = 0
    others: int = 0
    evidence: Evidence | None = None
    looked: int = 0
    allow_pickle: bool = False

    @property
    def flow(self) -> bool:
        """Whether it needs the columns of `transforms.bars.FLOW`: which features its versions have is seen later."""
        return True


@dataclass(frozen=True)
class Compared(Outcome):
    """Two versions on the same rows, which became available from `first` to `last` (ISO 8601), both inclusive.

    `only_a` and `only_b` count samples that one version has and the other has not, which are not used.
    `log_loss_delta` is what `learning.fleet.fleet_test` takes; `trading`, if asked for, what `trading_scores` says of
    `a` and of `b`. There is no `comparison` where `error` says why. `evidence` is what the comparison is based on:
    these rows, and those of earlier comparisons that the input does not hold any more.
    """

    a: str = ""
    b: str = ""
    first: str = ""
    last: str = ""
    only_a: int = 0
    only_b: int = 0
    comparison: Comparison | None = None
    evidence: Evidence | None = None
    trading: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of_task(cls, task: ComparisonTask) -> Self:
        """Return the bare outcome of a task."""
        return cls(**vars(task.key), status="compared", a=task.a, b=task.b, attempts=task.attempt)

    @classmethod
    def failed(cls, task: ComparisonTask, error: Mapping[str, str]) -> Self:
        """Return the outcome of versions that could not be compared."""
        return replace(cls.of_task(task), status="failed", error=dict(error))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        made = super().from_json(text)
        if made.comparison is None or made.evidence is None:
            return made
        comparison, evidence = cast("dict[str, Any]", made.comparison), cast("dict[str, Any]", made.evidence)
        return replace(made, comparison=Comparison(**comparison), evidence=Evidence.of_record(evidence))
