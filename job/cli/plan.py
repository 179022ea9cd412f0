"""The command that says what training would do."""

import argparse
from collections import Counter
from dataclasses import asdict
from typing import Any, Final

from job.cli.arguments import RUN, Command
from job.cli.logs import log
from job.cli.options import run_settings
from job.cli.report import MAX_ROWS, gap_lines, print_json
from job.cli.tables import console, key_in, totals_table
from job.core.wording import once_per_kind
from job.sources.problems import summarize
from job.train.plan import plan as plan_training
from job.train.task import Plan, Task
from transforms.bars import duration_us

ANSWERS: Final = ("current", "fresh_enough", "to_check", "to_train")


def plan(options: argparse.Namespace) -> int:
    """Print what train would do; 1 where there are files that no model can be made of."""
    config = run_settings(options)
    planned = plan_training(config, force=options.force, verify=options.verify)
    for note in planned.notes:
        log.info(note)
    for warning in once_per_kind(warning for outcome in planned.settled for warning in outcome.warnings):
        log.warning(warning)
    for line in gap_lines(planned.settled):
        log.info(line)
    for message in summarize(planned.problems):
        log.error("%s", message)
    described = describe_plan(planned, policy=config.retrain.is_set)
    # What a retrain policy, if there is one, says of each model.
    ends = {"bars": "bars until {}", "time": "{}"}
    for one in described["answers"][:MAX_ROWS]:
        until = " or ".join(ends[name].format(end.removesuffix("+00:00")) for name, end in one["until"].items())
        answer = f"{one['answer'].replace('_', ' ')}: {one['why']}"
        log.info("%s: %s%s", key_in(one), answer, until and f"; until {until}")
    if (more := len(described["answers"]) - MAX_ROWS) > 0:
        log.info("and %d more: --json has them all", more)
    answers = [name for name in ANSWERS if name != "fresh_enough" or config.retrain.is_set]
    columns = ("model", *(name.replace("_", " ") for name in answers), "rows", "CPU s", "peak MB a task")
    cells = [
        (
            f"{kind['model_type']} {kind['timeframe']}",
            *(str(kind[name]) for name in answers),
            f"{kind['rows']:,}", str(kind["cpu_seconds"]), str(kind["peak_mb_a_task"]),
        )
        for kind in described["kinds"]
    ]  # fmt: skip
    title = f"{described['models']} models, about {described['cpu_seconds']} CPU seconds to go"
    console().print(totals_table(title, columns, cells))
    print_json(options, described)
    return 1 if planned.problems else 0


def describe_plan(plan: Plan, *, policy: bool = False) -> dict[str, Any]:
    """Return what a run would do, in all and per kind and timeframe.

    `models` asked for are `current`, `fresh_enough`, `to_check` or `to_train`; for the last two there are the estimated
    `rows`, `cpu_seconds` and, of the largest, `peak_mb_a_task`. Where there is a retrain policy, `answers` has an entry
    for each model that is not current: its answer, why, and until when it is fresh enough.
    """
    left: dict[tuple[str, str], list[Task]] = {}
    for task in plan.tasks:
        left.setdefault((task.key.model_type, task.key.timeframe), []).append(task)
    current, fresh = (Counter((one.model_type, one.timeframe) for one in some) for some in (plan.current, plan.fresh))
    kinds = []
    for kind in sorted({*left, *current, *fresh}, key=lambda kind: (kind[0], -duration_us(kind[1]))):
        tasks = left.get(kind, [])
        checks = sum(task.to_check for task in tasks)
        row: dict[str, Any] = {
            "model_type": kind[0],
            "timeframe": kind[1],
            "models": current[kind] + fresh[kind] + len(tasks),
            "current": current[kind],
            "fresh_enough": fresh[kind],
            "to_check": checks,
            "to_train": len(tasks) - checks,
            "rows": sum(task.rows for task in tasks),
            "cpu_seconds": round(sum(task.seconds for task in tasks), 1),
            "peak_mb_a_task": round(max((task.memory for task in tasks), default=0) / 2**20),
        }
        kinds.append(row)
    totals = {name: sum(one[name] for one in kinds) for name in ("models", *ANSWERS, "rows")}
    seconds = round(sum(task.seconds for task in plan.tasks), 1)
    answers: list[dict[str, Any]] = []
    for one in plan.fresh if policy else ():
        why = {"version": one.version, "why": one.why, "until": one.until}
        answers.append({**asdict(one.key), "answer": "fresh_enough", **why})
    for task in plan.tasks if policy else ():
        answer, version = "to_check" if task.to_check else "to_train", task.held.version if task.held else None
        answers.append({**asdict(task.key), "answer": answer, "version": version, "why": task.why, "until": {}})
    return {**totals, "cpu_seconds": seconds, "kinds": kinds, "answers": answers}


COMMAND: Final = Command("plan", plan, "say what train would do: models, rows, seconds and memory; trains nothing", RUN)
