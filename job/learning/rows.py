"""Samples as arrays, and what a model takes of them: scaled rows, or sequences of bars."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, overload

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.preprocessing import StandardScaler

from job.core.errors import TrainingError
from job.learning.algorithms import Algorithm
from job.learning.estimators import sequence_bars
from job.learning.matrices import SpreadMatrix, fit_scaler, take
from job.learning.metrics import FloatArray
from job.learning.sequences import Sequences, sequences_of, with_complete
from job.learning.spec import ModelSpec
from job.learning.splits import Splits, walk_forward
from job.learning.times import IntArray, time_of
from job.learning.weights import DAY_US, LIGHTEST
from transforms.bars import duration_us
from transforms.samples import UNIQUENESS

Matrix = npt.NDArray[np.float32]
Inputs = npt.NDArray[Any] | SpreadMatrix | Sequences
Labels = npt.NDArray[np.int8]

BLOCK_ROWS: Final = 2**16
"""Rows that are scaled at a time: larger blocks would add a third copy of the matrix to it and its scaled copy."""


@dataclass(frozen=True)
class Rows:
    """Samples as arrays, sorted by time: features float32, contiguous by column; times in µs since the epoch.

    `uniqueness` is that of the labels, None where samples come without; `sequences` are the rows with the bars before
    them, None for models that see rows alone; `series` numbers the series of the rows, None where they are not named.
    """

    matrix: Matrix | SpreadMatrix
    label: Labels
    available_at: IntArray
    label_end: IntArray
    pooled: bool
    uniqueness: FloatArray | None = None
    sequences: Sequences | None = None
    series: IntArray | None = None


def sort_samples(samples: pl.DataFrame) -> pl.DataFrame:
    """Sort by time, and by series within a time, so that the order of the given rows changes nothing.

    One series' samples mostly are sorted already, and a copy of them would be as large as the matrix.
    """
    if "series" in samples.columns:
        return samples.sort("available_at", "series")
    return samples if samples["available_at"].is_sorted() else samples.sort("available_at")


def read_rows(
    samples: pl.DataFrame,
    features: Sequence[str],
    sequences: Sequences | None = None,
    matrix: SpreadMatrix | None = None,
) -> Rows:
    """Return sorted `samples` as arrays; pooled means that `series` names more than one.

    `matrix` are their features where several workers hold these.
    """
    return Rows(
        matrix=feature_matrix(samples, features) if matrix is None else matrix,
        label=samples["label"].to_numpy(),
        available_at=samples["available_at"].to_physical().to_numpy(),
        label_end=samples["label_end"].to_physical().to_numpy(),
        pooled="series" in samples.columns and samples["series"].n_unique() > 1,
        uniqueness=samples[UNIQUENESS].to_numpy() if UNIQUENESS in samples.columns else None,
        sequences=sequences,
        series=samples["series"].rank("dense").to_numpy() if "series" in samples.columns else None,
    )


def labeled_rows(
    bars: pl.DataFrame, spec: ModelSpec, matrix: SpreadMatrix | None = None
) -> tuple[pl.DataFrame, pl.DataFrame, Rows]:
    """Return sorted samples, those of them that have a label, and the latter as arrays.

    Models of sequences see the others before them; a row without all bars of its sequence has no label. Where several
    workers hold the features, all samples have one, and `matrix` are theirs.
    """
    sequences, length = None, sequence_bars(spec)
    if length > 1:
        bars = with_complete(bars, length).with_columns(label=pl.when("complete").then("label"))
        sequences = sequences_of(bars, spec.feature_names, length, bars["label"].is_not_null())
    samples = bars.filter(pl.col("label").is_not_null()) if bars["label"].null_count() else bars
    return bars, samples, read_rows(samples, spec.feature_names, sequences, matrix)


def feature_matrix(frame: pl.DataFrame, features: Sequence[str]) -> Matrix:
    """Return the columns named `features` as float32, contiguous by column, which trees go through fastest."""
    return np.asfortranarray(frame.select(pl.col(list(features)).cast(pl.Float32)).to_numpy())


def inputs_of(
    frame: pl.DataFrame, features: Sequence[str], sequence_bars: int, chosen: pl.Series | None = None
) -> Matrix | Sequences:
    """Return what a model that sees so many bars takes of every row, or those `chosen`, unscaled."""
    if sequence_bars > 1:
        return sequences_of(frame, features, sequence_bars, chosen)
    return feature_matrix(frame if chosen is None else frame.filter(chosen), features)


def window(rows: Rows, index: IntArray) -> tuple[StandardScaler, Matrix | SpreadMatrix, Labels]:
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
    return fit_scaler(training), training, label


def splits_of(rows: Rows, spec: ModelSpec, timeframe: str, holdout_from: int | None = None) -> Splits:
    """Return the windows of `spec`; `holdout_from` and what is raised are those of `walk_forward`."""
    return walk_forward(
        rows.available_at,
        rows.label_end,
        test_size=spec.test_size,
        folds=spec.cv_folds,
        embargo_us=spec.embargo * duration_us(timeframe),
        holdout_from=holdout_from,
    )


@overload
def scaled(
    scaler: StandardScaler,
    matrix: npt.NDArray[Any],
    dtype: type[np.floating[Any]] = np.float32,
    *,
    by_column: bool = False,
) -> npt.NDArray[Any]: ...
@overload
def scaled(
    scaler: StandardScaler, matrix: SpreadMatrix, dtype: type[np.floating[Any]] = np.float32, *, by_column: bool = False
) -> SpreadMatrix: ...
def scaled(
    scaler: StandardScaler,
    matrix: npt.NDArray[Any] | SpreadMatrix,
    dtype: type[np.floating[Any]] = np.float32,
    *,
    by_column: bool = False,
) -> npt.NDArray[Any] | SpreadMatrix:
    """Return rows as `scaler` transforms them: float32 by column, or float64 by row unless `by_column` is set.

    So no estimator here copies them. The bits are those of `scaler.transform`, whose checks and copies take three times
    as long as the scaling itself.
    """
    if isinstance(matrix, SpreadMatrix):
        return replace(matrix, own=scaled(scaler, matrix.own, dtype, by_column=by_column))
    result = np.empty(matrix.shape, dtype, order="C" if dtype is np.float64 and not by_column else "F")
    mean, scale = scaler.mean_.astype(matrix.dtype), scaler.scale_.astype(matrix.dtype)
    for start in range(0, len(matrix), BLOCK_ROWS):
        given, made = matrix[start : start + BLOCK_ROWS], result[start : start + BLOCK_ROWS]
        centered = np.subtract(given, mean, out=made if made.dtype == given.dtype else None)
        made[:] = np.divide(centered, scale, out=centered)
    return result


def scaled_inputs(scaler: StandardScaler, rows: Inputs) -> Inputs:
    """Return what `inputs_of` returned, scaled."""
    if isinstance(rows, Sequences):
        return replace(rows, bars=np.ascontiguousarray(scaled(scaler, rows.bars)))
    return scaled(scaler, rows)


def weights_of(rows: Rows, index: IntArray, spec: ModelSpec) -> FloatArray | None:
    """Return the weights of the training rows at `index`, of mean 1; None if all rows count alike.

    A row's age is how long before the newest label of these rows its own was known.

    Raises:
        TrainingError: they depend on the labels' uniqueness, and the samples came without.
    """
    if spec.weights is None:
        return None
    label_end = rows.label_end[index]
    found = np.ones(len(label_end))
    if spec.weights.uniqueness:
        if rows.uniqueness is None:
            raise TrainingError(
                f"weights by uniqueness need the column {UNIQUENESS}, which these samples lack: set weights to none or "
                "to {half_life_days: 30}"
            )
        found *= rows.uniqueness[index]
    if spec.weights.half_life_days is not None:
        found *= 0.5 ** ((label_end.max() - label_end) / (spec.weights.half_life_days * DAY_US))
    found = np.maximum(found, LIGHTEST * found.max())
    # Equal weights are none: the fit is the same, bit for bit, as without the setting.
    return None if np.ptp(found) == 0 else found / found.mean()


def inputs(
    rows: Rows,
    index: IntArray,
    scaler: StandardScaler,
    algorithm: Algorithm | None = None,
    matrix: Matrix | SpreadMatrix | None = None,
) -> Inputs:
    """Return what a model takes of the rows at `index`, scaled; `matrix` are these rows, if they were taken before.

    They are as the fit of `algorithm` takes them, or else float32, as all models predict.
    """
    if rows.sequences is not None:
        return scaled_inputs(scaler, rows.sequences.at(index))
    taken = take(rows.matrix, index) if matrix is None else matrix
    if algorithm is None:
        return scaled(scaler, taken)
    return scaled(scaler, taken, algorithm.precision, by_column=algorithm.by_column)
