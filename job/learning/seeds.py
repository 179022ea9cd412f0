"""How much a forest's log-loss on given rows depends on its random seed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from job.learning.fitting import Matrix
from job.learning.metrics import FloatArray, LabelArray, clip, shrink


def loss_by_tree(model: Any, scaled: Matrix, up: LabelArray, *, base_rate: float, weight: float) -> FloatArray:
    """Return each tree's influence on the summed log-loss of the rows; a single 0 for a model that is no forest.

    To first order it is the derivative of a row's log-loss by the forest's probability p, times the tree's difference
    from p. With p' = `metrics.shrink`(p) the derivative is (p' - y) · weight / (p · (1 - p)). Trees are drawn
    independently, so the spread of their influences is that of forests of other seeds (the infinitesimal jackknife of
    Efron 2014, over trees in place of rows). The influences add up to 0.
    """
    if not isinstance(model, RandomForestClassifier | ExtraTreesClassifier):
        return np.zeros(1)
    p = clip(model.predict_proba(scaled)[:, 1])
    slope = (shrink(p, base_rate, weight) - (up == 1)) * weight / (p * (1 - p))
    return np.array([slope @ (tree.predict_proba(scaled)[:, 1] - p) for tree in model.estimators_])


def seed_error(parts: Sequence[FloatArray], rows: int) -> float:
    """Return the standard error of the mean log-loss over seeds, from `loss_by_tree` of one or more sets of rows."""
    total = sum(parts, np.zeros(1)) / rows
    return float(total.std(ddof=1)) / math.sqrt(len(total)) if len(total) > 1 else 0.0
