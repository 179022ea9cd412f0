"""Fit one model on one training window, and turn features into probabilities. No scores here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pkgutil import resolve_name
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from job.core.errors import TrainingError
from job.learning.algorithms import Window, bars_seen
from job.learning.estimators import LOGISTIC_C, LOGISTIC_SOLVER, algorithm_named, build
from job.learning.metrics import FloatArray, Skill, base_rate, row_log_loss, skill
from job.learning.sequences import Sequences, sequences_of
from job.learning.spec import ModelSpec
from job.learning.splits import Fold, IntArray, last_part
from job.learning.weights import training_weights
from transforms.samples import UNIQUENESS

Matrix = npt.NDArray[np.float32]
Inputs = npt.NDArray[Any] | Sequences
Labels = npt.NDArray[np.int8]

BLOCK_ROWS: Final = 2**16
"""Rows that are scaled at a time: larger blocks would add a third copy of the matrix to it and its scaled copy."""
MANY_ROWS: Final = 100_000
LBFGS_TOLERANCE: Final = 1e-6
"""From `MANY_ROWS` on, the benchmark is fitted by L-BFGS: Newton's method, faster on few rows, copies all of them once
more, which would be the task's peak of memory. The tolerance makes up for the difference."""
BLAS_ROWS: Final = 64
"""More rows than any BLAS multiplies at once."""
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Rows:
    """Samples as arrays, sorted by time: features float32, contiguous by column; times in µs since the epoch.

    `uniqueness` is that of the labels, None where samples come without; `sequences` are the rows with the bars before
    them, None for models that see rows alone.
    """

    matrix: Matrix
    label: Labels
    available_at: IntArray
    label_end: IntArray
    pooled: bool
    uniqueness: FloatArray | None = None
    sequences: Sequences | None = None


@dataclass(frozen=True)
class Evaluated:
    """A model fitted on a fold's training rows, and probabilities of up on the fold's test rows.

    `p_raw` are the model's own; `p` and `p_benchmark` are raw, too, until `training.shrink_all` shrinks them to `base`,
    the base rate of the training rows.
    """

    fold: Fold
    model: ClassifierMixin
    scaler: StandardScaler
    label: Labels
    base: float
    p_raw: FloatArray
    p: FloatArray
    p_benchmark: FloatArray

    @property
    def p_base(self) -> FloatArray:
        """The base rate, once per test row."""
        return np.full(len(self.label), self.base)


def sort_samples(samples: pl.DataFrame) -> pl.DataFrame:
    """Sort by time, and by series within a time, so that the order of the given rows changes nothing.

    One series' samples mostly are sorted already, and a copy of them would be as large as the matrix.
    """
    if "series" in samples.columns:
        return samples.sort("available_at", "series")
    return samples if samples["available_at"].is_sorted() else samples.sort("available_at")


def read_rows(samples: pl.DataFrame, features: Sequence[str], sequences: Sequences | None = None) -> Rows:
    """Return sorted `samples` as arrays; pooled means that `series` names more than one."""
    return Rows(
        matrix=feature_matrix(samples, features),
        label=samples["label"].to_numpy(),
        available_at=samples["available_at"].to_physical().to_numpy(),
        label_end=samples["label_end"].to_physical().to_numpy(),
        pooled="series" in samples.columns and samples["series"].n_unique() > 1,
        uniqueness=samples[UNIQUENESS].to_numpy() if UNIQUENESS in samples.columns else None,
        sequences=sequences,
    )


def feature_matrix(frame: pl.DataFrame, features: Sequence[str]) -> Matrix:
    """Return the columns named `features` as float32, contiguous by column, which trees go through fastest."""
    return np.asfortranarray(frame.select(pl.col(list(features)).cast(pl.Float32)).to_numpy())


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
    with threadpool_limits(limits=1):
        return probability_of_up(model, scaled_inputs(scaler, inputs_of(frame, features, bars_seen(model), chosen)))


def inputs_of(
    frame: pl.DataFrame, features: Sequence[str], sequence_bars: int, chosen: pl.Series | None = None
) -> Matrix | Sequences:
    """Return what a model that sees so many bars takes of every row, or those `chosen`, unscaled."""
    if sequence_bars > 1:
        return sequences_of(frame, features, sequence_bars, chosen)
    return feature_matrix(frame if chosen is None else frame.filter(chosen), features)


def probability_of_up(model: ClassifierMixin, matrix: Inputs) -> FloatArray:
    """Return the probability of class 1 of scaled rows as float64, with the same bits whatever other rows there are.

    BLAS multiplies rows in blocks, and the remainder at the end by instructions that round differently: linear models
    get rows of zeros as that remainder, in column order like all matrices here.
    """
    rows = len(matrix)
    if isinstance(model, LogisticRegression) and not isinstance(matrix, Sequences):
        matrix = np.asfortranarray(np.pad(matrix, ((0, BLAS_ROWS), (0, 0))))
    return np.ascontiguousarray(model.predict_proba(matrix)[:rows, 1], dtype=np.float64)


def evaluate(rows: Rows, fold: Fold, spec: ModelSpec, *, n_jobs: int) -> Evaluated:
    """Fit scaler, model and logistic benchmark on the fold's training rows, and predict its test rows.

    Each fit gets scaled rows of its own, of the dtype that it would convert them to, and frees them when it is done.

    Raises:
        TrainingError: the training labels are all of one class.
    """
    scaler, training, label = window(rows, fold.train)
    model = fit_window(rows, fold.train, scaler, spec, n_jobs=n_jobs, matrix=training)
    # What any model should beat: a logistic regression with a strong penalty.
    solver = {"solver": LOGISTIC_SOLVER} if len(label) < MANY_ROWS else {"solver": "lbfgs", "tol": LBFGS_TOLERANCE}
    benchmark = LogisticRegression(C=LOGISTIC_C, **solver)
    benchmark.fit(scaled(scaler, training, np.float64), label, weights_of(rows, fold.train, spec))
    test = scaled(scaler, take(rows.matrix, fold.test))
    p = probability_of_up(model, test if rows.sequences is None else inputs(rows, fold.test, scaler))
    return Evaluated(
        fold=fold,
        model=model,
        scaler=scaler,
        label=rows.label[fold.test],
        base=base_rate(label),
        p_raw=p,
        p=p,
        p_benchmark=probability_of_up(benchmark, test),
    )


