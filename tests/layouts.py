"""Ways to write bars to files, drawn at random: one table for each thing in which files differ."""

import csv
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl

from job.sources.columns.named import COLUMN_ALIASES
from job.sources.names.folders import HIVE_KEYS
from transforms.bars import duration_us

ROWS: Final = 240
BAR: Final = ("open", "high", "low", "close", "volume")
TEXT: Final = ("csv", "csv.gz", "txt")
EXCHANGE: Final = "binance"
UTC_TIME: Final = pl.Datetime("us", "UTC")

Columns = list[pl.Series]


@dataclass(frozen=True)
class Notation:
    """A way to write times: `write` makes one column, or a day and a clock, of times in UTC and in the local zone.

    `local` times name no zone; `typed` ones need a format that has types.
    """

    write: Callable[[pl.Series, pl.Series], Columns]
    local: bool = True
    typed: bool = False


def _epoch(divisor: int, factor: int = 1) -> Notation:
    return Notation(lambda utc, _: [utc.to_physical() // divisor * factor], local=False)


def _text(*patterns: str) -> Notation:
    return Notation(lambda _, local: [local.dt.to_string(pattern) for pattern in patterns])


def _zoned(pattern: str) -> Notation:
    return Notation(lambda utc, _: [utc.dt.to_string(pattern)], local=False)


def _with_offset(utc: pl.Series, local: pl.Series) -> Columns:
    minutes = (local.to_physical() - utc.to_physical()) // 60_000_000
    offsets = [f"{'-' if m < 0 else '+'}{abs(m) // 60:02}:{abs(m) % 60:02}" for m in minutes]
    return [local.dt.to_string("%Y-%m-%dT%H:%M:%S") + pl.Series(offsets)]


NOTATIONS: Final[Mapping[str, Notation]] = {
    "epoch ms": _epoch(10**3),
    "epoch s": _epoch(10**6),
    "epoch us": _epoch(1),
    "epoch ns": _epoch(1, 10**3),
    "epoch s as float": Notation(lambda utc, _: [utc.to_physical() / 10**6], local=False),
    "ISO Z": _zoned("%Y-%m-%dT%H:%M:%SZ"),
    "ISO ms Z": _zoned("%Y-%m-%dT%H:%M:%S.000Z"),
    "ISO offset": Notation(_with_offset, local=False),
    "UTC by name": _zoned("%Y-%m-%d %H:%M:%S UTC"),
    "ISO": _text("%Y-%m-%dT%H:%M:%S"),
    "ISO blank": _text("%Y-%m-%d %H:%M:%S"),
    "ISO minutes": _text("%Y-%m-%d %H:%M"),
    "slashes": _text("%Y/%m/%d %H:%M"),
    "points": _text("%Y.%m.%d %H:%M"),
    "digits and clock": _text("%Y%m%d %H%M%S"),
    "digits": _text("%Y%m%d%H%M%S"),
    "digits to minutes": _text("%Y%m%d%H%M"),
    "digits and colons": _text("%Y%m%d %H:%M:%S"),
    "day month points": _text("%d.%m.%Y %H:%M:%S"),
    "day month slashes": _text("%d/%m/%Y %H:%M"),
    "month day slashes": _text("%m/%d/%Y %H:%M"),
    "day month short": _text("%-d-%-m-%Y %H:%M"),
    "month day AM/PM": _text("%m/%d/%Y %I:%M:%S %p"),
    "month day AM/PM short": _text("%-m/%-d/%Y %-I:%M %p"),
    "ISO AM/PM": _text("%Y-%m-%d %I:%M %p"),
    "name of month": _text("%d-%b-%Y %H:%M:%S"),
    "month first": _text("%b %d, %Y %H:%M"),
    "day, clock points": _text("%Y.%m.%d", "%H:%M"),
    "day, clock digits": _text("%Y%m%d", "%H%M%S"),
    "day, clock four digits": _text("%Y%m%d", "%H%M"),
    "day, clock ISO": _text("%Y-%m-%d", "%H:%M:%S"),
    "day, clock month day": _text("%m/%d/%Y", "%H:%M"),
    "day, clock day month": _text("%d/%m/%Y", "%H:%M:%S"),
    "day, clock AM/PM": _text("%Y-%m-%d", "%I:%M %p"),
    "two-digit year": _text("%m/%d/%y %H:%M:%S"),
    "two-digit year, points": _text("%d.%m.%y %H:%M:%S"),
    "day, clock 930": Notation(
        lambda _, local: [local.dt.to_string("%Y%m%d"), local.dt.to_string("%H%M").cast(pl.Int64)]
    ),
    "name of a zone": Notation(
        lambda utc, _: [utc.dt.convert_time_zone("US/Eastern").dt.to_string("%Y%m%d %H:%M:%S") + " US/Eastern"],
        local=False,
    ),
    "naive": Notation(lambda _, local: [local], typed=True),
    "naive ns": Notation(lambda _, local: [local.dt.cast_time_unit("ns")], typed=True),
    "aware UTC": Notation(lambda utc, _: [utc.dt.cast_time_unit("ms")], local=False, typed=True),
    "aware elsewhere": Notation(lambda utc, _: [utc.dt.convert_time_zone("America/Chicago")], local=False, typed=True),
}

TO_MINUTES: Final = frozenset(
    (
        *("ISO minutes", "slashes", "points", "digits to minutes", "day month slashes", "month day slashes"),
        *("day month short", "month day AM/PM short", "ISO AM/PM", "month first", "day, clock points"),
        *("day, clock four digits", "day, clock month day", "day, clock AM/PM", "day, clock 930", "ISO ms Z"),
    )
)
"""Notations that leave a moment before the end of a minute out."""

ZONES: Final[Mapping[str, tuple[str, str]]] = {
    "UTC": ("2024-03-10T07:00", "2024-11-03T06:00"),
    "America/New_York": ("2024-03-10T07:00", "2024-11-03T06:00"),
    "Europe/Berlin": ("2024-03-31T01:00", "2024-10-27T01:00"),
    "Asia/Kolkata": ("2024-03-31T01:00", "2024-10-27T01:00"),
    "Asia/Tokyo": ("2024-03-31T01:00", "2024-10-27T01:00"),
    "Australia/Lord_Howe": ("2024-10-05T15:30", "2024-04-06T15:00"),
}
"""When, in UTC, clocks go forward and back in 2024; any two times where they do neither. Lord Howe's by 30 minutes."""

STARTS: Final = {
    "a plain day": "2024-01-20T05:00",
    "days up to twelve": "2024-02-03T00:00",
    "the twelfth": "2024-06-12T19:00",
    "new year": "2023-12-31T19:00",
    "end of a month": "2024-04-30T19:00",
    "clocks forward": "",
    "clocks back": "",
}
"""When the first bar begins, in UTC: up to a hundred bars before the clocks change, where they do."""

USUAL: Final = {"timestamp": "timestamp", "day": "date", "clock": "time"} | {name: name for name in BAR}
SHORT: Final = {"timestamp": "t", "day": "date", "clock": "time"} | {name: name[0] for name in BAR}
PLATFORM: Final = {"timestamp": "<DATE>", "day": "<DATE>", "clock": "<TIME>"} | {
    name: f"<{name.upper()}>" for name in (*BAR[:4], "vol")
}
PLATFORM["volume"] = PLATFORM.pop("vol")
LETTERS: Final[Mapping[str, Callable[[str], str]]] = {
    "as they are": str,
    "capitals": str.upper,
    "title": lambda word: word.replace("_", " ").title(),
}
SEPARATORS: Final = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}

SPELLED: Final[Mapping[str, Mapping[str, str]]] = {
    "1m": {"usual": "1m", "platform": "M1", "words": "1min"},
    "5m": {"usual": "5m", "platform": "M5", "words": "5min"},
    "1h": {"usual": "1h", "platform": "H1", "words": "60min"},
    "2h": {"usual": "2h", "platform": "H2", "words": "2hours"},
    "4h": {"usual": "4h", "platform": "H4", "words": "240min"},
    "1d": {"usual": "1d", "platform": "D1", "words": "daily"},
}
"""Timeframes, and how names spell them."""

OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "notation": tuple(NOTATIONS),
    "zone": tuple(ZONES),
    "start": tuple(STARTS),
    "timeframe": tuple(SPELLED),
    "spelling": ("usual", "platform", "words"),
    "grid": ("UTC", "local"),
    "edge": ("open", "close", "a moment before the close"),
    "words": ("usual", "short", "platform", "aliases"),
    "letters": tuple(LETTERS),
    "columns": ("in order", "shuffled"),
    "extra": ("none", "count", "quote volume", "close time", "symbol", "local time"),
    "order": ("ascending", "descending", "shuffled"),
    "split": (
        "one file",
        "days",
        "months",
        "overlapping days",
        "month folders",
        "month keys",
        "parts",
        "shuffled parts",
        "archive of days",
    ),
    "folders": (
        "flat",
        "symbol",
        "key",
        "exchange",
        "exchange and symbol",
        "exchange and key",
        "exchange above a key",
        "one file for all",
    ),
    "told": ("name", "folder", "key", "nowhere"),
    "header": ("names", "none", "below a preamble", "quoted"),
    "format": (*TEXT, "parquet", "feather", "json", "jsonl", "arrays"),
    "separator": tuple(SEPARATORS),
    "lines": ("plain", "CRLF", "byte-order mark", "blank lines", "trailing separator", "row numbers"),
    "numbers": ("plain", "decimal comma", "thousands", "decimal comma and thousands"),
    "prices": ("usual", "large", "tiny"),
    "symbols": (
        "BTCUSDT",
        "AAPL",
        "BTC-USDT",
        "EURUSD",
        "600000",
        "7203",
        "0700.HK",
        "BRK.B",
        "EUR_USD",
        "BTC-PERP",
        "BTC-USDT-SWAP",
        "1INCHUSDT",
        "btcusdt",
        "T",
        "ALL",
        "BTCUSDT ETHUSDT",
        "600000 000001",
    ),
}
"""What a layout is made of; the first option of each is the plainest."""


