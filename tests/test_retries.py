"""Rounds: who is charged an attempt, who runs again, and what a death is called."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from ray.exceptions import ObjectLostError

from job.cluster.retries import MAX_ATTEMPTS, failure_reason, never_started, run_with_retries
from job.config.settings import load_config
from job.core.keys import Key
from job.registry.attempts import Attempt, record_attempt
from job.registry.outcome import Outcome, of
from job.train.run import TRAINING
from job.train.task import Task
from job.worker.messages import Job
from tests.registries import open_registry

CONFIG = load_config({"model_trainer": {"task_timeout_s": 60}})
SPEC = next(iter(CONFIG.model_specs()))[2]
KEYS = [Key("binance", symbol, "1h", "analyst") for symbol in "ABCDE"]
TASKS = [Task(key=key, spec=SPEC, series=(), rows=1, seconds=1.0, memory=1) for key in KEYS]
RAYS_WORDS = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node (IP: 192.0.2.2, ID: a0) was "
    "22.76GB used / 23.54GB limit (0.97) OOM kill reason: … Selected to kill: (Task: job ID=01, pid=4711, actual "
    "memory used=9.06GB) Top 10 memory users: PID MEM(GB) COMMAND"
)


@pytest.fixture
def job(request: pytest.FixtureRequest) -> Job:
    registry = open_registry("memory", request)
    return Job(run_id="20240101_000000_abcdef", config=CONFIG, output=registry.url, versions={})


class Workers:
    """Workers that yield outcomes in order until one of them dies: of `poison`, always; before its note, of `early`."""

    def __init__(self, *, poison: set[Key] = frozenset(), early: set[Key] = frozenset(), slow: set[Key] = frozenset()):  # type: ignore[assignment]
        self.poison, self.early, self.slow = poison, early, slow
        self.begun: list[list[str]] = []

    def __call__(self, tasks: Sequence[Task], job: Job) -> Iterator[Outcome]:
        self.begun.append([task.key.symbol for task in tasks])
        groups = [list(tasks)] if job.round == 1 else [[task] for task in tasks]
        for group in groups:
            yield from self._bundle(group, job)

    def _bundle(self, tasks: Sequence[Task], job: Job) -> Iterator[Outcome]:
        for task in tasks:
            if task.key in self.early:
                return
            note = Attempt.of_this_process(task.key, "training")
            record_attempt(job.registry(), job.run_id, job.round, note)
            if task.key in self.slow:
                record_attempt(job.registry(), job.run_id, job.round, replace(note, trace="line 1"))
                return
            if task.key in self.poison:
                return
            yield replace(of(task.key, "trained"), attempts=task.attempt)


def outcomes_of(workers: Workers, job: Job) -> dict[str, Outcome]:
    return {one.symbol: one for one in run_with_retries(TASKS, job, TRAINING, lambda *round_: [workers(*round_)])}


def test_without_deaths_there_is_one_round(job: Job) -> None:
    workers = Workers()
    assert [one.status for one in outcomes_of(workers, job).values()] == ["trained"] * 5
    assert workers.begun == [list("ABCDE")]


def test_a_poisoned_model_costs_the_others_no_attempt(job: Job) -> None:
    workers = Workers(poison={KEYS[1]})
    found = outcomes_of(workers, job)
    assert {name: (one.status, one.attempts) for name, one in found.items()} == {
        "A": ("trained", 1), "B": ("failed", MAX_ATTEMPTS),
        "C": ("trained", 1), "D": ("trained", 1), "E": ("trained", 1),
    }  # fmt: skip
    assert workers.begun == [list("ABCDE"), list("BCDE"), ["B"]]
    assert found["B"].error is not None
    assert found["B"].error["type"] == "WorkerDied"


@pytest.mark.parametrize("broken", ["made", "run"])
def test_a_dataset_that_breaks_ends_alone_and_its_tasks_run_again(job: Job, broken: str) -> None:
    workers, rounds = Workers(), list[int]()

    def lost(tasks: Sequence[Task], job: Job) -> Iterator[Outcome]:
        yield from workers(tasks[:1], job)
        raise ObjectLostError("a block", None, "")

    def runs(tasks: Sequence[Task], job: Job) -> Iterator[Iterator[Outcome]]:
        rounds.append(job.round)
        if job.round == 1 and broken == "run":
            yield lost(tasks[:3], job)
        yield workers(tasks[3:] if job.round == 1 else tasks, job)
        if job.round == 1 and broken == "made":
            raise ObjectLostError("a block", None, "")

    found = list(run_with_retries(TASKS, job, TRAINING, runs))
    assert rounds == [1, 2]
    assert {one.key: (one.status, one.attempts) for one in found} == dict.fromkeys(KEYS, ("trained", 1))
    assert workers.begun == ([["A"], ["D", "E"], ["B", "C"]] if broken == "run" else [["D", "E"], ["A", "B", "C"]])


def test_what_takes_too_long_is_not_tried_again(job: Job) -> None:
    workers = Workers(slow={KEYS[0]})
    found = outcomes_of(workers, job)
    assert (found["A"].status, found["A"].attempts) == ("failed", 1)
    assert workers.begun == [list("ABCDE"), list("BCDE")]
    error = found["A"].error
    assert error is not None
    assert (error["type"], error["stack"]) == ("TaskTimeout", "line 1")
    assert "training took longer than model_trainer.task_timeout_s (60 s)" in error["message"]


def test_rounds_that_begin_nothing_end(job: Job) -> None:
    """As when the cluster is gone, or workers die before they can say what they do."""
    workers = Workers(early=set(KEYS))
    found = outcomes_of(workers, job)
    assert {(one.status, one.error_message) for one in found.values()} == {
        ("failed", "no worker began this model: nothing is known of the workers")
    }
    assert len(workers.begun) == 2


def test_a_worker_that_its_node_ended_for_memory_has_that_as_its_cause(job: Job) -> None:
    note = replace(Attempt.of_this_process(KEYS[0], "training"), pid=4711, node="box")
    found = failure_reason(note, ["something else", RAYS_WORDS], job)
    assert found["type"] == "OutOfMemory"
    assert found["message"] == (
        "process 4711 on node box was ended while training: its node ran out of memory, 22.76GB used / 23.54GB limit"
    )
    assert failure_reason(replace(note, pid=471), [RAYS_WORDS], job)["type"] == "WorkerDied"
    assert never_started([RAYS_WORDS])["type"] == "OutOfMemory"
    assert len(never_started(["gone " * 100])["message"]) < 250