def skill_of(rows: Rows, evaluated: Evaluated, horizon_bars: int) -> Skill:
    """Return the skill of shrunk probabilities over the base rate on a fold's test rows."""
    loss, base_loss = (row_log_loss(evaluated.label, p) for p in (evaluated.p, evaluated.p_base))
    return skill(rows.available_at[evaluated.fold.test], loss, base_loss, horizon_bars=horizon_bars)


def window(rows: Rows, index: IntArray) -> tuple[StandardScaler, Matrix, Labels]:
    """Return a scaler fitted on the rows at `index`, these rows unscaled, and their labels, which are of both classes.

    Raises:
        TrainingError: the labels are all of one class.
    """
    label = rows.label[index]
    if label.min() == label.max():
        raise TrainingError(
            f"all {len(label)} labels of the training window from {time_of(rows.available_at[index[0]])} to "
            f"{time_of(rows.available_at[index[-1]])} are {'up' if label[0] else 'down'}: "
            "give more bars, lower cv_folds, or use another label"
        )
    training = take(rows.matrix, index)
    return StandardScaler().fit(training), training, label


def scaled(scaler: StandardScaler, matrix: Matrix, dtype: type[np.floating[Any]] = np.float32) -> npt.NDArray[Any]:
    """Return rows as `scaler` transforms them: float32 by column, or float64 by row, which no estimator here copies."""
    result = np.empty(matrix.shape, dtype, order="C" if dtype is np.float64 else "F")
    for start in range(0, len(matrix), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        result[block] = scaler.transform(matrix[block])
    return result


def scaled_inputs(scaler: StandardScaler, rows: Inputs) -> Inputs:
    """Return what `inputs_of` returned, scaled."""
    if isinstance(rows, Sequences):
        return replace(rows, bars=np.ascontiguousarray(scaled(scaler, rows.bars)))
    return scaled(scaler, rows)


def weights_of(rows: Rows, index: IntArray, spec: ModelSpec) -> FloatArray | None:
    """Return the weights of the training rows at `index`; see `learning.weights.training_weights`.

    Raises:
        TrainingError: they depend on the labels' uniqueness, and the samples came without.
    """
    if spec.weights is not None and spec.weights.uniqueness and rows.uniqueness is None:
        raise TrainingError(
            f"weights by uniqueness need the column {UNIQUENESS}, which these samples lack: set weights to none or to "
            "{half_life_days: 30}"
        )
    unique = None if rows.uniqueness is None else rows.uniqueness[index]
    return training_weights(spec.weights, label_end=rows.label_end[index], uniqueness=unique)


def inputs(
    rows: Rows,
    index: IntArray,
    scaler: StandardScaler,
    dtype: type[np.floating[Any]] = np.float32,
    matrix: Matrix | None = None,
) -> Inputs:
    """Return what a model takes of the rows at `index`, scaled; `matrix` are these rows, if they were taken before."""
    if rows.sequences is not None:
        return scaled_inputs(scaler, rows.sequences.at(index))
    return scaled(scaler, take(rows.matrix, index) if matrix is None else matrix, dtype)


def fit_window(
    rows: Rows, index: IntArray, scaler: StandardScaler, spec: ModelSpec, *, n_jobs: int, matrix: Matrix | None = None
) -> ClassifierMixin:
    """Return the model of `spec`, fitted on the rows at `index`; `matrix` are these rows, if they were taken before."""
    algorithm, validation = algorithm_named(spec.algorithm), None
    if algorithm.validation is not None:
        validation = last_part(rows.available_at[index], rows.label_end[index], share=algorithm.validation)
    return fit_scaled(
        inputs(rows, index, scaler, algorithm.precision, matrix),
        rows.label[index],
        spec,
        weight=weights_of(rows, index, spec),
        validation=validation,
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
    algorithms that ask for them.
    """
    algorithm = algorithm_named(spec.algorithm)
    model = build(spec, Window(len(label), pooled=pooled), n_jobs=n_jobs)
    if not isinstance(matrix, Sequences):
        matrix = matrix.astype(algorithm.precision, copy=False)
    engine = algorithm.engine_for(model, len(label), spec.engine)
    fit = model.fit if engine == "sklearn" else partial(resolve_name(algorithm.fitters[engine].path), model)
    given = {"sample_weight": weight, "validation": validation}
    fit(matrix, label, **{name: value for name, value in given.items() if value is not None})
    if vars(model).get("_sample_weight") is not None:  # forests keep it: a number per row, which nothing reads again
        model._sample_weight = None
    return model.set_params(n_jobs=1) if algorithm.parallel else model


def take(matrix: Matrix, index: IntArray) -> Matrix:
    """Return rows in column order, as `matrix` is; a view where `index`, which ascends, has no holes."""
    first, last = int(index[0]), int(index[-1])
    if last - first + 1 == len(index):
        return matrix[first : last + 1]
    return np.asfortranarray(matrix[index])


def time_of(microseconds: Any) -> str:
    """Return a time in µs since the epoch as ISO 8601, UTC."""
    return (EPOCH + timedelta(microseconds=int(microseconds))).isoformat()
