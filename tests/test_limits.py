"""When a run gives up."""

from typing import Any

import pytest

from job.cluster.limits import ALIKE, reason_to_stop
from job.config.settings import load_config
from job.core.errors import ConfigError
from job.registry.outcome import Outcome
from job.storage.files import Storage
from job.train.record import TrainingRecord

CONFIG = load_config({"data": {"input": "bars"}})


def record(planned: int) -> TrainingRecord:
    return TrainingRecord("20240101_000000_abcdef", CONFIG, Storage("memory://limits"), planned=planned)


def failure(symbol: str, message: str, kind: str = "ImportError") -> Outcome:
    error = {"type": kind, "message": message, "where": "training"}
    return Outcome("binance", symbol, "1m", "analyst", "failed", error=error)


def trained(symbol: str) -> Outcome:
    return Outcome("binance", symbol, "1m", "analyst", "trained", scores={"skill": 0.0})


def reasons(outcomes: list[Outcome], limit: float | None, planned: int = 100) -> list[str | None]:
    run = record(planned)
    told = []
    for outcome in outcomes:
        run.add(outcome)
        told.append(reason_to_stop(run, limit))
    return told


@pytest.mark.parametrize(("limit", "allowed"), [(0, 0), (2, 2), (0.03, 3), (None, 9)])
def test_so_many_failures_are_borne_and_no_more(limit: float | None, allowed: int) -> None:
    told = reasons([trained("OK"), *(failure(f"S{number}", f"cause {number * 'x'}") for number in range(9))], limit)
    assert told[: allowed + 1] == [None] * (allowed + 1)
    if limit is not None:
        reason = told[allowed + 1]
        assert reason is not None
        assert f"{allowed + 1} of 100 models failed, more than model_trainer.max_failures allows" in reason


def test_the_first_20_that_fail_alike_end_a_run() -> None:
    told = reasons([failure(f"S{n}", f"binance/S{n}: no module named 'x' at {n}") for n in range(ALIKE)], None)
    assert told[:-1] == [None] * (ALIKE - 1)
    assert told[-1] is not None
    assert "the first 20 models failed alike: binance/S19: no module named 'x'" in told[-1]


@pytest.mark.parametrize(
    "outcomes",
    [
        [trained("OK"), *(failure(f"S{n}", "no module") for n in range(30))],
        [failure(f"S{n}", f"no {'abcdefghijklmnopqrstuvwxyzäöüß'[n]}") for n in range(30)],
        [failure(f"S{n}", "no bars", "DataError") for n in range(30)],
        [failure(f"S{n}", "one class", "TrainingError") for n in range(30)],
    ],
    ids=["one trained", "not alike", "their own bars", "their own samples"],
)
def test_failures_that_speak_of_single_models_do_not(outcomes: list[Outcome]) -> None:
    assert set(reasons(outcomes, None)) == {None}


@pytest.mark.parametrize(
    ("given", "expected"), [(5, 5), ("5", 5), (0.05, 0.05), ("5%", 0.05), ("0.05", 0.05), (0, 0), (None, None)]
)
def test_limits_are_counts_or_shares(given: Any, expected: float | None) -> None:
    limit = load_config({"model_trainer": {"max_failures": given}}).model_trainer.max_failures
    assert (limit, type(limit)) == (expected, type(expected))


@pytest.mark.parametrize("given", ["many", -1, 1.5, True, "150%", "0%", float("nan"), [1]])
def test_other_limits_are_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"model_trainer.max_failures: expected a count such as 10, or a share"):
        load_config({"model_trainer": {"max_failures": given}})
