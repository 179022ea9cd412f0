"""Columns as the world writes them: volumes, headers, numbers, JSON, absurd and revised bars, frames in memory."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from job.api.frames import clean_frame
from job.config.settings import DataSettings, load_config
from job.core.errors import ConfigError, DataError
from job.core.keys import Key
from job.sources.finding import find_series
from job.sources.reading import SeriesBars, read_series
from job.worker.load_bars import read_clean
from tests.vendors import epoch, find, lines, make_bars, only, put, read
from transforms.bars import ABSURD, ABSURD_LOW, clean

START = datetime(2024, 1, 1, tzinfo=UTC)
HEADER = "time,open,high,low,close"
PRICES = ("open", "high", "low", "close")


def noted(folder: Path, **settings: object) -> SeriesBars:
    return read_series(only(folder, **settings), DataSettings.model_validate(settings))


def table(bars: pl.DataFrame, header: str, *more: object, separator: str = ",") -> str:
    """Text of bars with a header; `more` columns, numbers for all rows, stand behind the prices."""
    times = bars["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S")
    columns = [times, *(bars[name] for name in PRICES)]
    columns += [one if isinstance(one, pl.Series) else pl.Series([one] * bars.height) for one in more]
    return "\n".join([header, *lines(columns, separator)])


# --- the cases themselves


@pytest.mark.parametrize(
    ("case", "bars", "first", "last", "volume", "note"),
    [
        ("07-volume-worded-otherwise/in/bitstamp", 900, START, timedelta(minutes=15), 1657.02, "'Volume_(BTC)'"),
        ("07-volume-worded-otherwise/in/mt5", 900, START, timedelta(minutes=15), 1657.02, "since '<VOL>' is 0 throu"),
        ("08-volume-without-meaning/in/ib", 900, START, timedelta(minutes=15), None, "'volume' is -1 throughout"),
        ("08-volume-without-meaning/in/empty", 900, START, timedelta(minutes=15), None, "'volume' is empty"),
        ("09-header-shorter-than-rows/in", 900, START, timedelta(minutes=15), None, "none of 'trades' is surely one"),
        ("12-yfinance-two-header-rows/in", 700, datetime(2022, 1, 1, tzinfo=UTC), timedelta(days=1), 1835.09, None),
        ("17-json-that-python-and-pandas-write/in", 900, START, timedelta(minutes=15), 1657.02, None),
        ("32-json/in/jsonl", 500, START, timedelta(minutes=1), 574, None),
        ("32-json/in/t-and-T", 500, START, timedelta(minutes=1), 574, None),
        ("34-numbers-as-people-write-them/in", 400, START, timedelta(days=1), 765, None),
    ],
)
def test_case(  # noqa: PLR0917 - a table
    cases: Path, case: str, bars: int, first: datetime, last: timedelta, volume: float | None, note: str | None
) -> None:
    series = only(cases / case)
    reading = read_series(series, DataSettings())
    cleaned = clean(reading.bars, timeframe=series.timeframe)
    times = cleaned.bars["timestamp"]
    assert cleaned.rejected.is_empty()
    assert (cleaned.bars.height, times[0], times[-1]) == (bars, first, first + (bars - 1) * last)
    assert (cleaned.bars["volume"][0] if "volume" in cleaned.bars.columns else None) == volume
    assert (note in reading.notes[0]) if note else not reading.notes


def test_case_of_thousandfold_prices(cases: Path) -> None:
    folder = cases / "25-thousandfold-prices" / "in"
    cleaned, _ = read_clean(only(folder), DataSettings())
    raw = read(folder)
    assert cleaned.counts["absurd_price"] == (raw["high"] > 100).sum() == cleaned.rejected.height
    assert_frame_equal(cleaned.bars, raw.filter(pl.col("high") < 100))


# --- volumes


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Volume USDT", "'Volume USDT', in units of the quote"),
        ("amount", "'amount', in units of the quote"),
        ("size", "'size'"),
        ("real_volume", "'real_volume'"),
        ("tick volume", "'tick volume', which counts ticks"),
        ("Volumen", "'Volumen'"),
        ("成交量", "'成交量'"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_volume_under_another_word_is_read_and_said(header: str, said: str, kind: str, tmp_path: Path) -> None:
    bars = make_bars()
    renamed = bars.rename({"volume": header})
    match kind:
        case "csv":
            put(tmp_path / "X.csv", table(bars, f"{HEADER},{header}", bars["volume"]))
        case "parquet":
            renamed.write_parquet(tmp_path / "X.parquet")
        case "json":
            put(tmp_path / "X.json", renamed.with_columns(epoch(bars, "ms")).write_json())
    reading = noted(tmp_path)
    assert_frame_equal(reading.bars, bars, check_exact=True)
    assert reading.notes == (f"volume is read from {said}",)


@pytest.mark.parametrize("header", ["volume", "Vol.", "v", "Base Volume"])
def test_usual_volume_needs_no_note(header: str, tmp_path: Path) -> None:
    put(tmp_path / "X.csv", table(make_bars(), f"{HEADER},{header},quote_volume", 5, 7))
    reading = noted(tmp_path)
    assert reading.notes == ()
    assert reading.bars["volume"].unique().to_list() == [5]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Volume USD,Volume BTC", 2), ("amount,volume", 2), ("tick_volume,real_volume", 2),
        ("Volume USD,tick_volume", 2), ("turnover,vol", 2), ("volume,volume_ma", 1), ("taker_buy_volume,volume", 2),
    ],
)  # fmt: skip
def test_base_comes_before_ticks_and_ticks_before_quote(header: str, expected: int, tmp_path: Path) -> None:
    put(tmp_path / "X.csv", table(make_bars(), f"{HEADER},{header}", 1, 2))
    assert read(tmp_path)["volume"].unique().to_list() == [expected]


@pytest.mark.parametrize("header", ["volume_ma", "buy_volume", "trades", "vwap", "Volume ETH,Volume BTC"])
def test_what_may_be_no_volume_is_named_and_can_be_chosen_or_left_out(header: str, tmp_path: Path) -> None:
    put(tmp_path / "X.csv", table(make_bars(), f"{HEADER},{header}", *range(3, 4 + header.count(","))))
    reading = noted(tmp_path)
    name = header.split(",", maxsplit=1)[0]
    assert "volume" not in reading.bars.columns
    assert f"'{name}'" in reading.notes[0]
    assert "set data.columns.volume to the name of the column that is, or to null" in reading.notes[0]
    chosen = noted(tmp_path, columns={"volume": name})
    assert (chosen.bars["volume"].unique().to_list(), chosen.notes) == ([3], ())
    assert noted(tmp_path, columns={"volume": None}).notes == ()


@pytest.mark.parametrize(
    ("value", "said"), [("-1", "-1 throughout"), ("", "empty"), ("null", "empty"), ("NaN", "empty"), ("0", "0 through")]
)
def test_volume_without_meaning_is_none(value: str, said: str, tmp_path: Path) -> None:
    bars = make_bars()
    put(tmp_path / "X.csv", table(bars, f"{HEADER},volume,trades", value, 3))
    reading = noted(tmp_path)
    assert_frame_equal(reading.bars, bars.drop("volume"), check_exact=True)
    assert f"volume counts as none, since 'volume' is {said}" in reading.notes[0]


def test_volume_is_chosen_by_all_files_of_a_series(tmp_path: Path) -> None:
    bars = make_bars(1000)
    put(tmp_path / "X-1m-2024-01.csv", table(bars[:500], f"{HEADER},vol,tickvol", 0, 2))
    put(tmp_path / "X-1m-2024-02.csv", table(bars[500:], f"{HEADER},vol,tickvol", 1, 2))
    assert read(tmp_path)["volume"].unique().sort().to_list() == [0, 1]


def test_volumes_that_count_other_things_are_not_put_together(tmp_path: Path) -> None:
    put(tmp_path / "X-1m-2024-01.csv", table(make_bars(9), f"{HEADER},volume", 4))
    put(tmp_path / "X-1m-2024-02.csv", table(make_bars(9), f"{HEADER},turnover", 7))
    with pytest.raises(
        DataError, match=r"'volume', in .* it is 'turnover', which counts something else; .*volume: null"
    ):
        read(tmp_path)
    assert "volume" not in read(tmp_path, columns={"volume": None}).columns


def test_negative_volumes_that_differ_are_rejected_by_rule(tmp_path: Path) -> None:
    bars = make_bars().with_columns(-pl.col("volume"))
    bars.write_parquet(tmp_path / "X.parquet")
    assert clean(read(tmp_path)).counts["negative_volume"] == bars.height


def test_a_headerless_volume_is_left_out_by_setting(tmp_path: Path) -> None:
    put(tmp_path / "X.csv", table(make_bars(), "", 5).strip())
    settings = load_config({}, ["data.columns.volume=null"]).data
    series = only(tmp_path)
    assert "volume" in read_series(series, DataSettings()).bars.columns
    assert "volume" not in read_series(series, settings).bars.columns


def test_only_the_volume_can_be_left_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.columns.close: null leaves a column out, as only volume may be"):
        find_series(DataSettings(input=str(tmp_path), columns={"close": None}))


# --- headers


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize(
    "layout", ["index without a label", "numbered index", "delimiter ends rows", "delimiter ends all", "ends header"]
)
def test_header_of_other_length_is_fitted_by_evidence(layout: str, separator: str, tmp_path: Path) -> None:
    bars = make_bars()
    header, *rows = table(
        bars, f"{HEADER},trades,volume".replace(",", separator), 3, bars["volume"], separator=separator
    ).split("\n")
    match layout:
        case "index without a label":
            header = header.removeprefix(f"time{separator}")
        case "numbered index":
            rows = [f"{number}{separator}{row}" for number, row in enumerate(rows)]
        case "delimiter ends rows":
            rows = [row + separator for row in rows]
        case "delimiter ends all":
            header, rows = header + separator, [row + separator for row in rows]
        case "ends header":
            header += separator
    put(tmp_path / "X.csv", "\n".join([header, *rows]))
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


@pytest.mark.parametrize("header", ["time,open,high,low,close", "time,open,high,low,close,volume,vwap,trades"])
def test_header_of_other_length_without_evidence_is_refused(header: str, tmp_path: Path) -> None:
    bars = make_bars()
    put(tmp_path / "X.csv", table(bars, header, 3, bars["volume"]))
    (problem,) = find(tmp_path).problems
    assert f"the header has {header.count(',') + 1} names (time, open, " in str(problem)
    assert "the rows have 7 values; name every column, or set data.columns to the numbers" in str(problem)
    numbers = {"timestamp": "1", "open": "2", "high": "3", "low": "4", "close": "5", "volume": "7"}
    assert_frame_equal(read(tmp_path, columns=numbers), bars, check_exact=True)


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize(
    ("order", "suffix"),
    [
        ("timestamp open close high low volume", "csv"),
        ("timestamp open close high low volume", "json"),
        ("timestamp low high open close volume", "csv"),
        ("timestamp low high open close volume", "json"),
        ("timestamp paid close high low open volume flag", "csv"),
        ("timestamp paid close high low open volume flag", "json"),
        ("name timestamp open high low close volume", "csv"),
        ("name day clock open high low close volume flag", "csv"),
    ],
)
def test_numbers_of_columns_that_a_message_suggests_are_right(
    order: str, suffix: str, newest_first: bool, tmp_path: Path
) -> None:
    bars = make_bars()
    frame = bars.select(
        pl.col("timestamp").dt.epoch("ms"),
        *("open", "high", "low", "close", "volume"),
        paid=(pl.col("close") * pl.col("volume")).round(2),
        flag=pl.lit("true"),
        name=pl.lit("AAPL"),
        day=pl.col("timestamp").dt.strftime("%Y%m%d"),
        clock=pl.col("timestamp").dt.strftime("%H%M%S"),
    ).select(order.split())
    rows = (frame.reverse() if newest_first else frame).rows()
    text = json.dumps(rows) if suffix == "json" else "\n".join(",".join(map(str, row)) for row in rows)
    put(tmp_path / f"AAPL.{suffix}", text)
    with pytest.raises(DataError, match=r"such as \{timestamp") as refused:
        read(tmp_path)
    numbers = dict(re.findall(r"(\w+): '([\d+]+)'", str(refused.value)))
    columns = bars.columns if "paid" not in order else bars.columns[:-1]
    found = read(tmp_path, columns=numbers).sort("timestamp").select(columns)
    assert_frame_equal(found, bars.select(columns), check_exact=True)


NAMES = {"open": "Open", "high": "High", "low": "Low", "close": "Close", "volume": "Volume"}


def of_two_levels(bars: pl.DataFrame, *tickers: str, ticker_first: bool = False) -> pd.DataFrame:
    """Return bars as yfinance gives them: columns by name and ticker."""
    frame = bars.rename(NAMES).to_pandas().set_index("timestamp").rename_axis("Date")
    wide = pd.concat(dict.fromkeys(tickers, frame), axis="columns", names=["Ticker", "Price"])
    return wide if ticker_first else wide.swaplevel(axis="columns")


@pytest.mark.parametrize("ticker", ["AAPL", "BTC-USD", "600519.SS", "600519"])
@pytest.mark.parametrize("ticker_first", [False, True])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_header_of_several_rows_is_read(ticker: str, ticker_first: bool, kind: str, tmp_path: Path) -> None:
    bars = make_bars(step="1d")
    wide = of_two_levels(bars, ticker, ticker_first=ticker_first)
    wide.to_csv(tmp_path / "X.csv") if kind == "csv" else wide.to_parquet(tmp_path / "X.parquet")
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


def test_symbols_side_by_side_are_refused_and_the_remedy_works(tmp_path: Path) -> None:
    bars = make_bars(step="1d")
    wide = of_two_levels(bars, "AAPL", "MSFT")
    wide.to_csv(tmp_path / "X.csv")
    (problem,) = find(tmp_path).problems
    assert "columns of several symbols side by side (AAPL, MSFT)" in str(problem)
    assert "frame.stack('Ticker').to_csv(...)" in str(problem)
    wide.stack("Ticker", future_stack=True).to_csv(tmp_path / "X.csv")  # noqa: PD013 - the remedy
    found = find(tmp_path).series
    assert [series.symbol for series in found] == ["AAPL", "MSFT"]
    for series in found:
        assert_frame_equal(read_series(series, DataSettings()).bars, bars, check_exact=True)


# --- numbers


def written(number: float, style: str) -> str:
    """Return a number as people write it."""
    english = f"{number:,.2f}"
    german = english.translate(str.maketrans(",.", ".,"))
    return {
        "dollars": f"${english}", "thousands": english, "german": german, "euros": f"{german} €",
        "swiss": english.replace(",", "'"), "french": german.replace(".", "\u202f"), "code": f"{english} USD",
        "suffix": f"{number / 1000:.5f}K",
    }[style]  # fmt: skip


@examples(max_examples=60, deadline=None)
@given(
    style=st.sampled_from(["dollars", "thousands", "german", "euros", "swiss", "french", "code", "suffix"]),
    prices=st.lists(st.integers(1, 10**9), min_size=2, max_size=30),
    kind=st.sampled_from(["csv", "parquet"]),
)
def test_numbers_are_read_as_written_or_refused(
    style: str, prices: list[int], kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    cents = [price / 100 for price in prices]
    text = [written(price, style) for price in cents]
    times = [START + timedelta(minutes=number) for number in range(len(prices))]
    frame = pl.DataFrame({"time": times, **dict.fromkeys((*PRICES, "volume"), text)})
    if kind == "csv":
        frame.with_columns(pl.col("time").dt.strftime("%Y-%m-%d %H:%M")).write_csv(folder / "X.csv")
    else:
        frame.write_parquet(folder / "X.parquet")
    bars = read(folder)
    for name in (*PRICES, "volume"):
        assert bars[name].to_list() == pytest.approx(cents, rel=1e-12)


def test_the_notation_of_a_file_is_that_of_all_its_columns(tmp_path: Path) -> None:
    put(
        tmp_path / "X.csv",
        "time;open;high;low;close;volume\n"
        "2024-01-01 00:00;43,5;43,5;43,5;43,5;1.234\n2024-01-01 00:01;43;43;43;43;5.678",
    )
    assert read(tmp_path)["volume"].to_list() == [1234, 5678]


@pytest.mark.parametrize(("decimal", "expected"), [("point", 1234.0), ("comma", 1.234)])
def test_a_setting_decides_where_numbers_do_not(decimal: str, expected: float, tmp_path: Path) -> None:
    rows = "\n".join(f"2024-01-01 00:0{minute};1,234;1,234;1,234;1,234;5" for minute in range(5))
    put(tmp_path / "X.csv", f"time;open;high;low;close;volume\n{rows}")
    with pytest.raises(DataError, match=r"'1,234' may be 1234 or 1\.234.* set data.decimal to point .* to comma"):
        read(tmp_path)
    assert read(tmp_path, decimal=decimal)["open"].to_list() == [expected] * 5


@pytest.mark.parametrize("text", ["1,23,4.5", "12 apples", "1.2.3,4.5", "5%", "1e", "K"])
def test_what_is_no_number_is_refused_with_its_row(text: str, tmp_path: Path) -> None:
    rows = f"2024-01-01 00:00;1.55;1.55;1.55;1.55;5\n2024-01-01 00:01;{text};1.5;1.5;1.5;5"
    put(tmp_path / "X.csv", f"time;open;high;low;close;volume\n{rows}")
    with pytest.raises(DataError, match=r"column 'open', row 2: .* is not a number|has a decimal point"):
        read(tmp_path)


# --- JSON


def shapes() -> dict[str, Callable[[pd.DataFrame], str]]:
    def rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
        return frame.to_dict("records")

    def by_time(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.set_index(frame["time"].astype(str)).drop(columns="time")

    return {
        "records": lambda frame: json.dumps(rows(frame)),
        "lines": lambda frame: frame.to_json(orient="records", lines=True),
        "arrays, one a line": lambda frame: "\n".join(json.dumps([*row]) for row in frame.to_numpy().tolist()),
        "columns": lambda frame: frame.to_json(),
        "columns by time": lambda frame: by_time(frame).to_json(),
        "index": lambda frame: by_time(frame).to_json(orient="index"),
        "split": lambda frame: frame.to_json(orient="split"),
        "split by time": lambda frame: by_time(frame).to_json(orient="split"),
        "table": lambda frame: frame.to_json(orient="table", index=False),
        "lists": lambda frame: json.dumps({"s": "ok", **frame.to_dict("list")}),
        "wrapped": lambda frame: json.dumps({"code": 0, "result": {"symbol": "X", "list": rows(frame)}}),
        "wrapped arrays": lambda frame: json.dumps({"result": {"X": frame.to_numpy().tolist(), "last": 1}}),
        "Yahoo": lambda frame: json.dumps(
            {"chart": {"result": [{
                "meta": {"symbol": "X"}, "timestamp": frame["time"].tolist(),
                "indicators": {"quote": [frame.drop(columns="time").to_dict("list")]},
            }], "error": None}}
        ),
        "pretty": lambda frame: json.dumps(rows(frame), indent=2),
    }  # fmt: skip


@pytest.mark.parametrize("shape", shapes())
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_json_of_any_shape_is_read(shape: str, suffix: str, tmp_path: Path) -> None:
    bars = make_bars(30)
    frame = bars.select(epoch(bars, "ms").alias("time"), *PRICES, "volume").to_pandas()
    put(tmp_path / f"X.{suffix}", shapes()[shape](frame))
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


def test_json_with_not_a_number_rejects_these_rows(tmp_path: Path) -> None:
    bars = make_bars(30)
    rows = bars.with_columns(epoch(bars, "ms").alias("timestamp")).to_dicts()
    rows[7]["high"], rows[9]["low"] = float("nan"), float("-inf")
    put(tmp_path / "X.json", json.dumps(rows))
    cleaned = clean(read(tmp_path))
    assert (cleaned.counts["not_finite"], cleaned.bars.height) == (2, 28)


def test_several_tables_of_json_are_named(tmp_path: Path) -> None:
    rows = make_bars(3).select(epoch(make_bars(3), "ms").alias("t"), *PRICES).to_dicts()
    put(tmp_path / "X.json", json.dumps({"data": {"AAA": rows, "BBB": rows}}))
    (problem,) = find(tmp_path).problems
    assert "2 lists of bars in one file ('data.AAA', 'data.BBB'); write a file for each" in str(problem)


def test_no_message_on_json_shows_the_parser(tmp_path: Path) -> None:
    put(tmp_path / "X.json", '[{"t": 1, "o": 2}, {"t": 3, "o"')
    (problem,) = find(tmp_path).problems
    assert "truncated or no JSON" in str(problem)
    assert not any(word in str(problem) for word in ("Tape", "col(", "str.json_decode", "polars"))


@pytest.mark.parametrize("suffix", ["json", "csv"])
@pytest.mark.parametrize("swapped", [False, True])
def test_names_in_capitals_and_not_are_told_apart_by_the_rows(suffix: str, swapped: bool, tmp_path: Path) -> None:
    """A kline of Binance's stream: `T` is the close time, `L` a trade's number, `V` a part of the volume."""
    bars = make_bars(30)
    opens = epoch(bars, "ms")
    frame = pl.DataFrame(
        {
            "t": opens, "T": opens + 59_999, "o": bars["open"], "c": bars["close"], "h": bars["high"],
            "l": bars["low"], "L": pl.Series(range(90_000, 90_030)), "v": bars["volume"], "V": bars["volume"] / 2,
        }
    )  # fmt: skip
    if swapped:
        frame = frame.rename({"t": "T", "T": "t", "v": "V", "V": "v"})
    frame.write_csv(tmp_path / "X.csv") if suffix == "csv" else put(tmp_path / "X.json", frame.write_json())
    assert_frame_equal(read(tmp_path), bars, check_exact=True)


# --- absurd prices


@pytest.mark.parametrize(
    ("column", "factor", "rejected"),
    [
        ("high", 1000, True), ("high", 10, True), ("high", ABSURD * 0.9, False), ("low", 1 / 1000, True),
        ("low", 1.1 / ABSURD_LOW, False), ("bar", 1 / 10, True), ("bar", 10, True), ("bar", 1 / 5, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("run", [1, 2])
def test_absurd_prices_are_rejected_bar_by_bar(column: str, factor: float, rejected: bool, run: int) -> None:
    bars = make_bars(200)
    wrong = pl.int_range(pl.len()).is_between(100, 99 + run)
    names = PRICES if column == "bar" else (column,)
    cleaned = clean(bars.with_columns(pl.when(wrong).then(pl.col(name) * factor).otherwise(name) for name in names))
    assert cleaned.counts["absurd_price"] == run * rejected
    kept = bars.filter(~wrong) if rejected else bars
    assert cleaned.bars["timestamp"].equals(kept["timestamp"])


@pytest.mark.parametrize("factor", [100, 1 / 100, 1 / 1000])
def test_a_split_is_no_absurd_price(factor: float) -> None:
    after = pl.int_range(pl.len()) >= 100
    bars = make_bars(200).with_columns(pl.when(after).then(pl.col(name) * factor).otherwise(name) for name in PRICES)
    assert clean(bars).rejected.is_empty()


@pytest.mark.parametrize(("factor", "run", "rejected"), [(100, 3, 3), (1 / 1000, 60, 60), (100, 150, 0), (20, 20, 0)])
def test_a_spell_in_another_unit_is_absurd(factor: float, run: int, rejected: int) -> None:
    spell = pl.int_range(pl.len()).is_between(300, 299 + run)
    bars = make_bars(600).with_columns(
        pl.when(spell).then(pl.col(name) * factor).otherwise(name).alias(name) for name in PRICES
    )
    assert clean(bars).counts["absurd_price"] == rejected


def test_two_spells_in_another_unit_leave_what_lies_between() -> None:
    rows = pl.int_range(pl.len())
    spell = rows.is_between(100, 119) | rows.is_between(150, 169)
    bars = make_bars(300).with_columns(
        pl.when(spell).then(pl.col(name) / 100).otherwise(name).alias(name) for name in PRICES
    )
    assert clean(bars).bars["timestamp"].equals(bars.filter(~spell)["timestamp"])


def test_bars_at_the_ends_have_one_side_only_and_stay() -> None:
    bars = make_bars(50)
    for row in (0, 49):
        odd = pl.when(pl.int_range(pl.len()) == row).then(pl.col("high") * 1000).otherwise("high").alias("high")
        assert clean(bars.with_columns(odd)).rejected.is_empty()


# --- revised bars


def revised(bars: pl.DataFrame) -> pl.DataFrame:
    """Every minute three times, as a live collector writes it: with growing volume, the close last of all right."""
    early = [bars.with_columns(pl.col("volume") * share, close=pl.col("low")) for share in (0.3, 0.6)]
    return pl.concat([*early, bars]).with_row_index("order").sort("timestamp", "order").drop("order")


def test_revised_bars_are_rejected_and_the_message_names_the_setting(tmp_path: Path) -> None:
    revised(make_bars(60)).write_parquet(tmp_path / "X.parquet")
    with pytest.raises(DataError, match=r"conflicting_duplicate 180.*data.duplicates: last \(or fullest\)"):
        read_clean(only(tmp_path), DataSettings())


def test_rows_of_one_time_that_open_at_other_prices_are_no_revised_bars(tmp_path: Path) -> None:
    """Of hours and minutes in three columns only the hour is read: the last row of each would be a bar that is none."""
    make_bars(240).with_columns(pl.col("timestamp").dt.truncate("1h")).write_parquet(tmp_path / "X.parquet")
    with pytest.raises(DataError, match="rows that share a time open at other prices, as bars of several series"):
        read_clean(only(tmp_path), DataSettings())


@pytest.mark.parametrize("duplicates", ["last", "fullest"])
def test_revised_bars_are_read_as_the_setting_says(duplicates: str, tmp_path: Path) -> None:
    bars = make_bars(60)
    rows = revised(bars)
    if duplicates == "fullest":
        rows = rows.reverse()
    rows.write_parquet(tmp_path / "X.parquet")
    cleaned, notes = read_clean(only(tmp_path), DataSettings.model_validate({"duplicates": duplicates}))
    assert_frame_equal(cleaned.bars, bars, check_exact=True)
    assert cleaned.counts["superseded"] == 120
    assert notes == (f"unknown/X: 120 rows gave way to others of the same time (data.duplicates: {duplicates})",)


def test_fullest_bars_need_a_volume(tmp_path: Path) -> None:
    make_bars(60).drop("volume").write_parquet(tmp_path / "X.parquet")
    with pytest.raises(DataError, match=r"no volume to choose the fullest rows by; set data.duplicates to last"):
        read_clean(only(tmp_path), DataSettings(duplicates="fullest"))
    assert read_clean(only(tmp_path), DataSettings(duplicates="last"))[0].bars.height == 60


# --- frames in memory

KEY = Key("binance", "BTCUSDT", "1m", "analyst")


def pandas_bars() -> pd.DataFrame:
    return make_bars(60).to_pandas()


@pytest.mark.parametrize(
    "frame",
    [
        lambda: pandas_bars().set_index("timestamp", drop=False),
        lambda: pandas_bars().set_index("timestamp"),
        lambda: pandas_bars().set_index("timestamp").rename_axis(None),
        lambda: pandas_bars().set_index(pandas_bars()["timestamp"].astype(str)).drop(columns="timestamp"),
        lambda: pandas_bars().rename_axis("row"),
        lambda: make_bars(60),
        lambda: make_bars(60).with_columns(volume=pl.lit(-1.0)),
    ],
)
def test_frames_are_read_as_files_are(frame: Callable[[], Any]) -> None:
    cleaned = clean_frame(frame(), KEY, DataSettings())
    wanted = make_bars(60)
    assert_frame_equal(cleaned.bars, wanted.select(cleaned.bars.columns), check_exact=True)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (lambda: make_bars(60).lazy(), r"a LazyFrame has no rows yet; give frame.collect\(\)"),
        (lambda: make_bars(60).to_dict(), "expected a frame of pandas or Polars with one row a bar, got dict"),
        (lambda: None, "got NoneType"),
        (lambda: pandas_bars()["close"], "got Series"),
        (lambda: np.zeros((3, 6)), "got ndarray"),
        (lambda: pd.concat([pandas_bars(), pandas_bars()], axis="columns"), "several columns are called 'close', "),
        (
            lambda: pandas_bars().assign(timestamp=lambda frame: frame["timestamp"] + pd.Timedelta("1m")).set_index(
                pandas_bars()["timestamp"]
            ),
            r"index and a column are both called 'timestamp' and differ; give frame.reset_index\(drop=True\)",
        ),
        (lambda: pandas_bars().assign(close=pd.Series([{1}] * 60, dtype=object)), "bars: "),
        (lambda: pandas_bars().assign(close=[1, "x"] * 30), "bars: "),
        (lambda: pandas_bars().drop(columns="close"), "no column for close"),
        (lambda: of_two_levels(make_bars(60), "A", "B"), "several symbols side by side"),
    ],
)  # fmt: skip
def test_frames_that_are_none_are_data_errors(frame: Callable[[], Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        clean_frame(frame(), KEY, DataSettings())


# --- rows that say whether their bar is finished


def collected(name: str, yes: object, no: object) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return bars, and rows as a collector writes them: each seventh bar before it ended, too, the last one only so."""
    bars = make_bars()
    ended = bars[:-1].with_columns(pl.lit(yes).alias(name))
    running = bars.gather_every(7).vstack(bars[-1:]).with_columns(pl.col("close") * 1.001, pl.lit(no).alias(name))
    return bars[:-1], pl.concat([ended, running]).sort("timestamp", name, maintain_order=True)


