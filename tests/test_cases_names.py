"""Which bars belong together, as files and folders of the wild tell it: cases beside the project, and their kin."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from job.cli.doctor import examine
from job.config.settings import Config, DataSettings
from job.core.errors import DataError
from job.core.keys import Key
from job.core.wording import once_per_kind
from job.predict.task import path_of, superseded_path
from job.registry.outcome import Outcome, of
from job.registry.predictions import SCHEMA, Footer, table_of, write_predictions
from job.registry.record import RunRecord
from job.sources.finding import find_series
from job.sources.formats import name_of
from job.sources.problems import MOST, as_one, summarize
from job.sources.reading import read_series
from job.sources.series import WILL_FAIL, Found, Series
from job.storage.files import Storage
from job.storage.listing import list_files
from job.train.plan import make_plan
from job.worker.load_bars import read_clean
from tests.test_sources import csv_of
from tests.vendors import find, make_bars, named, put, read

JANUARY = ("2024-01-01T00:00:00+00:00", "2024-01-10T08:45:00+00:00")
FEBRUARY = ("2024-02-01T00:00:00+00:00", "2024-02-10T08:45:00+00:00")


def held(found: Found, **settings: object) -> dict[str, tuple[int, str, str]]:
    """Rows, first and last time of every series."""
    frames = {str(one): read_series(one, DataSettings.model_validate(settings)).bars for one in found.series}
    return {
        name: (bars.height, bars["timestamp"].min().isoformat(), bars["timestamp"].max().isoformat())  # type: ignore[union-attr]
        for name, bars in frames.items()
    }


CASES = {
    "05-same-name-in-each-folder/in/contracts": {"unknown/ESZ24": (900, *JANUARY), "unknown/ESH25": (900, *FEBRUARY)},
    "05-same-name-in-each-folder/in/hive_duckdb": {"unknown/ESZ24": (900, *JANUARY), "unknown/ESH25": (900, *FEBRUARY)},
    "05-same-name-in-each-folder/in/overlap": {"unknown/BTCUSDT": (900, *JANUARY), "unknown/ETHUSDT": (900, *JANUARY)},
    "06-part-names/in/dask": {"unknown/BTCUSDT": (900, *JANUARY)},
    "06-part-names/in/duckdb": {"unknown/BTCUSDT": (900, *JANUARY)},
    "16-tradingview-names/in": {"binance/BTCUSDT": (900, *JANUARY)},
    "20-numeric-tickers/in/same-time": {
        f"unknown/{ticker}": (600, "2021-01-01T00:00:00+00:00", "2022-08-23T00:00:00+00:00")
        for ticker in ("000001", "600000", "7203")
    },
    "20-numeric-tickers/in/one-empty": {
        f"unknown/{ticker}": (800, "2021-01-01T00:00:00+00:00", "2023-03-11T00:00:00+00:00")
        for ticker in ("000001", "600000", "7203")
    },
    "21-timeframe-folders/in/hive-freq": {
        "unknown/BTCUSDT": (20_000, "2024-01-01T00:00:00+00:00", "2024-01-14T21:19:00+00:00")
    },
    "21-timeframe-folders/in/1h-1d-longer": {
        "unknown/BTCUSDT": (2_000, "2024-01-01T00:00:00+00:00", "2024-03-24T07:00:00+00:00")
    },
    "22-market-folders/in/spot-perp": {
        "spot/BTCUSDT": (600, "2024-01-01T00:00:00+00:00", "2024-01-01T09:59:00+00:00"),
        "perp/BTCUSDT": (600, "2024-02-01T00:00:00+00:00", "2024-02-01T09:59:00+00:00"),
    },
    **{
        f"26-tables-beside-bars/in/{kind}": {
            "unknown/BTCUSDT": (600, "2024-01-01T00:00:00+00:00", "2024-01-01T09:59:00+00:00")
        }
        for kind in ("json", "trades", "readme-licence", "named-timeframe")
    },
}

NOTES = {
    "16-tradingview-names/in": "BTCUSDT: reading 15m; left out 1h, 1d (1d, about",
    "21-timeframe-folders/in/hive-freq": "BTCUSDT: reading 1m; left out 1h",
    "21-timeframe-folders/in/1h-1d-longer": "BTCUSDT: reading 1h; left out 1d",
    "22-market-folders/in/spot-perp": "BTCUSDT: the markets perp, spot are read as series of their own",
    "26-tables-beside-bars/in/json": "left out 1 file without any bars: config.json",
    "26-tables-beside-bars/in/trades": "left out 1 file without any bars: my_trades.csv",
    "26-tables-beside-bars/in/readme-licence": "left out 2 files without any bars: LICENSE.txt, README.txt",
    "26-tables-beside-bars/in/named-timeframe": "left out 1 file without any bars: symbols.csv",
}


@pytest.mark.parametrize("case", CASES)
def test_cases_are_read_as_the_series_that_they_hold(case: str, cases: Path) -> None:
    found = find(cases / case)
    assert held(found) == CASES[case]
    expected = ["000520.csv: there is a header and no row of data; download it again"] * case.endswith("one-empty")
    assert [str(problem).rpartition("/")[2] for problem in found.problems] == expected
    assert case not in NOTES or any(note.startswith(NOTES[case]) for note in found.notes), found.notes


@pytest.mark.parametrize(
    ("case", "timeframe", "rows"),
    [
        ("16-tradingview-names/in", "1h", 900),
        ("16-tradingview-names/in", "1d", 700),
        ("21-timeframe-folders/in/hive-freq", "1h", 334),
        ("21-timeframe-folders/in/1h-1d-longer", "1d", 234),
        ("28-finest-is-shortest/in", "1h", 20_000),
        ("28-finest-is-shortest/in", "1m", 3_000),
    ],
)
def test_the_timeframe_that_a_note_names_is_read_where_it_is_set(
    case: str, timeframe: str, rows: int, cases: Path
) -> None:
    assert read(cases / case, timeframe=timeframe).height == rows


def test_a_note_says_that_coarser_bars_reach_over_a_longer_time(cases: Path) -> None:
    (note,) = find(cases / "28-finest-is-shortest/in").notes
    assert note.startswith("EURUSD: reading 1m; left out 1h (1h, about 4")
    assert note.endswith(" times as long: set data.timeframe to read it)")


def test_tickers_of_digits_are_asked_for_by_name(cases: Path) -> None:
    found = find(cases / "20-numeric-tickers/in/one-empty", symbols=("000001", "7203"))
    assert ([one.symbol for one in found.series], found.problems) == (["000001", "7203"], ())


def test_linked_files_and_folders_are_read_once(cases: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    shutil.copytree(cases / "02-symlinks/in", folder, symlinks=True)
    for link in (folder / "bars/BTCUSDT-15m-2024-02.csv", folder / "bars2/binance"):
        if not link.is_symlink():  # a copy in which links became texts
            target = link.read_text().strip()
            link.unlink()
            link.symlink_to(target)
    assert held(find(folder / "bars")) == {"unknown/BTCUSDT": (1800, JANUARY[0], FEBRUARY[1])}
    assert held(find(folder / "bars2")) == {"binance/BTCUSDT": (900, *FEBRUARY)}
    found = find(folder)
    assert held(found) == {"unknown/BTCUSDT": (1800, JANUARY[0], FEBRUARY[1])}
    assert found.notes == ("left out 2 files (links to what is read anyway): binance, BTCUSDT-15m-2024-02.csv",)
    assert held(find_series(DataSettings(input=f"{folder}/bars2/*/*.csv"))) == {"binance/BTCUSDT": (900, *FEBRUARY)}


def test_links_in_circles_and_to_nothing_are_named(tmp_path: Path) -> None:
    put(tmp_path / "a" / "BTCUSDT.csv", csv_of(make_bars()))
    put(tmp_path / "b" / "ETHUSDT.csv", csv_of(make_bars()))
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    (tmp_path / "a" / "up").symlink_to("..")
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    (tmp_path / "self.csv").symlink_to("self.csv")
    found = find(tmp_path)
    assert [(one.symbol, len(one.files)) for one in found.series] == [("BTCUSDT", 1), ("ETHUSDT", 1)]
    assert [note.partition(":")[0] for note in found.notes] == [
        "left out 1 file (links that lead back to a folder above them)",
        "left out 2 files (links that lead nowhere)",
        "left out 2 files (links to what is read anyway)",
    ]


def test_a_linked_folder_is_stamped_by_what_it_leads_to(tmp_path: Path) -> None:
    put(tmp_path / "far" / "BTCUSDT.csv", csv_of(make_bars()))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "BTCUSDT.csv").symlink_to("../far/BTCUSDT.csv")
    (real,), (linked,) = list_files(str(tmp_path / "far"), {}), list_files(str(tmp_path / "in"), {})
    assert (linked.size, linked.stamp) == (real.size, real.stamp)
    (alone,) = list_files(str(tmp_path / "in" / "BTCUSDT.csv"), {})
    assert alone.stamp == real.stamp


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        *(
            (f"/x/{folder}/{stem}", (None, "BTCUSDT", None))
            for folder in (
                "BTCUSDT",
                "BTCUSDT/2024/01",
                "BTCUSDT/year=2024/month=01",
                "BTCUSDT/raw",
                "BTCUSDT/date=2024-01-02",
            )
            for stem in (
                *("ohlcv.csv", "OHLCV.csv", "data_0.parquet", "part.0.parquet", "part-0-1.parquet", "file_12.csv"),
                *("part-00000-3fa85f64-5717-4562-b3fc-2c963f66afa6.c000.snappy.parquet", "0000_part_00.parquet"),
                *("3fa85f64-5717-4562-b3fc-2c963f66afa6-0.parquet", "run-16-part-block-0-r-00001-snappy.parquet"),
                *("2024-01-01_2024-02-01.csv", "2024-01-01_to_2024-02-01.csv", "2024Q1.csv", "year=2024.csv"),
            )
        ),
        ("/x/BTCUSDT/15m.csv", (None, "BTCUSDT", "15m")),
        ("/x/BTCUSDT/candles_1h.csv", (None, "BTCUSDT", "1h")),
        ("/x/BTCUSDT/1h_2024.csv", (None, "BTCUSDT", "1h")),
        ("/x/binance/BTCUSDT/1h/ohlcv.csv", ("binance", "BTCUSDT", "1h")),
        ("/x/1d/BTCUSDT.csv", (None, "BTCUSDT", "1d")),
        ("/x/daily/AAPL.csv", (None, "AAPL", "1d")),
        ("/x/freq=1min/symbol=BTC/part.parquet", (None, "BTC", "1m")),
        *(
            (f"/x/{key}=ESZ24/data_0.parquet", (None, "ESZ24", None))
            for key in (
                "ticker",
                "asset",
                "instrument",
                "contract",
                "coin",
                "pair",
                "unique_id",
                "name",
                "code",
                "Symbol",
            )
        ),
        ("/x/asset=crypto/BTCUSDT.csv", (None, "BTCUSDT", None)),
        ("/x/asset_class=crypto/venue=okx/pair=BTC-USDT/tf=5m/0.parquet", ("okx", "BTC-USDT", "5m")),
        ("/x/BINANCE_BTCUSDT, 15.csv", ("binance", "BTCUSDT", "15m")),
        ("/x/BINANCE_BTCUSDT, 1D.csv", ("binance", "BTCUSDT", "1d")),
        ("/x/BINANCE_BTCUSDT.P, 240_1a2b3.csv", ("binance", "BTCUSDT.P", "4h")),
        ("/x/NASDAQ_AAPL, D.csv", ("nasdaq", "AAPL", "1d")),
        ("/x/EURUSD,M15.csv", (None, "EURUSD", "15m")),
        ("/x/EURUSD_Candlestick_1_M_BID_01.01.2023-31.12.2023.csv", (None, "EURUSD", "1m")),
        ("/x/EURUSD_Candlestick_4_Hour_ASK_01.01.2023-31.12.2023.csv", (None, "EURUSD", "4h")),
        ("/x/eurusd-m1-bid-2023-01-01-2023-12-31.csv", (None, "eurusd", "1m")),
        *(
            (f"/x/stocks/{ticker}.csv", (None, ticker, None))
            for ticker in ("ALL", "D", "OPEN", "T", "600000.SH", "0700.HK")
        ),
        ("/x/600000_1d.csv", (None, "600000", "1d")),
        ("/x/BTCUSDT_2024-02-20T00-00-00.csv", (None, "BTCUSDT", None)),
        ("/x/BTCUSDT-1h-20240220T000000Z.csv", (None, "BTCUSDT", "1h")),
    ],
)
def test_a_symbol_is_never_a_word_a_part_or_a_timeframe(
    path: str, expected: tuple[str | None, str, str | None]
) -> None:
    name = name_of(path)
    assert (name.exchange, name.symbol, name.timeframe) == expected


def write_all(folder: Path, bars: dict[str, pl.DataFrame]) -> None:
    for name, frame in bars.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            put(path, csv_of(frame))
        else:
            frame.write_parquet(path)


WHOLE = make_bars(rows=400)
OTHER = make_bars(rows=400, seed=9).with_columns(pl.col("open", "high", "low", "close") * 3)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "names",
    [
        ("2023", "2024"),
        ("202401", "202402"),
        ("0", "1"),
        ("00", "01"),
        ("000000", "000001"),
        ("0000", "0001"),
        ("1704067200", "1704070800"),
        ("20240101", "20240102"),
        ("1", "2"),
        ("2024-01", "2024-02"),
    ],
)
def test_numbers_that_count_up_and_dates_are_parts(names: tuple[str, str], suffix: str, tmp_path: Path) -> None:
    first, second = WHOLE[:200], WHOLE[200:].with_columns(pl.col("timestamp") + timedelta(days=300))
    write_all(tmp_path, {f"BTCUSDT/{name}.{suffix}": part for name, part in zip(names, (first, second), strict=True)})
    found = find(tmp_path)
    assert [(one.symbol, len(one.files)) for one in found.series] == [("BTCUSDT", 2)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize(
    "names",
    [
        ("600000", "000001"),
        ("000001", "000002"),
        ("7203", "2002"),
        ("2001", "2002"),
        ("005930", "000660"),
        ("200011", "200012"),
    ],
)
def test_numbers_with_other_bars_at_the_same_times_are_tickers(
    names: tuple[str, str], suffix: str, tmp_path: Path
) -> None:
    write_all(tmp_path, {f"stocks/{name}.{suffix}": bars for name, bars in zip(names, (WHOLE, OTHER), strict=True)})
    found = find(tmp_path)
    assert {one.symbol for one in found.series} == set(names)
    (lone,) = find(tmp_path / "stocks" / f"{names[0]}.{suffix}", symbols=(names[0],)).series
    assert lone.symbol == names[0]


def test_parts_that_were_written_in_any_order_stay_one_series(tmp_path: Path) -> None:
    write_all(tmp_path, {"BTCUSDT/0001.parquet": WHOLE[::2], "BTCUSDT/0002.parquet": WHOLE[1::2]})
    assert [one.symbol for one in find(tmp_path).series] == ["BTCUSDT"]


@pytest.mark.parametrize(
    ("one", "other", "exchanges"),
    [
        ("spot/BTCUSDT-1m.csv", "futures/BTCUSDT-1m.csv", ["futures", "spot"]),
        ("binance/spot/BTCUSDT.csv", "binance/usdt-m/BTCUSDT.csv", ["binance-spot", "binance-usdt-m"]),
        ("BTCUSDT-1m-spot.csv", "BTCUSDT-1m-perp.csv", ["perp", "spot"]),
        ("market=spot/symbol=BTCUSDT/0.parquet", "market=perp/symbol=BTCUSDT/0.parquet", ["perp", "spot"]),
        (
            "E_Candlestick_1_M_BID_01.01.2024-02.01.2024.csv",
            "E_Candlestick_1_M_ASK_01.01.2024-02.01.2024.csv",
            ["ask", "bid"],
        ),
        ("BTCUSDT-1m.csv", "perp/BTCUSDT-1m.csv", ["perp", "unknown"]),
        ("okx/BTCUSDT.csv", "bybit/BTCUSDT.csv", ["bybit", "okx"]),
    ],
)
@pytest.mark.parametrize("shift", [0, 31])
def test_markets_are_series_of_their_own(
    one: str, other: str, exchanges: list[str], shift: int, tmp_path: Path
) -> None:
    write_all(tmp_path, {one: WHOLE, other: OTHER.with_columns(pl.col("timestamp") + timedelta(days=shift))})
    found = find(tmp_path)
    assert not found.problems
    assert [series.exchange for series in found.series] == exchanges
    assert all(read_series(series, DataSettings()).bars.height == 400 for series in found.series)


def test_a_market_alone_changes_no_name(tmp_path: Path) -> None:
    write_all(tmp_path, {"binance/spot/BTCUSDT-1m.csv": WHOLE, "binance/spot/ETHUSDT-1m.csv": OTHER})
    assert list(map(str, find(tmp_path).series)) == ["binance/BTCUSDT", "binance/ETHUSDT"]


@pytest.mark.parametrize("name", ["EURUSD.csv", "EURUSD-1m.parquet", "symbol=EURUSD/0.parquet"])
@pytest.mark.parametrize("shift", [0, 31])
def test_one_name_in_two_folders_is_refused_unless_the_bars_are_of_one_series(
    name: str, shift: int, tmp_path: Path
) -> None:
    one, other = ("source=a", "source=b") if "=" in name else ("broker_a", "broker_b")
    write_all(
        tmp_path,
        {f"{one}/{name}": WHOLE, f"{other}/{name}": OTHER.with_columns(pl.col("timestamp") + timedelta(days=shift))},
    )
    (problem,) = find(tmp_path).problems
    assert f"{one}/{name} and " in str(problem)
    assert f"{other}/{name} may be one series or two" in str(problem)
    assert read(tmp_path / one).height == 400  # the remedy: one folder as the input
    (tmp_path / one).rename(tmp_path / "exchange=a")
    assert [str(found) for found in find(tmp_path).series] == ["a/EURUSD", "unknown/EURUSD"]


@pytest.mark.parametrize("kind", ["equal bars", "one goes on"])
def test_one_name_in_two_folders_is_one_series_where_the_bars_say_so(kind: str, tmp_path: Path) -> None:
    one, other = (WHOLE[:200], WHOLE[200:]) if kind == "one goes on" else (WHOLE[:300], WHOLE[100:])
    write_all(tmp_path, {"archive/EURUSD.csv": one, "live/EURUSD.csv": other})
    assert read_clean(find(tmp_path).series[0], DataSettings())[0].bars.equals(WHOLE)


def followed() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars of two contracts: the second begins where the first ends, at prices that differ by less than bars move."""
    first, second = WHOLE[:200], WHOLE[200:]
    return first, second.with_columns(pl.col("open", "high", "low", "close") * 1.006)


