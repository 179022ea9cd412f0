"""Files that know their columns' types: Parquet, Feather, JSON; and bars made from any frame of a file's columns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final, cast

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.paths import redact_url
from job.sources.columns import BAR, KEYS, Indices, check_ohlc_order, numbered, numbers, printable, quoted, resolve
from job.sources.layouts import Edge
from job.sources.names import timeframe_of
from job.sources.series import Series, SourceFile
from job.sources.sheets import plain_text
from job.sources.times import utc
from job.storage.listing import content, opened


@dataclass(frozen=True)
class Raw:
    """Rows of one file as bars, not cleaned. `edge` is the end of a bar that `timestamp` marks."""

    bars: pl.DataFrame
    edge: Edge


@dataclass(frozen=True)
class Look:
    """What the beginning of a file shows: its format and, where columns have names, these and the first row as text."""

    format: str
    names: tuple[str, ...] = ()
    first: tuple[str, ...] = ()


KLINES_WIDTH: Final = 12

MOST_UNPACKED: Final = 200
"""Times its packed size beyond which a file is taken for a bomb: bars come to some 20, Deflate can make 1032 of it."""

LONGEST_REASON: Final = 200

FEW_BYTES: Final = 1 << 24
"""Unpacked size that no file is refused for."""


def display_path(file: SourceFile) -> str:
    """Name of a file in messages."""
    return printable(f"{redact_url(file.url)}/{file.member}" if file.member else redact_url(file.url))


def read_all(file: SourceFile, settings: DataSettings) -> bytes:
    """Decompressed bytes of a text file.

    Raises:
        DataError: as `content`, or it unpacks to so much that it cannot hold bars.
    """
    packed = file.size > 0 and file.member is None and redact_url(file.url).lower().endswith((".gz", ".zip"))
    most = FEW_BYTES + MOST_UNPACKED * file.size if packed else -1
    data = content(file.url, file.member, settings.options, limit=most)
    if len(data) == most:
        raise bomb(file)
    return data


def bomb(file: SourceFile) -> DataError:
    """Error for an archive that unpacks to too much."""
    return DataError(
        f"{display_path(file)}: unpacks to more than {MOST_UNPACKED} times its size, as bars do not; "
        "download it again, or unpack it first if it is right"
    )


@contextmanager
def as_data_errors(file: SourceFile) -> Iterator[None]:
    """Turn what Polars and Arrow raise on values that they cannot hold into a `DataError` that names the file."""
    try:
        yield
    except (pa.ArrowException, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise DataError(
            f"{display_path(file)}: cannot be understood: {_reason(error)}; write it again with plain columns"
        ) from None


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return printable(text[:LONGEST_REASON])


def bars_of(frame: pl.DataFrame, indices: Indices, series: Series, settings: DataSettings, where: str) -> pl.DataFrame:
    """Bars of one series from columns of a file.

    Args:
        frame: the columns of `indices`, of any type, named by their position in the file: `0`, `1`, …
        indices: positions by name.
        series: whose rows to take where the file holds several.
        settings: `timezone` of times without one.
        where: the file, for errors.

    Returns:
        `timestamp` Datetime("us", "UTC"), prices and, where the file has it, volume as Float64, in the file's order.

    Raises:
        DataError: text stands in a number, no time in a time, or several series in one that nothing tells apart.
    """
    own = _own_rows(frame, indices, series, where)
    given = [own[str(index)].alias("timestamp") for index in indices["timestamp"]]
    times = given[0] if len(given) == 1 else given[0].cast(pl.String) + " " + given[1].cast(pl.String)
    timestamp = utc(times, zone=settings.timezone, where=f"{where}: column 'timestamp'")
    values = [numbers(own[str(indices[name][0])].alias(name), where) for name in BAR[1:] if name in indices]
    return pl.DataFrame([timestamp, *values])


def _own_rows(frame: pl.DataFrame, indices: Indices, series: Series, where: str) -> pl.DataFrame:
    """Rows of `series` by the columns that tell series apart."""
    chosen = {"symbol": series.symbol_column, "exchange": series.exchange_column, "timeframe": series.timeframe_column}
    for key in KEYS:
        if key not in indices:
            continue
        column = frame[str(indices[key][0])].cast(pl.String).str.strip_chars()
        if chosen[key] is not None:
            frame = frame.filter(_means(column, key, series))
        elif (several := sorted(column.drop_nulls().unique())[:4])[1:]:
            raise DataError(
                f"{where}: holds several {key}s ({', '.join(several)}) under one name; split it, or rename it"
            )
    return frame


def _means(column: pl.Series, key: str, series: Series) -> pl.Series:
    wanted = {"symbol": series.symbol, "exchange": series.exchange, "timeframe": series.timeframe}[key]
    if key != "timeframe":
        return column == wanted
    return column.is_in([text for text in column.drop_nulls().unique() if timeframe_of(text) == wanted])


@contextmanager
def _arrow_file(file: SourceFile, settings: DataSettings, kind: str) -> Iterator[IO[bytes]]:
    """Open a file for Arrow, whose complaints become a `DataError`."""
    with opened(file.url, settings.options) as handle:
        try:
            yield handle
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                raise  # of the storage: Arrow's own, on content that it cannot read, have no number
            raise DataError(
                f"{display_path(file)}: truncated or no {kind} file ({_reason(error)}); download or write it again"
            ) from None


def _frame(table: pa.Table, where: str) -> pl.DataFrame:
    """Columns of an Arrow table, of the types that bars are written in.

    Raises:
        DataError: a column is of another type, or its times are beyond all bounds; some of these Polars dies of.
    """
    names = list(dict.fromkeys(table.column_names))
    columns = [_plain(table.column(table.column_names.index(name)), name, where) for name in names]
    return cast("pl.DataFrame", pl.from_arrow(pa.table(columns, names=names)))


def _plain(column: pa.ChunkedArray, name: str, where: str) -> pa.ChunkedArray:
    """Column with values instead of a dictionary of them, instants in UTC, wide decimals as floats, bytes as text."""
    kind = column.type
    try:
        if pa.types.is_dictionary(kind) and not _is_text(kind.value_type):
            return _plain(column.cast(kind.value_type), name, where)
        if pa.types.is_timestamp(kind):
            unit = "us" if kind.unit == "s" else kind.unit
            naive = column.cast(pa.int64()).cast(pa.timestamp(kind.unit)).cast(pa.timestamp(unit))
            return naive.cast(pa.timestamp(unit, "UTC")) if kind.tz else naive
        if pa.types.is_decimal256(kind):
            return column.cast(pa.float64())
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return column.cast(pa.large_string())
    except pa.ArrowInvalid:
        pass
    else:
        if _is_text(kind) or any(is_of(kind) for is_of in _PLAIN):
            return column
    raise DataError(
        f"{where}: column {name!r} holds {quoted(str(kind))[1:-1]}, neither numbers, text nor times; set data.columns"
    )


_PLAIN: Final = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal128,
    pa.types.is_boolean,
    pa.types.is_dictionary,
    pa.types.is_date,
    pa.types.is_null,
)


def _positions(frame: pl.DataFrame, wanted: Sequence[int]) -> pl.DataFrame:
    return frame.rename(dict(zip(frame.columns, map(str, wanted), strict=True)))


def _flat(indices: Indices) -> list[int]:
    return sorted({index for pair in indices.values() for index in pair})


def parquet_names(file: SourceFile, settings: DataSettings) -> Look:
    """Read the footer."""
    with _arrow_file(file, settings, "Parquet") as handle:
        return Look("parquet", tuple(pq.read_schema(handle).names))


def parquet_columns(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name."""
    with _arrow_file(file, settings, "Parquet") as handle:
        table = pq.ParquetFile(handle, page_checksum_verification=True).read(columns=list(names))
    return _frame(table, display_path(file)).select(names)


