"""The steps of comparing inside a worker; each takes and yields Arrow tables, none knows Ray."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from job.compare.task import Compared, ComparisonTask
from job.core.errors import DataError
from job.core.keys import Key
from job.learning.comparison import SeedVariance, compare, row_sums
from job.learning.evidence import gather
from job.learning.fleet import cluster_us, log_loss_delta_by_cluster
from job.learning.metrics import FloatArray, row_log_loss
from job.learning.trading import trading_scores
from job.worker.context import Need, beside_version, history_of
from job.worker.cost import NO_COST, Cost, Meter
from job.worker.messages import BarsRow, Job, SeriesInfo, pack, recorded_failure, unpack
from transforms.bars import duration_us
from transforms.features.feature import WARM
from transforms.labels import Label
from transforms.samples import MARKET, make_samples

if TYPE_CHECKING:
    from job.worker.scorer import Scorer

GROUP: Final = "model"
"""Column that names the model; the shuffle brings the rows of a pooled one together by it."""
MARKET_COLUMNS: Final = ("timestamp", *MARKET)
"""What trading scores take of each bar, beside probabilities."""
SAME: Final = pl.col("label") == pl.col("label_b")
"""Rows that are samples of both versions."""


@dataclass(frozen=True)
class PairRow:
    """Header of a row of one series' samples: available_at, label, label_b, p_a, p_b; both have those of equal labels.

    Beside them stand the base rates that they are shrunk to, `p_base_a` and `p_base_b`. Where trading is scored, the
    rows are all bars, with `MARKET_COLUMNS`, and labels and probabilities may be null.
    """

    task: ComparisonTask
    series: str
    label: Label | None = None
    only_a: int = 0
    only_b: int = 0
    seed_influence_a: FloatArray | None = None
    seed_influence_b: FloatArray | None = None
    cost: Cost = NO_COST
    warnings: tuple[str, ...] = ()
    error: dict[str, str] | None = None


def pair_samples(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Score a bundle's bars by both versions of each of its models; one row of paired samples per task."""
    for row, bars in unpack(batch):
        for task in row.bundle.tasks:
            packed = pack(*prepare(task, row, bars, job))
            yield packed.append_column(GROUP, pa.array([str(task.key)]))


def prepare(task: ComparisonTask, row: BarsRow, bars: pl.DataFrame, job: Job) -> tuple[PairRow, pl.DataFrame | None]:
    """Return the header and the paired samples of one model on one series; none where that failed."""
    header = PairRow(task, str(row.bundle.series), error=row.error, cost=row.cost_of(task))
    if row.info is None:
        return header, None
    meter = Meter()
    with recorded_failure("scoring", job) as failure:
        scored, frame = score_both(header, bars, row.info, job)
    if failure.error is not None:
        return replace(header, error=failure.error, cost=meter.cost()), None
    return replace(scored, cost=meter.cost()), frame


def score_both(header: PairRow, bars: pl.DataFrame, info: SeriesInfo, job: Job) -> tuple[PairRow, pl.DataFrame]:
    """Score the samples that both versions have of one series, each by the features that it was trained on."""
    from job.worker.scorer import load_scorer  # noqa: PLC0415 - brings scikit-learn; the driver names these steps only

    task, registry = header.task, job.registry()
    # the open time of the first bar that is available at `usable_from` or later
    start = task.usable_from - timedelta(microseconds=duration_us(task.key.timeframe))
    scorers = [
        load_scorer(registry, task.key, version, data=job.config.data, allow_pickle=task.allow_pickle)
        for version in (task.a, task.b)
    ]
    scores = [
        scored_samples(scorer, bars, info, job, name=header.series, start=start, needs=needs, market=job.trading)
        for scorer, needs in zip(scorers, (task.needs[:1], task.needs[1:]), strict=True)
    ]
    a, b = scores
    kept = ["available_at", "label", *(MARKET_COLUMNS if job.trading else ())]
    both = a.select(*kept, p_a="p", p_base_a="p_base").join(
        b.select("available_at", label_b="label", p_b="p", p_base_b="p_base"),
        on="available_at",
        how="left",
        maintain_order="left",
    )
    same = both.filter(SAME)
    only_a, only_b = (one["label"].count() - same.height for one in (a, b))
    seeds_a, seeds_b = (
        seed_influence(scorer, samples.join(same, on="available_at", how="semi"))
        for scorer, samples in zip(scorers, scores, strict=True)
    )
    found = replace(
        header,
        label=scorers[1].definition.label,
        only_a=only_a,
        only_b=only_b,
        seed_influence_a=seeds_a,
        seed_influence_b=seeds_b,
        warnings=info.warnings,
    )
    return found, both


