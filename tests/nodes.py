"""Ray clusters of several nodes on this machine, nodes that see less than others, and runs of the job on them."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from ray.cluster_utils import Cluster

from job.core.keys import Key
from job.registry.attempts import Attempt
from job.registry.names import listed_versions
from job.storage.files import Storage

ROOT: Final = Path(__file__).resolve().parents[1]
RAY: Final = Path(sys.executable).with_name("ray")
HIDING: Final = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"')
"""Runs a command, given after a folder, that finds this folder empty."""
MEMORY: Final = 4 * 2**30
"""Bytes of memory that a node says it has."""
LONGEST_S: Final = 180.0
"""How long anything here may take, on a machine with much else to do."""
STARTS: Final = 3
"""How often the start of a node is tried."""


@contextmanager
def started(*cpus: int, head: int = 0, memory: int = MEMORY) -> Iterator[Cluster]:
    """Start a head with `head` CPUs and a node for each of `cpus`; all listen on this machine's loopback only."""
    cluster = Cluster()
    try:
        # Not 127.0.0.1: Ray takes it for the machine's own address, which others may reach.
        cluster.add_node(num_cpus=head, node_ip_address="127.0.0.2", include_dashboard=False)
        for number, count in enumerate(cpus):
            cluster.add_node(num_cpus=count, node_ip_address=f"127.0.0.{number + 3}", memory=memory, wait=False)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class View:
    """How a node differs from the others: a folder that is empty to it, packages that come before those installed."""

    ip: str
    hidden: Path | None = None
    packages: Path | None = None


@contextmanager
def joined(cluster: Cluster, folder: Path, *views: View) -> Iterator[None]:
    """Join a node of one CPU to the cluster for each of `views`, in a process of its own; their logs go to `folder`.

    One after the other: nodes that start at once give up on each other where the machine has much else to do. One that
    gives up all the same is started anew.
    """
    with ExitStack() as stack:
        for view in views:
            before, log = len(alive(cluster)), folder / f"node-{view.ip}.log"
            for _ in range(STARTS):
                process = stack.enter_context(_process(cluster.address, view, log))
                wait_for(lambda: process.poll() is not None or len(alive(cluster)) > before, log)  # noqa: B023
                if process.poll() is None:
                    break
            else:
                pytest.fail(f"node {view.ip} does not start: {log.read_text()}")
        yield


@contextmanager
def _process(address: str, view: View, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # Nodes that start at once must not share a folder; one with a long name has no room for Unix sockets.
    own = tempfile.mkdtemp(prefix="ray-", dir="/tmp")
    command = [str(RAY), "start", "--block", "--disable-usage-stats", f"--address={address}", "--num-cpus=1"]
    command += [f"--node-ip-address={view.ip}", f"--temp-dir={own}", "--object-store-memory=100000000"]
    if view.hidden is not None:
        command = [*HIDING, str(view.hidden), *command]
    packages = {"PYTHONPATH": str(view.packages)} if view.packages else {}
    with (
        log.open("a") as said,
        subprocess.Popen(command, env=os.environ | packages, stdout=said, stderr=said) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(own)


def namespaces_or_skip() -> None:
    """Skip the test where this user may not mount anything, not even for a process of its own."""
    tried = [*HIDING, "/mnt", "true"]
    if shutil.which("unshare") is None or subprocess.run(tried, capture_output=True, check=False).returncode:
        pytest.skip("mount namespaces are not permitted here: no node can be made to see other folders than its host")


def alive(cluster: Cluster) -> list[str]:
    """Return the ids of the cluster's live nodes, those that joined from outside included."""
    return [str(one) for one in cluster.global_state._live_node_ids()]  # type: ignore[no-untyped-call]


def workers(node: Any) -> list[psutil.Process]:
    """Return the processes that a node has started."""
    return psutil.Process(node.all_processes["raylet"][0].process.pid).children(recursive=True)


def kill(cluster: Cluster, node: Any) -> set[int]:
    """Take a node away as a power cut does, its workers with it; return the ids of these processes."""
    lost = workers(node)
    cluster.remove_node(node, allow_graceful=False)
    for worker in lost:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    return {worker.pid for worker in lost}


@dataclass(frozen=True)
class Run:
    """A run of the command line that goes on by itself."""

    process: subprocess.Popen[str]
    output: Path
    log: Path

    def wait(self) -> int:
        """Return its exit status."""
        return self.process.wait(LONGEST_S)

    def lines(self) -> list[str]:
        """Return what it said on stderr so far."""
        return self.log.read_text().splitlines()

    def record(self) -> dict[str, Any]:
        """Return the latest run record in its store."""
        found: dict[str, Any] = json.loads(max(self.output.glob("runs/*.json")).read_bytes())
        return found

    def notes(self) -> list[Attempt]:
        """Return the attempt notes in its store, as they are now."""
        return [Attempt(**json.loads(path.read_bytes())) for path in self.output.glob("runs/*.attempts/*.json")]

    def training(self) -> set[int]:
        """Return the ids of the workers that said last that they train."""
        return {note.pid for note in self.notes() if note.step == "training"}

    def committed(self) -> set[Key]:
        """Return the models in its store."""
        return {one.key for one in listed_versions(Storage(str(self.output)).list()) if one.committed}


PLACES: Final = {
    "predict": {"--input": "bars", "--models": "models", "--output": "predictions"},
    "compare": {"--input": "bars", "--models": "models"},
}
"""Where a command reads and writes, in the folder of a test; others as `train` does."""


@contextmanager
def running_job(folder: Path, *arguments: str, command: str = "train") -> Iterator[Run]:
    """Run a command of the job on the `PLACES` in a folder; end it with the block."""
    log = folder / f"{command}-{time.monotonic_ns()}.log"
    places = PLACES.get(command, {"--input": "bars", "--output": "models"})
    where = [part for flag, name in places.items() for part in (flag, str(folder / name))]
    with (
        log.open("w") as said,
        subprocess.Popen(
            [sys.executable, str(ROOT / "job" / "main.py"), command, *where, *arguments],
            stdout=subprocess.DEVNULL,
            stderr=said,
            text=True,
        ) as process,
    ):
        try:
            yield Run(process, folder / "models", log)
        finally:
            process.kill()


def wait_for(there: Callable[[], Any], log: Path | None = None) -> None:
    """Wait until `there` returns something true; `log` is what to show if it never does."""
    deadline = time.monotonic() + LONGEST_S
    while not there():
        assert time.monotonic() < deadline, f"waited in vain: {log.read_text() if log else there}"
        time.sleep(0.05)
