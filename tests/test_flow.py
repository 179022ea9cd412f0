"""Columns of flow: found by name or place, borne out by the bars, and no concern of models that do not read them."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from job.api.trainer import RayModelTrainer
from job.config.settings import Config, load_config
from job.core.errors import ConfigError, DataError
from job.registry.catalog import key_of, list_summaries
from job.registry.versions import read_metadata
from job.sources.finding import find_series
from job.sources.reading import SeriesBars, read_series
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.resume import skip_completed
from job.worker.load_bars import read_clean
from tests.here import run_here
from tests.oracles_transforms import random_bars
from transforms.bars import FLOW, PRICES, clean
from transforms.digest import content_digest
from transforms.resampling import resample
from transforms.segments import segment

BARS = random_bars(7, 300, flow=True)
"""Prices, volume and flow as an exchange might give them."""


def klines(bars: pl.DataFrame) -> pl.DataFrame:
    """Return bars as the twelve columns of Binance's klines."""
    open_ms = pl.col("timestamp").dt.epoch("ms")
    return bars.select(
        open_ms.alias("open_time"),
        *(*PRICES, "volume"),
        (open_ms + 59_999).alias("close_time"),
        "quote_volume",
        pl.col("trades").cast(pl.Int64).alias("count"),
        "taker_buy_volume",
        (pl.col("taker_buy_volume") * pl.col("close")).alias("taker_buy_quote_volume"),
        pl.lit(0).alias("ignore"),
    )


def as_csv(path: Path, frame: pl.DataFrame, **options: Any) -> None:
    frame.write_csv(path.with_suffix(".csv"), **options)


def as_arrays(path: Path, frame: pl.DataFrame) -> None:
    path.with_suffix(".json").write_text(json.dumps([[*map(str, row)] for row in frame.iter_rows()]), encoding="utf-8")


def as_objects(path: Path, frame: pl.DataFrame) -> None:
    path.with_suffix(".json").write_text(frame.write_json(), encoding="utf-8")


WRITTEN: dict[str, Callable[[Path], None]] = {
    "klines without a header": lambda path: as_csv(path, klines(BARS), include_header=False),
    "klines with a header": lambda path: as_csv(path, klines(BARS)),
    "klines as arrays": lambda path: as_arrays(path, klines(BARS)),
    "klines as objects": lambda path: as_objects(path, klines(BARS)),
    "parquet": lambda path: BARS.write_parquet(path.with_suffix(".parquet")),
    "feather": lambda path: BARS.write_ipc(path.with_suffix(".feather")),
    "names of a client library": lambda path: as_csv(
        path,
        klines(BARS).rename(
            {
                "quote_volume": "quote_asset_volume",
                "count": "number_of_trades",
                "taker_buy_volume": "taker_buy_base_asset_volume",
                "taker_buy_quote_volume": "taker_buy_quote_asset_volume",
            }
        ),
    ),
    "camel case": lambda path: as_csv(
        path,
        klines(BARS).rename(
            {"quote_volume": "quoteVolume", "count": "numTrades", "taker_buy_volume": "takerBuyBaseVolume"}
        ),
    ),
}


def reading(folder: Path, *, flow: bool = True, **data: Any) -> SeriesBars:
    """Read the one series of a folder."""
    settings = load_config({"data": {"input": str(folder), **data}}).data
    (series,) = find_series(settings).series
    return read_series(series, settings, flow=flow)


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_flow_is_read_wherever_it_stands(written: Callable[[Path], None], tmp_path: Path) -> None:
    written(tmp_path / "BTCUSDT-1m")
    found = reading(tmp_path)
    assert_frame_equal(found.bars, BARS.select(found.bars.columns), rel_tol=1e-12)
    assert found.bars.columns[-3:] == list(FLOW)
    assert not [note for note in found.notes if "left out" in note]
    assert reading(tmp_path, flow=False).bars.equals(found.bars.drop(FLOW)), "the bars are the same without it"


def test_kraken_counts_trades(tmp_path: Path) -> None:
    seconds = pl.col("timestamp").dt.epoch("s")
    rows = BARS.select(seconds, *PRICES, "volume", pl.col("trades").cast(pl.Int64))
    as_csv(tmp_path / "XBTUSD_1", rows, include_header=False)
    assert reading(tmp_path).bars["trades"].equals(BARS["trades"])


