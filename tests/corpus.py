"""Malformed bars and settings as values in tables, and the one way in which all of them are tried.

A case says how its input is made and which words its refusal must hold. Cases that other tests have, such as truncated
files of every format, are not repeated here.
"""

import decimal
import gzip
import io
import json
import os
import resource
import struct
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

from job import RayModelTrainer
from job.cli import main, parse
from job.cli.options import run_settings
from job.core.errors import JobError
from tests.vendors import make_bars

Make = Callable[[Path], object]
"""Writes an input into an empty folder."""

HEAD: Final = "time,open,high,low,close,volume\n"
RUNS: Final = frozenset({"os.exec", "os.fork", "os.posix_spawn", "os.startfile", "os.system", "subprocess.Popen"})
CHANGES: Final = frozenset(
    {"os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate", "os.utime"}
)
LOADS: Final = frozenset({"pickle.find_class"})
WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
MOST_MB: Final = 400
"""How far the peak of the process may rise for one case; imports take a third of it."""


@dataclass(frozen=True)
class BadFile:
    """Bars that no model can be trained on. `arguments` are added to the command line."""

    name: str
    make: Make
    says: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    status: int = 3


@dataclass(frozen=True)
class BadSetting:
    """A settings file, or arguments, that no run can be made of."""

    name: str
    says: tuple[str, ...]
    text: str | bytes = ""
    arguments: tuple[str, ...] = ()


@dataclass
class Traces:
    """What Python itself did beside reading: programs run, pickles' names looked up, files changed outside `inside`."""

    inside: Path
    heard: list[str] = field(default_factory=list)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in RUNS | LOADS:
            self.heard.append(f"{event} {arguments}")
        elif event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | Path) else ""
            if path and not Path(path).absolute().is_relative_to(self.inside) and "__pycache__" not in path:
                self.heard.append(f"{event} {path}")


_listening: list[Traces] = []


@cache
def _install() -> None:
    """Hooks cannot be taken out again; this one is silent while nobody listens."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        for traces in _listening:
            traces.hear(event, arguments)

    sys.addaudithook(hook)


@contextmanager
def traces(inside: Path) -> Iterator[list[str]]:
    """Collect what is done that reading bars or a model has no need of."""
    _install()
    one = Traces(inside)
    _listening.append(one)
    try:
        yield one.heard
    finally:
        _listening.remove(one)


def snapshot(root: Path, *, without: Path) -> dict[str, tuple[float, bytes]]:
    """Return time and content of everything below `root`, links by their target, but for what is below `without`."""
    return {
        str(path): (
            path.lstat().st_mtime,
            path.read_bytes() if path.is_file() else os.fsencode(path.readlink()) if path.is_symlink() else b"",
        )
        for path in sorted(root.rglob("*"))
        if not path.is_relative_to(without)
    }


def peak_mb() -> float:
    """Return the most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def refuse(arguments: Sequence[str], said: Callable[[], str]) -> tuple[int, list[str]]:
    """Plan, and where nothing speaks against it read the series; return the exit status and the errors.

    Args:
        arguments: of the command line.
        said: returns what was written to stderr.
    """
    status = main(["plan", *arguments])
    errors = [line.partition(" ERROR   ")[2] or line for line in said().splitlines() if " INFO " not in line]
    if status == 0:
        try:
            RayModelTrainer(run_settings(parse(["plan", *arguments]))).training_data("analyst", "1m")
        except JobError as error:
            return error.exit_status, [str(error)]
    return status, errors


@cache
def bars() -> pl.DataFrame:
    return make_bars()


@cache
def csv() -> str:
    return bars().write_csv()


def put(name: str, content: Callable[[], str | bytes]) -> Make:
    """Write a file whose content is made when it is needed."""

    def make(folder: Path) -> None:
        data = content()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())

    return make


def first_row() -> str:
    return "\n".join(csv().splitlines()[:2])


def text(content: Callable[[], str | bytes]) -> Make:
    return put("BTCUSDT-1m.csv", content)


def changed(old: str, new: str, count: int = -1) -> Make:
    """Write good bars with `new` for `old`."""
    return text(lambda: csv().replace(old, new, count))


def rows(*lines: str) -> Make:
    return text(lambda: HEAD + "\n".join(f"{line},1,2,0.5,1,5" for line in lines) + "\n")


def frame(**columns: pl.Expr) -> Make:
    """Write Parquet with some columns changed."""
    return lambda folder: bars().with_columns(**columns).write_parquet(folder / "BTCUSDT-1m.parquet")


def column(name: str, values: Callable[[], pa.Array]) -> Make:
    """Write Feather with the values of one column changed."""

    def make(folder: Path) -> None:
        table = bars().to_arrow()
        pyarrow.feather.write_feather(
            table.set_column(table.schema.get_field_index(name), name, values()), folder / "BTCUSDT-1m.feather"
        )

    return make


def each(value: Callable[[float], object], kind: pa.DataType | None = None) -> pa.Array:
    return pa.array([value(number) for number in bars()["close"]], kind)


def named(columns: Callable[[pa.Table], list[tuple[str, pa.ChunkedArray]]]) -> Make:
    """Write Parquet with any columns, also two of one name."""

    def make(folder: Path) -> None:
        pairs = columns(bars().to_arrow())
        table = pa.Table.from_arrays([values for _, values in pairs], names=[name for name, _ in pairs])
        pq.write_table(table, folder / "BTCUSDT-1m.parquet")

    return make


def parquet(change: Callable[[bytearray], object]) -> Make:
    """Write Parquet with some bytes changed."""

    def content() -> bytes:
        buffer = io.BytesIO()
        pq.write_table(bars().to_arrow(), buffer)
        data = bytearray(buffer.getvalue())
        change(data)
        return bytes(data)

    return put("BTCUSDT-1m.parquet", content)


