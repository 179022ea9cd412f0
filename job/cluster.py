"""Start a local Ray or join a cluster, with one thread budget a task; ask every node what it can see."""

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from job.bundles import Capacity
from job.config import RaySettings
from job.environment import ROOT
from job.errors import ConfigError

THREAD_LIMITS: Final = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

KNOCK_S: Final = 10.0
ANSWER_S: Final = 300.0
"""How long a node may take to start a worker, with the code shipped to it, and to look around."""


@dataclass(frozen=True)
class Cluster:
    """What a run trains on; `joined` is False for a Ray that this process started."""

    nodes: int
    joined: bool
    capacity: Capacity

    @property
    def cpus(self) -> int:
        """CPUs of all nodes."""
        return self.capacity.cpus


@contextmanager
def running(settings: RaySettings, *, threads: int = 1) -> Iterator[Cluster]:
    """Start a local Ray, or join the cluster at `settings.address` or RAY_ADDRESS; leave it at the end.

    A Ray that the caller has already started is used and left running.

    Raises:
        ConfigError: there is no cluster at the address.
    """
    if ray.is_initialized():
        yield _size(joined=len(_alive()) > 1)
        return
    address = settings.address or os.environ.get("RAY_ADDRESS")
    limits = {name: str(threads) for name in THREAD_LIMITS}
    level = getattr(logging, settings.logging_level.upper() if settings.logging_level != "info" else "WARNING")
    joined = address not in {None, "", "local"}
    on_stop = signal.getsignal(signal.SIGTERM)
    if address and joined:
        _join(address, limits, level)
    else:
        _start(settings, limits, level)
    if settings.logging_level != "debug":
        ray._private.worker._worker_logs_enabled = False  # what raylets say goes to stdout, where the result belongs
    # Ray's own handler ends the process on the spot; a stopped job must still close its run record.
    _handle_stop(signal.default_int_handler)
    size = _size(joined=joined)
    warming = [] if joined else [_warm.remote() for _ in range(size.cpus)]
    try:
        yield size
    finally:
        del warming
        ray.shutdown()
        _handle_stop(on_stop)


def _handle_stop(handler: Any) -> None:
    """Set what SIGTERM does, where this is allowed: in the main thread."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@ray.remote(num_cpus=1, max_retries=0)
def _warm() -> None:
    """Import what training needs, in a worker that waits for the driver to get ready."""
    for module in ("job.steps", "job.versions", "skops.io"):
        import_module(module)


def _start(settings: RaySettings, limits: Mapping[str, str], level: int) -> None:
    """Start Ray on this machine. Its workers inherit this process's environment, which a runtime_env would slow."""
    paths = dict.fromkeys([str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    os.environ.update({**limits, "PYTHONPATH": os.pathsep.join(paths)})
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # By default the driver waits for the first workers, and for ever if one of them dies (ray-project/ray#40131).
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # that its local token is on is no news
    ray.init(
        address="local",
        num_cpus=settings.num_cpus,
        num_gpus=settings.num_gpus,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=level,
    )


def _join(address: str, limits: Mapping[str, str], level: int) -> None:
    """Join a running cluster. Submitted jobs have the code there already; otherwise it is shipped from here."""
    if "://" in address:
        raise ConfigError(
            f"Ray address {address}: expected HOST:PORT; from afar, submit the job with "
            "`ray job submit --working-dir . -- ...`"
        )
    for noisy in ("ray._private.authentication", "ray._private.runtime_env.working_dir"):
        logging.getLogger(noisy).setLevel(logging.ERROR)  # how Ray packs and signs on is no news
    runtime_env: dict[str, object] = {"env_vars": dict(limits)}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        runtime_env |= {"working_dir": str(ROOT), "excludes": [".git", ".venv", "models", "tests", "data"]}
    _knock(address)
    try:
        ray.init(address=address, runtime_env=runtime_env, log_to_driver=False, logging_level=level)
    except (ConnectionError, ValueError) as error:  # Ray's word for an address that is none
        raise _absent(address, error) from None
    except RuntimeError as error:
        raise ConfigError(f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())}") from None


def _knock(address: str) -> None:
    """Make sure that something listens at `host:port`; Ray itself would try for many minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_S).close()
    except OSError as error:
        raise _absent(address, error) from None


def _absent(address: str, error: OSError | ValueError) -> ConfigError:
    reason = " ".join(str(error).split())
    return ConfigError(f"no Ray cluster at {address}: {reason}; start one, or unset ray.address and RAY_ADDRESS")


def _size(*, joined: bool) -> Cluster:
    nodes = [node["Resources"] for node in _alive()]
    able = [(int(node["CPU"]), int(node["memory"] / node["CPU"])) for node in nodes if node.get("CPU", 0) >= 1]
    capacity = Capacity(
        cpus=max(1, sum(cpus for cpus, _ in able)),
        node_cpus=max((cpus for cpus, _ in able), default=1),
        memory_a_cpu=min((memory for _, memory in able), default=1),
    )
    return Cluster(nodes=len(nodes), joined=joined, capacity=capacity)


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def ask_nodes(check: Callable[..., list[str]], *arguments: object) -> dict[str, list[str]]:
    """Run `check(*arguments)` once on every node that can train; return its findings by the node's name.

    A node that cannot run it, because packages are missing or it does not answer, has that as its finding.
    """
    nodes = {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        for node in _alive()
        if node["Resources"].get("CPU")
    }
    remote = ray.remote(check)
    answers = [
        remote.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(*arguments)
        for node in nodes
    ]
    ray.wait(answers, num_returns=len(answers), timeout=ANSWER_S)
    return {name: _answer(answer) for name, answer in zip(nodes.values(), answers, strict=True)}


def _answer(answer: "ray.ObjectRef[list[str]]") -> list[str]:
    try:
        return ray.get(answer, timeout=0)
    except RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return [f"cannot run a task of this job ({lines[-1].strip()}): install the same packages on every node"]