FLAGS = [
    *(("complete", True, False), ("isClosed", "true", "false"), ("is_closed", "True", "False"), ("confirm", "1", "0")),
    *(("x", True, False), ("final", 1, 0), ("Confirmed", 1.0, 0.0)),
]


@pytest.mark.parametrize(("name", "yes", "no"), FLAGS)
@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_rows_that_are_marked_as_unfinished_are_left_out(
    name: str, yes: object, no: object, suffix: str, tmp_path: Path
) -> None:
    bars, rows = collected(name, yes, no)
    path = tmp_path / f"AAPL.{suffix}"
    if suffix == "csv":
        put(path, rows.write_csv())
    elif suffix == "parquet":
        rows.write_parquet(path)
    else:
        put(path, json.dumps(rows.with_columns(pl.col("timestamp").dt.epoch("ms")).to_dicts()))
    found = noted(tmp_path)
    assert_frame_equal(found.bars.select(bars.columns), bars, check_exact=True)
    count = rows.height - bars.height
    assert f"left out {count} rows that column {name!r} says are no finished bars" in found.notes
    assert noted(tmp_path, columns={"finished": None}).bars.height == rows.height


def test_of_several_files_the_unfinished_rows_are_counted_together(tmp_path: Path) -> None:
    _, rows = collected("complete", yes=True, no=False)
    for day, part in enumerate((rows[:300], rows[300:])):
        put(tmp_path / f"AAPL-2024-01-0{day + 1}.csv", part.write_csv())
    (note,) = (one for one in noted(tmp_path).notes if "finished" in one)
    assert note.startswith(f"left out {(~rows['complete']).sum()} rows")


