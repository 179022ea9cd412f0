"""A stored version that scores bars, with the same numbers, bit for bit, as at training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

import numpy as np
import polars as pl

from job.config.settings import DataSettings
from job.core.errors import RegistryError
from job.core.keys import Key
from job.learning.fitting import probability_of_up
from job.learning.metrics import FloatArray, predicted, shrink
from job.learning.rows import Inputs, inputs_of, scaled_inputs
from job.learning.sequences import Sequences
from job.learning.threads import limited_threads
from job.registry.definition import Definition
from job.registry.versions import LATEST, load, resolve_version
from job.storage.files import Storage

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
        """Return the scorer of what `job.registry.load` gave.

        Raises:
            RegistryError: as `Definition.of`, or the metadata does not say how probabilities are shrunk.
        """
        where = f"{key} {metadata['version']}"
        definition = Definition.of(metadata, data, where=where)
        try:
            base_rate, weight = float(metadata["base_rate"]), float(metadata["shrink"]["model"])
        except (LookupError, TypeError, ValueError) as error:
            raise RegistryError(f"{where}: its metadata lacks {error}; retrain the model") from None
        return cls(key, metadata["version"], model, scaler, definition, base_rate, weight, metadata)

    @property
    def horizon(self) -> int:
        """Bars after a row within which its label is resolved."""
        return self.definition.label.horizon

    def probabilities(self, matrix: Inputs) -> FloatArray:
        """Return the probability of up, shrunk as at training, of each row of float32 [rows, features], or sequence.

        A row's number has the same bits whatever other rows there are.
        """
        return shrink(self.raw_probabilities(matrix), self.base_rate, self.weight)

    def raw_probabilities(self, matrix: Inputs) -> FloatArray:
        """Return the model's own probability of up, before shrinking."""
        if not len(matrix):  # for which scikit-learn has no answer
            return np.empty(0)
        with limited_threads():
            sequences = isinstance(matrix, Sequences)
            scaled = scaled_inputs(self.scaler, matrix) if sequences else self.scaler.transform(matrix)
            return probability_of_up(self.model, scaled)

    def score(self, frame: pl.DataFrame) -> FloatArray:
        """Return the shrunk probability of up of each row of a frame that has the model's features as columns.

        Where the frame says which rows are `complete`, only these have one.
        """
        chosen = frame["complete"] if "complete" in frame.columns else None
        return self.probabilities(inputs_of(frame, self.definition.names, self.definition.sequence_bars, chosen))

    def predict(self, features: pl.DataFrame, key: Key) -> pl.DataFrame:
        """Return the predictions for rows as `Definition.features_of` makes them, in their order.

        Columns: exchange, symbol, timeframe, model_type (of `key`: where they are made, which for a pooled model is
        not where it was trained), timestamp, available_at, a probability a class, prediction (a class's name), version.
        """
        up = self.score(features)
        if "complete" in features.columns:
            features = features.filter("complete")
        named = {name: pl.lit(value) for name, value in asdict(key).items()}
        return features.select(
            **named,
            timestamp="timestamp",
            available_at="available_at",
            probability_down=1 - pl.Series(up),
            probability_up=pl.Series(up),
            prediction=pl.when(pl.Series(predicted(up))).then(pl.lit(CLASSES[1])).otherwise(pl.lit(CLASSES[0])),
            version=pl.lit(self.version),
        )


def load_scorer(
    registry: Storage, key: Key, version: str = LATEST, *, data: DataSettings | None = None, allow_pickle: bool = False
) -> Scorer:
    """Load a version to score bars with.

    Args:
        registry: where from.
        key: the model.
        version: what `job.registry.resolve_version` knows.
        data: settings that versions of early releases do not tell (default: the defaults); see `Definition.of`.
        allow_pickle: load `.pkl` artifacts, which can run any code.

    Raises:
        RegistryError: there is no such version, it must not be loaded, or its features are not those of this release.
    """
    model, scaler, metadata = load(registry, key, resolve_version(registry, key, version), allow_pickle=allow_pickle)
    return Scorer.of(key, model, scaler, metadata, data or DataSettings())