@dataclass(frozen=True)
class Layout:
    """One way to write bars: an option each of `OPTIONS`, and the seed of what else is drawn."""

    notation: str = "epoch ms"
    zone: str = "UTC"
    start: str = "a plain day"
    timeframe: str = "1m"
    spelling: str = "usual"
    grid: str = "UTC"
    edge: str = "open"
    words: str = "usual"
    letters: str = "as they are"
    columns: str = "in order"
    extra: str = "none"
    order: str = "ascending"
    split: str = "one file"
    folders: str = "flat"
    told: str = "name"
    header: str = "names"
    format: str = "csv"
    separator: str = "comma"
    lines: str = "plain"
    numbers: str = "plain"
    prices: str = "usual"
    symbols: str = "BTCUSDT"
    seed: int = 0

    def __str__(self) -> str:
        """Return what is not the plainest."""
        plain = Layout()
        return ", ".join(
            f"{one.name}: {getattr(self, one.name)}"
            for one in fields(self)
            if getattr(self, one.name) != getattr(plain, one.name)
        )

    @property
    def settings(self) -> dict[str, str]:
        """Settings that a user who knows the files gives."""
        return {"timezone": self.zone, "bar_time": "auto" if self.edge.startswith("a moment") else self.edge}

    @property
    def series(self) -> list[tuple[str, str]]:
        """Exchange and symbol of each series."""
        exchange = EXCHANGE if self.folders.startswith("exchange") else "unknown"
        return [(exchange, symbol) for symbol in self.symbols.split()]


