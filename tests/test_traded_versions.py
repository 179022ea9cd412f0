"""Trading scores on the way from the settings to a version's metadata."""

import os
import platform
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

from job.config.settings import Config, load_config
from job.config.trainer import TradingSettings
from job.core.environment import versions
from job.core.errors import ConfigError
from job.core.keys import Key
from job.core.synth import make_bars
from job.learning.drift import Reference
from job.learning.fleet import cluster_us
from job.learning.spec import ModelSpec
from job.learning.trading import Books, daily_returns
from job.learning.training import Trained, train
from job.registry.catalog import list_summaries, rebuild
from job.registry.comparisons import write_comparison
from job.registry.fingerprints import TRADING, Recipe
from job.registry.ledger import Tried, remember, scored_versions, tried, versions_scored
from job.registry.names import version_name
from job.registry.outcome import Outcome
from job.registry.prune import prunable, prune
from job.registry.scored import Scored, holdout_range
from job.registry.versions import commit, list_versions
from job.storage.files import Storage
from job.train.plan import make_plan, plan
from job.train.pooled import flat_samples, sample_times, sampling_caps, train_group
from job.train.steps import load_bars, prepare_samples, train_models
from job.train.task import Task
from job.worker.messages import Bundle, Job, pack
from tests.oracles_training import made_samples, model_spec
from tests.registries import find_version, fitted
from transforms.bars import PRICES
from transforms.features import DEFAULT_FEATURES, PACKS
from transforms.labels import Direction, Label, TripleBarrier
from transforms.preparing import Preparation
from transforms.samples import MARKET, Samples, make_samples

COST = "model_trainer.trading.cost_bps=5"
FAST = ("model_trainer.cv_folds=2", "model_trainer.enable_tactician_models=false")
FAST_ANALYST = {"timeframes": ["15m"], "n_estimators": 3, "label": "direction(3)"}
LABEL = Direction(horizon=3)
KEY = Key("unknown", "A", "15m", "analyst")


def series_of_bars(seed: int = 1, days: int = 6) -> pl.DataFrame:
    """Return bars of a synthetic world with short gaps everywhere and a long one late in it."""
    bars = make_bars(seed=seed, days=days)
    late = bars["timestamp"].is_between(bars["timestamp"][-900], bars["timestamp"][-700])
    return bars.filter(~late)


def samples_with(*, market: bool, label: Label = LABEL) -> Samples:
    how = Preparation(source="1m", timeframe="5m")
    return make_samples(series_of_bars(), how, features=PACKS["default"], label=label, market=market)


def spec_of(**trainer: Any) -> ModelSpec:
    config = load_config({"model_trainer": {"cv_folds": 2, "analyst_models": FAST_ANALYST, **trainer}})
    return next(iter(config.model_specs()))[2]


@pytest.mark.parametrize("label", [Direction(horizon=3), TripleBarrier(horizon=5)], ids=str)
def test_the_market_adds_bars_and_changes_no_sample(label: Label) -> None:
    plain, market = samples_with(market=False, label=label), samples_with(market=True, label=label)
    assert (market.counts, market.label_stats) == (plain.counts, plain.label_stats)
    labeled = market.frame.filter(pl.col("label").is_not_null())
    assert_frame_equal(labeled.select(plain.frame.columns), plain.frame)
    assert labeled["complete"].all()
    assert market.frame.height == plain.counts["bars"] + plain.counts["filled"]
    assert market.frame["complete"].sum() == plain.counts["used"] + plain.counts["no_label"]
    assert market.frame["segment"].n_unique() == 2
    assert set(market.frame.columns) == {*plain.frame.columns, *MARKET}


@pytest.fixture(scope="module")
def trained() -> tuple[Trained, Trained]:
    """One model trained without and with the market that its samples come from."""
    key = Key("unknown", "A", "5m", "analyst")
    plain, market = (train(samples_with(market=market).frame, spec_of(), key=key) for market in (False, True))
    return plain, market


