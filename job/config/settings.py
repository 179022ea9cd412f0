"""All settings: the sections of Ray, data, storage and promotion, and `Config`, which the rest of the job reads."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from job.config.mistakes import mistakes
from job.config.observing import MetricsSettings
from job.config.overrides import overlay, parse_override
from job.config.policies import PredictionSettings, RetrainSettings, WatchSettings
from job.config.sections import AffectsModel, AffectsNothing, AffectsReading, AffectsSampling, Section
from job.config.trainer import TrainerSettings
from job.config.tuning import TuneSettings
from job.config.values import MAX_BARS, MAX_DAYS, Names, Time, Timeframe
from job.config.yaml_text import read_yaml
from job.core.errors import ConfigError
from job.core.paths import redact_url, resolve_input, resolve_output
from job.learning.features import expand_features
from job.learning.forests.engines import resolve
from job.learning.spec import ModelSpec, Scalar

SECRET_WORDS: Final = ("key", "secret", "token", "pass", "auth", "credential", "cookie", "sas", "sig", "connection_str")
MASK: Final = "***"

GapsSetting = Literal["auto", "segment", "sessions", "ignore"]


class WorkerSettings(Section):
    """Workers of an autoscaled cluster: at most `most`, each with so many CPUs and GiB of memory for tasks."""

    most: AffectsNothing[int] = Field(ge=1, le=100_000)
    cpus: AffectsNothing[int] = Field(ge=1, le=10_000)
    memory_gib: AffectsNothing[float] = Field(gt=0, le=100_000)


class RaySettings(Section):
    """How to start or join Ray. `address` joins a running cluster; without it a local one is started.

    `workers` are those that the autoscaler of a joined cluster may bring: runs are planned for them, whatever there is
    at the start.
    """

    num_cpus: AffectsNothing[int | None] = Field(default=None, ge=1, le=10_000)
    num_gpus: AffectsNothing[int | None] = Field(default=None, ge=0)
    cpus_per_task: AffectsNothing[Literal["auto"] | Annotated[int, Field(ge=1)]] = "auto"
    address: AffectsNothing[str | None] = None
    workers: AffectsNothing[WorkerSettings | None] = None
    logging_level: AffectsNothing[Literal["debug", "info", "warning", "error"]] = "info"
    logging_format: AffectsNothing[Literal["text", "json"]] = "text"

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


class DataSettings(Section):
    """Which bars to read and how to understand them. `start` is inclusive, `end` exclusive, both bar open times."""

    input: AffectsNothing[str | None] = None
    format: AffectsReading[str] = "auto"
    exchange: AffectsNothing[str | None] = Field(default=None, pattern=r"\S")
    symbols: AffectsNothing[Annotated[tuple[Annotated[str, Field(pattern=r"\S")], ...], Names]] = ()
    timeframe: AffectsReading[Timeframe | None] = None
    start: AffectsModel[Time | None] = None
    end: AffectsReading[Time | None] = None
    lookback_days: AffectsModel[float | None] = Field(default=None, gt=0, le=MAX_DAYS)
    columns: AffectsReading[dict[str, str | None]] = Field(default_factory=dict)
    timezone: AffectsReading[str] = "UTC"
    dates: AffectsReading[Literal["auto", "day_first", "month_first"]] = "auto"
    bar_time: AffectsReading[Literal["auto", "open", "close"]] = "auto"
    max_fill: AffectsSampling[int] = Field(default=5, ge=0, le=MAX_BARS)
    min_coverage: AffectsSampling[float] = Field(default=0.8, gt=0, le=1)
    max_rejected: AffectsReading[float] = Field(default=0.1, ge=0, le=1)
    splits: AffectsReading[dict[str, dict[date, Annotated[float, Field(gt=0, lt=math.inf)]]]] = Field(
        default_factory=dict
    )
    duplicates: AffectsReading[Literal["reject", "last", "fullest"]] = "reject"
    decimal: AffectsReading[Literal["auto", "point", "comma"]] = "auto"
    gaps: AffectsSampling[GapsSetting] = "auto"
    options: AffectsNothing[dict[str, Any]] = Field(default_factory=dict)

    @field_validator("columns", mode="before")
    @classmethod
    def _day_and_clock(cls, value: object) -> object:
        """Take `timestamp: [DAY, CLOCK]` as `timestamp: DAY+CLOCK`."""
        if not isinstance(value, Mapping):
            return value
        return {
            name: "+".join(map(str, column)) if name == "timestamp" and isinstance(column, list | tuple) else column
            for name, column in value.items()
        }

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start {self.start} is not before end {self.end}")
        return self


class StorageSettings(Section):
    """How artifacts are stored. `pkl` can run code when loaded, so loading it is opt-in.

    A run that has not renewed its lease for `lease_s` seconds is taken for dead; what it left half written is swept.
    """

    format: AffectsNothing[Literal["skops", "pkl"]] = "skops"
    options: AffectsNothing[dict[str, Any]] = Field(default_factory=dict)
    lease_s: AffectsNothing[float] = Field(default=120.0, ge=1, le=86_400)


class PromotionSettings(Section):
    """When `compare --promote` moves the champion: `better` significantly, or `fresher` and not worse by the `margin`.

    The margin is in nats per row. A challenger that is undecided after `patience_days` of bars is given up. The `test`
    of the difference is right at one look (fixed), or at any number of looks at more and more bars (sequential).
    """

    policy: AffectsNothing[Literal["better", "fresher"]] = "better"
    alpha: AffectsNothing[float] = Field(default=0.05, gt=0, lt=1)
    test: AffectsNothing[Literal["fixed", "sequential"]] = "fixed"
    margin: AffectsNothing[float] = Field(default=0.001, gt=0, le=1)
    patience_days: AffectsNothing[float] = Field(default=90.0, gt=0, le=MAX_DAYS)


class Config(Section):
    """All settings of a run."""

    ray: RaySettings = RaySettings()
    data: DataSettings = DataSettings()
    model_trainer: TrainerSettings = TrainerSettings()
    storage: StorageSettings = StorageSettings()
    promotion: PromotionSettings = PromotionSettings()
    retrain: RetrainSettings = RetrainSettings()
    predictions: PredictionSettings = PredictionSettings()
    tune: TuneSettings = TuneSettings()
    watch: WatchSettings = WatchSettings()
    metrics: MetricsSettings = MetricsSettings()

    def model_specs(self) -> Iterator[tuple[str, str, ModelSpec]]:
        """Yield (model type, timeframe, spec) of every model that a series gets; on the driver only.

        Raises:
            ConfigError: as `spec_of`.
        """
        for model_type, kind in self.model_trainer.kinds.items():
            spec = self.spec_of(model_type)
            for timeframe in kind.timeframes:
                yield model_type, timeframe, spec

    def spec_of(self, model_type: str, params: Mapping[str, Scalar] | None = None) -> ModelSpec:
        """Return the spec of a kind of model, enabled or not: its own settings, and those that all kinds share.

        `params` win over those of its settings; the engine follows from both.

        Raises:
            ConfigError: the engine asked for is not installed, or does not follow a parameter.
        """
        trainer = self.model_trainer
        kind = trainer.all_kinds[model_type]
        chosen = {**kind.params, **(params or {})}
        own = {name: getattr(kind, name) for name in ModelSpec.model_fields.keys() & type(kind).model_fields.keys()}
        own["params"] = chosen
        own["features"] = expand_features((*kind.features, *kind.context.named))
        shared = trainer.model_dump(include={*ModelSpec.model_fields.keys() & TrainerSettings.model_fields.keys()})
        spec = ModelSpec(**own, **shared | {"engine": "sklearn"})
        engines = [
            resolve(trainer.engine, one.algorithm, one.n_estimators, one.params, weighted=one.weights is not None)
            for one in spec.estimators
        ]
        pooled = engines.pop() if spec.pooled else None
        # Only one algorithm has a choice of engines, and no member is there twice.
        engine = next((one for one in engines if one != "sklearn"), "sklearn")
        return spec.model_copy(update={"engine": engine, "pool_engine": pooled})

    def masked(self) -> dict[str, Any]:
        """Return the settings as JSON values with every secret replaced."""
        dump: dict[str, Any] = self.model_dump(mode="json")
        for section in ("data", "storage"):
            dump[section]["options"] = mask(dump[section]["options"])
        if self.data.input is not None:
            dump["data"]["input"] = redact_url(self.data.input)
        return dump

    def with_absolute_paths(self) -> Self:
        """Return the settings with local input and output made absolute: once, on the driver.

        Raises:
            ConfigError: as `resolve_input` and `resolve_output`.
        """
        data, trainer = self.data, self.model_trainer
        directory = resolve_output(trainer.model_directory, chosen="model_directory" in trainer.model_fields_set)
        where = resolve_input(data.input) if data.input else None
        return self.model_copy(
            update={
                "data": data.model_copy(update={"input": where}),
                "model_trainer": trainer.model_copy(update={"model_directory": directory}),
            }
        )


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