@pytest.mark.parametrize(
    ("one", "other", "symbols"),
    [
        ("contract_code=ESZ24/0.parquet", "contract_code=ESH25/0.parquet", ["ESH25", "ESZ24"]),
        ("instrumentId=ESZ24/0.parquet", "instrumentId=ESH25/0.parquet", ["ESH25", "ESZ24"]),
        ("root_symbol=ES/contract_code=ESZ24/0.parquet", "root_symbol=ES/contract_code=ESH25/0.parquet", None),
        ("symbol=ES/contract=ESZ24/0.parquet", "symbol=ES/contract=ESH25/0.parquet", []),
        ("symbol=ES/contract=202412/0.parquet", "symbol=ES/contract=202503/0.parquet", []),
        ("symbol=ES/expiry=202412/0.parquet", "symbol=ES/expiry=202503/0.parquet", []),
        ("asset=crypto/symbol=X/0.parquet", "asset=fx/symbol=X/0.parquet", []),
        ("market=spot/side=bid/symbol=X/0.parquet", "market=spot/side=ask/symbol=X/0.parquet", []),
        ("bid/spot/X.csv", "ask/spot/X.csv", []),
        ("vendor=a/X.csv", "vendor=b/X.csv", []),
        ("december/ES.csv", "march/ES.csv", []),
        ("stocks/600000.csv", "stocks/005930.csv", ["005930", "600000"]),
    ],
)
def test_series_that_follow_each_other_are_not_put_together(
    one: str, other: str, symbols: list[str] | None, tmp_path: Path
) -> None:
    write_all(tmp_path, dict(zip((one, other), followed(), strict=True)))
    found = find(tmp_path)
    expected = ["ESH25", "ESZ24"] if symbols is None else symbols
    assert [series.symbol for series in found.series] == expected
    assert ["may be one series or two" in str(problem) for problem in found.problems] == [True] * (not expected)
    assert read(tmp_path / one).height == 200  # the remedy