def test_the_model_is_the_same_with_and_without(trained: tuple[Trained, Trained]) -> None:
    plain, market = trained
    assert market.scores == plain.scores
    assert market.metadata == plain.metadata
    assert_frame_equal(market.holdout, plain.holdout)
    assert plain.market is None
    features = samples_with(market=False).frame.select(DEFAULT_FEATURES).to_numpy()
    ours, theirs = (each.model.predict_proba(each.scaler.transform(features)) for each in trained)
    assert np.array_equal(ours, theirs)


def test_every_bar_of_the_holdout_is_in_the_market_and_predicted_where_it_can_be(
    trained: tuple[Trained, Trained],
) -> None:
    holdout, market = trained[1].holdout, trained[1].market
    assert market is not None
    late = samples_with(market=True).frame.filter(pl.col("available_at") >= holdout["available_at"][0])
    assert_frame_equal(market.select(PRICES), late.select(PRICES))
    assert (market["p"].is_not_null() == late["complete"]).all()
    scored = market.join(holdout, on="available_at", how="inner")
    assert scored.height == holdout.height < market["p"].count()
    assert np.array_equal(scored["p"].to_numpy(), scored["p_right"].to_numpy())
    assert not set(DEFAULT_FEATURES) & set(market.columns)


def test_a_feature_of_ones_own_is_not_taken_for_the_market() -> None:
    own = made_samples(300).rename({"noise_1": "complete"})
    assert train(own, model_spec(features=("return_1", "complete")), key=KEY).market is None


def job_of(folder: Path, *settings: str, symbols: str = "A", run: str = "a", end: int | None = None) -> Job:
    """Write a series a symbol and return the job that reads them; `end` cuts them after so many bars."""
    for seed, symbol in enumerate(symbols):
        series_of_bars(seed)[:end].write_parquet(folder / f"{symbol}-1m.parquet")
    registry = str(folder / "store")
    given = {
        "data": {"input": str(folder)},
        "model_trainer": {"model_directory": registry, "analyst_models": FAST_ANALYST},
    }
    config = load_config(given, [*FAST, *settings])
    return Job(run_id=f"20240101_000000_{run * 6}", config=config, output=registry, versions=versions())


def tables(tasks: list[Task]) -> Iterator[pa.Table]:
    for one in dict.fromkeys(series for task in tasks for series in task.series):
        yield pack(Bundle(one, tuple(task for task in tasks if one in task.series)))


def metadata_of(job: Job) -> dict[str, Any]:
    """Train the one model of a job step by step and return its metadata."""
    (bundle,) = tables(list(plan(job.config, force=True).tasks))
    (bars,) = load_bars(bundle, job=job)
    (samples,) = prepare_samples(bars, job=job)
    (table,) = train_models(samples, job=job)
    outcome = Outcome.from_json(table["outcome"][0].as_py())
    assert outcome.status == "trained", outcome.error
    found = find_version(job.registry(), outcome.key, outcome.version or "")
    assert found is not None
    return found


def test_metadata_tells_trading_scores_only_if_asked(tmp_path: Path) -> None:
    assert "trading" not in metadata_of(job_of(tmp_path))
    found = metadata_of(job_of(tmp_path, COST, run="b"))["trading"]
    assert (found["cost_bps"], found["versions_scored"]) == (5.0, 2)
    assert found["signals"] > 50
    assert found["turnover"] > 0
    assert found["sharpe"] is None


def test_metadata_have_what_pictures_need(tmp_path: Path) -> None:
    before = datetime.now(UTC)
    found = metadata_of(job_of(tmp_path, COST))
    timing, holdout, daily = found["timing"], found["split"]["holdout"], found["trading"]["daily"]
    started, finished = (datetime.fromisoformat(timing[name]) for name in ("started_at", "finished_at"))
    assert before - timedelta(milliseconds=1) <= started < finished <= datetime.now(UTC)
    assert (finished - started).total_seconds() == pytest.approx(found["seconds"]["training"], abs=1.5)
    assert timing["worker"] == f"{platform.node()}/{os.getpid()}"
    assert daily["dates"][0] == holdout["test_from"][:10]
    assert daily["dates"][-1] <= holdout["test_to"][:10]
    assert len(daily["dates"]) == len(daily["net"]) == len(daily["base_net"]) == found["trading"]["days"]
    deciles = found["calibration"]["reliability"]
    assert sum(one["rows"] for one in deciles) == holdout["test_rows"]
    length = cluster_us(LABEL.horizon, 15 * 60_000_000)
    times = [int(cluster) * length for cluster in found["excess_log_loss"]]
    first, last = (datetime.fromisoformat(holdout[name]).timestamp() * 1e6 for name in ("test_from", "test_to"))
    assert times[0] <= first < times[0] + length
    assert times[-1] <= last < times[-1] + length


