"""What paths tell, and which symbol a user means."""

import re

import pytest

from job.core.errors import DataError
from job.core.timeframes import timeframe_of
from job.sources.formats import name_of, stem_of
from job.sources.names.paths import Name
from job.sources.names.symbols import normalize_symbol, symbol_named, unknown_symbol
from transforms.bars import duration_us


@pytest.mark.parametrize(
    ("text", "timeframe"),
    [
        *(
            ("1m", "1m"),
            ("15m", "15m"),
            ("1min", "1m"),
            ("5minutes", "5m"),
            ("M1", "1m"),
            ("M15", "15m"),
            ("minute", "1m"),
        ),
        *(("60m", "1h"), ("1h", "1h"), ("1H", "1h"), ("H4", "4h"), ("hourly", "1h"), ("120min", "2h"), ("15T", "15m")),
        *(
            ("1d", "1d"),
            ("D1", "1d"),
            ("d", "1d"),
            ("daily", "1d"),
            ("24h", "1d"),
            ("1w", "7d"),
            ("W1", "7d"),
            ("30s", "30s"),
        ),
        *(
            ("1M", None),
            ("1mo", None),
            ("MN1", None),
            ("0m", None),
            ("x", None),
            ("", None),
            ("5", None),
            ("m5x", None),
        ),
    ],
)
def test_timeframe_of(text: str, timeframe: str | None) -> None:
    assert timeframe_of(text) == timeframe
    if timeframe:
        assert duration_us(timeframe) > 0


def bars(
    symbol: str, timeframe: str | None = None, exchange: str | None = None
) -> tuple[str | None, str, str | None, str]:
    return exchange, symbol, timeframe, "bars"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("x/BTC_USDT_USDT-1m-futures.feather", bars("BTC_USDT_USDT", "1m")),
        ("data/binance/futures/BTC_USDT_USDT-1m-futures.feather", bars("BTC_USDT_USDT", "1m", "binance")),
        ("data/kraken/BTC_USD-5m.json.gz", bars("BTC_USD", "5m", "kraken")),
        ("data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip", bars("BTCUSDT", "1m", "binance")),
        (
            "futures/um/daily/klines/BTCUSDT_240628/1h/BTCUSDT_240628-1h-2024-01-05.csv",
            bars("BTCUSDT_240628", "1h", "binanceusdm"),
        ),
        (
            "futures/cm/monthly/klines/BTCUSD_PERP/1d/BTCUSD_PERP-1d-2024-01.zip",
            bars("BTCUSD_PERP", "1d", "binancecoinm"),
        ),
        ("klines/BTCUSDT/1m/BTCUSDT-1m-2024-01.zip", bars("BTCUSDT", "1m", "binance")),
        ("x/BTCUSDT-1m-2024-01.zip", bars("BTCUSDT", "1m")),
        ("x/BTCUSDT-1m-2024-01-31.csv", bars("BTCUSDT", "1m")),
        ("exchange=bybit/symbol=BTC%2FUSDT%3AUSDT/part-0.parquet", bars("BTC/USDT:USDT", None, "bybit")),
        ("exchange=bybit/symbol=BTCUSDT/timeframe=5m/year=2024/part-0.parquet", bars("BTCUSDT", "5m", "bybit")),
        ("symbol=BTCUSDT/BTCUSDT-1m.csv", bars("BTCUSDT", "1m")),
        ("q/Coinbase_BTCUSD_1h.csv", bars("BTCUSD", "1h", "coinbase")),
        ("q/Binance_BTCUSDT_2020_minute.csv", bars("BTCUSDT", "1m", "binance")),
        ("q/Bitstamp_ETHUSD_d.csv", bars("ETHUSD", "1d", "bitstamp")),
        ("q/Other_ETHUSD_d.csv", bars("Other_ETHUSD", "1d")),
        ("q/UNIUSDT_M15.csv", bars("UNIUSDT", "15m")),
        ("q/nt-spy-minute-2011-03.csv", bars("nt-spy", "1m")),
        ("q/EURUSD_M1_202412312000_202501010359.csv", bars("EURUSD", "1m")),
        ("q/ES 03-25.Last.txt", bars("ES 03-25")),
        ("q/BTCUSDT.parquet", bars("BTCUSDT")),
        ("q/BTCUSDT_2023.csv", bars("BTCUSDT")),
        ("q/BTCUSDT-2023-01.csv.gz", bars("BTCUSDT")),
        ("q/BTCUSDT-part-3.parquet", bars("BTCUSDT")),
        ("okx/BTCUSDT/2024-01.csv", bars("BTCUSDT", None, "okx")),
        ("okx/BTCUSDT/1m/2024-01-05.csv", bars("BTCUSDT", "1m", "okx")),
        ("BTCUSDT/part-00001-abc.parquet", bars("BTCUSDT")),
        ("q/US_30.csv", bars("US_30")),
        ("q/XBTUSD_60.csv", bars("XBTUSD_60")),
        ("q/1000PEPEUSDT-1m.csv", bars("1000PEPEUSDT", "1m")),
        ("binance_futures_1m/BTCUSDT.csv", bars("BTCUSDT")),
    ],
)
def test_names_of_bars(path: str, expected: tuple[str | None, str, str | None, str]) -> None:
    name = name_of(path)
    assert (name.exchange, name.symbol, name.timeframe, name.contents) == expected


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("binance/futures/BTC_USDT_USDT-1h-mark.feather", "no_bars"),
        ("binance/futures/BTC_USDT_USDT-8h-funding_rate.feather", "no_bars"),
        ("binance/BTC_USDT-trades.feather", "no_bars"),
        ("binance/BTC_USDT-1M.feather", "no_fixed_length"),
        ("spot/monthly/klines/BTCUSDT/1mo/BTCUSDT-1mo-2024-01.zip", "no_fixed_length"),
        ("futures/um/monthly/premiumIndexKlines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip", "no_bars"),
        ("spot/monthly/aggTrades/BTCUSDT/BTCUSDT-aggTrades-2024-01.zip", "no_bars"),
        ("q/BTCUSDT-1M.csv", "no_fixed_length"),
    ],
)
def test_files_that_hold_no_bars_of_a_timeframe(path: str, kind: str) -> None:
    assert name_of(path).contents == kind


