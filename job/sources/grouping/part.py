"""Parts: the bars of one series in one file, and files of which nothing can be made."""

from dataclasses import dataclass
from typing import Final

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.names.paths import Name
from job.sources.series import SourceFile

UNKNOWN: Final = "unknown"
"""Exchange of files that do not name one."""


@dataclass(frozen=True)
class Part:
    """One file's bars of one series.

    `stated` means that the exchange stands in the path or a column as such; `market`, `number` and `by_folder` are
    those of `Name`. `path` is that of the file, in which a member of an archive stands beside it.
    """

    exchange: str
    symbol: str
    timeframe: str | None
    file: SourceFile
    stated: bool = False
    symbol_column: str | None = None
    exchange_column: str | None = None
    timeframe_column: str | None = None
    market: str | None = None
    number: str | None = None
    by_folder: bool = False
    path: str = ""
    names: tuple[str, ...] | None = None
    """Names of the file's columns, None where it was not looked into."""


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be understood, and the symbol that its name says; `empty` means that nothing is in it."""

    exchange: str
    symbol: str
    problem: DataError
    empty: bool = False


@dataclass(frozen=True)
class Parts:
    """Parts of series, files that cannot be understood, and notes on those left out."""

    good: list[Part]
    bad: list[Unreadable]
    notes: list[str]


def part_of(file: SourceFile, name: Name, path: str, settings: DataSettings) -> Part:
    """Make a part of a whole file, by what its name says."""
    exchange = name.exchange if name.stated else settings.exchange or name.exchange
    return Part(
        exchange or UNKNOWN,
        name.symbol,
        name.timeframe,
        file,
        stated=name.stated,
        market=name.market,
        number=name.number,
        by_folder=name.by_folder,
        path=path,
    )
