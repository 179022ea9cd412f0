"""Which versions were scored on which bars: whoever picks the best of many must know how many there were.

Versions that are pruned are remembered by an empty file each, whose name tells the times of their holdout:
`pruned/<exchange>/<symbol>/analyst_1h/<version>-<first>-<last>.json`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.versions import list_versions, read_metadata
from job.storage.files import ExistingFileError, Storage

FOLDER: Final = "pruned"
TIME: Final = "%Y%m%dT%H%M%SZ"
NAME: Final = re.compile(r"(?P<version>.+)-(?P<first>\d{8}T\d{6}Z)-(?P<last>\d{8}T\d{6}Z)\.json")
ALWAYS: Final = (datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
"""Holdout of a version that does not tell its own: it may share some time with any, and counts."""


def holdout_range(metadata: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """Return when the first and the last row of a version's holdout became available."""
    try:
        holdout = metadata["split"]["holdout"]
        return datetime.fromisoformat(holdout["test_from"]), datetime.fromisoformat(holdout["test_to"])
    except (LookupError, TypeError, ValueError):
        return ALWAYS


def remember(registry: Storage, key: Key, version: str, metadata: bytes) -> None:
    """Keep the times of a version's holdout, told by its metadata as it is stored, before the version is deleted."""
    try:
        tested = holdout_range(json.loads(metadata))
    except ValueError:
        tested = ALWAYS
    first, last = (f"{time.astimezone(UTC):{TIME}}" for time in tested)
    try:
        registry.create(f"{FOLDER}/{key.folder}/{key.stem}/{version}-{first}-{last}.json", b"")
    except ExistingFileError:  # an earlier attempt was interrupted after it
        return


def versions_scored(
    registry: Storage, keys: Iterable[Key], tested: tuple[datetime, datetime], *, besides: str = ""
) -> int:
    """Return how many versions were scored on bars between two times, both inclusive, pruned ones included.

    Args:
        registry: of the models.
        keys: the models among whose versions a best one is chosen.
        tested: the times.
        besides: a version that does not count, though it may be there.
    """
    found = 0
    for key in keys:
        holdouts = _pruned(registry, key)
        for version in list_versions(registry, key):
            try:
                holdouts[version] = holdout_range(read_metadata(registry, key, version))
            except RegistryError:
                holdouts[version] = ALWAYS
        holdouts.pop(besides, None)
        found += sum(first <= tested[1] and tested[0] <= last for first, last in holdouts.values())
    return found


def _pruned(registry: Storage, key: Key) -> dict[str, tuple[datetime, datetime]]:
    names = (path.rpartition("/")[2] for path in registry.list(f"{FOLDER}/{key.folder}/{key.stem}"))
    return {
        match["version"]: (_time(match["first"]), _time(match["last"])) for match in map(NAME.fullmatch, names) if match
    }


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)
