"""Deleting old versions: never one that is named, that a rollback needs, or that a living run has made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from job.keys import Key
from job.runs.sweeping import open_runs
from job.store import (
    Aliases,
    MissingFileError,
    Store,
    key_of,
    listed_versions,
    read_aliases,
    read_all_aliases,
    refresh,
    versions,
)


@dataclass(frozen=True)
class Prunable:
    """A version that nobody needs: its files' paths, the metadata first, and their bytes together."""

    key: Key
    version: str
    files: tuple[str, ...]
    size: int


def prunable(store: Store, keys: Iterable[Key], *, keep: int, lease_s: float) -> list[Prunable]:
    """Return what `prune` would delete: all but the last `keep` versions of each key and those that are needed.

    Needed are those that aliases name, the champion before, for a rollback, and those of runs whose lease is live.
    Versions whose metadata is damaged are left alone, and do not count as kept.
    """
    wanted = set(keys)
    folders = sorted({key.folder for key in wanted})
    if not folders:
        return []
    live = {run.run_id for run in open_runs(store, lease_s=lease_s) if run.live}
    aliases = read_all_aliases(store, wanted)
    sizes = store.sizes(*folders)
    listed = {(one.key, one.version): one for one in listed_versions(sizes)}
    found: list[Prunable] = []
    for key, own in groupby(versions(store, *folders), key=key_of):
        names = [one["version"] for one in own]
        kept = {*names[-keep:], *needed_versions(aliases.get(key, Aliases()), names)}
        for name in names:
            one = listed.get((key, name))
            if key in wanted and name not in kept and one is not None and one.run_id not in live:
                files = sorted(one.files.values(), key=lambda path: (not path.endswith(".json"), path))
                found.append(Prunable(key, name, tuple(files), sum(sizes[path] for path in files)))
    return found


def needed_versions(aliases: Aliases, names: Iterable[str]) -> Iterator[str]:
    """Yield, of a model's versions `names`, those that its aliases name, and the one that a rollback would restore."""
    there = set(names)
    yield from filter(None, (aliases.champion, aliases.challenger))
    yield from [version for version in aliases.previous if version in there][:1]


def prune(store: Store, doomed: Iterable[Prunable]) -> list[Prunable]:
    """Delete versions and return those that are gone by this; then bring the catalogue up to date.

    The metadata goes first, as its existence is the version's: what an interruption leaves is no version, and is swept
    by a later run like any that was not committed. Where an alias has come to name the version meanwhile, its metadata
    is put back. Of two that prune at once, each version is deleted by the one that finds its metadata.
    """
    deleted = [one for one in doomed if _delete(store, one)]
    if deleted:
        refresh(store)
    return deleted


def _delete(store: Store, one: Prunable) -> bool:
    metadata, *artefacts = one.files
    try:
        content = store.read(metadata)
    except MissingFileError:
        return False
    store.remove(metadata)
    now = read_aliases(store, one.key)
    if one.version in {now.champion, now.challenger, *now.previous[:1]}:
        store.create(metadata, content)
        return False
    for path in artefacts:
        store.remove(path)
    return True