def read_parquet(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read a series from Parquet: only its columns and, where row groups are sorted by symbol, only its row groups."""
    where = display_path(file)

    def bars(own: list[tuple[str, str, str]] | None) -> pl.DataFrame:
        table = pq.read_table(handle, columns=names, filters=own, page_checksum_verification=True)
        frame = _positions(_frame(table, where).select(names), _flat(indices))
        return bars_of(frame, indices, series, settings, where)

    with _arrow_file(file, settings, "Parquet") as handle:
        schema = pq.read_schema(handle)
        indices = resolve(schema.names, settings.columns, where)
        names = [schema.names[index] for index in _flat(indices)]
        by_symbol = series.symbol_column if series.symbol_column in names else None
        if by_symbol is None or not _is_text(schema.field(by_symbol).type):
            return Raw(bars(None), "open")
        found = bars([(by_symbol, "==", series.symbol)])
        whole_series = file.rows is None or found.height >= file.rows  # less where blanks surround the symbol
        return Raw(found if whole_series else bars(None), "open")


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def feather_names(file: SourceFile, settings: DataSettings) -> Look:
    """Read the schema."""
    with _arrow_file(file, settings, "Feather") as handle:
        return Look("feather", tuple(pa.ipc.open_file(handle).schema.names))


def feather_columns(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name."""
    with _arrow_file(file, settings, "Feather") as handle:
        schema = pa.ipc.open_file(handle).schema
        options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in names])
        table = pa.ipc.open_file(handle, options=options).read_all()
    return _frame(table, display_path(file)).select(names)


