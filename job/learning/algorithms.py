"""What describes an algorithm: its class, defaults, cost, importance, and how its models are stored.

The class is named, not imported: settings and plans need the name only, and scikit-learn takes seconds to import.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np

from job.core.errors import ConfigError
from job.core.wording import on_one_line
from job.learning.forests.engines import SMALLEST_LEAF_SHARE, Engine, leaf_rows
from job.learning.spaces import Space
from job.learning.spec import ModelSpec

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

Importance = Literal["impurity", "permutation", "absolute_coefficient"]
SeedInfluence = Literal["trees", "stages"]
GeneralFormat = Literal["skops", "pkl"]
"""Formats of the registry that any model can have: skops, of declared types only, and pickle, which can run code."""

GENERAL_FORMATS: Final[tuple[GeneralFormat, ...]] = get_args(GeneralFormat)
FORMAT_NAME: Final = r"(?!json\b)[a-z0-9_]{1,32}"
"""What a format may be called: its name is the suffix of files, and `json` is the metadata's."""


@dataclass(frozen=True)
class Window:
    """The training window that an estimator is built for: its rows, and whether they come from several series."""

    rows: int
    pooled: bool = False


@dataclass(frozen=True)
class StoredType:
    """A type that stored models of an algorithm contain, such as `sklearn.tree._tree.Tree`.

    `loader` is the skops node that may build it. `check` is `module:function` of (part, features), which raises
    ValueError for an unsound part of this type; it is called on every such part of an artifact before any is used.
    """

    name: str
    loader: str = "ObjectNode"
    check: str | None = None


@dataclass(frozen=True)
class ArtifactFormat:
    """A format of an algorithm's own that its fitted models are stored in; `storage.format: pkl` wins over it.

    Args:
        name: in metadata and messages, and the suffix of the model's file: lower-case letters, digits, underscores.
        dump: `module:function` of (model), which returns its bytes: the same ones each time and in any process.
        parse: `module:function` of (data), which returns the model. The digest was checked, but whoever can write to
            the registry can write that, too. So it checks the structure itself before any native loader sees the bytes,
            runs nothing that they hold, and raises ValueError, saying what is unsound.

    Raises:
        ValueError: the name is none, or is that of a format of the registry.
    """

    name: str
    dump: str
    parse: str

    def __post_init__(self) -> None:
        if not re.fullmatch(FORMAT_NAME, self.name) or self.name in GENERAL_FORMATS:
            raise ValueError(
                f"artifact format {self.name!r}: expected up to 32 lower-case letters, digits or underscores, and not "
                f"json, {' or '.join(GENERAL_FORMATS)}"
            )


@dataclass(frozen=True)
class Fitter:
    """A function that fits an estimator in place of the estimator's own `fit`.

    `path` is its `module:function`, which takes (estimator, matrix, label) and, where rows are weighted,
    `sample_weight`; `library` is the optional distribution that it needs, if any.
    """

    path: str
    library: str | None = None


def bars_seen(estimator: Any) -> int:
    """Return how many bars an estimator sees at once: its parameter `sequence_bars`, 1 without one."""
    return int(getattr(estimator, "sequence_bars", 1))


