"""Watchers that are killed, stopped, or watch for long: the next round ends where an undisturbed one would."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from job.config.settings import Config
from job.core.keys import Key
from job.core.synth import EPOCH
from job.registry.aliases import history, read_aliases
from job.registry.catalog import open_registry
from job.registry.versions import list_versions, read_metadata
from job.registry.watching import HEARTBEAT, read_state, write_state
from tests.growing import Feed
from tests.here import watch_here
from tests.kills import ROOT, becomes, die_before
from tests.test_watch import better, numbers

KEY = Key("synthetic", "SYN00USDT", "5m", "analyst")
EVERY = 8
"""A watcher is killed before every eighth change of the files, in all phases of a round."""


def settings(feed: Feed, folder: Path) -> Config:
    """Return settings of a watcher whose registry and predictions are below a folder."""
    trainer, output = {"model_directory": str(folder / "models")}, {"predictions": str(folder / "predictions")}
    return feed.config(model_trainer=trainer, watch=output, storage={"lease_s": 1})


def outcome(config: Config) -> tuple[Any, Any]:
    """Return evidence and all else of a registry and its predictions, with fingerprints in place of versions' names."""
    registry = open_registry(config)
    known = {one: read_metadata(registry, KEY, one)["fingerprint"] for one in list_versions(registry, KEY)}
    aliases, model = read_aliases(registry, KEY), read_state(registry).models[KEY]
    predictions = pl.read_parquet(f"{config.watch.predictions}/{KEY.folder}/5m/analyst/predictions.parquet")
    return numbers(model.evidence), (
        [known[one] for one in dict.fromkeys(sorted(known))],
        [known.get(one or "") for one in (aliases.champion, aliases.challenger)],
        [known.get(one or "") for one in model.versions],
        [(one.command, one.alias, known.get(one.after or "")) for one in history(registry, KEY)],
        predictions.with_columns(pl.col("version").replace_strict(known)).to_dicts(),
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Feed, Path]:
    """A feed whose next round scores, promotes, trains, names a challenger and predicts, and the registry before it."""
    feed = Feed.of(tmp_path_factory.mktemp("killed"), days=12)
    before = feed.folder / "before"
    config = settings(feed, before)
    for days in (8, 9, 10):
        feed.until(days)
        watch_here(config)
    registry = open_registry(config)
    state = read_state(registry)
    model = state.models[KEY]
    told = replace(model, evidence=better(model.evidence, -0.004))
    write_state(registry, replace(state, models={KEY: told}), run_id="made for the test")
    feed.until(11)
    return feed, before


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_round_killed_before_any_change_is_made_up_for_by_the_next(prepared: tuple[Feed, Path]) -> None:
    feed, before = prepared
    undisturbed = settings(feed, shutil.copytree(before, feed.folder / "undisturbed"))
    done = watch_here(undisturbed)
    assert [one.action for one in done.changes] == ["promoted", "held"]
    evidence, rest = outcome(undisturbed)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.here", "job.train.commit", "skops.io"])
    for change in count(1, EVERY):
        config = settings(feed, shutil.copytree(before, feed.folder / f"before{change}"))
        process = processes.Process(target=die_before, args=(change, watch_here, config, feed.folder / f"note{change}"))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        rerun = watch_here(config)
        assert rerun.status in {"finished", "idle"}, (feed.folder / f"note{change}").read_text()
        found = outcome(config)
        assert found == (pytest.approx(evidence, abs=1e-9), rest), (feed.folder / f"note{change}").read_text()
        shutil.rmtree(feed.folder / f"before{change}")
    assert change / EVERY > 15


