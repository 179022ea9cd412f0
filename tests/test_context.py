"""Context: longer bars, other series and the market, as they were known when a bar closed, and no later."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from job.api.trainer import RayModelTrainer
from job.config.settings import Config, load_config
from job.core.environment import versions
from job.core.errors import ConfigError, DataError, RegistryError
from job.learning.context import origins
from job.learning.features import expand_features
from job.predict.plan import Request
from job.predict.plan import plan as plan_predictions
from job.predict.run import run as predict
from job.registry.catalog import key_of, list_summaries
from job.registry.definition import Definition
from job.registry.versions import read_metadata
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.resume import skip_completed
from job.train.run import run
from job.worker.gathering import gather, gatherings
from job.worker.load_bars import read_bars
from job.worker.messages import Bundle, Job, pack
from tests.conformance import Make, leaks_when_continued, leaks_when_rewritten, rewrite_after, some_time
from tests.here import run_here
from tests.oracles_transforms import random_bars
from transforms.bars import TIME, Gaps, clean, duration_us
from transforms.context import (
    FEWEST,
    LIMIT,
    MARKET_FEATURES,
    MOVES,
    QUANTUM,
    Beside,
    known_features,
    longer_bars,
    market,
    market_sums,
    moves,
)
from transforms.features import FEATURES
from transforms.features.default import CHANGES
from transforms.features.feature import WARM
from transforms.labels import Direction
from transforms.preparing import Preparation
from transforms.samples import make_samples
from transforms.sessions import Sessions

NAMES = ("change_1", "close_ma_5", "volatility_10")
COARSE = tuple(FEATURES[name] for name in NAMES)
Row = dict[str, Any]


MINUTES = Preparation(source="1m", timeframe="1m")


def closes(bars: pl.DataFrame, timeframe: str) -> pl.Series:
    return bars["timestamp"] + timedelta(microseconds=duration_us(timeframe))


def beside_bars(bars: pl.DataFrame, beside: Beside, timeframe: str = "1m") -> pl.DataFrame:
    """Return the columns beside bars, with the time at which each is known."""
    times = closes(bars, timeframe).alias("known_at")
    return bars.select("timestamp").hstack([times]).hstack(beside.at(times).get_columns())


def of_longer(bars: pl.DataFrame) -> pl.DataFrame:
    return beside_bars(bars, longer_bars(bars, MINUTES, "15m", COARSE, tolerance=WARM))


def of_another(bars: pl.DataFrame, *, own: pl.DataFrame) -> pl.DataFrame:
    known = known_features(bars, MINUTES, COARSE, tolerance=WARM)
    return beside_bars(own.filter(pl.col("timestamp") <= bars["timestamp"].max()), Beside(known))


def of_market(bars: pl.DataFrame, *, others: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the market beside the first of some series, whose others end when it does."""
    last = pl.col("timestamp") <= bars["timestamp"].max()
    parts = [moves(one, MINUTES) for one in (bars, *(other.filter(last) for other in others))]
    return beside_bars(bars, market(parts[0], market_sums(parts), len(parts), MARKET_FEATURES))


OTHERS = [random_bars(seed, 900, missing=0.02) for seed in (101, 102, 103)]
CASES: dict[str, Make] = {
    "longer bars": of_longer,
    "another series": partial(of_another, own=random_bars(100, 900)),
    "the market": partial(of_market, others=OTHERS),
}


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.3, 1))
def test_nothing_at_or_before_a_time_changes_with_what_comes_after(make: Make, seed: int, share: float) -> None:
    bars = random_bars(seed, 900, missing=0.02, jumps=2, flow=True)
    time = some_time(bars, share)
    assert leaks_when_rewritten(make, bars, time, seed) == []
    assert leaks_when_continued(make, bars, time) == []


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.3, 1))
def test_the_market_does_not_look_ahead_at_its_other_series(seed: int, share: float) -> None:
    bars = random_bars(seed, 900)
    time = some_time(OTHERS[0], share)
    later = [rewrite_after(one.with_columns(volume=1.0), time, seed) for one in OTHERS]
    known = pl.col("known_at") <= time
    made, rewritten = (of_market(bars, others=others) for others in (OTHERS, later))
    assert made.filter(known).equals(rewritten.filter(known))
    assert not made.equals(rewritten) or share > 0.95