def test_a_column_may_be_named(tmp_path: Path) -> None:
    as_csv(tmp_path / "BTC-1m", BARS.rename({"quote_volume": "qv", "trades": "x"}))
    assert set(FLOW).difference(reading(tmp_path).bars.columns) == {"quote_volume", "trades"}
    named = {"quote_volume": "qv", "trades": "x", "taker_buy_volume": None}
    bars = reading(tmp_path, columns=named).bars
    assert bars["quote_volume"].equals(BARS["quote_volume"])
    assert bars["trades"].equals(BARS["trades"])
    assert "taker_buy_volume" not in bars.columns
    assert reading(tmp_path, flow=False, columns=named).bars.columns == ["timestamp", *PRICES, "volume"]


def test_numbers_of_columns_may_be_named(tmp_path: Path) -> None:
    numbers = {name: str(at) for at, name in enumerate(BARS.columns, 1)}
    as_csv(tmp_path / "BTC-1m", BARS, include_header=False)
    assert reading(tmp_path, columns=numbers).bars.columns == ["timestamp", *PRICES, "volume", *FLOW]


CONTRADICTED = {
    "quote_volume": (pl.col("volume") * 3, r"is not read from 'quote_volume': divided by the volume, .* 100% of bars"),
    "trades": (pl.col("trades") + 0.5, "trades is not read from 'trades': it holds no whole numbers"),
    "taker_buy_volume": (pl.col("volume") * 2 + 1, "is not read from 'taker_buy_volume': it is no part of the volume"),
}


@pytest.mark.parametrize("name", FLOW)
def test_what_the_bars_contradict_is_left_out_and_said(name: str, tmp_path: Path) -> None:
    other, said = CONTRADICTED[name]
    as_csv(tmp_path / "BTC-1m", BARS.with_columns(other.alias(name)))
    found = reading(tmp_path)
    assert name not in found.bars.columns
    assert len(found.bars.columns) == 8
    (note,) = [note for note in found.notes if "left out" in note]
    assert re.search(said, note)
    as_csv(tmp_path / "BTC-1m", BARS.with_columns(other.alias("theirs")).drop(name))
    with pytest.raises(DataError, match=rf"data\.columns\.{name} names 'theirs', but "):
        reading(tmp_path, columns={name: "theirs"})


@pytest.mark.parametrize("value", ["0", "", "n/a"])
def test_what_is_empty_counts_as_absent(value: str, tmp_path: Path) -> None:
    as_csv(tmp_path / "BTC-1m", BARS.with_columns(trades=pl.lit(value)))
    found = reading(tmp_path)
    assert found.bars.columns == ["timestamp", *PRICES, "volume", "quote_volume", "taker_buy_volume"]
    assert [note for note in found.notes if "trades is not read from 'trades': it is empty, or 0 throughout" in note]


def test_text_in_a_column_of_flow_costs_no_bar(tmp_path: Path) -> None:
    odd = pl.when(pl.int_range(pl.len()) == 7).then(pl.lit("many")).otherwise(pl.col("trades").cast(pl.String))
    as_csv(tmp_path / "BTC-1m", BARS.with_columns(trades=odd))
    found = reading(tmp_path)
    assert found.bars.height == BARS.height
    assert "trades" not in found.bars.columns
    assert [note for note in found.notes if "column 'trades', row 8: 'many' is not a number" in note]


def test_a_column_that_only_some_files_have_is_left_out_and_said(tmp_path: Path) -> None:
    as_csv(tmp_path / "BTC-1m-2023-11-14", BARS[:150])
    as_csv(tmp_path / "BTC-1m-2023-11-15", BARS[150:].drop("trades"))
    found = reading(tmp_path)
    assert found.bars.columns == ["timestamp", *PRICES, "volume", "quote_volume", "taker_buy_volume"]
    (note,) = [note for note in found.notes if "left out" in note]
    assert "trades is not read from 'trades'" in note
    assert "BTC-1m-2023-11-15.csv has none" in note


def test_a_volume_in_units_of_the_quote_is_not_read_twice(tmp_path: Path) -> None:
    as_csv(tmp_path / "BTC-1m", BARS.drop("volume"))
    found = reading(tmp_path)
    assert found.bars["volume"].equals(BARS["quote_volume"])
    assert "quote_volume" not in found.bars.columns


