"""The formats that can be read, as values in a table: adding one is adding its entry and its fixture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.core.paths import redact_url
from job.sources import tables, texts
from job.sources.series import Series, SourceFile
from job.sources.tables import Look, Raw

TEXT: Final = (".csv", ".txt", ".tsv")
PACKED: Final = (".gz", ".zip")
PACKING: Final = 0.4
"""Usual size of compressed bars as a share of the text."""


@dataclass(frozen=True)
class Format:
    """How files of one format are named, looked at and read.

    `look` tells the columns' names from as few bytes as it can, `values` reads whole columns by name, `read` reads the
    bars of a series. `bytes_per_row` is of uncompressed files.
    """

    name: str
    suffixes: tuple[str, ...]
    bytes_per_row: int
    look: Callable[[SourceFile, DataSettings], Look]
    values: Callable[[SourceFile, Sequence[str], DataSettings], pl.DataFrame]
    read: Callable[[SourceFile, Series, DataSettings], Raw]


def _text(name: str, bytes_per_row: int) -> Format:
    return Format(name, TEXT, bytes_per_row, texts.text_names, texts.text_values, texts.read_text)


FORMATS: Final[Mapping[str, Format]] = {
    entry.name: entry
    for entry in (
        Format("parquet", (".parquet", ".pq"), 30, tables.parquet_names, tables.parquet_columns, tables.read_parquet),
        Format(
            "feather",
            (".feather", ".arrow", ".ipc"),
            24,
            tables.feather_names,
            tables.feather_columns,
            tables.read_feather,
        ),
        Format("json", (".json",), 60, tables.json_names, tables.json_columns, tables.read_json),
        _text("csv", 55),
        _text("binance", 130),
        _text("cryptodatadownload", 80),
        _text("kraken", 60),
        _text("ninjatrader", 45),
    )
}


def suffix_of(path: str) -> str:
    """Suffix that tells the format, below any packing: `.json` of `BTC_USDT-5m.json.gz`, `` where there is none."""
    name = path.rsplit("/", 1)[-1].lower()
    while name.endswith(PACKED):
        name = name.rpartition(".")[0]
    return "." + name.rpartition(".")[2] if "." in name else ""


def format_of(path: str, forced: str = "auto") -> str | None:
    """Name of the format by the suffix, where `csv` stands for all text; None for any other suffix.

    With a `forced` format, that one, unless the suffix is of another kind of file.
    """
    suffix = suffix_of(path)
    fitting = [entry.name for entry in FORMATS.values() if suffix in entry.suffixes]
    if not fitting and path.lower().endswith(PACKED):
        fitting = ["csv", *FORMATS]
    if forced != "auto":
        return forced if forced in fitting else None
    return fitting[0] if fitting else None


def rows_by_size(file: SourceFile) -> int:
    """Estimate the rows of a file from its size."""
    packed = file.member is None and redact_url(file.url).lower().endswith(PACKED)
    return int(file.size / (FORMATS[file.format].bytes_per_row * (PACKING if packed else 1)))
