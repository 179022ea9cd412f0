"""Moving a model's aliases: forth to a version that can be loaded, and back to the champion before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from job.errors import StoreError
from job.keys import Key
from job.store import (
    Alias,
    ConflictError,
    Store,
    list_versions,
    read_aliases,
    resolve_version,
    roll_back,
    set_alias,
    verify,
)


@dataclass(frozen=True)
class Move:
    """What became, or would become, of an alias: the version that it named, and the one that it names."""

    key: Key
    alias: Alias
    before: str | None
    after: str

    @property
    def changes(self) -> bool:
        """Whether the alias moves at all."""
        return self.before != self.after


def promote(
    store: Store,
    key: Key,
    name: str,
    *,
    alias: Alias = "champion",
    command: str = "promote",
    reason: str = "",
    numbers: Mapping[str, Any] | None = None,
    instead_of: str | None = None,
    dry_run: bool = False,
) -> Move:
    """Let an alias name a version whose artefacts are those that were committed; nothing is written if it does already.

    Args:
        store: where; `Store.check_writable` has told that it refuses the second writer of a file.
        key: the model.
        name: the version: all that `resolve_version` takes.
        alias: which one to move.
        command: that moves it, for the history.
        reason: for people, for the history.
        numbers: JSON values that the decision rests on, for the history.
        instead_of: the version that the alias must still name, None for any.
        dry_run: check everything and write nothing.

    Raises:
        StoreError: there is no such version, its artefacts are not what was committed, or another decision came first.
    """
    seen = read_aliases(store, key)
    if instead_of is not None and seen.named(alias) != instead_of:
        raise ConflictError(f"{key}: the {alias} was moved from {instead_of} to {seen.named(alias)} meanwhile")
    version = resolve_version(store, key, name)
    verify(store, key, version)
    move = Move(key, alias, seen.named(alias), version)
    if move.changes and not dry_run:
        set_alias(store, key, alias, version, seen=seen, command=command, reason=reason, numbers=numbers)
        if version not in list_versions(store, key):
            raise StoreError(f"{key}: {version} was deleted while it became the {alias}: roll back, or promote another")
    return move


def restore_champion(store: Store, key: Key, *, reason: str = "", dry_run: bool = False) -> Move:
    """Let the champion be what it was before the last promotion; again, what it was before the one before.

    Earlier champions that were pruned are passed over. What is rolled back is not gone: it may be promoted again.

    Raises:
        StoreError: there is no earlier champion, or its artefacts are not what was committed.
    """
    seen = read_aliases(store, key)
    versions = list_versions(store, key)
    if seen.champion is None:
        raise StoreError(f"{key} has no champion in {store.url}: name one with `models promote`")
    earlier = next((version for version in seen.previous if version in versions), None)
    if earlier is None:
        raise StoreError(
            f"{key}: {store.url} holds no champion before {seen.champion}: choose a version with `models promote`"
        )
    verify(store, key, earlier)
    if not dry_run:
        roll_back(store, key, earlier, seen=seen, command="rollback", reason=reason)
    return Move(key, "champion", seen.champion, earlier)
