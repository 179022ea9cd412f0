"""What a rerun need not do: the models that the registry already holds, as far as listings tell, before Ray starts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from statistics import median
from typing import Final

from job.config.settings import Config
from job.core.keys import Key
from job.core.wording import first_of
from job.registry.catalog import Summary, key_of, list_summaries, open_registry
from job.registry.fingerprints import digest_for, has_sessions, listing_fingerprint
from job.registry.listings import read_listings
from job.registry.outcome import Outcome, current, of_summary, of_version
from job.registry.versions import DamagedMetadataError, read_metadata
from job.sources.series import Series
from job.storage.files import MissingFileError, Storage
from job.train.task import Plan, Task

FEW: Final = 200
"""As many models as a person looks at: for these a rerun reads all scores, beyond them those of the catalog do."""


def skip_completed(plan: Plan, config: Config, *, force: bool = False, verify: bool = False) -> Plan:
    """Look up every task of a plan in the registry; `force` trains all, `verify` trusts no listing.

    A task is to be checked where the registry has versions of it but no listing says what its files hold: a worker
    reads them, and the model may then turn out to be current.

    Raises:
        RegistryError: the registry cannot be read.
    """
    registry = open_registry(config)
    summaries = list_summaries(registry, *sorted({task.key.folder for task in plan.tasks}))
    listings = read_listings(registry) if summaries else {}
    tasks = with_costs(with_contents(with_known(plan.tasks, summaries), listings, config, verify=verify), summaries)
    notes = (*plan.notes, *with_sessions(tasks))
    if force:
        fresh = tuple(replace(task, known=()) for task in tasks)
        return replace(plan, tasks=fresh, summaries=tuple(summaries), notes=notes)
    found = {task.key: task.known_version(config, task.content) for task in tasks}
    stored = _outcomes(registry, [one for one in summaries if one["version"] == found.get(key_of(one))])
    return replace(
        plan,
        notes=notes,
        tasks=tuple(task for task in tasks if task.key not in stored),
        current=tuple(current(stored[task.key], latest=task.known[-1][1]) for task in tasks if task.key in stored),
        summaries=tuple(summaries),
    )


def with_known(tasks: Iterable[Task], summaries: Iterable[Summary]) -> list[Task]:
    """Return the tasks with the versions that the registry already holds, from its summaries in order of age."""
    known: dict[Key, list[tuple[str, str]]] = {}
    for summary in summaries:
        known.setdefault(key_of(summary), []).append((summary.get("fingerprint", ""), summary["version"]))
    return [replace(task, known=tuple(known.get(task.key, ()))) for task in tasks]


def with_costs(tasks: Iterable[Task], summaries: Sequence[Summary]) -> list[Task]:
    """Return the tasks with seconds and memory as earlier versions took them: the key's latest, else its kind's median.

    Both grow with the rows.
    """
    latest = {key_of(one): one for one in summaries if one.get("seconds") and one.get("rows")}
    rates: dict[str, list[float]] = {}
    for key, one in latest.items():
        rates.setdefault(key.stem, []).append(one["seconds"] / one["rows"])
    usual = {stem: median(found) for stem, found in rates.items()}
    return [_with_cost(task, latest.get(task.key), usual.get(task.key.stem)) for task in tasks]


def _with_cost(task: Task, before: Summary | None, usual: float | None) -> Task:
    rate = before["seconds"] / before["rows"] if before else usual
    seconds = task.seconds if rate is None else rate * task.rows
    if before is None or "peak_mb" not in before:
        return replace(task, seconds=seconds)
    grown = max(1.0, task.rows / before["rows"])
    return replace(task, seconds=seconds, memory=int(before["peak_mb"] * 2**20 * grown))


def with_contents(tasks: Sequence[Task], listings: Mapping[str, str], config: Config, *, verify: bool) -> list[Task]:
    """Return the tasks with what listings tell of their series' files, which is not trusted on `verify`."""
    series = {one for task in tasks for one in task.series} if listings else set()
    told = {one: _cached_digest(one, listings, config) for one in series}
    return [
        replace(task, cached_digests=tuple(told.get(one) for one in task.series), trust_listing=not verify)
        for task in tasks
    ]


def with_sessions(tasks: Iterable[Task]) -> Iterator[str]:
    """Yield one note that names the series which were found to have sessions when they were last read."""
    pairs = {pair for task in tasks for pair in zip(task.series, task.cached_digests, strict=False)}
    if names := sorted(str(one) for one, digest in pairs if digest and has_sessions(digest)):
        yield f"{first_of(names)}: markets with sessions, whose closing times are neither filled nor cut (data.gaps)"


def _cached_digest(series: Series, listings: Mapping[str, str], config: Config) -> str | None:
    listing = listing_fingerprint(series, config.data)
    digest = None if listing is None else listings.get(listing)
    return None if digest is None else digest_for(digest, config.data)


def _outcomes(registry: Storage, summaries: Sequence[Summary]) -> dict[Key, Outcome]:
    """Return the outcomes of stored versions, with all scores where they are few.

    A version whose metadata is gone or damaged by now is left out: it must be trained again.
    """
    if len(summaries) > FEW:
        return {key_of(one): of_summary(one) for one in summaries}
    outcomes = {}
    for one in summaries:
        with suppress(MissingFileError, DamagedMetadataError):
            outcomes[key_of(one)] = of_version(key_of(one), read_metadata(registry, key_of(one), one["version"]))
    return outcomes
