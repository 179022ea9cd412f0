"""Clusters that are empty at the start: planned for what is declared, and grown by Ray's own autoscaler."""

from pathlib import Path
from unittest.mock import Mock, call

import pytest

from job.cluster import connect, nodes
from job.cluster.bundles import Capacity
from job.cluster.connect import running
from job.config.settings import RaySettings, WorkerSettings, load_config
from job.core.errors import ConfigError
from job.core.synth import write_world
from tests.autoscaling import autoscaled
from tests.nodes import running_job

DECLARED = RaySettings(address="127.0.0.2:1", workers=WorkerSettings(most=3, cpus=4, memory_gib=10))


def test_a_declaration_is_whole() -> None:
    with pytest.raises(ConfigError, match=r"ray\.workers\.cpus"):
        load_config({"ray": {"workers": {"most": 3}}})


def test_a_joined_cluster_is_planned_for_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    head = {"Resources": {"memory": 1.0}, "Alive": True}
    monkeypatch.setattr(connect, "_alive", lambda: [head])
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    with running(DECLARED) as cluster:
        assert cluster.capacity == Capacity(cpus=12, node_cpus=4, memory_per_cpu=2 * 2**30)
        assert cluster.joined
        assert cluster.nodes == 1


def test_a_local_ray_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    here = {"Resources": {"CPU": 2.0, "memory": 2**31}, "Alive": True}
    monkeypatch.setattr(connect, "_alive", lambda: [here])
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    with running(DECLARED.model_copy(update={"address": None})) as cluster:
        assert cluster.cpus == 2
        assert not cluster.joined


def test_an_autoscaler_that_brings_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_alive", list)
    asked = Mock()
    monkeypatch.setattr(nodes, "take_worker", asked)
    monkeypatch.setattr("ray.wait", Mock(side_effect=lambda wanted, **_: ([], wanted)))
    monkeypatch.setattr("ray.cancel", Mock())
    monkeypatch.setattr("ray.get_runtime_context", lambda: Mock(gcs_address="10.0.0.1:6379"))
    with pytest.raises(ConfigError, match=r"no worker came to the Ray cluster at 10.0.0.1:6379 within 600 s: see `ray"):
        nodes.wait_for_workers(DECLARED, tasks=9)
    assert asked.options.call_args_list == [call(num_cpus=4, memory=8 * 2**30)] * 3, "as many as nine tasks can use"
    nodes.wait_for_workers(RaySettings(), tasks=9)


@pytest.mark.alone
@pytest.mark.slow
def test_an_empty_cluster_grows_to_what_a_run_needs(tmp_path: Path) -> None:
    write_world(tmp_path / "bars", symbols=3, days=10, seed=1)
    with autoscaled(most=2, cpus=1, memory=3 * 2**30) as (address, folder):
        settings = ("--set", "ray.workers={most: 2, cpus: 1, memory_gib: 3}")
        with running_job(tmp_path, "--set", f"ray.address={address}") as refused:
            assert refused.wait() == 2
        assert "no CPU on any node" in refused.lines()[-1]
        assert "in ray.workers: {most" in refused.lines()[-1]
        fast = ("--set", "model_trainer.cv_folds=2", "--timeframes", "1m,5m")
        with running_job(tmp_path, "--set", f"ray.address={address}", *settings, *fast) as run:
            assert run.wait() == 0, run.lines()
        launched = (folder / "launched").read_text().split()
    record = run.record()
    assert record["counts"]["trained"] == 9
    assert record["cluster"] == {"nodes": 1, "cpus": 2}, "as planned: the head, and two workers to come"
    assert len(launched) == 2
    assert any("waiting up to 600 s for its autoscaler" in line for line in run.lines())
    assert {one["node"] for one in record["outcomes"]}
