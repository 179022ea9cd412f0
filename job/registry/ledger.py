"""Which versions were scored on which bars: whoever picks the best of many must know how many there were.

Versions that are pruned are remembered by a file each, whose name tells the times of their holdout:
`pruned/<exchange>/<symbol>/analyst_1h/<version>-<first>-<last>.json`. It is empty, or names the study that chose the
version's settings.
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


def trials_of(tuning: object) -> dict[str, int]:
    """Return how many settings were tried, by study, given what a version's metadata say of it; of most, none."""
    try:
        return {str(tuning["study"]): int(tuning["trials"])}  # type: ignore[index]
    except (LookupError, TypeError, ValueError):
        return {}


def remember(registry: Storage, key: Key, version: str, metadata: bytes) -> None:
    """Keep the times of a version's holdout, told by its metadata as it is stored, before the version is deleted."""
    content = b""
    try:
        described = json.loads(metadata)
        tested = holdout_range(described)
        if trials_of(tuning := described.get("tuning")):
            content = json.dumps(tuning).encode()
    except ValueError:
        tested = ALWAYS
    first, last = (f"{time.astimezone(UTC):{TIME}}" for time in tested)
    try:
        registry.create(f"{FOLDER}/{key.folder}/{key.stem}/{version}-{first}-{last}.json", content)
    except ExistingFileError:  # an earlier attempt was interrupted after it
        return


def versions_scored(
    registry: Storage,
    keys: Iterable[Key],
    tested: tuple[datetime, datetime],
    *,
    besides: str = "",
    tuning: object = None,
) -> int:
    """Return how many versions were scored on bars between two times, both inclusive, pruned ones included.

    Settings that were tried before those of a version were chosen count as versions, too: each study once, without the
    trial that the version itself is.

    Args:
        registry: of the models.
        keys: the models among whose versions a best one is chosen.
        tested: the times.
        besides: a version that does not count, though it may be there.
        tuning: what the metadata of the version besides say of its study.
    """
    found, trials = 0, trials_of(tuning)
    for key in keys:
        scored = _pruned(registry, key)
        for version in list_versions(registry, key):
            try:
                metadata = read_metadata(registry, key, version)
                scored[version] = (*holdout_range(metadata), trials_of(metadata.get("tuning")))
            except RegistryError:
                scored[version] = (*ALWAYS, {})
        scored.pop(besides, None)
        for first, last, tried in scored.values():
            if first <= tested[1] and tested[0] <= last:
                found += 1
                trials |= {study: max(number, trials.get(study, 0)) for study, number in tried.items()}
    return found + sum(number - 1 for number in trials.values())


def _pruned(registry: Storage, key: Key) -> dict[str, tuple[datetime, datetime, dict[str, int]]]:
    """Return, by version, the times of the holdouts of pruned ones, and how many settings were tried for each."""
    folder = f"{FOLDER}/{key.folder}/{key.stem}"
    sizes = registry.sizes(folder)
    contents = registry.read_many(path for path, size in sizes.items() if size)
    found = {}
    for path in sizes:
        if match := NAME.fullmatch(path.rpartition("/")[2]):
            tried = trials_of(_json(contents.get(path, b"null")))
            found[match["version"]] = (_time(match["first"]), _time(match["last"]), tried)
    return found


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _time(text: str) -> datetime:
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)
