"""Names of the files of versions, and the versions that names belong to."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from job.core.keys import Key, decode
from job.learning.algorithms import FORMAT_NAME

ROLES: Final = {"model": "", "scaler": "_scaler"}
"""Artifacts of a version, and what their names add to it."""

RUN_ID: Final = r"\d{8}_\d{6}_[0-9a-f]{6}"
PART_NAME: Final = re.compile(
    rf"(?P<version>(?P<model_type>[A-Za-z0-9_]+)_(?P<timeframe>[1-9]\d*[smhd])_(?P<run_id>{RUN_ID}))"
    rf"(?P<part>\.json|\.{FORMAT_NAME}|_scaler\.(?:skops|pkl))"
)
"""Name of a file that is part of a version: its metadata or one of its artifacts.

A model's suffix is the name of its format, which a user's module may have brought that is not known here.
"""


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
        models = self.files.keys() - {".json", "_scaler.skops", "_scaler.pkl"}
        whole = any(f"_scaler.{format_of('scaler', model.removeprefix('.'))}" in self.files for model in models)
        return whole and ".json" in self.files


def listed_versions(paths: Iterable[str]) -> list[ListedVersion]:
    """Return the versions that files of a registry belong to, committed or not, in order; other files are ignored."""
    found: dict[tuple[Key, str], ListedVersion] = {}
    for path in paths:
        place, _, name = path.rpartition("/")
        exchange, _, symbol = place.partition("/")
        part = PART_NAME.fullmatch(name)
        if part is None:
            continue
        key = Key(decode(exchange), decode(symbol), part["timeframe"], part["model_type"])
        if not exchange or not symbol or key.folder != place:
            continue
        one = found.setdefault((key, part["version"]), ListedVersion(key, part["version"], part["run_id"], {}))
        found[key, part["version"]] = replace(one, files={**one.files, part["part"]: path})
    return [found[name] for name in sorted(found)]


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
