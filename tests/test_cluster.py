"""The real thing: a cluster on this machine, jobs submitted to it, nodes that cannot do their part."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

import psutil
import pytest
import ray
import ray.data

from job.cluster import late_agent
from job.cluster.connect import running
from job.cluster.local_ray import PRELOAD
from job.cluster.ray_patches import ACTORS, AGENTS, PREFETCHING, PROCESSES
from job.config.settings import RaySettings, load_config
from job.core.errors import ConfigError
from job.core.paths import resolve_input, resolve_output

ROOT = Path(__file__).resolve().parents[1]
RAY = str(Path(sys.executable).with_name("ray"))
FAST = ("--set", "model_trainer.cv_folds=2", "--set", "model_trainer.analyst_models.n_estimators=10")


@dataclass(frozen=True)
class Head:
    """A head node that a test started."""

    address: str
    dashboard: str
    environment: dict[str, str]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """Start a head node with token authentication in a process of its own; end that process, and no other Ray."""
    home = tmp_path_factory.mktemp("home")
    port, dashboard, client, metrics, agent = free_ports(5)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "HOME": str(home), "RAY_AUTH_TOKEN": "0" * 64}
    environment.pop("RAY_ADDRESS", None)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    # Unix sockets allow about 100 characters: Ray's folder must have a short name.
    folder = Path("/tmp") / f"ray-test-{port}"
    command = [
        RAY, "start", "--head", "--block", "--num-cpus=2", "--node-ip-address=127.0.0.1", f"--port={port}",
        "--include-dashboard=true",
        f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", f"--metrics-export-port={metrics}",
        f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}", "--disable-usage-stats",
    ]  # fmt: skip
    log = home / "ray.log"
    with log.open("w") as output, subprocess.Popen(command, env=environment, stdout=output, stderr=output) as process:
        address = f"http://127.0.0.1:{dashboard}"
        try:
            for _ in range(120):
                asked = subprocess.run(
                    [RAY, "job", "list", f"--address={address}"], env=environment, capture_output=True, check=False
                )
                if asked.returncode == 0:
                    break
                time.sleep(1)
            else:
                pytest.fail(f"the head node did not come up:\n{log.read_text()[-3000:]}")
            yield Head(f"127.0.0.1:{port}", address, environment)
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


def submit(head: Head, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Submit the job from the project's folder and wait for its end."""
    command = [RAY, "job", "submit", f"--address={head.dashboard}", "--working-dir", ".", "--"]
    command += ["python", "job/main.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=head.environment, capture_output=True, text=True, check=False, timeout=400
    )


@pytest.mark.slow
def test_a_submitted_job_trains_and_its_models_stay(head: Head) -> None:
    """Without `--output` they are in a folder beside Ray's copy of the working directory, which outlives that."""
    done = submit(head, "--symbols", "SYN00USDT", "--json", *FAST)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    models = Path(head.environment["HOME"]) / "models"
    assert f"into {models}" in done.stdout
    assert "trained synthetic/SYN00USDT analyst 1h" in done.stdout
    record = json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"run_id"')))
    assert record["counts"] == {
        "trained": 5,
        "current": 0,
        "fresh_enough": 0,
        "failed": 0,
        "current_not_latest": 0,
        "not_run": 0,
    }
    assert len(list((models / "synthetic" / "SYN00USDT").glob("*_scaler.skops"))) == 5


@pytest.mark.slow
def test_an_output_that_ray_would_delete_is_refused_and_the_exit_status_told(head: Head) -> None:
    done = submit(head, "--output", "models", *FAST)
    assert done.returncode == 1  # what `ray job submit` returns for any failure
    assert "exit code 2" in done.stdout + done.stderr
    assert re.search(r"output models lies inside Ray's copy.*give a URL or an absolute path", done.stdout)


def test_a_ray_of_its_own_has_no_process_that_only_a_cluster_uses() -> None:
    before = set(psutil.Process().children(recursive=True))  # the head node of other tests
    with running(RaySettings(num_cpus=1)):
        commands = [one.cmdline() for one in set(psutil.Process().children(recursive=True)) - before]
    names = {Path(part).name for command in commands for part in command}
    assert "raylet" in names
    assert not names & {"monitor.py", "log_monitor.py", "dashboard.py"}
    agents = [command for command in commands if any(part.endswith(("agent.py", "agent/main.py")) for part in command)]
    assert len(agents) == 2
    assert all(late_agent.__file__ in command for command in agents), "none has begun to import Ray"


def test_a_worker_holds_what_training_needs_before_its_first_task() -> None:
    with running(RaySettings(num_cpus=1)):
        imported = ray.remote(lambda: "job.train.commit" in sys.modules)
        assert ray.get(imported.remote(), timeout=90)
    assert PRELOAD not in os.environ, "a Ray that the caller starts later has nothing of it"


@pytest.mark.slow
def test_a_task_of_a_user_has_its_environment_though_its_agent_starts_late() -> None:
    with running(RaySettings(num_cpus=1)):
        value = ray.remote(lambda: os.environ["OF_A_TASK"]).options(runtime_env={"env_vars": {"OF_A_TASK": "set"}})
        assert ray.get(value.remote(), timeout=90) == "set"


@pytest.mark.slow
def test_datasets_of_its_own_ray_have_no_actor_that_only_a_cluster_uses() -> None:
    places = {place: names for spared in (PROCESSES, AGENTS, ACTORS, PREFETCHING) for place, names in spared.items()}
    before = {place: {name: vars(resolve_name(place))[name] for name in names} for place, names in places.items()}
    with running(RaySettings(num_cpus=1)):
        rows = ray.data.range(3).map(lambda row: {"id": row["id"] + 1}).take_all()
        assert sorted(row["id"] for row in rows) == [1, 2, 3]
        assert not ray.util.list_named_actors(all_namespaces=True)
    for place, names in before.items():
        assert {name: vars(resolve_name(place))[name] for name in names} == names


def test_no_cluster_at_an_address_is_one_line() -> None:
    (port,) = free_ports(1)
    settings = load_config({"ray": {"address": f"127.0.0.1:{port}"}}).ray
    with pytest.raises(ConfigError, match=f"no Ray cluster at 127.0.0.1:{port}"), running(settings):
        pass


def test_outputs_inside_rays_copy_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy)
    with pytest.raises(ConfigError, match="inside Ray's copy of the working directory"):
        resolve_output("models", chosen=True)
    assert resolve_output("models", chosen=False) == str(Path.home() / "models")
    assert resolve_output("s3://bucket/models", chosen=True) == "s3://bucket/models"


@pytest.mark.parametrize("url", ["memory://models", "simplecache::memory://models"])
def test_the_memory_of_one_process_is_no_place_for_models_or_bars(url: str) -> None:
    with pytest.raises(ConfigError, match=f"output {url}"):
        resolve_output(url, chosen=True)
    with pytest.raises(ConfigError, match="workers do not share one process's memory: give a folder"):
        resolve_input(url)


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:10001", "http://127.0.0.1:8265"])
def test_an_address_that_is_none_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=address), running(RaySettings()):
        pass
