"""Files of predictions: which to make, from what, and what became of each."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final, Self

from job.core.errors import JobError
from job.core.keys import Key, encode
from job.learning.features import reads_flow
from job.registry.definition import Definition
from job.registry.outcome import Outcome, Status
from job.registry.predictions import Footer, Tail
from job.worker.messages import Work

FILE: Final = "predictions.parquet"
WITHOUT: Final = ("scores", "gaps", "why", "until")
"""What the record has of models and not of predictions."""


@dataclass(frozen=True, kw_only=True)
class PredictionTask(Work):
    """One file of predictions to write: for which series, by which version of which model, at what estimated cost.

    `key` names the file: series, timeframe and kind. `model` is the same, except where a pooled model predicts.
    """

    model: Key
    version: str
    definition: Definition
    fingerprint: str
    """Digest of all that decides the predictions but the bars."""
    listing: str | None
    """Fingerprint of the files of the series, None where it could not show a change."""
    held: Footer | None
    """What the file in place says of itself, if it was made in the same way, of whatever bars."""
    allow_pickle: bool = False

    @property
    def tail(self) -> Tail | None:
        """From where on rows are made and added to those in place, if nothing else is others than it was."""
        return self.held.tail if self.held is not None and self.since is not None else None

    @property
    def flow(self) -> bool:
        """Whether its model needs the columns of `transforms.bars.FLOW`."""
        return reads_flow(self.definition.features)


@dataclass(frozen=True)
class Predicted(Outcome):
    """What became of one file of predictions: `rows` in it, up to the bar that closed at `last`; `counts` of its bars.

    `counts` are those of `transforms.samples.make_features`. `drift` is the record of `learning.drift.Drift` of the
    newest bars that were predicted; None where none were, or the version is of an early release.
    """

    path: str = ""
    last: str | None = None
    drift: dict[str, Any] | None = None
    logged: ClassVar[tuple[str, ...]] = ("drift",)

    @classmethod
    def of(cls, key: Key, footer: Footer, *, status: Status) -> Self:
        """Return the outcome of a file that stands, from what it says of itself."""
        bare = cls(**vars(key), status=status, version=footer.version, rows=footer.rows)
        return replace(bare, path=path_of(key), last=footer.last, counts=footer.counts)

    @classmethod
    def failed(cls, task: PredictionTask, error: Mapping[str, str]) -> Self:
        """Return the outcome of a task that failed with a described error."""
        bare = cls(**vars(task.key), status="failed", version=task.version)
        return replace(bare, error=dict(error), attempts=task.attempt)

    @classmethod
    def refused(cls, key: Key, error: JobError) -> Self:
        """Return the outcome of a file that no task can be planned for."""
        described = {"type": type(error).__name__, "message": str(error), "where": "planning"}
        return cls(**vars(key), status="failed", error=described)

    def record(self) -> dict[str, Any]:
        """Return what the run record keeps."""
        return {name: value for name, value in super().record().items() if name not in WITHOUT}


def path_of(key: Key) -> str:
    """Return the path of the file of a key: `binance/BTC%2FUSDT/1h/analyst/predictions.parquet`.

    The folders are none of Hive's (`symbol=600000`): a reader takes the values of these for numbers, dates or truths
    where all of them look so, and finds them at odds with the columns of the file, which hold the same as text.
    """
    return f"{key.folder}/{key.timeframe}/{key.model_type}/{FILE}"


def superseded_path(key: Key) -> str:
    """Return where earlier releases put the file of a key, in the way of Hive."""
    return (
        f"exchange={encode(key.exchange)}/symbol={encode(key.symbol)}"
        f"/timeframe={key.timeframe}/model_type={key.model_type}/{FILE}"
    )
