"""From samples to a fitted model with honest scores. Pure: no Ray, no files, no clock."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from job.core.keys import Key
from job.learning.estimators import algorithm_named, describe_algorithm, describe_engine
from job.learning.fitting import (
    Evaluated,
    Rows,
    evaluate,
    fit,
    predict_proba,
    read_rows,
    scaled,
    sort_samples,
    take,
    time_of,
)
from job.learning.fleet import log_loss_delta_by_cluster
from job.learning.importances import importances
from job.learning.metrics import (
    SCORES,
    FloatArray,
    accuracy,
    base_rate,
    fit_shrink,
    log_loss,
    row_log_loss,
    score_all,
    shrink,
    skill,
)
from job.learning.spec import ModelSpec
from job.learning.splits import Fold, walk_forward
from transforms.bars import duration_us
from transforms.samples import MARKET

__all__ = ["Trained", "predict_proba", "train"]

Scores = dict[str, float | bool | None]

FITS_AT_ONCE: Final = 3
"""Windows grow by equal steps, five folds and the holdout: more than three threads would wait for the longest one."""
OPENMP_ROWS: Final = 200_000
"""With fewer rows, boosting's threads wait for each other longer than they work, and very long on busy CPUs."""


@dataclass(frozen=True)
class Trained:
    """A model with its scaler, ready to be stored, and everything that is known about it.

    `scores` are flat numbers, null where undefined; `metadata` holds JSON values. `holdout` has the columns
    `available_at`, `series` (if samples have it), `label` Int8, and Float64 probabilities of up: `p_raw`, `p`
    (shrunk), `p_base` (class frequencies of the training rows) and `p_benchmark` (logistic, treated as the model is).
    `market`, of samples that came with theirs, is what `trading.trading_scores` takes.
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
    """How much of their distance from the base rate the model and the benchmark keep: 1 is all of it."""

    model: float = 1.0
    benchmark: float = 1.0


def train(
    samples: pl.DataFrame, spec: ModelSpec, *, key: Key, n_jobs: int = 1, holdout_from: int | None = None
) -> Trained:
    """Fit and score one model on `samples`: label, available_at, label_end, features, and `series` where pooled.

    Cross-validation yields out-of-fold probabilities, on which the shrinking towards the base rate is fitted. The
    model of the holdout fold is scored on the holdout and returned; `spec.refit` fits it once more, on all rows, after
    that: scores, importances and `holdout` are then its predecessor's, and the metadata says so.
    All scores but `skill_raw` are of shrunk probabilities; `roc_auc` is of raw ones, which shrinking leaves in their
    order unless its weight is 0. The benchmark, a logistic regression with C = 0.001 on the
    same scaled rows, is shrunk by a weight of its own: what is compared is the models, not their calibration.
    `holdout_from` (µs, `available_at`) sets the holdout's first time where training rows were downsampled before.
    Samples may come with their market (see `transforms.samples`), and then include rows without a label. Nothing is
    fitted or scored on them, but the model predicts those in the holdout.
    The result is the same bit for bit whatever `n_jobs` and the order of the rows.

    Raises:
        TrainingError: too few samples for the split, or a training window whose labels are all of one class.
        ConfigError: `spec.params` does not suit the algorithm.
    """
    samples = sort_samples(samples)
    bars = samples if set(MARKET) <= set(samples.columns) else None
    if bars is not None:
        samples = bars.filter(pl.col("label").is_not_null())
    rows = read_rows(samples, spec.feature_names)
    splits = walk_forward(
        rows.available_at,
        rows.label_end,
        test_size=spec.test_size,
        folds=spec.cv_folds,
        embargo_us=spec.embargo * duration_us(key.timeframe),
        holdout_from=holdout_from,
    )
    openmp = threads_per_fit(n_jobs) if samples.height >= OPENMP_ROWS else 1
    with threadpool_limits(limits={"blas": 1, "openmp": openmp}):
        *folds, holdout = evaluate_all(rows, [*splits.folds, splits.holdout], spec, n_jobs=n_jobs)
        shrinkage = fit_shrinkage(folds) if spec.calibrate == "shrink" else Shrinkage()
        metadata = describe(rows, folds, holdout, shrinkage, spec=spec, key=key)
        market = None if bars is None else holdout_market(bars, rows, holdout, shrinkage, spec.feature_names)
        model, scaler = fit(rows, spec, n_jobs=n_jobs) if spec.refit else (holdout.model, holdout.scaler)
    if spec.refit:
        metadata |= {
            "base_rate": base_rate(rows.label),
            "engine": describe_engine(spec, model, len(rows.label)),
            "parameters": model.get_params(deep=False),
        }
    return Trained(
        model=model,
        scaler=scaler,
        features=spec.feature_names,
        scores=score(rows, folds, holdout, shrinkage, horizon_bars=spec.label.horizon),
        metadata=metadata,
        holdout=holdout_frame(samples, holdout, shrinkage),
        market=market,
    )


def evaluate_all(rows: Rows, folds: Sequence[Fold], spec: ModelSpec, *, n_jobs: int) -> list[Evaluated]:
    """Evaluate folds, several at a time where there are threads for it, the longest windows first.

    oneDAL holds Python's global lock while it fits, so that its threads share one fit instead.
    """
    if n_jobs == 1 or spec.engine == "onedal":
        return [evaluate(rows, fold, spec, n_jobs=n_jobs) for fold in folds]
    longest_first = sorted(range(len(folds)), key=lambda index: -len(folds[index].train))
    with ThreadPoolExecutor(min(n_jobs, FITS_AT_ONCE)) as pool:
        running = {
            index: pool.submit(evaluate, rows, folds[index], spec, n_jobs=threads_per_fit(n_jobs))
            for index in longest_first
        }
    return [running[index].result() for index in range(len(folds))]


def threads_per_fit(n_jobs: int) -> int:
    """Return how many of a task's threads each of its fits may use."""
    return max(1, n_jobs // FITS_AT_ONCE)


def fit_shrinkage(folds: Sequence[Evaluated]) -> Shrinkage:
    """Fit both weights on the test rows of all folds, none of which has a label that reaches into the holdout."""
    label = np.concatenate([fold.label for fold in folds])
    base = np.concatenate([fold.p_base for fold in folds])
    return Shrinkage(
        model=fit_shrink(label, np.concatenate([fold.p for fold in folds]), base),
        benchmark=fit_shrink(label, np.concatenate([fold.p_benchmark for fold in folds]), base),
    )


def shrunk(evaluated: Evaluated, shrinkage: Shrinkage) -> FloatArray:
    """Probabilities of up as they are scored."""
    return shrink(evaluated.p, evaluated.base, shrinkage.model)


def score(
    rows: Rows, folds: Sequence[Evaluated], holdout: Evaluated, shrinkage: Shrinkage, *, horizon_bars: int
) -> Scores:
    """Return the flat scores: `SCORES` on the holdout, cross-validated accuracy, and skill over the base rate."""
    p = shrunk(holdout, shrinkage)
    p_benchmark = shrink(holdout.p_benchmark, holdout.base, shrinkage.benchmark)
    label, base_loss = holdout.label, row_log_loss(holdout.label, holdout.p_base)
    saved = skill(rows.available_at[holdout.fold.test], row_log_loss(label, p), base_loss, horizon_bars=horizon_bars)
    accuracies = [accuracy(fold.label, shrunk(fold, shrinkage)) for fold in folds]
    return {
        **score_all(label, p=p, p_raw=holdout.p),
        "cv_mean": float(np.mean(accuracies)),
        "cv_std": float(np.std(accuracies)),
        "base_accuracy": accuracy(label, holdout.p_base),
        "base_log_loss": float(base_loss.mean()),
        "skill": saved.value,
        "skill_low": saved.low,
        "skill_high": saved.high,
        "skill_raw": 1 - float(row_log_loss(label, holdout.p).mean() / base_loss.mean()),
        "benchmark_log_loss": log_loss(label, p_benchmark),
        "shrink": shrinkage.model,
        "underpowered": saved.underpowered,
    }


def describe(
    rows: Rows, folds: Sequence[Evaluated], holdout: Evaluated, shrinkage: Shrinkage, *, spec: ModelSpec, key: Key
) -> dict[str, Any]:
    """Return what a version's metadata says of training, as JSON values."""
    algorithm = algorithm_named(spec.algorithm)
    change = row_log_loss(holdout.label, shrunk(holdout, shrinkage)) - row_log_loss(holdout.label, holdout.p_base)
    return {
        "algorithm": describe_algorithm(spec),
        "engine": describe_engine(spec, holdout.model, len(holdout.fold.train)),
        "parameters": holdout.model.get_params(deep=False),
        "classes": [int(value) for value in holdout.model.classes_],
        "base_rate": holdout.base,
        "shrink": {"model": shrinkage.model, "benchmark": shrinkage.benchmark, "fitted": spec.calibrate == "shrink"},
        "split": {
            "test_size": spec.test_size,
            "embargo_bars": spec.embargo,
            "folds": [describe_fold(rows, fold, shrinkage) for fold in folds],
            "holdout": describe_fold(rows, holdout, shrinkage),
        },
        "class_shares": {
            "training": class_shares(rows.label[holdout.fold.train]),
            "holdout": class_shares(holdout.label),
        },
        "score_versions": {name: score.version for name, score in SCORES.items()},
        "importances": {
            "method": algorithm.importance,
            "values": dict(zip(spec.feature_names, importance_values(rows, holdout, spec, key), strict=True)),
        },
        "refit": spec.refit,
        "excess_log_loss": log_loss_delta_by_cluster(
            rows.available_at[holdout.fold.test],
            change,
            horizon_bars=spec.label.horizon,
            timeframe_us=duration_us(key.timeframe),
        ),
    }


def importance_values(rows: Rows, holdout: Evaluated, spec: ModelSpec, key: Key) -> list[float]:
    """Importances of the scored model, seeded by the model's name."""
    method = algorithm_named(spec.algorithm).importance
    test = scaled(holdout.scaler, take(rows.matrix, holdout.fold.test))
    return importances(holdout.model, method, test, holdout.label, seed=f"{key} {spec.random_state}")


def describe_fold(rows: Rows, evaluated: Evaluated, shrinkage: Shrinkage) -> dict[str, Any]:
    """Return a window's rows, times (`available_at` of first and last rows), base rate, and scores, as a model's."""
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
        "scores": score_all(evaluated.label, p=shrunk(evaluated, shrinkage), p_raw=evaluated.p),
    }


