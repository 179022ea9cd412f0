"""Which models to score on which bars: those with a champion, on bars that are new to it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from typing import Any, Final

from job.compare.plan import known_until
from job.config.settings import Config
from job.core.errors import JobError, RegistryError
from job.core.keys import Key, model_owner
from job.learning.watching import Watched
from job.registry.aliases import Aliases, read_all_aliases
from job.registry.catalog import keys
from job.registry.definition import Definition
from job.registry.versions import read_metadata
from job.registry.watching import State, WatchedModel
from job.sources.finding import find_fleet
from job.sources.series import Found, Series
from job.storage.files import Storage
from job.watch.task import ScoringTask
from job.worker.context import Need, Sampling, history, needs_of
from job.worker.memory import estimate_memory
from job.worker.newest import Reading
from transforms.bars import duration_us

AT_ONCE: Final = 16
SECONDS_PER_TASK: Final = 0.3
"""CPU seconds of loading a champion and scoring a day of bars by it."""
ROWS: Final = 5_000
"""Rows by which memory is estimated: new bars, and those before them that warm up."""


@dataclass(frozen=True)
class ScoringPlan:
    """Series to be scored; `models` is what is known of their models, with new champions and challengers in place.

    `series` counts those of each model; `fleet` are all of the input where a model sees others beside its own.
    """

    tasks: tuple[ScoringTask, ...]
    models: Mapping[Key, WatchedModel]
    failures: Mapping[Key, JobError]
    fleet: tuple[Series, ...] = ()


def plan(
    config: Config, registry: Storage, state: State, found: Found, *, only: Collection[Key] | None = None
) -> ScoringPlan:
    """Return what is to be scored of `found`: every series of a model with a champion, if bars may be new to it.

    `only` are the models to look at, by default all that the settings ask for.

    Raises:
        RegistryError: the registry cannot be read.
    """
    series = series_of_models(config, keys(registry), found)
    aliases = read_all_aliases(registry, series.keys() if only is None else only)
    due = [key for key, own in aliases.items() if own.champion and _due(state.models.get(key), own, config)]
    fleet = cache(partial(find_fleet, found, config.data, registry=registry.url))

    def planned(key: Key) -> tuple[WatchedModel, list[ScoringTask]] | JobError:
        try:
            standing, metadata = _standing(key, aliases[key], state.models.get(key), registry)
            return standing, [*_tasks(key, standing, metadata, series[key], state, config, fleet)]
        except JobError as error:
            return error

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(due, pool.map(planned, due), strict=True))
    good = {key: one for key, one in answers.items() if not isinstance(one, JobError)}
    tasks = tuple(task for _, own in good.values() for task in own)
    return ScoringPlan(
        tasks=tasks,
        models={key: model for key, (model, _) in good.items()},
        failures={key: one for key, one in answers.items() if isinstance(one, JobError)},
        fleet=fleet() if any(task.needs for task in tasks) else (),
    )


def series_of_models(config: Config, known: Iterable[Key], found: Found) -> dict[Key, list[Series]]:
    """Return the models among `known` that the settings ask for, and which series of an input each is of."""
    kinds = config.model_trainer.kinds
    owned: dict[tuple[str, str], list[Key]] = {}
    for key in known:
        if key.model_type in kinds and key.timeframe in kinds[key.model_type].timeframes:
            owned.setdefault((key.exchange, key.symbol), []).append(key)
    series: dict[Key, list[Series]] = {}
    for one in found.series:
        for key in owned.get(model_owner(one.exchange, one.symbol, config.model_trainer.group_by), ()):
            series.setdefault(key, []).append(one)
    return series


def _due(known: WatchedModel | None, aliases: Aliases, config: Config) -> bool:
    """Return whether so much time has passed since the last row that was scored that there may be enough new ones."""
    if known is None or known.again or known.evidence.last is None:
        return True
    if (known.evidence.champion, known.evidence.challenger) != (aliases.champion, challenger_of(aliases)):
        return True
    waited = datetime.now(UTC).timestamp() * 1e6 - known.evidence.last
    return waited >= duration_us(config.watch.score_every)


def challenger_of(aliases: Aliases) -> str | None:
    """Return the challenger, None where that is the champion itself."""
    return None if aliases.challenger == aliases.champion else aliases.challenger


def _standing(
    key: Key, aliases: Aliases, known: WatchedModel | None, registry: Storage
) -> tuple[WatchedModel, list[dict[str, Any]]]:
    """Return what is known of a model with its champion and challenger of now, and the metadata of these.

    Rows on which a version was trained, or chosen, are no evidence for it or against it.
    """
    champion, challenger = str(aliases.champion), challenger_of(aliases)
    metadata = [read_metadata(registry, key, version) for version in (champion, challenger) if version]
    ends = [_us(known_until(one, key)) for one in metadata]
    next_row = known.evidence.last + 1 if known and known.evidence.last is not None else 0
    if known is None or known.evidence.champion != champion:
        fresh = Watched.of(champion, horizon=horizon, timeframe_us=duration_us(key.timeframe))
        known = WatchedModel(fresh, since=max(ends[0], next_row), tried=known.tried if known else None)
    elif known.again:
        known = replace(known, evidence=known.evidence.emptied())
    if known.evidence.challenger != challenger:
        since = None if challenger is None else max(*ends, next_row)
        known = replace(known, evidence=known.evidence.against(challenger), challenger_since=since)
    tried = max(filter(None, (known.tried, champion, challenger)))
    return replace(known, tried=tried), metadata


def _tasks(
    key: Key,
    known: WatchedModel,
    metadata: Sequence[Mapping[str, Any]],
    series: Sequence[Series],
    state: State,
    config: Config,
    fleet: Callable[[], Sequence[Series]],
) -> Iterator[ScoringTask]:
    """Yield a task for each series of a model.

    Raises:
        RegistryError: its versions were trained on different labels, or cannot be used here.
    """
    definitions = [Definition.of(one, config.data, where=f"{key}: {one['version']}") for one in metadata]
    if any(one.label != definitions[0].label for one in definitions):
        raise RegistryError(f"{key}: champion and challenger have different labels: promote one of them by hand")
    before = max(
        history(one.origins, one.features, key.timeframe, sequence_bars=one.sequence_bars, exact=True)
        for one in definitions
    )
    scored = known.evidence
    champion_from = known.since if scored.last is None else scored.last + 1
    challenger_from = max(known.challenger_since or 0, champion_from)
    bar = timedelta(microseconds=duration_us(key.timeframe))
    for one in series:
        needs: list[Need] = []
        if not all(each.origins.alone for each in definitions):
            nothing = Need(Sampling.of(config.data))
            needs = [(needs_of(each, fleet(), one.exchange) or (nothing,))[0] for each in definitions]
        reading = None if known.again else state.readings.get(str(one))
        yield ScoringTask(
            key=Key(one.exchange, one.symbol, key.timeframe, key.model_type),
            model=key,
            champion=scored.champion,
            challenger=scored.challenger,
            champion_from=champion_from,
            challenger_from=challenger_from,
            since=_time(champion_from) - bar - before,
            known=None if reading is None else Reading.of_record(reading),
            series=(one,),
            seconds=SECONDS_PER_TASK,
            memory=estimate_memory(ROWS, len(definitions[0].names)),
            needs=tuple(needs),
        )


def _us(time: datetime) -> int:
    return round(time.timestamp() * 1e6)


def _time(us: int) -> datetime:
    return datetime.fromtimestamp(us / 1e6, UTC)
