"""Commands that make models or say what making them would take: train, plan, doctor."""

import argparse
import json
import logging
from dataclasses import asdict

from job.cli.options import Commands, add_command, add_run_options, settings
from job.cli.report import log, show_plan, show_result, to_do, watching
from job.core.errors import ConfigError
from job.core.paths import redact_url
from job.train.plan import describe_plan
from job.train.plan import plan as plan_training
from job.train.run import run


def register(commands: Commands) -> None:
    """Add the commands to the command line."""
    for name, command, text in (
        ("train", train, "train every model that the registry does not hold (the default)"),
        ("plan", plan, "say what train would do: models, rows, seconds and memory; trains nothing"),
        ("doctor", doctor, "check the cluster, the input and the registry, and say what to mend"),
    ):
        add_run_options(add_command(commands, name, command, summary=text))


def train(options: argparse.Namespace) -> int:
    """Train, show the result, and return the run's exit status."""
    config = settings(options)
    plan = plan_training(config, force=options.force, verify=options.verify)
    for note in plan.notes:
        log.info(note)
    log.info("%s into %s: %s", redact_url(config.data.input or ""), config.model_trainer.model_directory, to_do(plan))
    with watching(len(plan.tasks)) as watch:
        record = run(config, watch=watch, plan=plan)
    show_result(record)
    if options.json:
        print(json.dumps(record.as_dict()))  # noqa: T201 - the promised last line
    return record.exit_status


def plan(options: argparse.Namespace) -> int:
    """Print what train would do."""
    config = settings(options)
    planned = plan_training(config, force=options.force, verify=options.verify)
    for note in planned.notes:
        log.info(note)
    for warning in sorted({warning for outcome in planned.current for warning in outcome.warnings}):
        log.warning(warning)
    for problem in planned.problems:
        log.error(problem)
    described = describe_plan(planned)
    show_plan(described)
    if options.json:
        print(json.dumps(described))  # noqa: T201
    return 1 if planned.problems else 0


def doctor(options: argparse.Namespace) -> int:
    """Print every check and its remedy; 0 when all are good, 2 otherwise."""
    from job.cli.doctor import examine  # noqa: PLC0415 - starts Ray

    findings = examine(settings(options))
    for finding in findings:
        log.log(logging.INFO if finding.good else logging.ERROR, "%-7s %s", finding.subject, finding.text)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings]))  # noqa: T201
    return 0 if all(finding.good for finding in findings) else ConfigError.exit_status