def read_feather(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read a series from Feather (Arrow IPC), as freqtrade writes it."""
    names = feather_names(file, settings).names
    indices = resolve(names, settings.columns, display_path(file))
    frame = feather_columns(file, [names[index] for index in _flat(indices)], settings)
    return Raw(bars_of(_positions(frame, _flat(indices)), indices, series, settings, display_path(file)), "open")


def read_json(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read JSON: arrays of time, open, high, low, close, volume as ccxt gives them, Binance's of twelve, or objects.

    Raises:
        DataError: it is something else, or unnamed values do not behave as bars.
    """
    where = display_path(file)
    frame, names = _json_frame(file, settings)
    if names:
        indices = resolve(names, settings.columns, where)
        return Raw(bars_of(frame, indices, series, settings, where), "open")
    if frame.width not in {len(BAR) - 1, len(BAR), KLINES_WIDTH} and not settings.columns:
        raise DataError(
            f"{where}: arrays of {frame.width} values without names; set data.columns to their numbers from 1"
        )
    indices = {name: (index,) for index, name in enumerate(BAR[: frame.width])}
    indices |= numbered(settings.columns, frame.width, where)
    bars = bars_of(frame, indices, series, settings, where)
    if not settings.columns and (reason := check_ohlc_order(bars)):
        raise DataError(f"{where}: {reason}; set data.columns to their numbers, such as {{open: '2', close: '3'}}")
    return Raw(bars, "open")


def json_columns(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns by name."""
    frame, known = _json_frame(file, settings)
    return frame.select(pl.col(str(known.index(name))).alias(name) for name in names)


def json_names(file: SourceFile, settings: DataSettings) -> Look:
    """Read keys where rows are objects; they stand only in the text itself."""
    start = content(file.url, file.member, settings.options, limit=512).lstrip()
    if start[1:].lstrip().startswith(b"{"):
        return Look("json", _json_frame(file, settings)[1])
    return Look("json")


def _json_frame(file: SourceFile, settings: DataSettings) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Columns by position, as text where rows are arrays, and their names where rows are objects."""
    where = display_path(file)
    text = plain_text(read_all(file, settings), where).decode("utf-8", errors="replace")
    inner = text[1:].lstrip()[:1] if text.startswith("[") else ""
    try:
        if inner == "{":
            frame = pl.read_json(text.encode(), infer_schema_length=None)
            return _positions(frame, range(frame.width)), tuple(frame.columns)
        if inner == "[":
            return _arrays(pl.Series([text]).str.json_decode(pl.List(pl.List(pl.String))).explode(), where), ()
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{where}: truncated or no JSON ({_reason(error)}); download it again") from None
    raise DataError(f"{where}: expected a list of bars, found {text[:60]!r}; download it again")


def _arrays(rows: pl.Series, where: str) -> pl.DataFrame:
    lengths = rows.list.len()
    if lengths.n_unique() > 1:
        odd = int((lengths != lengths.mode()[0]).arg_true()[0])
        raise DataError(
            f"{where}: row {odd + 1} has {lengths[odd]} values, most have {lengths.mode()[0]}; download it again"
        )
    return pl.DataFrame({str(index): rows.list.get(index) for index in range(int(lengths[0]))})
