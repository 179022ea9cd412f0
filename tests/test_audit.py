"""The audit of features: what leaks is refused at the right bar, what is sound is measured, in a run and on its own."""

import json
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from job.api.training_data import read_training_data
from job.cli import main
from job.config.overrides import overlay
from job.config.settings import Config, load_config
from job.core.entries import source_digest
from job.core.errors import AuditError, DataError, TrainingError
from job.learning.features import resolve_features
from job.registry.outcome import Outcome
from job.registry.versions import read_metadata
from job.storage.files import Storage
from job.train.audit import certify
from job.train.plan import plan_tasks
from job.train.pooled import flat_samples, train_group
from job.train.steps import prepare_samples, train_models
from job.worker import audit as audits
from job.worker.audit import SLOW_NS, bars_to_audit, examine, in_words, nanoseconds_per_value, notes_of
from job.worker.messages import BarsRow, Bundle, Job, SeriesInfo, pack
from tests.here import run_here
from tests.oracles_transforms import random_bars
from tests.test_planning import series
from tests.test_scoring import small_bars
from tests.test_user_entries import forget
from transforms.clock import CLOCK, add_clock
from transforms.features import DEFAULT_FEATURES, FEATURES
from transforms.features.audit import Audited, audit
from transforms.features.compute import add_features
from transforms.features.feature import Feature, exponential_average
from transforms.segments import segment

CLOSE = pl.col("close")
names = count()


@cache
def audited_bars(rows: int = 3_000, *, missing: float = 0.01, jumps: int = 2) -> pl.DataFrame:
    bars = segment(random_bars(3, rows, missing=missing, jumps=jumps, flow=True), timeframe="1m")
    return add_clock(bars, CLOCK[:2], zone="UTC", gaps="segment")


def of_close(name: str, lookback: int, expr: pl.Expr, *more: str) -> Feature:
    return Feature(name, ("close", *more), lookback, expr)


def audited(*features: Feature, bars: pl.DataFrame | None = None) -> list[Audited]:
    return [*audit(audited_bars() if bars is None else bars, features)]


@cache
def audited_packs() -> dict[str, Audited]:
    """All features of this release that the bars can give, in one audit."""
    present = [feature for feature in FEATURES.values() if set(feature.inputs) <= set(audited_bars().columns)]
    return {one.feature.name: one for one in audited(*present)}


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_this_release_are_sound_and_measure_as_they_declare(name: str) -> None:
    if name not in audited_packs():
        assert "session_minute" in FEATURES[name].inputs
        return
    feature, found = FEATURES[name], audited_packs()[name]
    assert found.violation is None
    assert found.scale_free or not feature.scale_free
    assert found.lookback is not None
    assert found.warmup is not None
    assert found.warmup <= feature.warmup
    if feature.warmup == feature.lookback:  # no average, which reaches as far back as anyone can measure
        assert found.lookback <= feature.lookback
    assert found.bars > 2_000


LEAKS = {
    "centred": of_close("centred", 5, CLOSE / CLOSE.rolling_mean(11, center=True) - 1),
    "z_score": of_close("z_score", 0, (CLOSE - CLOSE.mean()) / CLOSE.std()),
    "coarse": of_close("coarse", 0, CLOSE.last().over(pl.col("timestamp").dt.truncate("1h")) / CLOSE - 1, "timestamp"),
    "next": of_close("next", 0, (CLOSE.shift(-1) > CLOSE).cast(pl.Float64)),
    "rank": of_close("rank", 0, CLOSE.rank() / pl.len()),
    "position_from_end": of_close("position_from_end", 0, pl.int_range(pl.len(), 0, -1).cast(pl.Float64) + 0 * CLOSE),
    "taker": Feature(
        "taker", ("volume", "taker_buy_volume"), 0, (pl.col("taker_buy_volume") / pl.col("volume")).shift(-2)
    ),
    "infinite": of_close("infinite", 0, CLOSE / (CLOSE.shift(-1) > CLOSE).cast(pl.Float64)),
    "filled_backward": of_close("filled_backward", 1, (CLOSE / CLOSE.shift(1) - 1).shift(-1).fill_null(0.0)),
}


