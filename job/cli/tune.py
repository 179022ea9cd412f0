"""The command that tries settings of models, for training to use."""

import argparse
from typing import Any, Final

from job.cli.arguments import (
    CONFIG,
    DRY_RUN,
    END,
    INPUT,
    JSON,
    LOOKBACK_DAYS,
    METRICS,
    MODEL_TYPES,
    OUTPUT,
    SET,
    START,
    SYMBOLS,
    TIMEFRAMES,
    Argument,
    Command,
    flag,
)
from job.cli.logs import log
from job.cli.options import run_settings
from job.cli.progress import watching
from job.cli.report import log_problems, print_json, print_record
from job.cli.tables import console, number, totals_table
from job.core.keys import kind_order
from job.core.paths import redact_url
from job.registry.studies import study_title
from job.tune.plan import TuningPlan
from job.tune.plan import plan as plan_tuning
from job.tune.run import TuningRecord, planned_outcomes, run

TEXT: Final = """Try settings of each kind of model and timeframe on the purged folds of a sample of series. The holdout
is never looked at. A winner replaces the default only where what it saves is no accident, and what is finished is never
tried again: a study that was stopped goes on where it was. `train --tuned` trains with the winners."""


def tune(options: argparse.Namespace) -> int:
    """Tune, show what was chosen, and return the run's exit status."""
    config = run_settings(options)
    if options.per_key:
        log.warning(
            "--per-key chooses settings for each series by itself, from little evidence: what wins there may win by "
            "chance"
        )
    plan = plan_tuning(config, per_key=options.per_key)
    for note in plan.notes:
        log.info(note)
    source, models = redact_url(config.data.input or ""), config.model_trainer.model_directory
    total, finished = len(plan.studies) + len(plan.finished), len(plan.finished)
    log.info("%s into %s: %d to tune, %d of them finished", source, models, total, finished)
    if options.dry_run:
        for study in plan.studies:
            log.info("%s: %d trials on %d series, of %s", study, study.trials, len(study.tasks), ", ".join(study.space))
        print_json(options, describe_plan(plan))
        return 1 if plan.problems else 0
    with watching(planned_outcomes(plan), step="tuning") as watch:
        record = run(config, plan, watch=watch)
    show(record)
    print_record(options, record)
    return record.exit_status


def describe_plan(plan: TuningPlan) -> dict[str, Any]:
    """Return what a run would do, as JSON values; seconds are of CPU, and at most."""
    studies = [
        {
            "study": str(study),
            "algorithm": study.spec.algorithm,
            "trials": study.trials,
            "series": len(study.tasks),
            "cpu_seconds": round(sum(task.seconds for task in study.tasks), 1),
            "peak_mb_a_task": round(max(task.memory for task in study.tasks) / 2**20),
        }
        for study in plan.studies
    ]
    return {"studies": studies, "finished": [one.study for one in plan.finished]}


def show(record: TuningRecord) -> None:
    """Print what studies chose, and every warning and problem once."""
    log_problems(record)
    winners = sorted(record.winners, key=lambda one: (*kind_order(one), one.key))
    columns = ("study", "trials", "given up", "series", "best saves", "error", "needed", "chosen")
    cells = []
    for one in winners:
        params = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in one.params.items()
        ]
        row = (
            study_title(one.key), str(one.trials), str(one.pruned), str(one.series), f"{one.gain:+.5f}",
            number(one.error, 5), number(one.required, 5), ", ".join(params) or "the default",
        )  # fmt: skip
        cells.append(row)
    if winners:
        console().print(totals_table("nats per row out of fold against the default", columns, cells))
    if record.reason:
        log.error("%s: %s", record.status, record.reason)
    log.info("run %s %s: %d studies in %s", record.run_id, record.status, len(winners), record.about["output"])


COMMAND: Final = Command(
    "tune",
    tune,
    "try settings of models, for `train --tuned` to use",
    (
        INPUT,
        OUTPUT,
        CONFIG,
        SYMBOLS,
        TIMEFRAMES,
        MODEL_TYPES,
        LOOKBACK_DAYS,
        START,
        END,
        Argument(
            ("--trials",), "settings to try in each study, the default included (default: 20)", "N", "tune.trials"
        ),
        Argument(("--series",), "series that each study looks at, spread evenly (default: 16)", "N", "tune.series"),
        flag("--per-key", "a study for every series by itself"),
        DRY_RUN,
        SET,
        METRICS,
        JSON,
    ),
    TEXT,
)