def test_what_pictures_need_is_small_whatever_the_model(tmp_path: Path) -> None:
    """Long names, many features, ten years of trading, and numbers that take all their digits."""
    rng = np.random.default_rng(5)
    rows, days = 20_000, 3_653
    columns = (
        (f"an_own_feature_with_a_long_name_{one}@BTCUSDT", 1e-5 * rng.standard_normal(rows)) for one in range(158)
    )
    net, base_net = 0.01 * rng.standard_normal((2, days))
    times = 86_400_000_000 * (10_000 + np.arange(days))
    books = Books(
        cost_bps=5.0, years=10.0, held_days=0.1, made=net, turnover=1.0, gross=1.0,
        times=times, net=net, base_net=base_net,
    )  # fmt: skip
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    bare: dict[str, Any] = {"scores": {"skill": 0.1}, "trading": {"days": days}}
    found = bare | {
        "drift": Reference.of(columns, rows=rows, up=0.123456).record(),
        "trading": {"days": days, "daily": daily_returns(books)},
        "timing": {"started_at": now, "finished_at": now, "worker": f"{'n' * 64}/{2**22}"},
    }
    assert len(found["drift"]["features"]) >= 10
    assert len(found["trading"]["daily"]["net"]) == 36
    registry = Storage(str(tmp_path))
    estimators = {"model": fitted("logistic_regression"), "scaler": fitted("scaler")}
    small, large = (version_name(KEY, f"20240101_000000_00000{one}") for one in "ab")
    commit(registry, KEY, small, **estimators, metadata=bare)
    commit(registry, KEY, large, **estimators, metadata=found)
    sizes = registry.sizes(KEY.folder)
    assert sizes[f"{KEY.folder}/{large}.json"] - sizes[f"{KEY.folder}/{small}.json"] <= 4_096


def test_versions_are_counted_whose_holdout_shares_time(tmp_path: Path) -> None:
    counts = [
        metadata_of(job_of(tmp_path, COST, run=run, end=end))["trading"]["versions_scored"]
        for run, end in (("a", 2_500), ("b", None), ("c", None), ("d", 2_490))
    ]
    assert counts == [1, 1, 2, 2]


def test_versions_that_were_pruned_count(tmp_path: Path) -> None:
    for run in "ab":
        metadata_of(job_of(tmp_path, COST, run=run))
    registry = Storage(str(tmp_path / "store"))
    doomed = prunable(registry, [KEY], keep=1, lease_s=120)
    assert len(prune(registry, doomed)) == 1
    assert len(list_versions(registry, KEY)) == 1
    (path,) = registry.list("pruned")
    assert path.startswith(f"pruned/{KEY.folder}/{KEY.stem}/{doomed[0].version}-")
    found = metadata_of(job_of(tmp_path, COST, run="c"))
    assert found["trading"]["versions_scored"] == 3
    tested = holdout_range(found)

    def counted(times: tuple[datetime, datetime]) -> int:
        return versions_scored(scored_versions(registry, [KEY], list_summaries(registry))[KEY], times)

    assert counted(tested) == 3
    after = (tested[1] + timedelta(days=1), tested[1] + timedelta(days=2))
    assert counted(after) == 0
    registry.create(f"pruned/{KEY.folder}/{KEY.stem}/old-19000101T000000Z-99990101T000000Z.json", b"")
    assert counted(after) == 1, "a holdout that is not known may be any"
    remember(registry, KEY, "damaged", b"{")
    assert counted(after) == 2
    remember(registry, KEY, "damaged", b"{")
    assert counted(after) == 2