@pytest.mark.parametrize("name", LEAKS)
def test_what_sees_the_future_is_refused_at_a_bar_that_shows_it(name: str) -> None:
    """The value is another when nothing comes after the bar."""
    feature, bars = LEAKS[name], audited_bars()
    (found,) = audited(feature)
    assert found.violation is not None
    assert found.violation.rule == "future"
    assert found.violation.value != found.violation.other
    row = bars["timestamp"].to_list().index(found.violation.time)
    value = add_features(bars, [feature])[name][row]
    assert value == pytest.approx(found.violation.value, nan_ok=True)
    assert add_features(bars.head(row + 1), [feature])[name][row] != value


def test_the_first_bar_that_differs_is_named() -> None:
    bars = audited_bars()
    centred, z_score, coarse = (one.violation for one in audited(*list(LEAKS.values())[:3]))
    assert centred is not None
    assert z_score is not None
    assert coarse is not None
    assert z_score.time == bars["timestamp"][0], "every value of the series depends on all others"
    assert coarse.time.minute == 0, "the hour's first bar knows how it ends"
    times = bars["timestamp"].to_list()
    beyond = pl.col("timestamp") > centred.time + timedelta(minutes=4)
    later = bars.with_columns(close=pl.when(beyond).then(1.0).otherwise("close"))
    row = times.index(centred.time)
    changed = add_features(later, [LEAKS["centred"]])["centred"]
    assert changed[row] != centred.value, "five bars on decide"


@pytest.mark.parametrize("seed", range(12))
def test_a_leak_of_two_values_is_found_wherever_the_bars_begin(seed: int) -> None:
    """It stays what it is at half of all cuts."""
    bars = segment(random_bars(seed, 700 + 10 * seed), timeframe="1m")
    rises = of_close("rises", 0, (CLOSE.shift(-1) > CLOSE).fill_null(value=False).cast(pl.Float64))
    (found,) = audited(rises, bars=bars)
    assert found.violation is not None


MOVE = CLOSE / CLOSE.shift(1) - 1
NEXT_MOVE = CLOSE.shift(-1) / CLOSE - 1
MIDNIGHT = pl.col("minute_of_day") == 1439
SLOW_AVERAGE = exponential_average("slow_average", 1 / 14, CLOSE)
RARE = {
    "the last bar of a day": of_close("rare", 1, pl.when(MIDNIGHT).then(NEXT_MOVE).otherwise(MOVE), "minute_of_day"),
    "a large move": of_close("rare", 1, pl.when(MOVE.abs() > 0.004).then(NEXT_MOVE).otherwise(0.0)),
    "beside an average": Feature(
        "rare",
        ("close", "minute_of_day"),
        1,
        pl.when(MIDNIGHT).then(NEXT_MOVE).otherwise(CLOSE / pl.col("slow_average") - 1),
        (SLOW_AVERAGE,),
    ),
}


@pytest.mark.parametrize("name", RARE)
def test_what_sees_the_future_at_rare_bars_is_refused_at_one_of_them(name: str) -> None:
    feature, bars = RARE[name], audited_bars()
    (found,) = audited(feature)
    assert found.violation is not None
    assert found.violation.rule == "future"
    row = bars["timestamp"].to_list().index(found.violation.time)
    assert found.violation.value == pytest.approx(bars["close"][row + 1] / bars["close"][row] - 1, rel=1e-5)


def test_what_reads_more_than_it_declares_at_rare_bars_is_refused() -> None:
    far = of_close("far", 1, pl.when(MIDNIGHT).then(CLOSE / CLOSE.shift(10) - 1).otherwise(MOVE), "minute_of_day")
    (found,) = audited(far)
    assert found.violation is not None
    assert found.violation.rule == "past"
    assert found.violation.time.strftime("%H:%M") == "23:59"


