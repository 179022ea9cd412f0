"""Fitted estimators as bytes and back: skops with pinned types, algorithms' own formats, or pickle by opting in."""

import io
import json
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Any, Final

import numpy as np

from job.core.errors import ConfigError, RegistryError
from job.core.wording import first_of, on_one_line
from job.learning.algorithms import GENERAL_FORMATS
from job.learning.estimators import ALGORITHMS
from job.learning.spec import BLEND
from job.registry.parts import NO_OWN, Own, algorithms_by_format, algorithms_with, allowed_types, check_parts
from job.registry.skops_objects import BUILDERS, CONTAINERS, Objects
from job.registry.skops_schema import PROTOCOL, Schema, UnknownTypeError, npy_bytes

COMPRESSION_LEVEL: Final = 1
"""A 100-tree forest of depth 10: 4.8 MB become 1.1 MB at level 1, 0.95 at 6, 0.92 at 9, in 0.12, 0.17 and 0.97 s. One
of the analyst's becomes 98 kB at level 1 and 90 at 6."""

MAX_BYTES: Final = 8 * 2**30
MAX_RATIO: Final = 200
FEW_BYTES: Final = 2**24
"""An archive is taken for a bomb if it unpacks to more than `MAX_BYTES`, or to more than `FEW_BYTES` and `MAX_RATIO`
times its size: models come to 5 times."""

MEMBER: Final = re.compile(r"[0-9]+\.npy|schema\.json")
END_OF_ARCHIVE: Final = b"PK\x05\x06"
END_BYTES: Final = 22

MAX_NAMED: Final = 5
LONGEST_CAUSE: Final = 300

ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)


def formats(own: Own = NO_OWN) -> list[str]:
    """Return the names of all formats: those of the registry, and those of algorithms, also of users' own ones."""
    return [*GENERAL_FORMATS, *algorithms_by_format(own)]


def dump(estimator: object, *, format: str, own: Own = NO_OWN) -> bytes:  # noqa: A002 - the setting's name
    """Return an estimator as bytes; unless pickled, equal estimators give equal bytes in any process.

    Args:
        estimator: a fitted model or scaler.
        format: one of `formats`.
        own: the algorithms that users' modules brought; so for `parse` and `check_pair`.

    Raises:
        RegistryError: the estimator holds a type that `parse` would refuse.
    """
    if format == "pkl":
        return pickle.dumps(estimator, protocol=5)
    if format == "skops":
        return _dump_skops(estimator, own)
    artifact = algorithms_by_format(own)[format][1]
    # A blend's members may be of users' own algorithms.
    more = {"own": own} if artifact is ALGORITHMS[BLEND].artifact else {}
    data: bytes = resolve_name(artifact.dump)(estimator, **more)
    return data


