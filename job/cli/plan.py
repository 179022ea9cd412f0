"""The command that says what training would do."""

import argparse
from typing import Any, Final

from job.cli.arguments import RUN, Command
from job.cli.logs import log
from job.cli.options import run_settings
from job.cli.report import gap_lines, print_json
from job.cli.tables import console, totals_table
from job.core.keys import kind_order
from job.core.wording import once_per_kind
from job.sources.problems import summarize
from job.train.plan import plan as plan_training
from job.train.task import Plan


def plan(options: argparse.Namespace) -> int:
    """Print what train would do; 1 where there are files that no model can be made of."""
    config = run_settings(options)
    planned = plan_training(config, force=options.force, verify=options.verify)
    for note in planned.notes:
        log.info(note)
    for warning in once_per_kind(warning for outcome in planned.current for warning in outcome.warnings):
        log.warning(warning)
    for line in gap_lines(planned.current):
        log.info(line)
    for message in summarize(planned.problems):
        log.error("%s", message)
    described = describe_plan(planned)
    columns = ("model", "current", "to check", "to train", "rows", "CPU s", "peak MB a task")
    cells = [
        (
            f"{kind['model_type']} {kind['timeframe']}",
            *(str(kind[name]) for name in ("current", "to_check", "to_train")),
            f"{kind['rows']:,}", str(kind["cpu_seconds"]), str(kind["peak_mb_a_task"]),
        )
        for kind in described["kinds"]
    ]  # fmt: skip
    title = f"{described['models']} models, about {described['cpu_seconds']} CPU seconds to go"
    console().print(totals_table(title, columns, cells))
    print_json(options, described)
    return 1 if planned.problems else 0


def describe_plan(plan: Plan) -> dict[str, Any]:
    """Return what a run would do, in all and per kind and timeframe.

    `models` asked for are `current`, `to_check` or `to_train`; for the last two there are the estimated `rows`,
    `cpu_seconds` and, of the largest, `peak_mb_a_task`.
    """
    kinds = []
    for kind in sorted({key.stem: key for key in plan.keys}.values(), key=kind_order):
        tasks = [task for task in plan.tasks if task.key.stem == kind.stem]
        held = sum(outcome.key.stem == kind.stem for outcome in plan.current)
        checks = sum(task.to_check for task in tasks)
        row: dict[str, Any] = {
            "model_type": kind.model_type,
            "timeframe": kind.timeframe,
            "models": held + len(tasks),
            "current": held,
            "to_check": checks,
            "to_train": len(tasks) - checks,
            "rows": sum(task.rows for task in tasks),
            "cpu_seconds": round(sum(task.seconds for task in tasks), 1),
            "peak_mb_a_task": round(max((task.memory for task in tasks), default=0) / 2**20),
        }
        kinds.append(row)
    totals = {name: sum(one[name] for one in kinds) for name in ("models", "current", "to_check", "to_train", "rows")}
    return {**totals, "cpu_seconds": round(sum(task.seconds for task in plan.tasks), 1), "kinds": kinds}


COMMAND: Final = Command("plan", plan, "say what train would do: models, rows, seconds and memory; trains nothing", RUN)
