"""Versions of a model: two artefacts, then the metadata whose existence makes them a version."""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from job.errors import StoreError
from job.keys import Key, decode
from job.store.aliases import ALIASES, read_aliases
from job.store.artefacts import FORMATS, Format, check_pair, dump, parse
from job.store.files import ExistingFileError, MissingFileError, Store

SCHEMA_VERSION: Final = 1
"""Version of the metadata's layout; a reader refuses newer ones."""

ROLES: Final = {"model": "", "scaler": "_scaler"}
"""Artefacts of a version, and what their names add to it."""

LATEST: Final = "latest"
RUN_ID: Final = r"\d{8}_\d{6}_[0-9a-f]{6}"
PART_NAME: Final = re.compile(
    rf"(?P<version>(?P<model_type>[A-Za-z0-9_]+)_(?P<timeframe>[1-9]\d*[smhd])_(?P<run_id>{RUN_ID}))"
    rf"(?P<part>\.json|(?:_scaler)?\.(?:{'|'.join(FORMATS)}))"
)
"""Name of a file that is part of a version: its metadata or one of its artefacts."""


class DamagedMetadataError(StoreError):
    """Metadata that says nothing of its version, or speaks of another one."""


@dataclass(frozen=True)
class Listed:
    """A version as a listing shows it: its key, its run, and its files' paths by what they add to its name."""

    key: Key
    version: str
    run_id: str
    files: Mapping[str, str]

    @property
    def committed(self) -> bool:
        """Whether all of it is there: a version without its artefacts cannot be loaded, and is none."""
        whole = any({f"{suffix}.{kind}" for suffix in ROLES.values()} <= self.files.keys() for kind in FORMATS)
        return whole and ".json" in self.files


def listed_versions(paths: Iterable[str]) -> list[Listed]:
    """Return the versions that files of a store belong to, committed or not, in order; other files are passed over."""
    found: dict[tuple[Key, str], Listed] = {}
    for path in paths:
        place, _, name = path.rpartition("/")
        exchange, _, symbol = place.partition("/")
        part = PART_NAME.fullmatch(name)
        if part is None:
            continue
        key = Key(decode(exchange), decode(symbol), part["timeframe"], part["model_type"])
        if not exchange or not symbol or key.folder != place:
            continue
        one = found.setdefault((key, part["version"]), Listed(key, part["version"], part["run_id"], {}))
        found[key, part["version"]] = replace(one, files={**one.files, part["part"]: path})
    return [found[name] for name in sorted(found)]


def new_run_id(now: datetime) -> str:
    """Return an id for a run that starts `now`: UTC to the second, and a suffix (`20231201_120000_a1b2c3`).

    The suffix is the microsecond and a random hexadecimal digit: ids sort as their runs began, within a second, too.
    """
    return f"{now.astimezone(UTC):%Y%m%d_%H%M%S}_{16 * now.microsecond + secrets.randbelow(16):06x}"


def version_name(key: Key, run_id: str) -> str:
    """Return the version that a run gives to a model: `analyst_1h_20231201_120000_a1b2c3`."""
    return f"{key.stem}_{run_id}"


def commit(
    store: Store,
    key: Key,
    version: str,
    *,
    model: object,
    scaler: object,
    metadata: Mapping[str, Any],
    format: Format = "skops",  # noqa: A002 - the setting's name
) -> dict[str, Any]:
    """Write the artefacts, then the metadata, and return the metadata as the store holds it.

    A repeated attempt that comes to the same artefacts finds its version committed and returns what stands there.

    Args:
        store: where to.
        key: the model.
        version: from `version_name`.
        model: a fitted estimator of `ALGORITHMS`.
        scaler: its fitted StandardScaler.
        metadata: JSON values without NaN. Added are `schema_version`, `key`, `version`, `created_at` (unless given)
            and `artefacts`: the format, and each artefact's file, bytes and sha256.
        format: `skops`, or `pkl`.

    Raises:
        ExistingFileError: the version exists with other artefacts.
        StoreError: the store cannot be written.
        ValueError: the metadata is no JSON, or `version` is not one of `key`.
    """
    if not _is_version(key, version):
        raise ValueError(f"{version!r} is no version of {key}")
    estimators = {"model": model, "scaler": scaler}
    data = {role: dump(estimators[role], format=format) for role in ROLES}
    document = {
        "schema_version": SCHEMA_VERSION,
        "key": asdict(key),
        "version": version,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **metadata,
        "artefacts": {"format": format, **{role: _describe(version, role, format, data[role]) for role in ROLES}},
    }
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    for role in ROLES:
        store.create(f"{key.folder}/{_file_name(version, role, format)}", data[role])
    return _commit_metadata(store, key, version, text)


def load(
    store: Store, key: Key, version: str = LATEST, *, allow_pickle: bool = False
) -> tuple[Any, Any, dict[str, Any]]:
    """Return a version's (model, scaler, metadata), once its digests, schema and types have been checked.

    Args:
        store: where from.
        key: the model.
        version: a version's name, `latest`, `champion` or `challenger`.
        allow_pickle: load `.pkl` artefacts, which can run any code.

    Raises:
        StoreError: there is no such version, or it must not be loaded; the message says why.
    """
    name = resolve_version(store, key, version)
    metadata = read_metadata(store, key, name)
    format_ = _format(store, key, metadata)
    data = {role: _checked(store, key, metadata, role, format_) for role in ROLES}
    model, scaler = (
        parse(
            data[role],
            format=format_,
            where=f"{store.url}/{key.folder}/{_file_name(name, role, format_)}",
            allow_pickle=allow_pickle,
        )
        for role in ROLES
    )
    features = metadata.get("features")
    check_pair(
        model,
        scaler,
        features=len(features) if isinstance(features, list) else None,
        where=f"{store.url}/{key.folder}/{name}",
    )
    return model, scaler, metadata


