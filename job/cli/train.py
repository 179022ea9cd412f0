"""The command that makes models."""

import argparse
from typing import Final

from job.cli.arguments import RUN, Command
from job.cli.logs import log
from job.cli.options import run_settings
from job.cli.progress import watching
from job.cli.report import print_json, show_result, to_do
from job.core.paths import redact_url
from job.train.plan import plan as plan_training
from job.train.run import run


def train(options: argparse.Namespace) -> int:
    """Train, show the result, and return the run's exit status."""
    config = run_settings(options)
    plan = plan_training(config, force=options.force, verify=options.verify)
    for note in plan.notes:
        log.info(note)
    log.info("%s into %s: %s", redact_url(config.data.input or ""), config.model_trainer.model_directory, to_do(plan))
    with watching(len(plan.tasks)) as watch:
        record = run(config, watch=watch, plan=plan)
    show_result(record)
    print_json(options, record.as_dict())
    return record.exit_status


COMMAND: Final = Command("train", train, "train every model that the registry does not hold (the default)", RUN)
