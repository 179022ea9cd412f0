"""Comparisons of versions: each is kept, since rows that one choice was based on are no fresh evidence for the next.

The name holds the range of time: `comparisons/<exchange>/<symbol>/analyst_1h/<run id>-<first>-<last>.json`.
"""

import json
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from job.core.keys import Key
from job.learning.evidence import Evidence
from job.registry.names import time_of, time_text
from job.storage.files import MissingFileError, Storage

FOLDER: Final = "comparisons"
NAME: Final = re.compile(r"\d{8}_\d{6}_[0-9a-f]{6}-(?P<first>\d{8}T\d{6}Z)-(?P<last>\d{8}T\d{6}Z)\.json")

MOST_READ: Final = 5
"""How many comparisons are looked through for the last one of two versions; a held challenger's is the last of all."""

log = logging.getLogger("job")


def overlapping(registry: Storage, key: Key, *, first: datetime, last: datetime) -> int:
    """Return how many comparisons of a model's versions used rows between two times, both inclusive."""
    first = first.replace(microsecond=0)  # as names tell times
    return sum(begun <= last and ended >= first for begun, ended in ranges(registry, [key]).get(key, ()))


def ranges(registry: Storage, keys: Iterable[Key]) -> dict[Key, list[tuple[datetime, datetime]]]:
    """Return first and last time of the rows of every comparison, by model; one listing for each folder of models."""
    folders = {_folder(key): key for key in keys}
    found: dict[Key, list[tuple[datetime, datetime]]] = {}
    paths = registry.list(*sorted({f"{FOLDER}/{key.folder}" for key in folders.values()})) if folders else []
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder in folders and (match := NAME.fullmatch(name)):
            first, last = (time_of(match[end]) for end in ("first", "last"))
            found.setdefault(folders[folder], []).append((first, last))
    return found


def last_evidence(registry: Storage, key: Key, a: str, b: str) -> Evidence | None:
    """Return what the last comparison of versions `a` and `b` knew; None if none of the last few was about them."""
    names = sorted(path.rpartition("/")[2] for path in registry.list(_folder(key)))
    for name in [name for name in reversed(names) if NAME.fullmatch(name)][:MOST_READ]:
        try:
            document = json.loads(registry.read(f"{_folder(key)}/{name}"))
            if (document["a"], document["b"]) == (a, b) and document.get("evidence"):
                return Evidence.of_record(document["evidence"])
        except (MissingFileError, ValueError, LookupError, TypeError) as error:
            log.warning("%s/%s is passed over: it is damaged (%s)", _folder(key), name, error)
    return None


def write_comparison(
    registry: Storage, key: Key, run_id: str, about: Mapping[str, Any], *, first: datetime, last: datetime
) -> None:
    """Keep what a comparison found (JSON values), of rows that became available between two times."""
    document = {"schema_version": 1, "key": asdict(key), "run_id": run_id, **about}
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    registry.create(f"{_folder(key)}/{run_id}-{time_text(first)}-{time_text(last)}.json", text.encode())


def _folder(key: Key) -> str:
    return f"{FOLDER}/{key.folder}/{key.stem}"