def test_contracts_that_follow_each_other_in_one_file_are_refused(tmp_path: Path) -> None:
    frame = pl.concat(
        bars.with_columns(pl.lit(name).alias("contract_name"))
        for name, bars in zip(("Z24", "H25"), followed(), strict=True)
    )
    frame.write_parquet(tmp_path / "es.parquet")
    with pytest.raises(DataError, match="column 'contract_name' holds H25, Z24, and prices jump where it changes"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("BTCUSDT_15m_{}", "BTCUSDT"),
        ("BTCUSDT_15m_part_{}", "BTCUSDT"),
        ("BTCUSDT-15m-part{}", "BTCUSDT"),
        ("BTCUSDT.{}", "BTCUSDT"),
        ("BTCUSDT_p{}", "BTCUSDT"),
        ("1INCHUSDT_{}", "1INCHUSDT"),
    ],
)
def test_parts_under_names_with_numbers_are_one_symbol(name: str, symbol: str, tmp_path: Path) -> None:
    bars = make_bars(rows=300, step="15m")
    write_all(tmp_path, {f"{name.format(part)}.csv": bars[part * 100 : part * 100 + 100] for part in range(3)})
    (series,) = find(tmp_path).series
    assert series.symbol == symbol
    assert read_series(series, DataSettings()).bars.equals(bars)


