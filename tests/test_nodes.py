"""Clusters of several nodes: one that goes away, ones that cannot do their part, a cluster that dies as a whole."""

import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from ray.exceptions import AuthenticationError, RpcError

from job.cluster import connect as joining
from job.cluster import heartbeat as pulse
from job.cluster.connect import running
from job.cluster.heartbeat import HealthCheck, first_failing, is_reachable
from job.config.settings import RaySettings
from job.core.environment import versions
from job.core.errors import ConfigError
from job.core.keys import Key
from job.core.synth import write_world
from job.registry.catalog import keys
from job.registry.promote import promote
from job.registry.versions import load, resolve_version
from job.storage.files import Storage
from tests.nodes import MEMORY, Run, View, joined, kill, namespaces_or_skip, running_job, started, wait_for, workers

SYMBOLS = 2
ALIGNED = {
    Key("synthetic", f"SYN{number:02d}USDT", "1m", kind)
    for number in range(SYMBOLS)
    for kind in ("analyst", "tactician")
}
POOLED = {Key("pooled", "all", key.timeframe, key.model_type) for key in ALIGNED}
SLOW_FITS = (
    "--timeframes", "1m", "--set", "model_trainer.cv_folds=2",
    "--set", "model_trainer.tactician_models.n_estimators=1000",
)  # fmt: skip
"""Tacticians take seconds, in which a node can be taken away."""
LINE = re.compile(r"\d\d:\d\d:\d\d (INFO|WARNING|ERROR) +\S.*")
RAYS_LINE = re.compile(r"\[[^]]* E \d+ \d+\] \w+\.cc:\d+: .*")
"""What Ray's C++ half says on stderr of a lost node; nothing silences it but for a line that says so."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder with `bars` of three days."""
    write_world(tmp_path / "bars", symbols=SYMBOLS, days=3, seed=1)
    return tmp_path


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize(
    ("grouping", "models"), [("exchange,symbol,timeframe", ALIGNED), ("timeframe", POOLED)], ids=["aligned", "pooled"]
)
def test_a_node_that_goes_away_costs_what_it_had_begun(folder: Path, grouping: str, models: set[Key]) -> None:
    with started(2, 2) as cluster:
        node = next(iter(cluster.worker_nodes))
        address = ("--set", f"ray.address={cluster.address}")
        with running_job(folder, "--group-by", grouping, *address, *SLOW_FITS) as run:
            wait_for(lambda: run.training() & {worker.pid for worker in workers(node)})
            lost = kill(cluster, node)
            # A pooled model's reading may be done, and its rows with the shuffle, although its last note is of that.
            notes = [note for note in run.notes() if models == ALIGNED or note.step == "training"]
            begun = {Key(*note.key) for note in notes if note.pid in lost} - run.committed()
            assert run.wait() == 0, run.lines()
    record = run.record()
    assert record["status"] == "finished"
    assert record["counts"]["trained"] == len(models)
    assert record["cluster"] == {"nodes": 3, "cpus": 4}
    assert run.committed() == models
    for key in models:
        load(Storage(str(run.output)), key)
    attempts = {key_of(one): one["attempts"] for one in record["outcomes"]}
    assert begun, "the node was busy"
    assert {attempts[key] for key in begun} == {2}
    if models == ALIGNED:
        assert {key for key in models if attempts[key] > 1} == begun, "the others lose nothing but time"
    assert max(attempts.values()) == 2
    warnings = [line for line in run.lines() if " WARNING " in line]
    assert len(warnings) == sum(count > 1 for count in attempts.values())
    assert all(re.search(r"attempt 1 of 3 failed: process \d+ on node \S+ died while", line) for line in warnings)
    assert [line for line in run.lines() if not LINE.fullmatch(line) and not RAYS_LINE.fullmatch(line)] == []


def key_of(outcome: dict[str, str]) -> Key:
    return Key(outcome["exchange"], outcome["symbol"], outcome["timeframe"], outcome["model_type"])


