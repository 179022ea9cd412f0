"""Weights of a blend's members from their out-of-fold probabilities, and what is told of members beside their blend."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from job.learning.blend import Blend, fit_weights
from job.learning.estimators import algorithm_named, describe_algorithm
from job.learning.fitting import Evaluated
from job.learning.metrics import fit_shrink, log_loss, score_all, shrink
from job.learning.spec import MEMBERS, ModelSpec


def weigh_members(evaluated: Sequence[Evaluated], *, horizon_bars: int) -> list[Evaluated]:
    """Return folds and holdout, which is the last, with the probabilities of blends whose weights are fitted.

    The weights of a window are fitted on the test rows of the folds before it, as far as these rows might train for it,
    so they have seen no label that was open when its test began. The first fold has none before it, and its members
    weigh the same. So the folds' blended probabilities are out of fold in weights, too, and shrinking may be fitted
    on them; the holdout's weights come from all folds.
    """
    weighed = []
    for position, window in enumerate(evaluated):
        if position:
            folds = evaluated[:position]
            known = [np.isin(fold.fold.test, window.fold.train, assume_unique=True) for fold in folds]
            label = np.concatenate([fold.label[kept] for fold, kept in zip(folds, known, strict=True)])
            p = np.concatenate([fold.p_members[kept] for fold, kept in zip(folds, known, strict=True)])
            model = replace(window.model, weights=fit_weights(label, p, horizon_bars=horizon_bars))
        else:
            model = window.model
        p_raw = model.pool(window.p_members)
        weighed.append(replace(window, model=model, p_raw=p_raw, p=p_raw))
    return weighed


def describe_fit(spec: ModelSpec, model: Any, evaluated: Sequence[Evaluated], rows: int) -> dict[str, Any]:
    """Return, as JSON values, what fitted `model` on so many rows, given folds and holdout; of a blend, by member.

    Each member's scores are of its probabilities on the holdout, shrunk by a weight of its own, and `cv_log_loss` of
    those on all folds' test rows: as they would be of a version that is this member alone.
    """
    if not isinstance(model, Blend):
        return describe_algorithm(spec, model, rows)
    *folds, holdout = evaluated
    label = np.concatenate([fold.label for fold in folds])
    base = np.concatenate([fold.p_base for fold in folds])
    members = {}
    for position, (one, member, weight) in enumerate(zip(model.fitted, spec.estimators, model.weights, strict=True)):
        p, p_holdout = np.concatenate([fold.p_members[:, position] for fold in folds]), holdout.p_members[:, position]
        shrinkage = fit_shrink(label, p, base) if spec.calibrate == "shrink" else 1.0
        members[one.name] = {
            "weight": weight,
            **describe_algorithm(member, one.model, one.pooled.rows if one.pooled else rows),
            **(one.pooled.record() if one.pooled else {}),
            "shrink": shrinkage,
            "cv_log_loss": log_loss(label, shrink(p, base, shrinkage)),
            "scores": score_all(holdout.label, p=shrink(p_holdout, holdout.base, shrinkage), p_raw=p_holdout),
        }
    engines = (described["engine"] for described in members.values())
    return {
        "algorithm": {"name": spec.algorithm, "version": algorithm_named(spec.algorithm).version},
        "engine": next((engine for engine in engines if engine["name"] != "sklearn"), {"name": "sklearn"}),
        "parameters": {MEMBERS: [*members], **{name: value for name, value in spec.params.items() if name in members}},
        "blend": {"weights_by_fold": [[*fold.model.weights] for fold in folds], "members": members},
    }
