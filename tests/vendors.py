"""Bars written to files as the vendors of market data write them: one `Layout` a way of writing."""

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from job.config.settings import DataSettings
from job.sources.finding import find_series
from job.sources.reading import read_series
from job.sources.series import Found, Series
from job.worker.load_bars import read_clean
from transforms.bars import Cleaned, duration_us

START = datetime(2024, 12, 31, 20, 0, tzinfo=UTC)
PRICES = ("open", "high", "low", "close")


def make_bars(rows: int = 480, *, start: datetime = START, step: str = "1m", seed: int = 7) -> pl.DataFrame:
    """Contiguous bars of a random walk, prices and volumes with two decimals, the close carried into the next open."""
    random = np.random.default_rng(seed)
    close = np.round(100 + np.cumsum(random.normal(0, 0.2, rows)), 2)
    opens = np.concatenate(([100.0], close[:-1]))
    high = np.round(np.maximum(opens, close) + random.uniform(0, 0.2, rows), 2)
    low = np.round(np.minimum(opens, close) - random.uniform(0, 0.2, rows), 2)
    first = start.replace(hour=0) if step == "1d" else start
    micros = int(first.timestamp()) * 10**6 + np.arange(rows) * duration_us(step)
    times = pl.Series(micros).cast(pl.Datetime("us", "UTC"))
    volume = np.round(random.uniform(1000, 2000, rows), 2)
    return pl.DataFrame({"timestamp": times, "open": opens, "high": high, "low": low, "close": close, "volume": volume})


def epoch(bars: pl.DataFrame, unit: str) -> pl.Series:
    """Times as whole numbers since 1970 in s, ms, us or ns."""
    divisor = {"s": 10**6, "ms": 10**3, "us": 1, "ns": 1}[unit]
    return bars["timestamp"].to_physical() // divisor * (1000 if unit == "ns" else 1)


def lines(columns: list[pl.Series], separator: str = ",") -> list[str]:
    """Rows of delimited text, numbers as Python prints them."""
    return [separator.join(map(str, row)) for row in zip(*columns, strict=True)]


def values(bars: pl.DataFrame) -> list[pl.Series]:
    return [bars[name] for name in (*PRICES, "volume")]


def klines(bars: pl.DataFrame, unit: str) -> list[str]:
    """Binance's twelve columns; the close time is one unit before the next open."""
    opens = epoch(bars, unit)
    zero = pl.Series([0] * bars.height)
    last = 60_000 * (1 if unit == "ms" else 1000) - 1
    quote, trades = bars["volume"] * bars["close"], pl.Series(range(bars.height))
    return lines([opens, *values(bars), opens + last, quote, trades, bars["volume"] / 2, quote / 2, zero])


KLINES_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


def find(folder: Path, **settings: object) -> Found:
    return find_series(DataSettings.model_validate({"input": str(folder), **settings}))


def only(folder: Path, **settings: object) -> Series:
    found = find(folder, **settings)
    assert not found.problems
    (series,) = found.series
    return series


def read(folder: Path, **settings: object) -> pl.DataFrame:
    return read_series(only(folder, **settings), DataSettings.model_validate(settings)).bars


def named(found: Found, name: str) -> Series:
    (series,) = [one for one in found.series if str(one) == name]
    return series


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")


def pack(path: Path, member: str, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, text)


def binance_tree(folder: Path, bars: pl.DataFrame) -> None:
    """Monthly archives with checksums: headerless and in ms up to 2024, in µs from 2025 on."""
    for month, unit in (("2024-12", "ms"), ("2025-01", "us")):
        part = bars.filter(pl.col("timestamp").dt.strftime("%Y-%m") == month)
        path = folder / f"data/spot/monthly/klines/BTCUSDT/1m/BTCUSDT-1m-{month}.zip"
        pack(path, f"BTCUSDT-1m-{month}.csv", "\n".join(klines(part, unit)) + "\n")
        put(path.with_name(path.name + ".CHECKSUM"), f"0123abcd  {path.name}\n")


def binance_headered(folder: Path, bars: pl.DataFrame) -> None:
    put(folder / "BTCUSDT-1m-2024-12.csv", "\n".join([KLINES_HEADER, *klines(bars, "ms")]) + "\n")