def test_what_is_not_the_same_twice_is_refused() -> None:
    numbers = count()
    counted = CLOSE.map_batches(lambda closes: closes * 0 + next(numbers), return_dtype=pl.Float64)
    counts = of_close("counts", 0, counted)
    (found,) = audited(counts)
    assert found.violation is not None
    assert found.violation.rule == "again"
    assert "counts is not the same twice" in in_words(counts, found.violation)
    assert in_words(counts, found.violation).endswith(
        "when it is computed again on the same bars: draw nothing at random, and keep nothing between calls"
    )


READS_MORE = {
    "farther": (of_close("farther", 3, CLOSE / CLOSE.shift(7) - 1), 7),
    "wider": (of_close("wider", 9, CLOSE / CLOSE.rolling_mean(30) - 1), 29),
    "all": (
        of_close("all", 5, CLOSE.map_batches(lambda values: values.cum_sum(), return_dtype=pl.Float64) / CLOSE),
        None,
    ),
    "first": (of_close("first", 0, CLOSE / CLOSE.first() - 1), None),
    "from_the_start": (of_close("from_the_start", 1, pl.col("position") * 1.0 + 0 * CLOSE), None),
    "null": (of_close("null", 0, (CLOSE / CLOSE.shift(1) - 1).fill_null(0.0)), 1),
}


@pytest.mark.parametrize("name", READS_MORE)
def test_what_reads_more_than_it_declares_is_refused(name: str) -> None:
    feature, reach = READS_MORE[name]
    (found,) = audited(feature)
    assert found.violation is not None
    assert found.violation.rule == "past"
    assert found.lookback is not None
    assert found.lookback == reach or (reach is None and found.lookback > 500)


def test_an_average_that_owes_more_than_it_says_is_refused() -> None:
    """Its weight is said to be ten times what it is."""
    slow = exponential_average("slow", 0.005, CLOSE)
    hasty = Feature("hasty", ("close",), 0, CLOSE / pl.col("slow") - 1, (type(slow)("slow", slow.expr, (), 0.05),))
    honest = Feature("honest", ("close",), 0, CLOSE / pl.col("slow") - 1, (slow,))
    bars = segment(random_bars(5, 9_000), timeframe="1m")
    (found,) = audited(hasty, bars=bars)
    assert found.violation is not None
    assert found.violation.rule == "past"
    (found,) = audited(honest, bars=bars)
    assert found.violation is None
    assert found.warmup is not None
    assert 500 < found.warmup < honest.warmup < found.lookback  # type: ignore[operator]


def test_what_remembers_other_segments_is_refused() -> None:
    """It is as it should be wherever one segment is looked at, and forgets nothing at a gap that it cannot see."""
    every = exponential_average("every", 0.5, CLOSE)
    values = CLOSE.map_batches(lambda values: values.ewm_mean(alpha=0.001, adjust=False), return_dtype=pl.Float64)
    sound = Feature("sound", ("close",), 0, CLOSE / pl.col("every") - 1, (every,))
    carries = of_close("carries", 20, CLOSE / values - 1)
    first, second = audited(sound, carries)
    assert first.violation is None
    assert second.violation is not None
    assert second.violation.rule in {"past", "segment"}


@pytest.mark.parametrize(
    ("expr", "scale_free"),
    [
        (CLOSE / CLOSE.shift(1) - 1, True),
        ((CLOSE / CLOSE.shift(1)).log(), True),
        (CLOSE.log() - CLOSE.shift(1).log(), True),
        (CLOSE - CLOSE.shift(1), False),
        (CLOSE.log() + 0 * CLOSE.shift(1), False),
        ((CLOSE - CLOSE.shift(1)) / (CLOSE + 10), False),
    ],
)
def test_whether_prices_level_matters_is_measured(expr: pl.Expr, *, scale_free: bool) -> None:
    (found,) = audited(of_close("any", 1, expr))
    assert found.violation is None
    assert found.scale_free is scale_free