def test_each_case_is_tried_on_values() -> None:
    for make in CASES.values():
        made = make(random_bars(1, 900))
        for name in made.columns[2:]:
            assert made[name].drop_nulls().n_unique() > 10, name


def test_a_longer_bar_joined_by_its_opening_time_would_be_found() -> None:
    def leaking(bars: pl.DataFrame) -> pl.DataFrame:
        known = known_features(bars, replace(MINUTES, timeframe="15m"), COARSE, tolerance=WARM)
        early = known.with_columns(pl.col("available_at") - timedelta(minutes=15))
        return beside_bars(bars, Beside(early, timedelta(minutes=15)))

    bars = random_bars(3, 900, flow=True)
    assert leaks_when_rewritten(leaking, bars, some_time(bars, 0.71), 3)


def test_longer_bars_are_those_that_closed_last() -> None:
    """The oracle goes back from each bar to the last whole quarter of an hour."""
    bars = random_bars(5, 2000, missing=0.05)
    beside = longer_bars(bars, MINUTES, "15m", COARSE, tolerance=WARM)
    rows = {row["available_at"]: row for row in beside.frame.iter_rows(named=True)}
    times = closes(bars, "1m")
    made = beside.at(times)
    known = 0
    for at, time in enumerate(times):
        quarter = time - timedelta(minutes=time.minute % 15, seconds=time.second)
        expected = rows.get(quarter)  # where that bar is absent, an older one is too old
        for name in NAMES:
            value = made[f"{name}@15m"][at]
            assert value == (expected and expected[f"{name}@15m"])
            known += value is not None
    assert known > 3000


def test_a_longer_bar_that_a_later_one_fills_is_not_known_before() -> None:
    """Of the bar from 01:00 too little is there, so it is filled, which the bar from 01:15 is needed for."""
    bars = random_bars(8, 240).filter(~pl.int_range(pl.len()).is_between(60, 70))
    beside = longer_bars(bars, MINUTES, "15m", [FEATURES["change_1"]], tolerance=WARM)
    at = bars.with_row_index().filter(pl.col("timestamp") >= bars["timestamp"][0] + timedelta(minutes=74))["index"][0]
    made = beside.at(closes(bars, "1m"))["change_1@15m"]
    assert made[at : at + 15].null_count() == 15
    assert made[at + 15] is not None


def test_longer_bars_outlast_a_closing_time_and_no_hole() -> None:
    quotes = random_bars(9, 3 * 1440)
    open_hours = pl.col("timestamp").dt.hour().is_between(9, 16)
    bars = quotes.filter(open_hours)
    first = bars.with_row_index().filter(pl.col("timestamp").dt.date() == bars["timestamp"].dt.date().max())["index"][0]
    times = closes(bars, "1m")
    change = FEATURES["change_1"]
    cases: list[tuple[Gaps, bool]] = [(Sessions("UTC", ((540, 1020),)), True), ("segment", False)]
    for gaps, known in cases:
        beside = longer_bars(bars, replace(MINUTES, gaps=gaps), "1h", [change], tolerance=WARM)
        assert (beside.at(times)["change_1@1h"][first] is not None) == known


def test_days_on_the_clocks_of_a_zone_are_known_when_they_end_there() -> None:
    """New York's clocks went forward on 2023-03-12: its day ended at 04:00 UTC, those before it at 05:00."""
    start = int(datetime.fromisoformat("2023-03-08T05:00+00:00").timestamp() * 1e6)
    bars = random_bars(4, 24 * 6, step=3_600_000_000)
    bars = bars.with_columns((start + pl.int_range(pl.len()) * 3_600_000_000).cast(TIME).alias("timestamp"))
    how = Preparation(source="1h", timeframe="1h", zone="America/New_York")
    beside = longer_bars(bars, how, "1d", [FEATURES["high_low"]], tolerance=WARM)
    ends = beside.frame["available_at"].dt.strftime("%d %H:%M").to_list()
    assert ends == ["09 05:00", "10 05:00", "11 05:00", "12 05:00", "13 04:00", "14 04:00"]
    at = beside.at(closes(bars, "1h"))["high_low@1d"]
    assert at.null_count() == 23, "of the first day nothing is known, and every day lasts until the next has ended"


