"""Fit one model on one training window, and turn features into probabilities. No scores here."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pkgutil import resolve_name
from typing import Final

import numpy as np
import polars as pl
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from job.core.errors import TrainingError
from job.learning.algorithms import Window, bars_seen
from job.learning.blend import Blend, seen
from job.learning.estimators import algorithm_named, build, sequence_bars
from job.learning.forests.probabilities import is_forest, mean_of_trees
from job.learning.logistic import fit_logistic
from job.learning.matrices import SpreadMatrix, take
from job.learning.metrics import FloatArray, Skill, base_rate, row_log_loss, skill
from job.learning.pooled import Pool, Pooled
from job.learning.rows import (
    Inputs,
    Labels,
    Matrix,
    Rows,
    inputs,
    inputs_of,
    scaled,
    scaled_inputs,
    weights_of,
    window,
)
from job.learning.scikit_learn import LOGISTIC, LOGISTIC_C, LOGISTIC_SOLVER
from job.learning.sequences import Sequences
from job.learning.spec import POOL, ModelSpec
from job.learning.splits import Fold, last_part
from job.learning.threads import limited_threads
from job.learning.times import IntArray

MANY_ROWS: Final = 100_000
LBFGS_TOLERANCE: Final = 1e-6
"""From `MANY_ROWS` on, the benchmark is fitted by L-BFGS: Newton's method, faster on few rows, copies all of them once
more, which would be the task's peak of memory. The tolerance makes up for the difference."""
MANY_COLUMNS: Final = 64
"""From so many on, Newton's method takes longer than the forest, and `fit_logistic` fits the benchmark."""
BLAS_ROWS: Final = 64
"""More rows than any BLAS multiplies at once."""


@dataclass(frozen=True)
class Evaluated:
    """A model fitted on a fold's training rows, and probabilities of up on the fold's test rows.

    `p_raw` are the model's own; `p` and `p_benchmark` are raw, too, until `training.shrink_all` shrinks them to `base`,
    the base rate of the training rows. `p_members` are those of a blend's members [rows, members]; until
    `blending.weigh_members` fits weights, all members weigh the same.
    """

    fold: Fold
    model: ClassifierMixin
    scaler: StandardScaler
    label: Labels
    base: float
    p_raw: FloatArray
    p: FloatArray
    p_benchmark: FloatArray
    p_members: FloatArray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def p_base(self) -> FloatArray:
        """The base rate, once per test row."""
        return np.full(len(self.label), self.base)


def predict_proba(
    model: ClassifierMixin,
    scaler: StandardScaler,
    frame: pl.DataFrame,
    features: Sequence[str],
    chosen: pl.Series | None = None,
) -> FloatArray:
    """Return the raw probability of up for every row of `frame`, or those `chosen`, whose `features` must be finite.

    It runs on one thread, so that sums have one order and the same model gives the same bits anywhere.
    """
    with limited_threads():
        return probability_of_up(model, scaled_inputs(scaler, inputs_of(frame, features, bars_seen(model), chosen)))


def probability_of_up(model: ClassifierMixin, matrix: Inputs) -> FloatArray:
    """Return the probability of class 1 of scaled rows as float64, with the same bits whatever other rows there are.

    BLAS multiplies rows in blocks, and the remainder at the end by instructions that round differently: linear models
    get rows of zeros as that remainder, in column order like all matrices here.

    Raises:
        TrainingError: the model predicts what is no probability, as a network of weights beyond measure or a user's own
            estimator may.
    """
    if isinstance(matrix, SpreadMatrix):
        own = probability_of_up(model, matrix.own) if len(matrix.own) else np.empty(0)
        return matrix.whole(own)
    if isinstance(model, Blend):
        return model.pool(probabilities_of_members(model, matrix))
    if isinstance(model, Pooled) and isinstance(matrix, np.ndarray):
        return probability_of_up(model.model, model.rescaled(matrix))
    rows = len(matrix)
    if is_forest(model) and not isinstance(matrix, Sequences):
        return mean_of_trees(model, matrix)
    if isinstance(model, LogisticRegression) and not isinstance(matrix, Sequences):
        matrix = np.asfortranarray(np.pad(matrix, ((0, BLAS_ROWS), (0, 0))))
    up = np.ascontiguousarray(model.predict_proba(matrix)[:rows, 1], dtype=np.float64)
    if (wrong := up[~((up >= 0) & (up <= 1))]).size:
        raise TrainingError(f"a {type(model).__name__} predicts {wrong[0]:g}, which is no probability: train another")
    return up


def probabilities_of_members(blend: Blend, matrix: Inputs) -> FloatArray:
    """Return the probabilities of up of a blend's members, [rows, members], as `probability_of_up` gives them."""
    return np.column_stack([probability_of_up(model, seen(model, matrix)) for model in blend.members.values()])


def evaluate(rows: Rows, fold: Fold, spec: ModelSpec, *, n_jobs: int, pool: Pool | None = None) -> Evaluated:
    """Fit scaler, model and logistic benchmark on the fold's training rows, and predict its test rows.

    A blend that has the benchmark among its members brings it along. Its pooled member is the one of `pool` that was
    known when the test rows began.

    Raises:
        TrainingError: the training labels are all of one class, or nothing pooled was known.
    """
    scaler, training, label = window(rows, fold.train)
    model = fit_window(rows, fold.train, scaler, spec, n_jobs=n_jobs, matrix=training)
    if pool is not None:
        model = with_member(model, pool.member(int(rows.available_at[fold.test[0]]), scaler, spec.feature_names))
    test = scaled(scaler, take(rows.matrix, fold.test))
    given = test if rows.sequences is None else inputs(rows, fold.test, scaler)
    members = probabilities_of_members(model, given) if isinstance(model, Blend) else np.empty((0, 0))
    p = model.pool(members) if isinstance(model, Blend) else probability_of_up(model, given)
    named = [one.algorithm for one in spec.members if not one.params]
    if LOGISTIC in named:
        p_benchmark = members[:, [one.algorithm for one in spec.members].index(LOGISTIC)]
    else:
        benchmark = fit_benchmark(scaler, training, label, weights_of(rows, fold.train, spec))
        p_benchmark = probability_of_up(benchmark, test)
    return Evaluated(
        fold=fold,
        model=model,
        scaler=scaler,
        label=rows.label[fold.test],
        base=base_rate(label),
        p_raw=p,
        p=p,
        p_benchmark=p_benchmark,
        p_members=members,
    )


