"""Which models to train, what each is likely to cost, and which of them share one reading of the bars."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

from job.config import Config, DataSettings, ModelSpec
from job.errors import ConfigError, DataError
from job.estimators import Window, build
from job.fingerprints import fingerprint
from job.keys import ALL, POOLED, Key, kind_order
from job.sources import Series, expected_rows, find_series
from job.store import Summary, key_of
from transforms.bars import duration_us

DAY_US: Final = 86_400_000_000
ASSUMED_TIMEFRAME: Final = "1m"
"""Timeframe of a series whose files do not name one; for estimates only."""

SECONDS_A_ROW: Final = {
    "random_forest": 5.0e-5,
    "extra_trees": 4.0e-5,
    "hist_gradient_boosting": 3.5e-5,
    "gradient_boosting": 1.8e-4,
    "logistic_regression": 5.0e-6,
}
"""CPU seconds a row for all fits of a task (5 folds and holdout, 100 trees, 20 features), by algorithm."""
SECONDS_A_FIT: Final = 0.06
"""CPU seconds a fit that do not depend on the rows."""
BYTES_A_VALUE: Final = 16
"""Peak bytes a sample and feature in a worker: the float32 matrix, its scaled copy, and what a fit adds."""
WORKER_BYTES: Final = 450 * 2**20
"""What a worker holds before any bars: mostly imports."""

ESTIMATE_ERROR: Final = 2
"""Factor by which the rows of a series, told from the size of its files, may be too few."""

SOME_ROWS: Final = 1_000
"""Rows for which an estimator is built to see that its parameters are good."""
LONGEST_BUNDLE_S: Final = 30.0
BUNDLES_A_CPU: Final = 3


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
    """(short fingerprint, version) of every version in the store, latest last."""


@dataclass(frozen=True)
class Plan:
    """The tasks of a run, the files that no task can be made of, and what else a user should know."""

    tasks: tuple[Task, ...]
    problems: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bundle:
    """Tasks of one series that share one reading of its bars."""

    series: Series
    tasks: tuple[Task, ...]

    @property
    def seconds(self) -> float:
        """Estimated CPU seconds of all its fits."""
        return sum(task.seconds for task in self.tasks)


def make_plan(config: Config) -> Plan:
    """List the input and plan every task; reads no more of the files than it takes to tell their layout.

    Raises:
        ConfigError: `data.input` is not set, or an estimator does not take its `params`.
        DataError: nothing there can be read.
    """
    if config.data.input is None:
        raise ConfigError("data.input is not set: name a file, a folder, a glob or a URL of bars")
    for _, _, spec in config.model_specs():
        if spec.params:
            build(spec, Window(SOME_ROWS))
    found = find_series(config.data)
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


def with_known(tasks: Iterable[Task], summaries: Iterable[Summary]) -> list[Task]:
    """Return the tasks with the versions that the store already holds, from its summaries in order of age."""
    known: dict[Key, list[tuple[str, str]]] = {}
    for summary in summaries:
        known.setdefault(key_of(summary), []).append((summary.get("fingerprint", ""), summary["version"]))
    return [replace(task, known=tuple(known.get(task.key, ()))) for task in tasks]


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
    available = sum(_rows(one, key.timeframe, config.data) for one in series)
    pooled = key.exchange == POOLED
    most = config.model_trainer.max_samples
    rows = min(available, most) if pooled else available
    capped = pooled and available * ESTIMATE_ERROR > most
    fits = spec.cv_folds + 1
    seconds = fits * (SECONDS_A_FIT + SECONDS_A_ROW[spec.algorithm] / 6 * rows * spec.n_estimators / 100)
    memory = WORKER_BYTES + rows * len(spec.features) * BYTES_A_VALUE
    return Task(key=key, spec=spec, series=series, rows=rows, seconds=seconds, memory=memory, capped=capped)


def _rows(series: Series, timeframe: str, data: DataSettings) -> int:
    """Estimate the bars of `timeframe` that a series gives in the settings' date range."""
    source = duration_us(series.timeframe or data.timeframe or ASSUMED_TIMEFRAME)
    span = expected_rows(series) * source
    if data.start and data.end:
        span = min(span, int((data.end - data.start).total_seconds() * 1e6))
    if data.lookback_days:
        span = min(span, int(data.lookback_days * DAY_US))
    return span // duration_us(timeframe)


def bundle(tasks: Iterable[Task], *, cpus: int) -> list[Bundle]:
    """Pack tasks of one series into bundles, longest bundle first.

    A bundle is kept so short that every CPU gets several of them, and no longer than half a minute of fits; a task
    that is longer by itself is a bundle of its own.
    """
    pending = sorted(tasks, key=lambda task: (task.series[0].exchange, task.series[0].symbol, -task.seconds, task.key))
    limit = min(LONGEST_BUNDLE_S, sum(task.seconds for task in pending) / (BUNDLES_A_CPU * cpus))
    bundles = [
        Bundle(series, part)
        for series, own in groupby(pending, key=lambda task: task.series[0])
        for part in _pack(own, limit)
    ]
    return sorted(bundles, key=lambda one: -one.seconds)


def _pack(tasks: Iterable[Task], limit: float) -> Iterator[tuple[Task, ...]]:
    part: list[Task] = []
    for task in tasks:
        if part and sum(one.seconds for one in part) + task.seconds > limit:
            yield tuple(part)
            part = []
        part.append(task)
    if part:
        yield tuple(part)


def singles(tasks: Iterable[Task]) -> list[Bundle]:
    """Return bundles of one task, longest first."""
    return sorted((Bundle(task.series[0], (task,)) for task in tasks), key=lambda one: -one.seconds)


def by_series(tasks: Iterable[Task]) -> list[Bundle]:
    """Return a bundle for every series, with the pooled tasks that need it.

    There a task names this series only: what travels stays as long as the series, not as their square.
    """
    needed: dict[Series, list[Task]] = {}
    for task in tasks:
        for series in task.series:
            needed.setdefault(series, []).append(replace(task, series=(series,)))
    ordered = sorted(needed.items(), key=lambda item: (item[0].exchange, item[0].symbol))
    return [Bundle(series, tuple(own)) for series, own in ordered]


def identity_of(task: Task, config: Config, content: str) -> str:
    """Return the fingerprint of a task's model, given the digest of its bars."""
    max_samples = config.model_trainer.max_samples if task.key.exchange == POOLED else None
    return fingerprint(
        task.spec, timeframe=task.key.timeframe, data=config.data, content=content, max_samples=max_samples
    )


def describe_plan(tasks: Sequence[Task]) -> dict[str, Any]:
    """Return what a run would do: per kind and timeframe the models, estimated rows, CPU seconds and peak memory."""
    groups: dict[tuple[str, str], list[Task]] = {}
    for task in sorted(tasks, key=lambda task: kind_order(task.key)):
        groups.setdefault((task.key.model_type, task.key.timeframe), []).append(task)
    kinds = [
        {
            "model_type": model_type,
            "timeframe": timeframe,
            "models": len(own),
            "rows": sum(task.rows for task in own),
            "cpu_seconds": round(sum(task.seconds for task in own), 1),
            "peak_mb_a_task": round(max(task.memory for task in own) / 2**20),
        }
        for (model_type, timeframe), own in groups.items()
    ]
    return {"models": len(tasks), "cpu_seconds": round(sum(task.seconds for task in tasks), 1), "kinds": kinds}
