"""The Python API, used as the README shows it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from job import ModelConfig, RayModelTrainer, TrainingData, setup_model_trainer
from job.api.training_data import model_spec
from job.config.settings import load_config
from job.core.errors import ConfigError, DataError, RegistryError, TrainingError
from job.core.keys import Key
from job.core.synth import write_world
from job.registry.catalog import open_registry
from tests.here import without_ray
from tests.registries import find_version

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"cv_folds": 2, "analyst_models": {"timeframes": ["15m", "1m"], "n_estimators": 10}}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_world(folder, symbols=2, days=4, seed=3, world="signal")
    return folder


@pytest.fixture(scope="module")
def trainer(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayModelTrainer]:
    """A trainer that has trained both symbols."""
    models = tmp_path_factory.mktemp("models")
    settings = {"data": {"input": str(bars)}, "model_trainer": {**SMALL, "model_directory": str(models)}}
    with without_ray(), setup_model_trainer(settings) as trainer:
        trainer.train_models()
        yield trainer


def test_results_by_kind_and_timeframe(trainer: RayModelTrainer) -> None:
    target = {"symbol": "SYN00USDT", "exchange": "synthetic", "timeframe": "1m", "lookback_days": 3}
    results = trainer.train_models(target)
    assert 0 < results["analyst_models"]["15m"]["accuracy"] <= 1
    assert results["tactician_models"]["1m"]["status"] == "trained"
    assert set(results["series"]) == {"synthetic/SYN00USDT"}
    assert results["run"]["counts"]["trained"] == 3
    status = trainer.get_training_status()
    assert (status["state"], status["done"], status["total"]) == ("finished", 3, 3)


def test_kinds_by_name_are_trained_like_the_others(bars: Path, tmp_path: Path) -> None:
    kind = {
        "timeframes": ["15m"],
        "algorithm": "logistic_regression",
        "label": "direction(3)",
        "features": ["change_1"],
    }
    settings = {
        "data": {"input": str(bars)},
        "model_trainer": {
            "cv_folds": 2,
            "model_directory": str(tmp_path),
            "enable_analyst_models": False,
            "tactician_models": {"timeframes": []},
            "models": {"scalper": kind},
        },
    }
    target = {"symbol": "SYN00USDT"}
    with without_ray(), setup_model_trainer(settings) as trainer:
        results = trainer.train_models(target)
        assert results["scalper_models"]["15m"]["status"] == "trained"
        assert results["analyst_models"] == results["tactician_models"] == {}
        (outcome,) = results["run"]["outcomes"]
        assert outcome["model_type"] == "scalper"
        assert results["run"]["config"]["model_trainer"]["models"]["scalper"]["label"]["horizon"] == 3
        assert trainer.train_models(target)["scalper_models"]["15m"]["status"] == "current"
        model, scaler = trainer.load_model("scalper", "15m")
        assert model.n_features_in_ == scaler.n_features_in_ == 1
        predicted = trainer.predict(pl.read_parquet(next(bars.rglob("*SYN00USDT*.parquet"))), "scalper", "15m")
        assert set(predicted["model_type"]) == {"scalper"}
        data = trainer.training_data("scalper", "15m", target)
        result = trainer.train_model(ModelConfig("scalper", "15m", features=("change_1",)), data)
        assert (result["status"], result["log_loss"]) == ("trained", results["scalper_models"]["15m"]["log_loss"])


def test_status_can_be_asked_while_training(trainer: RayModelTrainer) -> None:
    seen: list[dict[str, Any]] = []
    thread = threading.Thread(target=trainer.train_models, kwargs={"force": True})
    thread.start()
    while thread.is_alive():
        seen.append(trainer.get_training_status())
        thread.join(0.05)
    assert any(status["state"] == "running" and status["done"] < status["total"] for status in seen)
    assert trainer.get_training_status()["trained"] == 6


def test_models_are_plain_estimators(trainer: RayModelTrainer) -> None:
    model, scaler = trainer.load_model("analyst", "1m", symbol="SYN01USDT")
    features = np.zeros((2, scaler.n_features_in_), np.float32)
    assert model.predict_proba(scaler.transform(features)).sum(axis=1) == pytest.approx(1)


def test_an_ambiguous_or_absent_model_lists_what_there_is(trainer: RayModelTrainer) -> None:
    with pytest.raises(RegistryError, match=r"2 models .*synthetic/SYN00USDT, synthetic/SYN01USDT"):
        trainer.load_model("analyst", "1m")
    with pytest.raises(RegistryError, match=r"no model .* analyst 4h .*there are: synthetic/SYN00USDT"):
        trainer.load_model("analyst", "4h")


def test_unknown_targets_and_settings_are_named(trainer: RayModelTrainer) -> None:
    with pytest.raises(ConfigError, match="unknown target key 'symbl'"):
        trainer.train_models({"symbl": "BTC"})
    with pytest.raises(DataError, match="NOPE"):
        trainer.train_models({"symbol": "NOPE"})
    with pytest.raises(ConfigError, match="unknown key modeltrainer"):
        setup_model_trainer({"modeltrainer": {}})


def test_samples_of_ones_own(trainer: RayModelTrainer) -> None:
    data = trainer.training_data("analyst", "15m", {"symbol": "SYN00USDT"})
    assert list(data.features.columns)[:2] == ["change_1", "change_2"]
    own = data.features.assign(noise=np.random.default_rng(0).normal(size=len(data.features)))
    model = ModelConfig("analyst", "15m", features=("change_1", "rsi_14", "noise"), n_estimators=5)
    info = {"symbol": "OWN", "exchange": "lab", "label_end": data.data_info["label_end"]}
    result = trainer.train_model(model, TrainingData(own, data.labels, "15m", "analyst", info))
    assert result["status"] == "trained"
    fitted, scaler = trainer.load_model("analyst", "15m", symbol="OWN")
    assert scaler.n_features_in_ == 3
    assert len(fitted.estimators_) == 5


def test_given_labels_train_like_the_pipelines_own(trainer: RayModelTrainer) -> None:
    target = {"symbol": "SYN00USDT"}
    ours = trainer.train_models(target)["analyst_models"]["15m"]
    data = trainer.training_data("analyst", "15m", target)
    given = trainer.train_model(ModelConfig("analyst", "15m", n_estimators=10), data)
    assert given["log_loss"] == ours["log_loss"]


@pytest.mark.parametrize("model_type", ["analyst", "tactician"])
def test_a_model_of_given_samples_follows_every_setting_of_its_kind(model_type: str) -> None:
    kind = {"algorithm": "extra_trees", "label": "direction(3)", "params": {"bootstrap": True}, "timeframes": ["5m"]}
    shared = {"cv_folds": 3, "embargo": 2, "calibrate": "none", "refit": True, "engine": "sklearn"}
    config = load_config(
        {"model_trainer": {**shared, f"{model_type}_models": kind, f"enable_{model_type}_models": True}}
    )
    given = ModelConfig(model_type, "5m", ("x",), test_size=0.3, random_state=7, n_estimators=9, max_depth=4)
    (ours,) = (spec for name, _, spec in config.model_specs() if name == model_type)
    assert model_spec(given, config) == ours.model_copy(
        update={"features": ("x",), "test_size": 0.3, "random_state": 7, "n_estimators": 9, "max_depth": 4}
    )


def test_the_metadata_names_the_target_of_given_labels(trainer: RayModelTrainer) -> None:
    features = frame()
    labels = pd.Series([0, 1] * 200, index=features.index)
    data = TrainingData(features, labels, "15m", "analyst", {"symbol": "TARGET", "exchange": "lab"})
    trainer.train_model(ModelConfig("analyst", "15m", ("x",), "up_in_an_hour", n_estimators=5), data)
    metadata = find_version(open_registry(trainer._config), Key("lab", "TARGET", "15m", "analyst"))
    assert metadata is not None
    assert metadata["label"]["column"] == "up_in_an_hour"


@pytest.mark.parametrize("shift", ["-1min", None])
def test_a_label_that_is_known_before_its_bar_closes_is_refused(shift: str | None, trainer: RayModelTrainer) -> None:
    """Else nothing would keep its row out of the windows that come before the test rows which it reaches into."""
    features = frame()
    ends = pd.date_range("2024-01-01 00:15", periods=len(features), freq="15min").to_series()
    ends = ends.mask(ends.index == ends.index[7], None if shift is None else ends + pd.Timedelta(shift))
    labels = pd.Series([0, 1] * 200, index=features.index)
    data = TrainingData(features, labels, "15m", "analyst", {"label_end": ends})
    with pytest.raises(TrainingError, match="label_end of 1 rows is absent or before"):
        trainer.train_model(ModelConfig("analyst", "15m", ("x",)), data)


def frame(rows: int = 400) -> pd.DataFrame:
    times = pd.date_range("2024-01-01", periods=rows, freq="15min")
    return pd.DataFrame({"x": np.random.default_rng(0).normal(size=rows)}, index=times)


@pytest.mark.parametrize(
    ("labels", "model", "error", "message"),
    [
        ([0, 1, 2] * 133 + [0], ModelConfig("analyst", "15m", ("x",)), TrainingError, "labels must be 0 or 1"),
        ([0, 1] * 200, ModelConfig("analyst", "15m", ("y",)), ConfigError, r"features \['y'\] are not columns"),
        ([0, 1] * 200, ModelConfig("analyst", "1h", ("x",)), ConfigError, "model config is for analyst 1h"),
        ([1] * 400, ModelConfig("analyst", "15m", ("x",)), TrainingError, "are up"),
        ([0, 1] * 200, ModelConfig("analyst", "15m", ()), ConfigError, "features: name at least one"),
        ([0, 1] * 200, ModelConfig("analyst", "15m", ("x",), test_size=2), ConfigError, "model_trainer.test_size"),
        (
            [0, 1] * 200,
            ModelConfig("analyst", "15m", ("x",), n_estimators=0),
            ConfigError,
            "analyst_models.n_estimators",
        ),
        (["up", "down"] * 200, ModelConfig("analyst", "15m", ("x",)), ConfigError, "labels: expected numbers"),
    ],
)
def test_samples_that_cannot_be_used(
    labels: list[Any], model: ModelConfig, error: type[Exception], message: str, trainer: RayModelTrainer
) -> None:
    features = frame()
    data = TrainingData(features, pd.Series(labels, index=features.index), "15m", "analyst")
    with pytest.raises(error, match=message):
        trainer.train_model(model, data)


def test_a_kind_without_settings_is_refused(trainer: RayModelTrainer) -> None:
    features = frame()
    data = TrainingData(features, pd.Series([0, 1] * 200, index=features.index), "15m", "scalper")
    with pytest.raises(ConfigError, match="model_type 'scalper': expected one of analyst, tactician"):
        trainer.train_model(ModelConfig("scalper", "15m", ("x",)), data)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"horizon": "x"}, "data_info.horizon: expected a whole number of bars from 1 on, got 'x'"),
        ({"label_end": [1, 2]}, "data_info.label_end: expected 400 times, one a row, got 2"),
    ],
)
def test_label_times_that_cannot_be_used(info: dict[str, Any], message: str, trainer: RayModelTrainer) -> None:
    features = frame()
    data = TrainingData(features, pd.Series([0, 1] * 200, index=features.index), "15m", "analyst", info)
    with pytest.raises(ConfigError, match=message):
        trainer.train_model(ModelConfig("analyst", "15m", ("x",)), data)


def test_samples_without_times_or_with_a_time_twice(trainer: RayModelTrainer) -> None:
    unnamed, twice = frame().reset_index(drop=True), pd.concat([frame(), frame()])
    for features in (unnamed, twice):
        data = TrainingData(features, pd.Series(0, index=features.index), "15m", "analyst")
        with pytest.raises(ConfigError, match="indexed by the bars' open times, each once"):
            trainer.train_model(ModelConfig("analyst", "15m", ("x",)), data)


def test_settings_that_are_none() -> None:
    with pytest.raises(ConfigError, match="expected a mapping or the path of a YAML file, got NoneType"):
        setup_model_trainer(None)  # type: ignore[arg-type]
