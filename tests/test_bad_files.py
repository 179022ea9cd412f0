"""Files that cannot be read right are refused in one line that names the file and says what to do."""

import gzip
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.columns.unnamed import check_ohlc_order
from job.sources.reading import read_series
from tests.vendors import KLINES_HEADER, PRICES, epoch, find, klines, lines, make_bars, pack, put, read, values

HEAD = "time,open,high,low,close,volume\n"
GOOD = HEAD + "2024-01-01 00:00,1,2,0.5,1,5\n2024-01-01 00:01,1,2,0.5,1,5\n"

BAD_TEXT = {
    "empty": ("", "BTCUSDT.csv: the file is empty; download it again"),
    "blank": ("\ufeff\r\n\n  \n", "the file is empty"),
    "web page": ("<!DOCTYPE html><html><body>404</body></html>", "web page or an error report, not bars"),
    "xml error": ('<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page or an error report"),
    "json in csv": ('{"code":-1121,"msg":"Invalid symbol."}', "this is JSON, not delimited text"),
    "json list in csv": ("[[1,2,3]]", "this is JSON, not delimited text"),
    "prose": ("See the manual\nfor details\n", "no delimiter .* splits it .* begins with 'See"),
    "binary": ("a,b,c,d,e\0\n1,2,3,4,5\n", "this is no text; set data.format"),
    "header only": (HEAD, "a header and no row of data"),
    "no close": (
        HEAD.replace("close", "x") + "2024-01-01,1,2,0.5,1,5",
        r"no column for close among .*, x, volume; name it in data.columns, such as \{close",
    ),
    "two closes": (
        HEAD.replace("volume", "Close") + "2024-01-01,1,2,0.5,1,5",
        "2 columns are called 'close'; choose by number",
    ),
    "text in a number": (
        GOOD + "2024-01-01 00:02,1,2,0.5,abc,5",
        "BTCUSDT.csv: column 'close', row 3: 'abc' is not a number; correct the row",
    ),
    "header again": (GOOD + GOOD, "row 3: 'open' is not a number|row 3: 'time' is not a time"),
    "decimal comma or thousands": (
        HEAD.replace(",", ";")
        + "2024-01-01 00:00;1,234;1,234;1,234;1,234;5\n2024-01-01 00:01;1,234;1,235;1,234;1,234;5",
        "'1,234' may be 1234 or 1.234, and no number tells; set data.decimal to point if .* the former, to comma",
    ),
    "decimal comma and point": (
        GOOD.replace(",", ";").replace("0.5", "0,5", 1),
        "'0.5' has a decimal point, '0,5' a decimal comma; write all numbers alike",
    ),
    "no time": (GOOD.replace("2024-01-01 00:01", "yesterday"), "column 'timestamp', row 2: 'yesterday' is not a time"),
    "row numbers for times": (
        HEAD + "0,1,2,0.5,1,5\n1,1,2,0.5,1,5",
        "row 1: '0' is not a time;.* set data.columns.timestamp",
    ),
    "more fields": (GOOD + "2024-01-01 00:02,1,2,0.5,1,5,6", "row 3 has 7 fields, not 6; correct it or download"),
    "wide headerless": (
        "\n".join(f"170000{i}000,1,2,0.5,1,5,6,7" for i in range(9)),
        "8 columns without names; set data.format .* or data.columns",
    ),
    "day or month": (GOOD.replace("2024-01-01", "01/02/2024"), "may be day/month or month/day, and no row tells"),
}


@pytest.mark.parametrize("case", BAD_TEXT)
def test_bad_text_is_refused_with_a_remedy(case: str, tmp_path: Path) -> None:
    text, message = BAD_TEXT[case]
    put(tmp_path / "BTCUSDT.csv", text)
    with pytest.raises(DataError, match=message) as caught:
        _first(tmp_path)
    assert "\n" not in str(caught.value)
    assert "BTCUSDT.csv" in str(caught.value)


def _first(folder: Path, **settings: object) -> pl.DataFrame:
    """Read the only series, or raise the problem that stands for it."""
    found = find(folder, **settings)
    for problem in found.problems:
        raise problem
    return read_series(found.series[0], DataSettings.model_validate(settings)).bars


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (("open", "low", "high", "close"), "columns 2 to 5 do not behave as open, high, low, close"),
        (("open", "close", "high", "low"), "columns 2 to 5 do not behave"),
        (("close", "high", "low", "open"), "columns 2 and 5 look like close and open"),
        (("low", "high", "open", "close"), "columns 2 to 5 do not behave"),
    ],
)
@pytest.mark.parametrize("newest_first", [False, True])
def test_headerless_file_in_another_order_is_refused(
    order: tuple[str, ...], message: str, newest_first: bool, tmp_path: Path
) -> None:
    bars = make_bars().reverse() if newest_first else make_bars()
    rows = [epoch(bars, "s"), *(bars[name] for name in order), bars["volume"]]
    put(tmp_path / "BTCUSDT.csv", "\n".join(lines(rows)))
    with pytest.raises(DataError, match=rf"no header, and {message}.*set data.format to the vendor's, or data.columns"):
        read(tmp_path)


