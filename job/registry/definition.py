"""What a version's metadata says of the samples that its model knows: features, label, and how bars became samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import polars as pl

from job.config.sections import Affects, fields_that_affect
from job.config.settings import DataSettings
from job.core.errors import DataError, RegistryError
from job.core.wording import did_you_mean
from transforms.bars import Gaps
from transforms.features import FEATURES, Feature, available
from transforms.labels import Label, parse_label
from transforms.samples import UnlabeledSamples, make_features

SAMPLING: Final = fields_that_affect(DataSettings, Affects.SAMPLING)
"""Settings of the data that a model's bars must be made with, whatever the range."""
CALLER: Final = "caller"
"""Says of a label that it, and the features with it, came from whoever called `RayModelTrainer.train_model`."""
DEFINING: Final = ("version", "inputs", "lookback", "warmup")
"""What makes a feature another one although its name is the same."""


@dataclass(frozen=True)
class Definition:
    """The samples of one version: what bars of `timeframe` must be turned into before its model sees them.

    `names` are those of its features, in the order of the model's columns; `version` is for messages.
    """

    version: str
    timeframe: str
    names: tuple[str, ...]
    label: Label
    max_fill: int
    min_coverage: float
    gaps: Gaps

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features, which are those of the model's training."""
        return tuple(FEATURES[name] for name in self.names)

    @classmethod
    def of(cls, metadata: Mapping[str, Any], data: DataSettings, *, where: str) -> Self:
        """Read a version's metadata; `where` names the version in messages.

        Metadata of early releases does not tell `SAMPLING`: then the settings in `data` are taken.

        Raises:
            StoreError: the model was trained on features that this release makes otherwise or not at all, or that
                its caller made; or the metadata does not say what it was trained on.
        """
        if metadata.get("label", {}).get("source") == CALLER:
            raise RegistryError(
                f"{where} was trained on samples of its caller's own, which cannot be made from bars here: "
                "make its features and use load_model"
            )
        try:
            label = _label(metadata["label"])
            names = tuple(_feature(entry, where).name for entry in metadata["features"])
            settings = data.model_dump(include={*SAMPLING}) | dict(metadata["data"].get("sampling", {}))
            return cls(metadata["version"], metadata["key"]["timeframe"], names, label, **settings)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise RegistryError(
                f"{where}: its metadata does not say what the model was trained on ({type(error).__name__}: {error}); "
                "retrain the model"
            ) from None

    def features_of(
        self, bars: pl.DataFrame, *, source: str, offset_us: int = 0, start: datetime | None = None, name: str = "bars"
    ) -> UnlabeledSamples:
        """Make the features of every bar from `start` on that can be scored; see `transforms.samples.make_features`.

        Args:
            bars: clean, of one series, of timeframe `source`; earlier ones warm up.
            source: timeframe of the bars.
            offset_us: as `transforms.bars.clean` found it.
            start: open time of the first bar to be scored, None for all.
            name: of the series, for messages.

        Raises:
            DataError: the timeframe cannot be made from these bars, or they have no volume and the model needs it.
        """
        if absent := available(self.names, bars.columns)[1]:
            raise DataError(
                f"{name} {self.timeframe}: {self.version} was trained on {', '.join(absent)}, and these bars have no "
                "volume: give bars that have, or retrain the model on these"
            )
        try:
            return make_features(
                bars,
                source=source,
                timeframe=self.timeframe,
                offset_us=offset_us,
                features=self.names,
                max_fill=self.max_fill,
                min_coverage=self.min_coverage,
                gaps=self.gaps,
                start=start,
            )
        except ValueError as error:
            raise DataError(f"{name} {self.timeframe}: {error}") from None


def describe_feature(name: str) -> dict[str, Any]:
    """Return what the metadata keeps of a feature; of one that was made elsewhere, the name."""
    known = FEATURES.get(name)
    return {"name": name} | ({} if known is None else {what: _json(getattr(known, what)) for what in DEFINING})


def _feature(entry: Mapping[str, Any], where: str) -> Feature:
    """Return the feature that a metadata's entry means, which must be defined here as it was there."""
    name = str(entry["name"])
    known = FEATURES.get(name)
    if known is None:
        raise RegistryError(
            f"{where} was trained on the feature {name!r}, which this release does not make"
            f"{did_you_mean(name, [*FEATURES])}; retrain the model"
        )
    here = describe_feature(name)
    for what in DEFINING:
        if what in entry and entry[what] != here[what]:
            raise RegistryError(
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