def test_bars_cut_into_two_files_are_the_same_context(tmp_path: Path) -> None:
    bars = random_bars(6, 900)
    whole = clean(bars).bars
    parts = clean(pl.concat([bars[:407], bars[407:]])).bars
    one, other = (longer_bars(each, MINUTES, "15m", COARSE, tolerance=WARM).frame for each in (whole, parts))
    assert one.equals(other)


def moves_of(bars: pl.DataFrame) -> dict[datetime, list[float]]:
    """Return the moves of one series without gaps, by the time at which they are known."""
    log_close = np.log(bars["close"].to_numpy())
    returns = np.diff(log_close)
    found = {}
    for at in range(60, len(log_close)):
        deviation = np.std(returns[at - 60 : at], ddof=1)
        z = [(log_close[at] - log_close[at - k]) / (deviation * np.sqrt(k)) for k in CHANGES]
        found[bars["timestamp"][at] + timedelta(minutes=1)] = [float(np.clip(one, -LIMIT, LIMIT)) for one in z]
    return found


def test_the_market_is_the_mean_of_the_others() -> None:
    series = [random_bars(seed, 200 + 40 * (seed % 2)) for seed in range(5)]
    made = [moves(one, MINUTES) for one in series]
    beside = market(made[0], market_sums(made), 5, MARKET_FEATURES)
    oracle = [moves_of(one) for one in series]
    for row in beside.frame.iter_rows(named=True):
        own = oracle[0].get(row["available_at"])
        others = [one[row["available_at"]] for one in oracle[1:] if row["available_at"] in one]
        mean = np.mean(others, axis=0)
        for at, bars in enumerate(CHANGES):
            assert row[f"market_change_{bars}"] == pytest.approx(mean[at], abs=2e-6)
            if own is not None:
                assert row[f"market_lead_{bars}"] == pytest.approx(mean[at] - own[at], abs=4e-6)
        assert row["market_dispersion"] == pytest.approx(np.std([one[0] for one in others]), abs=1e-3)
    assert beside.frame.height > 150


def test_no_order_of_the_series_changes_a_bit() -> None:
    made = [moves(random_bars(seed, 300, missing=0.05), MINUTES) for seed in range(6)]
    straight = market_sums(made)
    pairwise = market_sums([made[5], market_sums(made[3:5]), market_sums([made[1], made[0], made[2]])])
    assert straight.equals(pairwise)


def test_a_market_needs_several_others_and_half_of_them() -> None:
    made = [moves(random_bars(seed, 200), MINUTES) for seed in range(3)]
    two = market(made[0], market_sums(made[:FEWEST]), 2, ("market_change_1",))
    assert two.frame["market_change_1"].null_count() == two.frame.height
    most_absent = market(made[0], market_sums(made), 8, ("market_change_1",))
    assert most_absent.frame["market_change_1"].null_count() == most_absent.frame.height
    assert market(made[0], market_sums(made), 3, ("market_change_1",)).frame["market_change_1"].null_count() == 0


def test_a_bad_print_is_not_the_market() -> None:
    assert (moves(random_bars(1, 300, jumps=4), MINUTES)["normal_return_1"].abs() <= LIMIT / QUANTUM).all()
    assert len(MOVES) == len(CHANGES)


def samples(bars: pl.DataFrame, beside: Sequence[Beside], start: datetime | None = None) -> Any:
    seen, label = [FEATURES["change_1"]], Direction(horizon=3)
    return make_samples(bars, MINUTES, features=seen, label=label, start=start, beside=beside)


def test_a_row_without_its_context_is_no_sample_and_counted() -> None:
    bars = random_bars(1, 1000)
    times = closes(bars, "1m")
    frame = pl.DataFrame({"available_at": times, "x": np.arange(1000, dtype=np.float32)})
    few_absent = frame.filter(pl.int_range(pl.len()) % 20 != 7)
    made = samples(bars, [Beside(few_absent)])
    assert made.left_out == ()
    assert made.counts["not_finite"] == 50
    assert made.frame["x"].null_count() == 0
    many_absent = frame.filter(pl.int_range(pl.len()) % 9 != 7)
    made = samples(bars, [Beside(many_absent), Beside(few_absent.rename({"x": "y"}))])
    assert made.left_out == ("x",)
    assert made.frame.columns[-2:] == ["change_1", "y"]


