"""What a rerun need not do: the models that the registry already holds, as far as listings say, before Ray starts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from statistics import median
from types import MappingProxyType
from typing import Final

from job.config.settings import Config
from job.core.keys import Key
from job.core.wording import first_of
from job.registry.catalog import Summary, key_of, list_summaries, open_registry
from job.registry.fingerprints import digest_for, has_sessions, listing_fingerprint
from job.registry.ledger import scored_versions
from job.registry.listings import read_listings
from job.registry.outcome import Outcome, current, fresh_enough, of_summary, of_version
from job.registry.versions import DamagedMetadataError, read_metadata
from job.sources.series import Series
from job.storage.files import MissingFileError, Storage
from job.train.freshness import with_decisions
from job.train.policy import Decision
from job.train.task import Plan, Task
from job.worker.context import context_digest

FEW: Final = 200
"""As many models as a person looks at: so many are shown with all their scores, more with those of the catalog."""


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
    summaries = tuple(list_summaries(registry, *sorted({task.key.folder for task in plan.tasks})))
    listings = read_listings(registry) if summaries else {}
    known = with_known(plan.tasks, summaries, listings, config, verify=verify, fleet=plan.fleet)
    tasks = [*with_costs(known, summaries)]
    if config.model_trainer.trading is not None:
        scored = scored_versions(registry, [task.key for task in tasks], summaries)
        tasks = [replace(task, scored=scored[task.key]) for task in tasks]
    notes = (*plan.notes, *with_sessions(tasks))
    if force:
        fresh = tuple(replace(task, known=()) for task in tasks)
        return replace(plan, tasks=fresh, summaries=summaries, notes=notes)
    versions = {task.key: version for task in tasks if (version := task.known_version(config, task.content))}
    left = [task for task in tasks if task.key not in versions]
    decisions: dict[Key, Decision] = {}
    if config.retrain.is_set:
        left, decisions = with_decisions(left, summaries, config, registry, alarms=alarms, verify=verify)
        versions |= {key: decision.version for key, decision in decisions.items()}
    stored, unfinished = read_outcomes(registry, summaries, versions)
    if unfinished:
        notes = (*notes, f"{first_of(unfinished)}: without a last bar that nothing showed to be finished")
    lost = [task for task in tasks if task.key in versions and task.key not in stored]
    latest = {task.key: task.known[-1][1] for task in tasks if task.key in stored}
    return replace(
        plan,
        notes=notes,
        tasks=tuple(sorted([*left, *lost], key=lambda task: task.key)),
        current=tuple(current(stored[key], latest=name) for key, name in latest.items() if key not in decisions),
        fresh=tuple(
            fresh_enough(stored[key], latest=latest[key], **one.record())
            for key, one in decisions.items()
            if key in stored
        ),
        summaries=summaries,
    )


def read_outcomes(
    registry: Storage, summaries: Iterable[Summary], versions: Mapping[Key, str]
) -> tuple[dict[Key, Outcome], list[str]]:
    """Return the outcomes of versions, and the series whose last bar was left out as nothing showed it to be finished.

    A version without its metadata has none: its model is trained again.
    """
    held = [one for one in summaries if one["version"] == versions.get(key_of(one))]
    if len(held) > FEW:
        return {key_of(one): of_summary(one) for one in held}, []
    stored: dict[Key, Outcome] = {}
    unfinished: set[str] = set()
    for one in held:
        key = key_of(one)
        with suppress(MissingFileError, DamagedMetadataError):
            metadata = read_metadata(registry, key, one["version"])
            stored[key] = of_version(key, metadata)
            if metadata["data"].get("counts", {}).get("unfinished"):
                unfinished.add(f"{key.exchange}/{key.symbol}")
    return stored, sorted(unfinished)


def with_known(
    tasks: Sequence[Task],
    summaries: Iterable[Summary],
    listings: Mapping[str, str],
    config: Config,
    *,
    verify: bool,
    fleet: Sequence[Series] = (),
) -> list[Task]:
    """Return the tasks with what the registry says of them: their versions, and the digests of their bars.

    Args:
        tasks: as planned.
        summaries: of the registry's versions, in order of age.
        listings: digests of bars by the fingerprint of the files that hold them.
        config: settings; those of them that decide how files are read enter a listing's fingerprint.
        verify: trust no listing.
        fleet: series that models may see beside their own.
    """
    known: dict[Key, list[tuple[str, str]]] = {}
    for summary in summaries:
        known.setdefault(key_of(summary), []).append((summary.get("fingerprint", ""), summary["version"]))
    wanted = {(one, task.flow) for task in tasks for one in task.series} if listings else set()
    wanted |= {(one, flow) for one in fleet for flow in (False, True)} if listings else set()
    found = {(one, flow): listings.get(listing_fingerprint(one, config.data, flow=flow) or "") for one, flow in wanted}
    digests = {one: digest_for(digest, config.data) for one, digest in found.items() if digest is not None}
    return [
        replace(
            task,
            known=tuple(known.get(task.key, ())),
            cached_digests=tuple(digests.get((one, task.flow)) for one in task.series),
            context_digest=context_digest(task.needs[0], fleet, digests) if task.needs else None,
            trust_listing=not verify,
        )
        for task in tasks
    ]


def with_costs(tasks: Iterable[Task], summaries: Iterable[Summary]) -> Iterator[Task]:
    """Yield the tasks with seconds and memory as earlier versions took them: the key's latest, else its kind's median.

    Both grow with the rows.
    """
    latest = {key_of(one): one for one in summaries if one.get("seconds") and one.get("rows")}
    rates: dict[str, list[float]] = {}
    for key, one in latest.items():
        rates.setdefault(key.stem, []).append(one["seconds"] / one["rows"])
    usual = {stem: median(found) for stem, found in rates.items()}
    for task in tasks:
        seconds, memory = task.seconds, task.memory
        if before := latest.get(task.key):
            seconds = before["seconds"] / before["rows"] * task.rows
            if "peak_mb" in before:
                memory = int(before["peak_mb"] * 2**20 * max(1.0, task.rows / before["rows"]))
        elif task.key.stem in usual:
            seconds = usual[task.key.stem] * task.rows
        yield replace(task, seconds=seconds, memory=memory)


def with_sessions(tasks: Iterable[Task]) -> Iterator[str]:
    """Yield one note that names the series which were found to have sessions when they were last read."""
    pairs = {pair for task in tasks for pair in zip(task.series, task.cached_digests, strict=False)}
    if names := sorted(str(one) for one, digest in pairs if digest and has_sessions(digest)):
        yield f"{first_of(names)}: markets with sessions, whose closing times are neither filled nor cut (data.gaps)"
