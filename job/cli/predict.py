"""The command that predicts with stored models."""

import argparse
from dataclasses import replace
from typing import Final

from job.cli.arguments import (
    CONFIG,
    DRY_RUN,
    END,
    GROUP_BY,
    INPUT,
    JSON,
    METRICS,
    MODEL_TYPES,
    MODELS,
    SET,
    START,
    SYMBOLS,
    TIMEFRAMES,
    VERSION,
    Argument,
    Command,
    flag,
)
from job.cli.logs import log
from job.cli.options import settings, split_names, timeframe_names
from job.cli.progress import watching
from job.cli.report import count_in_words, print_record, show_predictions
from job.core.paths import redact_url, require_disjoint, resolve_output
from job.predict.plan import PredictionPlan, Request
from job.predict.plan import plan as plan_predictions
from job.predict.run import run as run_predictions

TEXT: Final = """Predict every closed bar past warm-up with the models of a registry: one Parquet file per series and
model, EXCHANGE/SYMBOL/TIMEFRAME/MODEL_TYPE/predictions.parquet. What is current is left as it is."""


def predict(options: argparse.Namespace) -> int:
    """Predict, show the result, and return the run's exit status."""
    config = settings(options)
    models, source = config.model_trainer.model_directory, redact_url(config.data.input or "")
    output = require_disjoint(resolve_output(options.output, chosen=True), models, source)
    request = Request(
        output,
        version=options.version,
        model_types=split_names(options.model_types),
        timeframes=timeframe_names(options.timeframes),
        allow_pickle=options.allow_pickle,
    )
    plan = plan_predictions(config, request)
    for note in plan.notes:
        log.info(note)
    statuses = [one.status for one in plan.settled]
    counts = {
        "current": statuses.count("current"),
        "that cannot be made": statuses.count("failed"),
        "to predict": len(plan.tasks),
    }
    to_do = f"{plan.total} files: {count_in_words(counts) or 'none'}"
    log.info("%s by %s of %s into %s: %s", source, request.version, models, output, to_do)
    if options.dry_run:
        plan = PredictionPlan((), plan.settled, plan.problems, plan.notes)
    with watching(len(plan.tasks), step="predicting") as watch:
        record = run_predictions(config, request, plan, watch=watch)
    show_predictions(record)
    print_record(options, record)
    return record.exit_status


COMMAND: Final = Command(
    "predict",
    predict,
    "predict bars with stored models",
    (
        MODELS,
        INPUT,
        Argument(("--output",), "folder or URL that the predictions go to", "URL", more={"required": True}),
        VERSION,
        START,
        END,
        SYMBOLS,
        TIMEFRAMES,
        MODEL_TYPES,
        replace(GROUP_BY, help="as at training; `timeframe` takes the models over all series"),
        CONFIG,
        SET,
        flag("--allow-pickle", "load models stored as .pkl, which can run any code"),
        DRY_RUN,
        METRICS,
        JSON,
    ),
    TEXT,
)