UNKNOWN_KEYS = ("contract", "Name", "unique_id", "code", "asset")


def stacked(bars: dict[str, pl.DataFrame], key: str) -> pl.DataFrame:
    return pl.concat([frame.with_columns(pl.lit(value).alias(key)) for value, frame in bars.items()])


@pytest.mark.parametrize("suffix", ["csv", "parquet", "feather", "json"])
@pytest.mark.parametrize("key", UNKNOWN_KEYS)
@pytest.mark.parametrize("shift", [0, 31])
def test_several_series_under_an_unknown_key_are_refused_and_read_as_the_message_says(
    key: str, shift: int, suffix: str, tmp_path: Path
) -> None:
    frame = stacked({"ESZ24": WHOLE, "ESH25": OTHER.with_columns(pl.col("timestamp") + timedelta(days=shift))}, key)
    path = tmp_path / f"es.{suffix}"
    if suffix == "csv":
        frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%d %H:%M:%S")).write_csv(path)
    elif suffix == "json":
        rows = frame.with_columns(pl.col("timestamp").dt.epoch("ms")).to_dicts()
        path.write_text(json.dumps(rows))
    else:
        (frame.write_parquet if suffix == "parquet" else frame.write_ipc)(path)
    reason = "prices jump where it changes" if shift else "times come again with other prices where it changes"
    with pytest.raises(DataError, match=rf"column '{key}' holds ESH25, ESZ24, and {reason}.*columns.symbol={key} "):
        read(tmp_path)
    found = find(tmp_path, columns={"symbol": key})
    assert {name: rows for name, (rows, _, _) in held(found, columns={"symbol": key}).items()} == {
        "unknown/ESH25": 400,
        "unknown/ESZ24": 400,
    }


