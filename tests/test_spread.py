"""Pooled models that several workers train together, each with the features of its own series."""

import pickle
import re
import signal
import threading
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from job.cluster.bundles import Capacity
from job.cluster.connect import MEMORY_GIVEN
from job.config.settings import Config, load_config
from job.core.errors import ConfigError
from job.core.keys import Key
from job.core.synth import write_world
from job.learning.logistic import fit_logistic
from job.learning.matrices import SpreadMatrix, fit_scaler
from job.registry.versions import load
from job.sources.series import Series, SourceFile
from job.storage.files import Storage
from job.train.plan import plan, plan_tasks
from job.train.spread import counted, shares_of, train_spread, warn_of_large
from job.train.task import Task
from job.worker.memory import estimate_memory, estimate_spread_memory
from job.worker.messages import Job
from tests.algorithms import MISSING, each
from tests.nodes import kill, running_job, started, wait_for, workers

BOOSTERS = ("lightgbm", "xgboost")
KEYS = [Key("pooled", "all", "1m", kind) for kind in ("analyst", "tactician")]
BOTH = (
    "--group-by", "timeframe", "--timeframes", "1m", "--set", "model_trainer.cv_folds=2",
    "--set", "model_trainer.analyst_models.algorithm=lightgbm",
    "--set", "model_trainer.tactician_models.algorithm=xgboost",
)  # fmt: skip
CLOSE = 0.001
"""Nats that the holdout's log-loss of a spread model may differ from that of one worker."""


