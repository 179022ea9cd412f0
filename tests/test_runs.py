"""The run record: what it adds up, and what it does not keep."""

from dataclasses import replace

import numpy as np

from job.config.settings import load_config
from job.learning.fleet import HOUR_US, fleet_test
from job.registry.ledger import Tried
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.storage.files import Storage
from job.train.record import TrainingRecord

CONFIG = load_config({"data": {"input": "https://me:hidden@host/bars.csv?sig=hidden"}})


def outcome(symbol: str, skill: float, log_loss_delta: dict[str, list[float]]) -> Outcome:
    return Outcome(
        "binance", symbol, "1m", "analyst", "trained", scores={"skill": skill}, log_loss_delta=log_loss_delta
    )


def record(name: str) -> TrainingRecord:
    return TrainingRecord("20240101_000000_abcdef", CONFIG, Storage(f"memory://runs/{name}"), planned=3)


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
