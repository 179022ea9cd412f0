"""What an artifact may be made of: the types that algorithms declare, by the skops loader that may build each."""

import platform
from collections.abc import Mapping
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from job.core.entries import is_import_path, sources
from job.core.errors import ConfigError, RegistryError
from job.learning.algorithms import Algorithm, ArtifactFormat, StoredType
from job.learning.estimators import ALGORITHMS, algorithm_named, user_source

COMMON: Final = (
    *(StoredType(f"builtins.{name}", loader=f"{name.title()}Node") for name in ("dict", "list", "tuple")),
    StoredType("builtins.str", loader="JsonNode"),
    *(StoredType(f"builtins.{name}", loader="TypeNode") for name in ("int", "str")),
    *(
        StoredType(f"numpy.{name}", loader="NdArrayNode")
        for name in ("ndarray", "bool", "int8", "int32", "int64", "uint8", "uint32", "uint64", "float32", "float64")
    ),
    StoredType("numpy.random._generator.Generator", loader="RandomGeneratorNode"),
    StoredType("numpy.random.mtrand.RandomState", loader="RandomStateNode"),
    StoredType("sklearn.preprocessing._data.StandardScaler"),
)
"""What any model may contain, and the scaler."""


Own = Mapping[str, Algorithm]
"""Algorithms that users' modules brought to a version, by import path; a blend may have several."""
NO_OWN: Final[Own] = MappingProxyType({})


def own_algorithms(metadata: Mapping[str, Any], *, where: str) -> Own:
    """Return the algorithms that users' modules brought to a version; those of this release are not among them.

    Anyone who can write to the registry writes what metadata says. So no module is imported because metadata names it,
    but for those whose source names `job.learning.algorithms`, as modules of algorithms do.

    Raises:
        RegistryError: a module is not here, or is not what it was at training.
    """
    blend = _mapping(metadata.get("blend"))
    described = [metadata, *map(_mapping, _mapping(blend.get("members")).values())]
    own: dict[str, Algorithm] = {}
    for one in (_mapping(each.get("algorithm")) for each in described):
        if (path := one.get("path")) is None:
            continue
        claim, module = f"{where} was trained by the algorithm {path!r:.100}", str(path).partition(":")[0]
        remedy = f"restore the module {module!r:.80} as it was at training, or train the model again"
        if not isinstance(path, str) or not is_import_path(path):
            raise RegistryError(f"{claim}, which is no import path; {remedy}")
        here = sources(path)
        if not here:
            raise RegistryError(f"{claim}, of whose module there is no source on node {platform.node()}; {remedy}")
        if not any(b"job.learning" in source for source in here.values()):
            raise RegistryError(f"{claim}, whose module defines no Algorithm of job.learning.algorithms; {remedy}")
        try:
            own[path], digest = algorithm_named(path), user_source(path)
        except ConfigError as error:
            raise RegistryError(f"{claim}, which cannot be used: {error}; {remedy}") from None
        if digest != one.get("source"):
            raise RegistryError(f"{claim}, whose source has changed since; {remedy}")
    return own


def _mapping(value: object) -> Mapping[str, Any]:
    """Return what metadata holds where a mapping is expected; nothing where it holds something else."""
    return value if isinstance(value, dict) else {}


def algorithms_with(own: Own) -> list[Algorithm]:
    """Return the algorithms of this release, and those that users' modules brought."""
    return [*ALGORITHMS.values(), *own.values()]


def algorithms_by_format(own: Own) -> dict[str, tuple[Algorithm, ArtifactFormat]]:
    """Return the formats of algorithms' own by name, each with an algorithm that is stored in it."""
    return {
        algorithm.artifact.name: (algorithm, algorithm.artifact)
        for algorithm in algorithms_with(own)
        if isinstance(algorithm.artifact, ArtifactFormat)
    }


def allowed_types(own: Own) -> frozenset[tuple[str, str]]:
    """Return (skops node, type) of all that skops may store or load: pinned, so that nothing else is ever built.

    Args:
        own: the algorithms that users' modules brought to this version.
    """
    declared = [*COMMON]
    for algorithm in algorithms_with(own):
        if isinstance(algorithm.artifact, ArtifactFormat):
            continue
        kind = algorithm.estimator
        declared += [StoredType(f"{kind.__module__}.{kind.__qualname__}"), *algorithm.stored_types]
    return frozenset((stored.loader, stored.name) for stored in declared)


def check_parts(estimator: object, own: Own) -> None:
    """Check every part of an estimator by the checks that algorithms declare for parts of its type.

    All checks see all parts, whichever algorithm the estimator is of: a hostile artifact can put a part anywhere.

    Raises:
        ValueError: saying what is wrong.
    """
    features = getattr(estimator, "n_features_in_", 0)
    if type(features) is not int:
        raise ValueError(f"the number of features is {features!r:.40}")
    declared = (stored for algorithm in algorithms_with(own) for stored in algorithm.stored_types)
    named = dict.fromkeys((stored.name, stored.check) for stored in declared if stored.check is not None)
    checks = [(resolve_name(name), resolve_name(check)) for name, check in named]
    seen: dict[int, object] = {}
    pending = [estimator]
    while pending:  # all that can be reached through attributes and containers
        part = pending.pop()
        if id(part) in seen or isinstance(part, str | bytes | int | float):
            continue
        seen[id(part)] = part
        for kind, is_sound in checks:
            if isinstance(part, kind):
                is_sound(part, features)
        if isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, list | tuple):
            pending.extend(part)
        elif isinstance(part, np.ndarray):
            pending.extend(part.flat if part.dtype == object else ())
        elif hasattr(part, "__dict__"):
            pending.extend(vars(part).values())
