"""Algorithms by name: each is one entry of `ALGORITHMS`, or a value in a user's module that an import path names."""

from importlib.metadata import version
from inspect import signature
from typing import TYPE_CHECKING, Any, Final

from job.core.entries import EntryError, import_entry, is_import_path, source_digest
from job.core.errors import ConfigError
from job.core.wording import did_you_mean, on_one_line
from job.learning.algorithms import Algorithm, ArtifactFormat, Window
from job.learning.boosters.entries import NATIVE
from job.learning.networks.entries import NETWORKS
from job.learning.scikit_learn import SCIKIT_LEARN
from job.learning.spec import BLEND, ModelSpec

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

RESERVED: Final = {
    "n_jobs": "it follows from the CPUs of the task",
    "early_stopping": "it holds out shuffled rows, and labels of neighboring bars overlap",
    "early_stopping_rounds": "it holds out shuffled rows, and labels of neighboring bars overlap",
    "n_iter_no_change": "it holds out shuffled rows, and labels of neighboring bars overlap",
    "warm_start": "every model is fitted from nothing",
}


def algorithm_named(name: str) -> Algorithm:
    """Return the entry of `ALGORITHMS` called `name`, or the `Algorithm` that an import path names.

    Raises:
        EntryError: there is none; the message says why.
    """
    if name in ALGORITHMS:
        return ALGORITHMS[name]
    if not is_import_path(name):
        raise EntryError(
            f"unknown algorithm {name!r}{did_you_mean(name, ALGORITHMS)} (known: {', '.join(ALGORITHMS)}; your own is "
            "named like mypackage.models:ALGORITHM)"
        )
    found = import_entry(name)
    if not isinstance(found, Algorithm):
        raise EntryError(
            f"{name} is a value of type {type(found).__name__}: expected an Algorithm of job.learning.algorithms"
        )
    return found


def libraries_of(spec: ModelSpec) -> tuple[str, ...]:
    """Return the optional libraries that a model depends on."""
    found = (library for one in spec.estimators for library in algorithm_named(one.algorithm).libraries(one.engine))
    return tuple(dict.fromkeys(found))


def sequence_bars(spec: ModelSpec) -> int:
    """Return how many bars a model sees at once, without importing its estimator; see `algorithms.bars_seen`."""
    known = (algorithm_named(one.algorithm).defaults(one, Window(1)) | one.params for one in spec.fits)
    return max(int(one.get("sequence_bars", 1)) for one in known)


def can_spread(spec: ModelSpec) -> bool:
    """Return whether several workers can fit a model together, each on rows of its own."""
    return not spec.members and algorithm_named(spec.algorithm).spreads


def user_source(name: str) -> str | None:
    """Return the digest of the source of a user's algorithm and of its class, None for an entry of `ALGORITHMS`.

    A class out of scikit-learn or the algorithm's `library` counts by the library's version instead.

    Raises:
        ConfigError: as `algorithm_named`.
    """
    if name in ALGORITHMS:
        return None
    algorithm = algorithm_named(name)
    by_version = algorithm.library is not None or algorithm.path.startswith("sklearn.")
    return source_digest(name) if by_version else source_digest(name, algorithm.path)


def describe_algorithm(spec: ModelSpec, model: "ClassifierMixin", rows: int) -> dict[str, Any]:
    """Return, as JSON values, what fitted `model` on so many rows: algorithm, engine and parameters.

    A user's own algorithm comes with its import path and the digest of its source, an engine that needs a library of
    its own with that library's version.
    """
    algorithm, source = algorithm_named(spec.algorithm), user_source(spec.algorithm)
    engine = algorithm.engine_for(model, rows, spec.engine)
    library = algorithm.fitters[engine].library if engine in algorithm.fitters else None
    return {
        "algorithm": {
            "name": algorithm.name,
            "version": algorithm.version,
            **({} if source is None else {"path": spec.algorithm, "source": source}),
        },
        "engine": {
            "name": engine,
            **({} if library is None else {"library": library, "version": version(library)}),
        },
        "parameters": model.get_params(deep=False),
        **({} if algorithm.fit_record is None else {"fit": getattr(model, algorithm.fit_record)}),
    }


def build(spec: ModelSpec, window: Window, *, n_jobs: int = 1) -> "ClassifierMixin":
    """Return the unfitted estimator that `spec` asks for; `spec.params` win over the defaults.

    Raises:
        ConfigError: a parameter is unknown to the algorithm, reserved, or has a value that it does not take; or samples
            are weighted, and its `fit` takes no weights.
    """
    algorithm = algorithm_named(spec.algorithm)
    if spec.weights is not None and "sample_weight" not in signature(algorithm.estimator.fit).parameters:
        raise ConfigError(
            f"algorithm {algorithm.name} cannot weight samples, its `fit` ({algorithm.path}) takes no sample_weight: "
            f"set weights to none, or use an algorithm that can, such as {', '.join(ALGORITHMS)}"
        )
    known = sorted(set(algorithm.estimator().get_params()) - set(RESERVED)) if spec.params else []
    for name in spec.params:
        if name in RESERVED:
            raise ConfigError(f"params.{name} of {algorithm.name} cannot be set: {RESERVED[name]}")
        if name not in known:
            raise ConfigError(
                f"unknown parameter params.{name} of {algorithm.name}{did_you_mean(name, known)} "
                f"(known: {', '.join(known)})"
            )
    parameters = algorithm.defaults(spec, window) | spec.params
    if algorithm.parallel:
        parameters["n_jobs"] = n_jobs
    try:
        estimator = algorithm.estimator(**parameters)
        if hasattr(estimator, "_parameter_constraints"):  # estimators from elsewhere check what they take when they fit
            estimator._validate_params()
    except (TypeError, ValueError) as error:
        raise ConfigError(f"params of {algorithm.name}: {on_one_line(error)}") from None
    return estimator


ALGORITHMS: Final[dict[str, Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        *SCIKIT_LEARN,
        *NATIVE,
        *NETWORKS,
        Algorithm(
            BLEND,
            "job.learning.blend:Blend",
            lambda _spec, _window: {},
            "permutation",
            version=1,
            seconds_per_row=1e-6,
            artifact=ArtifactFormat(BLEND, "job.registry.blends:dump", "job.registry.blends:parse"),
            draws=lambda blend: any(algorithm_named(one.algorithm).may_draw(one.model) for one in blend.fitted),
        ),
    )
}

OPTIONAL_LIBRARIES: Final = tuple(
    sorted(
        {
            library
            for one in ALGORITHMS.values()
            for engine in ("sklearn", *one.fitters)
            for library in one.libraries(engine)
        }
    )
)
"""Distributions without which some models cannot be trained."""
