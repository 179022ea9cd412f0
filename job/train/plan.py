"""Which models to train, what each is likely to cost, and which of them share one reading of the bars."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from job.config.settings import Config
from job.core.entries import is_import_path
from job.core.environment import installed
from job.core.errors import ConfigError
from job.core.keys import POOLED, Key, model_owner
from job.core.wording import first_of
from job.learning.algorithms import Window
from job.learning.estimators import algorithm_named, build, can_spread, sequence_bars
from job.learning.spec import POOL
from job.registry.catalog import open_registry
from job.registry.watching import alarms as noted_alarms
from job.sources.estimates import estimate_span
from job.sources.finding import find_fleet, find_series
from job.sources.problems import as_one
from job.sources.series import Series
from job.train.resume import skip_completed
from job.train.task import Plan, Task
from job.train.tuned import with_winners
from job.worker.context import Flow, Sampling, needs
from job.worker.memory import estimate_memory, estimate_spread_memory
from transforms.bars import duration_us

SECONDS_PER_FIT: Final = 0.06
"""CPU seconds per fit that do not depend on the rows."""
ESTIMATE_ERROR: Final = 2
"""Factor by which the rows of a series, estimated from the size of its files, may be too few."""
SOME_ROWS: Final = 1_000
"""Rows for which an estimator is built to check its parameters."""


def plan(
    config: Config,
    *,
    force: bool = False,
    verify: bool = False,
    alarms: Mapping[Key, datetime] | None = None,
) -> Plan:
    """Return what a run has to do: every model that the settings ask for, except those that the registry holds.

    Those of which it holds a version that is fresh enough by `config.retrain` are left out, too.

    Args:
        config: settings, with absolute paths.
        force: train models that are current, too.
        verify: trust no listing; read the bars to see what is current.
        alarms: since when (close of the last bar scored, UTC) the champion of a model is flagged; by default as
            `watch` has noted in the registry.

    Raises:
        ConfigError, DataError: as `make_plan`.
        RegistryError: the registry cannot be read.
    """
    if alarms is None:
        alarms = noted_alarms(open_registry(config)) if config.retrain.on_evidence else {}
    return skip_completed(make_plan(config), config, force=force, verify=verify, alarms=alarms)


def make_plan(config: Config) -> Plan:
    """List the input and plan every task, whatever the registry holds; files are read as far as their layout needs.

    Raises:
        ConfigError: `data.input` is not set, an estimator does not take its `params` or weights, or its library or the
            engine is not available; or `model_trainer.tuned` is set, or a blend has a pooled member, and models are
            pooled; or a pooled member sees sequences of bars.
        DataError: nothing there can be read.
        RegistryError: what was tuned cannot be read.
    """
    if config.data.input is None:
        raise ConfigError("data.input is not set: name a file, a folder, a glob or a URL of bars")
    for model_type, _, spec in config.model_specs():
        if spec.pooled and "symbol" not in config.model_trainer.group_by:
            raise ConfigError(
                f"{model_type}: its models are pooled, all members of a blend are: take {POOL} out of `of`"
            )
        if spec.pooled and sequence_bars(spec.pooled) > 1:
            raise ConfigError(
                f"{model_type}: params.{POOL}: {spec.pooled.algorithm} sees sequences of bars, which no pooled member "
                "does: name another algorithm, such as tabm"
            )
        for one in spec.estimators:
            library = algorithm_named(one.algorithm).library
            missing = library is not None and installed(library) is None
            if one.params or one.weights or is_import_path(one.algorithm) or missing:
                build(one, Window(SOME_ROWS))
    models = config.model_trainer.model_directory
    found = find_series(config.data, registry=models)
    if not found.series and found.problems:
        raise as_one(found.problems)
    sees_others = any(not spec.origins.alone or spec.pooled for _, _, spec in config.model_specs())
    fleet = find_fleet(found, config.data, registry=models) if sees_others else ()
    try:
        tasks = tuple(plan_tasks(found.series, config, fleet))
    except ConfigError as error:
        raise ConfigError("; ".join([str(error), *map(str, found.problems[:1])])) from None
    notes = (*found.notes, *notes_on(tasks, config))
    if config.model_trainer.tuned is not None:
        tasks, untuned = with_winners(tasks, config)
        notes = (*notes, *untuned)
    return Plan(tasks, tuple(found.problems), notes, fleet=fleet)


def notes_on(tasks: Sequence[Task], config: Config) -> Iterator[str]:
    """Yield what a user must know of tasks: bars of which timeframe do not make some models, and which are spread.

    Raises:
        ConfigError: a model whose samples are spread over workers is scored by trading, too.
    """
    wanted: dict[str, set[str]] = {}
    series: dict[str, set[str]] = {}
    for task in tasks:
        if task.counted and config.model_trainer.trading is not None:
            raise ConfigError(
                f"{task.key}: trading is scored on all bars of the holdout, which no worker has where samples are "
                "spread: unset model_trainer.samples_per_worker, or model_trainer.trading"
            )
        for one in task.series:
            if one.timeframe and duration_us(task.key.timeframe) % duration_us(one.timeframe):
                wanted.setdefault(one.timeframe, set()).add(task.key.timeframe)
                series.setdefault(one.timeframe, set()).add(str(one))
    for source, timeframes in sorted(wanted.items()):
        names = ", ".join(sorted(timeframes, key=duration_us, reverse=True))
        some = first_of(sorted(series[source]), 3)
        yield f"{some}: bars of {source} do not make {names}; those models will fail: choose with --timeframes"
    for task in tasks:
        if task.workers > 1:
            each = f"{task.memory / 2**30:.1f} GiB of memory each"
            yield f"{task.key}: about {task.rows:,} samples are spread over {task.workers} workers with {each}"


def plan_tasks(series: Sequence[Series], config: Config, fleet: Sequence[Series] = ()) -> list[Task]:
    """Return every task of a run, in the order of their keys; `fleet` are the series that models may see beside theirs.

    Raises:
        ConfigError: the fleet does not hold a symbol that a model sees, or holds it twice.
    """
    trainer, sampling = config.model_trainer, Sampling.of(config.data)
    groups: dict[tuple[str, str], list[Series]] = {}
    for one in series:
        groups.setdefault(model_owner(one.exchange, one.symbol, trainer.group_by), []).append(one)
    spans = {owner: [estimate_span(one, config.data) for one in own] for owner, own in groups.items()}
    tasks = []
    for model_type, timeframe, spec in config.model_specs():
        # A pooled member is fitted on all series, but once for all of them: it costs each as a member of its own would.
        algorithms = [algorithm_named(one.algorithm) for one in spec.estimators]
        library = sum(one.import_bytes for one in algorithms)
        sequences = sequence_bars(spec) > 1
        whole: Flow | None = ("flow" if spec.flow else "bars") if spec.pooled else None
        for (exchange, symbol), own in groups.items():
            pooled = exchange == POOLED
            available = sum(span // duration_us(timeframe) for span in spans[exchange, symbol])
            rows = min(available, trainer.max_samples) if pooled else available
            # seconds_per_row is of six fits: five folds and the holdout
            fits = sum(SECONDS_PER_FIT + one.seconds_per_row / 6 * rows * spec.n_estimators / 100 for one in algorithms)
            held = available if sequences else rows  # of a downsampled pool, sequences keep all bars
            spread = trainer.samples_per_worker if pooled and can_spread(spec) else None
            workers = min(len(own), math.ceil(rows / spread)) if spread else 1
            memory = estimate_memory(held, len(spec.features), sequences=sequences, library=library)
            if workers > 1:
                memory = estimate_spread_memory(rows, math.ceil(rows / workers), len(spec.features))
            task = Task(
                key=Key(exchange, symbol, timeframe, model_type),
                spec=spec,
                series=tuple(own),
                rows=rows,
                seconds=(spec.cv_folds + 1) * fits + sum(one.import_seconds for one in algorithms),
                memory=memory,
                capped=pooled and available * ESTIMATE_ERROR > trainer.max_samples,
                workers=workers,
                counted=spread is not None and available * ESTIMATE_ERROR > spread,
                needs=needs(spec.origins, fleet, exchange, sampling, pooled=whole),
            )
            tasks.append(task)
    return sorted(tasks, key=lambda task: task.key.parts)
