"""What was tried on which bars: whoever picks the best of many must know how many there were.

Versions that are pruned are remembered by a file each, whose name tells the times of their holdout:
`pruned/<exchange>/<symbol>/analyst_1h/<version>-<first>-<last>.json`. It is empty, or names the study that chose the
version's settings.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

from job.core.keys import Key
from job.registry.catalog import Summary, key_of
from job.registry.comparisons import ranges
from job.registry.names import time_of, time_text
from job.registry.scored import ALWAYS, Range, Scored, holdout_range, settings_tried, trials_of
from job.storage.files import ExistingFileError, Storage

FOLDER: Final = "pruned"
NAME: Final = re.compile(r"(?P<version>.+)-(?P<first>\d{8}T\d{6}Z)-(?P<last>\d{8}T\d{6}Z)\.json")


@dataclass(frozen=True)
class Tried:
    """What was tried on the bars that some `models` are judged by.

    `versions` were scored on some of these bars, pruned ones included, by so many different `labels` and `algorithms`;
    `settings` are those that studies tried beside them, `comparisons` were made of versions on some of these bars.
    """

    models: int = 0
    versions: int = 0
    labels: int = 0
    algorithms: int = 0
    settings: int = 0
    comparisons: int = 0

    def record(self) -> dict[str, int]:
        """Return the counts as JSON values."""
        return asdict(self)


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
    first, last = map(time_text, tested)
    with suppress(ExistingFileError):  # an earlier attempt was interrupted after it
        registry.create(f"{FOLDER}/{key.folder}/{key.stem}/{version}-{first}-{last}.json", content)


def scored_versions(
    registry: Storage, keys: Iterable[Key], summaries: Iterable[Summary]
) -> dict[Key, tuple[Scored, ...]]:
    """Return every version of each model that was ever scored: by their summaries, and pruned ones by a listing."""
    found: dict[Key, dict[str, Scored]] = {key: {} for key in keys}
    folders = {f"{FOLDER}/{key.folder}/{key.stem}": key for key in found}
    sizes = registry.sizes(*sorted({f"{FOLDER}/{key.folder}" for key in found})) if found else {}
    contents = registry.read_many(path for path, size in sizes.items() if size)
    for path in sizes:
        folder, _, name = path.rpartition("/")
        match = NAME.fullmatch(name)
        if match and folder in folders:
            study = None
            with suppress(ValueError):
                study = json.loads(contents.get(path, b"null"))
            ends = time_of(match["first"]), time_of(match["last"])
            found[folders[folder]][match["version"]] = Scored(match["version"], *ends, trials=trials_of(study))
    for summary in summaries:
        if (key := key_of(summary)) in found:
            found[key][summary["version"]] = Scored.of_summary(summary)
    return {key: tuple(own.values()) for key, own in found.items()}


def versions_scored(scored: Iterable[Scored], tested: Range, *, tuning: object = None) -> int:
    """Return how many versions were scored on bars between two times, both inclusive.

    Settings that were tried before those of a version were chosen count as versions, too: each study once, without the
    trial that the version itself is. `tuning` is what the metadata of one more version say of its study.
    """
    found = [one for one in scored if one.shares(tested)]
    return len(found) + settings_tried([trials_of(tuning), *(one.trials for one in found)])


def tried(registry: Storage, scored: Mapping[Key, Iterable[Scored]], tested: Mapping[Key, Range]) -> Tried:
    """Count what was tried on the bars by which models are judged: those of each between two times, both inclusive.

    Args:
        registry: of the models; its comparisons are listed.
        scored: versions of each model, of which those count that were scored on some of its bars.
        tested: the times, of the models that count.
    """
    found = [one for key, times in tested.items() for one in scored.get(key, ()) if one.shares(times)]
    compared = ranges(registry, tested)
    return Tried(
        models=len(tested),
        versions=len(found),
        labels=len({one.label for one in found if one.label}),
        algorithms=len({one.algorithm for one in found if one.algorithm}),
        settings=settings_tried(one.trials for one in found),
        comparisons=sum(
            begun <= times[1] and times[0] <= ended
            for key, times in tested.items()
            for begun, ended in compared.get(key, ())
        ),
    )
