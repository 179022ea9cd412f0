"""Every format reads the bars that were written, exactly, however its vendor writes them."""

import dataclasses
import gzip
import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from job.config.settings import Config, DataSettings
from job.core.errors import DataError
from job.core.timeframes import timeframe_of
from job.sources.access import display_path, read_all
from job.sources.bars import Look, Raw, by_position, raw_of
from job.sources.columns.named import Indices, resolve
from job.sources.estimates import estimate_rows, expected_rows
from job.sources.finding import find_series
from job.sources.formats import FORMATS, FileFormat
from job.sources.names.paths import Name
from job.sources.readers.delimited_text import DelimitedText
from job.sources.readers.layouts import LAYOUTS, Layout
from job.sources.reading import read_series
from job.sources.series import Series, SourceFile
from job.train.plan import make_plan
from tests.vendors import (
    KLINES_HEADER,
    PRICES,
    SAMPLES,
    STEMS,
    WRITERS,
    Sample,
    epoch,
    find,
    klines,
    lines,
    make_bars,
    named,
    only,
    pack,
    put,
    read,
    values,
)


@pytest.fixture(params=SAMPLES, ids=lambda sample: sample.write.__name__)
def sample(request: pytest.FixtureRequest) -> Sample:
    return request.param  # type: ignore[no-any-return]


def test_sample_reads_back_exactly(sample: Sample, tmp_path: Path) -> None:
    bars = make_bars(step=sample.step)
    sample.write(tmp_path, bars)
    found = find(tmp_path)
    assert not found.problems
    series = named(found, sample.found)
    assert series.timeframe == sample.timeframe
    assert {file.format for file in series.files} == {sample.format}
    raw = read_series(series, DataSettings()).bars
    assert raw.schema == bars.schema
    assert_frame_equal(raw.sort("timestamp"), bars, check_exact=True)


def test_sample_rows_are_estimated_within_a_factor_of_three(sample: Sample, tmp_path: Path) -> None:
    bars = make_bars(rows=20_000, step="1m" if sample.step == "1m" else sample.step)
    sample.write(tmp_path, bars)
    estimate = expected_rows(named(find(tmp_path), sample.found))
    assert bars.height / 3 < estimate < bars.height * 3


def test_sample_travels(sample: Sample, tmp_path: Path) -> None:
    sample.write(tmp_path, make_bars(step=sample.step))
    series = named(find(tmp_path), sample.found)
    assert pickle.loads(pickle.dumps(series)) == series
    assert json.loads(json.dumps(dataclasses.asdict(series)))["symbol"] == series.symbol


def test_every_format_has_a_sample() -> None:
    assert {sample.format for sample in SAMPLES} == set(FORMATS) == set(WRITERS)


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


