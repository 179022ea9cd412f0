"""What a rerun need not do: the models that the registry already holds, as far as listings say, before Ray starts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from statistics import median
from types import MappingProxyType
from typing import Final, NamedTuple

from job.config.settings import Config
from job.core.keys import POOLED, Key
from job.core.wording import first_of
from job.registry.catalog import Summary, find_summaries, key_of, open_registry, scores_of, summary_scores
from job.registry.fingerprints import Recipe, digest_for, has_sessions, listing_fingerprints
from job.registry.ledger import scored_versions
from job.registry.listings import read_listings
from job.registry.outcome import Outcome, current, fresh_enough, hidden_by, of_version
from job.registry.scored import Scored
from job.registry.versions import DamagedMetadataError, read_metadata
from job.sources.series import Series
from job.storage.files import MissingFileError, Storage
from job.train.freshness import with_decisions
from job.train.policy import Decision
from job.train.task import Plan, Task, Versions, version_of
from job.worker.context import context_digest

FEW: Final = 200
"""As many models as a person looks at: so many are shown with all their scores, more with those of the catalog."""


class Known(NamedTuple):
    """What a registry says of a task, by the names that it has in the task's fields."""

    known: Versions
    cached_digests: tuple[str | None, ...]
    context_digest: str | None
    trust_listing: bool

    def of(self, task: Task) -> Task:
        """Return the task with it: only for tasks that are left, since this takes longer than all else."""
        return replace(task, **self._asdict())


def skip_completed(
    plan: Plan,
    config: Config,
    *,
    force: bool = False,
    verify: bool = False,
    alarms: Mapping[Key, datetime] = MappingProxyType({}),
) -> Plan:
    """Look up every task of a plan in the registry; `force` trains all, `verify` trusts no listing.

    A task is to be checked where the registry has versions of it but no listing says what its files hold: a worker
    reads them, and the model may then turn out to be current, or fresh enough by the retrain policy. `alarms` says
    since when the champions of models are flagged.

    Raises:
        RegistryError: the registry cannot be read.
    """
    registry = open_registry(config)
    looked_up = find_summaries(registry, *sorted({task.key.folder for task in plan.tasks}))
    summaries = looked_up.summaries
    listings = read_listings(registry) if summaries else {}

    def known(tasks: Sequence[Task]) -> Iterator[tuple[Task, Known]]:
        return known_of(tasks, summaries, listings, config, verify=verify, fleet=plan.fleet)

    found, left, sessions = _sorted_out(known(plan.tasks), config, force=force)
    decisions: dict[Key, Decision] = {}
    if config.retrain.is_set and not force:
        latest = {task.key: task.known[-1][1] for task in left if task.known}
        left, decisions = with_decisions(left, summaries, config, registry, alarms=alarms, verify=verify)
        found |= {key: (one.version, latest[key]) for key, one in decisions.items()}
    left = with_history(left, summaries, config, registry)
    if len(found) > FEW:
        stored, unfinished = _catalogued(found, summaries), list[str]()
    else:
        stored, unfinished = _described(found, registry)
        damaged = [task for task in plan.tasks if task.key in found and task.key not in stored]
        left += with_history([told.of(task) for task, told in known(damaged)], summaries, config, registry)
        left.sort(key=lambda task: task.key.parts)
    settled = [task.key for task in plan.tasks if task.key in stored]
    fresh = [key for key in settled if key in decisions]
    return replace(
        plan,
        notes=(*plan.notes, *_notes(sessions, unfinished)),
        tasks=tuple(left),
        current=tuple(stored[key] for key in settled if key not in decisions),
        fresh=tuple(fresh_enough(stored[key], latest=found[key][1], **decisions[key].record()) for key in fresh),
        uncatalogued=tuple(looked_up.read),
    )


def _notes(sessions: Sequence[str], unfinished: Sequence[str]) -> Iterator[str]:
    """Yield what a user must know of series that have sessions, and of those that were read without their last bar."""
    if sessions:
        yield f"{first_of(sessions)}: markets with sessions, whose closing times are neither filled nor cut (data.gaps)"
    if unfinished:
        yield f"{first_of(unfinished)}: without a last bar that nothing showed to be finished"


def _sorted_out(
    tasks: Iterable[tuple[Task, Known]], config: Config, *, force: bool
) -> tuple[dict[Key, tuple[str, str]], list[Task], list[str]]:
    """Return what is current, the tasks that are left, and the series that had sessions when they were last read.

    Of a model that is current, as far as listings tell, there are the version that is and the latest one; no task of it
    is made that knows all versions: there may be many thousands.
    """
    recipes: dict[tuple[int, str, bool], Recipe] = {}  # tasks of one kind share their spec
    found: dict[Key, tuple[str, str]] = {}
    left: list[Task] = []
    sessions: set[str] = set()
    for task, told in tasks:
        for one, digest in zip(task.series, told.cached_digests, strict=True):
            if digest and has_sessions(digest):
                sessions.add(str(one))
        if force:
            left.append(told._replace(known=()).of(task))
            continue
        version, content = None, None
        if told.known and told.trust_listing:
            content = task.content_by(told.cached_digests, told.context_digest)
        if content is not None:
            kind = (id(task.spec), task.key.timeframe, task.key.exchange == POOLED)
            if kind not in recipes:
                recipes[kind] = task.recipe(config)
            version = version_of(told.known, recipes[kind].fingerprint(content))
        if version is None:
            left.append(told.of(task))
        else:
            found[task.key] = (version, told.known[-1][1])
    return found, left, sorted(sessions)


