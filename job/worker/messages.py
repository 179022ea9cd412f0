"""What travels between the steps of the pipeline.

Between the steps a row is one model's whole group: column `head` says what it is (pickled by the step before), the
other columns hold a frame, each imploded into one list. A group so arrives whole however many bars it has.
"""

import pickle
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa

from job.cluster.bundles import Bundle
from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import JobError
from job.storage.files import Storage
from job.train.plan import Task

FAILURES: Final = (
    JobError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pa.ArrowException,
    pl.exceptions.PolarsError,
)
"""What may go wrong with one task; caught at each step's edge and turned into that task's outcome."""


@dataclass(frozen=True)
class Job:
    """What every worker needs to know of the run."""

    run_id: str
    config: Config
    output: str
    versions: dict[str, str]
    round: int = 1
    cpus: int = 1
    """CPUs that a task gets here, which are the threads of its fits."""

    @property
    def cpus_per_task(self) -> int | None:
        """CPUs that the settings give each task, None where the plan says."""
        chosen = self.config.ray.cpus_per_task
        return None if chosen == "auto" else chosen

    @property
    def trading(self) -> bool:
        """Whether models are scored by trading on their signals, for which samples come with their market."""
        return self.config.model_trainer.trading is not None

    def registry(self) -> Storage:
        """Open the model registry."""
        return Storage(self.output, options=self.config.storage.options, writer=self.run_id)


@dataclass(frozen=True)
class SeriesInfo:
    """What is known of a series' bars once they are read: counts, digest, grid, and the files they came from."""

    timeframe: str
    offset_us: int
    first: datetime
    last: datetime
    counts: dict[str, int]
    digest: str
    files: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {
            "timeframe": self.timeframe,
            "first_bar": self.first.isoformat(),
            "last_bar": self.last.isoformat(),
            "counts": self.counts,
            "content_digest": self.digest,
            "files": list(self.files),
        }


@dataclass(frozen=True)
class BarsRow:
    """Head of a row of bars."""

    bundle: Bundle[Any]
    info: SeriesInfo | None
    error: dict[str, str] | None = None


@dataclass(frozen=True)
class SamplesRow:
    """Head of a row of samples."""

    task: Task
    info: SeriesInfo | None
    counts: dict[str, int] = field(default_factory=dict)
    label_stats: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    seconds: float = 0.0
    series: str = ""
    holdout_from: int | None = None
    error: dict[str, str] | None = None


def version_differences(wanted: Mapping[str, str]) -> list[str]:
    """Return what differs between the versions here and the driver's, which would make other numbers."""
    here = versions(*sorted(wanted.keys() - versions().keys()))
    return [
        f"has {name} {here.get(name)}, the driver has {version}: install the same versions on every node"
        for name, version in wanted.items()
        if here.get(name) != version
    ]


def pack(head: object, frame: pl.DataFrame | None = None) -> pa.Table:
    """Return a table of one row: the pickled head, and the frame's columns imploded."""
    table = pa.table({"head": pa.array([pickle.dumps(head)], pa.binary())})
    if frame is not None:
        for name, column in zip(frame.columns, frame.select(pl.all().implode()).to_arrow().columns, strict=True):
            table = table.append_column(name, column)
    return table


def unpack(batch: pa.Table) -> Iterator[tuple[Any, pl.DataFrame]]:
    """Yield the head and the frame of every row that `pack` made."""
    heads = batch.column("head").to_pylist()
    frames = batch.drop_columns(["head"])
    for index, head in enumerate(heads):
        frame = pl.DataFrame(pl.from_arrow(frames.slice(index, 1)))
        yield pickle.loads(head), frame.explode(frame.columns) if frame.width else frame  # noqa: S301 - made by this run


def describe(error: BaseException, where: str, job: Job) -> dict[str, str]:
    """Return an error as the run record keeps it; with its traceback under `logging_level: debug`."""
    described = {
        "type": type(error).__name__,
        "message": " ".join(str(error).split()) or type(error).__name__,
        "where": where,
    }
    if job.config.ray.logging_level == "debug":
        described["traceback"] = "".join(traceback.format_exception(error))
    return described
