"""What travels between the steps of the pipeline.

Between the steps a row is one model's whole group: column `header` says what it is (pickled by the step before), the
other columns hold a frame, each imploded into one list. So a group arrives whole, however many bars it has.
"""

import pickle
import platform
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, Self, TypeVar

import polars as pl
import pyarrow as pa

from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import JobError
from job.core.keys import Key
from job.core.wording import on_one_line
from job.registry.fingerprints import bare_digest, joined_digest
from job.sources.known import Reading
from job.sources.series import Series
from job.storage.files import Storage
from job.worker.context import Context, Need, Sampling
from job.worker.cost import NO_COST, Cost
from transforms.preparing import Preparation
from transforms.sessions import Sessions


@dataclass(frozen=True, kw_only=True)
class Work:
    """A task as far as running it goes; each operation adds what it needs to know.

    `series` are those whose bars it needs, `needs` what it sees of others beside them. `seconds` (CPU) and `memory`
    (the most bytes that a worker holds for it) are estimates. `attempt` counts the workers that have begun it. Where
    bars from `since` on are enough, it is the open time of the first; `reading` is what is known of the series
    whose newest bars it needs.
    """

    key: Key
    series: tuple[Series, ...]
    seconds: float
    memory: int
    attempt: int = 1
    needs: tuple[Need, ...] = ()
    since: datetime | None = None
    reading: Reading | None = None

    @property
    def import_paths(self) -> tuple[str, ...]:
        """Where the entries of users that it needs are; none but training needs any before it reads the registry."""
        return ()

    @property
    def audited(self) -> bool:
        """Whether the features that users bring are audited for it: where a model is trained on them."""
        return False

    @property
    def flow(self) -> bool:
        """Whether it needs the columns of `transforms.bars.FLOW`, too, as far as there are any."""
        return False

    def of_series(self, series: Series) -> Self:
        """Return the part of it that is about one of its series; a task that knows more of each series overrides it."""
        return replace(self, series=(series,))


T = TypeVar("T", bound=Work)


@dataclass(frozen=True)
class Bundle(Generic[T]):
    """Tasks of one series that share one reading of its bars."""

    series: Series
    tasks: tuple[T, ...]

    @property
    def seconds(self) -> float:
        """Estimated CPU seconds of all its tasks."""
        return sum(task.seconds for task in self.tasks)

    @property
    def flow(self) -> bool:
        """Whether any of its tasks needs the columns of `transforms.bars.FLOW`."""
        return any(task.flow for task in self.tasks)

    @property
    def since(self) -> datetime | None:
        """Open time of the first bar that any of its tasks needs; None where one needs all."""
        times = [task.since for task in self.tasks if task.since is not None]
        return min(times) if len(times) == len(self.tasks) else None

    @property
    def reading(self) -> Reading | None:
        """What is known of the series, if all its tasks say the same."""
        known = [task.reading for task in self.tasks]
        return known[0] if len({one and one.digest for one in known}) == 1 else None

    @property
    def memory(self) -> int:
        """Estimated bytes that its worker holds at most."""
        return max(task.memory for task in self.tasks)


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
    fleet: tuple[Series, ...] = ()
    """All series of the input, on the driver: those that models may see beside their own."""
    context: Context | None = None
    """What workers know of them."""
    pools: Mapping[tuple[str, str], Callable[[], bytes]] = field(default_factory=dict)
    """The pickled `learning.pooled.Pool` of blends with a pooled member, by timeframe and kind of model."""

    @property
    def cpus_per_task(self) -> int | None:
        """CPUs that the settings give each task, None where the plan says."""
        chosen = self.config.ray.cpus_per_task
        return None if chosen == "auto" else chosen

    @property
    def trading(self) -> bool:
        """Whether models are scored by trading on their signals, for which samples come with their market."""
        return self.config.model_trainer.trading is not None

    def content_of(self, task: Work, info: "SeriesInfo") -> str:
        """Return the digest of all bars that a task's model sees."""
        digest = info.content(flow=task.flow)
        if self.context is not None:
            for need in task.needs:
                digest = joined_digest(digest, self.context.digest(need))
        return digest

    def registry(self) -> Storage:
        """Open what the run writes to: the model registry, or the folder of predictions."""
        return Storage(self.output, options=self.config.storage.options, writer=self.run_id)