def fit_benchmark(
    scaler: StandardScaler, training: Matrix | SpreadMatrix, label: Labels, weight: FloatArray | None
) -> LogisticRegression:
    """Return what any model should beat: a logistic regression with a strong penalty."""
    if isinstance(training, SpreadMatrix) or training.shape[1] >= MANY_COLUMNS:
        return fit_logistic(scaled(scaler, training), label, weight, c=LOGISTIC_C)
    solver = {"solver": LOGISTIC_SOLVER} if len(label) < MANY_ROWS else {"solver": "lbfgs", "tol": LBFGS_TOLERANCE}
    benchmark = LogisticRegression(C=LOGISTIC_C, **solver)
    benchmark.fit(scaled(scaler, training, np.float64), label, weight)
    return benchmark


def skill_of(rows: Rows, evaluated: Evaluated, horizon_bars: int) -> Skill:
    """Return the skill of shrunk probabilities over the base rate on a fold's test rows."""
    loss, base_loss = (row_log_loss(evaluated.label, p) for p in (evaluated.p, evaluated.p_base))
    return skill(rows.available_at[evaluated.fold.test], loss, base_loss, horizon_bars=horizon_bars)


def validation_of(rows: Rows, index: IntArray, spec: ModelSpec) -> Fold | None:
    """Return the part of the rows at `index` by which a fit knows when to stop, if the algorithm asks for one."""
    share = algorithm_named(spec.algorithm).validation
    return None if share is None else last_part(rows.available_at[index], rows.label_end[index], share=share)


def fit_on(
    rows: Rows, index: IntArray, spec: ModelSpec, *, n_jobs: int, pool: Pool | None = None
) -> tuple[ClassifierMixin, StandardScaler]:
    """Return the model of `spec` and its scaler, fitted on the rows at `index`.

    With a `pool` the model is a blend that has the latest pooled member, too. All members weigh the same.

    Raises:
        TrainingError: the labels are all of one class, or nothing pooled was known.
    """
    scaler, matrix, _ = window(rows, index)
    model = fit_window(rows, index, scaler, spec, n_jobs=n_jobs, matrix=matrix)
    if pool is not None:
        model = with_member(model, pool.member(None, scaler, spec.feature_names))
    return model, scaler


def with_member(blend: Blend, pooled: Pooled) -> Blend:
    """Return a blend of the members that it has and a pooled one, which all weigh the same."""
    return Blend.of({**blend.members, POOL: pooled})


def fit_window(
    rows: Rows,
    index: IntArray,
    scaler: StandardScaler,
    spec: ModelSpec,
    *,
    n_jobs: int,
    matrix: Matrix | SpreadMatrix | None = None,
) -> ClassifierMixin:
    """Return the model of `spec`, fitted on the rows at `index`; `matrix` are these rows, if they were taken before.

    Each fit gets scaled rows of its own, of the dtype that it would convert them to, and frees them when it is done.
    """
    if spec.members:
        fit_member = partial(fit_window, rows, index, scaler, n_jobs=n_jobs, matrix=matrix)
        return Blend.of({one.algorithm: fit_member(one) for one in spec.members})
    if sequence_bars(spec) == 1:  # a member of a blend whose others see more
        rows = replace(rows, sequences=None)
    return fit_scaled(
        inputs(rows, index, scaler, algorithm_named(spec.algorithm), matrix),
        rows.label[index],
        spec,
        weight=weights_of(rows, index, spec),
        validation=validation_of(rows, index, spec),
        pooled=rows.pooled,
        n_jobs=n_jobs,
    )


def fit_scaled(
    matrix: Inputs,
    label: Labels,
    spec: ModelSpec,
    *,
    weight: FloatArray | None = None,
    validation: Fold | None = None,
    pooled: bool,
    n_jobs: int,
) -> ClassifierMixin:
    """Return the model of `spec`, fitted by its engine on scaled rows, and set to one thread for storage and use.

    `weight` says how much each row counts, on average 1; None for equally. `validation` are positions of rows for
    algorithms that ask for them. All members of a blend weigh the same.
    """
    if spec.members:
        fit_member = partial(fit_scaled, matrix, label, weight=weight, pooled=pooled, n_jobs=n_jobs)
        return Blend.of({one.algorithm: fit_member(one) for one in spec.members})
    algorithm = algorithm_named(spec.algorithm)
    model = build(spec, Window(len(label), pooled=pooled), n_jobs=n_jobs)
    if isinstance(matrix, np.ndarray):
        matrix = matrix.astype(algorithm.precision, copy=False)
    engine = algorithm.engine_for(model, len(label), spec.engine)
    fit = model.fit if engine == "sklearn" else partial(resolve_name(algorithm.fitters[engine].path), model)
    given = {"sample_weight": weight, "validation": validation}
    fit(matrix, label, **{name: value for name, value in given.items() if value is not None})
    if vars(model).get("_sample_weight") is not None:  # forests keep it: a number per row, which nothing reads again
        model._sample_weight = None
    return model.set_params(n_jobs=1) if algorithm.parallel else model
