"""Finding series in folders of many files, choosing among them, and reading them however they were cut."""

import itertools
import zipfile
from pathlib import Path

import fsspec
import hypothesis.strategies as st
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from polars.testing import assert_frame_equal

from job.config.settings import DataSettings
from job.core.errors import ConfigError, DataError
from job.sources.estimates import estimate_rows, expected_rows
from job.sources.finding import find_series
from job.sources.reading import read_series
from job.sources.series import Series, SourceFile
from tests.vendors import PRICES, WRITERS, epoch, find, lines, make_bars, named, only, pack, put, read, values
from transforms.bars import clean

HEADER = "time,open,high,low,close,volume"


def csv_of(bars: pl.DataFrame) -> str:
    return "\n".join([HEADER, *lines([epoch(bars, "ms"), *values(bars)])])


def write_feathers(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        make_bars(rows=3).write_ipc(folder / f"{name}.feather")


@pytest.mark.parametrize("pattern", ["", "/BTCUSDT.csv", "/*.csv", "/BTC*"])
@pytest.mark.parametrize("protocol", ["", "file://"])
def test_input_may_be_folder_file_glob_or_url(pattern: str, protocol: str, tmp_path: Path) -> None:
    bars = make_bars()
    put(tmp_path / "BTCUSDT.csv", csv_of(bars))
    found = find_series(DataSettings(input=f"{protocol}{tmp_path}{pattern}"))
    assert [str(one) for one in found.series] == ["unknown/BTCUSDT"]
    assert_frame_equal(read_series(found.series[0], DataSettings()).bars, bars, check_exact=True)


def test_glob_of_folders_takes_all_their_files(tmp_path: Path) -> None:
    for symbol in ("BTC", "ETH", "XRP"):
        write_feathers(tmp_path / "exchange=okx" / f"symbol={symbol}", "part-0", "part-1")
    found = find_series(DataSettings(input=f"{tmp_path}/exchange=*/symbol=[BE]*"))
    assert [(one.symbol, len(one.files)) for one in found.series] == [("BTC", 2), ("ETH", 2)]


def test_memory_store_reads_like_a_folder() -> None:
    bars, fs = make_bars(), fsspec.filesystem("memory")
    fs.pipe(
        {
            f"/bars-{number}/okx/BTCUSDT_{2000 + number}.csv": csv_of(part).encode()
            for number, part in enumerate(bars.iter_slices(100))
        }
    )
    try:
        found = find_series(DataSettings(input="memory://bars-0/"))
        assert [file.url for file in found.series[0].files] == ["memory:///bars-0/okx/BTCUSDT_2000.csv"]
        everything = find_series(DataSettings(input="memory://bars-*"))
        assert [str(one) for one in everything.series] == ["okx/BTCUSDT"]
        assert_frame_equal(read_series(everything.series[0], DataSettings()).bars, bars, check_exact=True)
    finally:
        for number in range(5):
            fs.rm(f"/bars-{number}", recursive=True)


def test_numbered_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    bars = make_bars()
    for number, part in enumerate(bars.iter_slices(40)):
        put(tmp_path / "BTCUSDT" / f"part-{number}.csv", csv_of(part))
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_result_does_not_depend_on_cuts_formats_or_row_order(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bars, folder = make_bars(rows=60), tmp_path_factory.mktemp("cut") / "BTCUSDT"
    cuts = sorted(data.draw(st.sets(st.integers(1, 59), max_size=5)))
    shuffled = bars[data.draw(st.permutations(range(60)))] if data.draw(st.booleans()) else bars
    folder.mkdir()
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, 60], strict=True)):
        part, suffix = shuffled[start:end], data.draw(st.sampled_from(["csv", "csv.zip", "parquet", "feather"]))
        path = folder / f"part-{number}.{suffix}"
        if suffix == "csv":
            put(path, csv_of(part))
        elif suffix == "csv.zip":
            pack(path, "x.csv", csv_of(part))
        else:
            (part.write_parquet if suffix == "parquet" else part.write_ipc)(path)
    assert_frame_equal(clean(read(folder.parent)).bars, bars, check_exact=True)


