"""Versions of a model that were scored on the same bars: is the best of them any good, and would it be again?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from job.core.keys import Key
from job.learning.multiplicity import Best, best_of
from job.learning.overfitting import Overfitting, overfitting_of
from job.registry.outcome import version_cluster_us
from job.registry.scored import Range, Scored, holdout_range
from job.registry.versions import DamagedMetadataError, parse_metadata
from job.storage.files import Storage

MOST_VERSIONS: Final = 32
"""Of more versions, the latest count: the metadata of each is read."""
MOST_MODELS: Final = 40
"""Of more models at once nobody asks, for up to 32 files would be read for each."""
LEAST_SHARE: Final = 0.5
"""Of a version's holdout, so much must be another's, or too little would be left that all share."""


@dataclass(frozen=True)
class Shared:
    """Versions of one label whose holdouts share time: the best of them against its base rate, and against the others.

    `best` is a version, None where there is too little time to tell.
    """

    versions: tuple[str, ...]
    gain: Best
    overfitting: Overfitting

    @property
    def best(self) -> str | None:
        """The version that gains most over its base rate."""
        return None if self.gain.best is None else self.versions[self.gain.best]

    def record(self) -> dict[str, Any]:
        """Return it as JSON values: p as of `learning.multiplicity`, pbo as of `learning.overfitting`."""
        return {
            "versions": list(self.versions),
            "best": self.best,
            "p": self.gain.p,
            "blocks": self.gain.blocks,
            "underpowered": self.gain.underpowered,
            "pbo": self.overfitting.pbo,
            "pbo_versions": self.overfitting.versions,
            "pbo_blocks": self.overfitting.blocks,
        }


def shared_holdout(registry: Storage, key: Key, metadata: Mapping[str, Any], scored: Iterable[Scored]) -> Shared | None:
    """Judge a version together with those that were scored on at least half of its holdout; None if there are none.

    Args:
        registry: of the models; the metadata of the other versions is read.
        key: the model.
        metadata: of the version.
        scored: what is known of all versions of the model, from `ledger.scored_versions`.

    Raises:
        RegistryError: metadata is newer than this code reads.
    """
    version, tested = metadata["version"], holdout_range(metadata)
    others = sorted(one.version for one in scored if one.version != version and share(one, tested) >= LEAST_SHARE)
    paths = {f"{key.folder}/{one}.json": one for one in others[1 - MOST_VERSIONS :]}
    found = {version: metadata}
    for path, data in registry.read_many(paths).items():
        try:
            found[paths[path]] = parse_metadata(data, key, paths[path], where=f"{registry.url}/{path}")
        except DamagedMetadataError:
            continue
    label = metadata.get("label", {}).get("definition")
    found = {
        name: one
        for name, one in found.items()
        if one.get("label", {}).get("definition") == label and "excess_log_loss" in one
    }
    if len(found) < 2 or version not in found or not version_cluster_us(key, metadata):
        return None
    gain = best_of([(version_cluster_us(key, one), one["excess_log_loss"]) for one in found.values()])
    known = [one["loss_by_block"] for one in found.values() if "loss_by_block" in one]
    return Shared(tuple(found), gain, overfitting_of(known))


def share(one: Scored, tested: Range) -> float:
    """Return which share of a time is of a version's holdout."""
    both = min(one.last, tested[1]) - max(one.first, tested[0])
    whole = tested[1] - tested[0]
    return both / whole if whole else float(one.shares(tested))