def test_a_version_counts_that_only_the_catalog_can_tell_of(tmp_path: Path) -> None:
    first = metadata_of(job_of(tmp_path, COST))
    registry = Storage(str(tmp_path / "store"))
    rebuild(registry)
    (tmp_path / "store" / KEY.folder / f"{first['version']}.json").write_text("{")
    assert metadata_of(job_of(tmp_path, COST, run="b"))["trading"]["versions_scored"] == 2


def test_a_summary_tells_what_was_tried(tmp_path: Path) -> None:
    found = metadata_of(job_of(tmp_path, COST))
    (summary,) = list_summaries(Storage(str(tmp_path / "store")))
    (begun, _), one = holdout_range(found), Scored.of_summary(summary)
    assert begun - timedelta(hours=1) < one.first <= begun
    assert one.last + timedelta(microseconds=1) == datetime.fromisoformat(found["label_end"])
    assert (len(one.label), len(one.algorithm), one.trials, one.sharpe) == (3, 3, {}, None)
    early = Scored.of_summary({name: summary[name] for name in ("version", "label_end")})
    assert (early.first.year, early.last, early.label, early.trials) == (1900, one.last, "", {})
    tuned = Scored.of_summary({**summary, "tried": f"{summary['tried']} 1f0c1f0c1f0c1f0c:20", "sharpe": 1.5})
    assert (tuned.trials, tuned.sharpe) == ({"1f0c1f0c1f0c1f0c": 20}, 1.5)


def test_what_was_tried_on_bars_is_counted_over_models(tmp_path: Path) -> None:
    registry, day = Storage(str(tmp_path)), timedelta(days=1)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    other = Key("unknown", "B", "15m", "analyst")
    scored = {
        KEY: (
            Scored("a", start, start + day, "l1", "forest", {"s": 20}),
            Scored("b", start, start + 9 * day, "l2", "forest", {"s": 30}),
            Scored("c", start + 5 * day, start + 9 * day, "l3", "gru", {"t": 9}),
        ),
        other: (Scored("d", start, start + day, "l1", "blend"), Scored("e", start, start + day)),
    }
    for key, first in ((KEY, 0), (KEY, 1), (KEY, 30), (other, 0)):
        run = f"20240201_000000_{first:06x}"
        write_comparison(registry, key, run, {}, first=start + first * day, last=start + (first + 1) * day)
    found = tried(registry, scored, {KEY: (start, start + 2 * day), other: (start, start)})
    assert found == Tried(models=2, versions=4, labels=2, algorithms=2, settings=29, comparisons=3)
    assert tried(registry, scored, {}) == Tried()


def test_the_plan_looks_up_what_was_scored_where_trading_is(tmp_path: Path) -> None:
    job = job_of(tmp_path, COST)
    (task,) = plan(job.config, force=True).tasks
    assert task.scored == ()
    metadata_of(job)
    (again,) = plan(job_of(tmp_path, COST, run="b").config, force=True).tasks
    assert [one.version for one in again.scored] == [version_name(KEY, job.run_id)]
    (untraded,) = plan(job_of(tmp_path, run="b").config, force=True).tasks
    assert untraded.scored == (), "nobody asks"