def test_flow_is_scaled_as_what_was_paid_for_so_much() -> None:
    paid = Feature("paid", ("close", "volume", "quote_volume"), 0, pl.col("quote_volume") / pl.col("volume") / CLOSE)
    lots = Feature("lots", ("volume", "trades"), 0, pl.col("volume") / pl.col("trades"))
    assert [one.scale_free for one in audited(paid, lots)] == [True, False]


def test_what_no_segment_is_long_enough_for_is_not_tried() -> None:
    bars = segment(random_bars(1, 200), timeframe="1m")
    sound, long = audited(LEAKS["next"], of_close("long", 500, CLOSE / CLOSE.shift(500) - 1), bars=bars)
    assert sound.violation is not None
    assert (long.violation, long.lookback, long.warmup, long.scale_free, long.bars) == (None, None, None, None, 0)
    (empty,) = audited(of_close("empty", 0, pl.when(CLOSE < 0).then(CLOSE)), bars=bars)
    assert (empty.violation, empty.lookback, empty.bars) == (None, None, 0)
    assert not examine([LEAKS["next"]], bars.clear())
    assert not audit(bars, [])


def test_the_same_bars_give_the_same_answers() -> None:
    features = [*LEAKS.values(), *(feature for feature, _ in READS_MORE.values())]
    assert audited(*features) == audited(*features)


def _highest(values: pl.Series) -> float:
    return float(values.to_numpy().max())


PYTHON_LOOP = of_close("loop", 9, CLOSE.rolling_map(_highest, 10) / CLOSE - 1)


def test_a_slow_feature_is_timed() -> None:
    bars = audited_bars()
    fast, slow = (nanoseconds_per_value(feature, bars) for feature in (FEATURES["change_1"], PYTHON_LOOP))
    assert fast < 300
    assert slow > SLOW_NS
    (found,) = audited(PYTHON_LOOP, bars=audited_bars(1_000))
    assert (found.violation, found.lookback) == (None, 9)


def _only_many(values: pl.Series) -> pl.Series:
    if len(values) < 2_000:
        raise ValueError("too few\nvalues")
    return values


@pytest.mark.parametrize(
    ("expr", "message"),
    [
        (CLOSE.str.to_uppercase(), r"^feature odd cannot be computed on 3\d+ bars \(.*\): mend it, or leave it out$"),
        (
            CLOSE.map_batches(_only_many, return_dtype=pl.Float64),
            r"^feature odd cannot be computed on 3\d+ bars \(.*too few values.*\): mend it, or leave it out$",
        ),
    ],
)
def test_a_feature_that_cannot_be_computed_is_named(expr: pl.Expr, message: str) -> None:
    with pytest.raises(AuditError, match=message):
        examine([of_close("odd", 0, expr)], audited_bars())


def test_a_feature_that_cannot_be_computed_on_other_bars_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "nanoseconds_per_value", lambda *_: 1.0)
    features = [of_close("odd", 0, CLOSE.map_batches(_only_many, return_dtype=pl.Float64)), FEATURES["change_1"]]
    message = r"^one of the features odd, change_1 cannot be computed on some or on other bars \(.*\): mend it"
    with pytest.raises(AuditError, match=message):
        examine(features, audited_bars())


def test_fewer_bars_are_taken_for_what_would_take_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "nanoseconds_per_value", lambda feature, _: 1e6 * (feature.name == "loop"))
    (quick,), (loop,) = (examine([feature], audited_bars()) for feature in (FEATURES["change_1"], PYTHON_LOOP))
    assert quick.audited.bars > 2_900
    assert 250 < loop.audited.bars <= 330
    assert loop.audited.lookback == 9