def packed(members: Callable[[], Sequence[tuple[str, str | bytes]]]) -> Make:
    """Write a zip archive."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "BTCUSDT-1m.zip", "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # two members of one name
            for name, content in members():
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)

    return make


def altered_zip(local: int, central: int, value: bytes) -> Make:
    """Write a zip archive with bytes changed at these places of its local and its central header."""

    def make(folder: Path) -> None:
        packed(lambda: [("BTCUSDT-1m.csv", csv())])(folder)
        path = folder / "BTCUSDT-1m.zip"
        data = bytearray(path.read_bytes())
        start = data.find(b"PK\x01\x02")
        for place in (local, start + central):
            data[place : place + len(value)] = value
        path.write_bytes(data)

    return make


def bomb() -> bytes:
    """Bars of one minute, over and over: 150 MB in a file of half a megabyte."""
    first = csv().splitlines()
    return gzip.compress(f"{first[0]}\n".encode() + f"{first[1]}\n".encode() * 2_200_000, 9)


def arrays(change: Callable[[list[Any]], object]) -> Make:
    """Write JSON arrays as ccxt gives them, changed."""

    def content() -> str:
        times = bars()["timestamp"].dt.epoch("ms")
        values = [[time, *row[1:]] for time, row in zip(times, bars().rows(), strict=True)]
        change(values)
        return json.dumps(values)

    return put("BTCUSDT-1m.json", content)


def json_text(content: str) -> Make:
    return put("BTCUSDT-1m.json", lambda: content)


def circle(folder: Path) -> None:
    (folder / "a.csv").symlink_to("b.csv")
    (folder / "b.csv").symlink_to("a.csv")


def alternating() -> str:
    return "\n".join(line.replace(",", ";") if number % 2 else line for number, line in enumerate(csv().splitlines()))


def symbols(values: pl.Expr, name: str = "all-1m.parquet") -> Make:
    return lambda folder: bars().with_columns(symbol=values).write_parquet(folder / name)


def setting(key: str, value: str) -> tuple[str, str]:
    return "--set", f"{key}={value}"


NEW_YORK: Final = setting("data.timezone", "America/New_York")
CSV: Final = "BTCUSDT-1m.csv"
PARQUET: Final = "BTCUSDT-1m.parquet"
FEATHER: Final = "BTCUSDT-1m.feather"
JSON: Final = "BTCUSDT-1m.json"
ZIP: Final = "BTCUSDT-1m.zip"
NO_FILES: Final = ("bars: no such file, or no files there", "set data.input")
NO_TIME: Final = ("is not a time; correct it or set data.columns.timestamp",)
NO_NUMBER: Final = "is not a number; correct the row"
TOO_MUCH: Final = "unpacks to more than 200 times its size"
NO_PARQUET: Final = (PARQUET, "truncated or no Parquet file", "download or write it again")
NO_FEATHER: Final = (FEATHER, "truncated or no Feather file", "download or write it again")
NO_JSON: Final = (JSON, "truncated or no JSON", "download it again")
NO_LIST: Final = (JSON, "expected a list of bars, found", "download it again")
NO_TEXT: Final = (CSV, "this is no text; set data.format")
NO_DELIMITER: Final = (CSV, "no delimiter (comma, semicolon, tab, |)", "it begins with")
DAMAGED: Final = ("truncated or damaged archive", "download it again")
NOT_OF: Final = "not of 1900 to 2200; correct it or set data.columns.timestamp"
NO_BARS: Final = "bars: no bars found; left out 1 file of no known format"


def all_rejected(rule: str) -> tuple[str, ...]:
    return (f"BTCUSDT: no usable bar among 480 rows ({rule} 480)", "check data.columns")


def no_type(name: str, kind: str) -> tuple[str, ...]:
    return (FEATHER, f"column {name!r} holds {kind}", "neither numbers, text nor times; set data.columns")


FILES: Final = (
    # Text
    BadFile("one row", text(first_row), ("BTCUSDT 1m: no usable sample (bars 1", "give more bars")),
    BadFile(
        "one row, no timeframe",
        put("BTCUSDT.csv", first_row),
        ("BTCUSDT: 1 distinct bar times", "set the timeframe"),
    ),
    BadFile(
        "NUL bytes far inside",
        text(lambda: csv()[:20_000] + "\0" * 5_000 + csv()[20_000:]),
        (CSV, "row 315", r"\x00", "…", *NO_TIME),
    ),
    BadFile("UTF-16 without mark", text(lambda: csv().encode("utf-16-le")), NO_TEXT),
    BadFile("UTF-32", text(lambda: csv().encode("utf-32")), NO_TEXT),
    BadFile(
        "Latin-1 header",
        text(lambda: csv().replace("open", "öpen", 1).encode("latin-1")),
        (CSV, "no column for open", "data.columns"),
    ),
    BadFile("two delimiters", text(alternating), (CSV, "row 2", *NO_TIME)),
    BadFile(
        "a row of another delimiter",
        changed("20:05:00.000000+0000,", "20:05:00.000000+0000;"),
        (CSV, "row 6", *NO_TIME),
    ),
    BadFile(
        "blanks for delimiters", changed(",", " "), (CSV, "no delimiter (comma, semicolon, tab, |)", "it begins with")
    ),
    BadFile(
        "unclosed quote", text(lambda: csv()[:5_000] + '"' + csv()[5_000:]), (CSV, "CSV malformed", "download it again")
    ),
    BadFile(
        "one field without end",
        text(lambda: csv() + "2025-01-01T04:00:00Z,1,1,1,1,1,1" + "x" * 200_000),
        (CSV, "download it again"),
    ),
    BadFile("one line without end", text(lambda: "x" * 5_000_000), (CSV, "no delimiter", "it begins with 'xxx")),
    BadFile("Mac line ends", text(lambda: csv().replace("\n", "\r")), (CSV, "no rows of BTCUSDT; check")),
    BadFile("footer", text(lambda: csv() + "Total,,,,,\n"), (CSV, "row 481: 'Total'", *NO_TIME)),
    BadFile(
        "pickle", text(lambda: b"\x80\x05cposix\nsystem\n(S'touch ran'\ntR."), (CSV, "no delimiter", "it begins with")
    ),
    BadFile("banner without end", text(lambda: "x\n" * 70 + csv()), (CSV, "no delimiter", "it begins with 'x'")),
    # Numbers
    BadFile("formula", changed("100.0,", "=1+1,", 1), (CSV, "column 'open', row 1: '=1+1'", NO_NUMBER)),
    BadFile("currency", changed("100.0,", "\u00a4100.0,", 1), (CSV, "column 'open', row 1: '\u00a4100.0'", NO_NUMBER)),
    BadFile("hexadecimal", changed("100.0,", "0x64,", 1), (CSV, "column 'open', row 1: '0x64'", NO_NUMBER)),
    BadFile(
        "Arabic digits",
        changed("100.0,", "\u0661\u0660\u0660,", 1),
        (CSV, "'\u0661\u0660\u0660' is not a number; write numbers with a decimal point"),
    ),
    BadFile("escape sequence", changed("100.0,", "\x1b[31m1,", 1), (CSV, r"'\x1b[31m1' is not a number")),
    BadFile("a text of a megabyte", changed("100.0,", "x" * 1_000_000 + ",", 1), (CSV, "xxx'… is not a number")),
    BadFile("NaN everywhere", frame(close=pl.lit(float("nan"))), all_rejected("not_finite")),
    BadFile("infinite everywhere", frame(high=pl.lit(float("inf"))), all_rejected("not_finite")),
    BadFile("nothing everywhere", frame(close=pl.lit(None)), all_rejected("not_finite")),
    BadFile(
        "negative prices",
        frame(**{name: -pl.col(name) for name in ("open", "high", "low", "close")}),
        all_rejected("non_positive_price"),
    ),
    BadFile("negative volumes", frame(volume=-pl.col("volume")), all_rejected("negative_volume")),
    BadFile(
        "a fifth without price",
        frame(close=pl.when(pl.int_range(pl.len()) % 5 > 0).then("close").otherwise(0.0)),
        ("BTCUSDT: 96 of 480 rows break a rule (non_positive_price 96)", "raise data.max_rejected (now 0.1)"),
    ),
    BadFile("huge whole numbers", column("close", lambda: each(lambda _: 2**63 - 1)), all_rejected("outside_range")),
    # Times
    BadFile(
        "year 3000",
        frame(timestamp=pl.col("timestamp").dt.offset_by("975y")),
        (PARQUET, "row 1: a time of about the year 3000", NOT_OF),
    ),
    BadFile(
        "year 9999",
        changed("2024-", "9999-"),
        (CSV, "'9999-12-31T20:00:00.000000+0000' is a time of about the year 9999", NOT_OF),
    ),
    BadFile(
        "year 1",
        changed("2024-", "0001-"),
        (CSV, "'0001-12-31T20:00:00.000000+0000' is a time of about the year", NOT_OF),
    ),
    BadFile("year 0", rows("0000-01-01 00:00"), (CSV, "'0000-01-01 00:00' is a time of about the year", NOT_OF)),
    BadFile(
        "before Christ",
        frame(timestamp=(pl.col("timestamp").to_physical() - 3 * 10**18).cast(pl.Datetime("us", "UTC"))),
        (PARQUET, "a time of about the year -93042", NOT_OF),
    ),
    BadFile(
        "end of all microseconds",
        frame(
            timestamp=(2**63 - 1 - 60_000_000 * pl.int_range(pl.len(), dtype=pl.Int64)).cast(pl.Datetime("us", "UTC"))
        ),
        (PARQUET, "a time of about the year 294247", NOT_OF),
    ),
    BadFile(
        "milliseconds beyond microseconds",
        column("timestamp", lambda: pa.array(range(2**62, 2**62 + 480), pa.timestamp("ms", "UTC"))),
        (FEATHER, "a time of about the year", NOT_OF),
    ),
    BadFile(
        "seconds beyond microseconds",
        column("timestamp", lambda: pa.array(range(2**62, 2**62 + 480), pa.timestamp("s"))),
        (FEATHER, "column 'timestamp' holds timestamp[s], neither numbers, text nor times"),
    ),
    BadFile(
        "local times beyond all years",
        column("timestamp", lambda: pa.array(range(2**62, 2**62 + 480), pa.timestamp("us"))),
        (FEATHER, "a time of about the year", NOT_OF),
        NEW_YORK,
    ),
    BadFile(
        "unsigned beyond signed",
        column("timestamp", lambda: pa.array(range(2**64 - 480, 2**64), pa.uint64())),
        (FEATHER, "row 1: '18446744073709551136'", *NO_TIME),
    ),
    BadFile("thirty digits", rows("9" * 30, "9" * 30), (CSV, f"row 1: '{'9' * 30}'", *NO_TIME)),
    BadFile("1e300", rows("1e300"), (CSV, "row 1: '1e300'", *NO_TIME)),
    BadFile(
        "seconds in a unit of its own",
        rows("1700000000", "17000000000"),
        (CSV, "row 2: '17000000000' is a time of about the year 2508", NOT_OF),
    ),
    BadFile("days of a spreadsheet", rows("45292.0", "45292.5"), (CSV, "row 1: '45292.0'", *NO_TIME)),
    BadFile("31 February as a number", rows("20230228", "20230231"), (CSV, "row 2: '20230231'", *NO_TIME)),
    BadFile("30 February", rows("2024-02-30 00:00"), (CSV, "row 1: '2024-02-30 00:00'", *NO_TIME)),
    BadFile("hour 24", rows("2024-02-28 24:00"), (CSV, "row 1: '2024-02-28 24:00'", *NO_TIME)),
    BadFile("two-digit years", rows("01-02-24 00:00"), (CSV, "'01-02-24 00:00' may be day/month", "set data.dates")),
    BadFile("times without days", rows("00:00", "00:01"), (CSV, "row 1: '00:00'", *NO_TIME)),
    BadFile("offset of 99 hours", rows("2024-01-01 00:00+99:99"), (CSV, "row 1: '2024-01-01 00:00+99:99'", *NO_TIME)),
    BadFile(
        "an hour that clocks leave out",
        rows("2024-03-10 01:59", "2024-03-10 02:00"),
        (CSV, "2024-03-10 02:00:00 does not exist in America/New_York; set data.timezone"),
        NEW_YORK,
    ),
    BadFile(
        "an hour that comes twice",
        rows("2024-11-03 00:59", "2024-11-03 01:00"),
        (CSV, "2024-11-03 01:00:00 comes twice in America/New_York", "write the times in UTC"),
        NEW_YORK,
    ),
    BadFile("days for minutes", frame(timestamp=pl.col("timestamp").dt.date()), all_rejected("conflicting_duplicate")),
    BadFile("no time at all", frame(timestamp=pl.lit(None)), all_rejected("no_timestamp")),
    BadFile(
        "minutes called hours",
        put("BTCUSDT-1h.csv", csv),
        ("BTCUSDT-1h.csv: name or column says 1h, but no two rows are that far apart, most are 1m; correct the name",),
    ),
    BadFile(
        "five minutes called one",
        text(lambda: make_bars(step="5m").write_csv()),
        (CSV, "says 1m, but no two rows are that far apart, most are 5m; correct the name"),
    ),
    BadFile(
        "minutes set as quarters",
        put("BTCUSDT.csv", csv),
        ("BTCUSDT.csv: data.timeframe says 15m", "most are 1m; correct the setting"),
        setting("data.timeframe", "15m"),
    ),
    # Types
    BadFile("list", column("close", lambda: each(lambda number: [number])), no_type("close", "list<item: double>")),
    BadFile(
        "list of times", column("timestamp", lambda: each(lambda _: [1])), no_type("timestamp", "list<item: int64>")
    ),
    BadFile(
        "struct", column("close", lambda: each(lambda number: {"usd": number})), no_type("close", "struct<usd: double>")
    ),
    BadFile(
        "map",
        column("close", lambda: each(lambda number: [("usd", number)], pa.map_(pa.string(), pa.float64()))),
        no_type("close", "map<string, double>"),
    ),
    BadFile(
        "union",
        column(
            "close",
            lambda: pa.UnionArray.from_dense(
                pa.array([0] * 480, pa.int8()), pa.array(range(480), pa.int32()), [each(float)]
            ),
        ),
        no_type("close", "dense_union"),
    ),
    BadFile(
        "run-end encoded",
        column("close", lambda: pa.RunEndEncodedArray.from_arrays([480], [1.0])),
        no_type("close", "run_end_encoded"),
    ),
    BadFile(
        "list view",
        column("close", lambda: each(lambda number: [number], pa.list_view(pa.float64()))),
        no_type("close", "list_view"),
    ),
    BadFile(
        "interval",
        column("close", lambda: each(lambda _: (1, 2, 3), pa.month_day_nano_interval())),
        no_type("close", "month_day_nano_interval"),
    ),
    BadFile(
        "type of an extension",
        column("close", lambda: each(lambda _: b"0" * 16, pa.uuid())),
        no_type("close", "extension<arrow.uuid>"),
    ),
    BadFile(
        "duration",
        column("timestamp", lambda: each(lambda _: 60, pa.duration("s"))),
        no_type("timestamp", "duration[s]"),
    ),
    BadFile(
        "truth",
        column("close", lambda: each(bool)),
        (FEATHER, "column 'close' holds Boolean, not numbers; set data.columns.close"),
    ),
    BadFile(
        "bytes of a double",
        column("close", lambda: each(lambda number: struct.pack("<d", number * -1e99))),
        no_type("close", "binary"),
    ),
    BadFile(
        "bytes for a time", column("timestamp", lambda: each(lambda _: b"\xff\xfe")), no_type("timestamp", "binary")
    ),
    BadFile(
        "wide decimal for a time",
        column("timestamp", lambda: each(lambda _: decimal.Decimal("1e40"), pa.decimal256(60, 10))),
        (FEATHER, "row 1", *NO_TIME),
    ),
    BadFile(
        "text in a dictionary",
        column("close", lambda: each(lambda number: f"\u00a4{number}").dictionary_encode()),
        (FEATHER, "column 'close', row 1: '\u00a4100.0'", NO_NUMBER),
    ),
    BadFile(
        "nested bars",
        named(lambda table: [("bar", pa.array(table.to_pylist()))]),
        (PARQUET, "no column for timestamp, open, high, low, close among bar", "data.columns"),
    ),
    BadFile("no columns", named(lambda _: []), (PARQUET, "among no columns", "data.columns")),
    BadFile(
        "no rows",
        named(lambda table: [(name, table[name][:0]) for name in table.column_names]),
        (PARQUET, "no rows of BTCUSDT; check"),
    ),
    BadFile(
        "two closes",
        named(lambda table: [*zip(table.column_names, table.columns, strict=True), ("Close", table["close"])]),
        (PARQUET, "2 columns are called 'close'; choose by number in data.columns"),
    ),
    BadFile(
        "unknown columns",
        named(lambda table: [(f"c{number}\n\x1b", values) for number, values in enumerate(table.columns)]),
        (PARQUET, r"among c0\n\x1b, c1\n\x1b", "data.columns"),
    ),
    BadFile(
        "column that is absent",
        text(csv),
        (CSV, "data.columns.close names column 'klose', which the file does not have; did you mean 'close'"),
        setting("data.columns", "{close: klose}"),
    ),
    BadFile(
        "column of a superscript",
        text(csv),
        (CSV, "data.columns.close names column '²', which the file does not have; it has"),
        setting("data.columns", "{close: ²}"),
    ),
    BadFile(
        "time for a price",
        text(csv),
        (CSV, "column 'close', row 1: '2024-12-31T20:00:00.000000+0000'", NO_NUMBER),
        setting("data.columns", "{close: timestamp}"),
    ),
    # Damage
    BadFile("footer without sense", parquet(lambda data: data.__setitem__(slice(-600, -8), b"\xff" * 592)), NO_PARQUET),
    BadFile(
        "footer longer than the file",
        parquet(lambda data: data.__setitem__(slice(-8, -4), b"\xff\xff\xff\x7f")),
        NO_PARQUET,
    ),
    BadFile("encrypted footer", parquet(lambda data: data.__setitem__(slice(-4, None), b"PARE")), NO_PARQUET),
    BadFile("ones inside", parquet(lambda data: data.__setitem__(slice(1000, 1500), b"\xff" * 500)), NO_PARQUET),
    BadFile("Feather called Parquet", lambda folder: bars().write_ipc(folder / PARQUET), NO_PARQUET),
    BadFile("Parquet called text", lambda folder: bars().write_parquet(folder / CSV), NO_TEXT),
    BadFile("stream called file", lambda folder: bars().write_ipc_stream(folder / FEATHER), NO_FEATHER),
    BadFile("first version of Feather", put(FEATHER, lambda: b"FEA1" + bytes(400) + b"FEA1"), NO_FEATHER),
    BadFile("text called Parquet", put(PARQUET, csv), NO_PARQUET),
    BadFile("packed text called text", text(lambda: gzip.compress(csv().encode())), NO_TEXT),
    BadFile("text called packed", put(f"{CSV}.gz", csv), (CSV, "truncated or damaged archive", "download it again")),
    BadFile(
        "packed otherwise",
        put(f"{CSV}.gz", lambda: b"\xfd7zXZ\0" + bytes(300)),
        (CSV, "truncated or damaged archive", "download it again"),
    ),
    BadFile(
        "packed with another sum",
        put(f"{CSV}.gz", lambda: gzip.compress(csv().encode())[:-8] + bytes(8)),
        (CSV, "truncated or damaged archive", "download it again"),
    ),
    BadFile(
        "packed with more behind",
        put(f"{CSV}.gz", lambda: gzip.compress(csv().encode()) + b"more"),
        (CSV, "truncated or damaged archive", "download it again"),
    ),
    BadFile("packed bomb", put(f"{CSV}.gz", bomb), (f"{CSV}.gz: {TOO_MUCH}", "download it again, or unpack it")),
    # Archives
    BadFile(
        "members outside",
        packed(lambda: [("../../BTCUSDT-1m.csv", csv()), ("../ETHUSDT-1m.csv", csv())]),
        (ZIP, "'../../BTCUSDT-1m.csv' leads out of the archive; unpack it into a folder"),
    ),
    BadFile("bomb", packed(lambda: [(CSV, bytes(50_000_000))]), (ZIP, TOO_MUCH, "download it again, or unpack it")),
    BadFile(
        "two members of one name",
        packed(lambda: [(CSV, csv()), (CSV, "junk")]),
        (ZIP, "several files in the archive have one name; unpack it"),
    ),
    BadFile(
        "archive in an archive",
        packed(lambda: [("BTCUSDT-1m.zip", b"PK\x05\x06" + bytes(18))]),
        (ZIP, "'BTCUSDT-1m.zip' in the archive is packed itself; unpack the archive"),
    ),
    BadFile("archive of folders", packed(lambda: [("bars/", "")]), (ZIP, "the archive is empty; download it again")),
    BadFile(
        "archive of something else",
        packed(lambda: [("README.pdf", "hello")]),
        (f"{ZIP}/README.pdf: no delimiter", "it begins with 'hello'"),
    ),
    BadFile("encrypted member", altered_zip(6, 8, b"\x01"), (ZIP, "is encrypted", "unpack it first")),
    BadFile(
        "unknown compression",
        altered_zip(8, 10, b"\x63\x00"),
        (ZIP, "compression method is not supported; unpack it first"),
    ),
    BadFile(
        "size that is a lie",
        altered_zip(22, 24, b"\x0a\x00\x00\x00"),
        (ZIP, "truncated or damaged archive (Bad CRC-32", "download it again"),
    ),
    # JSON
    BadFile("rows as lines", json_text('{"time": 1}\n{"time": 2}'), NO_LIST),
    BadFile("list in an answer", json_text('{"data": []}'), NO_LIST),
    BadFile("no list", json_text("null"), (JSON, "expected a list of bars, found 'null'; download it again")),
    BadFile("hundred thousand lists", json_text("[" * 100_000), NO_JSON),
    BadFile("five thousand objects", json_text('[{"a":' * 5_000), NO_JSON),
    BadFile("arrays and objects", arrays(lambda values: values.__setitem__(5, {"time": 1})), NO_JSON),
    BadFile("array in an array", arrays(lambda values: values[5].__setitem__(1, [1.0])), NO_JSON),
    BadFile("number without bound", arrays(lambda values: values[5].__setitem__(0, 10**40)), NO_JSON),
    BadFile(
        "NaN in JSON",
        arrays(lambda values: [row.__setitem__(1, float("nan")) for row in values]),
        (JSON, "no row is complete", "set data.columns"),
    ),
    BadFile(
        "truth in arrays",
        arrays(lambda values: values[5].__setitem__(1, True)),
        (JSON, "column 'open', row 6: 'true'", NO_NUMBER),
    ),
    BadFile(
        "half a surrogate",
        json_text('[{"time":"\\ud800","open":1,"high":1,"low":1,"close":1}]'),
        (JSON, "row 1", *NO_TIME),
    ),
    # Places
    BadFile("empty folder", lambda _: None, NO_FILES),
    BadFile("folder called as a file", lambda folder: (folder / CSV).mkdir(), NO_FILES),
    BadFile("link to nothing", lambda folder: (folder / CSV).symlink_to(folder / "absent.csv"), NO_FILES),
    BadFile("links in a circle", circle, NO_FILES),
    BadFile("folder in itself", lambda folder: (folder / "loop").symlink_to(folder), NO_FILES),
    BadFile("pipe", lambda folder: os.mkfifo(folder / CSV), NO_FILES),
    BadFile("hidden files", put(f".{CSV}", csv), NO_FILES),
    BadFile(
        "workbook", put("BTCUSDT-1m.xlsx", lambda: b"PK\x03\x04"), (NO_BARS, "BTCUSDT-1m.xlsx; known formats: parquet")
    ),
    BadFile(
        "pickle by name",
        put("BTCUSDT-1m.pkl", lambda: b"\x80\x05."),
        (NO_BARS, "BTCUSDT-1m.pkl; known formats: parquet"),
    ),
    BadFile(
        "line end in a name",
        put("BTC\nUSDT-1m.csv", lambda: "x"),
        (r"BTC\nUSDT-1m.csv: no delimiter", "it begins with"),
    ),
    BadFile(
        "escape sequence in a name",
        put("BTC\x1b[2JUSDT-1m.csv", lambda: "x"),
        (r"BTC\x1b[2JUSDT-1m.csv: no delimiter", "it begins with"),
    ),
    BadFile("unknown format with a line end", put("a\nb.xyz", lambda: "x"), (r"a\nb.xyz; known formats",)),
    # Names that no folder can have
    BadFile(
        "name that is no UTF-8",
        put("BTC\udcff-1m.csv", csv),
        (r"BTC\udcff-1m.csv: its symbol 'BTC\udcff' is not UTF-8; rename it",),
    ),
    BadFile(
        "folder that is no UTF-8", put("symbol=a%FFb/0.csv", csv), (r"its symbol 'a\udcffb' is not UTF-8; rename it",)
    ),
    BadFile(
        "symbol of 300 letters",
        symbols(pl.lit("A" * 300)),
        ("all-1m.parquet: its symbol 'AAAA", "is too long to name a folder; shorten it"),
    ),
    BadFile(
        "symbol of 40 ideographs",
        symbols(pl.lit("币" * 40)),
        ("all-1m.parquet: its symbol '币币", "is too long to name a folder; shorten it"),
    ),
    BadFile(
        "symbol of no letters", symbols(pl.lit(" ")), ("all-1m.parquet: 480 rows have no 'symbol'; complete them",)
    ),
    BadFile(
        "list of symbols",
        symbols(pl.lit([1])),
        ("all-1m.parquet: column 'symbol' holds large_list<element: int64>", "set data.columns"),
    ),
    BadFile(
        "symbol in bytes",
        symbols(pl.lit(b"\xff\xfe")),
        ("all-1m.parquet: column 'symbol' holds large_binary", "set data.columns"),
    ),
    BadFile(
        "folder without a symbol",
        put("symbol=/0.csv", csv),
        ("symbol=/0.csv: its symbol has no name; name the file or its folder after it",),
    ),
)


def laughs(under: str = "") -> str:
    """Nine aliases of nine aliases and so on: ten short lines that stand for 3 billion values, used by `under`."""
    first = "a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
    more = [f"{new}: &{new} [{', '.join(f'*{old}' for _ in range(9))}]\n" for old, new in pairwise("abcdefghij")]
    return first + "".join(more) + under


def kind(key: str, value: str) -> str:
    return f"model_trainer: {{analyst_models: {{{key}: {value}}}}}"


def trainer(key: str, value: str) -> str:
    return f"model_trainer: {{{key}: {value}}}"


def data(key: str, value: str) -> str:
    return f"data: {{{key}: {value}}}"


TOO_MANY: Final = ("job.yaml is not YAML", "aliases (*) stand for more than 100,000 values")
TAG: Final = ("job.yaml is not YAML", "could not determine a constructor for the tag", "line 1")
TIMEFRAME: Final = ("analyst_models.timeframes.0: timeframe", "expected a whole number and one of s, m, h, d")
LABEL: Final = ("analyst_models.label: label", "expected something like direction(10)")
SECRETS: Final = "secrets do not belong on a command line; use the environment or a config file"
NO_PAIR: Final = "expected dotted.key=value"
ZONE: Final = ("data.timezone: unknown time zone", "write it as America/New_York")

SETTINGS: Final = (
    # Text
    BadSetting("call of the system", TAG, "!!python/object/apply:os.system ['touch ran']"),
    BadSetting("call inside", TAG, "data: {input: !!python/object/apply:os.system ['touch ran']}"),
    BadSetting("object made again", TAG, "data: !!python/object/new:pathlib.Path [ran]"),
    BadSetting("name of a function", TAG, "data: !!python/name:os.system"),
    BadSetting("tag of its own", TAG, "data: !ran {}"),
    BadSetting("laughs", TOO_MANY, laughs()),
    BadSetting("laughs for symbols", TOO_MANY, laughs("data: {symbols: *j}")),
    BadSetting("laughs for params", TOO_MANY, laughs(kind("params", "{C: *j}"))),
    BadSetting("laughs for options", TOO_MANY, laughs("storage: {options: {endpoint_url: *j}}")),
    BadSetting("laughs for a label", TOO_MANY, laughs(kind("label", "*j"))),
    BadSetting("merged laughs", TOO_MANY, laughs("data: {<<: [*i, *i]}")),
    BadSetting("section in itself", TOO_MANY, "data: &a {options: *a}"),
    BadSetting("list in itself", TOO_MANY, "data: {symbols: &a [*a]}"),
    BadSetting(
        "thousand lists", ("job.yaml is not YAML: it is nested too deeply",), "data: " + "[" * 1000 + "]" * 1000
    ),
    BadSetting("thousand maps", ("job.yaml is not YAML: it is nested too deeply",), "{a: " * 1000 + "1" + "}" * 1000),
    BadSetting("not UTF-8", ("job.yaml is not YAML", "can't decode byte 0xff"), b"data: {exchange: \xff\xfe}"),
    BadSetting("UTF-16", ("job.yaml is not YAML", "can't decode byte"), "data: {exchange: x}".encode("utf-16")),
    BadSetting("NUL", ("job.yaml is not YAML: unacceptable character",), b"data: {exchange: 'a\0b'}"),
    BadSetting("tab", ("job.yaml is not YAML", "cannot start any token", "line 2"), "data:\n\tinput: x"),
    BadSetting("two documents", ("job.yaml is not YAML: expected a single document",), "data: {}\n---\nray: {}"),
    BadSetting(
        "section given twice", ("key 'data' is given twice at line 2",), "data: {gaps: ignore}\ndata: {max_fill: 1}"
    ),
    BadSetting("key given twice", ("key 'gaps' is given twice at line 1",), data("gaps", "ignore, gaps: segment")),
    BadSetting("list for a key", ("job.yaml is not YAML", "found unhashable key"), "? [data]\n: 1"),
    BadSetting("text alone", ("job.yaml: expected a mapping at the top, got str",), "train all"),
    BadSetting(
        "date that does not exist", ("job.yaml is not YAML: day is out of range", "line 1"), data("start", "2024-02-30")
    ),
    BadSetting("5000 digits", ("job.yaml is not YAML: Exceeds the limit",), data("max_fill", "9" * 5000)),
    # Sections and keys
    BadSetting("nothing for a section", ("job.yaml: data: expected a section of settings, got None",), "data:"),
    BadSetting(
        "list for a section", ("job.yaml: storage: expected a section of settings, got ['pkl']",), "storage: [pkl]"
    ),
    BadSetting(
        "number for a kind",
        ("model_trainer.analyst_models: expected a section of settings, got 3",),
        trainer("analyst_models", "3"),
    ),
    BadSetting("unknown in ray", ("unknown key ray.num_cpu; did you mean 'num_cpus'",), "ray: {num_cpu: 1}"),
    BadSetting(
        "unknown in storage", ("unknown key storage.formats; did you mean 'format'",), "storage: {formats: pkl}"
    ),
    BadSetting(
        "unknown in a kind",
        ("unknown key model_trainer.analyst_models.labels; did you mean 'label'",),
        kind("labels", "x"),
    ),
    BadSetting("key that is a number", ("data.1: Keys should be strings",), "data: {1: 2}"),
    BadSetting("key that is true", ("data.1: Keys should be strings",), "data: {yes: 2}"),
    # Types and ranges
    BadSetting("NaN share", ("model_trainer.test_size: Input should be", "got nan"), trainer("test_size", ".nan")),
    BadSetting("share of all", ("model_trainer.test_size: Input should be less than 1",), trainer("test_size", "1")),
    BadSetting(
        "no fold",
        ("model_trainer.cv_folds: Input should be greater than or equal to 1, got 0",),
        trainer("cv_folds", "0"),
    ),
    BadSetting(
        "half a fold",
        ("model_trainer.cv_folds: Input should be a valid integer", "got 1.5"),
        trainer("cv_folds", "1.5"),
    ),
    BadSetting("true folds", ("model_trainer.cv_folds: expected a number, got True",), trainer("cv_folds", "true")),
    BadSetting(
        "folds without bound",
        ("model_trainer.cv_folds: Input should be less than or equal to 1000",),
        trainer("cv_folds", "9" * 30),
    ),
    BadSetting(
        "embargo without bound",
        ("model_trainer.embargo: Input should be less than or equal to 10000000",),
        trainer("embargo", "9" * 30),
    ),
    BadSetting(
        "seed beyond 32 bits",
        ("model_trainer.random_state: Input should be less than 4294967296",),
        trainer("random_state", "99999999999"),
    ),
    BadSetting(
        "infinite samples",
        ("model_trainer.max_samples: Input should be a finite number, got inf",),
        trainer("max_samples", ".inf"),
    ),
    BadSetting(
        "refit perhaps",
        ("model_trainer.refit: Input should be a valid boolean", "got 'maybe'"),
        trainer("refit", "maybe"),
    ),
    BadSetting(
        "no grouping", ("model_trainer.group_by: use one of exchange,symbol,timeframe",), trainer("group_by", "[]")
    ),
    BadSetting(
        "trees without bound",
        ("analyst_models.n_estimators: Input should be less than or equal to 1000000",),
        kind("n_estimators", "9" * 30),
    ),
    BadSetting(
        "depth of nothing",
        ("analyst_models.max_depth: Input should be greater than or equal to 1, got 0",),
        kind("max_depth", "0"),
    ),
    BadSetting(
        "negative fill", ("data.max_fill: Input should be greater than or equal to 0, got -1",), data("max_fill", "-1")
    ),
    BadSetting("NaN coverage", ("data.min_coverage: Input should be", "got nan"), data("min_coverage", ".nan")),
    BadSetting("infinite rejection", ("data.max_rejected: Input should be", "got -inf"), data("max_rejected", "-.inf")),
    BadSetting(
        "endless lookback",
        ("data.lookback_days: Input should be less than or equal to 36525",),
        data("lookback_days", "1e300"),
    ),
    BadSetting(
        "end before start",
        ("data: start 2024-02-01", "is not before end 2024-01-01"),
        data("start", "2024-02-01, end: 2024-01-01"),
    ),
    BadSetting("list for a time", ("data.start: Input should be a valid datetime",), data("start", "[]")),
    BadSetting(
        "exchange of no letters", ("data.exchange: expected a name, or leave it out, got ' '",), data("exchange", "' '")
    ),
    BadSetting(
        "symbol of no letters", ("data.symbols.0: expected a name, or leave it out, got ''",), data("symbols", "['']")
    ),
    BadSetting("map of symbols", ("data.symbols: expected a list such as [A, B]",), data("symbols", "{a: b}")),
    BadSetting(
        "number for a column", ("data.columns.open: expected text: quote it, got 2",), data("columns", "{open: 2}")
    ),
    BadSetting(
        "unknown column", ("data.columns: unknown column 'opn'; did you mean 'open'",), data("columns", "{opn: a}")
    ),
    BadSetting("unknown bars", ("data.format: unknown format 'xlsx' (known: auto, parquet",), data("format", "xlsx")),
    BadSetting(
        "no processor", ("ray.num_cpus: Input should be greater than or equal to 1, got 0",), "ray: {num_cpus: 0}"
    ),
    BadSetting(
        "pickled storage",
        ("storage.format: Input should be 'skops' or 'pkl', got 'pickle'",),
        "storage: {format: pickle}",
    ),
    # Timeframes and zones
    *(
        BadSetting(f"timeframe {value!r}", (*TIMEFRAME, repr(value)), kind("timeframes", json.dumps([value])))
        for value in ("1M", "0m", "-5m", "1.5h", "", "m", "01m", "1 m", "\uff11m", "1m\n", "nan")
    ),
    BadSetting("timeframe without unit", (*TIMEFRAME, "'5'"), kind("timeframes", "[5]")),
    BadSetting(
        "timeframe without bound", ("timeframe '9999999d': expected at most 366d",), kind("timeframes", "[9999999d]")
    ),
    BadSetting(
        "bars of a month", ("data.timeframe: timeframe '1M': expected a whole number",), data("timeframe", "1M")
    ),
    *(
        BadSetting(f"zone {value[:20]!r}", ZONE, data("timezone", json.dumps(value)))
        for value in ("Mars/Base", "", "../../etc/passwd", "/etc/localtime", "UTC\0", "+05:30", "Europe", "x" * 9999)
    ),
    # Labels, features and parameters
    *(
        BadSetting(f"label {value[:30]}", LABEL, kind("label", json.dumps(value)))
        for value in (
            "__import__('os').system('touch ran')",
            "direction(__import__('os').system('touch ran'))",
            "direction(**{})",
            "direction(*[1])",
            "direction(9**9**9)",
            "lambda: 0",
            "((((",
            "direction(\0)",
            "",
        )
    ),
    BadSetting("label direction(nan)", ("horizon must be a whole number, got 'nan'",), kind("label", "direction(nan)")),
    BadSetting(
        "label of 3000 signs",
        ("analyst_models.label: expected something like direction(10)",),
        kind("label", "-" * 3000 + "1"),
    ),
    BadSetting("list for a label", LABEL, kind("label", "[]")),
    BadSetting(
        "label of two kinds",
        ("give its kind, one of direction, triple_barrier, once",),
        kind("label", "{kind: direction, name: x}"),
    ),
    BadSetting(
        "horizon of none", ("label direction: horizon must be at least 1 bar, got 0",), kind("label", "direction(0)")
    ),
    BadSetting(
        "horizon of half",
        ("label direction: horizon must be a whole number, got 1.5",),
        kind("label", "direction(1.5)"),
    ),
    BadSetting(
        "horizon in words",
        ("label direction: horizon must be a whole number, got '3'",),
        kind("label", "{kind: direction, horizon: '3'}"),
    ),
    BadSetting(
        "horizon of 2**70",
        ("label direction: horizon must be at most 10000000 bars",),
        kind("label", f"direction({2**70})"),
    ),
    BadSetting(
        "window of 2**70",
        ("label triple_barrier: window must be at most 10000000 bars",),
        kind("label", f"'triple_barrier(window={2**70})'"),
    ),
    BadSetting(
        "negative threshold",
        ("label direction: threshold must be 0 or more and finite, got -1.0",),
        kind("label", "direction(threshold=-1)"),
    ),
    BadSetting(
        "infinite barrier",
        ("label triple_barrier: k must be above 0 and finite, got inf",),
        kind("label", "triple_barrier(k=1e999)"),
    ),
    BadSetting(
        "entry of its own",
        ("label direction: entry must be close or next_open, got 'x'",),
        kind("label", "\"direction(entry='x')\""),
    ),
    BadSetting("no features", ("analyst_models.features: name at least one feature",), kind("features", "''")),
    BadSetting(
        "feature of no letters",
        ("analyst_models.features.0: unknown feature '' (packs: default",),
        kind("features", "['']"),
    ),
    BadSetting(
        "algorithm of the system",
        ("analyst_models.algorithm: os:system is a value of type builtin_function_or_method: expected an Algorithm",),
        kind("algorithm", "'os:system'"),
    ),
    BadSetting(
        "threads",
        ("params.n_jobs of random_forest cannot be set: it follows from the CPUs",),
        kind("params", "{n_jobs: 2}"),
    ),
    BadSetting(
        "warm start", ("params.warm_start of random_forest cannot be set",), kind("params", "{warm_start: true}")
    ),
    BadSetting(
        "early stopping",
        ("params.early_stopping of random_forest cannot be set",),
        kind("params", "{early_stopping: true}"),
    ),
    BadSetting(
        "unknown parameter",
        ("unknown parameter params.criteria of random_forest; did you mean 'criterion'",),
        kind("params", "{criteria: gini}"),
    ),
    BadSetting(
        "parameter of no sense",
        ("params of random_forest: The 'criterion' parameter", "must be a str among"),
        kind("params", "{criterion: evil}"),
    ),
    BadSetting(
        "NaN parameter",
        ("params of random_forest: The 'ccp_alpha' parameter", "Got nan"),
        kind("params", "{ccp_alpha: .nan}"),
    ),
    BadSetting(
        "list for a parameter",
        ("analyst_models.params.monotonic_cst: expected a number, text, true, false or null",),
        kind("params", "{monotonic_cst: [1]}"),
    ),
    # Arguments
    BadSetting("secret in a section", ("--set storage:", SECRETS), arguments=setting("storage", "{options: {key: x}}")),
    BadSetting("secret in options", ("--set data.options:", SECRETS), arguments=setting("data.options", "{key: x}")),
    BadSetting("secret deep inside", ("--set data:", SECRETS), arguments=setting("data", "{columns: {my_token: x}}")),
    BadSetting("password", ("--set ray.password:", SECRETS), arguments=setting("ray.password", "hunter2")),
    BadSetting("argument without key", ("--set '=x': ", NO_PAIR), arguments=("--set", "=x")),
    BadSetting("argument that ends in a dot", ("--set 'data.=1': ", NO_PAIR), arguments=("--set", "data.=1")),
    BadSetting("argument with two dots", ("--set 'data..input=1': ", NO_PAIR), arguments=("--set", "data..input=1")),
    BadSetting(
        "call in an argument",
        ("--set data.symbols:", "is not a YAML value", "quote it"),
        arguments=setting("data.symbols", "!!python/name:os.system"),
    ),
    BadSetting(
        "circle in an argument",
        ("--set data.symbols:", "is not a YAML value", "quote it"),
        arguments=setting("data.symbols", "&a [*a]"),
    ),
    BadSetting(
        "30 February in an argument",
        ("--set data.start:", "is not a YAML value (day is out of range", "quote it"),
        arguments=setting("data.start", "2024-02-30"),
    ),
    BadSetting("no input", ("data.input is not set: name a file",), arguments=setting("data.input", "")),
)