def _dump_skops(estimator: object, own: Own) -> bytes:
    try:
        made = Schema(estimator)
        text, arrays, types = made.text, made.arrays, made.types
    except UnknownTypeError:
        schema, arrays = _canonical(*_state_of(estimator))
        text, types = json.dumps(schema, separators=(",", ":")), _types(schema)
    if foreign := _foreign(types, allowed_types(own)):
        names = " or ".join(algorithm.name for algorithm in own.values())
        remedy = f", or declare it in stored_types of the algorithm {names}" if own else ""
        raise RegistryError(
            f"{', '.join(foreign)}: no type that may be stored as skops; set storage.format: pkl{remedy}"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in arrays.items():
            _write(archive, name, data)
        _write(archive, "schema.json", text.encode())
    return buffer.getvalue()


def parse(
    data: bytes,
    *,
    format: str,  # noqa: A002 - the setting's name
    where: str,
    allow_pickle: bool = False,
    own: Own = NO_OWN,
) -> Any:
    """Return the estimator in `data`, whose digest was checked before; `where` names it in messages.

    Raises:
        RegistryError: `data` is a pickle and the caller did not opt in, holds a type outside `parts.allowed_types`, is
            malformed, or has parts that are unsound, such as trees that lead out of their own arrays; or the library is
            missing that its format needs.
    """
    if format == "pkl" and not allow_pickle:
        raise RegistryError(
            f"{where} is a pickle, which can run any code when it is loaded; "
            "if you trust whoever can write to this store, load it with allow_pickle=True"
        )
    no_artifact = f"{where} is no {format} artifact of this job"
    if format in GENERAL_FORMATS:
        with _malformed_refused(no_artifact):
            estimator = pickle.loads(data) if format == "pkl" else _parse_skops(data, where, own)  # noqa: S301 - opted in
            check_parts(estimator, own)
        return estimator
    algorithm, artifact = algorithms_by_format(own)[format]
    try:
        _ = algorithm.estimator  # the library of a format of an algorithm's own is imported only now
    except ConfigError as error:
        raise RegistryError(f"{where}: {error}") from None
    more = {"own": own, "where": where} if artifact is ALGORITHMS[BLEND].artifact else {}
    with _malformed_refused(no_artifact):
        return resolve_name(artifact.parse)(data, **more)


@contextmanager
def _malformed_refused(claim: str) -> Iterator[None]:
    """Turn whatever artifacts raise into a RegistryError of one line: the claim, the cause and the remedy.

    The one place that catches everything: zipfile, zlib, json, NumPy, skops, pickle and scikit-learn meet bytes here
    that anybody may have written. Each raises errors of its own on them, from KeyError to MemoryError, a pickle and a
    user's class any at all, and all mean the same: this is no artifact.
    """
    try:
        yield
    except RegistryError:
        raise
    except Exception as error:  # what damaged or forged content raises has no common class, see above
        cause = on_one_line(error)
        cause = cause if len(cause) <= LONGEST_CAUSE else f"{cause[:LONGEST_CAUSE]}…"
        raise RegistryError(f"{claim}: {cause}; train the model again") from error


def _parse_skops(data: bytes, where: str, own: Own) -> object:
    """Build the estimator of an archive that is as `dump` writes it, from the first byte to the last.

    Raises:
        RegistryError: it holds types that are not allowed.
        ValueError: saying what else is wrong with it.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        size = sum(member.file_size for member in members)
        if size > min(MAX_BYTES, FEW_BYTES + MAX_RATIO * len(data)):
            raise ValueError(f"it unpacks to more than a model does: {size} bytes")
        names = [member.filename for member in members]
        if strange := [name for name in names if not MEMBER.fullmatch(name)]:
            raise ValueError(f"it holds a file called {strange[0]!r:.100}")
        if len(set(names)) < len(names):
            raise ValueError("it holds two files of one name")
        starts = min((member.header_offset for member in members), default=0)
        if starts != 0 or not data[-END_BYTES:].startswith(END_OF_ARCHIVE):
            raise ValueError("there is something before or behind the archive")
        schema = json.loads(archive.read("schema.json"))
        types, allowed = _types(schema), allowed_types(own)
        if foreign := _foreign(types, allowed):
            named = first_of([f"{name:.100}" for name in foreign], MAX_NAMED)
            raise RegistryError(f"{where} holds types outside the allow-list ({named}); it was not loaded")
        if not isinstance(schema, dict) or schema.get("__loader__") != "ObjectNode":
            raise ValueError("it holds no estimator")
        known = all(loader in BUILDERS and CONTAINERS.get(loader, name) == name for loader, name in types)
        if known and schema.get("protocol") == PROTOCOL:
            return Objects(archive.read).build(schema)
    import skops.io  # noqa: PLC0415 - takes seconds, and only types of users' modules may need it

    return skops.io.loads(data, trusted=sorted({name for _, name in allowed}))


def check_pair(model: Any, scaler: Any, *, features: int | None, where: str, own: Own = NO_OWN) -> None:
    """Check that a model and a scaler are what they are called, have the same features, and predict together.

    Args:
        model: what was parsed as the model.
        scaler: what was parsed as its scaler.
        features: how many the metadata names, None if it names none.
        where: the version, for messages.
        own: the algorithms that users' modules brought to the version.

    Raises:
        RegistryError: they are not what a run of this job commits.
    """
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415 - slow, and most processes never touch an artifact

    claim, reason = f"{where} holds no model and scaler of this job", ""
    with _malformed_refused(f"{claim}: they do not predict"):
        # No optional library is imported to compare: the class of what was parsed has been imported already.
        imported = [
            one for one in algorithms_with(own) if one.library is None or one.path.partition(":")[0] in sys.modules
        ]
        if type(model) not in {one.estimator for one in [*imported, *own.values()]}:
            reason = f"the model is of type {type(model).__name__}"
        elif type(scaler) is not StandardScaler:
            reason = f"the scaler is of type {type(scaler).__name__}"
        elif model.n_features_in_ != scaler.n_features_in_ or features not in {None, model.n_features_in_}:
            reason = (
                f"the model is of {model.n_features_in_} features, the scaler of {scaler.n_features_in_}, "
                f"the metadata of {features}"
            )
        elif list(model.classes_) != [0, 1]:
            reason = f"the classes are {model.classes_!r:.40}, not down and up"
        else:
            with np.errstate(all="ignore"):
                shares = model.predict_proba(scaler.transform(np.zeros((1, model.n_features_in_))))
            if shares.shape != (1, 2) or not np.isfinite(shares).all():
                reason = "what they predict are no probabilities"
    if reason:
        raise RegistryError(f"{claim}: {reason}; train the model again")


def _nodes(schema: object) -> Iterator[dict[str, Any]]:
    """Yield every object of a skops schema that could be taken for a node, parents first."""
    pending = [schema]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if not value.keys().isdisjoint({"__loader__", "__class__", "__module__"}):
                yield value
            pending.extend(reversed(value.values()))
        elif isinstance(value, list):
            pending.extend(reversed(value))


def _types(schema: object) -> set[tuple[str, str]]:
    """Return (loader, type) of every object that a skops schema describes."""
    return {
        (str(node.get("__loader__")), f"{node.get('__module__')}.{node.get('__class__')}") for node in _nodes(schema)
    }


def _foreign(types: set[tuple[str, str]], allowed: frozenset[tuple[str, str]]) -> list[str]:
    """Return the types that skops would build although they are not `allowed`, each once."""
    return sorted({name for _, name in types - allowed})


class _Arrays(dict[str, bytes]):
    """Takes the arrays that skops would put into an archive, in place of the archive."""

    namelist = dict.keys

    def writestr(self, name: str, data: Any) -> None:
        self[name] = bytes(data)


def _state_of(estimator: object) -> tuple[dict[str, Any], _Arrays]:
    """Return the schema and the arrays that `skops.io.dumps` would write, of objects that `Schema` does not know."""
    import skops.io  # noqa: PLC0415 - takes a second, and most processes never touch an artifact
    from skops.io._utils import SaveContext, get_state  # noqa: PLC0415

    arrays = _Arrays()
    context = SaveContext(zip_file=arrays)
    state = {**get_state(estimator, context), "protocol": context.protocol, "_skops_version": skops.__version__}
    schema: dict[str, Any] = json.loads(json.dumps(state))  # the state holds some of its parts twice; a schema does not
    return schema, arrays


def _canonical(schema: dict[str, Any], arrays: Mapping[str, bytes]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return a schema and its arrays so that they depend on the estimator alone.

    skops names objects by their address, and writes equal arrays many times; struct arrays have padding that was never
    written.
    """
    numbers: dict[int, int] = {}
    names: dict[bytes, str] = {}
    for node in _nodes(schema):  # numbers in the order of appearance, in place of addresses
        if "__id__" in node:
            node["__id__"] = numbers.setdefault(node["__id__"], len(numbers) + 1)
        if "file" in node:
            data = npy_bytes(np.load(io.BytesIO(arrays[node["file"]]), allow_pickle=False))
            node["file"] = names.setdefault(data, f"{len(names) + 1}.npy")
    return schema, {name: data for data, name in names.items()}


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a file without the date of its writing: a worker that repeats a lost attempt writes the same bytes again."""
    member = zipfile.ZipInfo(name, ZIP_TIME)
    archive.writestr(member, data, zipfile.ZIP_DEFLATED, COMPRESSION_LEVEL)
