"""Validated settings: a nested dict or YAML file in, one frozen `Config` out."""

from job.config.overrides import merge, overlay
from job.config.settings import (
    MASK,
    SECRET_WORDS,
    Config,
    DataSettings,
    ModelSettings,
    ModelSpec,
    PromotionSettings,
    RaySettings,
    StorageSettings,
    TradingSettings,
    TrainerSettings,
    load_config,
    mask,
    of_a_year_at_most,
    read_settings,
)
from job.config.values import did_you_mean

__all__ = [
    "MASK",
    "SECRET_WORDS",
    "Config",
    "DataSettings",
    "ModelSettings",
    "ModelSpec",
    "PromotionSettings",
    "RaySettings",
    "StorageSettings",
    "TradingSettings",
    "TrainerSettings",
    "did_you_mean",
    "load_config",
    "mask",
    "merge",
    "of_a_year_at_most",
    "overlay",
    "read_settings",
]
