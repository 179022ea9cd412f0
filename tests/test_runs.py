"""The run record: what it adds up, and what it does not keep."""

import json
import logging
import threading
import time
import tracemalloc
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from job.cli.progress import watching
from job.cli.report import gap_lines, print_record, show_result, telling
from job.config.settings import load_config
from job.learning.fleet import HOUR_US, fleet_test
from job.predict.task import Predicted
from job.registry import catalog, kept_record
from job.registry.catalog import replace_catalog, summary_scores
from job.registry.kept_record import OUTCOMES_PER_FILE
from job.registry.ledger import Tried
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.registry.spool import Spool
from job.storage.files import Storage
from job.train.record import STATUSES, TrainingRecord
from job.tune.task import Tuned

RUN_ID = "20240101_000000_abcdef"
OTHER_ID = "20231231_000000_abcdef"
CONFIG = load_config({"data": {"input": "https://me:hidden@host/bars.csv?sig=hidden"}})


def outcome(symbol: str, skill: float, log_loss_delta: dict[str, list[float]]) -> Outcome:
    return Outcome(
        "binance", symbol, "1m", "analyst", "trained", scores={"skill": skill}, log_loss_delta=log_loss_delta
    )


def record(name: str) -> TrainingRecord:
    return TrainingRecord(RUN_ID, CONFIG, Storage(f"memory://runs/{name}"), planned=3)


def test_fleets_are_added_up_without_keeping_their_clusters() -> None:
    log_loss_deltas: list[dict[str, list[float]]] = [{"1": [2, 0.5], "2": [1, -1.0]}, {"2": [3, -0.5], "7": [1, 0.25]}]
    run = record("fleet")
    kept = [
        run.add(outcome(name, 0.1 - i, one)) for i, (name, one) in enumerate(zip("AB", log_loss_deltas, strict=True))
    ]
    run.add(Outcome("binance", "C", "1m", "analyst", "failed", error={"type": "X", "message": "x", "where": "y"}))
    (fleet,) = run.as_dict()["fleet"]
    found = fleet_test(log_loss_deltas)
    assert fleet == {
        "model_type": "analyst", "timeframe": "1m", "models": 2, "beat_base": 1,
        "change": found.mean, **found.record(),
    }  # fmt: skip
    assert kept == run.outcomes[:2]
    assert not any(one.log_loss_delta for one in run.outcomes), "it has an entry for every hour of every holdout"
    assert log_loss_deltas[0] == {"1": [2, 0.5], "2": [1, -1.0]}


def test_the_record_shows_no_secret_of_the_input() -> None:
    run = record("secret")
    assert "hidden" not in str(run.as_dict())
    assert run.as_dict()["config"]["data"]["input"] == "https://host/bars.csv"


def test_a_finished_record_says_which_fleet_is_the_best_allowing_for_all() -> None:
    run = record("best")
    changes = np.random.default_rng(4).normal(0, 1.0, (3, 40)) - [[0], [2], [0]]
    for timeframe, change in zip(("1m", "5m", "15m"), changes, strict=True):
        delta = {str(hour): [60.0, float(one)] for hour, one in enumerate(change)}
        one = outcome("A", 0.1, delta)
        run.add(replace(one, timeframe=timeframe, cluster_us=0 if timeframe == "15m" else HOUR_US))
    assert "best" not in run.as_dict(), "nobody asks before the end"
    RunRecord.finish(run, "finished")
    found = run.as_dict()
    unknown, better, other = found["fleet"]
    assert unknown["adjusted_p"] is None, "nobody knows how long its clusters are"
    assert found["best"] == {
        "model_type": "analyst", "timeframe": "5m", "models": 2, "blocks": 40, "p": better["adjusted_p"],
        "underpowered": False,
    }  # fmt: skip
    assert better["adjusted_p"] < 0.01 < other["adjusted_p"]
    assert found["tried"] == Tried().record()


def test_a_record_without_trained_models_has_no_best() -> None:
    run = record("none")
    RunRecord.finish(run, "finished")
    assert run.as_dict()["best"] is None


FEW, MANY = 2_000, 50_000
FLAT_MB = 12
"""What 48,000 further outcomes may add; as objects they take more than 300 MB."""


def scored(symbol: str) -> Outcome:
    """Return an outcome of a usual size: 1.1 kB of JSON."""
    names = (*summary_scores(), "accuracy", "precision", "recall", "f1", "base_log_loss", "benchmark_log_loss")
    scores: dict[str, float | bool | None] = {**dict.fromkeys(names, 0.1), "underpowered": False}
    counts = dict.fromkeys(("bars", "filled", "low_coverage", "warmup", "no_label", "segments", "used"), 43_200)
    one = replace(outcome(symbol, len(symbol) / 1e4, {"1": [2.0, 0.5]}), counts=counts, seconds=2.5, node="a-node")
    version = f"analyst_1m_{RUN_ID}"
    summary = {"version": version, "key": [*one.key.parts], "rows": 43_200}
    return replace(one, version=version, scores=scores, summary=summary)


