"""How much each feature matters to a fitted model, by the method that its algorithm allows."""

import hashlib
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin

from job.learning.algorithms import Importance
from job.learning.forests.probabilities import is_forest, mean_importances
from job.learning.matrices import SpreadMatrix
from job.learning.metrics import LabelArray, log_loss
from job.learning.sequences import Sequences

Matrix = npt.NDArray[np.floating[Any]]

PERMUTATION_ROWS: Final = 2_000
"""Permutation uses this many rows at most, evenly spread: it predicts once per feature."""


def importances(
    model: ClassifierMixin,
    method: Importance,
    scaled: Matrix | SpreadMatrix | Sequences,
    label: LabelArray,
    *,
    seed: str,
) -> list[float]:
    """Return one number per feature, in the order of the columns of `scaled` (test rows, scaled).

    impurity: mean decrease of impurity over the trees, measured on the training rows; sums to 1.
    permutation: increase of log-loss on at most 2,000 test rows when the feature alone is shuffled, in an order that
        `seed` decides and that is the same for every feature; may be negative. Of sequences, a feature is shuffled
        as a whole: a row gets another row's bars of it.
    absolute_coefficient: |coefficient| of the scaled feature, in log-odds per standard deviation.
    """
    if method == "impurity":
        return [float(value) for value in (mean_importances(model) if is_forest(model) else model.feature_importances_)]
    if method == "absolute_coefficient":
        return [float(value) for value in np.abs(model.coef_[0])]
    # Not `sklearn.inspection.permutation_importance`: that draws another order for every column, so its numbers differ
    # from those that versions were stored with, and are noisier, as differences between features then vary too.
    spread = np.unique(np.linspace(0, len(label) - 1, PERMUTATION_ROWS).astype(np.intp))
    rows = scaled.apart(spread) if isinstance(scaled, Sequences) else scaled[spread].copy()
    values = rows.bars.reshape(len(spread), rows.length, -1) if isinstance(rows, Sequences) else rows[:, None]
    chosen = label[spread]
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")  # the same in every process
    order = np.random.default_rng(number).permutation(len(rows))
    intact = log_loss(chosen, model.predict_proba(rows)[:, 1])
    increases = []
    for column in range(rows.shape[1]):
        kept = values[:, :, column].copy()
        values[:, :, column] = kept[order]
        increases.append(log_loss(chosen, model.predict_proba(rows)[:, 1]) - intact)
        values[:, :, column] = kept
    return increases
