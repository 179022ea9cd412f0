"""The command that predicts with stored models."""

import argparse
import json
import logging
from collections.abc import Iterable, Sequence
from typing import Final

from rich.console import Console
from rich.table import Table

from job.cli.options import Commands, add_command, given
from job.cli.report import log, watching
from job.core.keys import kind_order
from job.core.paths import redact_url, require_disjoint, resolve_output
from job.predict.plan import PredictionPlan, Request
from job.predict.plan import plan as plan_predictions
from job.predict.run import run as run_predictions
from job.predict.task import Predicted
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.registry.versions import LATEST

FLAGS: Final = {
    "models": "model_trainer.model_directory",
    "input": "data.input",
    "symbols": "data.symbols",
    "start": "data.start",
    "end": "data.end",
    "group_by": "model_trainer.group_by",
}
"""Arguments that are short for one setting."""

TEXT: Final = """Predict every closed bar past warm-up with the models of a registry: one Parquet file a series and model,
exchange=.../symbol=.../timeframe=.../model_type=.../predictions.parquet. What is current is left as it is."""


def register(commands: Commands) -> None:
    """Add the command to the command line."""
    add = add_command(commands, "predict", predict, summary="predict bars with stored models", text=TEXT).add_argument
    add("--models", metavar="URL", help="folder or URL of the model registry (default: ./models)")
    add("--input", metavar="URL", help="file, folder, glob or URL of bars (default: the bundled sample)")
    add("--output", metavar="URL", required=True, help="folder or URL that the predictions go to")
    add("--version", metavar="NAME", default=LATEST, help="latest, an alias, a version, or the run that made it")
    add("--start", metavar="D", help="first bar to predict, inclusive; those before it warm up")
    add("--end", metavar="D", help="last bar, exclusive")
    add("--symbols", metavar="A,B", help="only these symbols")
    add("--timeframes", metavar="1h,15m", help="only models of these timeframes")
    add("--model-types", metavar="analyst,tactician", help="only these kinds of model")
    add("--group-by", metavar="timeframe", help="as at training; `timeframe` takes the models over all series")
    add("--config", metavar="FILE.yaml", help="settings; flags and --set win over them")
    add("--set", metavar="dotted.key=value", action="append", default=[], help="any setting; the value is YAML")
    add("--allow-pickle", action="store_true", help="load models stored as .pkl, which can run any code")
    add("--dry-run", action="store_true", help="say what would be predicted, and predict nothing")
    add("--json", action="store_true", help="print the run record as one JSON object, the last line of stdout")


def predict(options: argparse.Namespace) -> int:
    """Predict, show the result, and return the run's exit status."""
    config = given(options, FLAGS)
    models, source = config.model_trainer.model_directory, redact_url(config.data.input or "")
    output = require_disjoint(resolve_output(options.output, chosen=True), models, source)
    request = Request(
        output,
        version=options.version,
        model_types=_names(options.model_types),
        timeframes=_names(options.timeframes),
        allow_pickle=options.allow_pickle,
    )
    plan = plan_predictions(config, request)
    for note in plan.notes:
        log.info(note)
    log.info("%s by %s of %s into %s: %s", source, request.version, models, output, _to_do(plan))
    if options.dry_run:
        plan = PredictionPlan((), plan.settled, plan.problems)
    with watching(len(plan.tasks), step="predicting", line_of=_line) as watch:
        record = run_predictions(config, request, plan, watch=watch)
    show(record)
    if options.json:
        print(json.dumps(record.as_dict()))  # noqa: T201 - the promised last line
    return record.exit_status


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (given or "").split(",") if name.strip())


def _to_do(plan: PredictionPlan) -> str:
    """Return what a plan has to do, in words: `80 files: 75 current, 5 to predict`."""
    statuses = [one.status for one in plan.settled]
    parts = {
        "current": statuses.count("current"),
        "that cannot be made": statuses.count("failed"),
        "to predict": len(plan.tasks),
    }
    return f"{plan.total} files: {', '.join(f'{count} {what}' for what, count in parts.items() if count) or 'none'}"


def _line(outcome: Outcome, prefix: str) -> tuple[int, str]:
    """Return the log level and text for an outcome."""
    if outcome.error is not None:
        return logging.ERROR, f"{prefix}failed {outcome.key}: {outcome.error['message']}"
    return logging.INFO, (
        f"{prefix}{outcome.status} {outcome.key}: {outcome.rows} rows by {outcome.version}, {outcome.seconds:.1f} s"
    )


def show(record: RunRecord[Predicted]) -> None:
    """Print the result: a table if stdout is a terminal, log lines elsewhere, and every warning once."""
    for warning in sorted({warning for outcome in record.outcomes for warning in outcome.warnings}):
        log.warning(warning)
    for problem in record.problems:
        log.error(problem)
    for outcome in record.failures:
        if outcome.attempts == 1 and (outcome.error or {}).get("where") == "planning":  # others were seen as they came
            log.error(_line(outcome, "")[1])
    console = Console()
    if console.is_terminal:
        console.print(table(record.outcomes))
    else:
        for cells in _kinds(record.outcomes):
            log.info("{}: {} predicted, {} current, {} failed, {} rows, {} bars left out".format(*cells))
    counts = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in record.counts.items() if count)
    log.info(
        "run %s %s: %s; predictions in %s",
        record.run_id,
        record.status,
        counts or "nothing to do",
        record.about["output"],
    )


def table(outcomes: Iterable[Predicted]) -> Table:
    """Return one row a kind of model and timeframe."""
    made = Table(title="predictions", title_justify="left")
    for name in ("model", "predicted", "current", "failed", "rows", "bars left out"):
        made.add_column(name, justify="left" if name == "model" else "right")
    for cells in _kinds(list(outcomes)):
        made.add_row(*cells)
    return made


def _kinds(outcomes: Sequence[Predicted]) -> list[tuple[str, ...]]:
    """Return model, files predicted, current and failed, rows, and real bars that are not predicted, of every kind."""
    rows = []
    for kind in sorted({one.key.stem: one.key for one in outcomes}.values(), key=kind_order):
        own = [one for one in outcomes if one.key.stem == kind.stem]
        statuses = [one.status for one in own]
        left_out = sum(one.counts.get(what, 0) for one in own for what in ("warmup", "not_finite", "low_coverage"))
        counts = (*(statuses.count(status) for status in ("predicted", "current", "failed")),)
        numbers = (*map(str, counts), f"{sum(one.rows for one in own):,}", f"{left_out:,}")
        rows.append((f"{kind.model_type} {kind.timeframe}", *numbers))
    return rows
