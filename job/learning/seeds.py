"""How much a version's log-loss on given rows depends on the random seed of its fit.

What is known is an influence: an array whose spread over its entries is that of other seeds, see `seed_variance`. It
adds up over sets of rows. A single 0 says that the fit draws no random numbers, None that nothing is known.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from job.learning.blend import Blend, Fitted
from job.learning.comparison import SeedVariance
from job.learning.estimators import ALGORITHMS, algorithm_named
from job.learning.fitting import Evaluated, fit_window, probability_of_up
from job.learning.metrics import FloatArray, LabelArray, clip, log_loss, shrink
from job.learning.rows import Matrix, Rows, inputs
from job.learning.spec import MEMBERS, ModelSpec


def second_seed(rows: Rows, holdout: Evaluated, spec: ModelSpec, *, weight: float, n_jobs: int) -> dict[str, Any]:
    """Return, as JSON values, what another seed would change: what `influence_of` needs to know of a version.

    `drawn` says whether the fit draws random numbers at all, `influence` what tells the rest from the fitted model, of
    a blend by member.
    Where there is none, the holdout's model is fitted again by another seed, and `log_loss_change` is what that changes
    on the holdout, with probabilities shrunk by `weight`. So it is where nothing says that a user's algorithm draws
    none: its seed may have another name, or be that of an estimator inside it, or come from nowhere.
    """
    model = holdout.model
    fitted = model.fitted if isinstance(model, Blend) else (Fitted(spec.algorithm, spec.algorithm, model),)
    known = [(one, algorithm_named(one.algorithm)) for one in fitted]
    drawn = {one.name: algorithm.seed_influence for one, algorithm in known if algorithm.may_draw(one.model)}
    if not drawn:
        return {"drawn": False}
    if all(influence is not None for influence in drawn.values()):
        return {"drawn": True, "influence": drawn if spec.members else drawn[spec.algorithm]}
    other = fit_window(rows, holdout.fold.train, holdout.scaler, reseeded(spec, model), n_jobs=n_jobs)
    if isinstance(model, Blend):  # a pooled member stays as it is
        other = replace(model, members={**model.members, **other.members})
    raw = probability_of_up(other, inputs(rows, holdout.fold.test, holdout.scaler))
    if np.array_equal(raw, holdout.p_raw):
        return {"drawn": False}
    change = log_loss(holdout.label, shrink(raw, holdout.base, weight)) - log_loss(holdout.label, holdout.p)
    return {"drawn": True, "log_loss_change": change}


def reseeded(spec: ModelSpec, model: Any) -> ModelSpec:
    """Return the spec of the same fit by another seed: the one that defaults see, and parameters of that name."""
    other = spec.model_copy(update={"random_state": spec.random_state + 1})
    if isinstance(model, Blend):
        members = {one.algorithm: reseeded(one, model.members[one.algorithm]).params for one in spec.members}
        return other.model_copy(update={"params": {MEMBERS: [*members], **members}})
    seed = {"random_state": other.random_state} if "random_state" in model.get_params(deep=False) else {}
    return other.model_copy(update={"params": spec.params | seed})


def influence_of(
    metadata: Mapping[str, Any], model: Any, matrix: Matrix, up: LabelArray, *, base_rate: float, weight: float
) -> FloatArray | None:
    """Return a version's influence on the summed log-loss of the rows; None where its metadata tells too little.

    Args:
        metadata: of the version; `seeds` is what `second_seed` found.
        model: its fitted estimator.
        matrix: scaled features, float32 [rows, features].
        up: labels, 1 is up.
        base_rate: towards which probabilities are shrunk.
        weight: of the shrinking.
    """
    seeds, algorithm = metadata.get("seeds", {}), ALGORITHMS.get(metadata["algorithm"]["name"])
    if "path" in metadata["algorithm"]:  # a user's own may have the name of another
        algorithm = None
    if not seeds.get("drawn", algorithm is None or algorithm.may_draw(model)):
        return np.zeros(1)
    told_by = seeds.get("influence") or (algorithm.seed_influence if algorithm is not None else None)
    slope = (shrink(probability_of_up(model, matrix), base_rate, weight) - (up == 1)) * weight
    if isinstance(model, Blend) and isinstance(told_by, dict):
        known = {one.name: (one, share) for one, share in zip(model.fitted, model.weights, strict=True)}
        if not all(name in known and influence in INFLUENCES for name, influence in told_by.items()):
            return None
        found = []
        for name, influence in told_by.items():
            one, share = known[name]
            rows = one.pooled.rescaled(matrix) if one.pooled else matrix
            found.append(INFLUENCES[influence](one.model, rows, slope * share))
        # Members draw independently, so their influences add up. Those of different lengths are brought to that of the
        # shortest by means of neighbors, which have the same spread over their number.
        shortest = min(map(len, found))
        shortened = [np.array([part.mean() for part in np.array_split(one, shortest)]) for one in found]
        return sum(shortened, np.zeros(shortest))
    if isinstance(told_by, str) and told_by in INFLUENCES:
        return INFLUENCES[told_by](model, matrix, slope)
    change = seeds.get("log_loss_change")
    # Two seeds are two draws; the factor makes `seed_variance`, which is about a mean of draws, that of one of them.
    return None if change is None else np.array([math.sqrt(2) * change * len(up), 0.0])


def loss_by_tree(model: Any, matrix: Matrix, slope: FloatArray) -> FloatArray:
    """Return the influence of a forest: each tree's on the summed log-loss of the rows. They add up to 0.

    To first order it is the derivative of a row's log-loss by the forest's probability p, times the tree's difference
    from p. The derivative by p is `slope`, that by the forest's log-odds, over p · (1 - p). Trees are drawn
    independently, so the spread of their influences is that of forests of other seeds (the infinitesimal jackknife of
    Efron 2014, over trees in place of rows).
    """
    p = clip(model.predict_proba(matrix)[:, 1])
    slope = slope / (p * (1 - p))
    return np.array([slope @ (tree.predict_proba(matrix)[:, 1] - p) for tree in model.estimators_])


def loss_by_stage(model: Any, matrix: Matrix, slope: FloatArray) -> FloatArray:
    """Return the influence of scikit-learn's gradient boosting: differences of neighboring stages', times n/sqrt(2).

    A stage adds its tree to the log-odds f, of which a row's log-loss has the derivative `slope`. Two
    neighbors are fitted to nearly the same residuals, each on rows and features of its own, so half the square of
    their difference is the variance of one (von Neumann 1941), and n stages have n times as much. Later stages mend
    some of what earlier ones did by chance, so this is rather too much.
    """
    odds_per_score = 2.0 if model.loss == "exponential" else 1.0  # scikit-learn's p is expit(2 · score) there
    slope = slope * odds_per_score * model.learning_rate
    stages = np.array([slope @ tree.predict(matrix) for tree in model.estimators_[:, 0]])
    return np.diff(stages) * len(stages) / math.sqrt(2) if len(stages) > 2 else np.array([stages.sum(), -stages.sum()])


INFLUENCES: Final[Mapping[str, Callable[..., FloatArray]]] = {"trees": loss_by_tree, "stages": loss_by_stage}
"""What `Algorithm.seed_influence` and metadata name; never an import path, since metadata may come from anybody."""


def seed_variance(parts: Sequence[FloatArray | None], rows: int) -> SeedVariance | None:
    """Return the variance of the mean log-loss over seeds, from the influences on one or more sets of rows.

    None where one of them is not known.
    """
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    total = sum(known, np.zeros(1)) / rows
    if len(total) < 2:
        return SeedVariance(0.0, 1.0)
    return SeedVariance(float(total.var(ddof=1)) / len(total), len(total) - 1.0)
