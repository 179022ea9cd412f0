"""Two versions of a model to be compared, and what became of it: what travels to the workers and back."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self, cast

from job.learning.comparison import Comparison
from job.registry.outcome import Outcome
from job.worker.messages import Work


@dataclass(frozen=True, kw_only=True)
class ComparisonTask(Work):
    """Versions `a` and `b` of a model, to be scored on the samples that are available at `usable_from` or later.

    `earlier` counts comparisons that used rows from then on.
    """

    a: str
    b: str
    usable_from: datetime
    earlier: int = 0
    allow_pickle: bool = False


@dataclass(frozen=True)
class Compared(Outcome):
    """Two versions on the same rows, which became available from `first` to `last` (ISO 8601), both inclusive.

    `only_a` and `only_b` count samples that one version has and the other has not, which are not used.
    `log_loss_delta` is what `learning.fleet.fleet_z` takes; `trading`, if asked for, what `trading_scores` says of `a`
    and of `b`. There is no `comparison` where `error` says why. `seed_error` is the standard error of the difference in
    log-loss that forests have by the luck of their seeds, see `learning.seeds`.
    """

    a: str = ""
    b: str = ""
    first: str = ""
    last: str = ""
    only_a: int = 0
    only_b: int = 0
    comparison: Comparison | None = None
    seed_error: float = 0.0
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
        return (
            replace(made, comparison=Comparison(**cast("dict[str, Any]", made.comparison))) if made.comparison else made
        )
