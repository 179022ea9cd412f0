"""Logistic regression on many columns: all fits of a task cost less than one by Newton's method, and copy nothing."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.special
from sklearn.linear_model import LogisticRegression

from job.learning.matrices import SpreadMatrix

Floats = npt.NDArray[np.float64]

BLOCK_ROWS: Final = 2**11
"""Rows that are multiplied at a time: few enough to stay in the CPU's caches from one product to the next."""
MAX_STEPS: Final = 1_000
"""Market bars take a handful; labels that one column tells for certain, hundreds."""
TOLERANCE: Final = 1e-6
"""Largest slope of the mean log-loss, penalty included, at which steps end."""


def fit_logistic(
    matrix: npt.NDArray[np.float32] | SpreadMatrix, label: npt.NDArray[Any], weight: Floats | None = None, *, c: float
) -> LogisticRegression:
    """Return scikit-learn's LogisticRegression(C=c), fitted on scaled rows (rows, features) and labels 0 and 1.

    `weight` says how much each row counts; None for equally. Where several workers hold the rows, each multiplies its
    own, and their sums are added up.

    A row's curvature p(1 - p) is at most ¼, so a step by the Hessian in which it is ¼ for all rows never goes too far,
    and log-loss falls with each (Böhning and Lindsay 1988, "Monotonicity of quadratic-approximation algorithms"). Near
    even odds, as those of market bars are, it is nearly Newton's step, and the Hessian is needed once. Products are
    of float32, their sums over blocks of float64.
    """
    counts = np.ones(len(label)) if weight is None else weight
    total = counts.sum()
    add: Callable[[Floats], Floats] = np.asarray
    if isinstance(matrix, SpreadMatrix):
        label, counts, add, matrix = label[matrix.at], counts[matrix.at], matrix.total, matrix.own
    penalty = np.append(np.full(matrix.shape[1], 1 / c), 0) / total  # none of the intercept
    bound = scipy.linalg.cho_factor(add(_second_moments(matrix, counts)) / (4 * total) + np.diag(penalty))
    solution = np.zeros(len(penalty))
    for _ in range(MAX_STEPS):
        slope = add(_slope(matrix, label, counts, solution)) / total + penalty * solution
        if np.abs(slope).max() <= TOLERANCE:
            break
        solution -= scipy.linalg.cho_solve(bound, slope)
    model = LogisticRegression(C=c)
    model.classes_, model.n_features_in_ = np.array([0, 1], dtype=label.dtype), matrix.shape[1]
    model.coef_, model.intercept_ = solution[None, :-1].astype(np.float32), solution[-1:]  # no row is made float64
    return model


def _second_moments(matrix: npt.NDArray[np.float32], counts: Floats) -> Floats:
    """Return the weighted sum over rows of the products of all columns and a last one of ones."""
    features = matrix.shape[1]
    moments = np.zeros((features + 1, features + 1))
    for start in range(0, len(matrix), BLOCK_ROWS):
        count = counts[start : start + BLOCK_ROWS]
        block = matrix[start : start + BLOCK_ROWS] * np.sqrt(count, dtype=np.float32)[:, None]
        moments[:-1, :-1] += block.T @ block
        moments[-1, :-1] += np.sqrt(count, dtype=np.float32) @ block
    moments[:-1, -1], moments[-1, -1] = moments[-1, :-1], counts.sum()
    return moments


def _slope(matrix: npt.NDArray[np.float32], label: npt.NDArray[Any], counts: Floats, solution: Floats) -> Floats:
    """Return the derivative of the weighted sum of log-losses by coefficients and intercept."""
    coefficients, slope = solution[:-1].astype(np.float32), np.zeros(len(solution))
    for start in range(0, len(matrix), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        error = counts[block] * (scipy.special.expit(matrix[block] @ coefficients + solution[-1]) - label[block])
        slope[:-1] += error.astype(np.float32) @ matrix[block]
        slope[-1] += error.sum()
    return slope
