"""Files of predictions in a registry: Parquet, whose footer says what they were made from."""

import io
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import IO, Any, Final, Self, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from job.sources.known import Reading
from job.storage.files import CONCURRENT_READS, Storage

T = TypeVar("T")

FOOTER: Final = b"ohlcv-predictions"
COMPRESSION: Final = "zstd"
_TIME: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [
        *((name, pa.dictionary(pa.int32(), pa.string())) for name in ("exchange", "symbol", "timeframe", "model_type")),
        *((name, _TIME) for name in ("timestamp", "available_at")),
        *((name, pa.float64()) for name in ("probability_down", "probability_up")),
        *((name, pa.string()) for name in ("prediction", "version")),
    ]
)
"""The key's columns are text of which each value is kept once."""


PLAIN: Final = pa.schema([(name, pa.string() if pa.types.is_dictionary(kind) else kind) for name, kind in
                          zip(SCHEMA.names, SCHEMA.types, strict=True)])  # fmt: skip
"""The same with all text as it is: equal values are equal then, whatever else a dictionary holds."""


@dataclass(frozen=True)
class Tail:
    """From where on rows of a file are made again, with the same bits, when bars have come.

    Bars from `since` on, both open times, warm up those from `start` on. `rows` are before `start`, and `counts` are of
    the bars before it.
    """

    since: datetime
    start: datetime
    rows: int
    counts: dict[str, int]

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self) | {"since": self.since.isoformat(), "start": self.start.isoformat()}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `record`; raises LookupError, TypeError or ValueError for anything else."""
        since, start = (datetime.fromisoformat(record[name]) for name in ("since", "start"))
        return cls(since, start, int(record["rows"]), dict(record["counts"]))


@dataclass(frozen=True)
class Footer:
    """What a file of predictions was made from, and what became of the bars.

    `fingerprint` is of all that decides the predictions but the bars, `content` of these, `listing` of the files that
    they came from (None where these could not show a change). `last` is the time at which the last bar closed.

    `reading` is what is known of the series. A file to which rows were added was made without reading all bars, whose
    `content` is not known then: the digest of `reading` stands for it. `tail` is None where rows cannot be added.
    """

    fingerprint: str
    content: str
    listing: str | None
    version: str
    rows: int
    last: str
    counts: dict[str, int]
    reading: Reading | None = None
    tail: Tail | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        records = {name: one and one.record() for name, one in (("reading", self.reading), ("tail", self.tail))}
        return vars(self) | records

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `record`; a reading or tail that another release wrote in its own way is not known."""
        reading, tail = _known(Reading.of_record, record.get("reading")), _known(Tail.of_record, record.get("tail"))
        return cls(**{**record, "reading": reading, "tail": tail})


def _known(read: Callable[[Any], T], record: Mapping[str, Any] | None) -> T | None:
    try:
        return read(record)
    except (LookupError, TypeError, ValueError):
        return None


def table_of(frame: pl.DataFrame) -> pa.Table:
    """Return predictions with the columns of `SCHEMA` as Arrow has them."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(SCHEMA)


def write_predictions(registry: Storage, path: str, table: pa.Table, footer: Footer) -> int:
    """Write a file whole in place of what was there, and return its bytes: equal for equal predictions and footers.

    Args:
        registry: where to.
        path: in the registry.
        table: the columns of `SCHEMA`.
        footer: kept in the file.

    Raises:
        RegistryError: it cannot be written.
    """
    about = json.dumps(footer.record(), sort_keys=True, separators=(",", ":"))
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({FOOTER: about.encode()}), buffer, compression=COMPRESSION)
    registry.replace(path, buffer.getvalue())
    return buffer.tell()


def read_footers(registry: Storage, paths: Iterable[str]) -> dict[str, Footer]:
    """Return the footer of every file that exists and is one of predictions; of each only its end is read."""
    wanted = list(paths)
    with ThreadPoolExecutor(CONCURRENT_READS) as pool:
        footers = pool.map(lambda path: registry.look_into(path, _footer), wanted)
        return {path: footer for path, footer in zip(wanted, footers, strict=True) if footer is not None}


def read_predictions(registry: Storage, path: str) -> tuple[pa.Table, Footer | None]:
    """Return what `write_predictions` wrote.

    Raises:
        RegistryError: there is no such file.
        pyarrow.ArrowException: it is another or damaged.
    """
    with io.BytesIO(registry.read(path)) as file:
        table = pq.read_table(file, use_threads=False)
        file.seek(0)
        return table, _footer(file)


def _footer(file: IO[bytes]) -> Footer | None:
    """Return what a file says of itself, None where it is another or damaged."""
    try:
        about: dict[bytes, bytes] = pq.read_metadata(file).metadata or {}
        return Footer.of_record(json.loads(about[FOOTER]))
    except (pa.ArrowException, LookupError, TypeError, ValueError, AttributeError):
        return None