MODULE = """
import polars as pl
from transforms.features.feature import Feature

close = pl.col("close")
GAP = Feature("gap", ("open", "close"), 1, pl.col("open") / close.shift(1) - 1)
CENTRED = Feature("centred", ("close",), 5, close / close.rolling_mean(11, center=True) - 1)
Z_SCORE = Feature("z_score", ("close",), 0, (close - close.mean()) / close.std())
TAKER = Feature("taker", ("volume", "taker_buy_volume"), 0, pl.col("taker_buy_volume") / (pl.col("volume") + 1e-9))
TAKER_NEXT = Feature("taker_next", TAKER.inputs, 0, TAKER.expr.shift(-1))
NULL = Feature("null", ("close",), 0, pl.when(close < 0).then(close))
COARSE = Feature(
    "coarse", ("timestamp", "close"), 0, close.last().over(pl.col("timestamp").dt.truncate("1h")) / close - 1
)
SLOW = Feature("slow", ("close",), 9, close.rolling_map(lambda values: float(values.max()), 10) / close - 1)
LEVEL = Feature("level", ("close",), 1, close - close.shift(1))
SOUND = [GAP, SLOW, LEVEL]
LEAKING = [GAP, CENTRED, Z_SCORE]
"""


@pytest.fixture
def alphas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The import path of a user's module, under a name that no other test imports."""
    folder = tmp_path / "code" / f"audited_{next(names)}"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "alphas.py").write_text(MODULE)
    monkeypatch.syspath_prepend(folder.parent)
    monkeypatch.setattr(audits, "_EXAMINED", {})
    yield f"{folder.name}.alphas"
    forget(folder)


def configured(*features: str, timeframes: tuple[str, ...] = ("5m",), group_by: str = "") -> Config:
    kind = {"timeframes": timeframes, "n_estimators": 8, "features": ["default", *features]}
    trainer: dict[str, Any] = {"cv_folds": 2, "enable_tactician_models": False, "analyst_models": kind}
    if group_by:
        trainer["group_by"] = group_by
    return load_config({"model_trainer": trainer})


def job_with(config: Config, folder: Path) -> Job:
    return Job(run_id="20240101_000000_00000a", config=config, output=str(folder), versions={})


def info_of(bars: pl.DataFrame, digest: str = "0" * 64) -> SeriesInfo:
    return SeriesInfo("1m", 0, bars["timestamp"][0], bars["timestamp"][-1], {}, digest, ())


def outcomes_with(config: Config, folder: Path) -> tuple[list[Outcome], Job]:
    """Make samples and train every task of one series, as a worker does."""
    bars, job = small_bars(), job_with(config, folder)
    tasks = tuple(plan_tasks([series("BTC")], config))
    batch = pack(BarsRow(Bundle(tasks[0].series[0], tasks), info_of(bars)), bars)
    rows = [table for samples in prepare_samples(batch, job=job) for table in train_models(samples, job=job)]
    return [Outcome.from_json(row["outcome"][0].as_py()) for row in rows], job


def test_a_feature_that_the_bars_cannot_give_is_left_out(alphas: str, tmp_path: Path) -> None:
    (outcome,), job = outcomes_with(configured(f"{alphas}:TAKER"), tmp_path / "store")
    assert outcome.version, outcome.error
    (task,) = plan_tasks([series("BTC")], job.config)
    metadata = read_metadata(job.registry(), task.key, outcome.version)
    assert metadata["features_left_out"] == ["taker"]
    assert "audit" not in metadata


def test_a_feature_that_is_never_finite_is_named(alphas: str, tmp_path: Path) -> None:
    (outcome,), _ = outcomes_with(configured(f"{alphas}:NULL"), tmp_path / "store")
    assert outcome.error is not None
    assert "no bar has a finite null: leave it out of the features, or mend it" in outcome.error["message"]


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """Bars of ETH, and of BTC, which has flow."""
    folder = tmp_path / "bars"
    folder.mkdir()
    for seed, symbol in enumerate(("BTC", "ETH")):
        random_bars(seed, 2500, flow=symbol == "BTC").write_parquet(folder / f"{symbol}-1m.parquet")
    return folder


def of_eth(alphas: str, fleet: Path, *features: str) -> Config:
    config = configured(*(f"{alphas}:{feature}" for feature in features))
    data = {"input": str(fleet), "symbols": ["ETH"]}
    registry = {"model_directory": str(fleet.parent / "store")}
    return load_config(overlay(config.model_dump(), {"data": data, "model_trainer": registry})).with_absolute_paths()


