"""What MLflow loads of a version that `models export --to mlflow` exported: a model of bars, checked as the registry's.

MLflow calls `_load_pyfunc` with the folder of the version's files. In a process that has this project installed:

    model = mlflow.pyfunc.load_model("models:/analyst_1h@champion-binance-BTCUSDT")
    predictions = model.predict(bars)
"""

import json
import tempfile
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import polars as pl

from job.api.frames import predict_bars
from job.config.settings import DataSettings
from job.core.errors import RegistryError
from job.core.keys import Key
from job.registry.names import is_part
from job.storage.files import Storage
from job.worker.scorer import Scorer, load_scorer

Frame = TypeVar("Frame", pl.DataFrame, pd.DataFrame)


class BarsModel:
    """A version that predicts bars."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __repr__(self) -> str:
        return f"BarsModel({self._scorer.key}, {self._scorer.version})"

    def predict(self, model_input: Frame, params: dict[str, Any] | None = None) -> Frame:  # noqa: ARG002 - MLflow's
        """Predict bars of the model's series, as `RayModelTrainer.predict` does.

        Args:
            model_input: bars, in pandas or Polars, with columns named as files may have them.
            params: none are known.

        Raises:
            DataError: the bars cannot be understood, or none is past warm-up.
        """
        return predict_bars(model_input, self._scorer, DataSettings())


def _load_pyfunc(path: str) -> BarsModel:
    """Return the model of the version whose files are in the folder `path`.

    Raises:
        RegistryError: they are not the files of one version of this job, or it must not be loaded.
    """
    folder = Path(path)
    named = [file for file in folder.glob("*.json") if is_part(file.name)]
    try:
        (file,) = named
        key = Key(**json.loads(file.read_bytes())["key"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise RegistryError(f"{folder} holds no exported version ({error}); export it again") from None
    with tempfile.TemporaryDirectory() as place:  # laid out as a registry, so that its loader makes all its checks
        registry = Storage(place)
        for one in folder.iterdir():
            if is_part(one.name):
                registry.create(f"{key.folder}/{one.name}", one.read_bytes())
        return BarsModel(load_scorer(registry, key, file.stem))