def test_the_warm_up_of_longer_bars_eats_no_short_history() -> None:
    bars = random_bars(1, 3 * 1440)
    beside = longer_bars(bars, MINUTES, "1h", [FEATURES["change_1"], FEATURES["macd"]], tolerance=WARM)
    made = samples(bars, [beside])
    assert made.left_out == ("macd@1h",)
    assert made.counts["used"] > 0.9 * bars.height


def test_names_of_other_bars() -> None:
    named = expand_features(["change_1", "volatility@1h", "rsi_14@BTC/USDT", "market"])
    seen = origins(named)
    assert seen.own == ("change_1",)
    assert seen.others == {"BTC/USDT": ("rsi_14",)}
    assert len(seen.longer["1h"]) == 15
    assert seen.market == MARKET_FEATURES


@pytest.mark.parametrize(
    ("spelled", "name"), [("60m", "1h"), ("1w", "7d"), ("15min", "15m"), ("W", "W"), ("BTC", "BTC")]
)
def test_timeframes_may_be_spelled_in_any_way(spelled: str, name: str) -> None:
    assert expand_features([f"change_1@{spelled}"]) == (f"change_1@{name}",)


def test_a_timeframe_is_no_symbol(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"context.symbols: '15m' is a timeframe: name it in context.timeframes"):
        config_of(folder, {"symbols": ["BTC", "15m"]})


def test_a_symbol_on_two_other_exchanges_is_refused(folder: Path) -> None:
    bars = folder / "bars"
    for exchange, symbols in {"binance": "ETH", "kraken": "BTC", "coinbase": "BTC"}.items():
        (bars / exchange).mkdir()
        random_bars(1, 300).write_parquet(bars / exchange / f"{symbols}-1m.parquet")
    config = config_of(folder, {"symbols": ["BTC"]}, input=str(bars / "*" / "*.parquet"))
    with pytest.raises(ConfigError, match=r"BTC: the input has it on coinbase, kraken: name an input that holds one"):
        make_plan(config)
    one = config_of(folder, {"symbols": ["BTC"]}, input=str(bars / "[bk]*" / "*.parquet"))
    assert {str(need.others[0][1]) for task in make_plan(one).tasks for need in task.needs} == {"kraken/BTC"}


@pytest.mark.parametrize("name", ["change_1@", "market@1h", "market_change_1@BTC", "change_1@1h@BTC", "chnge_1@1h"])
def test_names_that_mean_nothing_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"analyst_models\.features\.0"):
        load_config({"model_trainer": {"analyst_models": {"features": [name]}}})


CONTEXT: dict[str, Any] = {
    "timeframes": ["5m"],
    "symbols": ["BTC"],
    "market": True,
    "features": ["change_1", "change_5"],
}


def config_of(folder: Path, context: dict[str, Any] = CONTEXT, **data: Any) -> Config:
    kind = {
        "algorithm": "logistic_regression", "timeframes": ["5m", "1m"], "features": ["change_1", "rsi_14"],
        "label": "direction(1)", "context": context,
    }  # fmt: skip
    trainer = {
        "model_directory": str(folder / "models"),
        "cv_folds": 1,
        "analyst_models": kind,
        "enable_tactician_models": False,
    }
    given_data = {"input": str(folder / "bars"), **data}
    return load_config({"data": given_data, "model_trainer": trainer}).with_absolute_paths()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "bars").mkdir()
    for seed, symbol in enumerate(("BTC", "ETH", "SOL", "XRP")):
        random_bars(seed, 3000).write_parquet(tmp_path / "bars" / f"{symbol}-1m.parquet")
    return tmp_path


