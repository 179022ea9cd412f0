"""The one place that touches names private to Ray: what it is made to do without, and what it is asked beside its API.

Ray starts processes that are of use to a shared cluster only. They take seconds of CPU just when the workers need it to
start themselves, and no setting spares them. So private names are replaced for as long as this process uses Ray. Every
patch is optional: where a release of Ray has no such name any more, it is skipped, and the job runs all the same.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import Any, Final
from uuid import uuid4

import ray

from job.cluster import late_agent, new_worker
from job.cluster.heartbeat import connection_error

log = logging.getLogger("job")

Resources = dict[str, dict[str, float]]

POLL_S: Final = 0.05


class LocalCoordinator:
    """Takes the place of the actor that shares a cluster's resources out among Datasets: all are for the one that asks.

    Ray Data starts no task before it has an answer, and the actor takes two seconds to start.
    """

    def __init__(self, **_: object) -> None:
        """Look up what each node has; a Dataset makes a coordinator when its execution starts."""
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        self._nodes: Resources = {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}

    def request_resources(self, **_: object) -> None:
        """Ask for nothing: no node can be added."""

    def cancel_request(self) -> None:
        """Take nothing back."""

    def get_reserved_resources(self) -> Resources:
        """Return all there is, by node."""
        return self._nodes


def _nothing(*_: object, **__: object) -> None:
    """Take the place of what starts a process or sends it figures."""


def _late_agent(*_: object, **__: object) -> list[str]:
    """Return how Ray starts an agent, to which it adds the agent's file and arguments."""
    return [sys.executable, "-I", "-S", late_agent.__file__]


Patches = Mapping[str, Mapping[str, Any]]
"""Replacements by name, by the module or class that holds the name (`module:class` of `pkgutil.resolve_name`)."""

PROCESSES: Final[Patches] = {
    "ray._private.node:Node": dict.fromkeys(("start_monitor", "start_log_monitor", "start_api_server"), _nothing)
}
"""Autoscaler, the driver's view of workers' logs, dashboard. Ray's end waits a second for the first."""

AGENTS: Final[Patches] = {
    "ray._private.services": {"_build_python_executable_command_memory_profileable": _late_agent},
    "ray._private.utils": {"get_dashboard_dependency_error": _nothing},
}
"""What starts the agents of a node, and what imports a web server to see whether the dashboard's could start."""

WORKERS: Final[Patches] = {"ray._private.ray_constants": {"SETUP_WORKER_FILENAME": new_worker.__file__}}
"""The script that Ray starts in order to start a worker; joined to a folder's path, of which nothing stays."""

ACTORS: Final[Patches] = {
    "ray.data._internal.cluster_autoscaler.rate_based_cluster_autoscaler": {
        "DefaultAutoscalingCoordinator": LocalCoordinator
    },
    "ray.data._internal.stats:_StatsManager": {
        "gen_dataset_id_from_stats_actor": staticmethod(lambda: uuid4().hex),
        "register_dataset_to_stats_actor": staticmethod(_nothing),
        "update_execution_metrics": staticmethod(_nothing),
        "update_iteration_metrics": staticmethod(_nothing),
    },
}
"""What shares a cluster out among Datasets, and what keeps figures for the dashboard."""

PREFETCHING: Final[Patches] = {"ray.data._internal.execution.metadata_fetcher": {"_PREFETCH_ON_THREAD": False}}
"""A thread that fetches ahead what is known of blocks: it leaves a CPU idle some 0.2 s after each bundle."""

POLLING: Final[Patches] = {
    "ray.data._internal.execution.streaming_executor_state": {
        "time": SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(max(seconds, POLL_S))})
    }
}
"""How often the driver looks whether a Dataset has yielded something: a hundred times a second, by itself."""

WORKER_LOGS: Final[Patches] = {"ray._private.worker": {"_worker_logs_enabled": False}}
"""What raylets say goes to stdout, where the result belongs."""


@contextmanager
def patched(patches: Patches) -> Iterator[None]:
    """Replace Ray's private names; those that this release of Ray does not have are left out."""
    with ExitStack() as restored:
        for place, names in patches.items():
            owner = _private(place)
            for name, replacement in names.items():
                if owner is None or name not in vars(owner):
                    log.debug("this Ray has no %s of %s: it is not patched", name, place)
                    continue
                restored.callback(setattr, owner, name, vars(owner)[name])
                setattr(owner, name, replacement)
        yield


def ask_head(address: str, *, timeout_s: float) -> None:
    """Ask the head at `host:port` whether it lets this process in; `ray.init` would try for minutes.

    Raises:
        ConnectionError: nothing listens there.
        ValueError: it is no address.
        ray.exceptions.AuthenticationError: it does not take this process's token.
        ray.exceptions.RpcError: what listens there is no head.
    """
    canonical = _private("ray._private.services:canonicalize_bootstrap_address")
    where = (canonical and canonical(address)) or address  # Ray takes 127.0.0.1 for the machine's own address
    if error := connection_error(where, timeout_s):
        raise ConnectionError(str(error)) from None
    if (client := _private("ray._raylet:GcsClient")) is not None:
        client(address=where)


def _private(place: str) -> Any:
    """Return what Ray keeps at a private place, None where this release has no such place."""
    try:
        return resolve_name(place)
    except (ImportError, AttributeError):
        return None
