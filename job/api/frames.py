"""Frames of bars in memory: predicted in this process, without Ray or files."""

import logging
from typing import TypeVar

import pandas as pd
import polars as pl
import pyarrow as pa

from job.config.policies import PredictionSettings
from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.keys import Key
from job.core.wording import first_of, on_one_line
from job.learning.features import reads_flow
from job.registry.model_age import check_age
from job.sources.bars import by_position, raw_of
from job.sources.choices import without_meaning
from job.sources.columns.flags import left_out
from job.sources.columns.flow import contradiction, flow_columns
from job.sources.columns.named import FINISHED, resolve
from job.sources.series import Series
from job.worker.context import beside_version
from job.worker.load_bars import check_rejected, rule_counts
from job.worker.scorer import Scorer
from transforms.bars import FLOW, Cleaned, clean
from transforms.features.feature import EXACT

Frame = TypeVar("Frame", pl.DataFrame, pd.DataFrame)

WHERE = "bars"
"""What messages call a frame."""

log = logging.getLogger("job")


def predict_bars(bars: Frame, scorer: Scorer, data: DataSettings, *, ages: PredictionSettings | None = None) -> Frame:
    """Predict bars of one series with a model that is loaded; see `RayModelTrainer.predict`."""
    key = scorer.key
    cleaned = clean_frame(bars, key, data, flow=reads_flow(scorer.definition.features))
    beside = beside_version(scorer.definition, cleaned.bars, cleaned, name=WHERE, tolerance=EXACT)
    made = scorer.definition.features_of(cleaned.bars, cleaned, name=WHERE, beside=beside)
    if not made.counts["used"]:
        counts = ", ".join(f"{what} {count}" for what, count in made.counts.items() if count)
        raise DataError(f"{WHERE}: none of {key.timeframe} to predict ({counts}): give more bars")
    last, where = made.frame["available_at"][-1], f"{key}: {scorer.version}"
    for warning in check_age(scorer.definition.label_end, last, ages or PredictionSettings(), version=where):
        log.warning(warning)
    predictions = scorer.predict(made.frame, key)
    return predictions if isinstance(bars, pl.DataFrame) else predictions.to_pandas()


def clean_frame(bars: pl.DataFrame | pd.DataFrame, key: Key, data: DataSettings, *, flow: bool = False) -> Cleaned:
    """Return the clean bars of a frame, read as a file with these columns would be, with those of flow if asked for.

    Raises:
        DataError: it is no frame, a column is absent, repeated or holds something else, too many rows break a rule, or
            no timeframe can be told.
    """
    frame = plain_frame(bars)
    indices = flow_columns(resolve(frame.columns, data.columns, WHERE), frame.columns, data.columns, wanted=flow)
    numbered = by_position(frame, range(frame.width))
    series = Series(key.exchange, key.symbol, data.timeframe, ())
    try:
        read = raw_of(numbered, indices, series, data, WHERE)
        if read.unfinished:
            log.warning("%s: %s", WHERE, left_out(read.unfinished, frame.columns[indices[FINISHED][0]]))
        raw = _with_flow(read.bars)
        meaningless = without_meaning([raw]) if "volume" in raw.columns and not raw.is_empty() else None
        if meaningless not in {None, "0 throughout"}:  # a few quiet bars may have no volume
            log.warning("%s: volume counts as none, since it is %s", WHERE, meaningless)
            raw = raw.drop("volume")
        cleaned = clean(raw, timeframe=data.timeframe, zones=(data.timezone,), duplicates=data.duplicates)
    except ValueError as error:
        raise DataError(f"{WHERE}: {error}") from None
    check_rejected(WHERE, cleaned, data)
    if rejected := rule_counts(cleaned.counts):
        log.warning("%s: left out bars that break a rule: %s", WHERE, rejected)
    return cleaned


def _with_flow(bars: pl.DataFrame) -> pl.DataFrame:
    """Return bars without columns of flow that the others contradict."""
    wrong = {name: contradiction(name, [bars]) for name in FLOW if name in bars.columns}
    for name, reason in wrong.items():
        if reason is not None:
            log.warning("%s: %s is left out: %s", WHERE, name, reason)
    return bars.drop(name for name, reason in wrong.items() if reason is not None)


def plain_frame(frame: object) -> pl.DataFrame:
    """Return a frame as one of Polars, with its times as a column if they are the index of a pandas frame.

    Raises:
        DataError: it is no frame, names a column twice, or holds values that are neither numbers, text nor times.
    """
    if isinstance(frame, pl.DataFrame):
        return frame
    if isinstance(frame, pl.LazyFrame):
        raise DataError(f"{WHERE}: a LazyFrame has no rows yet; give frame.collect()")
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            f"{WHERE}: expected a frame of pandas or Polars with one row a bar, got {type(frame).__name__}; "
            "make one with pandas.DataFrame(...)"
        )
    names = [str(name) for name in frame.columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{WHERE}: several columns are called {first_of(map(repr, twice), 4)}; give each its own name")
    plain = _with_index(frame.set_axis(names, axis="columns"))
    try:
        return pl.from_pandas(plain)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(
            f"{WHERE}: a column holds neither numbers, text nor times ({on_one_line(error)[:200]}); "
            "give only columns of bars"
        ) from None


def _with_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame with its index as columns in front, where that has names or holds times."""
    if isinstance(frame.index, pd.DatetimeIndex):
        levels = [str(frame.index.name or "timestamp")]
    else:
        levels = [str(name) for name in frame.index.names if name is not None]
    for level in levels:
        if level not in frame.columns:
            continue
        values = frame.index.get_level_values(level) if level in frame.index.names else frame.index
        if not (pd.Index(frame[level]).equals(pd.Index(values))):
            raise DataError(
                f"{WHERE}: index and a column are both called {level!r} and differ; give frame.reset_index(drop=True) "
                "if the column is right, frame.drop(columns=[...]) if the index is"
            )
        return frame.reset_index(drop=True)
    return frame.reset_index(names=levels) if levels else frame