def _catalogued(found: Mapping[Key, tuple[str, str]], summaries: list[Summary]) -> dict[Key, Outcome]:
    """Return the outcomes of models that are current by what the catalog says; the list is emptied on the way.

    Of many thousands, summaries and outcomes together would take more memory than all else.
    """
    stored: dict[Key, Outcome] = {}
    scores = summary_scores()
    while summaries:
        one = summaries.pop()
        version, latest = found.get(key := key_of(one), ("", ""))
        if version == one["version"]:
            stored[key] = Outcome(
                *key.parts,
                "current",
                version=version,
                rows=one.get("rows", 0),
                scores=scores_of(one, scores),
                warnings=hidden_by(latest, key, version),
            )
    return stored


def _described(found: Mapping[Key, tuple[str, str]], registry: Storage) -> tuple[dict[Key, Outcome], list[str]]:
    """Return the outcomes of models that are current, and the series that were trained without their last bar.

    They come with all that their metadata say, which alone knows of the last bar.
    """
    stored: dict[Key, Outcome] = {}
    unfinished: set[str] = set()
    for key, (version, latest) in found.items():
        with suppress(MissingFileError, DamagedMetadataError):  # a version without its metadata is trained again
            metadata = read_metadata(registry, key, version)
            stored[key] = current(of_version(key, metadata), latest=latest)
            if metadata["data"].get("counts", {}).get("unfinished"):
                unfinished.add(f"{key.exchange}/{key.symbol}")
    return stored, sorted(unfinished)


def known_of(
    tasks: Sequence[Task],
    summaries: Iterable[Summary],
    listings: Mapping[str, str],
    config: Config,
    *,
    verify: bool,
    fleet: Sequence[Series] = (),
) -> Iterator[tuple[Task, Known]]:
    """Yield the tasks, and with each what the registry says of it: its versions, and the digests of its bars.

    Args:
        tasks: as planned.
        summaries: of the registry's versions, in order of age.
        listings: digests of bars by the fingerprint of the files that hold them.
        config: settings; those of them that decide how files are read enter a listing's fingerprint.
        verify: trust no listing.
        fleet: series that models may see beside their own.
    """
    known: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    for summary in summaries:
        known.setdefault(tuple(summary["key"]), []).append((summary.get("fingerprint", ""), summary["version"]))
    wanted = {(one, task.flow) for task in tasks for one in task.series} if listings else set()
    wanted |= {(one, flow) for one in fleet for flow in (False, True)} if listings else set()
    found = {one: listings.get(listing or "") for one, listing in listing_fingerprints(wanted, config.data).items()}
    digests = {one: digest_for(digest, config.data) for one, digest in found.items() if digest is not None}
    for task in tasks:
        flow = task.flow
        yield (
            task,
            Known(
                known=tuple(known.get(task.key.parts, ())),
                cached_digests=tuple([digests.get((one, flow)) for one in task.series]),
                context_digest=context_digest(task.needs[0], fleet, digests) if task.needs else None,
                trust_listing=not verify,
            ),
        )


def with_history(tasks: Sequence[Task], summaries: Sequence[Summary], config: Config, registry: Storage) -> list[Task]:
    """Return the tasks with what earlier versions took, and how they were scored where models are by trading, too.

    Seconds and memory are those of the key's latest version, else of its kind's median. Both grow with the rows.
    """
    if not tasks:
        return []
    scored: Mapping[Key, tuple[Scored, ...]] = {}
    if config.model_trainer.trading is not None:
        scored = scored_versions(registry, [task.key for task in tasks], summaries)
    latest = {key_of(one): one for one in summaries if one.get("seconds") and one.get("rows")}
    rates: dict[str, list[float]] = {}
    for key, one in latest.items():
        rates.setdefault(key.stem, []).append(one["seconds"] / one["rows"])
    usual = {stem: median(found) for stem, found in rates.items()}
    found = []
    for task in tasks:
        seconds, memory = task.seconds, task.memory
        if before := latest.get(task.key):
            seconds = before["seconds"] / before["rows"] * task.rows
            if "peak_mb" in before:
                memory = int(before["peak_mb"] * 2**20 * max(1.0, task.rows / before["rows"]))
        elif task.key.stem in usual:
            seconds = usual[task.key.stem] * task.rows
        found.append(replace(task, seconds=seconds, memory=memory, scored=scored.get(task.key, ())))
    return found
