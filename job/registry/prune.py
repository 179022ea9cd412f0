"""Deleting old versions: never one that is named, that a rollback needs, or that a living run has made."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from job.core.keys import Key
from job.registry.aliases import Aliases, read_aliases, read_all_aliases
from job.registry.catalog import key_of, list_summaries, replace_catalog
from job.registry.cleanup import open_runs
from job.registry.ledger import remember
from job.registry.names import listed_versions
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

    Needed are the versions that aliases name, the one that a rollback would restore, and those of runs whose lease is
    live. Versions whose metadata is damaged are left alone, and do not count as kept.
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
        named = aliases.get(key, Aliases())
        rollback = [version for version in named.previous if version in names][:1]
        kept = {*names[-keep:], named.champion, named.challenger, *rollback}
        for name in names:
            one = listed.get((key, name))
            if key in wanted and name not in kept and one is not None and one.run_id not in live:
                files = sorted(one.files.values(), key=lambda path: (not path.endswith(".json"), path))
                found.append(Prunable(key, name, tuple(files), sum(sizes[path] for path in files)))
    return found


def prune(registry: Storage, to_delete: Iterable[Prunable]) -> list[Prunable]:
    """Delete versions, bring the catalog up to date, and return the versions that were deleted here.

    The metadata goes first, as its existence makes a version: what an interruption leaves is no version, and is swept
    by a later run like any that was not committed. On which bars a version was scored is remembered.
    """
    deleted: list[Prunable] = []
    for one in to_delete:
        metadata, *artifacts = one.files
        try:
            content = registry.read(metadata)
        except MissingFileError:  # somebody else, pruning at the same time, was first
            continue
        remember(registry, one.key, one.version, content)
        registry.remove(metadata)
        now = read_aliases(registry, one.key)
        if one.version in {now.champion, now.challenger, *now.previous[:1]}:  # since `prunable` looked
            registry.create(metadata, content)
            continue
        for path in artifacts:
            registry.remove(path)
        deleted.append(one)
    if deleted:
        replace_catalog(registry, list_summaries(registry))
    return deleted