def started(feed: Feed, *more: str) -> subprocess.Popen[str]:
    """Start a watcher in a process of its own."""
    command = [sys.executable, str(ROOT / "job" / "main.py"), "watch", "--input", str(feed.folder / "bars")]
    quick = [
        "model_trainer.enable_tactician_models=false",
        "model_trainer.analyst_models.timeframes=[5m]",
        "model_trainer.analyst_models.algorithm=logistic_regression",
        "model_trainer.cv_folds=2",
        "ray.num_cpus=1",
        "watch.score_every=1h",
    ]
    settings_ = [part for one in quick for part in ("--set", one)]
    return subprocess.Popen(
        [*command, "--output", str(feed.folder / "models"), *settings_, *more],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_watcher_keeps_up_until_it_is_told_to_end(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=11)
    feed.until(8)
    process = started(feed, "--every", "1s")
    registry = feed.folder / "models"
    try:
        assert becomes(lambda: len([*registry.glob("watch/rounds/*.json")]) == 1, 300)
        second = started(feed, "--once")
        told, _ = second.communicate(timeout=120)
        assert second.returncode == 0
        assert f"is watched by process {process.pid}" in told
        feed.until(9)
        assert becomes(lambda: len([*registry.glob("watch/rounds/*.json")]) == 2, 120)
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, printed
    assert json.loads((registry / HEARTBEAT).read_text())["lease"] is None
    rounds = [json.loads(path.read_text()) for path in sorted(registry.glob("watch/rounds/*.json"))]
    assert [one["status"] for one in rounds] == ["finished", "finished"]
    assert [[change["action"] for change in one["changes"]] for one in rounds] == [["promoted"], ["held"]]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_predictions_are_the_same_whether_bars_came_at_once_or_in_fifty_rounds(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=14)
    (tmp_path / "many").mkdir()
    feed.until(8)
    many = settings(feed, tmp_path / "many")
    watch_here(many)
    once = settings(feed, shutil.copytree(tmp_path / "many", tmp_path / "once"))
    frozen = {"retrain": {"min_new_bars": 1_000_000}}  # both predict with the same version
    many, once = (one.model_copy(update={"retrain": feed.config(**frozen).retrain}) for one in (many, once))
    for number in range(1, 51):
        feed.until(8 + number * 0.1)
        assert watch_here(many).status == "finished"
    watch_here(once)
    frames = [
        pl.read_parquet(f"{one.watch.predictions}/{KEY.folder}/5m/analyst/predictions.parquet") for one in (many, once)
    ]
    assert frames[0].equals(frames[1])
    assert frames[0]["available_at"].max() == EPOCH + timedelta(days=13)
    assert numbers(read_state(open_registry(many)).models[KEY].evidence) == pytest.approx(
        numbers(read_state(open_registry(once)).models[KEY].evidence), abs=1e-9
    )


def watch_for_long(feed: Feed, rounds: int) -> Iterator[tuple[int, int]]:
    """Yield the memory (bytes) and the number of open files of this process after each of so many rounds."""
    config = settings(feed, feed.folder)
    config = config.model_copy(update={"retrain": feed.config(retrain={"min_new_bars": 1_000_000}).retrain})
    here = psutil.Process()
    for number in range(rounds):
        feed.until(8 + number / 100)
        watch_here(config)
        yield here.memory_info().rss, here.num_fds()


def report(feed: Feed, rounds: int, answer: Any) -> None:
    answer.put([*watch_for_long(feed, rounds)])


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_two_hundred_rounds_grow_nothing_but_records(tmp_path: Path) -> None:
    feed = Feed.of(tmp_path, days=11)
    processes = multiprocessing.get_context("spawn")
    answer = processes.Queue()
    process = processes.Process(target=report, args=(feed, 200, answer))
    process.start()
    memory, files = zip(*answer.get(timeout=1_000), strict=True)
    process.join()
    assert max(memory[100:]) - min(memory[20:60]) < 20 * 2**20, [size >> 20 for size in memory[::10]]
    assert max(files[20:]) <= max(files[:20])
    kinds = {path.relative_to(tmp_path / "models").parts[0] for path in (tmp_path / "models").rglob("*")}
    assert kinds <= {"aliases", "listings", "model_metadata.json", "runs", "synthetic", "watch"}
    assert not [*(tmp_path / "models").glob("runs/*.open")]
