"""The sections of settings and their defaults; `Config` is what the rest of the job reads."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from job.config.mistakes import mistakes
from job.config.overrides import overlay, parse_override
from job.config.values import Algorithm, CountOrShare, Features, Names, Time, Timeframe
from job.config.yaml_text import read_yaml
from job.core.errors import ConfigError
from job.core.paths import redact_url
from job.learning.forests.engines import EngineSetting, resolve
from job.learning.spec import LabelSetting, ModelSpec, Scalar
from transforms.bars import duration_us
from transforms.features import DEFAULT_FEATURES
from transforms.labels import Direction, Label, TripleBarrier

SECRET_WORDS: Final = ("key", "secret", "token", "pass", "auth", "credential", "cookie", "sas", "sig", "connection_str")
MASK: Final = "***"

MAX_LOOKBACK_DAYS: Final = 36_525.0
MAX_TIMEFRAME: Final = "366d"
MAX_BARS: Final = 10_000_000
"""More than any series has: a number of bars beyond it is a slip, and would overflow."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool(cls, value: object, info: ValidationInfo) -> object:
        annotation = cls.model_fields[info.field_name or ""].annotation
        if isinstance(value, bool) and {annotation, *get_args(annotation)} & {int, float}:
            raise ValueError("expected a number")
        return value


def check_max_timeframe(timeframe: str) -> str:
    """Return `timeframe` as it is; raises ValueError for one that is longer, or none."""
    if duration_us(timeframe) > duration_us(MAX_TIMEFRAME):
        raise ValueError(f"timeframe {timeframe!r}: expected at most {MAX_TIMEFRAME}")
    return timeframe


BarTimeframe = Annotated[Timeframe, AfterValidator(check_max_timeframe)]