def test_the_case_of_two_contracts_in_one_file(cases: Path) -> None:
    folder = cases / "14-several-series-under-an-unknown-key/in/glued"
    with pytest.raises(DataError, match=r"es.csv: column 'contract' holds ESH25, ESZ24.* data.columns.symbol=contract"):
        read(folder)
    columns = {"symbol": "contract"}
    expected = {"unknown/ESZ24": (900, *JANUARY), "unknown/ESH25": (900, *FEBRUARY)}
    assert held(find(folder, columns=columns), columns=columns) == expected


def test_numbers_that_name_series_are_refused_too(tmp_path: Path) -> None:
    frame = pl.concat([WHOLE.with_columns(permno=pl.lit(10107)), OTHER.with_columns(permno=pl.lit(14593))])
    frame.write_parquet(tmp_path / "crsp.parquet")
    with pytest.raises(DataError, match=r"column 'permno' holds 10107, 14593, .* set data.columns.symbol=permno"):
        read(tmp_path)
    assert [one.symbol for one in find(tmp_path, columns={"symbol": "permno"}).series] == ["10107", "14593"]


@pytest.mark.parametrize(
    "labels",
    [
        pl.Series(["RTH", "ETH"] * 200),  # a flag
        pl.Series(["a"] * 400),  # one value
        pl.Series(["a"] * 200 + ["b"] * 200),  # a change of source without a jump
        pl.Series([f"n{number}" for number in range(400)]),  # remarks
        pl.Series([None, "x"] * 200),
    ],
)
def test_text_that_tells_no_series_apart_is_left_alone(labels: pl.Series, tmp_path: Path) -> None:
    WHOLE.with_columns(labels.alias("remark")).write_parquet(tmp_path / "BTCUSDT.parquet")
    assert read(tmp_path).equals(WHOLE)


