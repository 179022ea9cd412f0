"""Parquet and Feather, read by Arrow: only the columns and row groups that are needed."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO, Final, cast

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.access import display_path, open_file, reason
from job.sources.bars import Look, Raw, by_position, raw_of
from job.sources.columns.flow import flow_columns
from job.sources.columns.named import positions, resolve
from job.sources.series import Series, SourceFile
from job.sources.words import quoted


@dataclass(frozen=True)
class ArrowFormat:
    """A format that Arrow reads: its name, and how the schema and whole columns of an open file are read."""

    name: str
    schema: Callable[[IO[bytes]], pa.Schema]
    table: Callable[[IO[bytes], list[str]], pa.Table]

    @contextmanager
    def opened(self, file: SourceFile, settings: DataSettings) -> Iterator[IO[bytes]]:
        """Open a file for Arrow, whose complaints become a `DataError`."""
        with open_file(file, settings) as handle:
            try:
                yield handle
            except (pa.ArrowException, OSError) as error:
                if isinstance(error, OSError) and (type(error) is not OSError or error.errno is not None):
                    raise  # of the storage: Arrow's own errors, on content that it cannot read, have no number
                raise DataError(
                    f"{display_path(file)}: truncated or no {self.name} file ({reason(error)}); "
                    "download or write it again"
                ) from None

    def look(self, file: SourceFile, settings: DataSettings) -> Look:
        """Read the schema."""
        with self.opened(file, settings) as handle:
            schema = self.schema(handle)
            words = (field.name for field in schema if _is_text(getattr(field.type, "value_type", field.type)))
            return Look(self.name.lower(), tuple(schema.names), text=tuple(words))

    def columns(self, file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
        """Read whole columns by name."""
        with self.opened(file, settings) as handle:
            table = self.table(handle, list(names))
        return _frame(table, display_path(file)).select(names)


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


PARQUET: Final = ArrowFormat(
    "Parquet",
    pq.read_schema,
    lambda handle, names: pq.ParquetFile(handle, page_checksum_verification=True).read(columns=names),
)


def read_parquet(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read a series from Parquet: only its columns and, where row groups are sorted by symbol, only its row groups."""
    where = display_path(file)

    def bars(own: list[tuple[str, str, str]] | None) -> Raw:
        table = pq.read_table(handle, columns=names, filters=own, page_checksum_verification=True)
        frame = by_position(_frame(table, where).select(names), positions(indices))
        raw = raw_of(frame, indices, series, settings, where, schema.names)
        return replace(raw, zone=_zone(schema.field(indices["timestamp"][0])))

    with PARQUET.opened(file, settings) as handle:
        schema = PARQUET.schema(handle)
        indices = resolve(schema.names, settings.columns, where)
        indices = flow_columns(indices, schema.names, settings.columns, wanted=series.flow)
        names = [schema.names[index] for index in positions(indices)]
        by_symbol = series.symbol_column if series.symbol_column in names else None
        if by_symbol is None or not _is_text(schema.field(by_symbol).type):
            return bars(None)
        found = bars([(by_symbol, "==", series.symbol)])
        whole_series = file.rows is None or found.bars.height >= file.rows  # less where blanks surround the symbol
        return found if whole_series else bars(None)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _feather_table(handle: IO[bytes], names: list[str]) -> pa.Table:
    schema = pa.ipc.open_file(handle).schema
    options = pa.ipc.IpcReadOptions(included_fields=[schema.get_field_index(name) for name in names])
    return pa.ipc.open_file(handle, options=options).read_all()


FEATHER: Final = ArrowFormat("Feather", lambda handle: pa.ipc.open_file(handle).schema, _feather_table)


def read_feather(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read a series from Feather (Arrow IPC), as freqtrade writes it."""
    with FEATHER.opened(file, settings) as handle:
        schema = FEATHER.schema(handle)
    names = schema.names
    indices = resolve(names, settings.columns, display_path(file))
    indices = flow_columns(indices, names, settings.columns, wanted=series.flow)
    frame = FEATHER.columns(file, [names[index] for index in positions(indices)], settings)
    raw = raw_of(by_position(frame, positions(indices)), indices, series, settings, display_path(file), names)
    return replace(raw, zone=_zone(schema.field(indices["timestamp"][0])))


def _zone(field: pa.Field) -> str | None:
    return field.type.tz if pa.types.is_timestamp(field.type) else None
