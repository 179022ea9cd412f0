"""One way to run anything: how a run of tasks ends, whatever the operation."""

from collections.abc import Generator, Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from job.cluster import session
from job.cluster.bundles import Capacity
from job.cluster.connect import Cluster
from job.cluster.operation import Operation
from job.cluster.session import run_tasks
from job.compare.run import COMPARING
from job.config.settings import Config, load_config
from job.core.errors import ClusterError
from job.core.keys import Key
from job.predict.run import PREDICTING
from job.predict.task import Predicted
from job.registry.catalog import open_registry
from job.registry.events import read_events
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.train.run import TRAINING
from job.worker.messages import Job, Work

OPERATIONS: dict[str, Operation[Any, Any]] = {"train": TRAINING, "predict": PREDICTING, "compare": COMPARING}
CLUSTER = Cluster(nodes=1, joined=False, capacity=Capacity(cpus=1, node_cpus=1, memory_per_cpu=2**30))
TASKS = [Work(key=Key("binance", symbol, "1m", "analyst"), series=(), seconds=1, memory=1) for symbol in "ABC"]


SETTINGS = {"model_trainer": {"model_directory": "memory://session"}}


def record(planned: int = 3, config: Config | None = None) -> RunRecord[Any]:
    return RunRecord(
        "20240101_000000_abcdef",
        config or load_config(SETTINGS),
        operation="predict",
        planned=planned,
        statuses=("predicted", "failed"),
    )


def outcome(symbol: str, *, error: str | None = None) -> Predicted:
    described = None if error is None else {"type": error, "message": "no", "where": "here"}
    return Predicted("binance", symbol, "1m", "analyst", "failed" if error else "predicted", error=described)


def run_with(monkeypatch: pytest.MonkeyPatch, given: Iterator[Outcome], run: RunRecord[Any]) -> list[str]:
    """Run three tasks whose outcomes are `given`, in place of those of a Ray; return the symbols that were seen."""

    def outcomes(*_: object) -> Generator[Outcome]:
        yield from given

    seen: list[str] = []
    job = Job(run_id=run.run_id, config=run.config, output="memory://x", versions={})
    with monkeypatch.context() as patch:
        patch.setattr(session, "running", lambda *_, **__: nullcontext(CLUSTER))
        patch.setattr(session, "run_with_retries", outcomes)
        run_tasks(TASKS, job, OPERATIONS["predict"], run, watch=lambda one: seen.append(one.symbol))
    return seen


def test_a_run_to_its_end_leaves_the_record_open(monkeypatch: pytest.MonkeyPatch) -> None:
    run = record()
    assert run_with(monkeypatch, map(outcome, "ABC"), run) == list("ABC")
    assert (run.status, run.counts) == ("running", {"predicted": 3, "failed": 0, "not_run": 0})
    assert run.exit_status == 0


@pytest.mark.parametrize(
    ("error", "status", "reason", "exit_status"),
    [
        (KeyboardInterrupt(), "interrupted", None, 130),
        (ClusterError("the head is gone"), "aborted", "the head is gone", 1),
    ],
    ids=["Ctrl-C", "the cluster dies"],
)
def test_a_run_that_ends_early_keeps_what_came(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str, reason: str | None, exit_status: int
) -> None:
    def broken() -> Iterator[Outcome]:
        yield outcome("A")
        raise error

    run = record()
    assert run_with(monkeypatch, broken(), run) == ["A"]
    assert (run.status, run.reason, run.exit_status) == (status, reason, exit_status)
    assert run.counts == {"predicted": 1, "failed": 0, "not_run": 2}
    assert run.as_dict()["finished_at"] is not None


def test_an_interruption_before_ray_is_up_ends_the_run_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    run = record()
    job = Job(run_id="20240101_000000_00000c", config=run.config, output="memory://x", versions={})
    monkeypatch.setattr(session, "running", interrupted)
    run_tasks(TASKS, job, OPERATIONS["predict"], run)
    assert run.status == "interrupted"
    last = [*read_events(open_registry(run.config), job.run_id)][-1]
    assert (last["event"], last["status"]) == ("run_ended", "interrupted")


def test_too_many_failures_end_a_run_of_any_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    run = record(config=load_config({"model_trainer": {**SETTINGS["model_trainer"], "max_failures": 0}}))
    failures = (outcome(symbol, error="DataError") for symbol in "ABC")
    assert run_with(monkeypatch, failures, run) == ["A"]
    assert run.status == "aborted"
    assert run.reason is not None
    assert "1 of 3 models failed, more than model_trainer.max_failures allows (0)" in run.reason


@pytest.mark.parametrize(("kinds", "status"), [(["DataError"] * 3, 3), (["RegistryError"] * 3, 2), (["X"] * 3, 1)])
def test_where_all_fail_alike_the_exit_status_says_of_what(kinds: list[str], status: int) -> None:
    run = record()
    for symbol, kind in zip("ABC", kinds, strict=True):
        run.add(outcome(symbol, error=kind))
    assert run.exit_status == status
    run.planned += 1
    assert run.exit_status == 1, "one was not run"


def test_without_tasks_ray_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "running", None)
    job = Job(run_id="x", config=Config(), output="memory://x", versions={})
    run = record(planned=0)
    run_tasks([], job, PREDICTING, run)
    assert run.outcomes == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_pipeline_that_starts_tasks(name: str) -> None:
    """`runs` is what the session asks a pipeline for; the module is named, not imported, until Ray runs."""
    from pkgutil import resolve_name

    assert OPERATIONS[name].pipeline == f"job.{name}.pipeline"
    assert callable(resolve_name(f"{OPERATIONS[name].pipeline}:runs"))
