"""The command that compares two versions of models on bars that neither has seen."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

from job.cli.arguments import CONFIG, INPUT, JSON, METRICS, MODELS, SET, START, VERSION, Command, flag
from job.cli.logs import log
from job.cli.options import settings
from job.cli.report import print_json
from job.cli.selection import FILTER_ARGUMENTS, selected
from job.cli.tables import COMPARISONS, DOUBTS, FLEETS, console, doubt, shared_in_words, text_table, tried_in_words
from job.compare.plan import ComparisonPlan
from job.compare.plan import plan as plan_comparisons
from job.compare.run import ComparisonResult, fleets
from job.compare.run import run as run_comparisons
from job.compare.task import Compared
from job.core.errors import ConfigError, JobError
from job.core.keys import Key
from job.core.wording import once_per_kind
from job.learning.overfitting import LEAST_VERSIONS
from job.registry.catalog import keys, open_registry
from job.registry.ledger import tried
from job.registry.shared import MOST_MODELS, shared_holdout
from job.registry.versions import LATEST, new_run_id, read_metadata
from job.storage.files import Storage

TEXT: Final = """Compare two versions of each model on bars that neither was trained or chosen on. Difference in log-
loss with an interval over blocks of time, accuracy, for each model and over all of a kind, with false discoveries
held at promotion.alpha. promotion.test: sequential may be looked at daily. Every comparison is kept in the registry,
and the next one of the same versions adds to it. --promote moves the champion where version b is significantly better
(promotion.policy: better), or fresher and not worse by promotion.margin (promotion.policy: fresher). A version that
is undecided becomes the challenger, which stands for the latest version in later comparisons until it is decided."""


def compare(options: argparse.Namespace) -> int:
    """Compare, show the verdicts, and promote where that is asked for."""
    config = settings(options)
    if options.promote and options.a != "champion":
        raise ConfigError(f"--promote replaces the champion: compare with that, and leave out --a {options.a}")
    registry = open_registry(config, writer=new_run_id(datetime.now(UTC)))
    wanted = selected(keys(registry), options, where=registry.url)
    plan = plan_comparisons(config, registry, wanted, a=options.a, b=options.b)
    results: list[ComparisonResult] = []
    if plan.tasks:
        registry.check_writable()
        run, results = run_comparisons(config, registry, plan, promote_winners=options.promote, watch=log_comparison)
        if run.status != "finished":
            log.error("%s: nothing was judged%s", run.status, f": {run.reason}" if run.reason else "")
            return run.exit_status
    failures = [*plan.failures.values(), *(one.error for one in results if one.error is not None)]
    if len(failures) == len(wanted):  # nothing could be done: the first failure stands for all
        others = f" ({len(failures) - 1} other models fail, too)" if len(failures) > 1 else ""
        raise type(failures[0])(f"{failures[0]}{others}")
    tested = {
        one.key: (datetime.fromisoformat(one.compared.first), datetime.fromisoformat(one.compared.last))
        for one in results
        if one.verdict is not None
    }
    counted = tried(registry, plan.scored, tested).record()  # these comparisons included
    shared = shared_holdouts(plan, results, registry)
    show(plan, results, options, tried=counted, shared=shared)
    record = {
        "models": registry.url,
        "comparisons": [{**one.record(), "shared_holdout": shared.get(one.key)} for one in results],
        "fleet": fleets(results),
        "tried": counted,
        "same": [asdict(key) for key in plan.same],
        "problems": [{"type": "Note", "message": note} for note in _notes(plan, results)],
        "failures": [{**asdict(key), "message": str(error)} for key, error in plan.failures.items()],
    }
    print_json(options, record)
    return JobError.exit_status if failures else 0


def log_comparison(outcome: Compared) -> None:
    """Log a comparison as it arrives; the verdict waits for all."""
    if outcome.comparison is not None:
        log.info("compared %s on %d rows in %.1f s", outcome.key, outcome.comparison.rows, outcome.seconds)


def _notes(plan: ComparisonPlan, results: Sequence[ComparisonResult]) -> list[str]:
    """Notes on what was found, and what the series of the comparisons warn of, once per kind."""
    return [*plan.notes, *once_per_kind(warning for one in results for warning in one.compared.warnings)]


def shared_holdouts(
    plan: ComparisonPlan, results: Sequence[ComparisonResult], registry: Storage
) -> dict[Key, dict[str, Any]]:
    """Return what is known of version b together with those that share its holdout, where there are enough to rank."""
    found: dict[Key, dict[str, Any]] = {}
    for one in results if len(results) <= MOST_MODELS else ():
        if one.verdict is not None and len(plan.scored[one.key]) >= LEAST_VERSIONS:
            metadata = read_metadata(registry, one.key, one.compared.b)
            if shared := shared_holdout(registry, one.key, metadata, plan.scored[one.key]):
                found[one.key] = shared.record()
    return found


def show(
    plan: ComparisonPlan,
    results: Sequence[ComparisonResult],
    options: argparse.Namespace,
    *,
    tried: Mapping[str, int],
    shared: Mapping[Key, Mapping[str, Any]],
) -> None:
    """Print the verdicts as a table, and log what was not compared, and what was promoted."""
    for note in _notes(plan, results):
        log.warning("%s", note)
    for key in plan.same:
        log.info("%s: %s and %s are one version", key, options.a, options.b)
    for key in sorted(plan.held):
        log.info("%s: b is the challenger, which is undecided so far", key)
    compared = [one for one in results if one.verdict is not None]
    log.info("a is %s, b is %s; a difference below 0 is for b", options.a, options.b)
    if compared and not options.json:
        rows = [one.record() for one in compared]
        level = 100 * (1 - max(row["alpha"] for row in rows))
        columns = [(name.format(level=level), cell) for name, cell in COMPARISONS]
        doubts = {doubt(row) for row in rows}
        caption = "; ".join(text for mark, text in DOUBTS.items() if mark in doubts)
        console().print(text_table(columns, rows, caption=caption))
        console().print(text_table(FLEETS, fleets(compared), caption=tried_in_words(tried)))
    for one in results:
        a, b = one.compared.a, one.compared.b
        moved = {"promoted": f"moved champion from {a} to {b}", "given up": f"gave up the challenger {b}"}
        if one.action in moved:
            log.info("%s: %s", one.key, moved[one.action])
        for warning in one.doubts():
            log.warning("%s: %s", one.key, warning)
    for key, found in shared.items():
        log.info("%s: %s", key, shared_in_words(found))
    for error in (*plan.failures.values(), *(one.error for one in results if one.error is not None)):
        log.error("%s", error)


COMMAND: Final = Command(
    "compare",
    compare,
    "compare two versions on the same bars",
    (
        INPUT,
        replace(
            VERSION,
            names=("--a",),
            help="champion (default), latest, challenger, or a version",
            more={"default": "champion"},
        ),
        replace(VERSION, names=("--b",), help="latest (default), challenger, or a version", more={"default": LATEST}),
        replace(
            START, names=("--since",), help="first bar, inclusive (default: the first that neither version has seen)"
        ),
        flag("--promote", "move the champion where the comparison is for it"),
        MODELS,
        *FILTER_ARGUMENTS,
        CONFIG,
        SET,
        METRICS,
        JSON,
    ),
    TEXT,
)