def test_an_unknown_column_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    as_csv(tmp_path / "BTC-1m", BARS)
    with pytest.raises(ConfigError, match=r"unknown column 'qote_volume'; did you mean 'quote_volume'\?"):
        reading(tmp_path, columns={"qote_volume": "x"})


def test_cleaning_gives_the_same_bars_with_flow_and_without() -> None:
    """Rows that agree but for their flow are one bar, whose flow is not known."""
    other = BARS[40].with_columns(trades=pl.col("trades") + 1)
    spoiled = BARS.with_columns(
        pl.when(pl.int_range(pl.len()) == 5).then(-1.0).otherwise("trades").alias("trades"),
        pl.when(pl.int_range(pl.len()) == 6).then(float("nan")).otherwise("quote_volume").alias("quote_volume"),
        pl.when(pl.int_range(pl.len()) == 9).then(-1.0).otherwise("close").alias("close"),
    )
    raw = pl.concat([spoiled, BARS[30], other]).sample(fraction=1, shuffle=True, seed=1)
    cleaned, bare = clean(raw), clean(raw.drop(FLOW))
    assert cleaned.bars.drop(FLOW).equals(bare.bars)
    assert cleaned.counts == bare.counts
    expected = spoiled.filter(pl.int_range(pl.len()) != 9).with_columns(
        trades=pl.when(pl.col("timestamp").is_in([BARS["timestamp"][40], BARS["timestamp"][5]]))
        .then(None)
        .otherwise("trades"),
        quote_volume=pl.col("quote_volume").fill_nan(None),
    )
    assert cleaned.bars.equals(expected)


def test_rows_in_order_are_not_joined() -> None:
    assert clean(BARS).bars.equals(BARS)
    assert clean(BARS.reverse()).bars.equals(BARS)


