"""Which models to train, what each is likely to cost, and which of them share one reading of the bars."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Final

from job.config.settings import Config
from job.core.entries import is_import_path
from job.core.errors import ConfigError
from job.core.keys import ALL, POOLED, Key
from job.learning.algorithms import Window
from job.learning.estimators import algorithm_named, build
from job.learning.spec import ModelSpec
from job.sources.estimates import estimate_rows
from job.sources.finding import find_series
from job.sources.problems import as_one
from job.sources.series import Series
from job.train.resume import skip_completed
from job.train.task import Plan, Task
from job.worker.memory import estimate_memory
from transforms.bars import duration_us

SECONDS_PER_FIT: Final = 0.06
"""CPU seconds a fit that do not depend on the rows."""
ESTIMATE_ERROR: Final = 2
"""Factor by which the rows of a series, told from the size of its files, may be too few."""

SOME_ROWS: Final = 1_000
"""Rows for which an estimator is built to see that its parameters are good."""


def plan(config: Config, *, force: bool = False, verify: bool = False) -> Plan:
    """Say what a run has to do: every model that the settings ask for, but for those that the registry holds.

    Args:
        config: settings, with absolute paths.
        force: train models that are current, too.
        verify: trust no listing: read the bars to see what is current.

    Raises:
        ConfigError, DataError: as `make_plan`.
        RegistryError: the registry cannot be read.
    """
    return skip_completed(make_plan(config), config, force=force, verify=verify)


def make_plan(config: Config) -> Plan:
    """List the input and plan every task, whatever the registry holds; files are read as far as their layout needs.

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
        raise as_one(found.problems)
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
    available = sum(estimate_rows(one, key.timeframe, config.data) for one in series)
    pooled = key.exchange == POOLED
    most = config.model_trainer.max_samples
    rows = min(available, most) if pooled else available
    capped = pooled and available * ESTIMATE_ERROR > most
    fits = spec.cv_folds + 1
    rate = algorithm_named(spec.algorithm).seconds_per_row / 6
    seconds = fits * (SECONDS_PER_FIT + rate * rows * spec.n_estimators / 100)
    memory = estimate_memory(rows, len(spec.features))
    return Task(key=key, spec=spec, series=series, rows=rows, seconds=seconds, memory=memory, capped=capped)