def draw(seed: int) -> Layout:
    """Return the layout of a seed: one that files can have."""
    source = random.Random(seed)
    while True:
        layout = Layout(**{name: source.choice(options) for name, options in OPTIONS.items()}, seed=seed)
        if possible(layout):
            return layout


def possible(layout: Layout) -> bool:
    """Return whether files of such a layout exist: one that can be written, and that tells what is in it."""
    text, unnamed = layout.format in TEXT, layout.header == "none"
    comma = layout.numbers.startswith("decimal comma")
    parts = layout.split in {"parts", "shuffled parts"}
    return all(
        (
            text or _is_plain(layout, "separator", "lines", "numbers"),
            text or layout.header == ("none" if layout.format == "arrays" else "names"),
            not unnamed or _is_plain(layout, "words", "letters", "columns", "extra", "lines"),
            not comma or layout.separator != "comma",
            not NOTATIONS[layout.notation].typed or layout.format in {"parquet", "feather"},
            layout.grid == "UTC" or layout.timeframe in {"4h", "1d"},
            layout.edge != "a moment before the close" or layout.notation not in TO_MINUTES,
            layout.extra == "none" or layout.words in {"usual", "short"},
            layout.notation != "epoch s as float" or layout.numbers == "plain",
            layout.extra != "local time" or layout.words == "usual",
            not parts or "symbol" in layout.folders or "key" in layout.folders,
            layout.timeframe not in {"4h", "1d"}
            or layout.split in {"one file", "months", "month folders", "month keys", "parts"},
            layout.split != "archive of days" or layout.format in {"csv", "txt", "json"},
            layout.folders != "one file for all" or (layout.extra == "symbol" and layout.split == "one file"),
        )
    )


