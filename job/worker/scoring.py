"""A stored version as something that scores bars, with the very numbers that it was scored by at training."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Self

import polars as pl
from threadpoolctl import threadpool_limits

from job.config import DataSettings
from job.definitions import Definition
from job.errors import DataError, StoreError
from job.keys import Key
from job.learning.fitting import Matrix, feature_matrix, probability_of_up
from job.learning.metrics import FloatArray, shrink
from job.store import LATEST, Store, load, resolve_version
from transforms.features import available
from transforms.samples import Unlabelled, make_features

CLASSES: Final = ("down", "up")
"""Names of a model's classes 0 and 1, in the order of its probabilities."""


@dataclass(frozen=True)
class Scorer:
    """A version ready to score: its fitted parts, what its samples are made of, and what shrinks its probabilities.

    `base_rate` is the frequency of up in the training rows, `weight` what is kept of the distance from it.
    """

    key: Key
    version: str
    model: Any
    scaler: Any
    definition: Definition
    base_rate: float
    weight: float
    metadata: Mapping[str, Any]

    @classmethod
    def of(cls, key: Key, model: Any, scaler: Any, metadata: Mapping[str, Any], data: DataSettings) -> Self:
        """Return the scorer of what `job.store.load` gave.

        Raises:
            StoreError: as `Definition.of`, or the metadata does not say how probabilities are shrunk.
        """
        where = f"{key} {metadata['version']}"
        definition = Definition.of(metadata, data, where=where)
        try:
            base_rate, weight = float(metadata["base_rate"]), float(metadata["shrink"]["model"])
        except (LookupError, TypeError, ValueError) as error:
            raise StoreError(f"{where}: its metadata lacks {error}; retrain the model") from None
        return cls(key, metadata["version"], model, scaler, definition, base_rate, weight, metadata)

    @property
    def horizon(self) -> int:
        """Bars after a row within which its label is resolved."""
        return self.definition.label.horizon

    def probabilities(self, matrix: Matrix) -> FloatArray:
        """Return the probability of up, shrunk as at training, of each row of float32 [rows, features].

        A row's number has the same bits whatever other rows there are.
        """
        return shrink(self.raw_probabilities(matrix), self.base_rate, self.weight)

    def raw_probabilities(self, matrix: Matrix) -> FloatArray:
        """Return the model's own probability of up, before shrinking."""
        with threadpool_limits(limits=1):
            return probability_of_up(self.model, self.scaler.transform(matrix))

    def features_of(
        self, bars: pl.DataFrame, *, source: str, offset_us: int = 0, start: datetime | None = None, name: str = ""
    ) -> Unlabelled:
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
        definition = self.definition
        if absent := available(definition.names, bars.columns)[1]:
            raise DataError(
                f"{name} {self.key.timeframe}: {self.version} was trained on {', '.join(absent)}, and these bars have "
                "no volume: give bars that have, or retrain the model on these"
            )
        try:
            return make_features(
                bars,
                source=source,
                timeframe=self.key.timeframe,
                offset_us=offset_us,
                features=definition.names,
                max_fill=definition.max_fill,
                min_coverage=definition.min_coverage,
                gaps=definition.gaps,
                start=start,
            )
        except ValueError as error:
            raise DataError(f"{name} {self.key.timeframe}: {error}") from None

    def score(self, frame: pl.DataFrame) -> FloatArray:
        """Return the shrunk probability of up of each row of a frame that has the model's features as columns."""
        return self.probabilities(feature_matrix(frame, self.definition.names))


def load_scorer(
    store: Store, key: Key, version: str = LATEST, *, data: DataSettings | None = None, allow_pickle: bool = False
) -> Scorer:
    """Load a version to score bars with.

    Args:
        store: where from.
        key: the model.
        version: what `job.store.resolve_version` knows.
        data: settings that versions of early releases do not tell (default: the defaults); see `Definition.of`.
        allow_pickle: load `.pkl` artefacts, which can run any code.

    Raises:
        StoreError: there is no such version, it must not be loaded, or its features are not those of this release.
    """
    model, scaler, metadata = load(store, key, resolve_version(store, key, version), allow_pickle=allow_pickle)
    return Scorer.of(key, model, scaler, metadata, data or DataSettings())
