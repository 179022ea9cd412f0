"""Promote and roll back: move an alias to a version that can be loaded, or back to the champion before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.aliases import Alias, ConflictError, change_alias, read_aliases
from job.registry.versions import list_versions, resolve_version, verify
from job.storage.files import Storage


@dataclass(frozen=True)
class AliasChange:
    """What a decision changes, or would change: the version that an alias named, and the one that it names now."""

    key: Key
    alias: Alias
    before: str | None
    after: str

    @property
    def changes(self) -> bool:
        """Whether the alias moves at all."""
        return self.before != self.after


def promote(
    registry: Storage,
    key: Key,
    name: str,
    *,
    alias: Alias = "champion",
    command: str = "promote",
    reason: str = "",
    numbers: Mapping[str, Any] | None = None,
    instead_of: str | None = None,
    dry_run: bool = False,
) -> AliasChange:
    """Let an alias name a version whose artifacts are those that were committed; nothing is written if it does already.

    Args:
        registry: where; `Storage.check_writable` has found that it refuses the second writer of a file.
        key: the model.
        name: the version: all that `resolve_version` takes.
        alias: the alias to move.
        command: that moves it, for the history.
        reason: for people, for the history.
        numbers: JSON values that the decision rests on, for the history.
        instead_of: the version that the alias must still name, None for any.
        dry_run: check everything and write nothing.

    Raises:
        RegistryError: there is no such version, its artifacts are not what was committed, or another
            decision came first.
    """
    seen = read_aliases(registry, key)
    if instead_of is not None and seen.named(alias) != instead_of:
        raise ConflictError(f"{key}: the {alias} was moved from {instead_of} to {seen.named(alias)} meanwhile")
    version = resolve_version(registry, key, name)
    verify(registry, key, version)
    move = AliasChange(key, alias, seen.named(alias), version)
    if move.changes and not dry_run:
        change_alias(
            registry,
            key,
            alias,
            lambda now: now.moved(alias, version),
            seen=seen,
            command=command,
            reason=reason,
            numbers=numbers,
        )
        if version not in list_versions(registry, key):
            raise RegistryError(
                f"{key}: {version} was deleted while it became the {alias}: roll back, or promote another"
            )
    return move


def restore_champion(registry: Storage, key: Key, *, reason: str = "", dry_run: bool = False) -> AliasChange:
    """Let the champion be what it was before the last promotion; again, what it was before the one before.

    Earlier champions that were pruned are passed over. The version rolled back stays, and may be promoted again.

    Raises:
        RegistryError: there is no earlier champion, or its artifacts are not what was committed.
    """
    seen = read_aliases(registry, key)
    versions = list_versions(registry, key)
    if seen.champion is None:
        raise RegistryError(f"{key} has no champion in {registry.url}: name one with `models promote`")
    earlier = next((version for version in seen.previous if version in versions), None)
    if earlier is None:
        raise RegistryError(
            f"{key}: {registry.url} holds no champion before {seen.champion}: choose a version with `models promote`"
        )
    verify(registry, key, earlier)
    if not dry_run:
        change_alias(
            registry,
            key,
            "champion",
            lambda now: now.rolled_back(earlier),
            seen=seen,
            command="rollback",
            reason=reason,
        )
    return AliasChange(key, "champion", seen.champion, earlier)
