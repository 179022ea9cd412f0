"""Kinds of model: what a kind is made of, and the two that come with defaults."""

from typing import Annotated, Final

from pydantic import Field, ValidationInfo, field_validator

from job.config.sections import AffectsModel, AffectsNothing, Section
from job.config.values import MAX_BARS, Algorithm, Features, Names, Timeframes
from job.learning.context import as_timeframe
from job.learning.features import expand_feature
from job.learning.params import check_blend
from job.learning.spec import BLEND, NO_SCALAR, LabelSetting, Params, Scalar, WeightsSetting
from transforms.context import MARKET_FEATURES
from transforms.features import DEFAULT_FEATURES
from transforms.labels import Direction, Label, TripleBarrier

ANALYST: Final = "analyst"
TACTICIAN: Final = "tactician"


class ContextSettings(Section):
    """What a kind of model sees of other bars: `features` of longer ones and of other series, and the market."""

    timeframes: AffectsModel[Timeframes] = ()
    symbols: AffectsModel[Annotated[tuple[str, ...], Names]] = ()
    market: AffectsModel[bool] = False
    features: AffectsModel[Features] = DEFAULT_FEATURES

    @field_validator("symbols")
    @classmethod
    def _no_timeframe(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if found := next((one for one in value if as_timeframe(one)), None):
            raise ValueError(f"{found!r} is a timeframe: name it in context.timeframes")
        return value

    @property
    def named(self) -> tuple[str, ...]:
        """The features that it stands for, as `features` names them."""
        origins = (*self.timeframes, *self.symbols)
        named = (f"{feature}@{where}" for where in origins for feature in self.features)
        beside = (name for one in named for name in expand_feature(one))
        return (*beside, *(MARKET_FEATURES if self.market else ()))


class ModelSettings(Section):
    """One kind of model. `params` are passed to the estimator, or to a blend's members, and win over defaults."""

    timeframes: AffectsNothing[Timeframes]
    algorithm: AffectsModel[Algorithm]
    label: AffectsModel[LabelSetting]
    features: AffectsModel[Features] = DEFAULT_FEATURES
    context: ContextSettings = ContextSettings()
    weights: AffectsModel[WeightsSetting] = None
    n_estimators: AffectsModel[int] = Field(default=100, ge=1, le=1_000_000)
    max_depth: AffectsModel[int | None] = Field(default=10, ge=1)
    params: AffectsModel[Params] = Field(default_factory=dict)

    @field_validator("label", mode="before")
    @classmethod
    def _short(cls, value: object) -> object:
        if isinstance(value, str) and len(value) > 200:
            raise ValueError(f"expected something like direction(10), got a text of {len(value)} characters")
        return value

    @field_validator("label")
    @classmethod
    def _within_a_series(cls, value: Label) -> Label:
        for name, bars in vars(value).items():
            if isinstance(bars, int) and bars > MAX_BARS:
                raise ValueError(f"label {value.kind}: {name} must be at most {MAX_BARS} bars, got {bars}")
        return value

    @field_validator("params")
    @classmethod
    def _of_its_algorithm(cls, value: Params, info: ValidationInfo) -> Params:
        algorithm = info.data.get("algorithm")  # None if it was refused itself
        if algorithm == BLEND:
            check_blend(value)
        elif algorithm and (strange := [name for name, one in value.items() if not isinstance(one, Scalar)]):
            raise ValueError(f"{strange[0]}: {NO_SCALAR}")
        return value

    @field_validator("features")
    @classmethod
    def _some_feature(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one feature, or leave it out for the default ones")
        return value


class AnalystSettings(ModelSettings):
    """Trend models."""

    timeframes: AffectsNothing[Timeframes] = ("1h", "15m", "5m", "1m")
    algorithm: AffectsModel[Algorithm] = "random_forest"
    label: AffectsModel[LabelSetting] = Direction(horizon=10)


class TacticianSettings(ModelSettings):
    """Entry and exit models."""

    timeframes: AffectsNothing[Timeframes] = ("1m",)
    algorithm: AffectsModel[Algorithm] = "hist_gradient_boosting"
    label: AffectsModel[LabelSetting] = TripleBarrier(k=1.5, window=20, horizon=15)
