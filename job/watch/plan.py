"""Which models to score on which bars: those with a champion, on bars that are new to it."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from job.compare.plan import known_until, needs_of_each
from job.config.settings import Config
from job.core.errors import JobError, RegistryError
from job.core.keys import POOLED, Key, model_owner
from job.learning.blocks import block_us
from job.learning.drift import Reference
from job.learning.watching import Watched
from job.registry.aliases import Aliases, read_all_aliases
from job.registry.catalog import keys
from job.registry.definition import Definition, label_definition
from job.registry.versions import read_metadata
from job.registry.watching import State, WatchedModel
from job.sources.finding import find_fleet
from job.sources.series import Found, Series
from job.storage.files import MissingFileError, Storage
from job.watch.task import ScoringTask
from job.worker.context import history_of
from job.worker.memory import estimate_memory
from transforms.bars import duration_us

AT_ONCE: Final = 16
SECONDS_PER_TASK: Final = 0.3
"""CPU seconds of loading a champion and scoring a day of bars by it."""
ROWS: Final = 5_000
"""Rows by which memory is estimated: new bars, and those before them that warm up."""


@dataclass(frozen=True)
class ScoringPlan:
    """Series to be scored; `models` is what is known of their models, with new champions and challengers in place.

    `useless` are challengers that can never be compared, and why. `fleet` are all series of the input where a model
    sees others beside its own.
    """

    tasks: tuple[ScoringTask, ...]
    models: Mapping[Key, WatchedModel]
    failures: Mapping[Key, JobError]
    useless: Mapping[Key, tuple[str, str]]
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
    aliases = read_all_aliases(registry, series.keys() if only is None else series.keys() & only)
    due = [key for key, own in aliases.items() if own.champion and _due(state.models.get(key), own, config)]
    fleet = cache(lambda: find_fleet(found, config.data, registry=registry.url))
    useless: dict[Key, tuple[str, str]] = {}

    def planned(key: Key) -> tuple[WatchedModel, list[ScoringTask]] | JobError:
        try:
            own, known = aliases[key], state.models.get(key)
            metadata = read_both(registry, key, own)
            if own.undecided is not None and (why := why_useless(metadata)):
                useless[key] = own.undecided, why
                own, metadata = replace(own, challenger=None), metadata[:1]
            definitions = [Definition.of(one, config.data, where=f"{key}: {one['version']}") for one in metadata]
            ends = [round(known_until(one, key).timestamp() * 1e6) for one in metadata]
            reference = Reference.read(metadata[0])
            stretch = reference.stretch if reference is not None else 0
            standing = _standing(key, own, known, definitions, ends)
            standing = replace(standing, tried=max(filter(None, (standing.tried, aliases[key].challenger))))
            return standing, [*_tasks(key, standing, definitions, stretch, series[key], state, config, fleet)]
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
        useless=useless,
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
    if known.versions != (aliases.champion, aliases.undecided):
        return True
    waited = datetime.now(UTC).timestamp() * 1e6 - known.evidence.last
    return waited >= duration_us(config.watch.score_every)


def read_both(registry: Storage, key: Key, aliases: Aliases) -> list[dict[str, Any]]:
    """Return the metadata of the champion, and of the challenger where there is one and its files are there.

    Raises:
        RegistryError: the champion is gone, or one of them cannot be used here.
    """
    try:
        metadata = [read_metadata(registry, key, str(aliases.champion))]
    except MissingFileError:
        raise RegistryError(
            f"{key}: its champion {aliases.champion} is not in {registry.url}: name another one with `models promote`"
        ) from None
    if aliases.undecided is not None:
        with suppress(MissingFileError):
            metadata.append(read_metadata(registry, key, aliases.undecided))
    return metadata


def why_useless(metadata: Sequence[Mapping[str, Any]]) -> str:
    """Return why a challenger can never be compared with its champion, given their metadata; empty where it can."""
    if len(metadata) == 1:
        return "its files are gone"
    first, second = (label_definition(one["label"]) for one in metadata)
    return "" if first == second else "it has another label than the champion"


def _standing(
    key: Key, aliases: Aliases, known: WatchedModel | None, definitions: Sequence[Definition], ends: Sequence[int]
) -> WatchedModel:
    """Return what is known of a model with its champion and challenger of now.

    Rows on which a version was trained, or by which it was chosen, are no evidence for it or against it: those before
    `ends`, of champion and challenger, and those that were scored before it became one of them.
    """
    champion, challenger = str(aliases.champion), aliases.undecided
    length = block_us(definitions[0].label.horizon, duration_us(key.timeframe))
    next_row = known.evidence.last + 1 if known and known.evidence.last is not None else 0
    if known is None or known.evidence.champion != champion:
        known = WatchedModel(
            Watched(champion, length), since=max(ends[0], next_row), tried=known.tried if known else None
        )
    elif known.again:
        before = known.evidence
        held = before.challenge.version if before.challenge is not None else None
        empty = Watched(champion, length, challengers=before.challengers - (held is not None))
        known = replace(known, evidence=empty.facing(champion, held, length=length))
    if known.versions[1] != challenger:
        since = None if challenger is None else max(*ends, next_row)
        evidence = known.evidence.facing(champion, challenger, length=length)
        known = replace(known, evidence=evidence, challenger_since=since)
    return replace(known, tried=max(filter(None, (known.tried, champion, challenger))))


def _tasks(  # noqa: PLR0917 - the model, and where its bars are
    key: Key,
    known: WatchedModel,
    definitions: Sequence[Definition],
    stretch: int,
    series: Sequence[Series],
    state: State,
    config: Config,
    fleet: Callable[[], Sequence[Series]],
) -> Iterator[ScoringTask]:
    """Yield a task for each series of a model."""
    before = max(map(history_of, definitions))
    evidence, champion_from = known.evidence, known.since
    if evidence.open is not None and key.exchange == POOLED:
        champion_from = (evidence.open[0] + 1) * evidence.length  # its series may not all be equally far
    elif evidence.last is not None:
        champion_from = evidence.last + 1
    for one in series:
        task = ScoringTask(
            key=Key(one.exchange, one.symbol, key.timeframe, key.model_type),
            model=key,
            champion=evidence.champion,
            challenger=known.versions[1],
            champion_from=champion_from,
            challenger_from=max(known.challenger_since or 0, champion_from),
            stretch=stretch,
            again=known.again,
            reading=state.readings.get(str(one)),
            series=(one,),
            seconds=SECONDS_PER_TASK,
            memory=estimate_memory(ROWS, len(definitions[0].names)),
            needs=needs_of_each(definitions, fleet, one.exchange, config.data),
        )
        yield replace(task, since=task.start - before)