def crypto_data_download(folder: Path, bars: pl.DataFrame) -> None:
    """Banner, newest first, two volumes, seconds."""
    rows = bars.reverse()
    date = rows["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S")
    symbol = pl.Series(["BTC/USD"] * rows.height)
    quote = rows["volume"] * rows["close"]
    body = lines([epoch(rows, "s"), date, symbol, *values(rows), quote])
    header = "unix,date,symbol,open,high,low,close,Volume BTC,Volume USD"
    put(
        folder / "Bitstamp_BTCUSD_minute.csv",
        "\r\n".join(["https://www.CryptoDataDownload.com", header, *body]) + "\r\n",
    )


def crypto_data_download_hours(folder: Path, bars: pl.DataFrame) -> None:
    """Older files: `2019-10-17 09-AM`, seconds rounded by a spreadsheet, volume in quote units called `volume`."""
    rows = bars.reverse()
    date = rows["timestamp"].dt.strftime("%Y-%m-%d %I-%p")
    unix = pl.Series(["1.57E+09"] * rows.height)
    body = lines([unix, date, pl.Series(["BTCUSD"] * rows.height), *values(rows), rows["volume"] * 9])
    preamble = "Timestamps are UTC timezone,https://www.CryptoDataDownload.com"
    text = [preamble, "unix,date,symbol,open,high,low,close,volume_btc,volume", *body]
    put(folder / "Coinbase_BTCUSD_1h.csv", "\r\n".join(text) + "\r\n")


def kraken(folder: Path, bars: pl.DataFrame) -> None:
    put(
        folder / "XBTUSD_1.csv",
        "\n".join(lines([epoch(bars, "s"), *values(bars), pl.Series([3] * bars.height)])) + "\n",
    )


def kraken_archive(folder: Path, bars: pl.DataFrame) -> None:
    """The complete download: one archive with every pair and timeframe."""
    rows = lines([epoch(bars, "s"), *values(bars), pl.Series([3] * bars.height)])
    hours = lines([epoch(bars, "s"), *values(bars), pl.Series([3] * bars.height)])[::60]
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "Kraken_OHLCVT.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Kraken_OHLCVT/XBTUSD_1.csv", "\n".join(rows))
        archive.writestr("Kraken_OHLCVT/XBTUSD_60.csv", "\n".join(hours))
        archive.writestr("__MACOSX/Kraken_OHLCVT/._XBTUSD_1.csv", "\0\0")


def ninja_trader(folder: Path, bars: pl.DataFrame) -> None:
    """Without header, `;` between, the time of the bar's end."""
    ends = (bars["timestamp"] + pl.duration(minutes=1).pipe(pl.select).item()).dt.strftime("%Y%m%d %H%M%S")
    put(folder / "ES 03-25.Last.txt", "\r\n".join(lines([ends, *values(bars)], ";")) + "\r\n")


def ninja_trader_days(folder: Path, bars: pl.DataFrame) -> None:
    put(folder / "SPY.Last.txt", "\r\n".join(lines([bars["timestamp"].dt.strftime("%Y%m%d"), *values(bars)], ";")))


def hist_data(folder: Path, bars: pl.DataFrame) -> None:
    put(folder / "DAT_ASCII_EURUSD_M1_2024.csv", _hist_data(bars).decode())


def freqtrade_feather(folder: Path, bars: pl.DataFrame) -> None:
    """With the files that freqtrade keeps beside it: hours, mark prices, funding rates, trades."""
    target = folder / "user_data/data/binance/futures"
    target.mkdir(parents=True)
    frame = bars.rename({"timestamp": "date"}).with_columns(pl.col("date").cast(pl.Datetime("ms", "UTC")))
    for name in ("1m-futures", "1m-mark", "8h-funding_rate", "1M-futures", "trades"):
        frame.write_ipc(target / f"BTC_USDT_USDT-{name}.feather", compression="lz4")


def freqtrade_json(folder: Path, bars: pl.DataFrame) -> None:
    rows = [list(row) for row in zip(epoch(bars, "ms"), *values(bars), strict=True)]
    path = folder / "binance" / "BTC_USDT-1m.json.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(json.dumps(rows).encode()))


def ccxt_json(folder: Path, bars: pl.DataFrame) -> None:
    rows = [list(row) for row in zip(epoch(bars, "ms"), *values(bars), strict=True)]
    put(folder / "BTCUSDT-1m.json", json.dumps(rows, indent=1))


def binance_json(folder: Path, bars: pl.DataFrame) -> None:
    """Binance's REST answer: twelve values, numbers as text."""
    wide = (line.split(",") for line in klines(bars, "ms"))
    rows = [[int(row[0]), *row[1:6], int(row[6]), row[7], 5, *row[9:11], "0"] for row in wide]
    put(folder / "BTCUSDT_1m.json", json.dumps(rows))


