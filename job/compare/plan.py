"""Which versions to compare, on which bars, from when on: everything that is known before any bar is read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final

from job.compare.task import ComparisonTask
from job.config.settings import Config, DataSettings
from job.core.errors import ConfigError, DataError, JobError, RegistryError
from job.core.keys import ALL, POOLED, Key
from job.registry.aliases import read_aliases
from job.registry.catalog import list_summaries
from job.registry.comparisons import last_evidence, overlapping
from job.registry.definition import Definition
from job.registry.ledger import scored_versions, versions_scored
from job.registry.scored import Scored
from job.registry.versions import LATEST, list_versions, read_metadata, resolve_version
from job.registry.watching import read_state
from job.sources.estimates import estimate_rows
from job.sources.finding import find_fleet, find_series
from job.sources.series import Series
from job.storage.files import Storage
from job.storage.snapshot import Snapshot
from job.worker.context import Need, Sampling, needs_of
from job.worker.memory import estimate_memory
from transforms.bars import duration_us

SECONDS_PER_ROW: Final = 3e-5
SECONDS_PER_TASK: Final = 0.5
"""CPU seconds of scoring by two versions, and of loading them."""
END_OF_TIME: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ComparisonPlan:
    """The comparisons to make; `same` are models for which both names stand for one version."""

    tasks: tuple[ComparisonTask, ...]
    same: tuple[Key, ...]
    failures: Mapping[Key, JobError]
    notes: tuple[str, ...]
    fresher: frozenset[Key]
    """Models whose version b was trained on later bars than a."""
    held: frozenset[Key] = frozenset()
    """Models whose version b is the challenger, which is undecided, instead of the latest version."""
    fleet: tuple[Series, ...] = ()
    """All series of the input, where versions see others beside their own."""
    scored: Mapping[Key, tuple[Scored, ...]] = field(default_factory=dict)
    """Every version that was ever scored, of each model that is compared."""
    watched: frozenset[Key] = frozenset()
    """Models whose two versions `watch` compares, too."""


def plan(config: Config, registry: Storage, keys: Iterable[Key], *, a: str, b: str) -> ComparisonPlan:
    """Resolve the versions `a` and `b` of every model, and find its bars; `data.start` is the first bar to be used.

    The champion is compared with its challenger, while it has one, where the latest version is asked for: a challenger
    that another one replaced each week would never be decided.

    Raises:
        ConfigError: `data.input` is not set.
        DataError: nothing in the input can be read.
    """
    found = find_series(config.data, registry=registry.url)
    fleet = cache(lambda: find_fleet(found, config.data, registry=registry.url))
    registry = Snapshot(registry)
    series: dict[tuple[str, str], list[Series]] = {}
    for one in found.series:
        for owner in {(one.exchange, one.symbol), (POOLED, ALL), (POOLED, one.exchange)}:
            series.setdefault(owner, []).append(one)
    tasks: list[ComparisonTask] = []
    same: list[Key] = []
    failures: dict[Key, JobError] = {}
    held: set[Key] = set()
    for key in keys:
        try:
            second = read_aliases(registry, key).undecided if (a, b) == ("champion", LATEST) else None
            if second is not None and second in list_versions(registry, key):
                held.add(key)
            else:
                second = b
            versions = [resolve_version(registry, key, name) for name in (a, second)]
            if versions[0] == versions[1]:
                same.append(key)
                continue
            metadata = [read_metadata(registry, key, version) for version in versions]
            task = _task(key, metadata, tuple(series.get((key.exchange, key.symbol), ())), config, fleet)
            tasks.append(_with_history(registry, task, only_input=config.data.start is not None))
        except JobError as error:
            failures[key] = error
    folders = sorted({task.key.folder for task in tasks})
    summaries = list_summaries(registry, *folders) if folders else []
    scored = scored_versions(registry, [task.key for task in tasks], summaries)
    tasks = [replace(task, others=_others(task, scored[task.key])) for task in tasks]
    notes = (*found.notes, *map(str, found.problems))
    others = fleet() if any(task.needs for task in tasks) else ()
    known = read_state(registry).models
    watched = frozenset(one.key for one in tasks if one.key in known and known[one.key].versions == (one.a, one.b))
    fresher = frozenset(task.key for task in tasks if task.fresher)
    return ComparisonPlan(tuple(tasks), tuple(same), failures, notes, fresher, frozenset(held), others, scored, watched)


def _others(task: ComparisonTask, scored: Iterable[Scored]) -> int:
    """Return how many versions beside two were scored in training on rows that come after all that these have seen."""
    return versions_scored(
        [one for one in scored if one.version not in {task.a, task.b}], (task.usable_from, END_OF_TIME)
    )


def _with_history(registry: Storage, task: ComparisonTask, *, only_input: bool) -> ComparisonTask:
    """Return a task with what earlier comparisons knew; `only_input` if rows before those of the input do not count."""
    earlier = overlapping(registry, task.key, first=task.usable_from, last=END_OF_TIME)
    evidence = last_evidence(registry, task.key, task.a, task.b)
    if evidence is None:
        return replace(task, earlier=earlier)
    earlier = max(0, earlier - evidence.looks)
    if not only_input:
        return replace(task, earlier=earlier, evidence=evidence)
    seen_before = task.usable_from.timestamp() * 1e6 <= evidence.last
    return replace(task, earlier=earlier, looked=evidence.looks if seen_before else 0)


def _task(
    key: Key,
    metadata: Sequence[Mapping[str, Any]],
    own: tuple[Series, ...],
    config: Config,
    fleet: Callable[[], Sequence[Series]],
) -> ComparisonTask:
    """Return the comparison of two versions, given their metadata and the model's series.

    What the versions see of other series stands with it, a first; `fleet` gives all series of the input.

    Raises:
        DataError: the input has no bars of the model.
        RegistryError: the versions were trained on different labels.
        ConfigError: `data.start` is too early.
    """
    if not own:
        raise DataError(f"{key}: {config.data.input} holds no bars of it: give its bars with --input")
    a, b = (str(one["version"]) for one in metadata)
    first, second = (Definition.of(one, config.data, where=f"{key}: {one['version']}") for one in metadata)
    if first.label != second.label:
        raise RegistryError(
            f"{key}: {a} was trained on the label {first.label.definition()}, {b} on {second.label.definition()}: "
            "only versions of one label can be compared"
        )
    rows = sum(estimate_rows(one, key.timeframe, config.data) for one in own)
    # Neither version was trained on rows before, or chosen by them: `label_end` is the last of training and holdout.
    usable_from = max(known_until(one, key) for one in metadata)
    bar = timedelta(microseconds=duration_us(key.timeframe))
    if since := config.data.start:
        if since + bar < usable_from:
            raise ConfigError(
                f"{key}: --since {since:%Y-%m-%dT%H:%M:%S} is too early: {a} or {b} was trained or chosen on bars up "
                f"to {usable_from:%Y-%m-%dT%H:%M:%S}; give --since {usable_from - bar:%Y-%m-%dT%H:%M:%S} or later, or "
                "leave it out"
            )
        usable_from = since + bar
    return ComparisonTask(
        key=key,
        a=a,
        b=b,
        usable_from=usable_from,
        fresher=is_fresher(key, *metadata),
        series=own,
        seconds=SECONDS_PER_TASK + SECONDS_PER_ROW * rows,
        memory=estimate_memory(rows, len({*first.names, *second.names})),
        needs=needs_of_each((first, second), fleet, key.exchange, config.data),
    )


def needs_of_each(
    definitions: Sequence[Definition], fleet: Callable[[], Sequence[Series]], exchange: str, data: DataSettings
) -> tuple[Need, ...]:
    """Return what each of the versions of a model needs of other series, in their order; nothing if none needs any."""
    if all(one.origins.alone for one in definitions):
        return ()
    nothing = Need(Sampling.of(data))
    return tuple((needs_of(one, fleet(), exchange) or (nothing,))[0] for one in definitions)


def is_fresher(key: Key, a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether version b was trained on later bars than a, by their metadata; raises as `known_until`."""
    return known_until(b, key) > known_until(a, key)


def known_until(metadata: Mapping[str, Any], key: Key) -> datetime:
    """Return when the last label was known that a version was trained or chosen on.

    Raises:
        RegistryError: its metadata does not say.
    """
    try:
        return datetime.fromisoformat(metadata["label_end"])
    except (LookupError, TypeError, ValueError):
        raise RegistryError(
            f"{key}: the metadata of {metadata['version']} does not say when its last label was known; "
            "train the model again"
        ) from None