def seed_influence(scorer: "Scorer", samples: pl.DataFrame) -> FloatArray | None:
    """Return `seeds.influence_of` a version on its samples."""
    from job.learning.rows import feature_matrix  # noqa: PLC0415 - brings scikit-learn
    from job.learning.seeds import influence_of  # noqa: PLC0415

    if samples.is_empty():
        return np.zeros(1)
    scaled, up = scorer.scaler.transform(feature_matrix(samples, scorer.definition.names)), samples["label"].to_numpy()
    return influence_of(scorer.metadata, scorer.model, scaled, up, base_rate=scorer.base_rate, weight=scorer.weight)


def seeds_of(influences: Iterable[Sequence[FloatArray | None]], rows: int) -> list[SeedVariance] | None:
    """Return the variance over seeds of versions on `rows` of all series; None if one is not known.

    Of each version there is the `seed_influence` of every series.
    """
    from job.learning.seeds import seed_variance  # noqa: PLC0415 - brings scikit-learn

    found = [seed_variance(parts, rows) for parts in influences]
    known = [one for one in found if one is not None]
    return known if len(known) == len(found) else None


def scored_samples(
    scorer: "Scorer",
    bars: pl.DataFrame,
    info: SeriesInfo,
    job: Job,
    *,
    name: str,
    start: datetime,
    needs: Sequence[Need] = (),
    market: bool = False,
) -> pl.DataFrame:
    """Return the samples of one version whose bars open at `start` or later.

    Beside them stand `p`, its probability of up, and `p_base`, its base rate. With `market` all such bars are there,
    with `MARKET_COLUMNS`, whether they are samples or not. `p` is null where the model cannot score a row, which only
    samples with a market or of sequences have.

    Raises:
        DataError: the timeframe cannot be made from these bars, or they lack what a feature needs.
    """
    definition = scorer.definition
    how = definition.preparation(bars, info, name=name)
    if how.gaps == "segment":
        bars = bars.filter(pl.col("timestamp") >= start - history_of(definition))
    beside = beside_version(definition, bars, info, name=name, needs=needs, context=job.context, tolerance=WARM)
    try:
        samples = make_samples(
            bars,
            how,
            features=definition.features,
            label=definition.label,
            start=start,
            market=market,
            beside=beside,
            sequence_bars=definition.sequence_bars,
        ).frame
    except ValueError as error:
        raise DataError(f"{name} {definition.timeframe}: {error}") from None
    complete = samples["complete"].to_numpy() if "complete" in samples.columns else np.ones(samples.height, np.bool_)
    p = np.full(samples.height, np.nan)
    if complete.any():
        p[complete] = scorer.score(samples)
    scored = samples.with_columns(p=pl.Series(p).fill_nan(None), p_base=pl.lit(scorer.base_rate))
    return scored.filter(pl.col("timestamp") >= start)  # of sequences the bars before are there, too


def compare_rows(batch: pa.Table, *, job: Job) -> Iterator[pa.Table]:
    """Compare the versions of each row's model; one row of outcome JSON per task."""
    for header, frame in unpack(batch.drop_columns([GROUP])):
        yield pa.table({"outcome": [compare_parts([(header, frame)], job).to_json()]})


def compare_group(group: pa.Table, *, job: Job, members: Mapping[Key, frozenset[str]]) -> pa.Table:
    """Compare the versions of one pooled model on the rows of all its series.

    There is no outcome where rows of one of its `members` are absent because their worker died: it runs again.
    """
    parts = list(unpack(group.drop_columns([GROUP])))
    if not parts or {header.series for header, _ in parts} != members[parts[0][0].task.key]:
        return pa.table({"outcome": pa.array([], pa.string())})
    return pa.table({"outcome": [compare_parts(parts, job).to_json()]})