PACKINGS: dict[str, Callable[[str, bytes], bytes]] = {
    "": lambda _name, data: data,
    ".gz": lambda _name, data: gzip.compress(data),
    ".zip": zipped,
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize(
    ("fmt", "suffix"),
    [(entry.name, suffix) for entry in FORMATS.values() for own in entry.suffixes for suffix in (own, own.upper())],
)
def test_every_format_conforms(fmt: str, suffix: str, packing: str, tmp_path: Path) -> None:
    """By each of its suffixes, packed or not: its bars, their number before reading, and a symbol without suffixes."""
    bars = make_bars(rows=5_000)
    stem, symbol = STEMS.get(fmt, ("BTC.X_1m", "BTC.X"))
    name = f"{stem}{suffix}"
    (tmp_path / f"{name}{packing}").write_bytes(PACKINGS[packing](name, WRITERS[fmt](bars)))
    series = only(tmp_path)
    assert (series.exchange, series.symbol, series.timeframe) == ("unknown", symbol, "1m")
    assert [file.format for file in series.files] == [fmt]
    assert bars.height / 4 < expected_rows(series) < bars.height * 4
    raw = read_series(series, DataSettings()).bars
    assert raw.schema == bars.schema
    assert_frame_equal(raw, bars, check_exact=True)


@pytest.mark.parametrize(
    ("fmt", "share"), [*[(fmt, 0) for fmt in FORMATS], *[(fmt, 0.5) for fmt in FORMATS if fmt not in LAYOUTS]]
)
def test_every_format_refuses_a_file_that_ends_too_early(fmt: str, share: float, tmp_path: Path) -> None:
    """An empty file, and half of one, unless it is text: half of that is the bars up to there."""
    data = WRITERS[fmt](make_bars())
    (tmp_path / f"BTC_1m{FORMATS[fmt].suffixes[0]}").write_bytes(data[: int(len(data) * share)])
    found = find(tmp_path)
    problems = list(found.problems)
    if not problems:
        with pytest.raises(DataError) as caught:
            read_series(found.series[0], DataSettings())
        problems.append(caught.value)
    assert [re.search(r"BTC_1m.*download", str(problem)) is not None for problem in problems] == [True]


def test_a_format_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A format that is only in the table is found, planned and read, its suffixes cut from the symbol."""
    columns = ("timestamp", *PRICES, "volume")

    def frame(file: SourceFile, settings: DataSettings) -> pl.DataFrame:
        return pl.DataFrame(np.frombuffer(read_all(file, settings)).reshape(-1, 6), schema=list(columns))

    def bars(file: SourceFile, series: Series, settings: DataSettings) -> Raw:
        indices = resolve(columns, settings.columns, display_path(file))
        return raw_of(by_position(frame(file, settings), range(6)), indices, series, settings, "x")

    doubles = FileFormat(
        "doubles",
        (".f64", ".bars.bin"),
        48,
        look=lambda _file, _settings: Look("doubles", columns),
        values=lambda file, names, settings: frame(file, settings).select(names),
        read=bars,
    )
    monkeypatch.setitem(FORMATS, doubles.name, doubles)
    wanted = make_bars(rows=3_000)
    table = wanted.with_columns(timestamp=epoch(wanted, "s")).cast(pl.Float64).to_numpy(order="c")
    packed = gzip.compress(table.tobytes())
    (tmp_path / "okx").mkdir()
    for name, data in {
        "BTC_1m.f64": table.tobytes(),
        "ETH_1m.BARS.bin": table.tobytes(),
        "X_1m.f64.gz": packed,
    }.items():
        (tmp_path / "okx" / name).write_bytes(data)
    for forced in ("auto", "doubles"):
        settings = DataSettings(input=str(tmp_path), format=forced)
        found = find_series(settings)
        assert [str(one) for one in found.series] == ["okx/BTC", "okx/ETH", "okx/X"]
        assert estimate_rows(found.series[0], "15m", settings) == 200
        for series in found.series:
            assert_frame_equal(read_series(series, settings).bars, wanted, check_exact=True)
    config = Config(data=DataSettings(input=str(tmp_path)))
    keys = {(task.key.exchange, task.key.symbol, task.key.timeframe) for task in make_plan(config).tasks}
    assert {("okx", "BTC", "1m"), ("okx", "ETH", "1h"), ("okx", "X", "5m")} <= keys


def test_a_layout_is_one_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vendor's text is told by its content, names its symbols as the vendor does, and does not disturb the others."""

    def name(_path: str, stem: str) -> Name | None:
        symbol, _, minutes = stem.partition("@")
        return Name("acme", symbol, timeframe_of(f"{minutes}min")) if minutes.isdigit() else None

    def columns(text: DelimitedText, mapping: Mapping[str, str | None], where: str) -> Indices:
        return {"timestamp": (7,), "open": (4,), "high": (3,), "low": (2,), "close": (1,), "volume": (0,)}

    acme = Layout("acme", 70, lambda text: text.header is None and text.width == 8, columns, read_name=name)
    monkeypatch.setitem(LAYOUTS, acme.name, acme)
    monkeypatch.setitem(
        FORMATS, acme.name, dataclasses.replace(FORMATS["csv"], name=acme.name, bytes_per_row=acme.bytes_per_row)
    )
    wanted, nothing = make_bars(), pl.Series(["-"] * 480)
    body = lines([*reversed(values(wanted)), nothing, nothing, epoch(wanted, "s")])
    put(tmp_path / "BTC-USD@1.txt", "\n".join(body))
    put(tmp_path / "XBTUSD_1.csv", WRITERS["kraken"](wanted).decode())
    found = find(tmp_path)
    assert [(str(one), one.timeframe, one.files[0].format) for one in found.series] == [
        ("acme/BTC-USD", "1m", "acme"),
        ("kraken/XBTUSD", "1m", "kraken"),
    ]
    for series in found.series:
        assert_frame_equal(read_series(series, DataSettings()).bars, wanted, check_exact=True)


def test_forced_format_reads_what_it_would_have_recognised(sample: Sample, tmp_path: Path) -> None:
    bars = make_bars(step=sample.step)
    sample.write(tmp_path, bars)
    settings = DataSettings(input=str(tmp_path), format=sample.format)
    raw = read_series(named(find_series(settings), sample.found), settings).bars
    assert_frame_equal(raw.sort("timestamp"), bars, check_exact=True)


def test_file_that_changes_from_ms_to_us_midway(tmp_path: Path) -> None:
    bars = make_bars()
    rows = [*klines(bars[:200], "ms"), *klines(bars[200:], "us")]
    put(tmp_path / "BTCUSDT-1m.csv", "\n".join([KLINES_HEADER, *rows]))
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


def test_header_and_headerless_months_of_one_series(tmp_path: Path) -> None:
    bars = make_bars()
    folder = tmp_path / "data/futures/um/monthly/klines/BTCUSDT/1m"
    pack(folder / "BTCUSDT-1m-2021-12.zip", "BTCUSDT-1m-2021-12.csv", "\n".join(klines(bars[:100], "ms")))
    pack(folder / "BTCUSDT-1m-2022-01.zip", "x.csv", "\n".join([KLINES_HEADER, *klines(bars[100:], "ms")]))
    assert str(only(tmp_path)) == "binanceusdm/BTCUSDT"
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


def test_spot_and_futures_of_one_symbol_stay_apart(tmp_path: Path) -> None:
    bars = make_bars()
    for market in ("spot", "futures/um", "futures/cm"):
        put(
            tmp_path / f"data/{market}/daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-12-31.csv", "\n".join(klines(bars, "ms"))
        )
    put(tmp_path / "data/futures/um/daily/markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2024-12-31.csv", "not trades")
    put(tmp_path / "data/spot/daily/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-12-31.csv", "not bars")
    found = find(tmp_path)
    assert [str(one) for one in found.series] == ["binance/BTCUSDT", "binancecoinm/BTCUSDT", "binanceusdm/BTCUSDT"]
    assert found.notes == (
        "left out 2 files without bars of trades: BTCUSDT-1m-2024-12-31.csv, BTCUSDT-aggTrades-2024-12-31.csv",
    )


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "header",
    [
        "timestamp,open,high,low,close,volume",
        "Open time,Open,High,Low,Close,Volume",
        "unix,O,H,L,C,V",
        "datetime,open_price,high_price,low_price,close_price,base_volume",
        "time_period_start,price_open,price_high,price_low,price_close,volume_traded",
        ",open,high,low,close,volume",
        "ts,1. open,2. high,3. low,4. close,5. volume",
    ],
)
def test_usual_wordings_and_separators(header: str, separator: str, tmp_path: Path) -> None:
    bars = make_bars()
    body = lines([epoch(bars, "ms"), *values(bars)], separator)
    put(tmp_path / "BTCUSDT.csv", "\n".join([header.replace(",", separator), *body]))
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_parquet_with_numbers_for_times(unit: str, tmp_path: Path) -> None:
    bars = make_bars()
    bars.with_columns(timestamp=epoch(bars, unit)).write_parquet(tmp_path / "BTCUSDT.parquet")
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