def json_records(folder: Path, bars: pl.DataFrame) -> None:
    rows = bars.with_columns(timestamp=epoch(bars, "ms")).to_dicts()
    put(folder / "BTCUSDT.json", json.dumps(rows))


def parquet_each(folder: Path, bars: pl.DataFrame) -> None:
    bars.write_parquet(folder / "BTCUSDT.parquet")


def parquet_hive(folder: Path, bars: pl.DataFrame) -> None:
    """One folder a symbol, the rows cut into parts; other symbols and exchanges beside it."""
    for number, part in enumerate(bars.iter_slices(100)):
        path = folder / "exchange=bybit" / "symbol=BTC%2FUSDT" / f"part-{number}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_parquet(path)
    other = folder / "exchange=okx" / "symbol=BTC%2FUSDT" / "part-0.parquet"
    other.parent.mkdir(parents=True)
    bars.with_columns(pl.col(PRICES) * 2).write_parquet(other)
    (folder / "_SUCCESS").touch()


def parquet_symbol_column(folder: Path, bars: pl.DataFrame) -> None:
    """One file for all: symbols in turn, as a recorder of many markets writes them, some of them only hourly."""
    of = [
        bars.with_columns(pl.col(PRICES) * factor, symbol=pl.lit(name))
        for name, factor in (("BTCUSDT", 1), ("ETHUSDT", 2))
    ]
    pl.concat(of).sort("timestamp").write_parquet(folder / "all.parquet", row_group_size=200)


def csv_header(folder: Path, bars: pl.DataFrame) -> None:
    body = lines([bars["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S"), *values(bars)], "\t")
    put(folder / "BTCUSDT_M1.csv", "\n".join(["Time\tOpen\tHigh\tLow\tClose\tVolume", *body]))


def csv_symbol_column(folder: Path, bars: pl.DataFrame) -> None:
    """Two exchanges, symbols and timeframes in one file."""
    body = [
        f"{exchange},{symbol},{timeframe},{line}"
        for exchange, symbol, timeframe, rows in (
            ("binance", "BTC/USDT", "1m", bars),
            ("binance", "BTC/USDT", "1h", bars[::60]),
            ("binance", "ETH/USDT", "1m", bars),
            ("okx", "BTC/USDT", "1m", bars),
        )
        for line in lines([epoch(rows, "s"), *values(rows)])
    ]
    put(folder / "candles.csv", "\n".join(["exchange,symbol,interval,time,open,high,low,close,volume", *body]))


def meta_trader(folder: Path, bars: pl.DataFrame) -> None:
    """MetaTrader 5: UTF-16, tabs, day and clock in two columns."""
    day, clock = bars["timestamp"].dt.strftime("%Y.%m.%d"), bars["timestamp"].dt.strftime("%H:%M:%S")
    header = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<SPREAD>"
    body = lines([day, clock, *values(bars), pl.Series([1] * bars.height)], "\t")
    (folder / "EURUSD_M1_202412312000_202501010359.csv").write_bytes("\r\n".join([header, *body]).encode("utf-16"))


def meta_trader_4(folder: Path, bars: pl.DataFrame) -> None:
    """The history center of MetaTrader 4: without header, the minutes of a bar in the name."""
    put(folder / "EURUSD1.csv", _meta_trader_4(bars).decode())


def messy_csv(folder: Path, bars: pl.DataFrame) -> None:
    """Byte-order mark, CRLF, quoted numbers, blank lines inside and at the end."""
    quoted = [
        '"' + line.replace(",", '","') + '"'
        for line in lines([bars["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ"), *values(bars)])
    ]
    body = "\r\n".join([*quoted[:5], "", *quoted[5:]])
    put(folder / "BTCUSDT.csv", "\ufeff" + '"Date","Open","High","Low","Close","Volume"\r\n' + body + "\r\n\r\n\r\n")


@dataclass(frozen=True)
class Sample:
    """A way to write bars: the format that it shall be recognised as, and the series that shall be found."""

    write: Callable[[Path, pl.DataFrame], None]
    format: str
    found: str
    timeframe: str | None = "1m"
    step: str = "1m"


