"""One version of a model: train it, describe it, commit it."""

import hashlib
import os
import pickle
import platform
import time
from datetime import UTC, datetime
from typing import Any

import polars as pl

from job.core.entries import is_import_path, source_digest
from job.core.environment import cpu_model, versions
from job.learning.estimators import algorithm_named, libraries_of
from job.learning.matrices import SpreadMatrix
from job.learning.spec import ModelSpec
from job.learning.trading import daily_returns, keep_books, score_books
from job.learning.training import Trained, train
from job.registry.definition import CALLER, describe_feature, describe_sampling
from job.registry.ledger import versions_scored
from job.registry.names import version_name
from job.registry.outcome import Outcome, of_version
from job.registry.scored import holdout_range
from job.registry.versions import commit
from job.train.task import SamplesRow, Task
from job.worker.audit import notes_of
from job.worker.memory import peak_mb
from job.worker.messages import Job


def commit_version(row: SamplesRow, samples: pl.DataFrame, job: Job, matrix: SpreadMatrix | None = None) -> Outcome:
    """Train one model on its samples and commit it with its metadata; raises what `train` and `commit` raise.

    `matrix` are their features, where several workers hold these.
    """
    task = row.task
    if row.info:
        content = job.content_of(task, row.info)
    else:  # samples that were made elsewhere stand for their bars
        columns = (samples[name].to_physical().to_numpy().tobytes() for name in samples.columns)
        content = hashlib.sha256(b"".join([" ".join(samples.columns).encode(), *columns])).hexdigest()
    identity = task.fingerprint(job.config, content)
    started_at, started = datetime.now(UTC), time.perf_counter()
    spec = row.spec
    pickled = job.pools.get((task.key.timeframe, task.key.model_type))
    pool = pickle.loads(pickled()) if pickled else None  # noqa: S301 - made by this run
    trained = train(
        samples, spec, key=task.key, n_jobs=job.cpus, holdout_from=row.holdout_from, matrix=matrix, pool=pool
    )
    seconds = time.perf_counter() - started
    metadata = {
        **describe_version(row, samples, spec, trained, job, identity=identity, seconds=seconds),
        "timing": {
            "started_at": started_at.isoformat(timespec="milliseconds"),
            "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "worker": f"{platform.node()}/{os.getpid()}",
        },
    }
    version = version_name(task.key, job.run_id)
    if job.trading:
        metadata["trading"] = describe_trading(trained, spec, job, task)
    stored = {algorithm_named(one.algorithm).format for one in (spec, *spec.estimators)}
    by_pickle = job.config.storage.format == "pkl" or "pkl" in stored  # a pickled member pickles all of a blend
    written = commit(
        job.registry(),
        task.key,
        version,
        model=trained.model,
        scaler=trained.scaler,
        metadata=metadata,
        format="pkl" if by_pickle else algorithm_named(spec.algorithm).format,
    )
    return of_version(task.key, written)


def describe_version(
    row: SamplesRow,
    samples: pl.DataFrame,
    spec: ModelSpec,
    trained: Trained,
    job: Job,
    *,
    identity: str,
    seconds: float,
) -> dict[str, Any]:
    """Return a version's metadata, except for what the registry adds: name, sizes and digests of the artifacts.

    By `definition` and `trained_on` later runs know which bars it was trained on; samples made elsewhere give neither.
    `context` is about the other series that it sees, if any.
    """
    info, task = row.info, row.task
    bars = {series: one.record() for series, one in row.trained_on.items()}
    beside = job.context.record(task.needs[0], task.key.timeframe) if job.context is not None and task.needs else None
    is_own = row.label_stats.get("source") != CALLER and is_import_path(spec.label.kind)  # made by a user's module
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": job.run_id,
        "fingerprint": identity,
        **({"definition": task.recipe(job.config).definition(), "trained_on": bars} if bars else {}),
        "library_versions": versions(*libraries_of(task.spec)),
        "cpu": cpu_model(),
        "data": {
            **(info.record() if info else {}),
            "samples": row.counts,
            **describe_sampling(row.sessions or ({row.series: info.sessions} if info else {}), job.config.data),
            **({} if beside is None else {"context": beside}),
        },
        "features": [describe_feature(feature) for feature in spec.features],
        "label_end": samples.select(pl.col("label_end").max().dt.to_string("%Y-%m-%dT%H:%M:%S+00:00")).item(),
        "features_left_out": list(row.left_out),
        "label": {**row.label_stats, **({"source_digest": source_digest(spec.label.kind)} if is_own else {})},
        "peak_rss_mb": peak_mb(),
        "seconds": {"samples": round(row.cost.seconds, 3), "training": round(seconds, 3)},
        "scores": trained.scores,
        "warnings": [*(info.warnings if info else ()), *notes_of(row.certificates)],
        **({"audit": row.certificates} if row.certificates else {}),
        **({"tuning": dict(task.tuning)} if task.tuning else {}),
        **trained.metadata,
    }


def describe_trading(trained: Trained, spec: ModelSpec, job: Job, task: Task) -> dict[str, Any] | None:
    """Return a version's trading scores and its returns over time, `daily`; None for samples that came without prices.

    The deflated Sharpe allows for all versions that the plan knew of, pruned ones included, whose holdouts share some
    time with this one's, and for the settings that were tried before some were chosen.
    """
    settings = job.config.model_trainer.trading
    if settings is None or trained.market is None:
        return None
    tested = holdout_range(trained.metadata)
    others = [one.sharpe for one in task.scored if one.shares(tested) and one.sharpe is not None]
    tried = versions_scored(task.scored, tested, tuning=task.tuning)
    books = keep_books(trained.market, label=spec.label, timeframe=task.key.timeframe, cost_bps=settings.cost_bps)
    scores = score_books(books, versions_scored=tried + 1, other_sharpes=others)
    return {**scores, "daily": daily_returns(books)}