def test_parquet_types_are_widened_and_columns_reordered(tmp_path: Path) -> None:
    bars = make_bars()
    odd = bars.select(
        pl.col("volume").cast(pl.Int32),
        pl.col("close").cast(pl.Decimal(12, 2)),
        pl.col("open", "high", "low").cast(pl.String),
        extra=pl.lit("x"),
        date=pl.col("timestamp").dt.replace_time_zone(None).cast(pl.Datetime("ns")),
    )
    odd.write_parquet(tmp_path / "BTCUSDT.parquet")
    expected = bars.with_columns(pl.col("volume").cast(pl.Int32).cast(pl.Float64))
    assert_frame_equal(read(tmp_path), expected, check_exact=True)


def test_volume_may_be_absent(tmp_path: Path) -> None:
    bars = make_bars()
    bars.drop("volume").write_parquet(tmp_path / "EURUSD.parquet")
    assert_frame_equal(read(tmp_path), bars.drop("volume"), check_exact=True)


def test_volume_in_some_files_only_is_refused(tmp_path: Path) -> None:
    bars = make_bars()
    bars[:100].write_parquet(tmp_path / "BTCUSDT_2023.parquet")
    bars[100:].drop("volume").write_parquet(tmp_path / "BTCUSDT_2024.parquet")
    with pytest.raises(
        DataError, match=r"BTCUSDT_2024.parquet: no column for volume, which .*BTCUSDT_2023.parquet has"
    ):
        read(tmp_path)


