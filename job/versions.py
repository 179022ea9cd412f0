"""One version of a model: train it, describe it, commit it."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from job.environment import cpu_model, versions
from job.keys import Key
from job.outcomes import Outcome, of
from job.planning import Task, identity_of
from job.rows import Job, Prepared
from job.store import Store, commit, find_version, read_metadata, short_fingerprint, summarise, version_name
from job.training import Trained, train
from transforms.features import FEATURES


def commit_version(prepared: Prepared, samples: pl.DataFrame, job: Job) -> Outcome:
    """Train one model on its samples and commit it with its metadata; raises what `train` and `commit` raise."""
    task = prepared.task
    facts = prepared.facts
    content = facts.digest if facts else samples_digest(samples)
    identity = identity_of(task, job.config, content)
    if not job.force and (version := dict(task.known).get(short_fingerprint(identity))):
        return current(task, version, job.store())
    started = time.perf_counter()
    kept = tuple(name for name in task.spec.features if name not in prepared.left_out)
    spec = task.spec.model_copy(update={"features": kept})
    trained = train(samples, spec, key=task.key, n_jobs=job.cpus_per_task, holdout_from=prepared.holdout_from)
    metadata = describe_version(
        prepared, samples, trained, job, identity=identity, seconds=time.perf_counter() - started
    )
    version = version_name(task.key, job.run_id)
    written = commit(
        job.store(),
        task.key,
        version,
        model=trained.model,
        scaler=trained.scaler,
        metadata=metadata,
        format=job.config.storage.format,
    )
    return outcome_of(task.key, written)


def describe_version(
    prepared: Prepared, samples: pl.DataFrame, trained: Trained, job: Job, *, identity: str, seconds: float
) -> dict[str, Any]:
    """Return a version's metadata but for what the store adds: name, sizes and digests of the artefacts."""
    facts = prepared.facts
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_id": job.run_id,
        "fingerprint": identity,
        "library_versions": versions(),
        "cpu": cpu_model(),
        "data": {**(facts.record() if facts else {}), "samples": prepared.counts},
        "features": [
            {"name": name, "lookback": FEATURES[name].lookback, "version": FEATURES[name].version}
            if name in FEATURES
            else {"name": name}
            for name in trained.features
        ],
        "label_end": samples.select(pl.col("label_end").max().dt.to_string("iso:strict")).item(),
        "features_left_out": list(prepared.left_out),
        "label": prepared.label_stats,
        "seconds": {"samples": round(prepared.seconds, 3), "training": round(seconds, 3)},
        "scores": trained.scores,
        "warnings": list(facts.warnings) if facts else [],
        **trained.metadata,
    }


def samples_digest(samples: pl.DataFrame) -> str:
    """Return the SHA-256 of samples that were made elsewhere."""
    buffers = (samples[name].to_physical().to_numpy().tobytes() for name in samples.columns)
    return hashlib.sha256(b"".join([" ".join(samples.columns).encode(), *buffers])).hexdigest()


def current(task: Task, version: str, store: Store) -> Outcome:
    """Return the outcome of a model that the store already holds; says so if a later version hides it."""
    latest = task.known[-1][1]
    hidden = (f"{task.key}: {version} is current, but {latest} is later: --force makes it the latest",)
    stored = outcome_of(task.key, read_metadata(store, task.key, version))
    return replace(stored, status="current", warnings=() if version == latest else hidden, summary={}, excess={})


def outcome_of(key: Key, metadata: dict[str, Any]) -> Outcome:
    """Return the outcome of a committed version."""
    return replace(
        of(key, "trained"),
        version=metadata["version"],
        rows=metadata["data"]["samples"]["used"],
        scores=metadata["scores"],
        warnings=tuple(metadata["warnings"]),
        summary=summarise(metadata),
        excess=metadata["excess_log_loss"],
    )


def committed(tasks: Sequence[Task], job: Job) -> Iterator[Outcome]:
    """Yield outcomes of models that this run committed although their worker's answer was lost."""
    store = job.store()
    written = set(store.list(*sorted({task.key.folder for task in tasks}))) if tasks else set()
    for task in tasks:
        version = version_name(task.key, job.run_id)
        if f"{task.key.folder}/{version}.json" in written and (metadata := find_version(store, task.key, version)):
            yield outcome_of(task.key, metadata)