def _is_plain(layout: Layout, *names: str) -> bool:
    return all(getattr(layout, name) == OPTIONS[name][0] for name in names)


def alone(name: str, option: str) -> Layout:
    """Return the plainest layout that has an option."""
    needs = {
        "decimal comma": {"separator": "semicolon"},
        "decimal comma and thousands": {"separator": "semicolon"},
        "one file for all": {"extra": "symbol"},
        "arrays": {"header": "none"},
        "local": {"timeframe": "1d", "zone": "Europe/Berlin"},
        "parts": {"folders": "symbol"},
        "shuffled parts": {"folders": "symbol"},
    }
    typed = {"format": "parquet"} if name == "notation" and NOTATIONS[option].typed else {}
    changes: dict[str, Any] = {name: option} | needs.get(option, {}) | typed
    return replace(Layout(), **changes)


def simplest(layout: Layout, fails: Callable[[Layout], bool]) -> Layout:
    """Return a layout that fails, too, with as many of the plainest options as can be."""
    for _ in range(2):
        for name, value in asdict(Layout()).items():
            simpler = replace(layout, **{name: value})
            if name != "seed" and simpler != layout and possible(simpler) and fails(simpler):
                layout = simpler
    return layout


def bars_of(layout: Layout) -> dict[tuple[str, str], pl.DataFrame]:
    """Bars of each series: a random walk of prices that are all distinct, with some bars missing."""
    frames = {}
    for number, name in enumerate(layout.series):
        generator = np.random.default_rng([layout.seed, number])
        times = _opens(layout, _start(layout, generator))
        scale = {"usual": 11.0, "large": 41_000.0, "tiny": 1.3e-5}[layout.prices]
        walk = scale * 7**number * np.exp(np.cumsum(generator.normal(0, 0.002, 2 * ROWS)))
        opens, close = walk[::2], walk[1::2]
        spread = generator.uniform(1.0001, 1.002, (2, ROWS))
        high, low = np.maximum(opens, close) * spread[0], np.minimum(opens, close) / spread[1]
        decimals = {"usual": 6, "large": 4, "tiny": 12}[layout.prices]
        prices = dict(zip(BAR, (np.round(value, decimals) for value in (opens, high, low, close)), strict=False))
        volume = np.round(generator.uniform(5000, 9000, ROWS), 3)
        kept = generator.random(ROWS) > 0.04
        kept[[0, 1, -1]] = True
        frames[name] = pl.DataFrame({"timestamp": times, **prices, "volume": volume}).filter(pl.Series(kept))
    return frames


def _opens(layout: Layout, first: int) -> pl.Series:
    """Open times of all bars from about `first` on, one step apart in UTC or on the clocks of the zone."""
    step = duration_us(layout.timeframe)
    if layout.grid == "UTC":
        return pl.Series("timestamp", first + np.arange(ROWS) * step).cast(UTC_TIME)
    clocks = first // step * step + np.arange(ROWS) * step
    return _at(pl.Series("timestamp", clocks), layout.zone, "earliest")


