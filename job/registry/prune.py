"""Deleting old versions: never one that is named, that a rollback needs, or that a living run has made."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from job.core.keys import Key
from job.registry.aliases import Aliases, read_aliases, read_all_aliases
from job.registry.catalog import key_of, list_summaries, refresh
from job.registry.cleanup import open_runs
from job.registry.versions import listed_versions
from job.storage.files import MissingFileError, Storage


@dataclass(frozen=True)
class Prunable:
    """A version that nobody needs: its files' paths, the metadata first, and their bytes together."""

    key: Key
    version: str
    files: tuple[str, ...]
    size: int


def prunable(registry: Storage, keys: Iterable[Key], *, keep: int, lease_s: float) -> list[Prunable]:
    """Return what `prune` would delete: all but the last `keep` versions of each key and those that are needed.

    Needed are those that aliases name, the champion before, for a rollback, and those of runs whose lease is live.
    Versions whose metadata is damaged are left alone, and do not count as kept.
    """
    wanted = set(keys)
    folders = sorted({key.folder for key in wanted})
    if not folders:
        return []
    live = {run.run_id for run in open_runs(registry, lease_s=lease_s) if run.live}
    aliases = read_all_aliases(registry, wanted)
    sizes = registry.sizes(*folders)
    listed = {(one.key, one.version): one for one in listed_versions(sizes)}
    found: list[Prunable] = []
    for key, own in groupby(list_summaries(registry, *folders), key=key_of):
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


def prune(registry: Storage, to_delete: Iterable[Prunable]) -> list[Prunable]:
    """Delete versions and return those that are gone by this; then bring the catalog up to date.

    The metadata goes first, as its existence is the version's: what an interruption leaves is no version, and is swept
    by a later run like any that was not committed. Where an alias has come to name the version meanwhile, its metadata
    is put back. Of two that prune at once, each version is deleted by the one that finds its metadata.
    """
    deleted = [one for one in to_delete if _delete(registry, one)]
    if deleted:
        refresh(registry)
    return deleted


def _delete(registry: Storage, one: Prunable) -> bool:
    metadata, *artifacts = one.files
    try:
        content = registry.read(metadata)
    except MissingFileError:
        return False
    registry.remove(metadata)
    now = read_aliases(registry, one.key)
    if one.version in {now.champion, now.challenger, *now.previous[:1]}:
        registry.create(metadata, content)
        return False
    for path in artifacts:
        registry.remove(path)
    return True
