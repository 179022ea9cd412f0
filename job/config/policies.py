"""The sections `retrain`, `predictions` and `watch`: when models are trained again, or too old, or looked after."""

from typing import Literal

from pydantic import Field

from job.config.sections import AffectsNothing, Section
from job.config.values import MAX_BARS, MAX_DAYS, Duration, Timeframe


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


class WatchSettings(Section):
    """How `watch` goes about it.

    It looks `every` so often for new bars. Champions are scored on them once there may be `score_every` of them. A
    challenger that is undecided after `patience_days` of bars is given up. Ray is kept for as long as `keep_ray`
    without work. Where `predictions` names a folder or URL, champions predict into it.
    """

    every: AffectsNothing[Timeframe] = "15m"
    score_every: AffectsNothing[Timeframe] = "1d"
    patience_days: AffectsNothing[float] = Field(default=365.0, gt=0, le=MAX_DAYS)
    keep_ray: AffectsNothing[Timeframe] = "30m"
    predictions: AffectsNothing[str | None] = Field(default=None, min_length=1)