def test_conflicting_duplicates_name_the_files_that_collide(tmp_path: Path) -> None:
    write_all(tmp_path, {"BTCUSDT_2023.csv": WHOLE[:250], "BTCUSDT_2024.csv": OTHER[150:]})
    series = find(tmp_path).series[0]
    with pytest.raises(DataError, match=r"BTCUSDT_2023.csv and .*BTCUSDT_2024.csv differ at 100 times, first at 2024"):
        read_clean(series, DataSettings())


TRADES = "time,symbol,side,price,qty,fee\n2024-01-01,BTCUSDT,buy,1,1,0\n2024-01-02,BTCUSDT,sell,1,1,0\n"
STRAYS: dict[str, str | pl.DataFrame] = {
    "my_trades.csv": TRADES,
    "BTCUSDT-1m-trades.csv": TRADES,
    "funding/BTCUSDT-8h.csv": "time,rate\n2024-01-01,0.1\n2024-01-02,0.1\n2024-01-03,0.1\n",
    "BTCUSDT_funding.csv": "time,symbol,rate,mark,x\n1,BTCUSDT,1,1,1\n",
    "symbols.csv": "symbol,base,quote,tick,min,status\nBTCUSDT,BTC,USDT,0.1,0.1,TRADING\n",
    "symbols.json": '["BTCUSDT", "ETHUSDT"]',
    "config.json": '{"exchange": "binance"}',
    "meta.json": '[{"symbol": "BTCUSDT", "base": "BTC"}]',
    "BTCUSDT.txt": "These are bars.\nTaken from somewhere.\n",
    "README.txt": "MIT",
    "list.parquet": pl.DataFrame({"symbol": ["BTCUSDT"], "base": ["BTC"]}),
}


