"""A blend as one artifact: an archive of its members, each in the format of its own algorithm, and their weights.

`blend.json` holds the weights, and each member's algorithm and format, of a pooled one also how it scales the blend's
rows; `0.skops`, `1.skops`, … are the members, in its order. Nothing is compressed, as members are themselves, and no
time is kept, so equal blends have equal bytes.
"""

import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from job.learning.blend import Blend
from job.learning.estimators import ALGORITHMS, algorithm_named
from job.learning.pooled import Pooled
from job.learning.spec import BLEND, POOL
from job.registry import artifacts
from job.registry.parts import NO_OWN, Own

HEADER: Final = "blend.json"
MAX_HEADER: Final = 2**16
LARGEST: Final = float(np.finfo(np.float32).max)
TOLERANCE: Final = 1e-9
"""How far weights may be from adding up to 1."""
LISTS: Final = ("columns", "factor", "shift")
NUMBERS: Final = ("n_features_in_", "until", "rows", "series")
"""Fields of `Pooled` that an artifact keeps beside the member's model, in their order."""


def dump(blend: Blend, *, own: Own = NO_OWN) -> bytes:
    """Return a blend as bytes, the same ones for equal blends in any process.

    Raises:
        RegistryError: a member holds a type that `parse` would refuse.
    """
    described: list[dict[str, Any]] = []
    for one in blend.fitted:
        about: dict[str, Any] = {"algorithm": one.algorithm, "format": algorithm_named(one.algorithm).format}
        if one.pooled is not None:  # how it takes a blend's rows, and what it was fitted on
            told = {name: getattr(one.pooled, name) for name in (*LISTS, *NUMBERS)}
            about[POOL] = {name: kept.tolist() if name in LISTS else kept for name, kept in told.items()}
        described.append(about)
    members = [
        artifacts.dump(one.model, format=about["format"], own=_own_of(one.algorithm, own))
        for one, about in zip(blend.fitted, described, strict=True)
    ]
    return _archive({"weights": list(blend.weights), "members": described}, members)


def parse(data: bytes, *, own: Own = NO_OWN, where: str = "the blend") -> Blend:
    """Return the blend in an archive that is as `dump` writes it, from the first byte to the last.

    Every member passes what it would have to pass as a model of its own, and is of the algorithm that it is named by.

    Raises:
        RegistryError: a member is refused, or a library is missing that it needs.
        ValueError: saying what else is wrong.
    """
    header, files = _read(data)
    known, weights, members = {**ALGORITHMS, **own}, header["weights"], {}
    for described, file in zip(header["members"], files, strict=True):
        name = described["algorithm"]
        if name == BLEND or name not in known:  # nothing is imported because an artifact names it
            raise ValueError(
                f"its member {name!r:.100} is of no algorithm of this release, nor of one that came with it"
            )
        algorithm = known[name]
        if described["format"] != algorithm.format or algorithm.format == "pkl":
            raise ValueError(f"its member {name} is stored as {described['format']!r:.40}, not as {algorithm.format}")
        model = artifacts.parse(file, format=algorithm.format, where=f"{where}, member {name}", own=_own_of(name, own))
        if type(model) is not algorithm.estimator:
            raise ValueError(f"its member {name} is of type {type(model).__name__}")
        if POOL in described:
            members[POOL] = _pooled(name, model, described[POOL])
        else:
            members[name] = model
    features = {name: model.n_features_in_ for name, model in members.items()}
    if len({*features.values()}) != 1:
        raise ValueError(f"its members are of different numbers of features: {features!r:.100}")
    for name, model in members.items():
        if list(model.classes_) != [0, 1]:
            raise ValueError(f"the classes of its member {name} are not down and up")
    return Blend(members, tuple(weights))


def _read(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Return the header and the members' bytes of an archive, once it is found to be one that `dump` could write.

    The header then has members of distinct names, and a weight for each; raises ValueError for anything else.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        listed = archive.infolist()
        if any(one.compress_type != zipfile.ZIP_STORED for one in listed):
            raise ValueError("it holds compressed files")
        if sum(one.file_size for one in listed) > len(data) or not listed or listed[0].file_size > MAX_HEADER:
            raise ValueError("its files are larger than it is")
        described, *files = (archive.read(one) for one in listed)
    header = json.loads(described)
    if not isinstance(header, dict) or list(header) != ["weights", "members"]:
        raise ValueError("its header has other keys than weights and members")
    weights, members = header["weights"], header["members"]
    if not isinstance(weights, list) or not isinstance(members, list) or not len(weights) == len(members) >= 2:
        raise ValueError("its header has no list of two members or more with as many weights")
    for one in members:
        named = {name: value for name, value in one.items() if name != POOL} if isinstance(one, dict) else {}
        if list(named) != ["algorithm", "format"] or {str} != {*map(type, named.values())}:
            raise ValueError("its header has a member without the names of its algorithm and format")
    if len({POOL if POOL in one else one["algorithm"] for one in members}) < len(members):
        raise ValueError("its header names a member twice")
    if not all(type(one) is float and 0 <= one <= 1 for one in weights) or abs(math.fsum(weights) - 1) > TOLERANCE:
        raise ValueError("its weights are no shares of 1")
    if len(files) != len(members) or _archive(header, files) != data:
        raise ValueError("it is not written as this job writes it")
    return header, files


def _archive(header: Mapping[str, Any], members: Sequence[bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(HEADER, artifacts.ZIP_TIME), json.dumps(header, separators=(",", ":")))
        for position, (described, data) in enumerate(zip(header["members"], members, strict=True)):
            archive.writestr(zipfile.ZipInfo(f"{position}.{described['format']}", artifacts.ZIP_TIME), data)
    return buffer.getvalue()


def _pooled(algorithm: str, model: Any, rows: Any) -> Pooled:
    """Return a pooled member of what `dump` wrote of its rows; raises ValueError where it is not sound."""
    if not isinstance(rows, dict) or [*rows] != [*LISTS, *NUMBERS]:
        raise ValueError("its pooled member does not say which rows it takes")
    columns, *scales = (rows[name] for name in LISTS)
    if not all(type(rows[name]) is int for name in NUMBERS) or not all(isinstance(one, list) for one in scales):
        raise ValueError("its pooled member is described by what is no number")
    features = range(rows["n_features_in_"])
    if not isinstance(columns, list) or not all(type(one) is int and one in features for one in columns):
        raise ValueError("its pooled member sees columns that there are not")
    if {len(columns), *map(len, scales)} != {model.n_features_in_} or len({*columns}) < len(columns):
        raise ValueError("its pooled member does not see each of its features once")
    if not all(type(one) is float and abs(one) <= LARGEST for values in scales for one in values):
        raise ValueError("its pooled member scales rows by what is no finite number")
    factor, shift = (np.array(values, dtype=np.float32) for values in scales)
    about = {name: rows[name] for name in NUMBERS}
    return Pooled(algorithm, model, np.array(columns, dtype=np.int64), factor, shift, **about)


def _own_of(name: str, own: Own) -> Own:
    """Return what a user's module brought to a member: types that it declares are of no other member."""
    return {name: own[name]} if name in own else NO_OWN
