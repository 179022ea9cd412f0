"""What counts of a version among those that were tried: on which bars it was scored, and by what it was made.

A catalog's summary keeps it as one short text, for there is one per version: `473904 a3f 09b`, the hour since the epoch
in which the holdout began and digests of label and algorithm, with ` 1f0c…:20` where a study chose.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

Range = tuple[datetime, datetime]
"""First and last time of rows, both inclusive."""

ALWAYS: Final = (datetime(1900, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))
"""Holdout of a version that does not tell its own: it may share some time with any, and counts."""
HOUR_S: Final = 3_600
DIGITS: Final = 3
UNKNOWN: Final = "-"


@dataclass(frozen=True)
class Scored:
    """A version that was scored on rows that became available from `first` to `last`.

    `label` and `algorithm` are short digests of what it was made by, empty where that is not known. `trials` says how
    many settings each study had tried when it chose the version's; of most, there is none. `sharpe` is per year.
    """

    version: str
    first: datetime
    last: datetime
    label: str = ""
    algorithm: str = ""
    trials: Mapping[str, int] = field(default_factory=dict)
    sharpe: float | None = None

    @classmethod
    def of_summary(cls, summary: Mapping[str, Any]) -> Self:
        """Return what a summary of the catalog says; the holdout's rows end before the last label is known."""
        first, last = ALWAYS
        if known := summary.get("label_end"):
            last = datetime.fromisoformat(known) - timedelta(microseconds=1)
        label, algorithm, trials = "", "", {}
        if text := summary.get("tried"):
            begun, label, algorithm, *study = text.split()
            first = datetime.fromtimestamp(int(begun) * HOUR_S, UTC)
            trials = {name: int(number) for name, _, number in (one.partition(":") for one in study)}
        sharpe = summary.get("sharpe")
        return cls(summary["version"], first, last, label.strip(UNKNOWN), algorithm.strip(UNKNOWN), trials, sharpe)

    def shares(self, tested: Range) -> bool:
        """Whether it was scored on some of the time."""
        return self.first <= tested[1] and tested[0] <= self.last


def text_of(metadata: Mapping[str, Any]) -> str | None:
    """Return the text that a summary keeps; None of metadata that do not tell the holdout."""
    first, _ = holdout_range(metadata)
    if first == ALWAYS[0]:
        return None
    digests = (_digest(metadata, "label", "definition"), _digest(metadata, "algorithm", "name"))
    studies = (f"{name}:{number}" for name, number in trials_of(metadata.get("tuning")).items())
    return " ".join([str(int(first.timestamp()) // HOUR_S), *digests, *studies])


def holdout_range(metadata: Mapping[str, Any]) -> Range:
    """Return when the first and the last row of a version's holdout became available."""
    try:
        holdout = metadata["split"]["holdout"]
        return datetime.fromisoformat(holdout["test_from"]), datetime.fromisoformat(holdout["test_to"])
    except (LookupError, TypeError, ValueError):
        return ALWAYS


def trials_of(tuning: object) -> dict[str, int]:
    """Return how many settings were tried, by the digest in the study's name, given what metadata say of it."""
    try:
        return {str(tuning["study"]).rpartition("_")[2]: int(tuning["trials"])}  # type: ignore[index]
    except (LookupError, TypeError, ValueError):
        return {}


def settings_tried(trials: Iterable[Mapping[str, int]]) -> int:
    """Return how many settings studies tried, each study once, without the trial that each chose: that is a version."""
    most: dict[str, int] = {}
    for one in trials:
        for study, number in one.items():
            most[study] = max(number, most.get(study, 0))
    return sum(number - 1 for number in most.values())


def _digest(metadata: Mapping[str, Any], *path: str) -> str:
    value: Any = metadata
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    if value is None:
        return UNKNOWN
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]