def metadata(config: Config) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the metadata of the latest versions, by symbol and timeframe."""
    registry = Storage(config.model_trainer.model_directory)
    latest = {(key_of(one).symbol, key_of(one).timeframe): one for one in list_summaries(registry)}
    return {pair: read_metadata(registry, key_of(one), one["version"]) for pair, one in latest.items()}


def statuses(config: Config) -> dict[tuple[str, str], str]:
    record = run_here(config)
    assert not [one.error for one in record.outcomes if one.error]
    return {(one.key.symbol, one.key.timeframe): one.status for one in record.outcomes}


def test_models_see_other_bars_and_say_which(folder: Path) -> None:
    config = config_of(folder)
    assert set(statuses(config).values()) == {"trained"}
    described = metadata(config)
    names = [one["name"] for one in described["ETH", "1m"]["features"]]
    assert names[:6] == ["change_1", "rsi_14", "change_1@5m", "change_5@5m", "change_1@BTC", "change_5@BTC"]
    assert tuple(names[6:]) == MARKET_FEATURES
    assert set(described["BTC", "1m"]["features_left_out"]) == {"change_1@BTC", "change_5@BTC"}, "it is BTC itself"
    assert set(described["ETH", "5m"]["features_left_out"]) == {"change_1@5m", "change_5@5m"}, (
        "not longer than its bars"
    )
    about = described["ETH", "1m"]["data"]["context"]
    assert about["members"] == 4
    assert about["series"] == {"BTC": "unknown/BTC"}
    assert json.dumps(described["ETH", "1m"])


def test_a_release_that_makes_context_otherwise_refuses_the_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(folder)
    statuses(config)
    monkeypatch.setattr("job.registry.definition.CONTEXT", 2)
    registry = Storage(config.model_trainer.model_directory)
    for name in ("change_1@5m", "market_change_1"):
        described = metadata(config)["ETH", "1m"]
        kept = [one for one in described["features"] if one["name"] == name]
        with pytest.raises(RegistryError, match=rf"the feature {name} of context 1, this release makes context 2"):
            Definition.of({**described, "features": kept}, config.data, where="a version")
    assert list_summaries(registry)


def test_a_model_is_trained_again_when_a_series_changes_that_it_sees(folder: Path) -> None:
    config = config_of(folder, {"symbols": ["BTC"], "features": ["change_1"]})
    statuses(config)
    assert not skip_completed(make_plan(config), config).tasks, "listings say that all is current"
    random_bars(77, 3000).write_parquet(folder / "bars" / "SOL-1m.parquet")
    assert {one for one, status in statuses(config).items() if status == "trained"} == {("SOL", "1m"), ("SOL", "5m")}
    random_bars(78, 3000).write_parquet(folder / "bars" / "BTC-1m.parquet")
    assert set(statuses(config).values()) == {"trained"}


def test_the_market_is_that_of_the_whole_input(folder: Path) -> None:
    config = config_of(folder, {"market": True}, symbols=["ETH"])
    assert statuses(config) == {("ETH", "1m"): "trained", ("ETH", "5m"): "trained"}
    assert metadata(config)["ETH", "1m"]["data"]["context"]["members"] == 4
    whole = config_of(folder, {"market": True})
    assert {one for one, status in statuses(whole).items() if status == "current"} == {("ETH", "1m"), ("ETH", "5m")}


def test_a_market_of_two_is_none(folder: Path) -> None:
    for symbol in ("SOL", "XRP"):
        (folder / "bars" / f"{symbol}-1m.parquet").unlink()
    config = config_of(folder, {"market": True})
    statuses(config)
    assert set(metadata(config)["ETH", "1m"]["features_left_out"]) == set(MARKET_FEATURES)


def test_coarse_series_are_members_of_the_market_that_they_can_make(folder: Path) -> None:
    for seed, symbol in ((7, "LTC"), (8, "ADA")):
        slow = random_bars(seed, 2000, step=300_000_000)
        slow.write_parquet(folder / "bars" / f"{symbol}-5m.parquet")
    config = config_of(folder, {"market": True, "symbols": ["LTC"], "features": ["change_1"]})
    record = run_here(config)
    failed = {(one.key.symbol, one.key.timeframe): one.error_message for one in record.outcomes if one.error}
    assert {place[1] for place in failed} == {"1m"}, "of LTC there is none at 1m"
    assert "context of LTC: timeframe 1m is finer than the data's 5m" in failed["ETH", "1m"]
    assert metadata(config)["ETH", "5m"]["data"]["context"]["members"] == 6


def test_every_row_that_a_series_owes_is_counted(folder: Path) -> None:
    """By that number the driver sees that a worker died before it had sent all of its tables."""
    config = config_of(folder)
    plan = make_plan(config)
    job = Job("20240101_000000_abcdef", config, str(folder / "models"), versions(), fleet=plan.fleet)
    works = gatherings(plan.tasks, plan.fleet, tolerance=WARM)
    assert [work.rows for work in works] == [5, 3, 3, 3], "BTC has features and moves at two timeframes"
    for work in works:
        (bars,) = read_bars(pack(Bundle(work.series[0], (work,))), job=job)
        assert sum(1 for _ in gather(bars, job=job)) == work.rows


def test_an_unknown_symbol_is_refused_with_a_hint(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"context of BTCC: .*BTC"):
        make_plan(config_of(folder, {"symbols": ["BTCC"]}))


def test_a_series_that_cannot_be_read_fails_those_that_see_it(folder: Path) -> None:
    upside_down = random_bars(0, 3000).rename({"high": "low", "low": "high"})
    upside_down.write_parquet(folder / "bars" / "BTC-1m.parquet")
    record = run_here(config_of(folder, {"symbols": ["BTC"]}))
    errors = {one.key.symbol: one.error_message for one in record.outcomes if one.status == "failed"}
    assert set(errors) == {"BTC", "ETH", "SOL", "XRP"}
    assert "context of BTC: unknown/BTC: no usable bar among 3000 rows (high_below_low" in errors["ETH"]


def test_a_file_that_is_none_is_told_where_its_series_is_wanted(folder: Path) -> None:
    (folder / "bars" / "BTC-1m.parquet").write_bytes(b"no bars")
    with pytest.raises(ConfigError, match=r"context of BTC: no bars of symbol 'BTC'.*BTC-1m.parquet: truncated or no"):
        make_plan(config_of(folder, {"symbols": ["BTC"]}))


def test_what_sees_other_series_is_not_predicted_from_a_frame_of_one(folder: Path) -> None:
    config = config_of(folder)
    statuses(config)
    bars = random_bars(1, 3000)
    with (
        RayModelTrainer(config) as trainer,
        pytest.raises(DataError, match="sees other series than its own: predict files that hold them all"),
    ):
        trainer.predict(bars, "analyst", "1m", symbol="ETH")


def test_what_sees_longer_bars_is_predicted_from_a_frame(folder: Path) -> None:
    config = config_of(folder, {"timeframes": ["15m"], "features": ["change_1", "change_2"]})
    statuses(config)
    with RayModelTrainer(config) as trainer:
        predicted = trainer.predict(random_bars(1, 3000), "analyst", "1m", symbol="ETH")
    assert predicted.height > 2500


def test_training_data_has_the_columns_of_other_bars(folder: Path) -> None:
    config = config_of(folder, symbols=["ETH"])
    with RayModelTrainer(config) as trainer:
        data = trainer.training_data("analyst", "1m")
    assert {"change_1@5m", "change_1@BTC", "market_change_1"} <= set(data.features.columns)


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("group_by", ["exchange,symbol,timeframe", "timeframe"])
def test_ray_gives_the_models_and_predictions_of_one_process(folder: Path, tmp_path: Path, group_by: str) -> None:
    trainer = config_of(folder).model_trainer.model_copy(update={"group_by": tuple(group_by.split(","))})
    config = config_of(folder).model_copy(
        update={"model_trainer": trainer.model_copy(update={"model_directory": str(tmp_path / "on Ray")})}
    )
    record = run(config)
    assert not [one.error for one in record.outcomes if one.error]
    assert not skip_completed(make_plan(config), config).tasks
    described = metadata(config)
    if "symbol" in group_by:
        statuses(config_of(folder))
        for pair, one in metadata(config_of(folder)).items():
            assert one["scores"] == described[pair]["scores"]
            assert one["data"]["context"] == described[pair]["data"]["context"]
    request = Request(output=str(tmp_path / "predictions"))
    counts = [predict(config, request, plan_predictions(config, request)).counts for _ in range(2)]
    assert [(one["predicted"], one["current"]) for one in counts] == [(8, 0), (0, 8)]
