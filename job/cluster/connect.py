"""Have Ray run, here or on a cluster that is joined, with one thread budget per task."""

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import ray
from ray.exceptions import AuthenticationError, RayError, RpcError

from job.cluster.bundles import Capacity
from job.cluster.heartbeat import HealthCheck, OnDeath, is_reachable, monitored
from job.cluster.local_ray import local_ray
from job.cluster.observing import job_config
from job.cluster.ray_patches import ACTORS, POLLING, PREFETCHING, WORKER_LOGS, ask_head, patched
from job.config.settings import RaySettings
from job.core.environment import INSTALLED, ROOT
from job.core.errors import ConfigError

DRIVER_SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # By default the driver waits for the first workers, and for ever if one of them dies (ray-project/ray#40131).
    "RAY_prestart_worker_first_driver": "0",
}
"""What Ray takes from the environment of this process, unless it says otherwise."""

THREAD_LIMITS: Final = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

ALLOCATOR: Final = {
    "_RJEM_MALLOC_CONF": "dirty_decay_ms:5,muzzy_decay_ms:0",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20),
}
"""Has Polars give memory back within 5 ms. By default it keeps what samples were made in, a third of all that a large
task holds, until long after the fits have allocated their own. Given back at once, every intermediate column would be
mapped anew: samples take twice as long, features three times.

And has the C library (glibc) give arrays of 4 MiB and more back as soon as they are freed. By itself it raises that
bound to 32 MiB as arrays come and go, and then keeps holes of that size between what is still used."""

NOT_SHIPPED: Final = (".git", ".venv", "venv", "__pycache__", "models", "tests", "data")

CONNECT_S: Final = 10.0
NODE_GONE_S: Final = 6.0
HEAD_GONE_S: Final = 40.0
"""How long the driver's node and the head may be silent. A node does not come back, a head may; Ray ends this process
some 15 s after its node is gone, and 60 s after the head is."""
ROOM_GONE_S: Final = 600.0
"""How long there may be no node that a task fits on: an autoscaler, or a person, may bring one."""
MEMORY_GIVEN: Final = 0.8
"""Share of a node's memory that goes with its CPUs. Ray counts what was free when a node started, so that one of the
same kind that comes in its place may have less; a task that asks for more than it has would wait for ever."""


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
def running(settings: RaySettings, *, threads: int = 1, on_death: OnDeath | None = None) -> Iterator[Cluster]:
    """Start a local Ray, or join the cluster at `settings.address` or RAY_ADDRESS; leave it at the end.

    A Ray that the caller has already started is used and left running. `on_death` is told why, should the cluster die
    meanwhile; see `job.cluster.heartbeat`.

    Raises:
        ConfigError: there is no cluster at the address, or it has no CPU; or Ray cannot start on this machine.
        ClusterError: the cluster died.
    """
    address = settings.address or os.environ.get("RAY_ADDRESS")
    joined = address not in {None, "", "local"}
    if ray.is_initialized():
        size = _size(settings, joined=len(_alive()) > 1 or (joined and settings.workers is not None))
        with _monitored(size, on_death):
            yield size
        return
    environment = {**dict.fromkeys(THREAD_LIMITS, str(threads)), **ALLOCATOR}
    level = getattr(logging, settings.logging_level.upper() if settings.logging_level != "info" else "WARNING")
    on_stop, may_handle = signal.getsignal(signal.SIGTERM), threading.current_thread() is threading.main_thread()
    os.environ.update({name: os.environ.get(name, value) for name, value in DRIVER_SETTINGS.items()})
    with ExitStack() as monitoring, ExitStack() as stack:  # the cluster is watched until Ray is shut down, too
        if settings.logging_level != "debug":
            os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of objects lost with a node, made again
            stack.enter_context(patched(WORKER_LOGS))
        if may_handle:
            stack.callback(signal.signal, signal.SIGTERM, on_stop)
        if address and joined:
            _join(address, settings, environment, level)
            stack.callback(ray.shutdown)
        else:
            stack.enter_context(local_ray(settings, environment, level))
        # Ray's own handler ends the process on the spot; a stopped job must still close its run record.
        if may_handle:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        size = _size(settings, joined=joined)
        # Ray starts one worker ahead of those that tasks ask for; were there a task for each CPU, it would be a spare.
        starting = [] if joined else [take_worker.remote() for _ in range(max(1, size.cpus - 1))]
        stack.callback(starting.clear)
        shared = {**PREFETCHING, **POLLING}  # to patch these imports Ray Data, while workers start
        for patches in [shared] if joined else [shared, ACTORS]:
            stack.enter_context(patched(patches))
        monitoring.enter_context(_monitored(size, on_death))
        yield size


@ray.remote(num_cpus=1, max_retries=0)
def take_worker() -> None:
    """Have Ray start a worker, which imports what training needs meanwhile, or an autoscaler bring a node for one."""


