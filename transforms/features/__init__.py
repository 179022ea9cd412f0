"""Features: what a model sees of the bars up to and including one bar.

A feature is a value. To add one, add it to a pack's file; to add a pack, write a file like `default.py` and add one
entry to `_PACKS`. Models that do not name it are not affected.
"""

from collections.abc import Mapping
from typing import Final

from transforms.features import alpha158, calendar, default, flow, microstructure, volatility
from transforms.features.feature import Feature

_PACKS: Final[Mapping[str, tuple[Feature, ...]]] = {
    "default": default.PACK,
    "alpha158": alpha158.PACK,
    "flow": flow.PACK,
    "volatility": volatility.PACK,
    "microstructure": microstructure.PACK,
    "calendar": calendar.PACK,
}
PACKS: Final[Mapping[str, tuple[Feature, ...]]] = {
    **_PACKS,
    "all": tuple(feature for pack in _PACKS.values() for feature in pack),
}
"""Features by the name that stands for all of them in settings."""

FEATURES: Final[Mapping[str, Feature]] = {feature.name: feature for feature in PACKS["all"]}
DEFAULT_FEATURES: Final = tuple(feature.name for feature in PACKS["default"])
"""Names of the features that a model sees unless its settings name others."""
