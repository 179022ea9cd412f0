"""A Ray cluster whose own autoscaler starts and ends its workers, here as processes of this machine.

The configuration is what Ray's own fake cluster has, whose file the wheel leaves out. Its class cannot give a node
memory, so that here is another one, which Ray's autoscaler imports by name.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)
from ray.autoscaler.tags import NODE_KIND_WORKER, STATUS_UP_TO_DATE

ROOT: Final = Path(__file__).resolve().parents[1]
RAY: Final = Path(sys.executable).with_name("ray")
LONGEST_S: Final = 120.0
NO_STEPS: Final = (
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "cluster_synced_files", "rsync_exclude", "rsync_filter",
)  # fmt: skip


class Provider(FakeMultiNodeProvider):
    """Starts each worker with `ray start`; `launched` in the folder of its settings has a line for each."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = Path(provider_config["folder"])

    def _create_node_with_resources_and_labels(
        self, _config: object, tags: Mapping[str, str], _count: int, resources: Mapping[str, float], _labels: object
    ) -> None:
        with self.lock:
            node: str = self._next_hex_node_id()  # type: ignore[no-untyped-call]
            kind = tags["ray-user-node-type"]
            command = [str(RAY), "start", "--block", "--disable-usage-stats", f"--address={self._gcs_address}"]
            command += [f"--num-cpus={int(resources['CPU'])}", f"--memory={int(resources['memory'])}"]
            command += [f"--node-ip-address=127.0.0.{self._next_node_id + 2}", "--object-store-memory=100000000"]
            # Nodes that start at once must not share a folder, whose name must be short.
            command.append(f"--temp-dir={tempfile.mkdtemp(prefix='w', dir=self._folder)}")
            environment = {
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node, "RAY_CLOUD_INSTANCE_ID": node, "RAY_NODE_TYPE_NAME": kind,
            }  # fmt: skip
            with (self._folder / "workers.log").open("ab") as said:
                self._started[node] = subprocess.Popen(command, env=os.environ | environment, stdout=said, stderr=said)
            names = {"ray-node-type": NODE_KIND_WORKER, "ray-node-name": node, "ray-node-status": STATUS_UP_TO_DATE}
            self._nodes[node] = {"tags": {**names, **tags}}
            with (self._folder / "launched").open("a") as launched:
                launched.write(f"{node}\n")

    def _terminate_node(self, node: Mapping[str, Any]) -> None:
        process = self._started[node["tags"]["ray-node-name"]]
        process.terminate()
        threading.Thread(target=process.wait, daemon=True).start()


def configuration(address: str, folder: Path, *, most: int, cpus: int, memory: int) -> dict[str, Any]:
    """Return the settings of a cluster with an idle head and at most `most` workers."""
    worker = {"resources": {"CPU": cpus, "memory": memory}, "node_config": {}, "min_workers": 0, "max_workers": most}
    head = {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}
    return {
        "cluster_name": "test",
        "max_workers": most,
        "upscaling_speed": 10.0,
        "idle_timeout_minutes": 5.0,
        "provider": {
            "type": "external",
            "module": "tests.autoscaling.Provider",
            "gcs_address": address,
            "head_node_id": FAKE_HEAD_NODE_ID,
            "launch_multiple": True,
            "folder": str(folder),
        },
        "available_node_types": {FAKE_HEAD_NODE_TYPE: head, "worker": worker},
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        **{name: dict[str, str]() for name in ("docker", "auth", "file_mounts")},
        "file_mounts_sync_continuously": False,
        **{name: list[str]() for name in NO_STEPS},
    }


@contextmanager
def autoscaled(*, most: int, cpus: int, memory: int) -> Iterator[tuple[str, Path]]:
    """Start a head without CPUs, and its autoscaler; yield its address and a folder where `launched` lists workers."""
    with tempfile.TemporaryDirectory(prefix="as-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with socket.socket() as free:
            free.bind(("127.0.0.2", 0))
            port = free.getsockname()[1]
        address = f"127.0.0.2:{port}"
        settings = folder / "cluster.json"
        settings.write_text(json.dumps(configuration(address, folder, most=most, cpus=cpus, memory=memory)))
        command = [str(RAY), "start", "--head", "--block", f"--port={port}", "--node-ip-address=127.0.0.2"]
        command += ["--num-cpus=0", "--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={folder}/r"]
        command += ["--object-store-memory=100000000", f"--autoscaling-config={settings}"]
        environment = os.environ | {
            "RAY_enable_autoscaler_v2": "1",
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
            "RAY_FAKE_CLUSTER": "1",
            "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
            "PYTHONPATH": str(ROOT),
        }
        with (folder / "head.log").open("wb") as said:
            head = subprocess.Popen(command, env=environment, stdout=said, stderr=said, start_new_session=True)
        try:
            wait_until_up(head, folder / "head.log")
            yield address, folder
        finally:
            _end(head)


def wait_until_up(head: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the head says that it is started."""
    deadline = time.monotonic() + LONGEST_S
    while "will now block" not in log.read_text():
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the head and all that it started, workers included: they are of its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(head.pid, number)
        with suppress(subprocess.TimeoutExpired):
            head.wait(15)