def test_a_feature_of_another_series_is_audited_on_the_bars_of_that_one(alphas: str, fleet: Path) -> None:
    (outcome,) = run_here(of_eth(alphas, fleet, "TAKER_NEXT@BTC")).outcomes
    assert outcome.error_message is not None
    assert "context of BTC: unknown/BTC 5m: feature taker_next looks ahead" in outcome.error_message
    config = of_eth(alphas, fleet, "TAKER@BTC", "GAP@BTC", "GAP@15m")
    (outcome,) = run_here(config).outcomes
    assert outcome.version, outcome.error_message
    metadata = read_metadata(Storage(config.model_trainer.model_directory), outcome.key, outcome.version)
    about = {name: one["series"] for name, one in metadata["audit"].items()}
    assert about == {"gap": "unknown/ETH", "taker@BTC": "unknown/BTC", "gap@BTC": "unknown/BTC"}


@pytest.mark.parametrize("feature", ["Z_SCORE", "TAKER_NEXT@BTC", "Z_SCORE@15m"])
def test_data_to_train_on_are_audited_too(feature: str, alphas: str, fleet: Path) -> None:
    config = of_eth(alphas, fleet, feature)
    with pytest.raises((AuditError, DataError), match="looks ahead"):
        read_training_data(config, "analyst", "5m")


@pytest.mark.parametrize("leak", ["CENTRED", "Z_SCORE", "COARSE"])
def test_a_run_refuses_a_model_whose_feature_leaks(leak: str, alphas: str, tmp_path: Path) -> None:
    (outcome,), _ = outcomes_with(configured(f"{alphas}:{leak}"), tmp_path / "store")
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert outcome.error["type"] == "AuditError"
    message = outcome.error["message"]
    assert message.startswith(f"binance/BTC 5m: feature {leak.lower()} looks ahead: at the bar of ")
    assert message.endswith(" where later bars are others: read this bar and earlier ones only")
    assert "\n" not in message
    bars, config = small_bars(), configured(f"{alphas}:{leak}")
    feature = resolve_features([f"{alphas}:{leak}[{leak.lower()}]"])
    sliced = bars_to_audit(bars, info_of(bars), config.data, feature, timeframe="5m", name="x")
    time = datetime.fromisoformat(message.partition("at the bar of ")[2].partition(",")[0])
    row = sliced["timestamp"].to_list().index(time)
    alone, whole = (add_features(one, feature)[leak.lower()][row] for one in (sliced.head(row + 1), sliced))
    assert alone != whole, "the bar that is named has another value when nothing comes after it"
    assert f"it is {whole:.6g}, and " in message
    assert issubclass(AuditError, TrainingError)


def test_other_models_of_the_series_are_trained(alphas: str, tmp_path: Path) -> None:
    leaking = {"timeframes": ["5m"], "features": [f"{alphas}:LEAKING"], "algorithm": "logistic_regression",
               "label": "direction(5)"}  # fmt: skip
    config = configured()
    models = load_config({"model_trainer": {"models": {"leaking": leaking}}}).model_trainer.models
    config = config.model_copy(update={"model_trainer": config.model_trainer.model_copy(update={"models": models})})
    outcomes, _ = outcomes_with(config, tmp_path / "store")
    assert {outcome.model_type: outcome.status for outcome in outcomes} == {"analyst": "trained", "leaking": "failed"}
    (error,) = [outcome.error for outcome in outcomes if outcome.error]
    assert error["message"].endswith("(and 1 more features)")
    assert "feature centred looks ahead" in error["message"]


