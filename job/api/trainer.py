"""The Python API: configure once, train, load models, watch progress from another thread."""

import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from job.config.overrides import merge
from job.config.settings import Config, load_config
from job.core.errors import ConfigError, RegistryError
from job.core.keys import Key
from job.core.paths import redact_url
from job.core.wording import did_you_mean, first_of
from job.registry.catalog import keys, open_registry
from job.registry.outcome import Outcome
from job.registry.versions import load
from job.storage.files import Storage
from job.train.plan import plan as plan_training
from job.train.record import TrainingRecord
from job.train.run import run

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from job.api.run import Run
    from job.api.training_data import ModelConfig, TrainingData

Frame = TypeVar("Frame", "pl.DataFrame", "pd.DataFrame")

TARGET_KEYS: Final = {
    "symbol": "data.symbols",
    "exchange": "data.exchange",
    "timeframe": "data.timeframe",
    "lookback_days": "data.lookback_days",
    "start": "data.start",
    "end": "data.end",
    "input": "data.input",
}
"""Keys of the mapping that `RayModelTrainer.train_models` takes, and the settings that they stand for."""


class RayModelTrainer:
    """Trains, finds and loads models. Ray starts with the first training and stays until `stop`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._ray = ExitStack()
        self._ray_is_up = False
        self._total = 0
        self._outcomes: list[Outcome] = []
        self._state = "idle"
        self._started = 0.0

    def __repr__(self) -> str:
        trainer = self._config.model_trainer
        kinds = ", ".join(f"{name} {'/'.join(kind.timeframes)}" for name, kind in trainer.kinds.items())
        done = f"{len(self._outcomes)} of {self._total} done" if self._total else "nothing trained yet"
        return f"RayModelTrainer({kinds or 'no kinds'}; into {redact_url(trainer.model_directory)}; {done})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Shut down the Ray that this trainer started, if any."""
        self._ray.close()
        self._ray_is_up = False

    def train_models(self, target: Mapping[str, Any] | None = None, *, force: bool = False) -> dict[str, Any]:
        """Train all models of a target and wait for them.

        Args:
            target: any of `symbol`, `exchange`, `timeframe` (of the bars), `lookback_days`, `start`, `end`, `input`;
                what is absent comes from the configuration.
            force: train models that are current, too.

        Returns:
            `analyst_models`, `tactician_models`, and so on for every kind of model, by timeframe: the flat scores with
            `status`, `version` and `error`. For several series these stand under `series` by `exchange/symbol`. `run`
            is the run record.

        Raises:
            ConfigError, DataError, RegistryError: nothing could be trained.
        """
        config = self._targeted(target or {})
        record = self._run(config, force=force)
        kinds = [f"{model_type}_models" for model_type in config.model_trainer.all_kinds]
        series: dict[str, dict[str, Any]] = {}
        for outcome in record.outcomes:
            one = series.setdefault(f"{outcome.exchange}/{outcome.symbol}", {kind: {} for kind in kinds})
            one[f"{outcome.model_type}_models"][outcome.timeframe] = _entry(outcome)
        alone = next(iter(series.values())) if len(series) == 1 else {kind: {} for kind in kinds}
        return {**alone, "series": series, "run": record.as_dict()}

    def train(
        self,
        bars: "pl.DataFrame | pd.DataFrame | str | os.PathLike[str] | None" = None,
        *,
        symbol: str | None = None,
        exchange: str | None = None,
        force: bool = False,
    ) -> "Run":
        """Train all models of some bars, wait for them, and return the run, which shows itself in a notebook.

        Args:
            bars: a frame of bars in pandas or Polars, of one series or with a column `symbol`; or what `data.input`
                takes: a file, folder, glob or URL. Without it, bars come from the configuration.
            symbol: of a frame that has no such column; otherwise, of the only series to train.
            exchange: as `symbol`; a frame may do without.
            force: train models that are current, too.

        Raises:
            ConfigError, DataError, RegistryError: nothing could be trained.
        """
        from job.api.run import Run, written  # noqa: PLC0415 - brings pandas

        named = {"symbol": symbol, "exchange": exchange}
        with ExitStack() as stack:
            if bars is None or isinstance(bars, str | os.PathLike):
                place = {} if bars is None else {"input": os.fspath(bars)}
            else:
                place = {"input": stack.enter_context(written(bars, self._config, **named))}
            config = self._targeted({**{name: value for name, value in named.items() if value}, **place})
            record = self._run(config, force=force)
        return Run(config, record.as_dict(), tuple(self._outcomes))

    def _run(self, config: Config, *, force: bool) -> TrainingRecord:
        """Plan and train; Ray is started first, if it is needed and not up."""
        plan = plan_training(config, force=force)
        self._total, self._outcomes = plan.total, list(plan.settled)
        self._state, self._started = "running", time.monotonic()
        try:
            if plan.tasks and not self._ray_is_up:
                from job.cluster.connect import running  # noqa: PLC0415 - Ray takes seconds to import

                self._ray.enter_context(running(config.ray))
                self._ray_is_up = True
            return run(config, plan=plan, watch=self._outcomes.append)
        finally:
            self._state = "finished"

    def get_training_status(self) -> dict[str, Any]:
        """Return state, models planned and done, how many by status, and seconds since the start; from any thread."""
        statuses = [outcome.status for outcome in self._outcomes]
        return {
            "state": self._state,
            "total": self._total,
            "done": len(statuses),
            "trained": statuses.count("trained"),
            "current": statuses.count("current"),
            "fresh_enough": statuses.count("fresh_enough"),
            "failed": statuses.count("failed"),
            "seconds": round(time.monotonic() - self._started, 1) if self._started else 0.0,
        }

    def load_model(
        self,
        model_type: str,
        timeframe: str,
        *,
        symbol: str | None = None,
        exchange: str | None = None,
        version: str = "latest",
        allow_pickle: bool = False,
    ) -> tuple[Any, Any]:
        """Return (model, scaler) of a version in the registry, both plain scikit-learn objects.

        `version` is `latest`, `champion`, `challenger`, a version, or the id of the run that made it.

        Raises:
            RegistryError: there is no such model, several series have one and none was named (they are listed), or the
                artifact must not be loaded.
        """
        registry = open_registry(self._config)
        key = _find_key(registry, model_type, timeframe, symbol, exchange)
        model, scaler, _ = load(registry, key, version, allow_pickle=allow_pickle)
        return model, scaler

    def predict(
        self,
        bars: Frame,
        model_type: str,
        timeframe: str,
        *,
        symbol: str | None = None,
        exchange: str | None = None,
        version: str = "latest",
        allow_pickle: bool = False,
    ) -> Frame:
        """Predict bars of one series with one model of the registry, in this process.

        Args:
            bars: pandas or Polars, with columns named as files may have them (`timestamp`, `open`, …; in pandas the
                time may be the index), of the model's timeframe or a finer one; those that come first warm up.
            model_type: of the model.
            timeframe: of the model.
            symbol: of the model, as for `load_model`.
            exchange: of the model.
            version: `latest`, an alias, a version, or the run that made it.
            allow_pickle: load a `.pkl` model, which can run any code.

        Returns:
            A frame of the same library, one row a closed bar past warm-up: exchange, symbol, timeframe, model_type,
            timestamp, available_at, probability_down, probability_up, prediction, version.

        Raises:
            RegistryError: as for `load_model`; or the model's features are not those of this release, or it is too old
                by `predictions.max_model_age`.
            DataError: the bars cannot be understood, or none is past warm-up.
        """
        from job.api.frames import predict_bars  # noqa: PLC0415 - brings pandas and scikit-learn
        from job.worker.scorer import load_scorer  # noqa: PLC0415 - as above

        registry, data = open_registry(self._config), self._config.data
        key = _find_key(registry, model_type, timeframe, symbol, exchange)
        scorer = load_scorer(registry, key, version, data=data, allow_pickle=allow_pickle)
        return predict_bars(bars, scorer, data, ages=self._config.predictions)

    def training_data(self, model_type: str, timeframe: str, target: Mapping[str, Any] | None = None) -> "TrainingData":
        """Return the features and labels that the model of one series would be trained on, made in this process."""
        from job.api.training_data import read_training_data  # noqa: PLC0415 - brings pandas and scikit-learn

        return read_training_data(self._targeted(target or {}), model_type, timeframe)

    def train_model(self, model: "ModelConfig", data: "TrainingData") -> dict[str, Any]:
        """Train one model on samples of one's own, in this process; return scores and version, like `train_models`.

        Raises:
            ConfigError, TrainingError: the samples do not suit the model; the message says which and why.
        """
        from job.api.training_data import train_on  # noqa: PLC0415 - brings pandas and scikit-learn

        return _entry(train_on(model, data, self._config))

    def _targeted(self, target: Mapping[str, Any]) -> Config:
        settings = self._config.model_dump()
        for name, value in target.items():
            if name not in TARGET_KEYS:
                hint = f"{did_you_mean(name, TARGET_KEYS)} (known: {', '.join(TARGET_KEYS)})"
                raise ConfigError(f"unknown target key {name!r}{hint}")
            settings = merge(settings, TARGET_KEYS[name], value)
        return load_config(settings).with_absolute_paths()


