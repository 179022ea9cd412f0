"""Checks of every node before any work: does it see storage and input, has it the driver's versions and modules?"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final
from uuid import uuid4

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from job.cluster.connect import ROOM_GONE_S, cpu_nodes, declared_capacity, take_worker
from job.config.settings import RaySettings
from job.core.entries import EntryError, source_digest
from job.core.errors import ConfigError, JobError
from job.core.paths import is_url
from job.storage.opening import opened
from job.worker.messages import Job, Work, version_differences

ANSWER_S: Final = 300.0
"""How long a node may take to start a worker, with the code shipped to it, and to look around."""


log = logging.getLogger("job")


def node_findings(job: Job, tasks: Sequence[Work]) -> dict[str, list[str]]:
    """Return what is wrong on each node, by its name; empty lists where all is well.

    Nodes that an autoscaler brings later are not asked: their workers compare versions with the driver's all the same.
    """
    wait_for_workers(job.config.ray, len(tasks))
    token = f"runs/{job.run_id}.probe"
    registry = job.registry()
    registry.create(token, job.run_id.encode())
    try:
        first = tasks[0].series[0].files[0].url if tasks else None
        modules = {path: source_digest(path) for task in tasks for path in task.import_paths}
        return ask_nodes(check_node, job, token, first, modules)
    finally:
        registry.remove(token)


def check_node(job: Job, token: str, first_input: str | None, modules: Mapping[str, str]) -> list[str]:
    """Return what is wrong on this node: versions, users' modules, the registry, the input. Runs on the node itself."""
    findings = version_differences(job.versions)
    for path, digest in modules.items():
        try:
            if source_digest(path) != digest:
                findings.append(f"has another source of {path} than the driver: install the same on every node")
        except EntryError as error:
            findings.append(str(error))
    registry, data = job.registry(), job.config.data
    try:
        if not registry.exists(token):  # which the driver wrote
            findings.append(f"does not see the registry {job.output} of the driver{_sharing(job.output)}")
        else:
            own = f"{token}.{uuid4().hex[:8]}"
            registry.create(own, b"")
            registry.remove(own)
    except JobError as error:
        findings.append(f"cannot use the registry: {error}{_sharing(job.output)}")
    if first_input is not None:
        try:
            with opened(first_input, data.options):
                pass
        except JobError as error:
            findings.append(f"cannot open the input {error}{_sharing(data.input or first_input)}")
    return findings


def _sharing(place: str) -> str:
    """Return the remedy where nodes see different things at one path: each has a folder of its own there."""
    return "" if is_url(place) else ": give a URL, or a folder that is mounted on every node"


def ask_nodes(check: Callable[..., list[str]], *arguments: object) -> dict[str, list[str]]:
    """Run `check(*arguments)` once on every node that can train; return its findings by the node's name.

    Names hold the first digits of Ray's own id for the node: nodes may share host and address. A node that cannot run
    it, because packages are missing or it does not answer, has that as its finding.
    """
    nodes = {
        node["NodeID"]: f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, Ray node {node['NodeID'][:8]})"
        for node in cpu_nodes()
    }
    remote = ray.remote(check)
    answers = [
        remote.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote(*arguments)
        for node in nodes
    ]
    ray.wait(answers, num_returns=len(answers), timeout=ANSWER_S)
    findings = {}
    for name, answer in zip(nodes.values(), answers, strict=True):
        try:
            findings[name] = ray.get(answer, timeout=0)
        except GetTimeoutError:
            findings[name] = [f"does not answer within {ANSWER_S:.0f} s: end this node, or see Ray's logs on it"]
        except RayError as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            reason = lines[-1].strip()
            findings[name] = [f"cannot run a task of this job ({reason}): install the same packages on every node"]
    return findings


def wait_for_workers(settings: RaySettings, tasks: int) -> None:
    """Where a cluster whose workers are declared has none, have its autoscaler bring what so many tasks can use.

    All are asked for at once, for Ray Data asks for one after another; as soon as the first is there, the run begins.

    Raises:
        ConfigError: none came in time.
    """
    declared = declared_capacity(settings)
    if declared is None or cpu_nodes():
        return
    workers = min(declared.cpus, max(1, tasks)) / declared.node_cpus
    whole = {"num_cpus": declared.node_cpus, "memory": declared.node_cpus * declared.memory_per_cpu}
    log.info("the Ray cluster has no worker yet: waiting up to %.0f s for its autoscaler to bring one", ROOM_GONE_S)
    wanted = [take_worker.options(**whole).remote() for _ in range(math.ceil(workers))]
    came, missing = ray.wait(wanted, timeout=ROOM_GONE_S)
    for one in missing:
        ray.cancel(one)
    if not came:
        raise ConfigError(
            f"no worker came to the Ray cluster at {ray.get_runtime_context().gcs_address} within {ROOM_GONE_S:.0f} s: "
            "see `ray status` there, and whether its autoscaler may start workers as large as ray.workers says"
        )