def test_parquet_by_symbol_column_counts_the_rows_of_each(tmp_path: Path) -> None:
    bars = make_bars()
    other = bars[:100].with_columns(pl.col(PRICES) * 2)
    pl.concat([bars.with_columns(pair=pl.lit("A")), other.with_columns(pair=pl.lit("B"))]).write_parquet(
        tmp_path / "all.parquet"
    )
    found = find(tmp_path)
    assert [(one.symbol, one.symbol_column, expected_rows(one)) for one in found.series] == [
        ("A", "pair", 480),
        ("B", "pair", 100),
    ]
    assert_frame_equal(read_series(found.series[1], DataSettings()).bars, other, check_exact=True)


@pytest.mark.parametrize("cast", [pl.Categorical, pl.Enum(["A", "B"]), pl.String])
def test_symbol_columns_of_any_text_type(cast: pl.DataType, tmp_path: Path) -> None:
    bars = make_bars(rows=6)
    symbols = pl.Series("symbol", ["A", "B"] * 3).cast(cast)
    bars.with_columns(symbols).write_parquet(tmp_path / "all.parquet")
    bars.with_columns(symbols).write_ipc(tmp_path / "all.feather")
    found = find(tmp_path)
    assert [(one.symbol, len(one.files)) for one in found.series] == [("A", 2), ("B", 2)]
    assert_frame_equal(
        read_series(found.series[0], DataSettings()).bars, pl.concat([bars[::2], bars[::2]]), check_exact=True
    )


def test_one_file_with_exchanges_symbols_and_timeframes(tmp_path: Path) -> None:
    kinds = itertools.product(("okx", "bybit"), ("A", "B"), ("1m", "60"))
    body = lines([epoch(make_bars(rows=5), "s"), *values(make_bars(rows=5))])
    rows = [f"{exchange},{symbol},{interval},{line}" for exchange, symbol, interval in kinds for line in body]
    put(tmp_path / "all.csv", "\n".join(["exchange,symbol,interval,time,open,high,low,close,volume", *rows]))
    (problem,) = find(tmp_path).problems
    assert "all.csv: not every 'interval' is a timeframe (1m, 60); split the file" in str(problem).replace(
        "60, 1m", "1m, 60"
    )
    put(tmp_path / "all.csv", (tmp_path / "all.csv").read_text().replace(",60,", ",1h,"))
    found = find(tmp_path)
    assert [str(one) for one in found.series] == ["bybit/A", "bybit/B", "okx/A", "okx/B"]
    assert {one.timeframe for one in found.series} == {"1m"}
    assert read_series(found.series[0], DataSettings()).bars.height == 5
    hourly = find(tmp_path, timeframe="1h", exchange="OKX", symbols=("b",))
    assert [(str(one), one.timeframe) for one in hourly.series] == [("okx/B", "1h")]


def test_rows_without_a_symbol_are_not_dropped_in_silence(tmp_path: Path) -> None:
    make_bars(rows=4).with_columns(symbol=pl.Series(["A", None, "B", "B"])).write_parquet(tmp_path / "all.parquet")
    (problem,) = find(tmp_path).problems
    assert "all.parquet: 1 rows have no 'symbol'; complete them, or leave the column out" in str(problem)


def test_exchange_setting_names_what_no_file_names_and_chooses_where_files_do(tmp_path: Path) -> None:
    write_feathers(tmp_path / "plain", "BTC_USDT-1m")
    write_feathers(tmp_path / "binance", "BTC_USDT-1m")
    for exchange in ("okx", "bybit"):
        write_feathers(tmp_path / "hive" / f"exchange={exchange}" / "symbol=BTC", "part-0")
    assert str(only(tmp_path / "plain", exchange="mine")) == "mine/BTC_USDT"
    assert str(only(tmp_path / "binance", exchange="mine")) == "mine/BTC_USDT"
    assert str(only(tmp_path / "hive", exchange="OKX")) == "okx/BTC"
    with pytest.raises(DataError, match="no bars of exchange 'kraken' in the input; known: bybit, okx"):
        find(tmp_path / "hive", exchange="kraken")


def test_symbols_are_chosen_leniently(tmp_path: Path) -> None:
    write_feathers(tmp_path, "BTC_USDT_USDT-1m-futures", "ETH_USDT_USDT-1m-futures", "XRP_USDT_USDT-1m-futures")
    found = find(tmp_path, symbols=("BTC/USDT:USDT", "ethusdt"))
    assert [one.symbol for one in found.series] == ["BTC_USDT_USDT", "ETH_USDT_USDT"]
    with pytest.raises(DataError, match=r"no bars of symbol 'BTCUSDC' in the input; did you mean BTC_USDT_USDT"):
        find(tmp_path, symbols=("BTCUSDC",))


