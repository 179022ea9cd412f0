"""Export versions of many models to one target; what is there already is not exported again."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from job.core.errors import RegistryError
from job.core.keys import Key
from job.export.targets import Target, Version
from job.registry.aliases import Aliases, read_all_aliases
from job.registry.versions import read_committed, resolve_version
from job.storage.files import Storage

CHAMPION: Final = "champion"

Status = Literal["exported", "current", "no champion", "failed"]


@dataclass(frozen=True)
class Exported:
    """What became of one model: `version` is None where it has no champion, `message` says why it failed."""

    key: Key
    version: str | None
    status: Status
    message: str | None = None


def export(
    registry: Storage, keys: Iterable[Key], target: Target, *, version: str = CHAMPION, dry_run: bool = False
) -> Iterator[Exported]:
    """Export a version of each model, and let the target's aliases name what the registry's do; yield what came of it.

    Args:
        registry: where from.
        keys: the models.
        target: where to.
        version: what `resolve_version` takes. Models without a champion have none to export, which is no failure.
        dry_run: look at both sides and write nothing.
    """
    wanted = [*keys]
    all_aliases = read_all_aliases(registry, wanted)
    for key in wanted:
        aliases = all_aliases.get(key, Aliases())
        if version == CHAMPION and aliases.champion is None:
            yield Exported(key, None, "no champion")
            continue
        try:
            name = resolve_version(registry, key, version)
            known = _export_one(registry, key, name, target, dry_run=dry_run)
            if not dry_run:
                target.set_aliases(key, aliases)
        except RegistryError as error:
            yield Exported(key, None, "failed", str(error))
        else:
            yield Exported(key, name, "current" if known else "exported")


def _export_one(registry: Storage, key: Key, name: str, target: Target, *, dry_run: bool) -> bool:
    """Export a version unless it is there, and return whether it was.

    Raises:
        RegistryError: it is no version as it was committed, is a pickle, or the target has another one of its name.
    """
    files = read_committed(registry, key, name)
    text = next(iter(files.values()))
    digest, metadata = hashlib.sha256(text).hexdigest(), json.loads(text)
    if metadata["artefacts"]["format"] == "pkl":
        raise RegistryError(
            f"{key}: {name} is a pickle, which can run any code where it is loaded: train it again with "
            "storage.format=skops, and export that"
        )
    there = target.add(Version(key, name, digest, metadata, files), dry_run=dry_run)
    if there not in {None, digest}:
        raise RegistryError(
            f"{key}: another {name} is exported already (SHA-256 of its metadata {there}): it is of another registry, "
            "or was altered; export to another server"
        )
    return there is not None
