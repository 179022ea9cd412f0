"""Series that columns of a file tell apart: by their symbols, exchanges and timeframes."""

from collections.abc import Iterator
from dataclasses import replace

import polars as pl

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.timeframes import timeframe_of
from job.core.wording import first_of
from job.sources.access import display_path
from job.sources.bars import Look
from job.sources.columns.named import COLUMN_ALIASES, KEYS, given
from job.sources.formats import read_columns
from job.sources.grouping.part import Part, part_of
from job.sources.names.paths import Name
from job.sources.names.symbols import normalize_symbol
from job.sources.series import SourceFile
from job.sources.words import LONGEST_QUOTE, normal, printable


def by_columns(file: SourceFile, name: Name, path: str, look: Look, settings: DataSettings) -> Iterator[Part]:
    """Yield one part for each exchange, symbol and timeframe that columns of a file hold; else the one of its name."""
    by_alias = {normal(column): column for column in reversed(look.names)}
    found = {key: next((by_alias[alias] for alias in COLUMN_ALIASES[key] if alias in by_alias), None) for key in KEYS}
    mapped = {key: column for key, column in given(settings.columns).items() if key in KEYS and column in look.names}
    columns = {key: column for key, column in found.items() if column is not None} | mapped
    part = part_of(file, name, path, settings)
    first = dict(zip(look.names, look.first, strict=False)).get(columns.get("symbol", ""), "")
    # Where the file's name and its first row agree on the symbol, the rest need not be read to know it.
    if "symbol" not in columns or (first and normalize_symbol(first) == normalize_symbol(name.symbol)):
        yield part
        return
    values = read_columns(file, list(columns.values()), settings)
    text = values.select(pl.col(column).cast(pl.String).str.strip_chars().alias(key) for key, column in columns.items())
    for key, column in columns.items():
        if absent := int((text[key].fill_null("") == "").sum()):
            raise DataError(
                f"{display_path(file)}: {absent} rows have no {column!r}; complete them, or leave the column out"
            )
    timeframes = {value: timeframe_of(value) for value in text["timeframe"].unique()} if "timeframe" in text else {}
    if len(timeframes) > 1 and None in timeframes.values():
        names = first_of((printable(name[:LONGEST_QUOTE]) for name in sorted(timeframes)), 4)
        raise DataError(
            f"{display_path(file)}: not every {columns['timeframe']!r} is a timeframe ({names}); split the file"
        )
    for row in text.group_by(list(columns)).len().sort(list(columns)).iter_rows(named=True):
        yield replace(
            part,
            file=replace(file, rows=row["len"]),
            symbol=row["symbol"],
            exchange=row.get("exchange", part.exchange),
            timeframe=timeframes.get(row["timeframe"]) if timeframes else part.timeframe,
            stated=part.stated or "exchange" in columns,
            symbol_column=columns["symbol"],
            exchange_column=columns.get("exchange"),
            timeframe_column=columns.get("timeframe") if len(timeframes) > 1 else None,
        )