def setup_model_trainer(config: Mapping[str, Any] | str | os.PathLike[str]) -> RayModelTrainer:
    """Return a trainer for a nested dict or a YAML file of settings.

    Raises:
        ConfigError: naming the key that is unknown or has the wrong type, or the file that cannot be read.
    """
    return RayModelTrainer(load_config(config).with_absolute_paths())


def _find_key(registry: Storage, model_type: str, timeframe: str, symbol: str | None, exchange: str | None) -> Key:
    known = keys(registry)
    matching = [
        key
        for key in known
        if (key.model_type, key.timeframe) == (model_type, timeframe)
        and symbol in {None, key.symbol}
        and exchange in {None, key.exchange}
    ]
    wanted = f"{exchange or '*'}/{symbol or '*'} {model_type} {timeframe}"
    if not matching:
        there = first_of(sorted({str(key) for key in known})) or "none"
        raise RegistryError(f"no model {wanted} in {registry.url}; there are: {there}")
    if len(matching) > 1:
        series = first_of(sorted(f"{key.exchange}/{key.symbol}" for key in matching), 20)
        raise RegistryError(
            f"{len(matching)} models {wanted} in {registry.url}: name symbol and exchange, one of {series}"
        )
    return matching[0]


def _entry(outcome: Outcome) -> dict[str, Any]:
    return {**outcome.scores, "status": outcome.status, "version": outcome.version, "error": outcome.error}
