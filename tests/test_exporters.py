"""Files as exporters of charts, brokers and exchanges write them: their bars, or a refusal and its remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

import polars as pl
import pytest

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.sources.finding import find_series
from job.sources.formats import name_of
from job.sources.times.stamps import are_months
from tests.vendors import PRICES, epoch, loaded, make_bars, put
from transforms.bars import Cleaned

BARS: Final = make_bars(300)
DAYS: Final = make_bars(300, step="1d")
HOURS: Final = make_bars(300, step="1h")
Write = Callable[[pl.DataFrame], str]


def assert_read(cleaned: Cleaned, bars: pl.DataFrame) -> None:
    assert cleaned.rejected.is_empty()
    assert cleaned.bars["timestamp"].to_list() == bars["timestamp"].to_list()
    for name in (*PRICES, "volume"):
        assert cleaned.bars[name].to_list() == pytest.approx(bars[name].to_list())


def table(**columns: pl.Expr | pl.Series) -> Write:
    return lambda bars: bars.select(**columns).write_csv()


TIME: Final = pl.col("timestamp")
OPEN, HIGH, LOW, CLOSE, VOLUME = (pl.col(name) for name in (*PRICES, "volume"))
OHLC: Final = {"open": OPEN, "high": HIGH, "low": LOW, "close": CLOSE}
END: Final = TIME + pl.duration(minutes=1)
MILLIS: Final = TIME.dt.epoch("ms")
PAID: Final = VOLUME * CLOSE
ISO: Final = TIME.dt.strftime("%Y-%m-%d %H:%M:%S")


def oanda(*sides: str) -> Write:
    def write(bars: pl.DataFrame) -> str:
        prices = ({"o": str(o), "h": str(h), "l": str(low), "c": str(c)} for o, h, low, c in bars[PRICES].iter_rows())
        times = bars["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S.000000000Z")
        candles = [
            {"complete": True, "volume": volume, "time": time, **dict.fromkeys(sides, price)}
            for price, time, volume in zip(prices, times, bars["volume"], strict=True)
        ]
        return json.dumps({"instrument": "EUR_USD", "granularity": "M1", "candles": candles})

    return write


def arrays(*columns: pl.Expr, wrap: str = "data") -> Write:
    return lambda bars: json.dumps(
        {"code": "0", wrap: [list(map(str, row)) for row in bars.select(*columns).reverse().iter_rows()]}
    )


def with_zone(bars: pl.DataFrame) -> str:
    local = bars["timestamp"].dt.convert_time_zone("US/Eastern").dt.strftime("%Y-%m-%d %H:%M:%S")
    prices = bars.select(*(pl.col(name).cast(pl.String) for name in (*PRICES, "volume"))).to_dicts()
    series = {time: {f"{n}. {name}": text for n, (name, text) in enumerate(row.items(), 1)}
              for time, row in zip(local, prices, strict=True)}  # fmt: skip
    return json.dumps({"Meta Data": {"2. Symbol": "IBM", "6. Time Zone": "US/Eastern"}, "Time Series (1min)": series})


EXPORTS: Final[dict[str, tuple[str, Write, str, str]]] = {
    "BitMEX": (
        "XBTUSD.csv",
        table(timestamp=END.dt.strftime("%Y-%m-%dT%H:%M:%S.000Z"), **OHLC, trades=pl.lit(3), volume=VOLUME,
              homeNotional=VOLUME, foreignNotional=VOLUME),
        "XBTUSD", "ends of bars, as BitMEX",
    ),
    "TradeStation": (
        "ES.txt",
        table(Date=END.dt.strftime("%m/%d/%Y"), Time=END.dt.strftime("%H:%M"), **OHLC, Up=PAID, Down=PAID, Vol=VOLUME),
        "ES", "ends of bars, as TradeStation",
    ),
    "CryptoDataDownload, the quote's volume first": (
        "Binance_BTCUSDT_1m.csv",
        table(Unix=MILLIS, Date=ISO, Symbol=pl.lit("BTCUSDT"), **OHLC,
              **{"Volume USDT": PAID, "Volume BTC": VOLUME}, tradecount=pl.lit(3)),
        "BTCUSDT", "",
    ),
    "Oanda, mid": ("EURUSD.json", oanda("mid"), "EURUSD", "prices are in the middle of bid and ask"),
    "Oanda, bid": ("EURUSD.json", oanda("bid"), "EURUSD", "prices are bids"),
    "Oanda, all": ("EURUSD.json", oanda("bid", "ask", "mid"), "EURUSD", "prices are in the middle of bid and ask"),
    "Oanda as a table": (
        "EURUSD.csv",
        table(complete=pl.lit(1), volume=VOLUME, time=TIME.dt.strftime("%Y-%m-%dT%H:%M:%SZ"),
              **{f"mid.{name[0]}": price for name, price in OHLC.items()}),
        "EURUSD", "prices are in the middle of bid and ask",
    ),
    "FXCM, asks": (
        "EURUSD.csv", table(Date=ISO, volume=VOLUME,
                            **{f"Ask{name.title()}": price for name, price in OHLC.items()}),
        "EURUSD", "prices are asks",
    ),
    "Kraken's API": (
        "XBTUSD.json",
        arrays(MILLIS // 1000, *OHLC.values(), ((HIGH + LOW) / 2).alias("mean"), VOLUME, pl.lit(3).alias("count")),
        "XBTUSD", "value 7 is taken for the volume",
    ),
    "Bybit's API": (
        "BTCUSDT.json", arrays(MILLIS, *OHLC.values(), VOLUME, PAID.alias("turnover"), wrap="list"),
        "BTCUSDT", "value 6 is taken for the volume",
    ),
    "OKX's API": (
        "BTC-USDT.json",
        arrays(MILLIS, *OHLC.values(), VOLUME, PAID.alias("a"), PAID.alias("b"), pl.lit(1).alias("c")),
        "BTC-USDT", "value 6 is taken for the volume",
    ),
    "what was paid before what was traded": (
        "BTCUSDT.json", arrays(MILLIS, *OHLC.values(), PAID.alias("paid"), VOLUME),
        "BTCUSDT", "value 7 is taken for the volume",
    ),
    "Deribit's API": (
        "BTC.json",
        lambda bars: json.dumps({"result": {"ticks": epoch(bars, "ms").to_list(), "status": "ok",
                                            **bars.drop("timestamp").to_dict(as_series=False)}}),
        "BTC", "",
    ),
    "Alpha Vantage": ("IBM.json", with_zone, "IBM", "times are those of US/Eastern"),
    "Binance's stream": (
        "BTCUSDT.csv", table(t=MILLIS, T=MILLIS + 59_999, o=OPEN, c=CLOSE, h=HIGH, l=LOW, v=VOLUME), "BTCUSDT", "",
    ),
    "FirstRate": ("AAPL_full_1min_adjsplit.csv", table(timestamp=ISO, **OHLC, volume=VOLUME), "AAPL", ""),
    "Sierra": (
        "ESH24.scid_BarData.txt",
        table(Date=TIME.dt.strftime("%Y/%m/%d"), Time=TIME.dt.strftime("%H:%M:%S.000000"),
              Open=OPEN, High=HIGH, Low=LOW, Last=CLOSE, Volume=VOLUME),
        "ESH24", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("exporter", EXPORTS)
def test_an_export_is_read(exporter: str, tmp_path: Path) -> None:
    name, write, symbol, said = EXPORTS[exporter]
    put(tmp_path / name, write(BARS))
    (read,) = loaded(tmp_path).items()
    assert read[0] == symbol
    assert_read(read[1][0], BARS)
    assert said in " ".join(read[1][1])


def test_bids_and_asks_are_chosen_by_the_setting_that_the_message_names(tmp_path: Path) -> None:
    put(tmp_path / "EURUSD.json", oanda("bid", "ask")(BARS))
    with pytest.raises(DataError, match=r"choose in data.columns, such as {open: bid.o, high: bid.h, low: bid.l, clos"):
        loaded(tmp_path)
    columns = {"open": "bid.o", "high": "bid.h", "low": "bid.l", "close": "bid.c"}
    assert_read(loaded(tmp_path, columns=columns)["EURUSD"][0], BARS)


@pytest.mark.parametrize("name", ["Time (EET)", "time_eet", "Date_EEST"])
@pytest.mark.parametrize("clock", [False, True])
def test_a_column_called_after_a_zone_is_refused_and_both_remedies_work(name: str, clock: bool, tmp_path: Path) -> None:
    local = TIME.dt.convert_time_zone("Europe/Athens")
    columns = {name: local.dt.strftime("%Y-%m-%d %H:%M:%S")} | (
        {"datetime": local.dt.strftime("%Y.%m.%d %H:%M")} if clock else {}
    )
    put(tmp_path / "EURUSD.csv", table(**columns, **OHLC, volume=VOLUME)(BARS))
    if not clock:  # beside another column, which may be UTC, the rows tell
        with pytest.raises(DataError, match=r"such as Europe/Athens, or to Etc/UTC if they are UTC"):
            loaded(tmp_path)
    assert_read(loaded(tmp_path, timezone="Europe/Athens")["EURUSD"][0], BARS)
    shifted = loaded(tmp_path, timezone="Etc/UTC")["EURUSD"][0].bars["timestamp"]
    assert (shifted - BARS["timestamp"]).dt.total_hours().unique().to_list() == [2]


def test_a_column_called_after_a_zone_is_read_where_its_times_name_theirs(tmp_path: Path) -> None:
    put(tmp_path / "AAPL.csv", table(**{"Time (EST)": MILLIS}, **OHLC, volume=VOLUME)(BARS))
    assert_read(loaded(tmp_path)["AAPL"][0], BARS)


@pytest.mark.parametrize("order", [("open", "close", "high", "low"), ("low", "high", "open", "close")])
def test_arrays_in_another_order_are_refused_and_the_remedy_works(order: tuple[str, ...], tmp_path: Path) -> None:
    put(tmp_path / "BTCUSDT.json", arrays(MILLIS, *map(pl.col, order), VOLUME, PAID.alias("paid"))(BARS))
    columns = {name: str(2 + order.index(name)) for name in PRICES}
    numbers = ", ".join(f"{name}: '{number}'" for name, number in columns.items())
    with pytest.raises(DataError, match=rf"to their numbers, such as {{timestamp: '1', {numbers}, volume: '6'}}"):
        loaded(tmp_path)
    assert_read(loaded(tmp_path, columns=columns)["BTCUSDT"][0], BARS)


PARTS: Final = (
    *(("output-1-of-2", "output-2-of-2"), ("data-00000-of-00002", "data-00001-of-00002"), ("chunk_0", "chunk_1")),
    *(("2024-W01", "2024-W02"), ("jan", "feb"), ("Jan2024", "Feb2024"), ("2024_jan", "2024_feb"), ("2024Q1", "2024Q2")),
    ("20240120_000012_00007_abcde_3fa85f64-5717-4562-b3fc-2c963f66afa6", "20240120_000012_00007_abcde_1"),
    *(("AAA_Jan2024", "AAA_Feb2024"), ("AAA_chunk0", "AAA_chunk1"), ("AAA (1)", "AAA (2)"), ("AAA_0", "AAA_1")),
    *(("2024-01_AAA", "2024-02_AAA"), ("20240120_AAA", "20240121_AAA"), ("AAA-1", "AAA-2")),
    *(("AAA_1705726800_1705730400", "AAA_1705730400_1705740000"), ("AAA_1705726800000", "AAA_1705730400000")),
)


@pytest.mark.parametrize("names", PARTS)
def test_parts_by_any_name_are_one_series(names: tuple[str, str], tmp_path: Path) -> None:
    for name, part in zip(names, (BARS[:150], BARS[150:]), strict=True):
        put(tmp_path / "AAA" / f"{name}.csv", part.write_csv())
    assert_read(loaded(tmp_path)["AAA"][0], BARS)


def test_what_counts_and_holds_other_bars_stays_apart(tmp_path: Path) -> None:
    """Such as the first and the second contract of a future."""
    put(tmp_path / "ES_1.csv", BARS.write_csv())
    put(tmp_path / "ES_2.csv", BARS.with_columns(pl.col(PRICES) * 1.01).write_csv())
    assert loaded(tmp_path).keys() == {"ES_1", "ES_2"}


@pytest.mark.parametrize(
    "folder",
    ["stock_id={}", "conid={}", "_year=2024/symbol={}", "{}/_year=2024", "{}/resolution=60", "{}/tf_1m", "{}/data_1m"],
)
@pytest.mark.parametrize("stem", ["data_0", "intraday", "chart", "ticks", "values", "000", "spot"])
def test_folders_tell_the_symbol(folder: str, stem: str, tmp_path: Path) -> None:
    for symbol, factor in (("AAA", 1), ("BBB", 7)):
        put(tmp_path / folder.format(symbol) / f"{stem}.csv", BARS.with_columns(pl.col(PRICES) * factor).write_csv())
    assert_read(loaded(tmp_path)["AAA"][0], BARS)


@pytest.mark.parametrize("folders", [("resolution=60", "resolution=1440"), ("granularity=3600", "granularity=86400")])
def test_timeframes_that_no_name_tells_are_never_mixed(folders: tuple[str, str], tmp_path: Path) -> None:
    for folder, bars in zip(folders, (HOURS, DAYS), strict=True):
        put(tmp_path / folder / "BTC.csv", bars.write_csv())
    with pytest.raises(DataError, match=r"bars of 1d, in .* of 1h; name one of them in data.input"):
        loaded(tmp_path)
    assert_read(loaded(tmp_path / folders[0])["BTC"][0], HOURS)


@pytest.mark.parametrize("folders", [("tf_1h", "tf_1d"), ("h1", "d1"), ("ohlcv-1h", "ohlcv-1d"), ("Hourly", "Daily")])
@pytest.mark.parametrize("above", [False, True])
def test_folders_tell_the_timeframe(folders: tuple[str, str], above: bool, tmp_path: Path) -> None:
    for folder, bars in zip(folders, (HOURS, DAYS), strict=True):
        put(tmp_path / (f"{folder}/BTC.csv" if above else f"BTC/{folder}/data.csv"), bars.write_csv())
    assert_read(loaded(tmp_path)["BTC"][0], HOURS)
    assert_read(loaded(tmp_path, timeframe="1d")["BTC"][0], DAYS)


@pytest.mark.parametrize("name", ["ES_H24", "CL_M24"])
def test_a_contract_is_no_timeframe(name: str) -> None:
    assert name_of(f"{name}.csv").timeframe is None


@pytest.mark.parametrize("names", [("700", "5"), ("1", "2"), ("0700", "0005")])
def test_short_numbers_with_other_bars_at_the_same_times_are_tickers(names: tuple[str, str], tmp_path: Path) -> None:
    for name, factor in zip(names, (1, 7), strict=True):
        put(tmp_path / f"{name}.csv", BARS.with_columns(pl.col(PRICES) * factor).write_csv())
    assert_read(loaded(tmp_path)[names[0]][0], BARS)


def test_numbers_that_name_series_are_refused_where_their_times_are_apart(tmp_path: Path) -> None:
    later = BARS.with_columns(TIME + pl.duration(days=1), pl.col(PRICES) * 7)
    both = pl.concat([BARS.with_columns(Asset_ID=pl.lit(1)), later.with_columns(Asset_ID=pl.lit(2))])
    put(tmp_path / "all.csv", both.write_csv())
    with pytest.raises(DataError, match=r"prices jump where it changes.*set data.columns.symbol=Asset_ID"):
        loaded(tmp_path)
    assert_read(loaded(tmp_path, columns={"symbol": "Asset_ID"})["1"][0], BARS)


def test_an_index_of_pandas_without_a_name_may_tell_series(tmp_path: Path) -> None:
    labeled = BARS.with_columns(__index_level_0__=pl.lit("A"))
    both = [labeled, labeled.with_columns(pl.col(PRICES) * 7, __index_level_0__=pl.lit("B"))]
    pl.concat(both).write_parquet(tmp_path / "all.parquet")
    with pytest.raises(DataError, match=r"set data.columns.symbol=__index_level_0__ to read each by itself"):
        loaded(tmp_path)
    assert_read(loaded(tmp_path, columns={"symbol": "__index_level_0__"})["A"][0], BARS)


@pytest.mark.parametrize(
    "word",
    ["Total Traded Quantity", "TOTTRDQTY", "No. of Shares", "成交量(股)", "Stück", "traded_qty", "volume_contracts"],
)
def test_volumes_of_stock_exchanges_are_read(word: str, tmp_path: Path) -> None:
    put(tmp_path / "TCS.csv", BARS.rename({"volume": word}).write_csv())
    cleaned, notes = loaded(tmp_path)["TCS"]
    assert_read(cleaned, BARS)
    assert f"volume is read from '{word}'" in notes[0]


def test_a_table_of_prices_without_times_is_a_note(tmp_path: Path) -> None:
    put(tmp_path / "BTC.csv", BARS.write_csv())
    summary = "\n".join(f"S{number},10.5,20,9,11,300" for number in range(50))
    put(tmp_path / "summary.csv", f"symbol,open,high,low,close,volume\n{summary}\n")
    found = find_series(DataSettings(input=str(tmp_path)))
    assert ([series.symbol for series in found.series], found.problems) == (["BTC"], ())
    assert found.notes == ("left out 1 file without any bars: summary.csv",)


@pytest.mark.parametrize("every", ["1mo", "1q", "1y"])
@pytest.mark.parametrize("back", [0, 1, 3])
@pytest.mark.parametrize("hours", [0, 5, -2])
def test_months_are_told_wherever_they_end(every: str, back: int, hours: int) -> None:
    ends = pl.datetime_range(pl.datetime(2001, 1, 1), pl.datetime(2020, 1, 1), every, time_zone="UTC", eager=True)
    business = ends.dt.offset_by(f"-{back}d") if back != 1 else ends.to_frame("t").select(
        pl.col("t").dt.date().dt.add_business_days(-1, roll="forward").cast(pl.Datetime("us", "UTC"))
    ).to_series()  # fmt: skip
    assert are_months(business.dt.offset_by(f"{hours}h"))


@pytest.mark.parametrize("days", [1, 7, 28, 30])
def test_bars_of_equal_length_are_no_months(days: int) -> None:
    times = pl.datetime_range(pl.datetime(2001, 1, 1), pl.datetime(2004, 1, 1), f"{days}d", time_zone="UTC", eager=True)
    assert not are_months(times)