def _ends(layout: Layout, opens: pl.Series) -> pl.Series:
    """Times at which bars end."""
    step = duration_us(layout.timeframe)
    if layout.grid == "UTC":
        return opens + timedelta(microseconds=step)
    shown = opens.dt.convert_time_zone(layout.zone).dt.replace_time_zone(None).to_physical()
    return _at(shown // step * step + step, layout.zone, "latest")


def _at(clocks: pl.Series, zone: str, twice: Literal["earliest", "latest"]) -> pl.Series:
    """Times in UTC at which clocks show these microseconds since 1970."""
    return clocks.cast(pl.Datetime("us")).dt.replace_time_zone(zone, ambiguous=twice).dt.convert_time_zone("UTC")


def _start(layout: Layout, generator: np.random.Generator) -> int:
    """Microseconds of the first bar, on the grid of the timeframe."""
    step = duration_us(layout.timeframe)
    forward, back = ZONES[layout.zone]
    text = {"clocks forward": forward, "clocks back": back}.get(layout.start, STARTS[layout.start])
    first = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**6
    if layout.start.startswith("clocks"):
        first -= int(generator.integers(20, 100)) * step
    return first // step * step


def write(layout: Layout, folder: Path) -> None:
    """Write the bars of a layout below a folder."""
    source = random.Random(layout.seed)
    words = _words(layout, source)
    places = _Places(layout, source)
    tables: dict[Path, list[pl.DataFrame]] = {}
    for (_, symbol), bars in bars_of(layout).items():
        for path, part in places.files(symbol, bars):
            rows = part.sample(fraction=1, shuffle=True, seed=layout.seed) if layout.order == "shuffled" else part
            ordered = rows.reverse() if layout.order == "descending" else rows
            tables.setdefault(path, []).append(pl.DataFrame(_table(layout, ordered, symbol, words)))
    for path, several in tables.items():
        table = pl.concat(several)
        names = table.columns
        if layout.columns == "shuffled":
            random.Random(layout.seed).shuffle(names)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = _written(layout, table.select(names))
        if layout.split == "archive of days":
            day = target.stem[-len("2024-01-20") :]
            archive = target.with_name(f"{target.stem.removesuffix(day).rstrip('-_') or 'bars'}.zip")
            with zipfile.ZipFile(archive, "a") as members:
                members.writestr(target.name, data)
        else:
            target.write_bytes(data)


def _words(layout: Layout, source: random.Random) -> dict[str, str]:
    """Names of the columns."""
    words = {"usual": USUAL, "short": SHORT, "platform": PLATFORM}.get(layout.words, USUAL)
    if layout.words == "aliases":
        drawn = {name: source.choice([one for one in COLUMN_ALIASES[name] if one]) for name in ("timestamp", *BAR)}
        words = {**words, **drawn}
    letters = LETTERS[layout.letters]
    return {name: letters(word) for name, word in words.items()}


def _table(layout: Layout, bars: pl.DataFrame, symbol: str, words: Mapping[str, str]) -> dict[str, pl.Series]:
    """Columns of a file by name."""
    opens = bars["timestamp"]

    def written(utc: pl.Series) -> Columns:
        local = utc.dt.convert_time_zone(layout.zone).dt.replace_time_zone(None)
        return NOTATIONS[layout.notation].write(utc, local)

    ends = _ends(layout, opens)
    moment = timedelta(milliseconds=1)
    times = written({"open": opens, "close": ends, "a moment before the close": ends - moment}[layout.edge])
    names = [words["timestamp"]] if len(times) == 1 else [words["day"], words["clock"]]
    table = dict(zip(names, times, strict=True)) | {words[name]: bars[name] for name in BAR}
    letters = LETTERS[layout.letters]
    if layout.extra == "count":
        table[letters("count")] = pl.Series(range(bars.height))
    elif layout.extra == "quote volume":
        table[letters("quote_volume")] = bars["volume"] * bars["close"]
    elif layout.extra == "close time":
        table[letters("close_time")] = written(ends)[0]
    elif layout.extra == "local time":
        table[letters("local_time")] = opens.dt.convert_time_zone("Asia/Tokyo").dt.to_string("%Y-%m-%d %H:%M:%S")
    elif layout.extra == "symbol":
        table[letters("symbol")] = pl.Series([symbol] * bars.height)
    return table


class _Places:
    """Where the files of a series lie, all of a layout by the same scheme."""

    def __init__(self, layout: Layout, source: random.Random) -> None:
        self.layout = layout
        self.key = source.choice(HIVE_KEYS["symbol"])
        self.timeframe_key = source.choice(HIVE_KEYS["timeframe"])
        self.timeframe = SPELLED[layout.timeframe][layout.spelling]
        self.dates = source.choice(("%Y-%m-%d", "%Y%m%d", "%Y_%m_%d")) if layout.split == "days" else "%Y-%m-%d"
        self.months = source.choice(("%Y-%m", "%Y_%m"))
        self.joint = source.choice("-_")
        self.plain = source.choice(("ohlcv", "data", "candles", "", ""))
        self.part = source.choice(("part-{}", "data_{}", "part.{}", "part-{:05}-3fa85f64-5717-4562-b3fc-2c963f66afa6"))

    def files(self, symbol: str, bars: pl.DataFrame) -> Iterator[tuple[Path, pl.DataFrame]]:
        """Yield the path and the bars of each file."""
        layout = self.layout
        suffix = "json" if layout.format == "arrays" else layout.format
        for label, part in self._split(bars):
            *dated, last = label.split("/")
            yield self._folder(symbol).joinpath(*dated) / f"{self._name(symbol, last)}.{suffix}", part

    def _folder(self, symbol: str) -> Path:
        layout, folder = self.layout, Path()
        if layout.folders.startswith("exchange"):
            folder /= f"exchange={EXCHANGE}" if layout.folders == "exchange and key" else EXCHANGE
        if "key" in layout.folders:
            folder /= f"{self.key}={symbol}"
        elif "symbol" in layout.folders:
            folder /= symbol
        told = {"folder": self.timeframe, "key": f"{self.timeframe_key}={self.timeframe}"}
        return folder / told.get(layout.told, "")

    def _name(self, symbol: str, label: str) -> str:
        layout = self.layout
        within = "symbol" in layout.folders or "key" in layout.folders
        if layout.folders == "one file for all":
            return self.joint.join(["ohlcv", *[self.timeframe] * (layout.told == "name")])
        words = [self.plain if within else symbol] if not layout.split.endswith("parts") else []
        words += [self.timeframe] * (layout.told == "name" and not layout.split.endswith("parts"))
        return self.joint.join(word for word in (*words, label) if word) or symbol

    def _split(self, bars: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
        layout = self.layout
        if layout.split == "one file":
            yield "", bars
        elif not layout.split.endswith("parts"):
            pattern = {"months": self.months, "month folders": "%Y/%m/", "month keys": "year=%Y/month=%m/"}
            label = bars["timestamp"].dt.strftime(pattern.get(layout.split, self.dates))
            overlap = 5 if layout.split == "overlapping days" else 0
            for text in label.unique().sort():
                own = (label == text).arg_true()
                yield str(text), bars[max(0, int(own[0]) - overlap) : int(own[-1]) + 1]
        else:
            edges = [0, bars.height // 3, bars.height // 2, bars.height]
            numbers = [0, 1, 2] if layout.split == "parts" else [2, 0, 1]
            for number, start, end in zip(numbers, edges, edges[1:], strict=False):
                yield self.part.format(number), bars[start:end]


def _written(layout: Layout, frame: pl.DataFrame) -> bytes:
    """Content of a file in its format."""
    buffer = io.BytesIO()
    if layout.format == "parquet":
        frame.write_parquet(buffer)
    elif layout.format == "feather":
        frame.write_ipc(buffer)
    elif layout.format == "json":
        frame.write_json(buffer)
    elif layout.format == "jsonl":
        frame.write_ndjson(buffer)
    elif layout.format == "arrays":
        buffer.write(json.dumps(frame.rows()).encode())
    else:
        mark = "utf-8-sig" if layout.lines == "byte-order mark" else "utf-8"
        data = _delimited(layout, frame).encode(mark)
        buffer.write(gzip.compress(data) if layout.format == "csv.gz" else data)
    return buffer.getvalue()


def _delimited(layout: Layout, frame: pl.DataFrame) -> str:
    text = io.StringIO()
    end = {"CRLF": "\r\n", "blank lines": "\n\n"}.get(layout.lines, "\n")
    if layout.header == "below a preamble":
        text.write(f"Bars as exported; no warranty{end}")
    writer = csv.writer(
        text,
        delimiter=SEPARATORS[layout.separator],
        quoting=csv.QUOTE_ALL if layout.header == "quoted" else csv.QUOTE_MINIMAL,
        lineterminator=end,
    )
    before = {"row numbers": [""]}.get(layout.lines, [])
    after = {"trailing separator": [""]}.get(layout.lines, [])
    if layout.header != "none":
        writer.writerow([*before, *frame.columns, *after])
    for number, row in enumerate(frame.iter_rows()):
        cells = [_number(layout, value) if isinstance(value, float) else value for value in row]
        writer.writerow([*(number for _ in before), *cells, *after])
    return text.getvalue()


def _number(layout: Layout, value: float) -> str:
    text = f"{value:,}" if layout.numbers.endswith("thousands") else str(value)
    return text.translate(str.maketrans(".,", ",.")) if layout.numbers.startswith("decimal comma") else text