def _join(address: str, settings: RaySettings, environment: Mapping[str, str], level: int) -> None:
    """Join a running cluster. Submitted jobs have the code there already; otherwise it is shipped from a checkout.

    An installed package is not shipped: `site-packages` holds much else, so every node must have it installed.
    """
    if "://" in address:
        raise ConfigError(
            f"Ray address {address}: expected HOST:PORT; from afar, submit the job with "
            "`ray job submit --working-dir . -- ...`"
        )
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)  # how Ray signs on is no news
    # Ray warns of what it leaves out by default; NOT_SHIPPED is the whole list.
    os.environ.setdefault("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", "")
    runtime_env: dict[str, object] = {"env_vars": dict(environment)}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ and not INSTALLED:
        runtime_env |= {"working_dir": str(ROOT), "excludes": [*NOT_SHIPPED]}
    try:
        ask_head(address, timeout_s=CONNECT_S)
        ray.init(
            address=address,
            runtime_env=runtime_env,
            log_to_driver=False,
            logging_level=level,
            job_config=job_config(settings),
        )
    except AuthenticationError:
        remedy = "set RAY_AUTH_MODE and RAY_AUTH_TOKEN as on its head"
        raise ConfigError(f"the Ray cluster at {address} does not take this process's token: {remedy}") from None
    except (ConnectionError, ValueError, RpcError) as refusal:  # an address that is none, or no head's
        raise _unreachable(address, refusal) from None
    except RuntimeError as error:
        raise ConfigError(f"cannot join the Ray cluster at {address}: {' '.join(str(error).split())}") from None


def _unreachable(address: str, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())
    return ConfigError(f"no Ray cluster at {address}: {reason}; start one, or unset ray.address and RAY_ADDRESS")


def _size(settings: RaySettings, *, joined: bool) -> Cluster:
    """Return what there is to train on, or what the autoscaler of a cluster may bring, where that is declared.

    No task may ask for more CPUs than the second largest node has: should a node go away, none waits for ever. An
    autoscaler brings another one.

    Raises:
        ConfigError: no node has a CPU and none is declared, and every task would wait for ever.
    """
    nodes = len(_alive())
    if joined and (declared := declared_capacity(settings)):
        return Cluster(nodes=nodes, joined=joined, capacity=declared)
    usable = [node["Resources"] for node in cpu_nodes()]
    if not usable:
        head = ray.get_runtime_context().gcs_address
        raise ConfigError(
            f"no CPU on any node of the Ray cluster at {head} (nodes: {nodes}): add one with "
            f"`ray start --address={head}`; or say what its autoscaler may bring, in ray.workers: "
            "{most: 10, cpus: 4, memory_gib: 12}"
        )
    capacity = Capacity(
        cpus=sum(int(node["CPU"]) for node in usable),
        node_cpus=sorted(int(node["CPU"]) for node in usable)[-2:][0],
        memory_per_cpu=min(int(MEMORY_GIVEN * node["memory"] / node["CPU"]) for node in usable),
        gpus=sum(int(node.get("GPU", 0)) for node in usable),
    )
    return Cluster(nodes=nodes, joined=joined, capacity=capacity)


def declared_capacity(settings: RaySettings) -> Capacity | None:
    """Return what the autoscaler may bring, None where the settings do not say."""
    workers = settings.workers
    if workers is None:
        return None
    return Capacity(
        cpus=workers.most * workers.cpus,
        node_cpus=workers.cpus,
        memory_per_cpu=int(MEMORY_GIVEN * workers.memory_gib * 2**30 / workers.cpus),
        gpus=sum(int(node["Resources"].get("GPU", 0)) for node in cpu_nodes()),
    )


def _alive() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def cpu_nodes() -> list[dict[str, Any]]:
    """Return the nodes that can train: a task takes whole CPUs of one node."""
    return [node for node in _alive() if node["Resources"].get("CPU", 0) >= 1]


def node_and_head() -> tuple[str, str]:
    """Return where the driver's node and the head listen, `host:port`; Ray ends this process soon after they do not."""
    context = ray.get_runtime_context()
    own = next(node for node in _alive() if node["NodeID"] == context.get_node_id())
    return f"{own['NodeManagerAddress']}:{own['NodeManagerPort']}", context.gcs_address


def _monitored(size: Cluster, on_death: OnDeath | None) -> AbstractContextManager[None]:
    """Watch what a run on this cluster cannot go on without, where `on_death` is to hear of it."""
    if on_death is None:
        return nullcontext()
    node, head = node_and_head()
    memory = size.capacity.memory_per_cpu
    room = f"a CPU and {memory / 2**30:.1f} GiB of memory"
    checks = (
        HealthCheck(
            f"the driver's node of the Ray cluster is gone ({node} is silent)", partial(is_reachable, node), NODE_GONE_S
        ),
        HealthCheck(
            f"the head of the Ray cluster is gone ({head} is silent)", partial(is_reachable, head), HEAD_GONE_S
        ),
        HealthCheck(f"no node with {room} is in the Ray cluster", partial(_has_room, memory), ROOM_GONE_S),
    )
    return monitored(checks, on_death)


def _has_room(memory: int) -> bool:
    """Return whether a task fits on a node; True where Ray cannot be asked, as while it shuts down."""
    try:
        return any(node["Resources"]["memory"] >= memory for node in cpu_nodes())
    except RayError:
        return True