@pytest.mark.parametrize("most", [100_000, 700])
def test_pooled_models_trade_all_their_series(tmp_path: Path, most: int) -> None:
    pooled = ("model_trainer.group_by=timeframe", f"model_trainer.max_samples={most}")
    found: dict[str, dict[str, Any]] = {}
    counts = {}
    for run, settings in (("a", pooled), ("b", (*pooled, COST))):
        job = job_of(tmp_path, *settings, symbols="AB", run=run)
        (task,) = plan(job.config, force=True).tasks
        bars = [table for head in tables([task]) for table in load_bars(head, job=job)]
        times = [row for table in bars for row in sample_times(table, job=job)]
        sampling_caps_ = sampling_caps(
            [row for table in times for row in table.to_pylist()], job.config.model_trainer, expected=2
        )
        rows = pa.concat_tables(
            [
                flat
                for table in bars
                for flat in flat_samples(table, job=job, caps=sampling_caps_, feature_names=task.spec.feature_names)
            ]
        )
        assert set(MARKET).isdisjoint(rows.column_names) is (run == "a")
        members = {task.key: frozenset(str(one) for one in task.series)}
        (text,) = train_group(rows, job=job, members=members)["outcome"].to_pylist()
        outcome = Outcome.from_json(text)
        assert outcome.status == "trained", outcome.error
        found[run] = find_version(job.registry(), outcome.key, outcome.version or "") or {}
        counts[run] = {name: found[run]["data"]["samples"].get(name) for name in ("used", "thinned")}
    assert counts["a"] == counts["b"]
    assert (counts["a"]["thinned"] or 0) > 0 or most > 700
    assert found["b"]["scores"] == found["a"]["scores"]
    assert found["b"]["trading"]["signals"] > 100
    assert found["b"]["trading"]["versions_scored"] == 2


def test_fingerprints_are_as_they_were_unless_trading_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = list[dict[str, Any]]()

    def text(parts: dict[str, Any]) -> str:
        kept.append(parts)
        return ""

    monkeypatch.setattr("job.registry.fingerprints._text", text)
    for trading in (None, TradingSettings(cost_bps=5), TradingSettings(cost_bps=6)):
        Recipe(spec_of(), timeframe="5m", data=Config().data, trading=trading).fingerprint("abc")
    off, five, six = kept
    assert set(off) == {
        "spec",
        "features",
        "label_version",
        "algorithm_version",
        "definitions",
        "timeframe",
        "bars",
        "content",
        "max_samples",
        "libraries",
    }
    assert set(off["spec"]) == {
        "algorithm",
        "n_estimators",
        "max_depth",
        "params",
        "engine",
        "label",
        "features",
        "test_size",
        "cv_folds",
        "embargo",
        "random_state",
        "calibrate",
        "refit",
    }
    assert five == {**off, "trading": {"cost_bps": 5.0, "version": TRADING}}
    assert six != five


def test_turning_it_on_makes_another_version_of_what_is_current(tmp_path: Path) -> None:
    first = metadata_of(job_of(tmp_path))
    again, on = (job_of(tmp_path, *settings, run="b") for settings in ((), (COST,)))
    (task,), (traded,) = (make_plan(job.config).tasks for job in (again, on))
    content = first["data"]["content_digest"]
    assert task.fingerprint(again.config, content) == first["fingerprint"]
    assert traded.fingerprint(on.config, content) != first["fingerprint"]


@pytest.mark.parametrize("off", [False, None])
def test_trading_is_off_unless_a_cost_is_set(off: object) -> None:
    assert load_config({"model_trainer": {"trading": off}}) == Config()
    assert Config().model_trainer.trading is None
    for config in (
        load_config({"model_trainer": {"trading": {"cost_bps": 5}}}),
        load_config({}, ["model_trainer.trading.cost_bps=5"]),
    ):
        assert config.model_trainer.trading is not None
        assert config.model_trainer.trading.cost_bps == 5.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, r"model_trainer\.trading: expected false, or what trading costs a side, such as {cost_bps: 5}"),
        (7, r"model_trainer\.trading: expected false, .*got 7"),
        ({}, r"model_trainer\.trading\.cost_bps: Field required"),
        ({"cost_bps": -1}, r"model_trainer\.trading\.cost_bps: .*greater than or equal to 0.*-1"),
        ({"cost_bps": True}, r"model_trainer\.trading\.cost_bps: expected a number"),
        ({"cost_bps": "nan"}, r"model_trainer\.trading\.cost_bps: "),
        ({"cost": 5}, r"unknown key model_trainer\.trading\.cost; did you mean 'cost_bps'"),
    ],
)
def test_a_wrong_cost_is_refused_with_a_hint(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config({"model_trainer": {"trading": value}})
