"""Whether probabilities mean what they say: of rows with a p of .6, are 60% up?"""

from typing import Any, Final

import numpy as np
import scipy

from job.learning.bins import BINS, bin_of
from job.learning.metrics import CONFIDENCE, FloatArray, LabelArray, block_length, clip
from job.learning.times import IntArray, numbered

STEPS: Final = 50
TOLERANCE: Final = 1e-10
STEEPEST: Final = 1e6
"""A slope beyond it has run away: log-odds separate the classes, and no finite slope is best."""


def calibration(times: IntArray, label: LabelArray, p: FloatArray, *, horizon_bars: int) -> dict[str, Any]:
    """Return, as JSON values, how well probabilities of up are calibrated on rows in time order.

    `intercept` and `slope` are those of a logistic regression of the labels on the log-odds of p (Cox 1958): 0 and 1
    if p is right, a slope below 1 if it is too sure of itself. Their 95% intervals (`intercept_low`, …) allow for
    overlapping labels: the covariance is clustered by blocks of time as long as those of `metrics.skill` (Liang and
    Zeger 1986), times k / (k - 1), k blocks, with Student's t(k - 1). All are null where p never varies or separates
    the classes, intervals with fewer than two blocks. `reliability` has, by decile of p, `rows`, the mean `p` and the
    share that was `up`; rows of one p stay together, so there may be fewer than ten.
    """
    odds = scipy.special.logit(clip(p))
    _, position = numbered(times)
    count = int(position[-1]) + 1
    length = block_length(count, horizon_bars)
    blocks = max(1, count // length)
    block = np.minimum(position // length, blocks - 1)  # an incomplete last one is part of the one before
    fitted = _fit(odds, label)
    names = ("intercept", "slope")
    found: dict[str, Any] = {name: None for one in names for name in (one, f"{one}_low", f"{one}_high")}
    if fitted is not None:
        found |= dict(zip(names, fitted.tolist(), strict=True))
        if blocks > 1:
            # Inverse information around the spread of the blocks' scores.
            design = np.column_stack([np.ones(len(odds)), odds])
            chance = scipy.special.expit(design @ fitted)
            inverse = np.linalg.inv(design.T @ (design * (chance * (1 - chance))[:, None]))
            scores = np.zeros((blocks, 2))
            np.add.at(scores, block, design * ((label == 1) - chance)[:, None])
            errors = np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse) * blocks / (blocks - 1))
            half_widths = float(scipy.special.stdtrit(blocks - 1, (1 + CONFIDENCE) / 2)) * errors
            for name, value, half in zip(names, fitted.tolist(), half_widths.tolist(), strict=True):
                found |= {f"{name}_low": value - half, f"{name}_high": value + half}
    decile = bin_of(p, np.unique(np.quantile(p, np.arange(1, BINS) / BINS)))
    reliability = [
        {"rows": int(rows.sum()), "p": round(float(p[rows].mean()), 6), "up": round(float(label[rows].mean()), 6)}
        for rows in (decile == one for one in np.unique(decile))
    ]
    return {**found, "blocks": blocks, "reliability": reliability}


def _fit(odds: FloatArray, label: LabelArray) -> FloatArray | None:
    """Return intercept and slope of greatest likelihood, by Newton's method; None where there are none."""
    if np.ptp(odds) < TOLERANCE:
        return None
    design = np.column_stack([np.ones(len(odds)), odds])
    found = np.array([0.0, 1.0])
    for _ in range(STEPS):
        chance = scipy.special.expit(design @ found)
        information = design.T @ (design * (chance * (1 - chance))[:, None])
        if np.linalg.cond(information) > 1 / TOLERANCE:
            return None
        step = np.linalg.solve(information, design.T @ ((label == 1) - chance))
        found += step
        if not np.isfinite(found).all() or abs(found[1]) > STEEPEST:
            return None
        if np.abs(step).max() < TOLERANCE * (1 + np.abs(found).max()):
            return found
    return None