SAMPLES = (
    Sample(binance_tree, "binance", "binance/BTCUSDT"),
    Sample(binance_headered, "binance", "unknown/BTCUSDT"),
    Sample(crypto_data_download, "cryptodatadownload", "bitstamp/BTCUSD"),
    Sample(crypto_data_download_hours, "cryptodatadownload", "coinbase/BTCUSD", "1h", "1h"),
    Sample(kraken, "kraken", "kraken/XBTUSD"),
    Sample(kraken_archive, "kraken", "kraken/XBTUSD"),
    Sample(ninja_trader, "ninjatrader", "unknown/ES 03-25", None),
    Sample(ninja_trader_days, "ninjatrader", "unknown/SPY", None, "1d"),
    Sample(meta_trader_4, "metatrader", "unknown/EURUSD"),
    Sample(hist_data, "histdata", "unknown/EURUSD"),
    Sample(freqtrade_feather, "feather", "binance/BTC_USDT_USDT"),
    Sample(freqtrade_json, "json", "binance/BTC_USDT"),
    Sample(ccxt_json, "json", "unknown/BTCUSDT"),
    Sample(binance_json, "json", "unknown/BTCUSDT"),
    Sample(json_records, "json", "unknown/BTCUSDT", None),
    Sample(parquet_each, "parquet", "unknown/BTCUSDT", None),
    Sample(parquet_hive, "parquet", "bybit/BTC/USDT", None),
    Sample(parquet_symbol_column, "parquet", "unknown/BTCUSDT", None),
    Sample(csv_header, "csv", "unknown/BTCUSDT"),
    Sample(csv_symbol_column, "csv", "binance/BTC/USDT"),
    Sample(meta_trader, "csv", "unknown/EURUSD"),
    Sample(messy_csv, "csv", "unknown/BTCUSDT", None),
)


def _json(bars: pl.DataFrame) -> bytes:
    return json.dumps([list(row) for row in zip(epoch(bars, "ms"), *values(bars), strict=True)]).encode()


def _crypto_data_download(bars: pl.DataFrame) -> bytes:
    times = [epoch(bars, "s"), bars["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S"), pl.Series(["BTC/X"] * bars.height)]
    body = lines([*times, *values(bars), bars["volume"] * bars["close"]])
    return "\n".join(["unix,date,symbol,open,high,low,close,Volume BTC,Volume USD", *body]).encode()


def _ninja_trader(bars: pl.DataFrame) -> bytes:
    ends = bars.select(pl.col("timestamp") + pl.duration(minutes=1)).to_series().dt.strftime("%Y%m%d %H%M%S")
    return "\n".join(lines([ends, *values(bars)], ";")).encode()


def _hist_data(bars: pl.DataFrame) -> bytes:
    """As NinjaTrader's, but with open times, five hours behind UTC all year."""
    opens = bars.select(pl.col("timestamp") - pl.duration(hours=5)).to_series().dt.strftime("%Y%m%d %H%M%S")
    return "\r\n".join(lines([opens, *values(bars)], ";")).encode()


def _meta_trader_4(bars: pl.DataFrame) -> bytes:
    day, clock = bars["timestamp"].dt.strftime("%Y.%m.%d"), bars["timestamp"].dt.strftime("%H:%M")
    return "\r\n".join(lines([day, clock, *values(bars)])).encode()


def _parquet(bars: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    bars.write_parquet(buffer)
    return buffer.getvalue()


def _feather(bars: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    bars.write_ipc(buffer, compression="lz4")
    return buffer.getvalue()


WRITERS: dict[str, Callable[[pl.DataFrame], bytes]] = {
    "parquet": _parquet,
    "feather": _feather,
    "json": _json,
    "csv": lambda bars: "\n".join(
        ["time,open,high,low,close,volume", *lines([bars["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S"), *values(bars)])]
    ).encode(),
    "binance": lambda bars: "\n".join(klines(bars, "ms")).encode(),
    "cryptodatadownload": _crypto_data_download,
    "kraken": lambda bars: "\n".join(lines([epoch(bars, "s"), *values(bars), pl.Series(range(bars.height))])).encode(),
    "ninjatrader": _ninja_trader,
    "metatrader": _meta_trader_4,
    "histdata": _hist_data,
}
"""What a file of each format holds for some bars of one minute."""

STEMS: dict[str, tuple[str, str]] = {"histdata": ("DAT_ASCII_BTCX_M1_2024", "BTCX")}
"""Names, without suffixes, of files of a format that only their names tell, and the symbols that they mean."""


def loaded(folder: Path, **data: Any) -> dict[str, tuple[Cleaned, tuple[str, ...]]]:
    """Clean bars and notes of every series below a folder; fails where a file is a problem."""
    wanted = DataSettings.model_validate({"input": str(folder), **data})
    found = find_series(wanted)
    if found.problems:
        raise found.problems[0]
    return {series.symbol: read_clean(series, wanted) for series in found.series}