@dataclass(frozen=True)
class Algorithm:
    """Everything that is known about an algorithm.

    Args:
        name: for settings, messages and metadata.
        path: `module:name` of the estimator's class, which follows scikit-learn's conventions for binary classifiers.
            If `sequence_bars` is one of its parameters it sees as many bars at once, and takes `learning.sequences.
            Sequences` in place of a matrix.
        defaults: parameters of the estimator, given a model's settings and its training window.
        importance: how much each feature matters; see `learning.importances`.
        version: raise it whenever defaults change, so that models are trained again.
        seconds_per_row: estimated CPU seconds per row for all fits of a task (5 folds and holdout, 100 trees, 20
            features), by which plans order and bundle tasks.
        parallel: whether the estimator takes `n_jobs`.
        precision: dtype of the features that it is fitted on: the one it computes in, so that nothing is converted.
        by_column: whether a float64 matrix lies by column for its fit, as a float32 one always does.
        fitters: functions that can fit it instead of its own `fit`, by engine.
        library: optional distribution that the class comes from; its version then enters the fingerprint.
        also: further optional distributions that decide its numbers.
        extra: the extra of this project that installs the library.
        artifact: how models are stored: a format of its own; or `pkl`, which loads only with `allow_pickle`, for what
            skops cannot store.
        stored_types: what its models contain besides the estimator's class and the types common to all models
            (`registry.parts.COMMON`), in skops. Only declared types are ever loaded.
        draws: whether the fit of an estimator draws random numbers, so that another seed makes another model. By
            default nobody knows: what has no `seed_influence` is fitted a second time, to see whether it differs.
        seed_influence: what tells from a fitted model what its seed did: its `trees`, which are drawn independently, or
            its `stages`, as those of scikit-learn's gradient boosting. Without it, each model whose fit may draw is
            fitted a second time by another seed.
        space: which values of which of the estimator's parameters `tune` tries, unless settings say otherwise. Where a
            parameter depends on the rows, as the size of leaves, give a share of them, if the estimator takes one.
        validation: share of the training window, its last part, by which a fit knows when to stop. Then `fit` takes
            `validation`: a `splits.Fold` of positions among its rows, or nothing where they are too few.
        fit_record: the fitted estimator's attribute with what its fit went through, as JSON values, for the metadata.
        gpu: whether a fit uses a GPU where its process has one.
        spreads: whether its `fit` takes a `matrices.SpreadMatrix`, whose rows several workers hold.
        import_seconds: what importing its library costs a worker, in CPU seconds.
        import_bytes: what its library takes of a worker's memory.
    """

    name: str
    path: str
    defaults: Callable[[ModelSpec, Window], dict[str, Any]]
    importance: Importance
    version: int
    seconds_per_row: float
    parallel: bool = False
    precision: type[np.floating[Any]] = np.float32
    by_column: bool = False
    fitters: Mapping[Engine, Fitter] = field(default_factory=dict)
    library: str | None = None
    also: tuple[str, ...] = ()
    extra: str | None = None
    artifact: GeneralFormat | ArtifactFormat = "skops"
    stored_types: tuple[StoredType, ...] = ()
    draws: Callable[[Any], bool] | None = None
    seed_influence: SeedInfluence | None = None
    space: Space = field(default_factory=dict)
    validation: float | None = None
    fit_record: str | None = None
    gpu: bool = False
    spreads: bool = False
    import_seconds: float = 0.0
    import_bytes: int = 0

    @property
    def estimator(self) -> type["ClassifierMixin"]:
        """The estimator's class.

        Raises:
            ConfigError: it cannot be imported.
        """
        try:
            found: type[ClassifierMixin] = resolve_name(self.path)
        except (ImportError, AttributeError, ValueError) as error:
            wanted = f"'.[{self.extra}]'" if self.extra else self.library
            remedy = f": pip install {wanted}" if wanted else ""
            raise ConfigError(
                f"algorithm {self.name}: cannot import {self.path} ({on_one_line(error)}){remedy}"
            ) from None
        return found

    @property
    def format(self) -> str:
        """Name of the format that its models are stored in, unless the registry stores pickles."""
        return self.artifact.name if isinstance(self.artifact, ArtifactFormat) else self.artifact

    def libraries(self, engine: Engine) -> tuple[str, ...]:
        """Return the optional distributions that its models depend on when fitted by `engine`."""
        fitter = self.fitters.get(engine)
        return tuple(library for library in (self.library, *self.also, fitter and fitter.library) if library)

    def may_draw(self, model: Any) -> bool:
        """Return whether the fit of a model drew random numbers, as far as anybody knows."""
        return self.draws is None or self.draws(model)

    def engine_for(self, estimator: Any, rows: int, engine: Engine) -> Engine:
        """Return the engine that fits `estimator` on a window of `rows`, given the one chosen for the model."""
        if engine not in self.fitters:
            return "sklearn"
        if engine == "histogram" and leaf_rows(estimator.min_samples_leaf, rows) < SMALLEST_LEAF_SHARE * rows:
            return "sklearn"
        return engine
