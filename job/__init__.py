"""Train, score and version models of OHLCV bars with Ray Data; the Python API.

The names load on first use, so that importing one module of the package does not import all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from job.api.trainer import RayModelTrainer, setup_model_trainer
    from job.api.training_data import ModelConfig, TrainingData

__all__ = ["ModelConfig", "RayModelTrainer", "TrainingData", "setup_model_trainer"]

_HOMES = {
    "ModelConfig": "job.api.training_data",
    "RayModelTrainer": "job.api.trainer",
    "TrainingData": "job.api.training_data",
    "setup_model_trainer": "job.api.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'job' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
