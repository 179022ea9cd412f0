"""What a search for bars finds: series, and the files that hold them."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from job.config.settings import DataSettings
from job.core.errors import DataError

Split = tuple[date, float]
"""From which day on there are how many shares for an old one."""

WILL_FAIL: Final = "will fail: "
"""What a note begins with that tells which series will fail, as far as the headers of their files show."""


@dataclass(frozen=True)
class SourceFile:
    """A file, or one member of a zip archive, as it was listed.

    `size` is in bytes, of the member where there is one. `stamp` is the ETag or time of change, empty where the
    storage has neither; `modified` is when it was last changed, in seconds since 1970, None where the storage does not
    say. `format` is an entry of `FORMATS`. `rows` is the number of rows of the series in this file,
    where that was seen on the way. `unread` are the columns that are read as nothing, `labels` those of them that hold
    text, as far as a look showed them. `without` names entries of `data.columns` that do not concern this file: other
    files have the columns that they name.
    """

    url: str
    size: int
    stamp: str
    format: str
    member: str | None = None
    rows: int | None = None
    unread: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    modified: float | None = None

    def settings(self, data: DataSettings) -> DataSettings:
        """Return the settings by which this file is read: without the columns that only others have."""
        if not self.without:
            return data
        columns = {name: column for name, column in data.columns.items() if name not in self.without}
        return data.model_copy(update={"columns": columns})


@dataclass(frozen=True)
class Series:
    """All files with bars of one symbol on one exchange.

    Where a file holds several series, the columns named here tell them apart: rows belong whose `symbol_column` holds
    `symbol`, whose `exchange_column` holds `exchange` and whose `timeframe_column` means `timeframe`. `timeframe` is
    what names and columns say, None where they say nothing. `splits` are those that `data.splits` declares. `flow` says
    that the columns of `transforms.bars.FLOW` are to be read, too.
    """

    exchange: str
    symbol: str
    timeframe: str | None
    files: tuple[SourceFile, ...]
    symbol_column: str | None = None
    exchange_column: str | None = None
    timeframe_column: str | None = None
    splits: tuple[Split, ...] = ()
    flow: bool = False

    def __str__(self) -> str:
        return f"{self.exchange}/{self.symbol}"

    def __hash__(self) -> int:
        """Hash what tells most series apart: those of a year of daily files are looked up as fast as any other."""
        return hash((self.exchange, self.symbol, self.timeframe))


@dataclass(frozen=True)
class Found:
    """Series sorted by exchange and symbol; `problems` fail one symbol each, `notes` tell what was left out and why."""

    series: tuple[Series, ...]
    problems: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
