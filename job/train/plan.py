"""Which models to train, what each is likely to cost, and which of them share one reading of the bars."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from job.config.settings import Config, DataSettings
from job.core.entries import is_import_path
from job.core.errors import ConfigError, DataError
from job.core.keys import ALL, POOLED, Key, kind_order
from job.learning.algorithms import Window
from job.learning.estimators import algorithm_named, build, libraries_of
from job.learning.spec import ModelSpec
from job.registry.catalog import Summary, short_fingerprint
from job.registry.fingerprints import fingerprint, pooled_content
from job.sources.finding import find_series
from job.sources.reading import expected_rows
from job.sources.series import Series
from job.worker.outcome import Outcome
from transforms.bars import duration_us

DAY_US: Final = 86_400_000_000
ASSUMED_TIMEFRAME: Final = "1m"
"""Timeframe of a series whose files do not name one; for estimates only."""

SECONDS_PER_FIT: Final = 0.06
"""CPU seconds a fit that do not depend on the rows."""
BYTES_PER_VALUE: Final = 24
"""Peak bytes a sample and feature in a worker, no less than `make bench` finds (history): bars, samples, the float32
matrix, its scaled copy, and what a fit adds."""
WORKER_BYTES: Final = 450 * 2**20
"""What a worker holds before any bars: mostly imports."""

ESTIMATE_ERROR: Final = 2
"""Factor by which the rows of a series, told from the size of its files, may be too few."""

SOME_ROWS: Final = 1_000
"""Rows for which an estimator is built to see that its parameters are good."""


@dataclass(frozen=True)
class Task:
    """One model to train: from which series, by which definition, at what estimated cost."""

    key: Key
    spec: ModelSpec
    series: tuple[Series, ...]
    rows: int
    seconds: float
    memory: int
    capped: bool = False
    """Whether the rows must be counted, since they may be more than `max_samples`."""
    known: tuple[tuple[str, str], ...] = ()
    """(short fingerprint, version) of every version in the registry, latest last."""
    listed: tuple[str | None, ...] = ()
    """Digest of the bars of each series as listings tell, None where they do not."""
    trust_listing: bool = True
    """Whether listings are enough to go by, or the bars must be read to see what they are."""
    attempt: int = 1
    """Counts the workers that have begun it."""

    @property
    def to_check(self) -> bool:
        """Whether the registry holds versions of it, and only its bars can tell if one of them is current."""
        return bool(self.known) and content_of(self) is None


@dataclass(frozen=True)
class Plan:
    """The tasks of a run, the files that no task can be made of, and what else a user should know.

    Once settled against a registry, `tasks` are those left to train or to check, `current` are the outcomes of the others,
    and `summaries` tell of all versions that the registry has in their folders.
    """

    tasks: tuple[Task, ...]
    problems: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    current: tuple[Outcome, ...] = ()
    summaries: tuple[Summary, ...] = ()

    @property
    def keys(self) -> list[Key]:
        """Every model that is asked for."""
        return [*(outcome.key for outcome in self.current), *(task.key for task in self.tasks)]

    @property
    def libraries(self) -> tuple[str, ...]:
        """Optional libraries that the models left depend on, each once."""
        return tuple(sorted({library for task in self.tasks for library in libraries_of(task.spec)}))

    @property
    def total(self) -> int:
        """How many models are asked for."""
        return len(self.current) + len(self.tasks)


def make_plan(config: Config) -> Plan:
    """List the input and plan every task; reads no more of the files than it takes to tell their layout.

    Raises:
        ConfigError: `data.input` is not set, an estimator does not take its `params`, or the engine is not to be had.
        DataError: nothing there can be read.
    """
    if config.data.input is None:
        raise ConfigError("data.input is not set: name a file, a folder, a glob or a URL of bars")
    for _, _, spec in config.model_specs():
        if spec.params or is_import_path(spec.algorithm):
            build(spec, Window(SOME_ROWS))
    found = find_series(config.data, registry=config.model_trainer.model_directory)
    if not found.series and found.problems:
        raise DataError("; ".join(str(problem) for problem in found.problems))
    tasks = tuple(plan_tasks(found.series, config))
    return Plan(tasks, tuple(found.problems), (*found.notes, *too_fine(tasks)))


def too_fine(tasks: Iterable[Task]) -> Iterator[str]:
    """Yield one note for each timeframe of bars from which some of the planned models cannot be made."""
    wanted: dict[str, set[str]] = {}
    series: dict[str, set[Series]] = {}
    for task in tasks:
        for one in task.series:
            if one.timeframe and duration_us(task.key.timeframe) % duration_us(one.timeframe):
                wanted.setdefault(one.timeframe, set()).add(task.key.timeframe)
                series.setdefault(one.timeframe, set()).add(one)
    for source, timeframes in sorted(wanted.items()):
        names = ", ".join(sorted(timeframes, key=duration_us, reverse=True))
        some = ", ".join(sorted(str(one) for one in series[source])[:3])
        more = f" and {len(series[source]) - 3} more" if len(series[source]) > 3 else ""
        yield f"{some}{more}: bars of {source} do not make {names}; those models will fail: choose with --timeframes"


def plan_tasks(series: Sequence[Series], config: Config) -> list[Task]:
    """Return every task of a run, in the order of their keys."""
    specs = list(config.model_specs())
    tasks = [
        _task(Key(exchange, symbol, timeframe, model_type), spec, members, config)
        for (exchange, symbol), members in _groups(series, config.model_trainer.group_by)
        for model_type, timeframe, spec in specs
    ]
    return sorted(tasks, key=lambda task: task.key)


def _groups(
    series: Sequence[Series], group_by: tuple[str, ...]
) -> Iterator[tuple[tuple[str, str], tuple[Series, ...]]]:
    """Yield (exchange, symbol) of a model's key with the series it is trained on."""
    if "symbol" in group_by:
        yield from (((one.exchange, one.symbol), (one,)) for one in series)
    elif "exchange" in group_by:
        ordered = sorted(series, key=lambda one: (one.exchange, one.symbol))
        for exchange, members in groupby(ordered, key=lambda one: one.exchange):
            yield (POOLED, exchange), tuple(members)
    elif series:
        yield (POOLED, ALL), tuple(series)


