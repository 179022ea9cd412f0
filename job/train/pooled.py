"""Pooled models: samples of many series in one shuffle, one row per sample.

Every series gives each of its models at least one row, the first, whose `header` (pickled) carries the counts or the
error of that series; so no group is ever empty, and no series is left out unseen.
"""

import pickle
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from job.config.trainer import TrainerSettings
from job.core.errors import AuditError, LostRowsError
from job.core.keys import Key
from job.learning.estimators import sequence_bars
from job.learning.splits import holdout_start
from job.registry.fingerprints import pooled_content
from job.train.freshness import grown_of
from job.train.steps import samples_row, train_task
from job.train.task import SamplesRow, Task
from job.worker.cost import Cost
from job.worker.messages import Job, unpack
from transforms.samples import MARKET, UNIQUENESS

GROUP_COLUMNS: Final = ("pool", "timeframe", "model_type")
Times = npt.NDArray[np.int64]
PolarsType = pl.DataType | type[pl.DataType]
TIME: Final = pl.Datetime("us", "UTC")
SCHEMA: Final[dict[str, PolarsType]] = {
    "pool": pl.String,
    "timeframe": pl.String,
    "model_type": pl.String,
    "header": pl.Binary,
    "series": pl.String,
    "timestamp": TIME,
    "available_at": TIME,
    "label": pl.Int8,
    "label_end": TIME,
}
"""Columns of every shuffled row, whatever its model; `flat_samples` adds those of the run."""


@dataclass(frozen=True)
class SamplingCap:
    """Where a group's holdout begins (µs, `available_at`), and the share of the rows before it to keep."""

    holdout_from: int
    share: float


def flat_samples(
    batch: pa.Table, *, job: Job, caps: Mapping[Key, SamplingCap], feature_names: Iterable[str]
) -> Iterator[pa.Table]:
    """Yield one table per task and series: its samples as rows, behind a first row that holds nothing but the header.

    `feature_names` are those of all models of the run. The columns are the same for all rows, so features that a model
    does not use are null. Where models are scored by trading, the columns of `MARKET` are there too, where some are
    weighted by it, the uniqueness of labels, and for models of sequences, which rows are complete.
    """
    config = job.config
    schema = SCHEMA | dict.fromkeys(feature_names, pl.Float32) | (MARKET if job.trading else {})
    if any(sequence_bars(spec) > 1 for *_, spec in config.model_specs()):
        schema["complete"] = pl.Boolean
    if any(kind.weights and kind.weights.uniqueness for kind in config.model_trainer.kinds.values()):
        schema[UNIQUENESS] = pl.Float64
    for task, header, frame in thinned_samples(batch, job, caps):
        group = {"pool": task.key.symbol, "timeframe": task.key.timeframe, "model_type": task.key.model_type}
        first = pl.DataFrame({**group, "header": pickle.dumps(header)})
        named = {**group, "series": header.series}
        rows = frame.with_columns(**{name: pl.lit(value) for name, value in named.items()})
        typed = (part.cast({name: schema[name] for name in part.columns}) for part in (first, rows) if part.height)
        yield pl.concat([pl.DataFrame(schema=schema), *typed], how="diagonal").to_arrow()


def thinned_samples(
    batch: pa.Table, job: Job, caps: Mapping[Key, SamplingCap]
) -> Iterator[tuple[Task, SamplesRow, pl.DataFrame]]:
    """Yield each task with its samples of one series, as far as its cap leaves them; see `_samples`."""
    for task, header, frame in _samples(batch, job):
        if task.key in caps and frame.height:
            cap, labeled = caps[task.key], frame["label"].count()
            seed = f"{header.series} {task.spec.random_state}"
            frame = downsample(frame, cap, name=seed, sequences=sequence_bars(task.spec) > 1)  # noqa: PLW2901
            used = frame["label"].count()
            counts = {**header.counts, "used": used, "thinned": labeled - used}
            header = replace(header, counts=counts, holdout_from=cap.holdout_from)  # noqa: PLW2901
        yield task, header, frame


