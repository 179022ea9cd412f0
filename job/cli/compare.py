"""The command that compares two versions of models on bars that neither has seen."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from job.cli.options import Commands, add_command, given
from job.cli.report import log
from job.cli.selection import add_filters, add_store, selected
from job.cli.tables import comparison_table, console, fleets_table
from job.compare.plan import ComparisonPlan
from job.compare.plan import plan as plan_comparisons
from job.compare.run import ComparisonResult, fleets
from job.compare.run import run as run_comparisons
from job.compare.task import Compared
from job.core.errors import ConfigError, JobError
from job.registry.catalog import keys, open_registry
from job.registry.versions import new_run_id

FLAGS: Final = {"models": "model_trainer.model_directory", "input": "data.input", "since": "data.start"}
"""Arguments that are short for one setting."""

TEXT: Final = """Compare two versions of each model on bars that neither was trained or chosen on. Difference in
log-loss with a block-bootstrap interval and a Diebold-Mariano test, accuracy, each model's and over all of a kind, with
false discoveries held at promotion.alpha. Every comparison is kept in the registry, and counts how often its rows were
looked at before. --promote moves the champion where version b is significantly better (promotion.policy: better), or
fresher and not significantly worse (promotion.policy: fresher)."""


def register(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = add_command(commands, "compare", compare, summary="compare two versions on the same bars", text=TEXT)
    add = parser.add_argument
    add("--input", metavar="URL", help="file, folder, glob or URL of bars (default: the bundled sample)")
    add("--a", metavar="NAME", default="champion", help="champion (default), latest, challenger, or a version")
    add("--b", metavar="NAME", default="latest", help="latest (default), challenger, or a version")
    add("--since", metavar="D", help="first bar, inclusive (default: the first that neither version has seen)")
    add("--promote", action="store_true", help="move the champion where the comparison is for it")
    add_store(parser)
    add_filters(parser)
    add("--set", metavar="dotted.key=value", action="append", default=[], help="any setting; the value is YAML")
    add("--json", action="store_true", help="print one JSON object, the last line of stdout")


def compare(options: argparse.Namespace) -> int:
    """Compare, show the verdicts, and promote where that is asked for."""
    config = given(options, FLAGS)
    if options.promote and options.a != "champion":
        raise ConfigError(f"--promote replaces the champion: compare with that, and leave out --a {options.a}")
    registry = open_registry(config, writer=new_run_id(datetime.now(UTC)))
    wanted = selected(keys(registry), options, where=registry.url)
    plan = plan_comparisons(config, registry, wanted, a=options.a, b=options.b)
    judged: list[ComparisonResult] = []
    if plan.tasks:
        registry.check_writable()
        record, judged = run_comparisons(config, registry, plan, promote_winners=options.promote, watch=tell)
        if record.status != "finished":
            log.error("%s: nothing was judged%s", record.status, f": {record.reason}" if record.reason else "")
            return record.exit_status
    failures = [*plan.failures.values(), *(one.error for one in judged if one.error is not None)]
    if len(failures) == len(wanted):
        raise summarize_failures(failures)
    show(plan, judged, options)
    if options.json:
        same = [asdict(key) for key in plan.same]
        found = {"models": registry.url, "comparisons": [one.record() for one in judged], "fleet": fleets(judged)}
        refused = [{**asdict(key), "message": str(error)} for key, error in plan.failures.items()]
        print(json.dumps({**found, "same": same, "failures": refused}))  # noqa: T201 - the promised last line
    return JobError.exit_status if failures else 0


def summarize_failures(failures: Sequence[JobError]) -> JobError:
    """Return the error of a command of which nothing could be done: the first of its kind, and how many are like it."""
    others = f" ({len(failures) - 1} other models fail, too)" if len(failures) > 1 else ""
    return type(failures[0])(f"{failures[0]}{others}")


def tell(outcome: Compared) -> None:
    """Log a comparison as it arrives; the verdict waits for all."""
    if outcome.comparison is not None:
        log.info("compared %s on %d rows in %.1f s", outcome.key, outcome.comparison.rows, outcome.seconds)
    for warning in outcome.warnings:
        log.warning("%s: %s", outcome.key, warning)


def show(plan: ComparisonPlan, judged: Sequence[ComparisonResult], options: argparse.Namespace) -> None:
    """Print the verdicts as a table, and log what was not compared, and what was promoted."""
    for note in plan.notes:
        log.warning(note)
    for key in plan.same:
        log.info("%s: %s and %s are one version", key, options.a, options.b)
    compared = [one for one in judged if one.verdict is not None]
    log.info("a is %s, b is %s; a difference below 0 is for b", options.a, options.b)
    if compared and not options.json:
        console().print(comparison_table([one.record() for one in compared]))
        console().print(fleets_table(fleets(compared)))
    for one in judged:
        if one.promoted:
            log.info("%s: moved champion from %s to %s", one.key, one.compared.a, one.compared.b)
        if one.earlier:
            log.warning("%s: %d earlier comparisons used some of these rows", one.key, one.earlier)
    for error in (*plan.failures.values(), *(one.error for one in judged if one.error is not None)):
        log.error("%s", error)