def verify(store: Store, key: Key, version: str) -> None:
    """See that the artefacts of a committed version are those that were committed, by their digests.

    Raises:
        StoreError: they are not, or the metadata must not be read.
    """
    metadata = read_metadata(store, key, version)
    for role in ROLES:
        _checked(store, key, metadata, role, _format(store, key, metadata))


def resolve_version(store: Store, key: Key, name: str = LATEST) -> str:
    """Return the committed version that `name` stands for.

    It may be `latest`, `champion`, `challenger`, a version, or the id of the run that made it, which suits many keys.

    Raises:
        StoreError: there is no such model, alias or version; the message says what there is.
    """
    if name == LATEST:
        if known := list_versions(store, key):
            return known[-1]
        raise StoreError(f"{store.url} holds no model {key}")
    version, unknown = name, f"{store.url} holds no version {name!r} of {key}"
    if re.fullmatch(RUN_ID, name):
        version = version_name(key, name)
    for alias in ALIASES:
        if name == alias:
            version = read_aliases(store, key).named(alias) or ""
            gone = f"the {alias} of {key} is {version}, which {store.url} does not hold any more"
            unknown = gone if version else f"{key} has no {alias} in {store.url}: name one with `models promote`"
    if _is_version(key, version) and store.exists(f"{key.folder}/{version}.json"):
        return version
    known = list_versions(store, key)
    latest = f"; the latest are {', '.join(known[:-4:-1])}"
    raise StoreError(f"{unknown}{latest}" if known else f"{store.url} holds no model {key}")


def find_version(store: Store, key: Key, version: str = LATEST) -> dict[str, Any] | None:
    """Return the metadata of a committed version, or None if there is no such version.

    Raises:
        StoreError: the metadata is damaged, is another version's, or is newer than this code reads.
    """
    if version == LATEST:
        names = list_versions(store, key)
        return read_metadata(store, key, names[-1]) if names else None
    if not _is_version(key, version):
        return None
    try:
        return read_metadata(store, key, version)
    except MissingFileError:
        return None


def list_versions(store: Store, key: Key) -> list[str]:
    """Return the names of a model's committed versions, oldest first."""
    return [one.version for one in listed_versions(store.list(key.folder)) if one.committed and one.key == key]


def read_metadata(store: Store, key: Key, version: str) -> dict[str, Any]:
    """Return the metadata of a version that was listed.

    Raises:
        MissingFileError: it is not there.
        StoreError: as for `find_version`.
    """
    path = f"{key.folder}/{version}.json"
    return parse_metadata(store.read(path), key, version, where=f"{store.url}/{path}")


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
        raise StoreError(
            f"{where} has metadata schema {schema!r}, newer than the {SCHEMA_VERSION} that this release reads; upgrade"
        )
    if owner != (asdict(key), version):
        other = repr(str(metadata["version"]))[1:-1]
        raise DamagedMetadataError(f"{where} describes another model ({other:.80}); it was moved or altered")
    return metadata


def _is_version(key: Key, version: str) -> bool:
    return re.fullmatch(rf"{re.escape(key.stem)}_{RUN_ID}", version) is not None


def _file_name(version: str, role: str, format_: Format) -> str:
    return f"{version}{ROLES[role]}.{format_}"


def _describe(version: str, role: str, format_: Format, data: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    return {"file": _file_name(version, role, format_), "bytes": len(data), "sha256": digest}


def _commit_metadata(store: Store, key: Key, version: str, text: str) -> dict[str, Any]:
    """Create the metadata, unless an earlier attempt committed the same artefacts."""
    document: dict[str, Any] = json.loads(text)
    try:
        store.create(f"{key.folder}/{version}.json", text.encode())
    except ExistingFileError:
        stored = read_metadata(store, key, version)
        if stored.get("artefacts") != document["artefacts"]:
            raise
        return stored
    return document


def _format(store: Store, key: Key, metadata: Mapping[str, Any]) -> Format:
    """Return the format that a version's metadata names."""
    artefacts = metadata.get("artefacts")
    named = artefacts.get("format") if isinstance(artefacts, dict) else None
    for known in FORMATS:
        if named == known:
            return known
    where = f"{store.url}/{key.folder}/{metadata['version']}.json"
    raise StoreError(f"{where}: unknown artefact format {named!r:.80} (known: {', '.join(FORMATS)})")


def _checked(store: Store, key: Key, metadata: Mapping[str, Any], role: str, format_: Format) -> bytes:
    """Return an artefact's bytes if they are the ones that were committed."""
    path = f"{key.folder}/{_file_name(metadata['version'], role, format_)}"
    try:
        data = store.read(path)
    except MissingFileError:
        raise StoreError(
            f"{store.url}/{path} is missing although its version is committed; train the model again"
        ) from None
    wanted = metadata["artefacts"].get(role)
    if wanted != _describe(metadata["version"], role, format_, data):
        raise StoreError(
            f"{store.url}/{path} is not the {role} that was committed (its SHA-256 differs from the metadata's); "
            "restore it from a backup or train the model again"
        )
    return data
