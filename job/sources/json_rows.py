"""JSON, as exchanges and ccxt give it: a list of arrays or of objects, one a bar; other shapes are made to be such."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.access import display_path, read_all
from job.sources.bars import Look, Raw, bars_of, by_position, raw_of
from job.sources.columns import BAR, REQUIRED, given, names_prices, resolve
from job.sources.delimited_text import plain_text
from job.sources.json_shapes import rows_in
from job.sources.series import Series, SourceFile
from job.sources.unnamed import check_ohlc_order, in_order
from job.storage.opening import content

BINANCE_WIDTH: Final = 12


def read_json(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read JSON: arrays of time, open, high, low, close, volume as ccxt gives them, Binance's of twelve, or objects.

    Raises:
        DataError: it is something else, or unnamed values do not behave as bars.
    """
    where = display_path(file)
    frame, names = _frame(file, settings)
    if names:
        indices = resolve(names, settings.columns, where)
        return raw_of(frame, indices, series, settings, where, names)
    if frame.width not in {len(REQUIRED), len(BAR), BINANCE_WIDTH} and not given(settings.columns):
        raise DataError(
            f"{where}: arrays of {frame.width} values without names; set data.columns to their numbers from 1"
        )
    indices = in_order(frame.width, settings.columns, where)
    bars = bars_of(frame, indices, series, settings, where)
    if not given(settings.columns) and (reason := check_ohlc_order(bars)):
        raise DataError(f"{where}: {reason}; set data.columns to their numbers, such as {{open: '2', close: '3'}}")
    return Raw(bars, "open")


def json_columns(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name."""
    frame, known = _frame(file, settings)
    return frame.select(pl.col(str(known.index(name))).alias(name) for name in names)


def look_at_json(file: SourceFile, settings: DataSettings) -> Look:
    """Read keys where rows are objects; they stand only in the text itself."""
    start = content(file.url, file.member, settings.options, limit=512).lstrip()
    if not start.startswith(b"[") or not start[1:].lstrip().startswith(b"["):
        frame, names = _frame(file, settings)
        words = (name for name, column in zip(names, frame.columns, strict=False) if frame[column].dtype == pl.String)
        return Look("json", names, text=tuple(words))
    return Look("json")


def _frame(file: SourceFile, settings: DataSettings) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Columns by position, as text where rows are arrays, and their names where rows are objects."""
    where = display_path(file)
    text = plain_text(read_all(file, settings), where).decode("utf-8", errors="replace")
    with suppress(pl.exceptions.PolarsError):  # what its parser is too strict for, Python's reads
        if (found := _of_list(text, where)) is not None:
            return found
    rows = rows_in(text, where)
    with suppress(pl.exceptions.PolarsError):
        if (found := _of_list(json.dumps(rows), where)) is not None:
            return found
    raise DataError(
        f"{where}: truncated or no JSON of bars (a row is not like the others); correct it or download it again"
    )


def _of_list(text: str, where: str) -> tuple[pl.DataFrame, tuple[str, ...]] | None:
    """Columns of a list of objects or arrays; None where a text is something else.

    Raises:
        PolarsError: it is no valid JSON, or its rows do not fit together.
    """
    inner = text[1:].lstrip()[:1] if text.startswith("[") else ""
    if inner == "{":
        frame = pl.read_json(text.encode(), infer_schema_length=None)
        if not names_prices(frame.columns) and any(dtype.is_nested() for dtype in frame.dtypes):
            return None
        return by_position(frame, range(frame.width)), tuple(frame.columns)
    if inner == "[":
        return _arrays(pl.Series([text]).str.json_decode(pl.List(pl.List(pl.String))).explode(), where), ()
    return None


def _arrays(rows: pl.Series, where: str) -> pl.DataFrame:
    lengths = rows.list.len()
    if lengths.n_unique() > 1:
        odd = int((lengths != lengths.mode()[0]).arg_true()[0])
        raise DataError(
            f"{where}: row {odd + 1} has {lengths[odd]} values, most have {lengths.mode()[0]}; download it again"
        )
    return pl.DataFrame({str(index): rows.list.get(index) for index in range(int(lengths[0]))})
