"""The section `watch`: how often to look for new bars, and what to do about them."""

from typing import Final

from pydantic import Field

from job.config.sections import AffectsNothing, Section
from job.config.values import Timeframe

MAX_DAYS: Final = 36_525.0


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