def test_kraken_minutes_count_only_where_the_content_says_kraken() -> None:
    assert name_of("q/XBTUSD_240.csv", "kraken") == Name("kraken", "XBTUSD", "4h")
    assert name_of("q/XBTUSD_240.csv", "csv") == name_of("q/XBTUSD_240.csv") == Name(None, "XBTUSD_240", None)
    assert name_of("q/XBTUSD_7.csv", "kraken") == name_of("q/XBTUSD_7.csv")


@pytest.mark.parametrize(
    ("path", "stem"), [("a/b.csv.gz", "b"), ("a/b.tar.x", "b.tar.x"), ("B-1m.JSON.GZ", "B-1m"), ("a/b", "b")]
)
def test_stem(path: str, stem: str) -> None:
    assert stem_of(path) == stem


KNOWN = ["BTC_USDT_USDT", "ETH_USDT_USDT", "ETHUSDT", "eth-btc"]


@pytest.mark.parametrize(
    ("wanted", "symbol"),
    [
        ("BTC_USDT_USDT", "BTC_USDT_USDT"),
        ("BTC/USDT:USDT", "BTC_USDT_USDT"),
        ("btc-usdt-usdt", "BTC_USDT_USDT"),
        ("BTCUSDT", "BTC_USDT_USDT"),
        ("BTC/USDT", "BTC_USDT_USDT"),
        ("ETHUSDT", "ETHUSDT"),
        ("eth/usdt", "ETHUSDT"),
        ("ETH/USDT:USDT", "ETH_USDT_USDT"),
        ("ETHBTC", "eth-btc"),
        ("XRP", None),
    ],
)
def test_symbol_named(wanted: str, symbol: str | None) -> None:
    assert symbol_named(wanted, KNOWN) == symbol


def test_ambiguous_symbol_is_refused() -> None:
    with pytest.raises(
        DataError, match="symbol 'btcusdt' is ambiguous: it may mean BTC-USDT, BTC_USDT; give the exact name"
    ):
        symbol_named("btcusdt", ["BTC_USDT", "BTC-USDT"])
    assert symbol_named("BTC-USDT", ["BTC_USDT", "BTC-USDT"]) == "BTC-USDT"


def test_letters_of_other_scripts_count() -> None:
    assert normalize_symbol("币安-人生/usdt") == "币安人生USDT"


def test_an_unknown_symbol_names_the_nearest_or_the_known() -> None:
    known = ["BTC_USDT", "ETH_USDT"]
    assert symbol_named("BTCUSD", known) is None
    near = unknown_symbol("BTCUSD", known)
    assert str(near) == "no bars of symbol 'BTCUSD' in the input; did you mean BTC_USDT or ETH_USDT?"
    assert str(unknown_symbol("XRP", known)) == "no bars of symbol 'XRP' in the input; known: BTC_USDT, ETH_USDT"


def test_unknown_symbol_lists_only_some_of_many() -> None:
    error = unknown_symbol("zzz", [f"AA{number:03}" for number in range(30)])
    assert re.search(r"known: AA000, .*AA007 and 22 more$", str(error))