def test_a_symbol_that_is_absent_fails_alone(tmp_path: Path) -> None:
    write_feathers(tmp_path, "BTC_USDT-1m", "ETH_USDT-1m")
    found = find(tmp_path, symbols=("ETH/USDT", "DOGE"))
    assert [one.symbol for one in found.series] == ["ETH_USDT"]
    assert [str(one) for one in found.problems] == ["no bars of symbol 'DOGE' in the input; known: BTC_USDT, ETH_USDT"]


@pytest.mark.parametrize(
    ("wanted", "chosen", "left"), [(None, "1m", "5m, 1h"), ("5m", "5m", "1m, 1h"), ("1h", "1h", "1m, 5m")]
)
def test_finest_timeframe_unless_one_is_set(wanted: str | None, chosen: str, left: str, tmp_path: Path) -> None:
    write_feathers(tmp_path, "BTC_USDT-1h", "BTC_USDT-1m", "BTC_USDT-5m")
    found = find(tmp_path, timeframe=wanted)
    assert [(one.timeframe, len(one.files)) for one in found.series] == [(chosen, 1)]
    assert found.notes == (f"BTC_USDT: reading {chosen}; left out {left}",)


def test_timeframe_that_no_file_has(tmp_path: Path) -> None:
    write_feathers(tmp_path, "BTC_USDT-1h", "BTC_USDT-5m", "ETH_USDT-1m")
    found = find(tmp_path, timeframe="1m")
    assert [one.symbol for one in found.series] == ["ETH_USDT"]
    assert [str(one) for one in found.problems] == ["BTC_USDT: no bars of 1m (data.timeframe); the names say 5m, 1h"]


def test_file_that_names_no_timeframe_beside_others_that_do(tmp_path: Path) -> None:
    put(tmp_path / "BTCUSDT.csv", csv_of(make_bars()))
    put(tmp_path / "BTCUSDT_H1.csv", csv_of(make_bars(step="1h")))
    (problem,) = find(tmp_path).problems
    assert str(problem) == "BTCUSDT: BTCUSDT names no timeframe, others say 1h; set data.timeframe"
    assert only(tmp_path, timeframe="1h").files[0].url.endswith("BTCUSDT_H1.csv")


def test_bad_file_fails_its_symbol_and_no_other(tmp_path: Path) -> None:
    put(tmp_path / "BTCUSDT_2023.csv", csv_of(make_bars()))
    put(tmp_path / "BTCUSDT_2024.csv", "<html>503</html>")
    put(tmp_path / "ETHUSDT.csv", csv_of(make_bars()))
    (tmp_path / "XRPUSDT.zip").write_bytes(b"PK\3\4 cut")
    found = find(tmp_path)
    assert [one.symbol for one in found.series] == ["ETHUSDT"]
    assert sorted(str(one).rpartition("/")[2].partition(":")[0] for one in found.problems) == [
        "BTCUSDT_2024.csv",
        "XRPUSDT.zip",
    ]
    assert not find(tmp_path, symbols=("ETHUSDT",)).problems
    assert len(find(tmp_path, symbols=("ETHUSDT", "XRPUSDT")).problems) == 1


def test_bad_file_in_an_archive_fails_its_symbol_and_no_other(tmp_path: Path) -> None:
    pack(tmp_path / "all.zip", "BTCUSDT.csv", csv_of(make_bars()))
    with zipfile.ZipFile(tmp_path / "all.zip", "a") as archive:
        archive.writestr("ETHUSDT.csv", "")
        archive.writestr("README.md", "about")
    found = find(tmp_path)
    assert [one.symbol for one in found.series] == ["BTCUSDT"]
    assert [str(one).rpartition("/")[2] for one in found.problems] == [
        "ETHUSDT.csv: the file is empty; download it again"
    ]


def test_other_files_are_left_out_with_a_note(tmp_path: Path) -> None:
    write_feathers(tmp_path, "BTC_USDT-1m", "BTC_USDT-1h-mark", "BTC_USDT-8h-funding_rate", "BTC_USDT-1M")
    for name in ("LICENSE", "notes.md", "a.CHECKSUM", "b.xlsx", ".hidden.csv", "_SUCCESS"):
        put(tmp_path / name, "x")
    assert find(tmp_path).notes == (
        "left out 4 files of no known format: LICENSE, a.CHECKSUM, b.xlsx and 1 more",
        "left out 2 files without bars of trades: BTC_USDT-1h-mark.feather, BTC_USDT-8h-funding_rate.feather",
        "left out 1 file of bars without a fixed length: BTC_USDT-1M.feather",
    )


