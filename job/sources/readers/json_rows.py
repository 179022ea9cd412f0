"""JSON, as exchanges and ccxt give it: a list of arrays or of objects, one a bar; other shapes are made to be such."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.access import display_path, read_all
from job.sources.bars import Look, Raw, by_position, raw_of
from job.sources.columns.flow import KLINES, flow_columns
from job.sources.columns.named import BAR, REQUIRED, given, names_prices, resolve
from job.sources.columns.unnamed import check_ohlc_order, in_order, suggested, volume_place
from job.sources.readers.delimited_text import plain_text
from job.sources.readers.json_shapes import rows_in
from job.sources.series import Series, SourceFile
from job.sources.times.values import is_absolute
from job.storage.opening import content

BINANCE_WIDTH: Final = 12
_SAMPLE_ROWS: Final = 60
"""Rows by which a message suggests what columns without names are."""


@dataclass(frozen=True)
class _Table:
    """Columns by position, as text where rows are arrays; their names where rows are objects; the zone of the times."""

    frame: pl.DataFrame
    names: tuple[str, ...] = ()
    zone: str | None = None


def read_json(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read JSON: arrays of time, open, high, low, close, volume as ccxt gives them, Binance's of twelve, or objects.

    Raises:
        DataError: it is something else, or unnamed values do not behave as bars.
    """
    where = display_path(file)
    table = _table(file, settings)
    frame, names = table.frame, table.names
    if not names:
        return _of_arrays(frame, series, settings, where)
    indices = flow_columns(resolve(names, settings.columns, where), names, settings.columns, wanted=series.flow)
    absolute = is_absolute(frame[str(indices["timestamp"][0])])
    if absolute or table.zone is None or settings.timezone != "UTC":
        return raw_of(frame, indices, series, settings, where, names)
    raw = raw_of(frame, indices, series, settings.model_copy(update={"timezone": table.zone}), where, names)
    return replace(raw, notes=(*raw.notes, f"times are those of {table.zone}, which stands beside the bars"))


def _of_arrays(frame: pl.DataFrame, series: Series, settings: DataSettings, where: str) -> Raw:
    """Bars of arrays: time, open, high, low and close, and of further values the one that behaves as a volume."""
    if frame.width < len(REQUIRED) and not given(settings.columns):
        raise DataError(
            f"{where}: arrays of {frame.width} values without names; set data.columns to their numbers from 1"
        )
    indices, notes = in_order(frame.width, settings.columns, where), list[str]()
    if len(BAR) < frame.width != BINANCE_WIDTH and not given(settings.columns):
        place = volume_place(frame)
        indices["volume"] = (place,)
        notes = [f"arrays of {frame.width} values without names: value {place + 1} is taken for the volume"]
    usual = KLINES if frame.width == BINANCE_WIDTH else {}
    raw = raw_of(
        frame,
        flow_columns(indices, (), settings.columns, wanted=series.flow, usual=usual),
        series,
        settings,
        where,
    )
    if not given(settings.columns) and (reason := check_ohlc_order(raw.bars)):
        numbers = suggested(frame.head(_SAMPLE_ROWS).rows())
        raise DataError(f"{where}: {reason}; set data.columns to their numbers, such as {numbers}")
    return replace(raw, edge="open", proven=False, notes=(*notes, *raw.notes))


def json_columns(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name."""
    table = _table(file, settings)
    return table.frame.select(pl.col(str(table.names.index(name))).alias(name) for name in names)


def look_at_json(file: SourceFile, settings: DataSettings) -> Look:
    """Read keys where rows are objects; they stand only in the text itself."""
    start = content(file.url, file.member, settings.options, limit=512).lstrip()
    if not start.startswith(b"[") or not start[1:].lstrip().startswith(b"["):
        table = _table(file, settings)
        named = zip(table.names, table.frame.dtypes, strict=False)
        return Look("json", table.names, text=tuple(name for name, dtype in named if dtype == pl.String))
    return Look("json")


def _table(file: SourceFile, settings: DataSettings) -> _Table:
    where = display_path(file)
    text = plain_text(read_all(file, settings), where).decode("utf-8", errors="replace")
    with suppress(pl.exceptions.PolarsError):  # what its parser is too strict for, Python's reads
        if (found := _of_list(text, where)) is not None:
            return found
    bars, zone = rows_in(text, where)
    with suppress(pl.exceptions.PolarsError):
        if (found := _of_list(json.dumps(bars), where)) is not None:
            return replace(found, zone=zone)
    raise DataError(
        f"{where}: truncated or no JSON of bars (a row is not like the others); correct it or download it again"
    )


def _of_list(text: str, where: str) -> _Table | None:
    """Columns of a list of objects or arrays; None where a text is something else.

    Raises:
        PolarsError: it is no valid JSON, or its rows do not fit together.
    """
    inner = text[1:].lstrip()[:1] if text.startswith("[") else ""
    if inner == "{":
        frame = pl.read_json(text.encode(), infer_schema_length=None)
        if not names_prices(frame.columns) and any(dtype.is_nested() for dtype in frame.dtypes):
            return None
        return _Table(by_position(frame, range(frame.width)), tuple(frame.columns))
    if inner == "[":
        return _Table(_arrays(pl.Series([text]).str.json_decode(pl.List(pl.List(pl.String))).explode(), where))
    return None


def _arrays(rows: pl.Series, where: str) -> pl.DataFrame:
    lengths = rows.list.len()
    if lengths.n_unique() > 1:
        odd = int((lengths != lengths.mode()[0]).arg_true()[0])
        raise DataError(
            f"{where}: row {odd + 1} has {lengths[odd]} values, most have {lengths.mode()[0]}; download it again"
        )
    return pl.DataFrame({str(index): rows.list.get(index) for index in range(int(lengths[0]))})