@pytest.mark.parametrize("name", STRAYS)
def test_what_is_no_bars_is_a_note_and_costs_no_series(name: str, tmp_path: Path) -> None:
    stray = STRAYS[name]
    put(tmp_path / "BTCUSDT-1m.csv", csv_of(WHOLE))
    if isinstance(stray, str):
        put(tmp_path / name, stray)
    else:
        stray.write_parquet(tmp_path / name)
    found = find(tmp_path)
    assert found.problems == ()
    assert [str(one) for one in found.series] == ["unknown/BTCUSDT"]
    assert found.notes == (f"left out 1 file without any bars: {name.rpartition('/')[2]}",)
    (tmp_path / "BTCUSDT-1m.csv").unlink()
    with pytest.raises(DataError):  # alone, it is what the user meant
        raise find(tmp_path).problems[0]


@pytest.mark.parametrize(
    "text",
    ["Too many requests", '{"code": -1003, "msg": "Too many requests"}', "<html>503</html>"],
)
def test_a_failed_download_fails_the_series_whose_part_it_is(text: str, tmp_path: Path) -> None:
    put(tmp_path / "BTCUSDT-1m-2024-01.csv", csv_of(WHOLE))
    put(tmp_path / "BTCUSDT-1m-2024-02.csv", text)
    found = find(tmp_path)
    assert (found.series, len(found.problems)) == ((), 1)
    assert "BTCUSDT-1m-2024-02.csv" in str(found.problems[0])


@pytest.mark.parametrize("text", ["", "time,open,high,low,close,volume\n"])
def test_an_empty_part_is_a_note(text: str, tmp_path: Path) -> None:
    put(tmp_path / "BTCUSDT-1m-2024-01.csv", csv_of(WHOLE))
    put(tmp_path / "BTCUSDT-1m-2024-02.csv", text)
    found = find(tmp_path)
    assert found.problems == ()
    assert read_series(found.series[0], DataSettings()).bars.equals(WHOLE)
    (note,) = found.notes
    assert note.startswith("left out 1 file without a row: ")
    assert "BTCUSDT-1m-2024-02.csv" in note


def test_bars_with_names_that_nobody_knows_stay_a_problem(tmp_path: Path) -> None:
    put(tmp_path / "ETHUSDT.csv", csv_of(WHOLE))
    rows = csv_of(OTHER).splitlines()[1:]
    put(tmp_path / "BTCUSDT.csv", "\n".join(["alpha,beta,gamma,delta,epsilon,zeta", *rows]))
    found = find(tmp_path)
    assert [one.symbol for one in found.series] == ["BTCUSDT", "ETHUSDT"]
    (note,) = found.notes
    assert note.startswith(f"{WILL_FAIL}{tmp_path}/BTCUSDT.csv: no column for timestamp, open, high, low, close among")


def test_plan_and_doctor_say_what_would_fail(tmp_path: Path) -> None:
    put(tmp_path / "bars" / "ETHUSDT-1m.csv", csv_of(WHOLE))
    put(tmp_path / "bars" / "BTCUSDT-1m.csv", csv_of(WHOLE).replace("close", "settle"))
    places = {"data": {"input": str(tmp_path / "bars")}, "model_trainer": {"model_directory": str(tmp_path / "models")}}
    config = Config.model_validate(places)
    assert [note for note in make_plan(config).notes if note.startswith(f"{WILL_FAIL}{tmp_path}/bars/BTCUSDT-1m.csv")]
    _, _, *findings = takewhile(lambda one: one.subject != "store", examine(config))  # the nodes come after that
    assert [(one.good, one.text.partition(":")[0]) for one in findings] == [(False, "will fail")]
    assert read(tmp_path / "bars", columns={"close": "settle"}, symbols=("BTCUSDT",)).equals(WHOLE)


def test_many_problems_are_a_count_examples_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for number in range(60):
        put(tmp_path / "in" / f"S{number}USDT.csv", "<html>503</html>")
    config = Config.model_validate({"data": {"input": str(tmp_path / "in")}})
    with pytest.raises(DataError) as caught:
        make_plan(config)
    (kept,) = (tmp_path / "temporary").iterdir()
    assert len(str(caught.value)) < 1_000
    assert f"and 57 more files or series that cannot be used; all 60 stand in {kept}" in str(caught.value)
    assert len(kept.read_text().splitlines()) == 60
    few = [DataError(str(number)) for number in range(MOST)]
    assert summarize(few) == [str(number) for number in range(MOST)]
    assert str(as_one(few[:2])) == "0; 1"


def test_notes_of_one_kind_are_one_line(tmp_path: Path) -> None:
    for number in range(9):
        write_all(tmp_path, {f"S{number}-1m.csv": WHOLE, f"S{number}-1h.csv": make_bars(rows=9, step="1h")})
    assert find(tmp_path).notes == ("S0, S1, S2 and 6 more: reading 1m; left out 1h",)


