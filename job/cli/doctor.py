"""The command that checks, before any training: versions, input, registry and memory, here and on every node."""

import argparse
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

import psutil

from job.cli.arguments import RUN, Command
from job.cli.logs import log
from job.cli.options import run_settings
from job.cli.report import print_json
from job.config.settings import Config
from job.core.environment import versions
from job.core.errors import ConfigError, JobError
from job.core.paths import is_url, redact_url
from job.learning.estimators import OPTIONAL_LIBRARIES
from job.registry.versions import new_run_id
from job.sources.problems import summarize
from job.sources.series import WILL_FAIL
from job.storage.files import Storage
from job.train.plan import make_plan
from job.train.task import Plan
from job.worker.messages import Job


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it is good, and what was found or what to do about it."""

    subject: str
    good: bool
    text: str


def doctor(options: argparse.Namespace) -> int:
    """Print every check and its remedy; 0 when all are good, 2 otherwise."""
    findings = [*examine(run_settings(options))]
    for finding in findings:
        log.log(logging.INFO if finding.good else logging.ERROR, "%-7s %s", finding.subject, finding.text)
    print_json(options, [asdict(finding) for finding in findings])
    return 0 if all(finding.good for finding in findings) else ConfigError.exit_status


def examine(config: Config) -> Iterator[Finding]:
    """Yield every finding about this machine, the input, the registry and the cluster."""
    here = versions(*OPTIONAL_LIBRARIES)
    yield Finding("versions", good=True, text=", ".join(f"{name} {value}" for name, value in here.items()))
    plan = None
    try:
        plan = make_plan(config)
    except JobError as error:
        yield Finding("input", good=False, text=str(error))
    else:
        series = {one for task in plan.tasks for one in task.series}
        files = sum(len(one.files) for one in series)
        text = f"{len(series)} series, {files} files in {redact_url(config.data.input or '')}"
        yield Finding("input", good=True, text=text)
        yield from (Finding("input", good=not note.startswith(WILL_FAIL), text=note) for note in plan.notes)
        yield from (Finding("input", good=False, text=message) for message in summarize(plan.problems))
    output = config.model_trainer.model_directory
    try:
        Storage(output, options=config.storage.options).check_writable()
    except JobError as error:
        registry = Finding("store", good=False, text=str(error))
    else:
        free = "" if is_url(output) else f", {shutil.disk_usage(output).free / 2**30:.0f} GiB free"
        registry = Finding("store", good=True, text=f"{output} can be written{free}")
    yield registry
    if plan is not None:
        largest = max(plan.tasks, key=lambda task: task.memory)
        needed, left = largest.memory, psutil.virtual_memory().available
        text = f"largest task {largest.key} needs about {needed / 2**30:.1f} of {left / 2**30:.1f} GiB free here"
        remedy = "" if needed < left else ": shorten the range, or use a node with more memory"
        yield Finding("memory", good=needed < left, text=text + remedy)
        if registry.good:
            yield from examine_nodes(config, plan)


def examine_nodes(config: Config, plan: Plan) -> list[Finding]:
    """Start or join Ray, and return what is found about its size and about each of its nodes."""
    from job.cluster.connect import running  # noqa: PLC0415 - Ray takes seconds to import
    from job.cluster.nodes import node_findings  # noqa: PLC0415

    output = config.model_trainer.model_directory
    job = Job(new_run_id(datetime.now(UTC)), config, output, versions=versions(*plan.libraries))
    try:
        with running(config.ray) as cluster:
            size = Finding("cluster", good=True, text=f"{cluster.nodes} nodes, {cluster.cpus} CPUs")
            found = node_findings(job, plan.tasks)
    except JobError as error:
        return [Finding("cluster", good=False, text=str(error))]
    nodes = [
        Finding("node", good=not wrong, text=f"{node}: {'; '.join(wrong) or 'sees input and registry, same versions'}")
        for node, wrong in found.items()
    ]
    return [size, *nodes]


COMMAND: Final = Command("doctor", doctor, "check the cluster, the input and the registry, and say what to mend", RUN)
