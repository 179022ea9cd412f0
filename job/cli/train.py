"""The command that makes models."""

import argparse
from typing import Final

from job.cli.arguments import RUN, Command, flag
from job.cli.logs import log
from job.cli.options import run_settings
from job.cli.progress import watching
from job.cli.report import count_in_words, print_record, show_result
from job.core.errors import JobError
from job.core.paths import redact_url
from job.registry.catalog import open_registry
from job.train.plan import plan as plan_training
from job.train.run import run


def train(options: argparse.Namespace) -> int:
    """Train, show the result, and return the run's exit status."""
    if options.report:
        from job.report.theme import check_extra  # noqa: PLC0415 - only reports need it

        check_extra()
    config = run_settings(options)
    plan = plan_training(config, force=options.force, verify=options.verify)
    for note in plan.notes:
        log.info(note)
    checks = sum(task.to_check for task in plan.tasks)
    counts = {
        "current": len(plan.current),
        "fresh enough": len(plan.fresh),
        "to train": len(plan.tasks) - checks,
        "to check": checks,
    }
    source, models = redact_url(config.data.input or ""), config.model_trainer.model_directory
    log.info("%s into %s: %d models: %s", source, models, plan.total, count_in_words(counts) or "none")
    with watching(len(plan.tasks)) as watch:
        record = run(config, watch=watch, plan=plan)
    show_result(record, everything=options.all)
    if options.report:
        from job.report.write import report_of  # noqa: PLC0415 - altair takes half a second to import

        registry, path = open_registry(record.config), f"runs/{record.run_id}.html"
        try:
            registry.replace(path, report_of(registry, run_id=record.run_id).html.encode())
            log.info("report: %s/%s", registry.url, path)
        except JobError as error:  # a registry without models has none, and the run's status stands
            log.error("no report was written: %s", error)
    print_record(options, record)
    return record.exit_status


ALL: Final = flag("--all", "show all models on the terminal, instead of the best, the worst and those that failed")
REPORT: Final = flag("--report", "show the run as pictures, in an HTML file beside its record; see `report`")
COMMAND: Final = Command(
    "train", train, "train every model that the registry does not hold (the default)", (*RUN, ALL, REPORT)
)