@dataclass(frozen=True)
class SeriesInfo:
    """What is known of a series' bars once they are read: counts, digest, grid, and the files they came from.

    `digest` is marked where the bars are taken for a market with sessions; see `fingerprints.mark_sessions`; then
    `sessions` are its hours. `flow` is the digest of the columns of `transforms.bars.FLOW`, empty where there are none.
    """

    timeframe: str
    offset_us: int
    first: datetime
    last: datetime
    counts: dict[str, int]
    digest: str
    files: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...] = ()
    zone: str = "UTC"
    sessions: Sessions | None = None
    flow: str = ""

    def content(self, *, flow: bool) -> str:
        """Return the digest of the bars, with the columns of `transforms.bars.FLOW` or without."""
        return joined_digest(self.digest, self.flow) if flow and self.flow else self.digest

    def preparation(self, timeframe: str, sampling: Sampling) -> Preparation:
        """Return how the bars of the series become bars of a timeframe."""
        return Preparation(
            source=self.timeframe,
            timeframe=timeframe,
            offset_us=self.offset_us,
            zone=self.zone,
            max_fill=sampling.max_fill,
            min_coverage=sampling.min_coverage,
            gaps="ignore" if sampling.gaps == "ignore" else self.sessions or "segment",
        )

    def record(self) -> dict[str, Any]:
        """Return them as JSON values."""
        return {
            "timeframe": self.timeframe,
            "first_bar": self.first.isoformat(),
            "last_bar": self.last.isoformat(),
            "counts": self.counts,
            "content_digest": bare_digest(self.digest),
            "files": list(self.files),
            **({"zone": self.zone} if self.zone != "UTC" else {}),
        }


@dataclass(frozen=True)
class BarsRow:
    """Header of a row of bars.

    `reading` is what is then known of the series, where newest bars were asked for; `whole` and `revised_from` are as
    in `job.worker.newest.Newest`. `cost` is that of a reading that failed.
    """

    bundle: Bundle[Any]
    info: SeriesInfo | None
    error: dict[str, str] | None = None
    reading: Reading | None = None
    whole: bool = True
    revised_from: datetime | None = None
    cost: Cost = NO_COST

    def cost_of(self, task: Work) -> Cost:
        """Return what the reading cost to one of its tasks: the first one bears it all."""
        return self.cost if task is self.bundle.tasks[0] else NO_COST


def check_versions(job: Job) -> None:
    """Raise JobError where a library differs from the driver's, since the model's numbers would differ too."""
    if differences := version_differences(job.versions):
        raise JobError(f"node {platform.node()} " + "; ".join(differences))


def version_differences(wanted: Mapping[str, str]) -> list[str]:
    """Return what differs between the versions here and the driver's, which would make other numbers."""
    here = versions(*sorted(wanted.keys() - versions().keys()))
    return [
        f"has {name} {here.get(name)}, the driver has {version}: install the same versions on every node"
        for name, version in wanted.items()
        if here.get(name) != version
    ]


def pack(header: object, frame: pl.DataFrame | None = None) -> pa.Table:
    """Return a table of one row: the pickled header, and the frame's columns imploded."""
    table = pa.table({"header": pa.array([pickle.dumps(header)], pa.binary())})
    if frame is not None:
        for name, column in zip(frame.columns, frame.select(pl.all().implode()).to_arrow().columns, strict=True):
            table = table.append_column(name, column)
    return table


def unpack(batch: pa.Table) -> Iterator[tuple[Any, pl.DataFrame]]:
    """Yield the header and the frame of every row that `pack` made."""
    headers = batch.column("header").to_pylist()
    frames = batch.drop_columns(["header"])
    for index, header in enumerate(headers):
        frame = pl.DataFrame(pl.from_arrow(frames.slice(index, 1)))
        yield pickle.loads(header), frame.explode(frame.columns) if frame.width else frame  # noqa: S301 - made by this run


@dataclass
class Failure:
    """What went wrong inside `recorded_failure`, as the run record keeps it; None where nothing did."""

    error: dict[str, str] | None = None


@contextmanager
def recorded_failure(where: str, job: Job) -> Iterator[Failure]:
    """Turn whatever is raised inside into an error of one task, which never costs another task anything.

    `where` names the step. Under `logging_level: debug` the error keeps its traceback.
    """
    failure = Failure()
    try:
        yield failure
    except Exception as error:  # noqa: BLE001 - libraries and users' own features, labels and models may raise anything
        failure.error = {"type": type(error).__name__, "message": on_one_line(error), "where": where}
        if job.config.ray.logging_level == "debug":
            failure.error["traceback"] = "".join(traceback.format_exception(error))
