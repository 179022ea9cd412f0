"""Checks of every node before any work: does it see the storage and the input, does it run the driver's versions?"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final
from uuid import uuid4

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from job.cluster.connect import cpu_nodes
from job.config.settings import DataSettings
from job.core.errors import ConfigError, JobError
from job.core.paths import is_url
from job.storage.opening import opened
from job.worker.messages import Job, Work, version_differences

ANSWER_S: Final = 300.0
"""How long a node may take to start a worker, with the code shipped to it, and to look around."""


def check_nodes(job: Job, tasks: Sequence[Work]) -> None:
    """Make sure that every node sees the registry and the input, and runs the driver's versions.

    Raises:
        ConfigError: naming each node that does not, and the remedy.
    """
    if bad := [f"{node}: {finding}" for node, findings in node_findings(job, tasks).items() for finding in findings]:
        raise ConfigError("; ".join(bad))


def node_findings(job: Job, tasks: Sequence[Work]) -> dict[str, list[str]]:
    """Return what is wrong on each node, by its name; empty lists where all is well."""
    token = f"runs/{job.run_id}.probe"
    registry = job.registry()
    registry.create(token, job.run_id.encode())
    try:
        first = tasks[0].series[0].files[0].url if tasks else None
        return ask_nodes(check_node, job, token, first)
    finally:
        registry.remove(token)


def check_node(job: Job, token: str, first_input: str | None) -> list[str]:
    """Return what is wrong on this node: versions, the registry, the input. Runs on the node itself."""
    return [
        *version_differences(job.versions),
        *_store_seen(job, token),
        *_input_seen(job.config.data, first_input),
    ]


def _store_seen(job: Job, token: str) -> Iterator[str]:
    """Read what the driver wrote, write and delete a file of this node's own."""
    registry = job.registry()
    try:
        seen = registry.exists(token)
        if seen:
            own = f"{token}.{uuid4().hex[:8]}"
            registry.create(own, b"")
            registry.remove(own)
    except JobError as error:
        yield f"cannot use the registry: {error}{_sharing(job.output)}"
    else:
        if not seen:
            yield f"does not see the registry {job.output} of the driver{_sharing(job.output)}"


def _input_seen(data: DataSettings, url: str | None) -> Iterator[str]:
    if url is None:
        return
    try:
        with opened(url, data.options):
            return
    except JobError as error:
        yield f"cannot open the input {error}{_sharing(data.input or url)}"


def _sharing(place: str) -> str:
    """Return the remedy where nodes see different things in one place: what is meant is no local folder."""
    return "" if is_url(place) else ": give a URL, or a folder that is mounted on every node"


def ask_nodes(check: Callable[..., list[str]], *arguments: object) -> dict[str, list[str]]:
    """Run `check(*arguments)` once on every node that can train; return its findings by the node's name.

    Names hold the first digits of Ray's own id for the node: nodes may share host and address.

    A node that cannot run it, because packages are missing or it does not answer, has that as its finding.
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
    return {name: _answer(answer) for name, answer in zip(nodes.values(), answers, strict=True)}


def _answer(answer: "ray.ObjectRef[list[str]]") -> list[str]:
    try:
        return ray.get(answer, timeout=0)
    except GetTimeoutError:
        return [f"does not answer within {ANSWER_S:.0f} s: end this node, or see Ray's logs on it"]
    except RayError as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return [f"cannot run a task of this job ({lines[-1].strip()}): install the same packages on every node"]
