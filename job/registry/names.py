"""Names of the files of versions, and the versions that names belong to."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from job.core.keys import Key, decode
from job.learning.algorithms import FORMAT_NAME

ROLES: Final = {"model": "", "scaler": "_scaler"}
"""Artifacts of a version, and what their names add to it."""

RUN_ID: Final = r"\d{8}_\d{6}_[0-9a-f]{6}"
VERSION: Final = re.compile(
    rf"(?P<stem>(?P<model_type>[A-Za-z0-9_]+)_(?P<timeframe>[1-9]\d*[smhd]))_(?P<run_id>{RUN_ID})"
)
"""Name of a version."""
PART: Final = re.compile(rf"\.json|\.{FORMAT_NAME}|_scaler\.(?:skops|pkl)")
"""What the name of a file that is part of a version, its metadata or one of its artifacts, has beyond the version's.

A model's suffix is the name of its format, which a user's module may have brought that is not known here.
"""
SCALER: Final = "_scaler"


TIME: Final = "%Y%m%dT%H%M%SZ"
"""How names of files tell a time (UTC), to the second."""


@dataclass(frozen=True)
class ListedVersion:
    """A version as a listing shows it: its key, its run, and its files' paths by what they add to its name."""

    key: Key
    version: str
    run_id: str
    files: Mapping[str, str]

    @property
    def committed(self) -> bool:
        """Whether all of it is there: a version without its artifacts cannot be loaded, and is none."""
        if ".json" not in self.files:
            return False
        scaler = "_scaler.skops" in self.files
        models = (part for part in self.files if part != ".json" and not part.startswith(SCALER))
        return any("_scaler.pkl" in self.files if part == ".pkl" else scaler for part in models)


def listed_versions(paths: Iterable[str]) -> list[ListedVersion]:
    """Return the versions that files of a registry belong to, committed or not, in order; other files are ignored.

    Names are read once for each folder and each version, not for each file: a registry has many of these.
    """
    found: dict[tuple[str, str], dict[str, str]] = {}
    for path in paths:
        place, _, name = path.rpartition("/")
        version = name.partition(".")[0].removesuffix(SCALER)
        if PART.fullmatch(part := name[len(version) :]):
            found.setdefault((place, version), {})[part] = path
    series: dict[str, Key | None] = {}
    keys: dict[tuple[str, str], Key] = {}
    versions = []
    for (place, version), files in found.items():
        if place not in series:
            exchange, _, symbol = place.partition("/")
            named = Key(decode(exchange), decode(symbol), "", "") if exchange and symbol else None
            series[place] = named if named and named.folder == place else None  # other folders hold no versions
        own, match = series[place], VERSION.fullmatch(version)
        if own is None or match is None:
            continue
        key = keys.get((place, match["stem"])) or Key(own.exchange, own.symbol, match["timeframe"], match["model_type"])
        keys[place, match["stem"]] = key
        versions.append(ListedVersion(key, version, match["run_id"], files))
    return sorted(versions, key=lambda one: (*one.key.parts, one.version))


def is_part(name: str) -> bool:
    """Return whether a file's name is that of a part of a version."""
    version = name.partition(".")[0].removesuffix(SCALER)
    return VERSION.fullmatch(version) is not None and PART.fullmatch(name[len(version) :]) is not None


def version_name(key: Key, run_id: str) -> str:
    """Return the version that a run gives to a model: `analyst_1h_20231201_120000_a1b2c3`."""
    return f"{key.stem}_{run_id}"


def is_version(key: Key, version: str) -> bool:
    """Return whether `version` could be the name of a version of `key`."""
    return re.fullmatch(rf"{re.escape(key.stem)}_{RUN_ID}", version) is not None


def format_of(role: str, format_: str) -> str:
    """Return the format of an artifact, given the model's."""
    return format_ if role == "model" or format_ == "pkl" else "skops"


def file_name(version: str, role: str, format_: str) -> str:
    """Return the name of a version's artifact, given the model's format."""
    return f"{version}{ROLES[role]}.{format_of(role, format_)}"


def time_text(time: datetime) -> str:
    """Return a time as names of files tell it: `20240131T120000Z`."""
    return f"{time.astimezone(UTC):{TIME}}"


def time_of(text: str) -> datetime:
    """Inverse of `time_text`."""
    return datetime.strptime(text, TIME).replace(tzinfo=UTC)
