"""One series to be scored by a model's champion and challenger, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from job.core.keys import Key
from job.learning.blocks import Blocks
from job.registry.outcome import Outcome
from job.worker.messages import Work
from transforms.bars import duration_us


@dataclass(frozen=True, kw_only=True)
class ScoringTask(Work):
    """Rows of one series that are new to a model's champion and challenger.

    `key` names the series, `model` is the same except where the model is pooled. Rows count for the champion that are
    available at `champion_from` (µs) or later, for the challenger from `challenger_from` on. The newest `stretch` rows
    tell of drift. With `again` all rows are scored once more, whatever has become of their bars.
    """

    model: Key
    champion: str
    challenger: str | None
    champion_from: int
    challenger_from: int
    stretch: int = 0
    again: bool = False

    @property
    def start(self) -> datetime:
        """Open time of the first bar that a row is made of."""
        first = self.champion_from if self.challenger is None else min(self.champion_from, self.challenger_from)
        bar = timedelta(microseconds=duration_us(self.key.timeframe))
        return datetime.fromtimestamp(first / 1e6, UTC) - (self.stretch + 1) * bar

    @property
    def flow(self) -> bool:
        """Whether it needs the columns of `transforms.bars.FLOW`: which features its versions have is seen later."""
        return True


@dataclass(frozen=True)
class Scored(Outcome):
    """What new rows of one series say of a model's champion and challenger.

    Nothing is `found` where no row is new, or where `revised` says that bars which were scored have changed since.
    `reading` is what is known of the series now, `whole` whether all of it was read, and `added_us` how long the bars
    last that came since it was read before, null where this is not known. `drift` is the record of
    `learning.drift.Drift` of the new rows, and no more than information.
    """

    found: Blocks | None = None
    revised: bool = False
    whole: bool = False
    reading: dict[str, Any] | None = None
    added_us: int | None = None
    drift: dict[str, Any] | None = None
    logged: ClassVar[tuple[str, ...]] = ("drift",)

    @classmethod
    def of_task(cls, task: ScoringTask) -> Self:
        """Return the bare outcome of a task."""
        return cls(**vars(task.key), status="scored", version=task.champion, attempts=task.attempt)

    @classmethod
    def failed(cls, task: ScoringTask, error: Mapping[str, str]) -> Self:
        """Return the outcome of a series that could not be scored."""
        return replace(cls.of_task(task), status="failed", error=dict(error))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Inverse of `to_json`."""
        made = super().from_json(text)
        found: Any = made.found
        return made if found is None else replace(made, found=Blocks.of_record(found))
