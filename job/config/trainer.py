"""The section `model_trainer`: which kinds of model to train, how to split and score them, where they go."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from job.config.models import ANALYST, TACTICIAN, AnalystSettings, ModelSettings, TacticianSettings
from job.config.sections import AffectsModel, AffectsNothing, Section
from job.config.values import MAX_BARS, CountOrShare, Names
from job.learning.forests.engines import EngineSetting

GROUPINGS: Final = (("exchange", "symbol", "timeframe"), ("exchange", "timeframe"), ("timeframe",))

MAX_NAME: Final = 40
KIND_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
ENDS_IN_TIMEFRAME: Final = re.compile(r".*_\d+[smhd]")
"""A version is called `<kind>_<timeframe>_<run>`: `trend_1h_1m_…` could be of the kind `trend` or of `trend_1h`."""


class TradingSettings(Section):
    """Whether versions are scored by trading on their signals, too: `cost_bps` of what changes hands, a side."""

    cost_bps: AffectsModel[float] = Field(ge=0, le=10_000)


class TrainerSettings(Section):
    """What to train, how to split and score it, and where the models go."""

    enable_analyst_models: AffectsNothing[bool] = True
    enable_tactician_models: AffectsNothing[bool] = True
    model_directory: AffectsNothing[str] = Field(default="models", min_length=1)
    group_by: AffectsNothing[Annotated[tuple[str, ...], Names]] = GROUPINGS[0]
    test_size: AffectsModel[float] = Field(default=0.2, gt=0, lt=1)
    cv_folds: AffectsModel[int] = Field(default=5, ge=1, le=1_000)
    embargo: AffectsModel[int] = Field(default=0, ge=0, le=MAX_BARS)
    random_state: AffectsModel[int] = Field(default=42, ge=0, lt=2**32)
    engine: AffectsModel[EngineSetting] = "auto"
    max_samples: AffectsModel[int] = Field(default=2_000_000, ge=1)
    samples_per_worker: AffectsModel[int | None] = Field(default=None, ge=1)
    calibrate: AffectsModel[Literal["shrink", "none"]] = "shrink"
    refit: AffectsModel[bool] = False
    tuned: AffectsNothing[Literal["latest"] | None] = None  # what was chosen becomes a model's params, which count
    trading: TradingSettings | None = None
    task_timeout_s: AffectsNothing[float | None] = Field(default=None, gt=0)
    max_failures: AffectsNothing[CountOrShare | None] = None
    analyst_models: AnalystSettings = AnalystSettings()
    tactician_models: TacticianSettings = TacticianSettings()
    models: dict[str, ModelSettings] = Field(default_factory=dict)

    @field_validator("trading", mode="before")
    @classmethod
    def _off_or_a_cost(cls, value: object) -> object:
        if value is not None and value is not False and not isinstance(value, Mapping | TradingSettings):
            raise ValueError("expected false, or what trading costs a side, such as {cost_bps: 5}")
        return None if value is False else value

    @field_validator("group_by")
    @classmethod
    def _known_grouping(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for grouping in GROUPINGS:
            if set(value) == set(grouping):
                return grouping
        raise ValueError("use one of " + "; ".join(",".join(grouping) for grouping in GROUPINGS))

    @field_validator("models")
    @classmethod
    def _distinct_kinds(cls, value: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        taken = {name: f"model_trainer.{name}_models" for name in (ANALYST, TACTICIAN)}
        for name in value:
            if len(name) > MAX_NAME or not KIND_NAME.fullmatch(name) or ENDS_IN_TIMEFRAME.fullmatch(name):
                raise ValueError(
                    f"a kind of model cannot be called {name!r}: use a letter, then letters, digits and underscores, "
                    f"at most {MAX_NAME}, with no timeframe at its end"
                )
            if name.lower() in taken:  # some file systems do not distinguish upper from lower case
                raise ValueError(f"a kind of model cannot be called {name!r}: {taken[name.lower()]} has that name")
            taken[name.lower()] = f"model_trainer.models.{name}"
        return value

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if not self.kinds:
            raise ValueError(
                "both kinds of model are disabled: enable analyst or tactician models, or name a kind in models"
            )
        if not any(kind.timeframes for kind in self.kinds.values()):
            raise ValueError("no kind of model that is enabled has a timeframe: nothing to train")
        return self

    @property
    def all_kinds(self) -> dict[str, ModelSettings]:
        """Every kind of model that there are settings for, enabled or not, by name."""
        return {ANALYST: self.analyst_models, TACTICIAN: self.tactician_models, **self.models}

    @property
    def kinds(self) -> dict[str, ModelSettings]:
        """The kinds of model that are trained, by name."""
        enabled = {ANALYST: self.enable_analyst_models, TACTICIAN: self.enable_tactician_models}
        return {name: kind for name, kind in self.all_kinds.items() if enabled.get(name, True)}

    def with_kinds(self, kinds: Mapping[str, ModelSettings]) -> Self:
        """Return the settings that train exactly these kinds of model."""
        update: dict[str, Any] = {
            "enable_analyst_models": ANALYST in kinds,
            "enable_tactician_models": TACTICIAN in kinds,
            "analyst_models": kinds.get(ANALYST, self.analyst_models),
            "tactician_models": kinds.get(TACTICIAN, self.tactician_models),
            "models": {name: kind for name, kind in kinds.items() if name not in {ANALYST, TACTICIAN}},
        }
        return self.model_copy(update=update)
