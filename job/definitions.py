"""What a version's metadata says of the samples that its model knows: features, label, and how bars became samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from job.config import DataSettings
from job.config.values import did_you_mean
from job.errors import StoreError
from transforms.bars import Gaps
from transforms.features import FEATURES, Feature
from transforms.labels import Label, parse_label

SAMPLING: Final = ("max_fill", "min_coverage", "gaps")
"""Settings of the data that a model's bars must be made with, whatever the range."""
CALLER: Final = "caller"
"""Says of a label that it, and the features with it, came from whoever called `RayModelTrainer.train_model`."""
DEFINING: Final = ("version", "inputs", "lookback", "warmup")
"""What makes a feature another one although its name is the same."""


@dataclass(frozen=True)
class Definition:
    """The samples of one version: everything that its bars must be turned into before its model sees them."""

    features: tuple[Feature, ...]
    label: Label
    max_fill: int
    min_coverage: float
    gaps: Gaps

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in the order of the model's columns."""
        return tuple(feature.name for feature in self.features)

    @classmethod
    def of(cls, metadata: Mapping[str, Any], data: DataSettings, *, where: str) -> Self:
        """Read a version's metadata; `where` names the version in messages.

        Metadata of early releases does not tell `SAMPLING`: then the settings in `data` are taken.

        Raises:
            StoreError: the model was trained on features that this release makes otherwise or not at all, or that
                its caller made; or the metadata does not say what it was trained on.
        """
        if metadata.get("label", {}).get("source") == CALLER:
            raise StoreError(
                f"{where} was trained on samples of its caller's own, which cannot be made from bars here: "
                "make its features and use load_model"
            )
        try:
            label = _label(metadata["label"])
            features = tuple(_feature(entry, where) for entry in metadata["features"])
            settings = data.model_dump(include={*SAMPLING}) | dict(metadata["data"].get("sampling", {}))
            return cls(features, label, **settings)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise StoreError(
                f"{where}: its metadata does not say what the model was trained on ({type(error).__name__}: {error}); "
                "retrain the model"
            ) from None


def describe_feature(name: str) -> dict[str, Any]:
    """Return what the metadata keeps of a feature; of one that was made elsewhere, the name."""
    known = FEATURES.get(name)
    return {"name": name} | ({} if known is None else {what: _json(getattr(known, what)) for what in DEFINING})


def _feature(entry: Mapping[str, Any], where: str) -> Feature:
    """Return the feature that a metadata's entry means, which must be defined here as it was there."""
    name = str(entry["name"])
    known = FEATURES.get(name)
    if known is None:
        raise StoreError(
            f"{where} was trained on the feature {name!r}, which this release does not make"
            f"{did_you_mean(name, [*FEATURES])}; retrain the model"
        )
    here = describe_feature(name)
    for what in DEFINING:
        if what in entry and entry[what] != here[what]:
            raise StoreError(
                f"{where} was trained on the feature {name} of {what} {_words(entry[what])}, this release makes "
                f"{what} {_words(here[what])}; retrain the model"
            )
    return known


def _label(stats: Mapping[str, Any]) -> Label:
    """Return the label; a pooled model has its definition once a series."""
    one = next(iter(stats["series"].values())) if "series" in stats else stats
    return parse_label(one["definition"])


def _json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