@pytest.mark.parametrize("values", [["yes", "no"], [0.5, 1.0], ["2024", "2025"]])
def test_a_column_that_is_only_called_so_is_no_flag(values: list[object], tmp_path: Path) -> None:
    bars = make_bars()
    put(tmp_path / "AAPL.csv", bars.with_columns(x=pl.Series(values * (bars.height // 2))).write_csv())
    assert noted(tmp_path).bars.height == bars.height
    with pytest.raises(DataError, match=r"data.columns.finished names column 'x', which holds .*set it to null"):
        noted(tmp_path, columns={"finished": "x"})


def test_bars_of_which_none_is_finished_are_refused_and_the_remedy_works(tmp_path: Path) -> None:
    bars = make_bars()
    put(tmp_path / "AAPL.csv", bars.with_columns(closed=pl.lit("false")).write_csv())
    with pytest.raises(DataError, match=r"by its column 'closed' no row is a finished bar; .*\{finished: null\}"):
        noted(tmp_path)
    assert noted(tmp_path, columns={"finished": None}).bars.height == bars.height


@pytest.mark.parametrize("convert", [pl.DataFrame.to_pandas, pl.DataFrame.clone])
def test_unfinished_rows_of_a_frame_are_left_out_and_said(
    convert: Callable[[pl.DataFrame], Any], caplog: pytest.LogCaptureFixture
) -> None:
    bars, rows = collected("isClosed", yes=True, no=False)
    found = clean_frame(convert(rows), Key("x", "BTC", "1m", "analyst"), DataSettings())
    assert_frame_equal(found.bars.select(bars.columns), bars, check_exact=True)
    assert f"left out {rows.height - bars.height} rows that column 'isClosed' says are no finished bars" in caplog.text