@pytest.mark.alone
@pytest.mark.slow
def test_predictions_and_comparisons_outlive_a_node(tmp_path: Path) -> None:
    write_world(tmp_path / "bars", symbols=3, days=18, seed=1)
    fast = ("--timeframes", "1m", "--set", "model_trainer.cv_folds=1")
    for end in ("2024-01-11", "2024-01-12"):
        with running_job(tmp_path, *fast, "--end", end) as trained:
            assert trained.wait() == 0, trained.lines()
        if end == "2024-01-11":
            registry = Storage(str(trained.output))
            for key in keys(registry):
                promote(registry, key, resolve_version(registry, key, "latest"))
    with running_job(tmp_path, "--version", "latest", command="predict") as here:
        assert here.wait() == 0, here.lines()
    expected = contents(tmp_path / "predictions")
    assert len(expected) == 6
    shutil.rmtree(tmp_path / "predictions")
    lose_a_node("predict", tmp_path, lambda _: [*(tmp_path / "predictions").rglob("*.parquet")])
    assert contents(tmp_path / "predictions") == expected
    compared = lose_a_node("compare", tmp_path, lambda run: [line for line in run.lines() if " compared " in line])
    assert len(compared) == len(expected)


def lose_a_node(command: str, folder: Path, done: Callable[[Run], list[Any]]) -> list[Any]:
    """Run a command that does six things on two nodes, of which one goes once the first is done; return all of them."""
    with started(1, 1) as cluster:
        node = next(iter(cluster.worker_nodes))
        with running_job(folder, "--set", f"ray.address={cluster.address}", command=command) as run:
            wait_for(lambda: done(run))
            kill(cluster, node)
            assert len(done(run)) < 6, "work was left"
            assert run.wait() == 0, run.lines()
            return done(run)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.parquet")}