def test_headerless_file_with_a_price_for_volume_is_refused(tmp_path: Path) -> None:
    bars = make_bars()
    put(tmp_path / "BTCUSDT.csv", "\n".join(lines([epoch(bars, "s"), *(bars[name] for name in PRICES), bars["close"]])))
    with pytest.raises(DataError, match="column 6 looks like a price, not a volume"):
        read(tmp_path)


def test_headerless_file_with_few_bad_bars_is_read(tmp_path: Path) -> None:
    bars = make_bars()
    rows = lines([epoch(bars, "s"), *values(bars)])
    bad = rows[7].split(",")
    rows[7] = ",".join([bad[0], bad[1], "1", "2", *bad[4:]])
    put(tmp_path / "BTCUSDT.csv", "\n".join(rows))
    assert read(tmp_path)["high"][7] == 1.0


def test_arrays_in_another_order_are_refused(tmp_path: Path) -> None:
    bars = make_bars()
    rows = zip(epoch(bars, "ms"), bars["open"], bars["close"], bars["high"], bars["low"], bars["volume"], strict=True)
    put(tmp_path / "BTCUSD.json", json.dumps([list(row) for row in rows]))
    with pytest.raises(DataError, match=r"columns 2 to 5 do not behave.*set data.columns to their numbers"):
        read(tmp_path)
    columns = {"timestamp": "1", "open": "2", "close": "3", "high": "4", "low": "5", "volume": "6"}
    assert_frame_equal(read(tmp_path, columns=columns), bars, check_exact=True)


BAD_JSON = {
    "object": ('{"code":-1121,"msg":"Invalid symbol."}', 'expected a list of bars, found \'{"code"'),
    "empty list": ("[]", "expected a list of bars"),
    "truncated": ("[[1700000000000,1,2,0.5,1,5],[17000000600", "truncated or no JSON"),
    "uneven": (
        "[[1700000000000,1,2,0.5,1,5],[1700000060000,1,2,0.5,1,5],[1700000120000,1,2]]",
        "row 3 has 3 values, most have 6",
    ),
    "narrow": ("[[1700000000000,1,2,0.5]]", "arrays of 4 values without names; set data.columns"),
    "text": (
        '[[1700000000000,1,2,0.5,"abc",5],[1700000060000,1,2,0.5,1,5]]',
        "column 'close', row 1: 'abc' is not a number",
    ),
    "other keys": ('[{"when":1700000000000,"price":1}]', "no column for timestamp, open, high, low, close"),
}


