"""The formats that can be read, one entry each: how its files are named, looked at and read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from job.config.settings import DataSettings
from job.sources.access import as_data_errors
from job.sources.bars import Look, Raw
from job.sources.names.paths import Name, freqtrade_name, hive_name, plain_name
from job.sources.readers.arrow import FEATHER, PARQUET, read_feather, read_parquet
from job.sources.readers.json_rows import json_columns, look_at_json, read_json
from job.sources.readers.layouts import LAYOUTS, USUAL
from job.sources.readers.texts import look_at_text, read_text, text_values
from job.sources.series import Series, SourceFile
from job.storage.messages import with_retries
from job.storage.opening import PACKED

TEXT_SUFFIXES: Final = (".csv", ".txt", ".tsv")


@dataclass(frozen=True)
class FileFormat:
    """How files of one format are named, looked at and read.

    `suffixes` are in lower case; they tell the format, and are cut from a file's name where that names the symbol.
    `bytes_per_row` is of uncompressed files. `look` reads the columns' names from as few bytes as it can, `values`
    reads whole columns by name, `read` reads the bars of a series.
    """

    name: str
    suffixes: tuple[str, ...]
    bytes_per_row: int
    look: Callable[[SourceFile, DataSettings], Look]
    values: Callable[[SourceFile, Sequence[str], DataSettings], pl.DataFrame]
    read: Callable[[SourceFile, Series, DataSettings], Raw]


FORMATS: Final[dict[str, FileFormat]] = {
    entry.name: entry
    for entry in (
        FileFormat("parquet", (".parquet", ".pq"), 30, PARQUET.look, PARQUET.columns, read_parquet),
        FileFormat("feather", (".feather", ".arrow", ".ipc"), 24, FEATHER.look, FEATHER.columns, read_feather),
        FileFormat("json", (".json", ".jsonl", ".ndjson"), 60, look_at_json, json_columns, read_json),
        *(
            FileFormat(layout.name, TEXT_SUFFIXES, layout.bytes_per_row, look_at_text, text_values, read_text)
            for layout in LAYOUTS.values()
        ),
    )
}


def read_file(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
    """Read the bars of a series from one of its files, again while its storage fails by what is transient.

    Raises:
        DataError: it cannot be read; the message names it and what to do.
    """
    settings = file.settings(settings)
    with as_data_errors(file):
        return with_retries(file.url, settings.options, lambda: FORMATS[file.format].read(file, series, settings))


def read_columns(file: SourceFile, names: Sequence[str], settings: DataSettings) -> pl.DataFrame:
    """Read whole columns of a file by their names in it, again while its storage fails by what is transient."""
    return with_retries(file.url, settings.options, lambda: FORMATS[file.format].values(file, names, settings))


def format_of(path: str, forced: str = "auto") -> str | None:
    """Name of the format by the suffix, where the usual layout stands for all text; None for any other suffix.

    With a `forced` format, that one, unless the suffix is of another kind of file.
    """
    name = path.lower()
    while name.endswith(PACKED):
        name = name.rpartition(".")[0]
    fitting = [entry.name for entry in FORMATS.values() if name.endswith(entry.suffixes)]
    if not fitting and path.lower().endswith(PACKED):
        fitting = [USUAL.name, *FORMATS]
    if forced != "auto":
        return forced if forced in fitting else None
    return fitting[0] if fitting else None


def stem_of(path: str) -> str:
    """File name without folders and the suffixes of packing and of all formats: `BTC-5m` of `x/BTC-5m.json.gz`."""
    stem = path.rsplit("/", 1)[-1]
    suffixes = (*PACKED, *(suffix for entry in FORMATS.values() for suffix in entry.suffixes))
    while suffix := next((suffix for suffix in suffixes if stem.lower().endswith(suffix)), None):
        stem = stem[: -len(suffix)]
    return stem


def name_of(path: str, seen: str = "") -> Name:
    """Read a path, its folders included: by the first convention of names that is certain, else as any other.

    A file that is `seen` to be in a vendor's layout is read as that vendor names files, where that fits.
    """
    stem = stem_of(path)
    if seen in LAYOUTS and (name := LAYOUTS[seen].read_name(path, stem)) is not None:
        return name
    for read in (hive_name, freqtrade_name):  # first, since the coin of GATE_USDT-1m is called as an exchange is
        if (name := read(path, stem)) is not None:
            return name
    for layout in LAYOUTS.values():
        if (name := layout.read_name(path, stem)) is not None and name.certain:
            return replace(name, layout=layout.name)
    return plain_name(path, stem)