class RaySettings(_Section):
    """How to start or join Ray. `address` joins a running cluster; without it a local one is started."""

    num_cpus: int | None = Field(default=None, ge=1, le=10_000)
    num_gpus: int | None = Field(default=None, ge=0)
    cpus_per_task: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    address: str | None = None
    logging_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("logging_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("address")
    @classmethod
    def _no_client(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("ray://"):
            raise ValueError("ray:// is not supported: submit the job with `ray job submit --working-dir . -- ...`")
        return value


class DataSettings(_Section):
    """Which bars to read and how to understand them. `start` is inclusive, `end` exclusive, both bar open times."""

    input: str | None = None
    format: str = "auto"
    exchange: str | None = Field(default=None, pattern=r"\S")
    symbols: Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Names] = ()
    timeframe: BarTimeframe | None = None
    start: Time | None = None
    end: Time | None = None
    lookback_days: float | None = Field(default=None, gt=0, le=MAX_LOOKBACK_DAYS)
    columns: dict[str, str] = {}
    timezone: str = "UTC"
    bar_time: Literal["auto", "open", "close"] = "auto"
    max_fill: int = Field(default=5, ge=0, le=MAX_BARS)
    min_coverage: float = Field(default=0.8, gt=0, le=1)
    max_rejected: float = Field(default=0.1, ge=0, le=1)
    gaps: Literal["segment", "ignore"] = "segment"
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start {self.start} is not before end {self.end}")
        return self


class ModelSettings(_Section):
    """One kind of model. `params` are passed to the estimator and win over its defaults."""

    timeframes: Annotated[tuple[BarTimeframe, ...], Names]
    algorithm: Algorithm
    label: LabelSetting
    features: Features = DEFAULT_FEATURES
    n_estimators: int = Field(default=100, ge=1, le=1_000_000)
    max_depth: int | None = Field(default=10, ge=1)
    params: dict[str, Scalar] = {}

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

    @field_validator("features")
    @classmethod
    def _some_feature(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one feature, or leave it out for the default ones")
        return value


class AnalystSettings(ModelSettings):
    """Trend models."""

    timeframes: Annotated[tuple[BarTimeframe, ...], Names] = ("1h", "15m", "5m", "1m")
    algorithm: Algorithm = "random_forest"
    label: LabelSetting = Direction(horizon=10)


class TacticianSettings(ModelSettings):
    """Entry and exit models."""

    timeframes: Annotated[tuple[BarTimeframe, ...], Names] = ("1m",)
    algorithm: Algorithm = "hist_gradient_boosting"
    label: LabelSetting = TripleBarrier(k=1.5, window=20, horizon=15)


class TradingSettings(_Section):
    """Whether versions are scored by trading on their signals, too: `cost_bps` of what changes hands, a side."""

    cost_bps: float = Field(ge=0, le=10_000)


GROUPINGS: Final = (("exchange", "symbol", "timeframe"), ("exchange", "timeframe"), ("timeframe",))


class TrainerSettings(_Section):
    """What to train, how to split and score it, and where the models go."""

    enable_analyst_models: bool = True
    enable_tactician_models: bool = True
    model_directory: str = Field(default="models", min_length=1)
    group_by: Annotated[tuple[str, ...], Names] = GROUPINGS[0]
    test_size: float = Field(default=0.2, gt=0, lt=1)
    cv_folds: int = Field(default=5, ge=1, le=1_000)
    embargo: int = Field(default=0, ge=0, le=MAX_BARS)
    random_state: int = Field(default=42, ge=0, lt=2**32)
    engine: EngineSetting = "auto"
    max_samples: int = Field(default=2_000_000, ge=1)
    calibrate: Literal["shrink", "none"] = "shrink"
    refit: bool = False
    trading: TradingSettings | None = None
    task_timeout_s: float | None = Field(default=None, gt=0)
    max_failures: CountOrShare | None = None
    analyst_models: AnalystSettings = AnalystSettings()
    tactician_models: TacticianSettings = TacticianSettings()

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

    @model_validator(mode="after")
    def _something_to_train(self) -> Self:
        if not (self.enable_analyst_models or self.enable_tactician_models):
            raise ValueError("both kinds of model are disabled: enable analyst or tactician models")
        on = [(self.enable_analyst_models, self.analyst_models), (self.enable_tactician_models, self.tactician_models)]
        if not any(enabled and kind.timeframes for enabled, kind in on):
            raise ValueError("no kind of model that is enabled has a timeframe: nothing to train")
        return self


class StorageSettings(_Section):
    """How artifacts are stored. `pkl` can run code when loaded, so loading it is opt-in.

    A run that has not renewed its lease for `lease_s` seconds is taken for dead; what it left half written is swept.
    """

    format: Literal["skops", "pkl"] = "skops"
    options: dict[str, Any] = {}
    lease_s: float = Field(default=120.0, ge=1, le=86_400)


class PromotionSettings(_Section):
    """When `compare --promote` moves the champion: `better` significantly, or `fresher` and not significantly worse."""

    policy: Literal["better", "fresher"] = "better"
    alpha: float = Field(default=0.05, gt=0, lt=1)


class Config(_Section):
    """All settings of a run."""

    ray: RaySettings = RaySettings()
    data: DataSettings = DataSettings()
    model_trainer: TrainerSettings = TrainerSettings()
    storage: StorageSettings = StorageSettings()
    promotion: PromotionSettings = PromotionSettings()

    def model_specs(self) -> Iterator[tuple[str, str, ModelSpec]]:
        """Yield (model type, timeframe, spec) of every model that a series gets; on the driver only.

        Raises:
            ConfigError: the engine asked for is not installed, or does not follow a parameter.
        """
        trainer = self.model_trainer
        kinds: list[tuple[str, ModelSettings]] = []
        if trainer.enable_analyst_models:
            kinds.append(("analyst", trainer.analyst_models))
        if trainer.enable_tactician_models:
            kinds.append(("tactician", trainer.tactician_models))
        shared = trainer.model_dump(include=set(ModelSpec.model_fields) & set(TrainerSettings.model_fields))
        for model_type, kind in kinds:
            own = {name: getattr(kind, name) for name in ModelSettings.model_fields if name != "timeframes"}
            engine = resolve(trainer.engine, kind.algorithm, kind.n_estimators, kind.params)
            spec = ModelSpec(**own, **shared | {"engine": engine})
            for timeframe in kind.timeframes:
                yield model_type, timeframe, spec

    def masked(self) -> dict[str, Any]:
        """Return the settings as JSON values with every secret replaced."""
        dump: dict[str, Any] = self.model_dump(mode="json")
        for section in ("data", "storage"):
            dump[section]["options"] = mask(dump[section]["options"])
        if self.data.input is not None:
            dump["data"]["input"] = redact_url(self.data.input)
        return dump


def mask(options: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the value of every key that names a secret, at any depth."""
    return {
        key: mask(value)
        if isinstance(value, Mapping)
        else MASK
        if any(word in key.lower() for word in SECRET_WORDS)
        else value
        for key, value in options.items()
    }


def load_config(source: Mapping[str, Any] | str | os.PathLike[str], overrides: Sequence[str] = ()) -> Config:
    """Validate a nested dict or a YAML file, with `dotted.key=value` overrides applied on top.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, a value has the wrong type, or an override
            carries a secret. The message names the dotted key.
    """
    if not isinstance(source, Mapping | str | os.PathLike):
        raise ConfigError(f"settings: expected a mapping or the path of a YAML file, got {type(source).__name__}")
    settings = dict(source) if isinstance(source, Mapping) else read_settings(Path(source))
    for override in overrides:
        settings = overlay(settings, parse_override(override))
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("; ".join(mistakes(error, Config))) from None


def read_settings(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; raises ConfigError naming the file."""
    try:
        loaded = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror or error}") from None
    except ValueError as error:
        raise ConfigError(f"config file {path} is not YAML: {error}") from None
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"config file {path}: expected a mapping at the top, got {type(loaded).__name__}")
    for name in Config.model_fields.keys() & loaded.keys():
        if not isinstance(loaded[name], dict):  # a flag laid over it would hide it
            raise ConfigError(f"config file {path}: {name}: expected a section of settings, got {loaded[name]!r:.60}")
    return loaded