def test_longer_bars_add_up_what_all_of_their_bars_have() -> None:
    bars = BARS.with_columns(trades=pl.when(pl.int_range(pl.len()) == 17).then(None).otherwise("trades"))
    made = resample(bars, source="1m", timeframe="5m").bars
    window = (pl.col("timestamp").dt.epoch("us") // 300_000_000) * 300_000_000
    for row in made.iter_rows(named=True):
        own = bars.filter(window.cast(pl.Datetime("us", "UTC")) == row["timestamp"])
        assert row["quote_volume"] == pytest.approx(own["quote_volume"].sum())
        assert row["trades"] == (None if own["trades"].null_count() else own["trades"].sum())
    assert made["trades"].null_count() == 1


def test_nothing_is_traded_in_a_bar_that_is_filled() -> None:
    holed = segment(BARS.filter(pl.int_range(pl.len()) != 20), timeframe="1m")
    (filled,) = holed.filter("filled").select("volume", *FLOW).rows()
    assert filled == (0.0, 0.0, 0.0, 0.0)
    assert holed.filter(~pl.col("filled"))["trades"].equals(BARS.filter(pl.int_range(pl.len()) != 20)["trades"])


def config_of(folder: Path, *, features: list[str] | None = None, **data: Any) -> Config:
    """Return settings of two small models: one of the default features, one of those given."""
    small = {"algorithm": "logistic_regression", "timeframes": ["1m"]}
    trainer = {
        "model_directory": str(folder / "models"),
        "cv_folds": 1,
        "analyst_models": {**small, "features": features or ["default", "flow"]},
        "tactician_models": {**small, "features": ["default"], "label": "direction(1)"},
    }
    given = {"data": {"input": str(folder / "bars"), **data}, "model_trainer": trainer}
    return load_config(given).with_absolute_paths()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with bars of two symbols, of which one has flow."""
    (tmp_path / "bars").mkdir()
    random_bars(3, 3000, flow=True).write_parquet(tmp_path / "bars" / "BTC-1m.parquet")
    random_bars(4, 3000).write_parquet(tmp_path / "bars" / "ETH-1m.parquet")
    return tmp_path


def metadata(config: Config) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the metadata of the latest versions, by symbol and kind of model."""
    registry = Storage(config.model_trainer.model_directory)
    latest = {(key_of(one).symbol, key_of(one).model_type): one for one in list_summaries(registry)}
    return {pair: read_metadata(registry, key_of(one), one["version"]) for pair, one in latest.items()}


def names_of(described: dict[str, Any]) -> set[str]:
    return {feature["name"] for feature in described["features"]}


def test_a_file_with_flow_and_one_without_both_train(folder: Path) -> None:
    config = config_of(folder)
    record = run_here(config)
    assert record.counts["trained"] == 4, [outcome.error for outcome in record.outcomes]
    described = metadata(config)
    with_all, without = described["BTC", "analyst"], described["ETH", "analyst"]
    gone = names_of(with_all) - names_of(without)
    assert {"taker_share_5", "trade_size_5", "amihud_20", "vwap_distance_60"} <= gone
    assert "signed_volume_5" in names_of(without), "it needs the volume alone"
    assert set(without["features_left_out"]) == gone


def test_flow_concerns_the_models_that_read_it_alone(folder: Path) -> None:
    config = config_of(folder)
    run_here(config)
    assert {task.key for task in skip_completed(make_plan(config), config).tasks} == set()
    revised = random_bars(3, 3000, flow=True).with_columns(pl.col("trades") * 2)
    revised.write_parquet(folder / "bars" / "BTC-1m.parquet")
    record = run_here(config)
    status = {(one.key.symbol, one.key.model_type): one.status for one in record.outcomes}
    assert status.pop(("BTC", "analyst")) == "trained"
    assert set(status.values()) == {"current"}


def test_a_model_without_flow_is_the_same_in_a_run_with_it(folder: Path, tmp_path: Path) -> None:
    config = config_of(folder)
    run_here(config)
    alone = config_of(folder, features=["default"])
    alone = alone.model_copy(
        update={"model_trainer": alone.model_trainer.model_copy(update={"model_directory": str(tmp_path / "other")})}
    )
    run_here(alone)
    for symbol in ("BTC", "ETH"):
        one, other = (metadata(each)[symbol, "tactician"] for each in (config, alone))
        assert one["fingerprint"] == other["fingerprint"]
        assert one["scores"] == other["scores"]


def test_predictions_follow_flow(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = config_of(folder)
    run_here(config)
    bars = random_bars(3, 3000, flow=True)
    with RayModelTrainer(config) as trainer:
        predicted = trainer.predict(bars, "analyst", "1m", symbol="BTC")
        assert predicted.height > 2000
        doubled = bars.with_columns(pl.col("trades") * (1 + pl.int_range(pl.len()) % 2))
        assert not trainer.predict(doubled, "analyst", "1m", symbol="BTC")["probability_up"].equals(
            predicted["probability_up"]
        )
        with pytest.raises(DataError, match="these bars have no quote_volume and no taker_buy_volume and no trades"):
            trainer.predict(bars.drop(FLOW), "analyst", "1m", symbol="BTC")
        wrong = bars.with_columns(quote_volume=pl.col("volume"))
        with caplog.at_level(logging.WARNING), pytest.raises(DataError, match="these bars have no quote_volume:"):
            trainer.predict(wrong, "analyst", "1m", symbol="BTC")
        assert "quote_volume is left out: divided by the volume, it is no price" in caplog.text


def test_declared_splits_leave_what_was_paid(folder: Path) -> None:
    splits = {"BTC": {"2023-11-15": 2.0}}
    settings = load_config({"data": {"input": str(folder / "bars"), "symbols": ["BTC"], "splits": splits}}).data
    (series,) = find_series(settings).series
    before = read_clean(series, settings, flow=True)[0].bars
    raw = random_bars(3, 3000, flow=True)
    early = pl.col("timestamp") < before["timestamp"].dt.truncate("1d").max()
    assert before["quote_volume"].equals(raw["quote_volume"])
    assert before["trades"].equals(raw["trades"])
    ratio = before.filter(early)["taker_buy_volume"] / raw.filter(early)["taker_buy_volume"]
    assert ratio.drop_nans().max() == 2


def test_bars_alone_have_the_digest_that_they_had(folder: Path) -> None:
    settings = load_config({"data": {"input": str(folder / "bars"), "symbols": ["BTC"]}}).data
    (series,) = find_series(settings).series
    assert "trades" not in read_series(series, settings).bars.columns
    with_flow, without = (read_clean(series, settings, flow=flow)[0].bars for flow in (True, False))
    assert content_digest(with_flow.drop(FLOW)) == content_digest(without)
    assert np.isfinite(with_flow["quote_volume"].to_numpy()).all()
