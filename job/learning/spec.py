"""Everything that determines a model, given its bars."""

from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PlainSerializer, PlainValidator

from job.core.entries import is_import_path, source_digest
from job.learning.context import Origins, origins
from job.learning.features import flow_is_read, split_reference
from job.learning.forests.engines import Engine
from job.learning.labels import parse_label
from job.learning.weights import Weights, parse_weights
from transforms.labels import Label

Scalar = bool | int | float | str | None
Scalars = dict[str, Scalar]

BLEND: Final = "blend"
"""The algorithm whose models pool the probabilities of several others'."""
MEMBERS: Final = "of"
"""The parameter of a blend that names its members."""
DEFAULT_MEMBERS: Final = ("random_forest", "logistic_regression")
POOL: Final = "pooled"
"""Among a blend's members: a model over the series of the whole input, which was fitted on what was known before."""
POOL_ALGORITHM: Final = "algorithm"
"""The parameter of that member that names its algorithm; the others are the estimator's."""
DEFAULT_POOL_ALGORITHM: Final = "random_forest"
NO_SCALAR: Final = "expected a number, text, true, false or null"


def _check_parameter(value: object) -> object:
    """Check one of `params`: a scalar, or what a blend takes, a list of names and a mapping of a member's own."""
    names = isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
    own = isinstance(value, dict) and all(isinstance(name, str) for name in value)
    if own and isinstance(value, dict) and not all(isinstance(one, Scalar) for one in value.values()):
        raise ValueError(f"of its values: {NO_SCALAR}")
    if not isinstance(value, Scalar) and not names and not own:
        raise ValueError(NO_SCALAR)
    return list(value) if isinstance(value, tuple) else value


Params = dict[str, Annotated[Scalar | list[str] | Scalars, PlainValidator(_check_parameter)]]
LabelSetting = Annotated[InstanceOf[Label], BeforeValidator(parse_label), PlainSerializer(Label.definition)]
WeightsSetting = Annotated[
    InstanceOf[Weights] | None,
    BeforeValidator(parse_weights),
    PlainSerializer(lambda weights: weights and weights.definition()),
]


class ModelSpec(BaseModel):
    """Everything that determines a model, given its bars: the settings of its kind together with those of all kinds.

    `features` are names, and references to features of a user's modules (see `job.learning.features`). `pool_engine`
    is the engine of a blend's pooled member, None without one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    algorithm: str
    n_estimators: int
    max_depth: int | None
    params: Params
    engine: Engine
    pool_engine: Engine | None = Field(default=None, exclude_if=lambda engine: engine is None)
    label: LabelSetting
    features: tuple[str, ...]
    weights: WeightsSetting = Field(default=None, exclude_if=lambda weights: weights is None)
    test_size: float
    cv_folds: int
    embargo: int
    random_state: int
    calibrate: Literal["shrink", "none"]
    refit: bool

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of samples that the model sees, in order."""
        return tuple(split_reference(feature)[1] for feature in self.features)

    @property
    def origins(self) -> Origins:
        """The features by the bars that they are made of."""
        return origins(self.features)

    @property
    def flow(self) -> bool:
        """Whether a feature reads one of the columns of `transforms.bars.FLOW`.

        Raises:
            EntryError: there is no such feature, or its module is not here.
        """
        return flow_is_read(self.features)

    @property
    def members(self) -> tuple[Self, ...]:
        """The specs of a blend's members that are fitted on its own samples, in order; none of other models."""
        return tuple(
            self.model_copy(update={"algorithm": name, "params": self.params.get(name, {})})
            for name in self._named
            if name != POOL
        )

    @property
    def pooled(self) -> Self | None:
        """The spec of the model over all series that a blend has among its members; None without one."""
        if POOL not in self._named:
            return None
        own = self.params.get(POOL)
        params = {POOL_ALGORITHM: DEFAULT_POOL_ALGORITHM, **(own if isinstance(own, dict) else {})}
        algorithm, engine = params.pop(POOL_ALGORITHM), self.pool_engine or "sklearn"
        return self.model_copy(update={"algorithm": algorithm, "params": params, "engine": engine})

    @property
    def _named(self) -> tuple[str, ...]:
        named = self.params.get(MEMBERS, DEFAULT_MEMBERS) if self.algorithm == BLEND else ()
        return tuple(named) if isinstance(named, list | tuple) else ()

    @property
    def fits(self) -> tuple[Self, ...]:
        """The specs of the estimators that are fitted on its samples: of a blend its members, otherwise itself."""
        return self.members or (self,)

    @property
    def estimators(self) -> tuple[Self, ...]:
        """The specs of all estimators that it consists of: `fits`, and the pooled one."""
        return self.fits if self.pooled is None else (*self.fits, self.pooled)

    @property
    def import_paths(self) -> tuple[str, ...]:
        """Where the features, the label and the algorithms that users bring are, in order."""
        of_features = {path for path, _ in map(split_reference, self.features) if path is not None}
        algorithms = (one.algorithm for one in self.estimators)
        return tuple(sorted(of_features | {*filter(is_import_path, (self.label.kind, *algorithms))}))

    def sources(self) -> dict[str, str]:
        """Return, by import path, the digests of the users' modules that the model's samples depend on.

        Raises:
            EntryError: a module is not here.
        """
        algorithms = {one.algorithm for one in self.estimators}
        return {path: source_digest(path) for path in self.import_paths if path not in algorithms}
