"""Frames of bars in memory: predicted in this process, without Ray or files."""

import logging
from typing import TypeVar

import pandas as pd
import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.keys import Key
from job.sources.bars import bars_of
from job.sources.columns import resolve
from job.sources.series import Series
from job.storage.files import Storage
from job.worker.load_bars import check_rejected, rule_counts
from job.worker.scorer import load_scorer
from transforms.bars import Cleaned, clean

Frame = TypeVar("Frame", pl.DataFrame, pd.DataFrame)

WHERE = "bars"
"""What messages call a frame."""

log = logging.getLogger("job")


def predict_frame(
    bars: Frame, registry: Storage, key: Key, data: DataSettings, *, version: str, allow_pickle: bool = False
) -> Frame:
    """Predict bars of one series with one model; see `RayModelTrainer.predict`."""
    scorer = load_scorer(registry, key, version, data=data, allow_pickle=allow_pickle)
    cleaned = clean_frame(bars, key, data)
    made = scorer.definition.features_of(
        cleaned.bars, source=cleaned.timeframe, offset_us=cleaned.offset_us, zone=cleaned.zone, name=WHERE
    )
    if made.frame.is_empty():
        counts = ", ".join(f"{what} {count}" for what, count in made.counts.items() if count)
        raise DataError(f"{WHERE}: none of {key.timeframe} to predict ({counts}): give more bars")
    predictions = scorer.predict(made.frame, key)
    return predictions if isinstance(bars, pl.DataFrame) else predictions.to_pandas()


def clean_frame(bars: pl.DataFrame | pd.DataFrame, key: Key, data: DataSettings) -> Cleaned:
    """Return the clean bars of a frame, read as a file with these columns would be.

    Raises:
        DataError: a column is absent or holds something else, too many rows break a rule, or no timeframe can be told.
    """
    frame = bars if isinstance(bars, pl.DataFrame) else _polars(bars)
    indices = resolve(frame.columns, data.columns, WHERE)
    numbered = frame.rename({name: str(position) for position, name in enumerate(frame.columns)})
    series = Series(key.exchange, key.symbol, data.timeframe, ())
    try:
        cleaned = clean(
            bars_of(numbered, indices, series, data, WHERE), timeframe=data.timeframe, zones=(data.timezone,)
        )
    except ValueError as error:
        raise DataError(f"{WHERE}: {error}") from None
    check_rejected(WHERE, cleaned, data)
    if rejected := rule_counts(cleaned.rejected):
        log.warning("%s: left out bars that break a rule: %s", WHERE, rejected)
    return cleaned


def _polars(frame: pd.DataFrame) -> pl.DataFrame:
    """Return a pandas frame with its times, if they are its index, as a column."""
    if isinstance(frame.index, pd.DatetimeIndex):
        frame = frame.reset_index(names=str(frame.index.name or "timestamp"))
    return pl.from_pandas(frame)