@pytest.mark.alone
@pytest.mark.slow
def test_a_run_waits_for_another_node_where_none_is_left(folder: Path) -> None:
    """Another one of the same kind has less memory to give, since Ray counts what is free when a node starts."""
    with started(1) as cluster:
        (node,) = cluster.worker_nodes
        with running_job(folder, "--set", f"ray.address={cluster.address}", *SLOW_FITS) as run:
            wait_for(lambda: run.training() & {worker.pid for worker in workers(node)})
            kill(cluster, node)
            wait_for(lambda: any(" WARNING " in line for line in run.lines()))
            cluster.add_node(num_cpus=1, node_ip_address="127.0.0.4", memory=MEMORY * 9 // 10)
            assert run.wait() == 0, run.lines()
    (waited, retried) = [line for line in run.lines() if " WARNING " in line]
    assert "no node with a CPU and 3.2 GiB of memory is in the Ray cluster: waiting 600 s for it" in waited
    assert "attempt 1 of 3 failed" in retried
    assert run.committed() == ALIGNED


ALPHAS = """
import polars as pl
from transforms.features.feature import Feature

FEATURES = [Feature("change", ("close",), 1, pl.col("close") / pl.col("close").shift(1) - 1)]
"""
OWN_FEATURES = [
    part
    for kind in ("analyst", "tactician")
    for part in ("--set", f"model_trainer.{kind}_models.features=alphas_here:FEATURES")
]


@pytest.mark.alone
@pytest.mark.slow
def test_nodes_that_cannot_do_their_part_are_named_before_any_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes of one host: a good one, and others without input, output, or the driver's SciPy and users' modules."""
    namespaces_or_skip()
    (folder / "models").mkdir()
    for name, source in (("modules", ALPHAS), ("packages", ALPHAS), ("changed", f"{ALPHAS}\nWINDOW = 3\n")):
        (folder / name).mkdir()
        (folder / name / "alphas_here.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder / "modules"))
    metadata = folder / "packages" / "scipy-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 0.0.1\n")
    views = (
        View("127.0.0.4", hidden=folder / "bars"),
        View("127.0.0.5", hidden=folder / "models"),
        View("127.0.0.6", packages=folder / "packages"),
        View("127.0.0.7", hidden=folder / "modules"),
        View("127.0.0.8", packages=folder / "changed"),
    )
    first = folder / "bars" / "exchange=synthetic" / "symbol=SYN00USDT" / "SYN00USDT-1m.parquet"
    remedy = "give a URL, or a folder that is mounted on every node"
    wrong = {
        "127.0.0.4": rf"cannot open the input {first}: no such file; .*: {remedy}",
        "127.0.0.5": rf"does not see the registry {folder / 'models'} of the driver: {remedy}",
        "127.0.0.6": rf"has scipy 0\.0\.1, the driver has {re.escape(versions()['scipy'])}: "
        "install the same versions on every node",
        "127.0.0.7": r"alphas_here:FEATURES: no module 'alphas_here' on node \S+: put it into the folder that the job "
        r"is started from \(`ray job submit --working-dir .` ships it\), or install it on every node",
        "127.0.0.8": "has another source of alphas_here:FEATURES than the driver: install the same on every node",
    }
    with started(1) as cluster, joined(cluster, folder, *views):
        address = ("--set", f"ray.address={cluster.address}", *OWN_FEATURES)
        with running_job(folder, *address) as run:
            assert run.wait() == 2, run.lines()
            said = run.lines()
        with running_job(folder, *address, command="doctor") as doctor:
            assert doctor.wait() == 2, doctor.lines()
    record = run.record()
    assert record["status"] == "aborted"
    assert record["counts"]["not_run"] == 5 * SYMBOLS
    assert run.committed() == set()
    assert not list(run.output.glob("runs/*.*[!nl]"))
    (error,) = [line for line in said if " ERROR " in line]
    for ip, text in wrong.items():
        assert re.search(rf"\S+ \({ip}, Ray node [0-9a-f]{{8}}\): {text}(; |$)", error), error
        (found,) = [line for line in doctor.lines() if f"({ip}, " in line]
        assert re.search(rf" ERROR +node +\S+ \({ip}, Ray node [0-9a-f]{{8}}\): {text}$", found), found
    assert "127.0.0.3" not in error
    (good,) = [line for line in doctor.lines() if "(127.0.0.3, " in line]
    assert re.search(r" INFO +node .*: sees input and registry, same versions$", good)
    assert [line for line in [*said, *doctor.lines()] if not LINE.fullmatch(line)] == []


@pytest.mark.alone
@pytest.mark.slow
def test_a_cluster_without_a_cpu_is_named_at_once(folder: Path) -> None:
    with started() as cluster:
        for command in ("train", "doctor"):
            with running_job(folder, "--set", f"ray.address={cluster.address}", command=command) as run:
                assert run.wait() == 2, run.lines()
            assert f"no CPU on any node of the Ray cluster at {cluster.address} (nodes: 1): add one" in run.lines()[-1]
    assert run.record()["status"] == "aborted"


@pytest.mark.alone
@pytest.mark.slow
def test_a_run_whose_cluster_dies_says_so_and_a_rerun_completes_it(folder: Path) -> None:
    with started(head=2) as cluster:
        address = ("--set", f"ray.address={cluster.address}")
        with running_job(folder, *address, *SLOW_FITS) as run:
            wait_for(run.committed)
            kill(cluster, cluster.head_node)
            assert run.wait() == 1, run.lines()
    record, kept = run.record(), run.committed()
    assert record["status"] == "aborted"
    assert "of the Ray cluster is gone" in record["reason"]
    assert kept < ALIGNED
    assert [line for line in run.lines() if record["reason"] in line]
    with running_job(folder, *SLOW_FITS) as again:
        assert again.wait() == 0, again.lines()
    assert f"{len(ALIGNED)} models: {len(kept)} current, {len(ALIGNED - kept)} to train" in again.lines()[0]
    assert not [line for line in again.lines() if " WARNING " in line]
    assert again.committed() == ALIGNED
    assert not list(again.output.glob("runs/*.attempts"))


def test_what_is_no_ray_or_wants_another_token_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """`ray.init` would try for 14 minutes, with a warning on stderr every few seconds."""
    with socket.create_server(("127.0.0.2", 0)) as server:
        address = f"127.0.0.2:{server.getsockname()[1]}"
        for error, text in (
            (RpcError("Timed out while waiting"), f"no Ray cluster at {address}: Timed out while waiting; start one"),  # type: ignore[no-untyped-call]
            (AuthenticationError("x"), f"the Ray cluster at {address} does not take this process's token: set RAY_A"),
        ):
            monkeypatch.setattr(joining, "ask_head", Mock(side_effect=error))
            with pytest.raises(ConfigError, match=text), running(RaySettings(address=address)):
                pass


def test_a_need_is_absent_once_its_time_is_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pulse, "INTERVAL_S", 0.02)
    monkeypatch.setattr(pulse, "LONG_S", 0.1)
    over = threading.Event()
    with socket.create_server(("127.0.0.2", 0)) as stays, socket.create_server(("127.0.0.2", 0)) as goes:
        head, node = (f"127.0.0.2:{one.getsockname()[1]}" for one in (stays, goes))
        goes.close()
        needs = (
            HealthCheck("no head", partial(is_reachable, head), 0.0),
            HealthCheck("no node", partial(is_reachable, node), 0.2),
        )
        began = time.monotonic()
        assert first_failing(needs, over) == needs[1]
        assert 0.2 < time.monotonic() - began < 5
    assert caplog.messages == ["no node: waiting 0 s for it"]
    assert first_failing(needs, over) == needs[0], "the rest is not looked for"
    over.set()
    assert first_failing(needs, over) is None