def test_columns_setting_maps_any_name_and_number(tmp_path: Path) -> None:
    bars = make_bars()
    body = lines([bars["volume"], *[bars[name] for name in reversed(PRICES)], epoch(bars, "s")])
    columns = {"timestamp": "when", "open": "5", "high": "4", "low": "C", "close": "B", "volume": "A"}
    put(tmp_path / "BTCUSDT.csv", "\n".join(["A,B,C,D,E,when", *body]))
    assert_frame_equal(read(tmp_path, columns=columns), bars, check_exact=True)


def test_columns_setting_reads_a_headerless_file_of_any_order(tmp_path: Path) -> None:
    bars = make_bars()
    rows = [bars["volume"], *[bars[name] for name in reversed(PRICES)], epoch(bars, "s"), bars["close"], bars["open"]]
    put(tmp_path / "BTCUSDT.csv", "\n".join(lines(rows)))
    columns = {"timestamp": "6", "open": "5", "high": "4", "low": "3", "close": "2", "volume": "1"}
    assert_frame_equal(read(tmp_path, columns=columns), bars, check_exact=True)


def test_day_and_clock_in_two_columns_without_header(tmp_path: Path) -> None:
    bars = make_bars()
    day, clock = bars["timestamp"].dt.strftime("%Y.%m.%d"), bars["timestamp"].dt.strftime("%H:%M")
    put(tmp_path / "EURUSD1.csv", "\n".join(lines([day, clock, *values(bars)])))
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


@pytest.mark.parametrize(("setting", "shift"), [("auto", 1), ("close", 1), ("open", 0)])
def test_time_of_the_end_is_moved_to_the_beginning(setting: str, shift: int, tmp_path: Path) -> None:
    bars = make_bars()
    ends = bars.with_columns(pl.col("timestamp") + pl.duration(minutes=1))
    put(tmp_path / "ES.txt", "\n".join(lines([ends["timestamp"].dt.strftime("%Y%m%d %H%M%S"), *values(bars)], ";")))
    expected = ends.with_columns(pl.col("timestamp") - pl.duration(minutes=shift))
    assert_frame_equal(read(tmp_path, bar_time=setting), expected, check_exact=True)


def test_bar_time_close_needs_the_length_of_a_bar(tmp_path: Path) -> None:
    make_bars(rows=1).write_parquet(tmp_path / "BTCUSDT.parquet")
    with pytest.raises(DataError, match=r"times mark the end of bars.*set data.timeframe"):
        read(tmp_path, bar_time="close")
    assert read(tmp_path, bar_time="close", timeframe="1h")["timestamp"][0] == make_bars(rows=1)["timestamp"][
        0
    ].replace(hour=19)


def test_times_without_zone_are_in_the_zone_of_the_settings(tmp_path: Path) -> None:
    bars = make_bars()
    local = bars["timestamp"].dt.convert_time_zone("America/New_York").dt.strftime("%Y-%m-%d %H:%M:%S")
    put(tmp_path / "SPY.csv", "\n".join(["date,open,high,low,close,volume", *lines([local, *values(bars)])]))
    assert_frame_equal(read(tmp_path, timezone="America/New_York"), bars, check_exact=True)


def test_nothing_is_dropped_or_repaired(tmp_path: Path) -> None:
    """Absent numbers stay null, duplicates and disorder stay: cleaning is to count them."""
    put(
        tmp_path / "BTCUSDT.csv",
        "time,open,high,low,close,volume\n"
        "2024-01-01 00:02,1,2,0.5,1,NaN\n2024-01-01 00:01,,2,0.5,null,5\n2024-01-01 00:01,,2,0.5,null,5\n,-1,inf,9,1\n",
    )
    raw = read(tmp_path)
    assert raw.height == 4
    assert raw["timestamp"].null_count() == 1
    assert raw["open"].to_list() == [1.0, None, None, -1.0]
    assert raw["close"].to_list() == [1.0, None, None, 1.0]
    assert raw["volume"].is_nan().to_list() == [True, False, False, None]
    assert raw["high"].to_list() == [2.0, 2.0, 2.0, float("inf")]


def test_spaces_and_quotes_around_numbers(tmp_path: Path) -> None:
    bars = make_bars()
    body = [
        line.replace(",", "' , '") + "'"
        for line in lines([bars["timestamp"].dt.strftime("'%Y-%m-%d %H:%M"), *values(bars)])
    ]
    put(tmp_path / "BTCUSDT.csv", "\n".join(["Time , Open, High, Low, Close, Volume", *body]))
    assert_frame_equal(read(tmp_path), bars, check_exact=True)
