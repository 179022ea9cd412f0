"""The sections `retrain` and `predictions`: when a model is trained again, and when it is too old to predict."""

from typing import Literal

from pydantic import Field

from job.config.sections import AffectsNothing, Section
from job.config.values import MAX_BARS, Duration


class RetrainSettings(Section):
    """When a model whose bars have become more is trained again. Without any of these: with every new bar.

    It is after `min_new_bars` of its timeframe, once its version is `max_age` old, or `on_evidence`: when its champion
    is flagged. Whatever is set, a model is trained where it has no version of its definition, or bars that its version
    was trained on are others now.
    """

    min_new_bars: AffectsNothing[int | None] = Field(default=None, ge=1, le=MAX_BARS)
    max_age: AffectsNothing[Duration | None] = None
    on_evidence: AffectsNothing[bool] = False

    @property
    def is_set(self) -> bool:
        """Whether there is a policy at all."""
        return self.min_new_bars is not None or self.max_age is not None or self.on_evidence


class PredictionSettings(Section):
    """Whether models predict bars that close more than `max_model_age` after the last label that they have seen.

    Predictions by `old_models` are refused, or made and flagged.
    """

    max_model_age: AffectsNothing[Duration | None] = None
    old_models: AffectsNothing[Literal["refuse", "flag"]] = "refuse"