@pytest.mark.slow
def test_what_memory_holds_of_a_run_does_not_grow_with_its_models(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, logger="job")  # pytest keeps every line that is logged
    run = TrainingRecord(RUN_ID, CONFIG, Storage(str(tmp_path)), planned=MANY)
    held = {}
    with watching(MANY) as watch, patch.object(kept_record, "write_catalog"):
        tracemalloc.start()
        for number in range(MANY):
            watch(run.add(scored(f"S{number}")))
            if number % 1_000 == 999:
                run.save()
            if number + 1 in {FEW, MANY}:
                held[number + 1] = tracemalloc.get_traced_memory()[0] / 2**20
        run.finish("finished")
        tracemalloc.reset_peak()
        show_result(run)
        peak = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    assert held[MANY] - held[FEW] < FLAT_MB
    assert peak - held[MANY] < 2 * FLAT_MB
    parts = sorted(tmp_path.glob(f"runs/{RUN_ID}/*.jsonl"))
    assert len(parts) == MANY // OUTCOMES_PER_FILE - 1
    last = json.loads((tmp_path / f"runs/{RUN_ID}.json").read_bytes())
    rows = [json.loads(line) for part in parts for line in part.read_bytes().splitlines()] + last["outcomes"]
    assert {row["symbol"] for row in rows} == {f"S{number}" for number in range(MANY)}


def test_no_summary_is_lost_where_the_record_is_saved_while_a_run_ends(tmp_path: Path) -> None:
    registry = Storage(str(tmp_path))
    run = TrainingRecord(RUN_ID, CONFIG, registry, planned=1)
    writing = threading.Event()

    def write_slowly(*arguments: Any) -> None:
        if not writing.is_set():
            writing.set()
            time.sleep(0.5)  # what the end of the run writes meanwhile is overwritten
        replace_catalog(*arguments)

    with patch.object(catalog, "replace_catalog", write_slowly), patch.object(kept_record, "SAVE_EVERY_S", 0.01):
        run.open()
        run.add(scored("A"))
        assert writing.wait(10)
        run.add_to_catalog([{"version": f"analyst_1m_{OTHER_ID}", "key": ["binance", "B", "1m", "analyst"]}])
        run.finish("finished")
    assert [one["key"][1] for one in catalog.read_catalog(registry)] == ["A", "B"]


def test_a_printed_record_is_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for models in (0, 1, 3):
        run = TrainingRecord(RUN_ID, CONFIG, Storage(str(tmp_path / str(models))), planned=3)
        for number in range(models):
            run.add(scored(f"S{number}"))
        print_record(Namespace(json=True), run)
        assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(run.as_dict()))
        print_record(Namespace(json=False), run)
        assert capsys.readouterr().out == ""


def test_what_is_shown_of_a_spool_is_what_is_shown_of_a_list() -> None:
    skills = np.random.default_rng(5).normal(0, 0.1, 60).round(1)  # many alike
    ones = [replace(scored(f"S{n}"), scores={"skill": float(one)}, summary={}, log_loss_delta={}) for n, one in
            enumerate(skills)]  # fmt: skip
    ones += [Outcome("x", f"F{n}", "1h", "analyst", "failed", error={"message": "x"}) for n in (3, 1, 2)]
    spool = Spool(Outcome)
    for one in ones:
        spool.append(one)
    assert telling(spool) == telling(ones)
    best, worst, failed = telling(ones).values()
    assert [one.scores["skill"] for one in (*best, *reversed(worst))] == sorted(
        (one.scores["skill"] for one in (*best, *worst)), key=lambda skill: -(skill or 0.0)
    )
    assert [one.symbol for one in failed] == ["F1", "F2", "F3"]
    assert [*gap_lines(spool)] == [*gap_lines(ones)]


@pytest.mark.parametrize("kind", [Outcome, Predicted, Tuned])
def test_spooled_outcomes_are_as_their_records(kind: type[Outcome]) -> None:
    error = {"type": "DataError", "message": "no bars\nat all\u2028", "where": "reading"}
    ones = [kind("x", f"Ä{n}", "1h", "analyst", "failed", error=error, warnings=("a", "b")) for n in range(5)]
    spool = Spool(kind)
    for one in ones:
        spool.append(one)
    assert (len(spool), [*spool], spool[1:3], spool[3:99], spool[4:2]) == (5, ones, ones[1:3], ones[3:], [])
    assert [json.loads(line) for line in spool.lines(slice(2, 4)).splitlines()] == [
        json.loads(json.dumps(one.record())) for one in ones[2:4]
    ]
    spool.append(ones[0])
    assert [*spool] == [*ones, ones[0]]


def test_failures_and_counts_of_a_spool_are_those_of_a_list(tmp_path: Path) -> None:
    kept = TrainingRecord(RUN_ID, CONFIG, Storage(str(tmp_path)), planned=4)
    listed = RunRecord[Outcome](RUN_ID, CONFIG, operation="train", planned=4, statuses=STATUSES)
    bad = Outcome("x", "C", "1m", "analyst", "failed", error={"type": "X", "message": "x"}, attempts=2, warnings=("w",))
    for one in (replace(outcome("A", 0.1, {}), cluster_us=HOUR_US), bad, outcome("B", 0.2, {})):
        kept.add(one)
        listed.add(one)
    assert kept.failures == listed.failures == [bad]
    assert kept.counts == {**listed.counts, "current_not_latest": 0}
    assert (kept.retried, kept.warnings(), kept.exit_status) == (1, {"w"}, listed.exit_status) == (1, {"w"}, 1)
