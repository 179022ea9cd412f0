"""Versions of a model: two artifacts, then the metadata whose existence makes them a version."""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from job.core.errors import RegistryError
from job.core.keys import Key
from job.learning.algorithms import FORMAT_NAME
from job.registry.aliases import ALIASES, read_aliases
from job.registry.artifacts import check_pair, dump, formats, parse
from job.registry.names import ROLES, RUN_ID, file_name, format_of, is_version, listed_versions, version_name
from job.registry.parts import own_algorithms
from job.storage.files import ExistingFileError, MissingFileError, Storage

SCHEMA_VERSION: Final = 1
"""Version of the metadata's layout; a reader refuses newer ones."""

LATEST: Final = "latest"
NUMBERS: Final = re.compile(r"\[\n([-+.0-9eE,\s]+)\]")
"""A list of numbers over several lines."""


class DamagedMetadataError(RegistryError):
    """Metadata that does not describe its version, or describes another one."""


def new_run_id(now: datetime) -> str:
    """Return an id for a run that starts `now`: UTC to the second, and a suffix (`20231201_120000_a1b2c3`).

    The suffix is the microsecond and a random hexadecimal digit: ids sort as their runs began, within a second, too.
    """
    return f"{now.astimezone(UTC):%Y%m%d_%H%M%S}_{16 * now.microsecond + secrets.randbelow(16):06x}"