def test_input_without_bars_says_what_was_there(tmp_path: Path) -> None:
    put(tmp_path / "b.xlsx", "x")
    with pytest.raises(
        DataError, match=r": no bars found; left out 1 file of no known format: b.xlsx; known formats: parquet, feather"
    ):
        find(tmp_path)


@pytest.mark.parametrize("name", ["", "nowhere", "none-*.csv"])
def test_input_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"no such file, or no files there; set data.input to a file, a folder or a pattern"
    ):
        find_series(DataSettings(input=f"{tmp_path}/{name}"))


def test_file_that_vanished_between_listing_and_reading(tmp_path: Path) -> None:
    write_feathers(tmp_path, "BTC_USDT-1m")
    series = only(tmp_path)
    (tmp_path / "BTC_USDT-1m.feather").unlink()
    with pytest.raises(DataError, match=r"BTC_USDT-1m.feather: no such file; check data.input"):
        read_series(series, DataSettings())


def test_series_without_rows_is_refused(tmp_path: Path) -> None:
    make_bars().clear().write_parquet(tmp_path / "BTCUSDT.parquet")
    with pytest.raises(DataError, match=r"BTCUSDT.parquet: no rows of BTCUSDT; check that the file is whole"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            {"format": "parket"},
            r"data.format: unknown format 'parket'; did you mean 'parquet'\? \(known: auto, parquet",
        ),
        (
            {"columns": {"opening": "o"}},
            r"data.columns: unknown column 'opening'; did you mean 'open'\?; write \{name here: name in the file\}",
        ),
        ({"timezone": "Mars/Base"}, r"data.timezone: unknown time zone 'Mars/Base'; write it as America/New_York"),
        ({"input": None}, r"data.input is not set: give a file, a folder or a URL"),
    ],
)
def test_settings_that_cannot_be_used(setting: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        find_series(DataSettings.model_validate({"input": str(tmp_path), **setting}))


def test_column_that_the_setting_names_but_the_file_lacks(tmp_path: Path) -> None:
    put(tmp_path / "BTCUSDT.csv", csv_of(make_bars()))
    with pytest.raises(
        DataError, match=r"data.columns.open names column 'opne', which the file does not have; did you mean 'open'\?"
    ):
        read(tmp_path, columns={"open": "opne"})


def test_forced_format_takes_files_of_any_suffix(tmp_path: Path) -> None:
    bars = make_bars()
    put(tmp_path / "BTCUSDT.dat", csv_of(bars))
    assert_frame_equal(read(tmp_path, format="csv"), bars, check_exact=True)


def test_thousands_of_files_are_found_from_their_names_alone(tmp_path: Path) -> None:
    for number in range(60):
        for month in range(1, 13):
            path = tmp_path / f"data/spot/monthly/klines/S{number}USDT/1m/S{number}USDT-1m-2024-{month:02}.zip"
            put(path, "never opened")
    found = find(tmp_path)
    assert not found.problems
    assert [len(one.files) for one in found.series] == [12] * 60


def test_real_futures_are_read_whole(shared_data: Path) -> None:
    found = find(shared_data / "binance_futures_1m")
    raws = [read_series(one, DataSettings()).bars for one in found.series]
    assert len(raws) == 16
    assert sum(raw.height for raw in raws) == 708_180
    assert not any(raw.null_count().sum_horizontal().sum() for raw in raws)
    assert abs(sum(map(expected_rows, found.series)) / 708_180 - 1) < 0.1
    assert str(named(found, "unknown/BTC_USDT_USDT").files[0].format) == "feather"


def test_rows_are_estimated_without_reading() -> None:
    files = (
        SourceFile("s3://x/a.parquet", 3_000_000, "", "parquet"),
        SourceFile("s3://x/b.csv.gz", 220_000, "", "csv"),
    )
    assert expected_rows(Series("x", "A", None, files)) == 100_000 + 10_000


@pytest.mark.parametrize(
    ("timeframe", "settings", "rows"),
    [
        ("1m", {}, 9_000),
        ("15m", {}, 600),
        ("1h", {"lookback_days": 1}, 24),
        ("1m", {"lookback_days": 1_000}, 9_000),
        ("1m", {"start": "2024-01-01", "end": "2024-01-03"}, 2_880),
        ("5m", {"start": "2024-01-01", "end": "2024-01-03", "lookback_days": 0.5}, 144),
        ("1m", {"start": "2024-01-01"}, 9_000),
    ],
)
@pytest.mark.parametrize(("named", "setting"), [("1m", None), (None, None), (None, "1m"), ("5m", None), (None, "5m")])
def test_bars_of_a_timeframe_are_estimated_within_the_dates_asked_for(
    named: str | None, setting: str | None, timeframe: str, settings: dict[str, object], rows: int
) -> None:
    """Files that name no timeframe, by themselves or by the settings, are taken for minutes."""
    step = 5 if "5m" in {named, setting} else 1
    files = tuple(SourceFile(f"f{number}", 1, "", "parquet", rows=4_500 // step) for number in range(2))
    data = DataSettings.model_validate(settings | {"timeframe": setting})
    assert estimate_rows(Series("x", "A", named, files), timeframe, data) == rows


@pytest.mark.parametrize(
    ("registry", "symbols"), [("models", ["BTC"]), ("elsewhere", ["A", "BTC"]), (None, ["A", "BTC"])]
)
def test_what_lies_in_the_registry_is_no_bars(registry: str | None, symbols: list[str], tmp_path: Path) -> None:
    for name in ("BTC.csv", "models/rejected/A.csv"):
        put(tmp_path / name, csv_of(make_bars()))
    where = None if registry is None else str(tmp_path / registry)
    found = find_series(DataSettings(input=str(tmp_path)), registry=where)
    assert [one.symbol for one in found.series] == symbols


def test_an_archive_may_hold_files_of_any_format(tmp_path: Path) -> None:
    bars = make_bars()
    with zipfile.ZipFile(tmp_path / "bars.zip", "w") as archive:
        for name, fmt in (("BTC_1m", "parquet"), ("ETH_1m", "feather"), ("XRP_1m", "csv")):
            archive.writestr(f"{name}.{fmt}", WRITERS[fmt](bars))
    found = find(tmp_path)
    assert [(str(one), one.files[0].format) for one in found.series] == [
        ("unknown/BTC", "parquet"),
        ("unknown/ETH", "feather"),
        ("unknown/XRP", "csv"),
    ]
    for series in found.series:
        assert_frame_equal(read_series(series, DataSettings()).bars, bars, check_exact=True)


def test_symbol_of_the_name_stays_where_the_first_row_agrees(tmp_path: Path) -> None:
    body = [f"BTC/USDT,{line}" for line in csv_of(make_bars()).splitlines()[1:]]
    put(tmp_path / "BTCUSDT.csv", "\n".join([f"symbol,{HEADER}", *body]))
    put(tmp_path / "more.csv", "\n".join([f"symbol,{HEADER}", *body]))
    found = find(tmp_path)
    assert [(one.symbol, one.symbol_column) for one in found.series] == [("BTC/USDT", "symbol"), ("BTCUSDT", None)]
    put(tmp_path / "BTCUSDT.csv", "\n".join([f"symbol,{HEADER}", *body, body[0].replace("BTC", "ETH")]))
    series = named(find(tmp_path), "unknown/BTCUSDT")
    with pytest.raises(DataError, match=r"BTCUSDT.csv: holds several symbols \(BTC/USDT, ETH/USDT\) under one name"):
        read_series(series, DataSettings())


@pytest.mark.parametrize("kind", ["string", "large_string"])
def test_of_a_file_of_many_symbols_only_one_is_loaded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pl.concat([make_bars(rows=50).with_columns(symbol=pl.lit(name)) for name in "ABC"]).to_arrow()
    symbols = table["symbol"].cast({"string": pa.string(), "large_string": pa.large_string()}[kind])
    pq.write_table(table.set_column(6, "symbol", symbols), tmp_path / "all.parquet", row_group_size=50)
    loaded, read_table = [], pq.read_table

    def counting(*args: object, **kwargs: object) -> pa.Table:
        loaded.append(read_table(*args, **kwargs))
        return loaded[-1]

    monkeypatch.setattr(pq, "read_table", counting)
    assert_frame_equal(read_series(find(tmp_path).series[1], DataSettings()).bars, make_bars(rows=50), check_exact=True)
    assert [one.num_rows for one in loaded] == [50]
