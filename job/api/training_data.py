"""Samples of one's own: what the Python API trains on when the features and labels are made elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from job.config.overrides import overlay
from job.config.settings import Config, load_config
from job.core.environment import versions
from job.core.errors import ConfigError, TrainingError
from job.core.keys import Key
from job.core.wording import first_of
from job.learning.spec import ModelSpec
from job.registry.definition import CALLER
from job.registry.outcome import Outcome
from job.registry.versions import new_run_id
from job.train.audit import certify
from job.train.commit import commit_version
from job.train.plan import make_plan
from job.train.steps import samples_of
from job.train.task import SamplesRow, Task
from job.worker.gathering import with_context_here
from job.worker.load_bars import load_series
from job.worker.messages import Job
from transforms.bars import duration_us
from transforms.features import DEFAULT_FEATURES
from transforms.features.feature import WARM


@dataclass(frozen=True)
class ModelConfig:
    """One model for `RayModelTrainer.train_model`; algorithm, folds and embargo come from the trainer's settings.

    `target_column` names what the labels are, for the metadata.
    """

    model_type: str
    timeframe: str
    features: tuple[str, ...] = DEFAULT_FEATURES
    target_column: str = "label"
    test_size: float = 0.2
    random_state: int = 42
    n_estimators: int = 100
    max_depth: int | None = 10


@dataclass(frozen=True)
class TrainingData:
    """Samples of one series, one row a bar, in time order.

    Args:
        features: pandas frame, one float column a feature, indexed by the bars' open times (UTC if without a zone).
        labels: pandas Series on the same index: 1 up, 0 down; rows without a label are NaN and do not train.
        timeframe: of the bars, such as `1h`.
        model_type: `analyst`, `tactician`, or a kind that `model_trainer.models` names.
        data_info: `symbol`, `exchange`, and when each label is known: `label_end` (times, one a row) or `horizon`
            (bars; default: the horizon of the kind's label). Training rows whose label reaches into a test window are
            left out by it.
    """

    features: pd.DataFrame
    labels: "pd.Series[Any]"
    timeframe: str
    model_type: str
    data_info: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        rows, columns = self.features.shape
        about = f"{self.data_info.get('symbol', 'custom')} {self.model_type} {self.timeframe}: {rows} rows"
        if rows:
            about += f" from {self.features.index[0]} to {self.features.index[-1]}"
        return f"TrainingData({about}, {columns} features, {self.labels.mean():.1%} of labels up)"


def read_training_data(config: Config, model_type: str, timeframe: str) -> TrainingData:
    """Read one series and return the samples that its model is trained on.

    Raises:
        AuditError: a feature looks ahead, or reads more than it declares.
        ConfigError: more than one series is meant, or no such model is configured.
        DataError: the bars cannot be used.
    """
    plan = make_plan(config)
    planned = plan.tasks
    tasks = [task for task in planned if (task.key.model_type, task.key.timeframe) == (model_type, timeframe)]
    if len(tasks) != 1 or len(tasks[0].series) != 1:
        known = first_of(sorted({str(task.key) for task in planned}))
        raise ConfigError(
            f"expected one series with the model {model_type} {timeframe}, got {len(tasks)}: name one of {known}"
        )
    (task,) = tasks
    job = with_context_here([task], replace(_job(config), fleet=plan.fleet), tolerance=WARM)
    bars, info = load_series(task.series[0], job, listed={task.flow: None})
    name = str(task.series[0])
    certify(task, bars, info, config.data, name=name, context=job.context)
    samples, left_out = samples_of(task, bars, info, config.data, name=name, context=job.context)
    frame = samples.frame.to_pandas().set_index("timestamp")
    kept = [name for name in task.spec.feature_names if name not in left_out]
    about = {
        "symbol": task.key.symbol,
        "exchange": task.key.exchange,
        "label_end": frame["label_end"],
        **samples.counts,
    }
    return TrainingData(frame[kept], frame["label"], timeframe, model_type, about)


def train_on(model: ModelConfig, data: TrainingData, config: Config) -> Outcome:
    """Train, score and commit one model on given samples; see `RayModelTrainer.train_model`."""
    if (model.model_type, model.timeframe) != (data.model_type, data.timeframe):
        raise ConfigError(
            f"model config is for {model.model_type} {model.timeframe}, data for {data.model_type} {data.timeframe}"
        )
    spec = model_spec(model, config)
    exchange = str(data.data_info.get("exchange", config.data.exchange or "unknown"))
    key = Key(exchange, str(data.data_info.get("symbol", "custom")), data.timeframe, data.model_type)
    samples = _samples(model, data, spec)
    task = Task(key=key, spec=spec, series=(), rows=samples.height, seconds=0.0, memory=0)
    stats = {"definition": spec.label.definition(), "source": CALLER, "column": model.target_column}
    return commit_version(SamplesRow(task, None, {"used": samples.height}, stats), samples, _job(config))


def model_spec(model: ModelConfig, config: Config) -> ModelSpec:
    """Return the spec of the model's kind with what `model` says instead, validated as settings are."""
    trainer = config.model_trainer
    if model.model_type not in trainer.all_kinds:
        raise ConfigError(f"model_type {model.model_type!r}: expected one of {', '.join(trainer.all_kinds)}")
    if not model.features:
        raise ConfigError("features: name at least one column of the data")
    own = {"timeframes": [model.timeframe], "n_estimators": model.n_estimators, "max_depth": model.max_depth}
    named = model.model_type in trainer.models
    kind = {"models": {model.model_type: own}} if named else {f"{model.model_type}_models": own}
    shared = {"test_size": model.test_size, "random_state": model.random_state}
    validated = load_config(overlay(config.model_dump(), {"model_trainer": shared | kind}))
    return validated.spec_of(model.model_type).model_copy(update={"features": tuple(model.features)})


def _samples(model: ModelConfig, data: TrainingData, spec: ModelSpec) -> pl.DataFrame:
    """Return the frame that training takes, from the labeled rows whose features are finite."""
    frame = data.features
    if missing := [name for name in model.features if name not in frame.columns]:
        raise ConfigError(
            f"features {missing} are not columns of the data (it has {', '.join(map(str, frame.columns))})"
        )
    if not frame.index.equals(data.labels.index):
        raise ConfigError(f"features ({len(frame)} rows) and labels ({len(data.labels)} rows) have different indexes")
    if not isinstance(frame.index, pd.DatetimeIndex) or frame.index.has_duplicates:
        raise ConfigError("features and labels must be indexed by the bars' open times, each once")
    times = frame.index
    opened = pl.Series("timestamp", _microseconds(times)).cast(pl.Datetime("us", "UTC"))
    width = duration_us(data.timeframe)
    available = opened.dt.offset_by(f"{width}us")
    known = _label_ends(data, spec, available, width)
    columns = {name: _numbers(frame[name], f"feature {name!r}").astype(np.float32) for name in model.features}
    samples = pl.DataFrame(
        {
            "timestamp": opened,
            "available_at": available,
            "label_end": known,
            "label": _numbers(data.labels, "labels"),
            **columns,
        }
    )
    usable = samples.filter(pl.all_horizontal(pl.col("label", *model.features).is_finite())).sort("timestamp")
    if bad := set(usable["label"].unique()) - {0.0, 1.0}:
        raise TrainingError(f"labels must be 0 or 1, got {sorted(bad)[:3]}: map the classes first")
    early = usable.filter(pl.col("label_end") < pl.col("available_at")).height
    if early:
        raise TrainingError(
            f"label_end of {early} rows is absent or before the row's own bar closes: "
            "give the time at which each label is known, by which training rows are kept out of test windows"
        )
    return usable.with_columns(pl.col("label").cast(pl.Int8))


def _label_ends(data: TrainingData, spec: ModelSpec, available: pl.Series, width: int) -> pl.Series:
    """Return when each label is known, as `TrainingData.data_info` says."""
    ends = data.data_info.get("label_end")
    if ends is None:
        horizon = data.data_info.get("horizon", spec.label.horizon)
        if not isinstance(horizon, int) or horizon < 1:
            raise ConfigError(f"data_info.horizon: expected a whole number of bars from 1 on, got {horizon!r}")
        return available.dt.offset_by(f"{width * horizon}us")
    if len(ends) != len(available):
        raise ConfigError(f"data_info.label_end: expected {len(available)} times, one a row, got {len(ends)}")
    return pl.Series(_microseconds(pd.DatetimeIndex(ends))).cast(pl.Datetime("us", "UTC"))


def _numbers(values: "pd.Series[Any]", what: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    try:
        return values.to_numpy(dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{what}: expected numbers, {error}") from None


def _microseconds(times: pd.DatetimeIndex) -> np.ndarray[Any, np.dtype[np.int64]]:
    utc = times.tz_localize("UTC") if times.tz is None else times.tz_convert("UTC")
    return utc.as_unit("us").asi8


def _job(config: Config) -> Job:
    return Job(
        run_id=new_run_id(datetime.now(UTC)),
        config=config,
        output=config.model_trainer.model_directory,
        versions=versions(),
    )
