"""Rounds of watching: what they do as bars come in, and that they leave alone what has not changed."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest

from job.cli import main
from job.cluster import warm
from job.cluster.warm import WarmRay
from job.config.settings import Config
from job.core.errors import RegistryError
from job.core.keys import Key
from job.core.synth import EPOCH
from job.learning.decay import STAKES
from job.learning.sequential import Betting
from job.learning.watching import Watched
from job.registry.aliases import ConflictError, history, read_aliases
from job.registry.catalog import open_registry
from job.registry.versions import list_versions
from job.registry.watching import HEARTBEAT, Heartbeat, State, WatchedModel, alarms, read_state, write_state
from job.sources.finding import find_series
from job.storage.files import Storage
from job.watch import loop, run
from job.watch.record import Round
from tests.growing import Feed, day
from tests.here import watch_here, without_ray

KEY = Key("synthetic", "SYN00USDT", "5m", "analyst")


def round_of(config: Config) -> Round:
    """Run one round."""
    return watch_here(config)


def new_round(config: Config, run_id: str = "20240101_000000_00000a") -> Round:
    return Round(config, open_registry(config), run_id, WarmRay(config.ray, idle_s=9), find_series(config.data))


def score(config: Config) -> None:
    """Go through the first stage of a round."""
    with without_ray():
        run.score(new_round(config))


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of change of every file, but for the heartbeat."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file() and path.name != Path(HEARTBEAT).name}
    return {str(path): (about.st_size, about.st_mtime_ns) for path, about in found.items()}


def evidence(config: Config) -> Watched:
    return read_state(open_registry(config)).models[KEY].evidence


def numbers(of: Watched) -> list[float | None]:
    """Return what evidence amounts to; sums may differ in their last bits."""
    found = [of.rows, of.first, of.last, of.base, of.loss, of.skill.blocks, of.skill.total, of.skill.spread]
    held = of.challenge
    return found if held is None else [*found, held.rows, held.first, held.last, held.challenger, held.bets.total]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Feed, Config, list[Round]]:
    """A feed of ten days, watched from the eighth on."""
    feed = Feed.of(tmp_path_factory.mktemp("watched"), days=14)
    config = feed.config(watch={"predictions": str(feed.folder / "predictions")})
    rounds = []
    for days in (8, 9, 10):
        feed.until(days)
        rounds.append(round_of(config))
    return feed, config, rounds


def test_models_are_kept_current(watched: tuple[Feed, Config, list[Round]]) -> None:
    _, config, rounds = watched
    registry = open_registry(config)
    versions = list_versions(registry, KEY)
    assert [one.status for one in rounds] == ["finished"] * 3
    assert [one.exit_status for one in rounds] == [0] * 3
    assert len(versions) == 3
    assert [(one.version, one.action) for one in rounds[0].changes] == [(versions[0], "promoted")]
    assert [(one.version, one.action) for one in rounds[1].changes] == [(versions[1], "held")]
    assert not rounds[2].changes, "a challenger stays until it is decided, whatever is trained meanwhile"
    aliases = read_aliases(registry, KEY)
    assert (aliases.champion, aliases.challenger) == tuple(versions[:2])
    assert evidence(config).rows > 500
    predictions = pl.read_parquet(f"{config.watch.predictions}/{KEY.folder}/5m/analyst/predictions.parquet")
    assert predictions["version"].unique().to_list() == [versions[0]]
    assert predictions["available_at"].max() == EPOCH + timedelta(days=10)
    kept = json.loads(registry.read(f"watch/rounds/{rounds[1].run_id}.json"))
    assert kept["status"] == "finished"
    assert kept["counts"]["scored"] == 1


def test_a_round_without_new_bars_touches_nothing_but_its_heartbeat(watched: tuple[Feed, Config, list[Round]]) -> None:
    feed, config, _ = watched
    before = files_of(feed.folder)
    with patch.object(WarmRay, "up", side_effect=AssertionError("Ray is not needed")):
        done = round_of(config)
    assert done.status == "idle"
    assert files_of(feed.folder) == before
    assert json.loads((feed.folder / "models" / HEARTBEAT).read_text())["lease"] is None


def test_rows_count_the_same_in_one_round_or_in_many(watched: tuple[Feed, Config, list[Round]], tmp_path: Path) -> None:
    _, config, _ = watched
    registry = open_registry(config)
    many = evidence(config)
    for path in registry.list("watch/states"):
        registry.remove(path)
    score(config)
    once = evidence(config)
    assert numbers(once) == pytest.approx(numbers(many), abs=1e-9)


def change_file(feed: Feed, number: int, change: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    path = feed.path(0, day(number))
    change(pl.read_parquet(path)).write_parquet(path)


def from_scratch(config: Config) -> Watched:
    """Return the evidence as it would be if all bars had come at once."""
    registry, known = open_registry(config), read_state(open_registry(config))
    again = {key: replace(one, again=True) for key, one in known.models.items()}
    write_state(registry, State(known.seq, again), run_id="x")
    score(config)
    return evidence(config)


def test_bars_that_were_revised_are_scored_again_and_said_so(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=11)
    config = feed.config()
    for days in (8, 9, 10):
        feed.until(days)
        round_of(config)
    before = evidence(config)
    change_file(feed, 8, lambda bars: bars.with_columns(pl.col("close") * 1.0001, high=pl.col("high") * 1.001))
    done = round_of(config)
    assert any("bars have changed that it was scored on" in note for note in done.notes)
    assert done.counts["trained"] == 1
    after = evidence(config)
    assert (after.first, after.rows, after.challengers) == (before.first, before.rows, before.challengers)
    assert after.loss != before.loss
    assert not read_state(open_registry(config)).models[KEY].again
    assert numbers(from_scratch(config)) == pytest.approx(numbers(after), abs=1e-9)


def test_a_bar_that_comes_late_counts_once(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=11)
    config = feed.config()
    feed.until(8)
    round_of(config)
    feed.until(9)
    late = EPOCH + timedelta(days=8, hours=7)
    hole = pl.col("timestamp").is_between(late, late + timedelta(hours=1), closed="left")
    change_file(feed, 8, lambda bars: bars.filter(~hole))
    round_of(config)
    without = evidence(config)
    feed.until(9)  # the bars that were missing are there
    round_of(config)
    found = evidence(config)
    assert found.rows > without.rows
    assert numbers(from_scratch(config)) == pytest.approx(numbers(found), abs=1e-9)


def test_a_series_over_which_a_pooled_model_lags_is_not_passed_over(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=11, symbols=2)
    config = feed.config(model_trainer={"group_by": ["timeframe"]})
    feed.until(8)
    round_of(config)
    feed.until(9.5)
    path = feed.path(1, day(9))
    kept = path.read_bytes()
    path.unlink()
    round_of(config)
    path.write_bytes(kept)
    feed.until(10)
    round_of(config)
    ((pooled, model),) = read_state(open_registry(config)).models.items()
    registry = open_registry(config)
    known = read_state(registry)
    write_state(registry, State(known.seq, {pooled: replace(model, again=True)}), run_id="x")
    score(config)
    at_once = read_state(registry).models[pooled].evidence
    assert model.evidence.rows == at_once.rows
    assert model.evidence.loss == pytest.approx(at_once.loss, abs=1e-9)


def better(evidence: Watched, by: float) -> Watched:
    """Return evidence by which the challenger has long been better (or worse, where `by` is above 0)."""
    assert evidence.challenge is not None
    blocks = 5_000
    bets = Betting(blocks=blocks, total=by * blocks, spread=blocks * 1e-6)
    return replace(
        evidence, challenge=replace(evidence.challenge, bets=bets, rows=blocks * 50, challenger=by * blocks * 50)
    )


@pytest.mark.parametrize(("by", "action"), [(-0.004, "promoted"), (0.004, "given up")])
def test_what_the_evidence_is_for_is_done_once_even_after_a_kill(tmp_path: Path, by: float, action: str) -> None:
    feed = Feed.of(tmp_path, days=11)
    config = feed.config()
    for days in (8, 9, 10):
        feed.until(days)
        round_of(config)
    registry = open_registry(config)
    champion, challenger, latest = list_versions(registry, KEY)
    state = read_state(registry)
    model = state.models[KEY]
    told = replace(state, models={KEY: replace(model, evidence=better(model.evidence, by))})
    write_state(registry, told, run_id="x")  # and here the watcher was killed
    rounds = [new_round(config, f"20240101_000000_00000{one}") for one in "ab"]
    for one in rounds:
        run.decide_all(one)
        run.name_challengers(one)
    now = read_aliases(registry, KEY)
    assert rounds[0].changes[0].action == action
    assert rounds[0].changes[0].version == challenger
    assert not rounds[1].changes
    assert now.champion == (challenger if action == "promoted" else champion)
    assert now.challenger == latest, "the next one, and not again the one that was decided"
    assert [one.command for one in history(registry, KEY)] == ["watch"] * len(history(registry, KEY))


def test_a_champion_that_has_decayed_is_trained_again_once(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=12)
    config = feed.config(retrain={"on_evidence": True})
    for days in (8, 9):
        feed.until(days)
        round_of(config)
    registry = open_registry(config)
    assert len(list_versions(registry, KEY)) == 1
    state = read_state(registry)
    model = state.models[KEY]
    worse = replace(model.evidence, skill=replace(model.evidence.skill, decay=(20.0,) * len(STAKES)))
    write_state(registry, replace(state, models={KEY: replace(model, evidence=worse)}), run_id="x")
    trained = []
    for days in (10, 11):
        feed.until(days)
        done = round_of(config)
        assert done.judged[KEY].standing == "decayed"
        trained.append(done.counts.get("trained", 0))
    assert trained == [1, 0]
    assert read_aliases(registry, KEY).challenger == list_versions(registry, KEY)[1]
    assert alarms(registry).keys() == {KEY}


def test_of_two_watchers_the_second_stands_by(tmp_path: Path, memory: Storage) -> None:
    first, second = Heartbeat(memory, lease_s=60), Heartbeat(memory, lease_s=60)
    assert first.take() is None
    lease = second.take()
    assert lease is not None
    first.close()
    assert second.take() is None
    second.close()


def test_of_two_states_that_follow_one_the_second_is_refused(memory: Storage) -> None:
    model = WatchedModel(Watched("analyst_5m_20240101_000000_00000a", 10), since=0)
    write_state(memory, State(0, {KEY: model}), run_id="a")
    with pytest.raises(ConflictError, match="another watcher"):
        write_state(memory, State(0, {KEY: replace(model, since=1)}), run_id="b")
    assert read_state(memory).models[KEY].since == 0


def test_a_damaged_state_is_named_with_a_remedy(memory: Storage) -> None:
    write_state(memory, State(), run_id="a")
    memory.create("watch/states/00000002.json.gz", b"no gzip")
    with pytest.raises(RegistryError, match=r"00000002\.json\.gz is damaged .* delete it"):
        read_state(memory)


def test_a_round_that_fails_is_tried_again(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=9)
    config = feed.config()
    done = round_of(config)  # there are no bars at all
    assert done.status == "failed"
    assert done.exit_status == 3
    feed.until(8)
    with patch.object(run, "plan_training", side_effect=RegistryError("the bucket is away")):
        done = round_of(config)
    assert [(stage, str(error)) for stage, error in done.problems] == [("train", "the bucket is away")]
    done = round_of(config)
    assert done.status == "finished"
    assert done.counts["trained"] == 1


def test_a_dry_run_says_what_a_round_would_begin_with(
    watched: tuple[Feed, Config, list[Round]], capsys: pytest.CaptureFixture[str]
) -> None:
    feed, _, _ = watched
    before = files_of(feed.folder)
    arguments = ["watch", "--dry-run", "--json", "--timeframes", "5m", "--model-types", "analyst"]
    where = ["--input", str(feed.folder / "bars"), "--output", str(feed.folder / "models")]
    assert main([*arguments, *where]) == 0
    counts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert counts == {"series to score": 1, "models to train or check": 1, "current": 0, "fresh enough": 0}
    assert files_of(feed.folder) == before


def test_predictions_that_are_asked_for_later_are_made_without_new_bars(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=9)
    feed.until(8)
    assert round_of(feed.config()).counts["trained"] == 1
    done = round_of(feed.config(watch={"predictions": str(tmp_path / "predictions")}))
    assert (done.status, done.counts) == ("finished", done.counts | {"predicted": 1})


def test_a_watcher_outlives_a_registry_that_is_away(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=9)
    feed.until(8)
    with patch.object(run, "write_round", side_effect=RegistryError("the bucket is away")):
        done = round_of(feed.config())
    assert (done.status, [stage for stage, _ in done.problems]) == ("failed", ["recording"])
    assert round_of(feed.config()).status == "finished"


@pytest.mark.parametrize("policy", ["better", "fresher"])
def test_models_beyond_the_input_are_left_in_peace(
    watched: tuple[Feed, Config, list[Round]], tmp_path: Path, policy: str
) -> None:
    """Evidence on a model may be left over: its series is not in the input, and its aliases or versions are gone."""
    feed, _, _ = watched
    shutil.copytree(feed.folder / "models", tmp_path / "models")
    config = feed.config(model_trainer={"model_directory": str(tmp_path / "models")}, promotion={"policy": policy})
    registry, other = open_registry(config), Key("synthetic", "GONE", "5m", "analyst")
    state = read_state(registry)
    told = replace(state.models[KEY], evidence=better(state.models[KEY].evidence, -0.004))
    write_state(registry, replace(state, models={KEY: told, other: told}), run_id="x")
    done = new_round(config)
    for stage in (run.decide_all, run.name_challengers, run.face):
        stage(done)
    assert [(one.key, one.action) for one in done.changes][:1] == [(KEY, "promoted")]
    assert not read_aliases(registry, other).seq
    shutil.rmtree(tmp_path / "models" / "aliases")
    run.decide_all(new_round(config))
    assert read_aliases(registry, KEY).champion is None


def test_the_fixed_test_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Feed.of(tmp_path, days=2).until(2)
    arguments = ["watch", "--once", "--input", str(tmp_path / "bars"), "--output", str(tmp_path / "models")]
    assert main([*arguments, "--set", "promotion.test=fixed"]) == 2
    assert "promotion.test: fixed is right at one look" in capsys.readouterr().err


def test_ray_is_given_up_when_it_is_idle() -> None:
    ray = WarmRay(Config().ray, idle_s=0.05)
    with ray.up():
        assert ray.running
    ray.stop_if_idle()
    assert ray.running
    time.sleep(0.06)
    ray.stop_if_idle()
    assert not ray.running


def test_ray_that_died_while_it_was_idle_is_given_up_before_it_ends_the_watcher() -> None:
    ray = WarmRay(Config().ray, idle_s=900)
    with ray.up():
        assert ray.running
    ray.stop_if_idle()
    assert ray.running
    with patch.object(warm, "is_reachable", return_value=False):
        ray.stop_if_idle()
    assert not ray.running


def test_seconds_are_waited_for_the_next_round(watched: tuple[Feed, Config, list[Round]], monkeypatch: Any) -> None:
    _, config, _ = watched
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    rounds = loop.watch(config.model_copy(update={"watch": config.watch.model_copy(update={"every": "5s"})}))
    assert [next(rounds).status for _ in range(3)] == ["idle"] * 3
    assert sum(slept) == pytest.approx(10)
    rounds.close()