@pytest.mark.parametrize("case", BAD_JSON)
def test_bad_json_is_refused_with_a_remedy(case: str, tmp_path: Path) -> None:
    text, message = BAD_JSON[case]
    put(tmp_path / "BTCUSDT.json", text)
    with pytest.raises(DataError, match=message) as caught:
        _first(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
@pytest.mark.parametrize("kept", [0, 40, 0.5])
def test_truncated_columns_files_are_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"BTCUSDT.{suffix}"
    make_bars().write_parquet(path) if suffix == "parquet" else make_bars().write_ipc(path)
    read_all = path.read_bytes()
    path.write_bytes(read_all[: kept if isinstance(kept, int) else int(len(read_all) * kept)])
    with pytest.raises(
        DataError, match=rf"BTCUSDT.{suffix}: truncated or no {suffix.title()} file .*download or write it again"
    ):
        _first(tmp_path)


@pytest.mark.parametrize("suffix", ["zip", "csv.gz"])
@pytest.mark.parametrize("kept", [0, 30, 0.7])
def test_truncated_archives_are_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    bars = make_bars()
    text = "\n".join([KLINES_HEADER, *klines(bars, "ms")])
    path = tmp_path / f"BTCUSDT.{suffix}"
    if suffix == "zip":
        pack(path, "BTCUSDT.csv", text)
    else:
        path.write_bytes(gzip.compress(text.encode()))
    read_all = path.read_bytes()
    path.write_bytes(read_all[: kept if isinstance(kept, int) else int(len(read_all) * kept)])
    with pytest.raises(DataError, match=rf"BTCUSDT.{suffix}: (truncated|the file is empty).*download it again"):
        _first(tmp_path)


def test_damage_inside_a_zip_is_found(tmp_path: Path) -> None:
    path = tmp_path / "klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip"
    pack(path, "BTCUSDT-1m-2024-01.csv", "\n".join(klines(make_bars(), "ms")))
    read_all = bytearray(path.read_bytes())
    read_all[len(read_all) // 2] ^= 0xFF
    path.write_bytes(read_all)
    with pytest.raises(DataError, match=r"BTCUSDT-1m-2024-01.zip: truncated or damaged archive .*download it again"):
        read(tmp_path)


def test_column_of_another_type_is_refused(tmp_path: Path) -> None:
    make_bars().with_columns(close=pl.col("timestamp")).write_parquet(tmp_path / "BTCUSDT.parquet")
    with pytest.raises(DataError, match=r"column 'close' holds Datetime.*, not numbers; set data.columns.close"):
        read(tmp_path)


def test_several_symbols_under_one_name_are_refused(tmp_path: Path) -> None:
    bars = make_bars()
    path = tmp_path / "symbol=BTCUSDT" / "part-0.parquet"
    path.parent.mkdir()
    bars.with_columns(symbol=pl.Series(["BTCUSDT", "ETHUSDT"] * (bars.height // 2))).write_parquet(path)
    with pytest.raises(
        DataError, match=r"holds several symbols \(BTCUSDT, ETHUSDT\) under one name; split it, or rename it"
    ):
        read(tmp_path)


@pytest.mark.parametrize("swapped", [False, True])
def test_open_and_close_are_told_apart_although_bars_do_not_join(swapped: bool) -> None:
    """An open that is not the close before it, as in stocks, must neither hide a swap nor fake one."""
    gap = np.random.default_rng(3).normal(0, 0.1, 480)
    bars = make_bars().with_columns(pl.col("open") + gap)
    bars = bars.with_columns(high=pl.max_horizontal(PRICES), low=pl.min_horizontal(PRICES))
    if swapped:
        bars = bars.rename({"open": "close", "close": "open"})
    reason = check_ohlc_order(bars)
    assert reason == ("columns 2 and 5 look like close and open, not open and close" if swapped else None)


def test_headerless_file_without_a_whole_row_is_refused() -> None:
    assert check_ohlc_order(make_bars().with_columns(close=pl.lit(None, dtype=pl.Float64))) == "no row is complete"
