"""Out-of-fold losses of many settings of a model, on windows that all of them share. Pure: no Ray, files, clock.

The holdout is cut off before anything is fitted. Of the folds, all but the last decide which settings are the best;
the last one says how much their probabilities are to be shrunk, as training does before it scores a model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import scipy

from job.core.errors import TrainingError
from job.learning.choice import SHRINK_WEIGHTS, FoldLoss
from job.learning.estimators import algorithm_named, sequence_bars
from job.learning.fitting import fit_scaled, probability_of_up, validation_of
from job.learning.metrics import FloatArray, base_rate, clip
from job.learning.rows import Inputs, Labels, Rows, inputs, labeled_rows, sort_samples, splits_of, weights_of, window
from job.learning.spec import ModelSpec
from job.learning.splits import Fold, holdout_start
from job.learning.threads import limited_threads
from transforms.bars import duration_us

DAY_US: Final = 86_400_000_000


def without_holdout(samples: pl.DataFrame, spec: ModelSpec) -> tuple[pl.DataFrame, int]:
    """Return the sorted samples before the holdout, and when that begins (µs, `available_at`).

    Raises:
        TrainingError: all samples are of one time.
    """
    bars, labeled, _ = labeled_rows(sort_samples(samples), spec)
    times = np.unique(labeled["available_at"].to_physical().to_numpy())
    if len(times) < 2:
        raise TrainingError(f"samples at {len(times)} distinct times cannot be split: give more bars")
    start = int(times[holdout_start(len(times), spec.test_size)])
    kept = bars if sequence_bars(spec) > 1 else labeled  # sequences have bars without a label in them
    return kept.filter(pl.col("available_at").to_physical() < start), start


@dataclass(frozen=True)
class TuningRows:
    """Samples before the holdout as arrays, and the folds that they are cut into, as at training."""

    rows: Rows
    folds: tuple[Fold, ...]
    block_us: int

    @classmethod
    def of(cls, samples: pl.DataFrame, spec: ModelSpec, *, timeframe: str, holdout_from: int) -> "TuningRows":
        """Split what `without_holdout` returns.

        Raises:
            TrainingError: too few samples for the split, or labels of one class in the training window of a fold.
        """
        _, _, rows = labeled_rows(samples, spec)
        folds = splits_of(rows, spec, timeframe, holdout_from).folds
        for fold in folds:
            window(rows, fold.train)
        return cls(rows, folds, max(DAY_US, 5 * spec.label.horizon * duration_us(timeframe)))


@dataclass(frozen=True)
class Ready:
    """What all settings share on one fold: scaled training and test rows, labels, weights, base rate."""

    fold: Fold
    training: Inputs
    label: Labels
    weight: FloatArray | None
    validation: Fold | None
    test: Inputs
    base: float


def ready(tuned: TuningRows, number: int, spec: ModelSpec) -> Ready:
    """Scale the rows of one fold for the algorithm of `spec`, whatever its parameters."""
    fold, rows = tuned.folds[number], tuned.rows
    scaler, training, label = window(rows, fold.train)
    return Ready(
        fold=fold,
        training=inputs(rows, fold.train, scaler, algorithm_named(spec.algorithm), training),
        label=label,
        weight=weights_of(rows, fold.train, spec),
        validation=validation_of(rows, fold.train, spec),
        test=inputs(rows, fold.test, scaler),
        base=base_rate(label),
    )


def probabilities(windows: Ready, spec: ModelSpec, *, n_jobs: int) -> FloatArray:
    """Fit the model of `spec` and return its raw probabilities on the test rows: those of `fitting.evaluate`."""
    # As at training: sums have one order, and small boosting does not wait for its own threads.
    with limited_threads():
        model = fit_scaled(
            windows.training,
            windows.label,
            spec,
            weight=windows.weight,
            validation=windows.validation,
            pooled=False,
            n_jobs=n_jobs,
        )
        return probability_of_up(model, windows.test)


def fold_loss(tuned: TuningRows, windows: Ready, p: FloatArray) -> FoldLoss:
    """Sum the test rows' log-loss over blocks of days, for each of `SHRINK_WEIGHTS`.

    A block is a day, or five horizons where that is longer, so that labels reach out of few of them.
    """
    test = windows.fold.test
    label, times = tuned.rows.label[test], tuned.rows.available_at[test]
    block, position = np.unique(times // tuned.block_us, return_inverse=True)
    losses = _losses(label, p, windows.base)
    return FoldLoss(
        blocks=[int(one) for one in block],
        rows=[int(one) for one in np.bincount(position)],
        sums=[np.bincount(position, weights=one).tolist() for one in losses],
    )


def _losses(label: Labels, p: FloatArray, base: float) -> Iterator[FloatArray]:
    """Yield, for each weight, the log-loss of every row: log(1 + exp(-odds of what happened))."""
    center = float(scipy.special.logit(base))
    sign = np.where(label == 1, 1.0, -1.0)
    distance = scipy.special.logit(clip(p)) - center
    for weight in SHRINK_WEIGHTS:
        yield np.logaddexp(0.0, -sign * (center + weight * distance))