def test_warnings_of_one_kind_are_one_line_on_the_terminal_and_in_the_record() -> None:
    record: RunRecord[Outcome] = RunRecord(
        "r", Config(), operation="train", planned=30, statuses=("trained", "current", "failed")
    )
    for number in range(30):
        warnings = (
            f"unknown/S{number:02}: no volume is read",
            f"unknown/S{number:02}: times are those of 'c{number % 3}', by its name the end of a bar",
            f"unknown/S{number:02}: rejected off_grid {number}; kept in rejected/unknown/S{number:02}/{number}.parquet",
        )
        record.add(replace(of(Key("unknown", f"S{number:02}", "1h", "analyst"), "trained"), warnings=warnings))
    lines = once_per_kind(record.warnings())
    named = [f"unknown/S{number:02}" for number in range(0, 30, 3)]
    assert lines == [
        f"{', '.join(f'unknown/S{number:02}' for number in range(10))} and 20 more: no volume is read",
        f"{', '.join(named)}: times are those of 'c0', by its name the end of a bar (and 20 more of this kind)",
        "unknown/S00: rejected off_grid 0; kept in rejected/unknown/S00/0.parquet (and 29 more of this kind)",
    ]
    assert [problem["message"] for problem in record.as_dict()["problems"]] == lines


def test_notes_stand_in_the_run_record(tmp_path: Path) -> None:
    record: RunRecord[Outcome] = RunRecord(
        "r", Config(), operation="train", planned=0, statuses=("trained", "current", "failed")
    )
    record.notes = ("left out 1 file without any bars: x",)
    record.finish("finished")
    kept = record.as_dict()
    assert kept["problems"] == [{"type": "Note", "message": "left out 1 file without any bars: x"}]
    assert (kept["counts"]["failed"], record.exit_status) == (0, 0)


NAMES = [
    ("600000", "000001"),
    ("600000",),
    ("2024-01-02", "2024-01-03"),
    ("true", "false"),
    ("1.5", "2e3"),
    ("BTC/USDT", "600000"),
    ("null", "NaN"),
    ("a=b", "c"),
    ("2024-01-02T00:00:00", "inf"),
]


@pytest.mark.parametrize("symbols", NAMES)
def test_predictions_of_any_symbols_are_read_by_every_reader(symbols: tuple[str, ...], tmp_path: Path) -> None:
    output = tmp_path / "out"
    store = Storage(str(output))
    times = [datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)]
    for symbol in symbols:
        frame = pl.DataFrame(
            {
                "exchange": ["1"] * 2,
                "symbol": [symbol] * 2,
                "timeframe": ["1h"] * 2,
                "model_type": ["true"] * 2,
                "timestamp": times,
                "available_at": times,
                "probability_down": [0.4] * 2,
                "probability_up": [0.6] * 2,
                "prediction": ["up"] * 2,
                "version": ["v"] * 2,
            }
        )
        footer = Footer("f", "c", None, "v", 2, "2024", {})
        write_predictions(store, path_of(Key("1", symbol, "1h", "true")), table_of(frame), footer)
    pattern = f"{output}/**/*.parquet"
    readings = {
        "pandas": pd.read_parquet(output),
        "pandas, filtered": pd.read_parquet(output, filters=[("symbol", "in", list(symbols))]),
        "pyarrow": ds.dataset(output, partitioning="hive").to_table().to_pandas(),
        "polars": pl.scan_parquet(output, hive_partitioning=True).collect().to_pandas(),
        "polars, as it comes": pl.scan_parquet(output).collect().to_pandas(),
        "duckdb": duckdb.read_parquet(pattern).df(),
        "duckdb, hive": duckdb.read_parquet(pattern, hive_partitioning=True).df(),
    }
    for reader, frame in readings.items():
        assert sorted(frame.columns) == sorted(SCHEMA.names), reader
        assert sorted(frame["symbol"].tolist()) == sorted([*symbols] * 2), reader
        assert set(frame["exchange"]) == {"1"}, reader


def test_a_file_of_predictions_in_the_folders_of_earlier_releases_is_another() -> None:
    key = Key("binance", "BTC/USDT", "1h", "analyst")
    assert path_of(key) == "binance/BTC%2FUSDT/1h/analyst/predictions.parquet"
    assert superseded_path(key) == (
        "exchange=binance/symbol=BTC%2FUSDT/timeframe=1h/model_type=analyst/predictions.parquet"
    )


def test_symbols_of_digits_are_found_in_the_folders_of_hive(cases: Path) -> None:
    found = find(cases / "10-predictions-of-numeric-symbols/in")
    assert [str(one) for one in found.series] == ["sse/000001", "sse/600000"]
    assert named(found, "sse/600000") != Series("sse", "600000", None, ())
