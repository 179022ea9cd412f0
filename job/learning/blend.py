"""A blend: several models whose probabilities are pooled on the log-odds scale, by weights fitted out of fold.

logit p = sum of weights[i] · logit p_i, with weights of 0 or more that add up to 1 (a logarithmic opinion pool; Genest
and Zidek 1986). There is no intercept and no free scale: shrinking fits the one scale that rows can tell, around the
base rate, and in simulation and out of fold on market bars each further number that was fitted cost more than it won.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import scipy

from job.learning.algorithms import bars_seen
from job.learning.matrices import SpreadMatrix
from job.learning.metrics import FloatArray, LabelArray, clip
from job.learning.pooled import Pooled
from job.learning.sequences import Sequences

PRECISION: Final = 1e-10
"""Change of the loss, in nats over all rows, at which weights are taken for found."""
MOST_STEPS: Final = 200


class Fitted(NamedTuple):
    """A member as it was fitted: its name, its algorithm and its estimator; `pooled` where that takes other rows."""

    name: str
    algorithm: str
    model: Any
    pooled: Pooled | None = None


@dataclass(frozen=True, eq=False)
class Blend:
    """Fitted members by the names that settings give them, and the weight of each, in their order.

    It follows scikit-learn's conventions as far as a stored model is used: `predict_proba`, `classes_`,
    `n_features_in_`. Members see the same scaled rows.
    """

    members: Mapping[str, Any]
    weights: tuple[float, ...]

    @classmethod
    def of(cls, members: Mapping[str, Any]) -> Self:
        """Return the blend in which all members weigh the same, as before anything is known of them."""
        return cls(members, (1 / len(members),) * len(members))

    def pool(self, p: FloatArray) -> FloatArray:
        """Return the probability of up of each row of [rows, members], the same bits whatever other rows there are."""
        odds = scipy.special.logit(clip(p))
        # Column by column: BLAS would round a row's sum by where the row stands.
        pooled = np.zeros(len(p)) + sum(weight * odds[:, at] for at, weight in enumerate(self.weights))
        up: FloatArray = scipy.special.expit(pooled)
        return up

    def predict_proba(self, matrix: npt.NDArray[Any] | Sequences) -> FloatArray:
        """Return the probabilities of down and up, float64 [rows, 2], of scaled rows."""
        up = self.pool(
            np.column_stack([model.predict_proba(seen(model, matrix))[:, 1] for model in self.members.values()])
        )
        return np.column_stack([1 - up, up])

    @property
    def fitted(self) -> tuple[Fitted, ...]:
        """Its members, in order."""
        return tuple(
            Fitted(name, one.algorithm, one.model, one) if isinstance(one, Pooled) else Fitted(name, name, one)
            for name, one in self.members.items()
        )

    @property
    def sequence_bars(self) -> int:
        """How many bars the members see at most."""
        return max(map(bars_seen, self.members.values()))

    @property
    def classes_(self) -> npt.NDArray[Any]:
        """The classes, down and up."""
        found: npt.NDArray[Any] = next(iter(self.members.values())).classes_
        return found

    @property
    def n_features_in_(self) -> int:
        """The number of features."""
        return int(next(iter(self.members.values())).n_features_in_)


def seen(
    member: Any, inputs: npt.NDArray[Any] | SpreadMatrix | Sequences
) -> npt.NDArray[Any] | SpreadMatrix | Sequences:
    """Return what a member sees of scaled inputs of which another one sees more bars."""
    if not isinstance(inputs, Sequences):
        return inputs
    length = bars_seen(member)  # with none but its own, it sees a matrix, contiguous by column
    return replace(inputs, length=length) if length > 1 else np.asfortranarray(inputs.bars[inputs.ends])


def fit_weights(label: LabelArray, p: FloatArray, *, horizon_bars: int) -> tuple[float, ...]:
    """Return the weights of members that are likeliest given their out-of-fold probabilities [rows, members].

    The prior is normal around equal weights, as wide as a flat one on all weights that add up to 1. Labels that
    overlap tell the same more than once, so the rows count as if there were one per horizon.
    """
    members = p.shape[1]
    odds, equal = scipy.special.logit(clip(p)), 1 / members
    sign = np.where(label == 1, -1.0, 1.0)
    prior = members**2 * (members + 1) / (members - 1)  # 1 / variance of a weight under Dirichlet(1, …, 1)

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        against = sign * (odds @ weights)
        slope = odds.T @ (sign * scipy.special.expit(against))
        away = weights - equal
        return (
            float(np.logaddexp(0.0, against).sum()) / horizon_bars + prior / 2 * float(away @ away),
            slope / horizon_bars + prior * away,
        )

    sum_to_one: Any = {"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like}
    found = scipy.optimize.minimize(
        loss,
        np.full(members, equal),
        jac=True,
        bounds=[(0.0, 1.0)] * members,
        constraints=sum_to_one,
        method="SLSQP",
        options={"ftol": PRECISION, "maxiter": MOST_STEPS},
    )
    weights = np.clip(found.x, 0.0, 1.0)
    return tuple((weights / math.fsum(weights)).tolist())