def test_sound_features_get_certificates_and_slow_ones_are_named(alphas: str, tmp_path: Path) -> None:
    (outcome,), job = outcomes_with(configured(f"{alphas}:SOUND"), tmp_path / "store")
    assert outcome.version, outcome.error
    (task,) = plan_tasks([series("BTC")], job.config)
    metadata = read_metadata(job.registry(), task.key, outcome.version)
    certificates = metadata["audit"]
    assert list(certificates) == ["gap", "slow", "level"]
    gap = certificates["gap"]
    assert gap["bars"].pop("values") > 300
    assert gap["bars"].pop("first_bar") > "2024-01-01"
    assert gap.pop("ns_per_value") < SLOW_NS
    assert gap == {
        "import_path": f"{alphas}:SOUND",
        "source_digest": source_digest(f"{alphas}:SOUND"),
        "series": "binance/BTC",
        "lookback": {"declared": 1, "measured": 1},
        "warmup": {"declared": 1, "measured": 1},
        "scale_free": True,
        "bars": {"last_bar": "2024-01-06T23:55:00+00:00"},
    }
    assert certificates["slow"]["lookback"] == {"declared": 9, "measured": 9}
    assert certificates["level"]["scale_free"] is False
    slow, level = metadata["warnings"]
    assert slow.startswith(f"feature slow of {alphas}:SOUND is slow: ")
    assert slow.endswith("ns a value, where 500 are many: write it with expressions of Polars")
    assert level.startswith(f"feature level of {alphas}:SOUND is not scale-free: over a long history or several series")
    assert set(outcome.warnings) == {slow, level}


def test_features_of_this_release_need_no_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audits, "audit", None)
    (outcome,), job = outcomes_with(configured(), tmp_path / "store")
    assert outcome.version, outcome.error
    (task,) = plan_tasks([series("BTC")], job.config)
    assert "audit" not in read_metadata(job.registry(), task.key, outcome.version)