class Threads:
    """The workers of a group as threads of this process."""

    def __init__(self, rank: int, given: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.host = rank, "127.0.0.1"
        self._given, self._barrier = given, barrier

    def gather(self, part: Any) -> list[Any]:
        self._given[self.rank] = part
        self._barrier.wait()
        found = [*self._given]
        self._barrier.wait()
        return found


def together(matrix: Any, owner: Any, work: Any) -> list[Any]:
    """Return what `work` returns to each worker, given its part of a matrix whose rows belong to `owner`."""
    count = int(owner.max()) + 1
    given, barrier, found = [None] * count, threading.Barrier(count), [None] * count

    def run(rank: int) -> None:
        at = np.flatnonzero(owner == rank)
        found[rank] = work(SpreadMatrix(matrix[at], at, len(matrix), Threads(rank, given, barrier)))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(count)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    return found


RANDOM = np.random.default_rng(5)
MATRIX = RANDOM.normal(3, 2, (5_000, 6)).astype(np.float32)
MATRIX[:, 5] = 7
LABEL = (MATRIX[:, 0] + RANDOM.normal(0, 3, 5_000) > 3).astype(np.int8)
OWNER = RANDOM.integers(0, 3, 5_000)


def test_a_scaler_of_parts_is_that_of_all_rows() -> None:
    one = StandardScaler().fit(MATRIX)
    for scaler in together(MATRIX, OWNER, fit_scaler):
        for name in ("mean_", "var_", "scale_"):
            assert getattr(scaler, name) == pytest.approx(getattr(one, name), rel=1e-9, abs=1e-12)
        assert scaler.n_samples_seen_ == one.n_samples_seen_


def test_a_worker_without_a_row_takes_part() -> None:
    (scaler, *others) = together(MATRIX, OWNER, lambda part: fit_scaler(part.take(np.flatnonzero(OWNER != 1)[:9])))
    assert all(np.array_equal(scaler.mean_, other.mean_) for other in others)
    assert scaler.n_samples_seen_ == 9


def test_a_regression_on_parts_is_that_on_all_rows() -> None:
    matrix = StandardScaler().fit_transform(MATRIX)
    one = fit_logistic(matrix, LABEL, c=0.001)
    for model in together(matrix, OWNER, lambda part: fit_logistic(part, LABEL, c=0.001)):
        assert model.coef_ == pytest.approx(one.coef_, abs=1e-6)
        assert model.intercept_ == pytest.approx(one.intercept_, abs=1e-6)


def test_rows_and_columns_come_together_in_their_order() -> None:
    chosen = np.arange(100, 4_000, 7)
    for found in together(MATRIX, OWNER, lambda part: (part[chosen], part.take(chosen)[np.arange(50), 2])):
        assert np.array_equal(found[0], MATRIX[chosen])
        assert np.array_equal(found[1], MATRIX[chosen[:50], 2])


def config(algorithm: str = "lightgbm", **settings: Any) -> Config:
    kinds = {"enable_tactician_models": False, "analyst_models": {"algorithm": algorithm, "timeframes": ["1m"]}}
    return load_config({"model_trainer": {"group_by": "timeframe", **kinds, **settings}})


def series(symbol: str) -> Series:
    return Series("binance", symbol, "1m", (SourceFile(f"/bars/{symbol}-1m.feather", 24 * 5_000, "", "feather"),))


def planned(settings: Config) -> Task:
    (task,) = plan_tasks([series("A"), series("B"), series("C")], settings)
    return task


def test_only_what_is_asked_for_and_can_be_is_spread() -> None:
    usual = planned(config())
    assert (usual.workers, usual.counted) == (1, False)
    spread = planned(config(samples_per_worker=usual.rows // 2))
    assert (spread.workers, spread.counted) == (2, True)
    assert planned(config(samples_per_worker=1)).workers == 3, "no worker is without a series"
    few = planned(config(samples_per_worker=usual.rows * 3 // 2))
    assert (few.workers, few.counted) == (1, True), "files tell the rows to a factor of two"
    assert planned(config("random_forest", samples_per_worker=1)).workers == 1
    assert planned(config("blend", samples_per_worker=1)).workers == 1


def test_only_models_that_may_be_spread_have_other_fingerprints() -> None:
    for algorithm, changes in (("lightgbm", True), ("xgboost", True), ("random_forest", False), ("blend", False)):
        usual, asked = config(algorithm), config(algorithm, samples_per_worker=1_000)
        changed = planned(usual).fingerprint(usual, "bars") != planned(asked).fingerprint(asked, "bars")
        assert changed is changes


COUNTS = {"binance/A": 500, "binance/B": 300, "binance/C": 300}


def test_shares_follow_from_samples_alone() -> None:
    task = planned(config(samples_per_worker=600))
    rows = [{"of": pickle.dumps((task.key, name, count))} for name, count in COUNTS.items()]
    counts: Any = {}
    assert [*counted(rows, counts)] == rows
    trainer = config(samples_per_worker=600).model_trainer
    assert shares_of(task, counts, trainer) == [{"binance/A"}, {"binance/B", "binance/C"}]
    assert len(shares_of(task, counts, config(samples_per_worker=1_100).model_trainer)) == 1
    assert len(shares_of(task, counts, config(samples_per_worker=1).model_trainer)) == 3
    assert len(shares_of(task, counts, config(samples_per_worker=600, max_samples=600).model_trainer)) == 1
    assert len(shares_of(task, counts, config().model_trainer)) == 1


@pytest.mark.parametrize(
    ("capacity", "message"),
    [
        (Capacity(1, 1, 2**30), r"2 workers with 1 CPUs and 0\.4 GiB .* have no room .* \(1 have\): add nodes"),
        (Capacity(8, 4, 2**20), r"no room in the cluster at once \(0 have\): lower model_trainer.samples_per_worker"),
    ],
)
def test_workers_without_room_are_named(capacity: Capacity, message: str) -> None:
    settings = config(samples_per_worker=600)
    task = planned(settings)
    job = Job(run_id="20240101_000000_abcdef", config=settings, output="memory://spread", versions={})
    shares = shares_of(task, {task.key: COUNTS}, settings.model_trainer)
    (outcome,) = train_spread(task, shares, COUNTS, job, capacity=capacity, caps={})
    assert outcome.status == "failed"
    assert outcome.error is not None
    assert re.search(message, outcome.error["message"])


def test_a_group_that_exceeds_a_node_is_named_where_it_could_be_spread(caplog: pytest.LogCaptureFixture) -> None:
    room = Capacity(2, 1, 2**28)
    for algorithm, settings in (("lightgbm", {}), ("random_forest", {}), ("lightgbm", {"samples_per_worker": 9})):
        asked = config(algorithm, **settings)
        warn_of_large([planned(asked)], room, asked.model_trainer)
        warn_of_large([planned(asked)], replace(room, memory_per_cpu=2**40), asked.model_trainer)
    (message,) = caplog.messages
    assert re.search(r"take about 0\.\d GiB, and a node has 0\.2: model_trainer\.samples_per_worker=\d+ would", message)


@pytest.mark.parametrize("algorithm", each(*BOOSTERS))
def test_a_plan_says_what_is_spread_and_what_cannot_be(algorithm: str, tmp_path: Path) -> None:
    write_world(tmp_path, symbols=2, days=2, seed=1)
    bars = {"data": {"input": str(tmp_path)}}
    asked = {"group_by": "timeframe", "enable_tactician_models": False, "samples_per_worker": 2_000}
    asked |= {"model_directory": str(tmp_path / "models"), "analyst_models": {"algorithm": algorithm}}
    (note,) = plan(load_config({**bars, "model_trainer": asked})).notes
    assert re.fullmatch(r"pooled/all analyst 1m: about [\d,]+ samples are spread over 2 workers with 0\.4 GiB .*", note)
    with pytest.raises(ConfigError, match=r"analyst 1m: trading is scored on all bars .*: unset .*samples_per_worker"):
        plan(load_config({**bars, "model_trainer": {**asked, "trading": {"cost_bps": 5}}}))


@pytest.mark.boosters
@pytest.mark.skipif(bool(MISSING.keys() & set(BOOSTERS)), reason="lightgbm or xgboost is absent: make boosters")
@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_a_group_that_exceeds_a_node_is_trained_on_two_of_them(tmp_path: Path) -> None:
    """Nodes have one CPU, and memory for half of the group: so each of its two workers is on a node of its own.

    A node that is lost is replaced; Ctrl-C ends both workers, and leaves what is committed.
    """
    write_world(tmp_path / "bars", symbols=4, days=8, seed=1, world="signal")
    alone = results(tmp_path, *BOTH)
    rows = int(alone[KEYS[0]][2]["data"]["samples"]["used"])
    half, features = ceil(rows / 2), len(alone[KEYS[0]][2]["features"])
    whole, part = estimate_memory(rows, features), estimate_spread_memory(rows, half + 50, features)
    assert part < whole
    memory = round((whole + part) / 2 / MEMORY_GIVEN)
    spread = (*BOTH, "--set", f"model_trainer.samples_per_worker={half + 50}")
    with started(1, 1, memory=memory) as cluster:
        address = ("--set", f"ray.address={cluster.address}")
        first = results(tmp_path, *spread, *address)
        with running_job(tmp_path, *spread, *address, "--force") as run:
            wait_for(run.training)
            kill(cluster, next(iter(cluster.worker_nodes)))
            cluster.add_node(num_cpus=1, node_ip_address="127.0.0.5", memory=memory)
            assert run.process.wait(400) == 0, run.lines()
        assert [line for line in run.lines() if "attempt 1 of 3 failed" in line], run.lines()
        with running_job(tmp_path, *spread, *address, "--force") as run:
            wait_for(run.training)
            began = [one for node in cluster.worker_nodes for one in workers(node) if "Train" in one.name()]
            run.process.send_signal(signal.SIGINT)
            assert run.process.wait(60) == 130, run.lines()
            wait_for(lambda: not any(one.is_running() for one in began))
        assert len(began) == 2
        assert "interrupted: 2 not run" in run.lines()[-1]
        assert "Traceback" not in run.log.read_text()
        assert run.record()["status"] == "interrupted"
    again = {key: load(Storage(str(tmp_path / "models")), key) for key in KEYS}
    for key in KEYS:
        model, scaler, metadata = first[key]
        assert metadata["spread"] == {"workers": 2, "rows": again[key][2]["spread"]["rows"]}
        assert sum(metadata["spread"]["rows"]) == alone[key][2]["data"]["samples"]["used"]
        assert again[key][0].artifact_ == model.artifact_
        assert np.array_equal(again[key][1].mean_, scaler.mean_)
        for name in ("scores", "split", "importances", "drift", "fingerprint"):
            assert again[key][2][name] == metadata[name]
        one = alone[key][2]
        assert metadata["data"] == one["data"]
        assert metadata["split"]["holdout"]["test_rows"] == one["split"]["holdout"]["test_rows"]
        for name in ("log_loss", "benchmark_log_loss"):
            assert metadata["scores"][name] == pytest.approx(one["scores"][name], abs=CLOSE)
        assert metadata["scores"]["base_log_loss"] == one["scores"]["base_log_loss"]
        assert set(metadata) == {*one, "spread"}


def results(folder: Path, *arguments: str) -> dict[Key, tuple[Any, Any, dict[str, Any]]]:
    """Run the job and return model, scaler and metadata of the latest versions."""
    with running_job(folder, *arguments) as run:
        assert run.process.wait(400) == 0, run.lines()
    return {key: load(Storage(str(run.output)), key) for key in KEYS}