def compare_parts(parts: Sequence[tuple[PairRow, pl.DataFrame]], job: Job) -> Compared:
    """Return the comparison of two versions on the samples of one or more series; those that failed are named."""
    meter, task = Meter(), parts[0][0].task
    before = Cost.total(header.cost for header, _ in parts)
    good = sorted(((header, frame) for header, frame in parts if header.error is None), key=lambda part: part[0].series)
    if not good:
        return meter.charge(Compared.failed(task, parts[0][0].error or {}), attempts=task.attempt, before=before)
    frames = [frame.with_columns(series=pl.lit(header.series)) for header, frame in good]
    with recorded_failure("comparing", job) as failure:
        if not any(frame.filter(SAME).height for frame in frames):
            raise DataError(no_rows(task))
        left_out = tuple(f"left out {header.series}: {header.error['message']}" for header, _ in parts if header.error)
        warnings = dict.fromkeys([*left_out, *(warning for header, _ in good for warning in header.warnings)])
        outcome = replace(compared([header for header, _ in good], pl.concat(frames), job), warnings=tuple(warnings))
    if failure.error is not None:
        outcome = Compared.failed(task, failure.error)
    return meter.charge(outcome, attempts=task.attempt, before=before)


def no_rows(task: ComparisonTask) -> str:
    """Say that the bars end too early, and what to do about it."""
    return (
        f"{task.key}: no labeled bar closes at {task.usable_from:%Y-%m-%d %H:%M:%S} UTC or later, the first time that "
        f"neither {task.a} nor {task.b} has seen: give newer bars, or an earlier --since if there was one"
    )


def compared(headers: Sequence[PairRow], bars: pl.DataFrame, job: Job) -> Compared:
    """Compare two versions on the rows of all series, whose `label` they share."""
    task, label = headers[0].task, headers[0].label
    if label is None:
        raise DataError(no_rows(task))
    rows = bars.filter(SAME).sort("available_at", maintain_order=True)
    up, p_a, p_b = (rows[name].to_numpy() for name in ("label", "p_a", "p_b"))
    times = rows["available_at"].to_physical().to_numpy()
    evidence = gather(times, row_sums(up, p_a, p_b), horizon=label.horizon, before=task.evidence)
    evidence = replace(evidence, looks=evidence.looks + task.looked)
    lengths = {"horizon_bars": label.horizon, "timeframe_us": duration_us(task.key.timeframe)}
    influences = [one.seed_influence_a for one in headers], [one.seed_influence_b for one in headers]
    first, last = rows.select(
        first=pl.col("available_at").min().dt.to_string("iso:strict"),
        last=pl.col("available_at").max().dt.to_string("iso:strict"),
    ).row(0)
    return replace(
        Compared.of_task(task),
        rows=rows.height,
        first=first,
        last=last,
        only_a=sum(header.only_a for header in headers),
        only_b=sum(header.only_b for header in headers),
        comparison=compare(
            up,
            p_a,
            p_b,
            horizon=label.horizon,
            times=times,
            evidence=evidence,
            seeds=seeds_of(influences, rows.height),
            alpha=job.config.promotion.alpha,
            test=job.config.promotion.test,
        ),
        evidence=evidence,
        log_loss_delta=log_loss_delta_by_cluster(times, row_log_loss(up, p_b) - row_log_loss(up, p_a), **lengths),
        cluster_us=cluster_us(**lengths),
        trading=traded(task, bars, label, job),
    )


def traded(task: ComparisonTask, bars: pl.DataFrame, label: Label, job: Job) -> dict[str, dict[str, Any]]:
    """Return what trading on each version would have earned, nothing where models are not scored by trading."""
    settings = job.config.model_trainer.trading
    if not settings:
        return {}
    return {
        name: trading_scores(
            bars.select("series", *MARKET_COLUMNS, p=f"p_{name}", p_base=f"p_base_{name}"),
            label=label,
            timeframe=task.key.timeframe,
            cost_bps=settings.cost_bps,
            # each comparison before this one may have scored two others
            versions_scored=2 * (task.earlier + 1) + task.others,
        )
        for name in ("a", "b")
    }