def test_a_set_is_audited_once_per_series_and_timeframe(alphas: str, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def counted(features: Any, bars: pl.DataFrame) -> Any:
        done.append(bars.height)
        return examine(features, bars)

    monkeypatch.setattr(audits, "examine", counted)
    config, bars = configured(f"{alphas}:GAP", timeframes=("5m", "15m")), small_bars()
    tasks = plan_tasks([series("BTC")], config)
    for _ in range(3):
        for task in tasks:
            assert certify(task, bars, info_of(bars), config.data, name="binance/BTC")["gap"]["series"] == "binance/BTC"
    assert len(done) == 2
    certify(tasks[0], bars, info_of(bars, "1" * 64), config.data, name="binance/BTC")
    certify(tasks[0], bars, info_of(bars), config.data, name="binance/ETH")
    assert len(done) == 4


def test_a_pooled_model_is_refused_by_the_audit_of_any_series(alphas: str, tmp_path: Path) -> None:
    """A leak that only some bars show is one all the same."""
    config = configured(f"{alphas}:COARSE", group_by="timeframe")
    job = job_with(config, tmp_path / "store")
    (task,) = plan_tasks([series("A"), series("B")], config)
    tables: list[pa.Table] = []
    for number, one in enumerate(task.series):
        bars = small_bars(symbol=number)
        if number:  # prices that never move show nothing
            bars = bars.with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
        batch = pack(BarsRow(Bundle(one, (task,)), info_of(bars)), bars)
        tables += flat_samples(batch, job=job, caps={}, feature_names=task.spec.feature_names)
    members = {task.key: frozenset(map(str, task.series))}
    outcome = Outcome.from_json(train_group(pa.concat_tables(tables), job=job, members=members)["outcome"][0].as_py())
    assert outcome.error is not None
    assert outcome.error["message"].startswith("binance/A 5m: feature coarse looks ahead")


def test_pooled_models_have_certificates(alphas: str, tmp_path: Path) -> None:
    config = configured(f"{alphas}:GAP", group_by="timeframe")
    job = job_with(config, tmp_path / "store")
    (task,) = plan_tasks([series("A")], config)
    bars = small_bars()
    batch = pack(BarsRow(Bundle(task.series[0], (task,)), info_of(bars)), bars)
    tables = [*flat_samples(batch, job=job, caps={}, feature_names=task.spec.feature_names)]
    members = {task.key: frozenset({"binance/A"})}
    outcome = Outcome.from_json(train_group(pa.concat_tables(tables), job=job, members=members)["outcome"][0].as_py())
    assert outcome.version, outcome.error
    assert read_metadata(job.registry(), task.key, outcome.version)["audit"]["gap"]["series"] == "binance/A"


def test_notes_are_about_what_is_slow_or_follows_prices() -> None:
    certificate = {"import_path": "a.b:C", "ns_per_value": 501, "scale_free": None}
    assert [note.partition(": ")[0] for note in notes_of({"x": certificate})] == ["feature x of a.b:C is slow"]
    assert notes_of({"x": certificate | {"ns_per_value": 500}}) == []


def ran(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    status = main(["features", *arguments, "--json"])
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    return status, json.loads(lines[-1]) if lines else {}, captured.err


def test_the_list_has_every_feature_of_the_packs_and_those_that_are_named(
    alphas: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, _ = ran(capsys, "list", "--features", f"{alphas}:SOUND")
    assert status == 0
    rows = {row["name"]: row for row in printed["features"]}
    assert [*rows] == [*FEATURES, "gap", "slow", "level"]
    digest = source_digest(f"{alphas}:SOUND")
    assert rows["gap"] == {
        "name": "gap", "packs": [], "inputs": ["open", "close"], "lookback": 1, "warmup": 1, "scale_free": True,
        "source": f"{alphas}:SOUND ({digest})",
    }  # fmt: skip
    assert rows["rsi_14"]["warmup"] == 125
    assert rows["rsi_14"]["source"] == "transforms.features.default"
    assert main(["features", "list"]) == 0
    assert "rsi_14" in capsys.readouterr().out
    _, of_other_bars, _ = ran(capsys, "list", "--features", f"market,{alphas}:SOUND@1h,default@BTC")
    assert of_other_bars == printed, "those of other bars are the same features"


def test_the_command_audits_all_on_the_bars_of_the_input(alphas: str, capsys: pytest.CaptureFixture[str]) -> None:
    bars = ["--symbols", "SYN00USDT", "--timeframes", "15m,5m"]
    status, printed, errors = ran(capsys, "audit", *bars, "--features", f"{alphas}:SOUND")
    assert status == 0, errors
    rows = {row["name"]: row for row in printed["features"]}
    assert {*rows} == {*FEATURES, "gap", "slow", "level"}
    assert rows["slow"]["verdict"] == "slow"
    assert rows["level"]["measured"]["scale_free"] is False
    assert rows["close_ma_20"]["measured"]["lookback"] == 19
    assert "refused" not in {row["verdict"] for row in rows.values()}
    assert {(one["series"], one["timeframe"]) for one in printed["audits"]} == {
        ("synthetic/SYN00USDT", "15m"),
        ("synthetic/SYN00USDT", "5m"),
    }


def test_the_command_fails_where_one_is_refused(
    alphas: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("job.cli.features.FEATURES", dict.fromkeys(DEFAULT_FEATURES))
    bars = ["--symbols", "SYN00USDT", "--timeframes", "5m"]
    status, printed, errors = ran(capsys, "audit", *bars, "--features", f"{alphas}:LEAKING")
    assert status == 1
    verdicts = {row["name"]: row["verdict"] for row in printed["features"]}
    assert [name for name, verdict in verdicts.items() if verdict == "refused"] == ["centred", "z_score"]
    assert errors.count("looks ahead: at the bar of ") == 2
    setting = f"model_trainer.analyst_models.features=[default, '{alphas}:CENTRED']"
    assert main(["features", "audit", *bars, "--set", setting]) == 1
    assert "refused" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["list", "--features", "gone.alphas:X"], 2, "no module 'gone' on node"),
        (["audit", "--timeframes", "30s"], 3, "bars of 1m do not make 30s: use --timeframes"),
        (["audit", "--input", "absent"], 3, "absent"),
    ],
)
def test_what_the_command_cannot_do_is_said(
    arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["features", *arguments]) == status
    assert message in capsys.readouterr().err
    assert "gone" not in sys.modules
