"""Two versions of a model to be compared, and what became of it: what travels to the workers and back."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Self

from job.core.keys import Key
from job.learning.comparison import Comparison
from job.sources.series import Series


@dataclass(frozen=True)
class ComparisonTask:
    """Versions `a` and `b` of a model, to be scored on the samples that are available at `usable_from` or later.

    `seconds` of CPU and bytes of `memory` are estimates, `earlier` counts comparisons that used rows from then on.
    """

    key: Key
    a: str
    b: str
    usable_from: datetime
    series: tuple[Series, ...]
    seconds: float
    memory: int
    earlier: int = 0
    allow_pickle: bool = False


@dataclass(frozen=True)
class Compared:
    """Two versions on the same rows, which became available from `first` to `last` (ISO 8601), both inclusive.

    `only_a` and `only_b` count samples that one version has and the other has not, which are not used. `log_loss_delta` is what
    `learning.fleet.fleet_z` takes; `trading`, if asked for, what `trading_scores` says of `a` and of `b`. There is no
    `comparison` where `error` says why. `seed_error` is the standard error of the difference in log-loss that forests
    have by the luck of their seeds, see `learning.seeds`.
    """

    key: Key
    a: str
    b: str
    first: str = ""
    last: str = ""
    only_a: int = 0
    only_b: int = 0
    comparison: Comparison | None = None
    log_loss_delta: dict[str, list[float]] = field(default_factory=dict)
    seed_error: float = 0.0
    trading: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    error: dict[str, str] | None = None
    warnings: tuple[str, ...] = ()

    @classmethod
    def failed(cls, task: ComparisonTask, error: Mapping[str, str]) -> Self:
        """Return the outcome of versions that could not be compared."""
        return cls(task.key, task.a, task.b, error=dict(error))

    def to_json(self) -> str:
        """Return all of it as JSON; `from_json` gives it back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        comparison = fields["comparison"] and Comparison(**fields["comparison"])
        built = {"key": Key(**fields["key"]), "comparison": comparison, "warnings": tuple(fields["warnings"])}
        return cls(**fields | built)
