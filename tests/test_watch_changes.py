"""Rounds of watching between which files, settings, aliases and workers change: no evidence is lost, none is silent."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest

from job.config.settings import Config
from job.core.errors import RegistryError
from job.core.keys import Key
from job.core.synth import EPOCH
from job.learning.watching import Watched
from job.registry.aliases import read_aliases
from job.registry.catalog import open_registry
from job.registry.promote import promote, restore_champion
from job.registry.versions import list_versions
from job.registry.watching import read_state
from job.watch import loop, plan, run, steps
from tests.growing import Feed, day
from tests.here import watch_here

KEY = Key("synthetic", "SYN00USDT", "5m", "analyst")
SELDOM = {"min_new_bars": 100_000}


def evidence(config: Config, key: Key = KEY) -> Watched:
    return read_state(open_registry(config)).models[key].evidence


def other_label(feed: Feed, **sections: Any) -> Config:
    """Return the settings of a feed with another horizon."""
    label = {"kind": "direction", "horizon": 5}
    analysts = {"timeframes": ["5m"], "algorithm": "logistic_regression", "label": label}
    return feed.config(model_trainer={"analyst_models": analysts}, **sections)


@contextmanager
def at(now: datetime, module: Any) -> Iterator[None]:
    """Let a module believe that it is `now`."""
    with patch.object(module, "datetime", wraps=datetime) as clock:
        clock.now.return_value = now
        yield


def test_first_files_that_are_gone_cost_no_evidence(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=12)
    config = feed.config(retrain=SELDOM)
    for days in (8, 9, 10):
        feed.until(days)
        watch_here(config)
    before = evidence(config)
    feed.until(11)
    for number in range(9):  # with a day that the evidence rests on
        feed.path(0, day(number)).unlink()
    done = watch_here(config)
    after = evidence(config)
    assert not any("bars have changed" in note for note in done.notes)
    assert (after.first, after.rows) == (before.first, before.rows + 288)
    assert after.skill.blocks > before.skill.blocks


def test_one_file_that_holds_the_last_days_is_compared_by_parts(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=12)
    config = feed.config(retrain=SELDOM)
    path = feed.path(0, "all")

    def hold(first: int, last: int, change: float = 1.0) -> None:
        inside = pl.col("timestamp").is_between(EPOCH + timedelta(first), EPOCH + timedelta(last), closed="left")
        prices = pl.when(pl.col("timestamp") == EPOCH + timedelta(days=8, hours=5)).then(change).otherwise(1.0)
        path.parent.mkdir(parents=True, exist_ok=True)
        feed.bars[0].filter(inside).with_columns(pl.col("open", "high", "low", "close") * prices).write_parquet(path)

    rows, notes = [], []
    for first, last, change in ((0, 8, 1.0), (1, 9, 1.0), (2, 10, 1.0), (3, 11, 1.001)):
        hold(first, last, change)
        done = watch_here(config)
        rows.append(evidence(config).rows)
        notes.append(any("bars have changed" in note for note in done.notes))
    assert rows == [0, 279, 567, 855]
    assert notes == [False, False, False, True]


def test_a_model_that_fails_keeps_its_evidence_and_is_tried_again_without_new_bars(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=11)
    config = feed.config(retrain=SELDOM)
    for days in (8, 9):
        feed.until(days)
        watch_here(config)
    before = evidence(config)
    feed.until(10)
    with patch.object(steps, "with_new_rows", side_effect=OSError("the disk is full")):
        done = watch_here(config)
        assert (done.exit_status, done.counts["failed"]) == (1, 1)
        assert evidence(config) == before
        assert watch_here(config).counts["failed"] == 1, "it is tried again at once"
        waits = watch_here(config)
    assert (waits.status, waits.exit_status, waits.counts) == ("idle", 1, {})
    assert "the disk is full" not in str(waits.failures)
    with at(datetime.now(UTC) + timedelta(hours=1), loop):
        done = watch_here(config)
    assert (done.status, done.exit_status) == ("finished", 0)
    assert evidence(config).rows == before.rows + 288
    assert watch_here(config).exit_status == 0


def test_a_model_that_is_not_due_hears_of_bars_that_changed(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=11)
    kinds = {"analyst_models": {"timeframes": ["5m", "1h"], "algorithm": "logistic_regression"}}
    config = feed.config(retrain=SELDOM, model_trainer=kinds, watch={"score_every": "1d"})
    for days in (8, 10):
        feed.until(days)
        watch_here(config)
    before = evidence(config)
    changed = feed.path(0, day(8))
    pl.read_parquet(changed).with_columns(pl.col("close") * 1.0001, high=pl.col("high") * 1.001).write_parquet(changed)
    feed.until(10.9)
    with at(EPOCH + timedelta(days=10.9), plan):  # of 1h rows the last is of ten hours earlier
        done = watch_here(config)
    assert len([note for note in done.notes if "bars have changed" in note]) == 2
    after = evidence(config)
    assert after.first == before.first
    assert after.rows > before.rows
    assert abs(after.loss / after.rows - before.loss / before.rows) > 1e-6


def test_a_version_of_another_label_is_no_challenger(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=13)
    feed.until(8)
    watch_here(feed.config(retrain=SELDOM))
    config = other_label(feed, retrain=SELDOM)
    registry = open_registry(config)
    rows = []
    for days in (9, 10):
        feed.until(days)
        done = watch_here(config)
        rows.append(evidence(config).rows)
        assert any("another label" in note and "models promote" in note for note in done.notes)
    champion, other = list_versions(registry, KEY)
    assert rows == [279, 567]
    assert read_aliases(registry, KEY).challenger is None
    promote(registry, KEY, other, alias="challenger", command="by hand")
    feed.until(11)
    done = watch_here(config)
    assert ("given up", other) in [(one.action, one.version) for one in done.changes]
    assert evidence(config).rows == 855
    assert (read_aliases(registry, KEY).champion, read_aliases(registry, KEY).challenger) == (champion, None)


def test_a_challenger_whose_files_are_gone_is_given_up(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=12)
    config = feed.config()
    for days in (8, 9):
        feed.until(days)
        watch_here(config)
    registry = open_registry(config)
    gone = read_aliases(registry, KEY).challenger
    for path in registry.list(KEY.folder):
        if str(gone) in path:
            registry.remove(path)
    feed.until(10)
    done = watch_here(config)
    assert ("given up", gone) in [(one.action, one.version) for one in done.changes]
    assert read_aliases(registry, KEY).challenger == list_versions(registry, KEY)[-1]
    assert evidence(config).rows == 567


def test_a_champion_that_is_gone_is_said(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=10)
    config = feed.config()
    feed.until(8)
    watch_here(config)
    registry = open_registry(config)
    for path in registry.list(KEY.folder):
        registry.remove(path)
    feed.until(9)
    done = watch_here(config)
    assert done.exit_status == 1
    assert any("its champion" in one and "models promote" in one for one in done.failures)


@pytest.mark.parametrize("asked", [True, False])
def test_decisions_by_hand_are_predicted_by_without_new_bars(tmp_path: Path, *, asked: bool) -> None:
    feed = Feed.of(tmp_path, days=10)
    config = feed.config(watch={"predictions": str(tmp_path / "predictions")} if asked else {})
    for days in (8, 9):
        feed.until(days)
        watch_here(config)
    registry = open_registry(config)
    first, second = list_versions(registry, KEY)
    for version in (second, first):
        if version == second:
            promote(registry, KEY, second)
        else:
            restore_champion(registry, KEY, reason="a drill")
        done = watch_here(config)
        assert done.status == ("finished" if asked else "idle")
        if asked:
            predictions = pl.read_parquet(tmp_path / "predictions" / "**" / "*.parquet")
            assert predictions["version"].unique().to_list() == [version]
        assert watch_here(config).status == "idle"


def test_models_that_are_too_old_to_predict_are_said_though_nothing_is_left_to_predict(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=10, symbols=2)
    output = {"predictions": str(tmp_path / "predictions")}
    feed.until(8)
    config = feed.config(watch=output, retrain=SELDOM)
    watch_here(config)
    newest = pl.col("timestamp").is_between(EPOCH + timedelta(days=8), EPOCH + timedelta(days=9), closed="left")
    feed.write(0, day(8), feed.bars[0].filter(newest))  # the other has none
    watch_here(config)
    done = watch_here(feed.config(watch=output, retrain=SELDOM, predictions={"max_model_age": "2h"}))
    assert done.exit_status == 1
    (said,) = done.failures
    assert "SYN00USDT" in said
    assert "max_model_age" in said


def test_a_registry_that_is_away_while_looking_is_a_round_that_failed(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=9)
    feed.until(8)
    config = feed.config(watch={"predictions": str(tmp_path / "predictions")})
    watch_here(config)
    with patch.object(loop, "decided", side_effect=RegistryError("the bucket is away")):
        done = watch_here(config)
    assert (done.status, [stage for stage, _ in done.problems]) == ("failed", ["looking for bars"])
    kept = json.loads(open_registry(config).read(f"watch/rounds/{done.run_id}.json"))
    assert (kept["status"], kept["problems"][0]["message"]) == ("failed", "the bucket is away")


def test_what_nobody_foresaw_ends_no_watcher(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=9)
    feed.until(8)
    config = feed.config()
    with patch.object(run, "plan_training", side_effect=ZeroDivisionError("of a library")):
        done = watch_here(config)
    assert (done.status, done.exit_status) == ("failed", 1)
    kept = json.loads(open_registry(config).read(f"watch/rounds/{done.run_id}.json"))
    assert kept["problems"] == [{"stage": "train", "type": "JobError", "message": "ZeroDivisionError: of a library"}]
    assert watch_here(config).counts["trained"] == 1