def commit(
    registry: Storage,
    key: Key,
    version: str,
    *,
    model: object,
    scaler: object,
    metadata: Mapping[str, Any],
    format: str = "skops",  # noqa: A002 - the setting's name
) -> dict[str, Any]:
    """Write the artifacts, then the metadata, and return the metadata as the registry holds it.

    A repeated attempt that comes to the same artifacts finds its version committed, and returns its metadata.

    Args:
        registry: where to.
        key: the model.
        version: from `version_name`.
        model: a fitted estimator of `ALGORITHMS`, or of a user's own algorithm.
        scaler: its fitted StandardScaler.
        metadata: JSON values without NaN. Added are `schema_version`, `key`, `version`, `created_at` (unless given)
            and `artefacts`: the model's format, and each artifact's file, bytes and sha256.
        format: of the model, one of `artifacts.formats`; the scaler is pickled with it, and stored as skops otherwise.

    Raises:
        ExistingFileError: the version exists with other artifacts.
        RegistryError: the registry cannot be written.
        ValueError: the metadata is no JSON, or `version` is not one of `key`.
    """
    if not is_version(key, version):
        raise ValueError(f"{version!r} is no version of {key}")
    own = own_algorithms(metadata, where=f"{key} {version}")
    estimators = {"model": model, "scaler": scaler}
    data = {role: dump(estimators[role], format=format_of(role, format), own=own) for role in ROLES}
    artifacts = {role: _describe(version, role, format, data[role]) for role in ROLES}
    document = {
        "schema_version": SCHEMA_VERSION,
        "key": asdict(key),
        "version": version,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **metadata,
        "artefacts": {"format": format, **artifacts},
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    # A list of numbers stands on one line. No string holds a line break: JSON writes it as two characters.
    text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    for role in ROLES:
        registry.create(f"{key.folder}/{artifacts[role]['file']}", data[role])
    committed: dict[str, Any] = json.loads(text)
    try:
        registry.create(f"{key.folder}/{version}.json", text.encode())
    except ExistingFileError:  # an earlier attempt committed it
        stored = read_metadata(registry, key, version)
        if stored.get("artefacts") != committed["artefacts"]:
            raise
        return stored
    return committed


def load(
    registry: Storage, key: Key, version: str = LATEST, *, allow_pickle: bool = False
) -> tuple[Any, Any, dict[str, Any]]:
    """Return a version's (model, scaler, metadata), once its digests, schema and types have been checked.

    Args:
        registry: where from.
        key: the model.
        version: a version's name, `latest`, `champion` or `challenger`.
        allow_pickle: load `.pkl` artifacts, which can run any code.

    Raises:
        RegistryError: there is no such version, or it must not be loaded; the message says why.
    """
    name = resolve_version(registry, key, version)
    folder = f"{registry.url}/{key.folder}"
    metadata = read_metadata(registry, key, name)
    format_ = _format_in(metadata, where=f"{folder}/{name}.json")
    own = own_algorithms(metadata, where=f"{folder}/{name}")
    if format_ not in formats(own):
        raise _unknown_format(format_, f"{folder}/{name}.json", formats(own))
    data = _read_artifacts(registry, key, name, metadata)
    model, scaler = (
        parse(
            data[role],
            format=format_of(role, format_),
            where=f"{folder}/{file_name(name, role, format_)}",
            allow_pickle=allow_pickle,
            own=own,
        )
        for role in ROLES
    )
    features = metadata.get("features")
    count = len(features) if isinstance(features, list) else None
    check_pair(model, scaler, features=count, where=f"{folder}/{name}", own=own)
    return model, scaler, metadata


def verify(registry: Storage, key: Key, version: str) -> None:
    """Check that the artifacts of a committed version are those that were committed, by their digests.

    Raises:
        RegistryError: they are not, or the metadata must not be read.
    """
    read_committed(registry, key, version)


def read_committed(registry: Storage, key: Key, version: str) -> dict[str, bytes]:
    """Return the files of a committed version by name: its metadata, then its artifacts, which are those committed.

    Raises:
        RegistryError: they are not, or the metadata must not be read.
    """
    name = f"{version}.json"
    text = registry.read(f"{key.folder}/{name}")
    metadata = parse_metadata(text, key, version, where=f"{registry.url}/{key.folder}/{name}")
    data = _read_artifacts(registry, key, version, metadata)
    return {name: text, **{metadata["artefacts"][role]["file"]: data[role] for role in ROLES}}


def resolve_version(registry: Storage, key: Key, name: str = LATEST) -> str:
    """Return the committed version that `name` stands for.

    It may be `latest`, `champion`, `challenger`, a version, or the id of the run that made it, which suits many keys.

    Raises:
        RegistryError: there is no such model, alias or version; the message says what there is.
    """
    if name == LATEST:
        if known := list_versions(registry, key):
            return known[-1]
        raise RegistryError(f"{registry.url} holds no model {key}")
    version, unknown = name, f"{registry.url} holds no version {name!r} of {key}"
    if re.fullmatch(RUN_ID, name):
        version = version_name(key, name)
    for alias in ALIASES:
        if name == alias:
            version = read_aliases(registry, key).named(alias) or ""
            gone = f"the {alias} of {key} is {version}, which {registry.url} does not hold any more"
            unknown = gone if version else f"{key} has no {alias} in {registry.url}: name one with `models promote`"
    if is_version(key, version) and registry.exists(f"{key.folder}/{version}.json"):
        return version
    known = list_versions(registry, key)
    latest = f"; the latest are {', '.join(known[:-4:-1])}"
    raise RegistryError(f"{unknown}{latest}" if known else f"{registry.url} holds no model {key}")


def list_versions(registry: Storage, key: Key) -> list[str]:
    """Return the names of a model's committed versions, oldest first."""
    return [one.version for one in listed_versions(registry.list(key.folder)) if one.committed and one.key == key]


def read_metadata(registry: Storage, key: Key, version: str) -> dict[str, Any]:
    """Return the metadata of a version that was listed.

    Raises:
        MissingFileError: it is not there.
        RegistryError: it is damaged, is another version's, or is newer than this code reads.
    """
    path = f"{key.folder}/{version}.json"
    return parse_metadata(registry.read(path), key, version, where=f"{registry.url}/{path}")


def parse_metadata(data: bytes, key: Key, version: str, *, where: str) -> dict[str, Any]:
    """Return metadata whose schema is known and that belongs to the version it is stored under."""
    try:
        metadata: dict[str, Any] = json.loads(data)
        schema, owner = metadata["schema_version"], (metadata["key"], metadata["version"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise DamagedMetadataError(
            f"{where} is damaged ({error}); delete the version or train the model again"
        ) from None
    if isinstance(schema, bool | float) or (isinstance(schema, int) and schema < 1):
        raise DamagedMetadataError(
            f"{where} is damaged (its schema is {schema!r}); delete the version or train the model again"
        )
    if not isinstance(schema, int) or schema > SCHEMA_VERSION:
        raise RegistryError(
            f"{where} has metadata schema {schema!r}, newer than the {SCHEMA_VERSION} that this release reads; upgrade"
        )
    if owner != (asdict(key), version):
        other = repr(str(metadata["version"]))[1:-1]
        raise DamagedMetadataError(f"{where} describes another model ({other:.80}); it was moved or altered")
    return metadata


def _unknown_format(named: object, where: str, known: Iterable[str]) -> RegistryError:
    return RegistryError(f"{where}: unknown artifact format {named!r:.80} (known: {', '.join(known)})")


def _describe(version: str, role: str, format_: str, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"file": file_name(version, role, format_), "bytes": len(data), "sha256": digest}


def _format_in(metadata: Mapping[str, Any], *, where: str) -> str:
    """Return the format of the model that metadata is about, which need not be a known one."""
    artifacts = metadata.get("artefacts")
    named = artifacts.get("format") if isinstance(artifacts, dict) else None
    if not isinstance(named, str) or not re.fullmatch(FORMAT_NAME, named):
        raise _unknown_format(named, where, formats())
    return named


def _read_artifacts(registry: Storage, key: Key, version: str, metadata: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the bytes of a version's artifacts, which are the ones committed."""
    format_ = _format_in(metadata, where=f"{registry.url}/{key.folder}/{version}.json")
    data: dict[str, bytes] = {}
    for role in ROLES:
        path = f"{key.folder}/{file_name(version, role, format_)}"
        try:
            data[role] = registry.read(path)
        except MissingFileError:
            raise RegistryError(
                f"{registry.url}/{path} is missing although its version is committed; train the model again"
            ) from None
        if metadata["artefacts"].get(role) != _describe(version, role, format_, data[role]):
            raise RegistryError(
                f"{registry.url}/{path} is not the {role} that was committed (its SHA-256 differs from the "
                "metadata's); restore it from a backup or train the model again"
            )
    return data
