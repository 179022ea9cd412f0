"""From samples to a fitted model with honest scores. Pure: no Ray, no files, no clock."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import numpy as np
import polars as pl
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import StandardScaler

from job.core.errors import TrainingError
from job.core.keys import Key
from job.learning.blending import describe_fit, weigh_members
from job.learning.calibration import calibration
from job.learning.drift import Reference
from job.learning.estimators import algorithm_named
from job.learning.fitting import Evaluated, evaluate, fit_on, predict_proba, skill_of
from job.learning.fleet import log_loss_delta_by_cluster
from job.learning.importances import importances
from job.learning.matrices import SpreadMatrix
from job.learning.metrics import SCORES, accuracy, base_rate, fit_shrink, log_loss, row_log_loss, score_all, shrink
from job.learning.overfitting import loss_by_block
from job.learning.pooled import Pool
from job.learning.rows import Rows, inputs, labeled_rows, sort_samples, splits_of, weights_of
from job.learning.seeds import second_seed
from job.learning.spec import ModelSpec
from job.learning.splits import Splits
from job.learning.threads import OPENMP_ROWS, limited_threads
from job.learning.times import IntArray, time_of
from job.learning.weights import describe_weights
from transforms.bars import duration_us
from transforms.samples import MARKET

__all__ = ["Trained", "predict_proba", "train"]

Scores = dict[str, float | bool | None]

FITS_AT_ONCE: Final = 3
"""Windows grow by equal steps, over five folds and the holdout, so more threads would wait for the longest window."""


@dataclass(frozen=True)
class Trained:
    """A model with its scaler, ready to be stored, and everything that is known about it.

    `scores` are flat numbers, null where undefined; `metadata` holds JSON values. `holdout` has the columns
    `available_at`, `series` (if samples have it), `label` Int8, and Float64 probabilities of up: `p_raw`, `p`
    (shrunk), `p_base` (class frequencies of the training rows) and `p_benchmark` (logistic, shrunk as well).
    `market` is what `trading.trading_scores` takes, None if the samples came without their market.
    """

    model: ClassifierMixin
    scaler: StandardScaler
    features: tuple[str, ...]
    scores: Scores
    metadata: dict[str, Any]
    holdout: pl.DataFrame
    market: pl.DataFrame | None = None


@dataclass(frozen=True)
class Shrinkage:
    """How much of their distance from the base rate the model's and the benchmark's probabilities keep: 1 is all."""

    model: float = 1.0
    benchmark: float = 1.0


@dataclass(frozen=True)
class Evaluation:
    """A model on each of its windows: folds in time order and the holdout, whose probabilities are shrunk."""

    folds: tuple[Evaluated, ...]
    holdout: Evaluated
    shrinkage: Shrinkage


def train(
    samples: pl.DataFrame,
    spec: ModelSpec,
    *,
    key: Key,
    n_jobs: int = 1,
    holdout_from: int | None = None,
    matrix: SpreadMatrix | None = None,
    pool: Pool | None = None,
) -> Trained:
    """Fit and score one model on `samples`: label, available_at, label_end, features, and `series` where pooled.

    Cross-validation yields out-of-fold probabilities, on which the shrinking towards the base rate is fitted. The
    model of the holdout fold is scored on the holdout and returned. With `spec.refit` a model fitted on all rows is
    returned instead; scores, importances and `holdout` are still those of the first one, and the metadata says so.
    All scores but `skill_raw` are of shrunk probabilities; `roc_auc` is of raw ones, whose order shrinking keeps unless
    its weight is 0. The benchmark, a logistic regression with C = 0.001 on the same scaled rows, is shrunk by a weight
    of its own, so that the models are compared, not their calibration.
    `holdout_from` (µs, `available_at`) sets the holdout's first time where training rows were downsampled before.
    Samples may come with their market (see `transforms.samples`), and then include rows without a label. Nothing is
    fitted or scored on these rows, but the model predicts those in the holdout. Models of sequences see them before
    rows with a label, and a fold's first test rows together with the bars before the fold: their features alone.
    A blend with a pooled member needs the `pool` that it is of; with `spec.refit`, it then has the latest of that.
    Where several workers train one model, each calls this with the same samples, which have no features, all of them
    with a label, and with its own rows of the `matrix`; each returns the same.
    The result is the same bit for bit, whatever `n_jobs` and the order of the rows.

    Raises:
        TrainingError: too few samples for the split, a training window whose labels are all of one class, or labels
            without the uniqueness that `spec.weights` asks for; or a pooled member is asked for, and there is none.
        ConfigError: `spec.params` does not suit the algorithm.
    """
    if spec.pooled and pool is None:
        raise TrainingError("a pooled member is fitted on all series of an input: train from files, or leave it out")
    bars, samples, rows = labeled_rows(sort_samples(samples), spec, matrix)
    splits, threads = splits_of(rows, spec, key.timeframe, holdout_from), max(1, n_jobs // FITS_AT_ONCE)
    with limited_threads(threads if samples.height >= OPENMP_ROWS else 1):
        evaluation = evaluate_all(rows, splits, spec, n_jobs=n_jobs, threads=threads, pool=pool)
        holdout = evaluation.holdout
        model, scaler, fitted = holdout.model, holdout.scaler, holdout.fold.train
        seeds = second_seed(rows, holdout, spec, weight=evaluation.shrinkage.model, n_jobs=n_jobs)
        if spec.refit:
            fitted = np.arange(len(rows.label))
            model, scaler = fit_on(rows, fitted, spec, n_jobs=n_jobs, pool=pool)
            if spec.members:
                model = replace(model, weights=holdout.model.weights)
        about = describe(rows, evaluation, spec, key=key, model=model, fitted=fitted)
        spread = {} if matrix is None else {"spread": matrix.record()}
        kept = [name for name in ("available_at", "series", "label") if name in samples.columns]
        market = set(MARKET) <= set(bars.columns)
        return Trained(
            model,
            scaler,
            spec.feature_names,
            score(rows, evaluation, horizon_bars=spec.label.horizon),
            {**about, **spread, "seeds": seeds},
            holdout=samples.select(kept)[holdout.fold.test].with_columns(
                p_raw=holdout.p_raw, p=holdout.p, p_base=holdout.p_base, p_benchmark=holdout.p_benchmark
            ),
            market=holdout_market(bars, rows, evaluation, spec.feature_names) if market else None,
        )


def evaluate_all(
    rows: Rows, splits: Splits, spec: ModelSpec, *, n_jobs: int, threads: int, pool: Pool | None
) -> Evaluation:
    """Fit and score the model on each window, some at a time, each by so many `threads`; raises as `evaluate`."""
    folds = [*splits.folds, splits.holdout]
    # oneDAL holds Python's global lock, so its threads share one fit; and workers of a group must keep step.
    if n_jobs == 1 or spec.engine == "onedal" or isinstance(rows.matrix, SpreadMatrix):
        evaluated = [evaluate(rows, fold, spec, n_jobs=n_jobs, pool=pool) for fold in folds]
    else:
        fit = partial(evaluate, rows, spec=spec, n_jobs=threads, pool=pool)
        with ThreadPoolExecutor(min(n_jobs, FITS_AT_ONCE)) as executor:
            # The last window is the longest, so it goes first.
            running = [executor.submit(fit, fold) for fold in reversed(folds)]
        evaluated = [one.result() for one in reversed(running)]
    if spec.members:
        evaluated = weigh_members(evaluated, horizon_bars=spec.label.horizon)
    return shrink_all(evaluated, fitted=spec.calibrate == "shrink")


def shrink_all(evaluated: Sequence[Evaluated], *, fitted: bool) -> Evaluation:
    """Return folds and holdout, which is the last, with shrunk probabilities.

    Both weights are fitted on the test rows of all folds, none of which has a label that reaches into the holdout; they
    are 1 unless `fitted`.
    """
    folds, shrinkage = evaluated[:-1], Shrinkage()
    if fitted:
        label = np.concatenate([fold.label for fold in folds])
        base = np.concatenate([fold.p_base for fold in folds])
        shrinkage = Shrinkage(
            model=fit_shrink(label, np.concatenate([fold.p for fold in folds]), base),
            benchmark=fit_shrink(label, np.concatenate([fold.p_benchmark for fold in folds]), base),
        )
    *shrunk, holdout = (
        replace(
            one,
            p=shrink(one.p_raw, one.base, shrinkage.model),
            p_benchmark=shrink(one.p_benchmark, one.base, shrinkage.benchmark),
        )
        for one in evaluated
    )
    return Evaluation(tuple(shrunk), holdout, shrinkage)


def score(rows: Rows, evaluation: Evaluation, *, horizon_bars: int) -> Scores:
    """Return the flat scores: `SCORES` on the holdout, cross-validated accuracy, and skill over the base rate."""
    holdout, label = evaluation.holdout, evaluation.holdout.label
    base_loss, saved = row_log_loss(label, holdout.p_base), skill_of(rows, holdout, horizon_bars)
    accuracies = [accuracy(fold.label, fold.p) for fold in evaluation.folds]
    return {
        **score_all(label, p=holdout.p, p_raw=holdout.p_raw),
        "cv_mean": float(np.mean(accuracies)),
        "cv_std": float(np.std(accuracies)),
        "base_accuracy": accuracy(label, holdout.p_base),
        "base_log_loss": float(base_loss.mean()),
        "skill": saved.value,
        "skill_low": saved.low,
        "skill_high": saved.high,
        "skill_raw": 1 - float(row_log_loss(label, holdout.p_raw).mean() / base_loss.mean()),
        "benchmark_log_loss": log_loss(label, holdout.p_benchmark),
        "shrink": evaluation.shrinkage.model,
        "underpowered": saved.underpowered,
    }


def describe(
    rows: Rows, evaluation: Evaluation, spec: ModelSpec, *, key: Key, model: ClassifierMixin, fitted: IntArray
) -> dict[str, Any]:
    """Return what a version's metadata says of training, as JSON values.

    `model` is the one to be stored, which was `fitted` on the rows at these positions.
    """
    folds, holdout = evaluation.folds, evaluation.holdout
    method, known, label = algorithm_named(spec.algorithm).importance, holdout.fold.train, rows.label[fitted]
    test = inputs(rows, holdout.fold.test, holdout.scaler)
    values = importances(holdout.model, method, test, holdout.label, seed=f"{key} {spec.random_state}")
    # What new bars are compared with: the rows that the model was fitted on, the most important features first.
    order, series = np.argsort(-np.abs(values), kind="stable"), None if rows.series is None else rows.series[fitted]
    columns = ((spec.feature_names[column], rows.matrix[fitted, column]) for column in order.tolist())
    times, horizon = rows.available_at[holdout.fold.test], spec.label.horizon
    loss, base_loss = (row_log_loss(holdout.label, p) for p in (holdout.p, holdout.p_base))
    lengths = {"horizon_bars": horizon, "timeframe_us": duration_us(key.timeframe)}
    return {
        **describe_fit(spec, model, [*folds, holdout], len(label)),
        "classes": [int(value) for value in holdout.model.classes_],
        "base_rate": base_rate(label),
        "shrink": {**asdict(evaluation.shrinkage), "fitted": spec.calibrate == "shrink"},
        "split": {
            "test_size": spec.test_size,
            "embargo_bars": spec.embargo,
            "folds": [describe_fold(rows, fold) for fold in folds],
            "holdout": describe_fold(rows, holdout),
        },
        "class_shares": {"training": class_shares(rows.label[known]), "holdout": class_shares(holdout.label)},
        "stability": {
            "folds": [asdict(skill_of(rows, fold, horizon)) for fold in folds],
            "holdout": asdict(skill_of(rows, holdout, horizon)),
        },
        "calibration": calibration(times, holdout.label, holdout.p, horizon_bars=horizon),
        "score_versions": {name: score.version for name, score in SCORES.items()},
        "importances": {"method": method, "values": dict(zip(spec.feature_names, values, strict=True))},
        "drift": Reference.of(columns, rows=len(fitted), up=class_shares(label)["up"], series=series).record(),
        "refit": spec.refit,
        **describe_weights(spec.weights, weights_of(rows, known, spec), rows=len(known)),
        "excess_log_loss": log_loss_delta_by_cluster(times, loss - base_loss, **lengths),
        "loss_by_block": loss_by_block(times, loss, **lengths),
    }


def describe_fold(rows: Rows, evaluated: Evaluated) -> dict[str, Any]:
    """Return how many rows a fold has, `available_at` of its first and last rows, its base rate, and its scores."""
    train, test = evaluated.fold.train, evaluated.fold.test
    return {
        "train_rows": len(train),
        "test_rows": len(test),
        "purged_rows": int((rows.available_at < rows.available_at[test[0]]).sum()) - len(train),
        "train_from": time_of(rows.available_at[train[0]]),
        "train_to": time_of(rows.available_at[train[-1]]),
        "test_from": time_of(rows.available_at[test[0]]),
        "test_to": time_of(rows.available_at[test[-1]]),
        "base_rate": evaluated.base,
        "scores": score_all(evaluated.label, p=evaluated.p, p_raw=evaluated.p_raw),
    }


def class_shares(label: Any) -> dict[str, float]:
    """Return the share of each class."""
    up = float(np.mean(label == 1))
    return {"down": 1 - up, "up": up}


def holdout_market(bars: pl.DataFrame, rows: Rows, evaluation: Evaluation, features: Sequence[str]) -> pl.DataFrame:
    """Return every bar from the holdout's first time on: times, `MARKET`, `p_base`, and `p`, null if not `complete`."""
    holdout = evaluation.holdout
    start = rows.available_at[holdout.fold.test[0]]
    is_late = bars["available_at"].to_physical() >= start
    raw = predict_proba(holdout.model, holdout.scaler, bars, features, is_late & bars["complete"])
    late = bars.filter(is_late)
    p = np.full(late.height, np.nan)
    p[late["complete"].to_numpy()] = shrink(raw, holdout.base, evaluation.shrinkage.model)
    kept = [name for name in ("series", "timestamp", "available_at", *MARKET) if name in late.columns]
    return late.select(kept).with_columns(p=pl.Series(p).fill_nan(None), p_base=pl.lit(holdout.base))