def sample_times(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Yield one row per task and series: the times of its samples (int64 µs, as bytes), for `sampling_caps`.

    `of` says of which task and series, and how many samples there are.
    """
    for task, header, frame in _samples(batch, job):
        labeled = frame.filter(pl.col("label").is_not_null()) if frame.height else frame
        times = labeled["available_at"].to_physical().to_numpy() if labeled.height else np.empty(0, np.int64)
        of = pickle.dumps((task.key, header.series, len(times)))
        yield pa.table({"key": [pickle.dumps(task.key)], "times": [times.tobytes()], "of": [of]})


def digests(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Yield one row per series that could be read, pickled.

    The series; the digests of its bars, by `Task.flow`; and by task how much it has grown, for those that may be fresh
    enough.
    """
    for row, bars in unpack(batch):
        if row.info is not None:
            contents = [row.info.content(flow=flow) for flow in (False, True)]
            grown = grown_of(row.bundle.series, bars, row.info, job)
            added = {task.key: grown(task) for task in row.bundle.tasks if task.held is not None}
            yield pa.table({"found": [pickle.dumps((row.bundle.series, contents, added))]})


def sampling_caps(
    rows: Iterable[dict[str, Any]], settings: TrainerSettings, *, expected: int
) -> dict[Key, SamplingCap]:
    """Return the caps of groups that need one, from the rows of `sample_times`.

    Memory grows with the number of distinct times, not of rows.

    Raises:
        LostRowsError: there are fewer rows than `expected`.
    """
    known: dict[Key, tuple[Times, Times]] = {}
    seen = 0
    for row in rows:
        seen += 1
        key = pickle.loads(row["key"])  # noqa: S301 - made by this run
        new = np.frombuffer(row["times"], np.int64)
        times, counts = known.get(key, (np.empty(0, np.int64), np.empty(0, np.int64)))
        merged, where = np.unique(np.concatenate([times, new]), return_inverse=True)
        weights = np.concatenate([counts, np.ones(len(new), np.int64)])
        known[key] = merged, np.bincount(where, weights, len(merged)).astype(np.int64)
    if seen < expected:
        raise LostRowsError(f"workers died while samples were counted: {seen} of {expected} answers arrived")
    caps = {}
    for key, (times, counts) in known.items():
        if len(times) < 2:
            continue
        first = holdout_start(len(times), settings.test_size)
        before, after = int(counts[:first].sum()), int(counts[first:].sum())
        share = (settings.max_samples - after) / before if before else 1.0
        if share < 1:
            caps[key] = SamplingCap(int(times[first]), max(share, 0.0))
    return caps


def downsample(frame: pl.DataFrame, cap: SamplingCap, *, name: str, sequences: bool = False) -> pl.DataFrame:
    """Keep the share of rows before the holdout whose hash of (name, timestamp) is lowest, and all rows after.

    In `sequences` the others lose their label only, as bars in a sequence must be neighbors.
    """
    times = frame["available_at"].to_physical().to_numpy()
    keep = (times >= cap.holdout_from) | (uniform_hash(times, name) < cap.share)
    if sequences:
        return frame.with_columns(label=pl.when(pl.Series(keep)).then("label"))
    return frame.filter(pl.Series(keep))


def uniform_hash(times: Times, name: str) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each time, by the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    mixed = times.astype(np.uint64) + np.uint64(zlib.crc32(name.encode()) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) / 2.0**64


def _samples(batch: pa.Table, job: Job) -> Iterator[tuple[Task, SamplesRow, pl.DataFrame]]:
    """Yield each task with its samples of one series; with an empty frame where that series failed."""
    for row, bars in unpack(batch):
        for task in row.bundle.tasks:
            header, frame = samples_row(task, row, bars, job)
            yield task, header, pl.DataFrame() if frame is None else frame


def train_group(group: pa.Table, *, job: Job, members: Mapping[Key, frozenset[str]]) -> pa.Table:
    """Train one pooled model on its rows; the series that failed are named in the outcome's warnings.

    There is no outcome where rows of one of its `members` are absent because their worker died: the group runs again.
    """
    found = read_group(group, members)
    return pa.table({"outcome": pa.array([train_task(*found, job).to_json()] if found else [], pa.string())})


def read_group(group: pa.Table, members: Mapping[Key, frozenset[str]]) -> tuple[SamplesRow, pl.DataFrame] | None:
    """Return the header of a pooled model and its samples; None where rows of one of its `members` are absent."""
    frame = pl.DataFrame(pl.from_arrow(group))
    headers = [pickle.loads(header) for header in frame["header"].drop_nulls().sort()]  # noqa: S301 - made by this run
    if not headers or {header.series for header in headers} != members[headers[0].task.key]:
        return None
    samples = frame.filter(pl.col("header").is_null()).drop(*GROUP_COLUMNS, "header").sort("available_at", "series")
    return merge(headers), samples


def merge(headers: list[SamplesRow]) -> SamplesRow:
    """Return the header of a pooled model from those of its series: counts added, digests digested, files listed.

    A feature that one series' audit refuses is refused: the model is not trained on the others.
    """
    headers = sorted(headers, key=lambda header: header.series)
    if refused := [header for header in headers if header.error and header.error["type"] == AuditError.__name__]:
        return refused[0]
    good = [header for header in headers if header.error is None]
    if not good:
        return headers[0]
    infos = [header.info for header in good if header.info is not None]
    failed = [f"left out {header.series}: {header.error['message']}" for header in headers if header.error is not None]
    rules = sorted({name for one in infos for name in one.counts})
    info = replace(
        infos[0],
        first=min(one.first for one in infos),
        last=max(one.last for one in infos),
        counts={name: sum(one.counts.get(name, 0) for one in infos) for name in rules},
        digest=pooled_content(one.content(flow=good[0].task.flow) for one in infos),
        flow="",
        files=tuple(file for one in infos for file in one.files),
        warnings=(*failed, *(warning for one in infos for warning in one.warnings)),
    )
    return replace(
        good[0],
        info=info,
        counts={name: sum(header.counts.get(name, 0) for header in good) for name in good[0].counts},
        label_stats={"series": {header.series: header.label_stats for header in good}},
        cost=Cost.total(header.cost for header in headers),
        left_out=tuple(sorted({name for header in good for name in header.left_out})),
        sessions={header.series: header.info.sessions for header in good if header.info is not None},
        trained_on={series: one for header in good for series, one in header.trained_on.items()},
    )