def _task(key: Key, spec: ModelSpec, series: tuple[Series, ...], config: Config) -> Task:
    available = sum(rows_of(one, key.timeframe, config.data) for one in series)
    pooled = key.exchange == POOLED
    most = config.model_trainer.max_samples
    rows = min(available, most) if pooled else available
    capped = pooled and available * ESTIMATE_ERROR > most
    fits = spec.cv_folds + 1
    seconds = fits * (
        SECONDS_PER_FIT + algorithm_named(spec.algorithm).seconds_per_row / 6 * rows * spec.n_estimators / 100
    )
    memory = WORKER_BYTES + rows * len(spec.features) * BYTES_PER_VALUE
    return Task(key=key, spec=spec, series=series, rows=rows, seconds=seconds, memory=memory, capped=capped)


def rows_of(series: Series, timeframe: str, data: DataSettings) -> int:
    """Estimate the bars of `timeframe` that a series gives in the settings' date range."""
    source = duration_us(series.timeframe or data.timeframe or ASSUMED_TIMEFRAME)
    span = expected_rows(series) * source
    if data.start and data.end:
        span = min(span, int((data.end - data.start).total_seconds() * 1e6))
    if data.lookback_days:
        span = min(span, int(data.lookback_days * DAY_US))
    return span // duration_us(timeframe)


def content_of(task: Task) -> str | None:
    """Return the digest of a task's bars as far as listings tell; None where they do not."""
    digests = [digest for digest in task.listed if digest is not None]
    if not task.trust_listing or not digests or len(digests) < len(task.series):
        return None
    if task.key.exchange != POOLED:
        return digests[0]
    return pooled_content(digest for _, digest in sorted(zip(map(str, task.series), digests, strict=True)))


def identity_of(task: Task, config: Config, content: str) -> str:
    """Return the fingerprint of a task's model, given the digest of its bars."""
    max_samples = config.model_trainer.max_samples if task.key.exchange == POOLED else None
    return fingerprint(
        task.spec,
        timeframe=task.key.timeframe,
        data=config.data,
        content=content,
        max_samples=max_samples,
        trading=config.model_trainer.trading,
    )


def known_version(task: Task, config: Config, content: str | None) -> str | None:
    """Return the version of a task's key that was trained on bars of this digest in the same way, if there is one."""
    if content is None or not task.known:
        return None
    return dict(task.known).get(short_fingerprint(identity_of(task, config, content)))


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return what a run would do, in all and per kind and timeframe.

    `models` asked for, of which `current`, `to_check` and `to_train`; of the last two the estimated `rows`,
    `cpu_seconds` and, of the largest, `peak_mb_a_task`.
    """
    kinds = sorted({(key.model_type, key.timeframe): key for key in plan.keys}.values(), key=kind_order)
    described = [_describe_kind(plan, kind) for kind in kinds]
    totals = {
        name: sum(one[name] for one in described) for name in ("models", "current", "to_check", "to_train", "rows")
    }
    return {**totals, "cpu_seconds": round(sum(task.seconds for task in plan.tasks), 1), "kinds": described}


def _describe_kind(plan: Plan, kind: Key) -> dict[str, Any]:
    tasks = [task for task in plan.tasks if task.key.stem == kind.stem]
    held = sum(outcome.key.stem == kind.stem for outcome in plan.current)
    checks = sum(task.to_check for task in tasks)
    return {
        "model_type": kind.model_type,
        "timeframe": kind.timeframe,
        "models": held + len(tasks),
        "current": held,
        "to_check": checks,
        "to_train": len(tasks) - checks,
        "rows": sum(task.rows for task in tasks),
        "cpu_seconds": round(sum(task.seconds for task in tasks), 1),
        "peak_mb_a_task": round(max((task.memory for task in tasks), default=0) / 2**20),
    }
