"""Checks before any training: versions, input, store and memory, here and on every node of a cluster."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import uuid4

import psutil

from job.cluster.bundles import Work
from job.cluster.connect import ask_nodes, running
from job.config.settings import Config, DataSettings
from job.core.environment import versions
from job.core.errors import ConfigError, JobError
from job.core.paths import is_url, redact_url
from job.learning.estimators import OPTIONAL_LIBRARIES
from job.registry.versions import new_run_id
from job.storage.files import Storage
from job.storage.listing import opened
from job.train.plan import Plan, Task, make_plan
from job.worker.messages import Job, version_differences


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it is good, and what was found or what to do."""

    subject: str
    good: bool
    text: str


class Planned(Protocol):
    """What is to be done, as far as nodes are asked whether they could."""

    @property
    def tasks(self) -> Sequence[Work]:
        """Of these the first tells which input a node must be able to open."""


def check_nodes(job: Job, plan: Planned) -> None:
    """Make sure that every node sees the registry and the input, and runs the driver's versions.

    Raises:
        ConfigError: naming each node that does not, and the remedy.
    """
    if bad := [f"{node}: {finding}" for node, findings in node_findings(job, plan).items() for finding in findings]:
        raise ConfigError("; ".join(bad))


def node_findings(job: Job, plan: Planned) -> dict[str, list[str]]:
    """Return what is wrong on each node, by its name; empty lists where all is well."""
    token = f"runs/{job.run_id}.probe"
    registry = job.registry()
    registry.create(token, job.run_id.encode())
    try:
        first = plan.tasks[0].series[0].files[0].url if plan.tasks else None
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


def examine(config: Config) -> list[Finding]:
    """Return every finding about this machine, the input, the registry and the cluster."""
    here = versions(*OPTIONAL_LIBRARIES)
    findings = [Finding("versions", good=True, text=", ".join(f"{name} {value}" for name, value in here.items()))]
    plan, about_input = _examine_input(config)
    findings += about_input
    store_good, about_store = _examine_store(config)
    findings.append(about_store)
    if plan is not None:
        findings.append(_examine_memory(plan.tasks))
    if plan is not None and store_good:
        findings += _examine_nodes(config, plan)
    return findings


def _examine_input(config: Config) -> tuple[Plan | None, list[Finding]]:
    try:
        plan = make_plan(config)
    except JobError as error:
        return None, [Finding("input", good=False, text=str(error))]
    series = {one for task in plan.tasks for one in task.series}
    text = (
        f"{len(series)} series, {sum(len(one.files) for one in series)} files in {redact_url(config.data.input or '')}"
    )
    good = [Finding("input", good=True, text=text)]
    return plan, good + [Finding("input", good=False, text=str(problem)) for problem in plan.problems]


def _examine_store(config: Config) -> tuple[bool, Finding]:
    output = config.model_trainer.model_directory
    try:
        Storage(output, options=config.storage.options).check_writable()
    except JobError as error:
        return False, Finding("store", good=False, text=str(error))
    free = "" if is_url(output) else f", {shutil.disk_usage(output).free / 2**30:.0f} GiB free"
    return True, Finding("store", good=True, text=f"{output} can be written{free}")


def _examine_memory(tasks: tuple[Task, ...]) -> Finding:
    largest = max(tasks, key=lambda task: task.memory)
    free = psutil.virtual_memory().available
    text = f"largest task {largest.key} needs about {largest.memory / 2**30:.1f} of {free / 2**30:.1f} GiB free here"
    remedy = "" if largest.memory < free else ": shorten the range, or use a node with more memory"
    return Finding("memory", good=largest.memory < free, text=text + remedy)


def _examine_nodes(config: Config, plan: Plan) -> list[Finding]:
    output = config.model_trainer.model_directory
    job = Job(new_run_id(datetime.now(UTC)), config, output, versions=versions(*plan.libraries))
    try:
        with running(config.ray) as cluster:
            size = Finding("cluster", good=True, text=f"{cluster.nodes} nodes, {cluster.cpus} CPUs")
            found = node_findings(job, plan)
    except JobError as error:
        return [Finding("cluster", good=False, text=str(error))]
    return [
        size,
        *(
            Finding(
                "node", good=not wrong, text=f"{node}: {'; '.join(wrong) or 'sees input and registry, same versions'}"
            )
            for node, wrong in found.items()
        ),
    ]