def class_shares(label: Any) -> dict[str, float]:
    """Return the share of each class."""
    up = float(np.mean(label == 1))
    return {"down": 1 - up, "up": up}


def holdout_frame(samples: pl.DataFrame, holdout: Evaluated, shrinkage: Shrinkage) -> pl.DataFrame:
    """Return the holdout's rows with every probability that they were scored by."""
    kept = [name for name in ("available_at", "series", "label") if name in samples.columns]
    return samples.select(kept)[holdout.fold.test].with_columns(
        p_raw=holdout.p,
        p=shrunk(holdout, shrinkage),
        p_base=holdout.p_base,
        p_benchmark=shrink(holdout.p_benchmark, holdout.base, shrinkage.benchmark),
    )


def holdout_market(
    bars: pl.DataFrame, rows: Rows, holdout: Evaluated, shrinkage: Shrinkage, features: Sequence[str]
) -> pl.DataFrame:
    """Return every bar from the holdout's first time on: times, `MARKET`, and `p`, null for bars not `complete`."""
    start = rows.available_at[holdout.fold.test[0]]
    late = bars.filter(pl.col("available_at").to_physical() >= start)
    raw = predict_proba(holdout.model, holdout.scaler, late.filter("complete"), features)
    p = np.full(late.height, np.nan)
    p[late["complete"].to_numpy()] = shrink(raw, holdout.base, shrinkage.model)
    kept = [name for name in ("series", "timestamp", "available_at", *MARKET) if name in late.columns]
    return late.select(kept).with_columns(p=pl.Series(p).fill_nan(None))
