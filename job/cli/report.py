"""What a person sees of a run: a progress bar and tables on a terminal, plain log lines elsewhere."""

import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from job.core.keys import kind_order
from job.learning.metrics import scores_shown
from job.train.plan import Plan
from job.train.record import RunRecord
from job.train.run import Watcher
from job.worker.outcome import Outcome

log = logging.getLogger("job")

LineOf = Callable[[Outcome, str], tuple[int, str]]
MAX_ROWS: Final = 40
"""Tables of single models stop here; the run record has them all."""


class OneLine(logging.Formatter):
    """Writes a record on one line: names out of files and folders may hold line ends and escape sequences."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the library's name
        """Return the line with all that cannot be printed written out."""
        record.message = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in record.message)
        return super().formatMessage(record)


def configure_logging(level: str) -> None:
    """Send the job's log lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(handlers=[handler], force=True)
    logging.getLogger().setLevel(logging.WARNING)
    log.setLevel(level.upper())


@contextmanager
def watching(total: int, *, step: str = "training", line_of: LineOf | None = None) -> Iterator[Watcher]:
    """Give a function that shows each outcome: on a progress bar if stderr is a terminal, else as a log line.

    `line_of` gives an outcome's log level and text; by default those of a model that was trained.
    """
    line_of = line_of or _line
    console = Console(stderr=True)
    if not console.is_terminal:
        done = 0

        def line(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            log.log(*line_of(outcome, f"{done}/{total} "))
            for text in _trace(outcome):
                log.error(text)

        yield line
        return
    columns = (
        TextColumn(step), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting Ray", total=total)

        def advance(outcome: Outcome) -> None:
            progress.update(bar, advance=1, description=str(outcome.key))
            if outcome.status == "failed":
                for text in (line_of(outcome, "")[1], *_trace(outcome)):
                    progress.console.print(Text(text, style="red"), soft_wrap=True)

        yield advance


def to_do(plan: Plan) -> str:
    """Return what a settled plan has to do, in words: `80 models: 75 current, 5 to train`."""
    checks = sum(task.to_check for task in plan.tasks)
    parts = {"current": len(plan.current), "to train": len(plan.tasks) - checks, "to check": checks}
    return f"{plan.total} models: {', '.join(f'{count} {what}' for what, count in parts.items() if count) or 'none'}"


def _line(outcome: Outcome, prefix: str) -> tuple[int, str]:
    """Return the log level and text for an outcome."""
    if outcome.error is not None:
        return logging.ERROR, f"{prefix}failed {outcome.key}: {outcome.error['message']}"
    scores = outcome.scores
    loss, base = _number(scores["log_loss"], 4), _number(scores["base_log_loss"], 4)
    return logging.INFO, (
        f"{prefix}{outcome.status} {outcome.key}: log-loss {loss} (base {base}), "
        f"skill {_percent(scores['skill'])} {_interval(scores)}, {outcome.rows} rows, {outcome.seconds:.1f} s"
    )


def _trace(outcome: Outcome) -> list[str]:
    """Return the lines of an error's traceback, which is kept under `logging_level: debug`."""
    return (outcome.error or {}).get("traceback", "").splitlines()


def show_result(record: RunRecord) -> None:
    """Print the result: tables if stdout is a terminal, log lines elsewhere, and every warning once."""
    for warning in sorted({warning for outcome in record.outcomes for warning in outcome.warnings}):
        log.warning(warning)
    for problem in record.problems:
        log.error(problem)
    summary = record.as_dict()
    console = Console()
    if console.is_terminal:
        if len(record.outcomes) <= MAX_ROWS:
            console.print(models_table(record.outcomes, width=console.width))
        console.print(fleet_table(summary["fleet"]))
    else:
        for row in summary["fleet"]:
            log.info("fleet %s %s: %s", row["model_type"], row["timeframe"], _fleet_line(row))
    if record.reason:
        log.error("%s: %s", record.status, record.reason)
    counts = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in summary["counts"].items() if count)
    log.info("run %s %s: %s; models in %s", record.run_id, record.status, counts or "nothing to do", summary["output"])


def models_table(outcomes: Iterable[Outcome], *, width: int = 200) -> Table:
    """Return one row a model; where less than `width` columns of text fit, the most telling scores only."""
    members = sorted(outcomes, key=lambda outcome: (outcome.exchange, outcome.symbol, *kind_order(outcome)))
    redact_url = [column for column in _model_columns() if width >= column.from_width]
    rows = [_model_cells(one, redact_url) for one in members]
    names = ["model", *(column.name for column in redact_url)]
    taken = sum(GAP + max(map(len, column)) for column in zip(names, *rows, strict=True))
    table = Table(
        title="holdout scores, shrunk probabilities",
        title_justify="left",
        caption="* underpowered: too few independent blocks to rely on the interval",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, GAP - 1, 0, 0),
    )
    table.add_column("series", no_wrap=True)
    for name in names:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for one, cells in zip(members, rows, strict=True):
        series = Text(f"{one.exchange}/{one.symbol}")
        series.truncate(max(width - taken - GAP - 2, len("series")), overflow="ellipsis")
        table.add_row(series, *cells, style="red" if one.error is not None else None)
    return table


def _model_cells(one: Outcome, redact_url: Sequence["ModelColumn"]) -> list[str]:
    model = f"{one.model_type} {one.timeframe}"
    if one.error is not None:
        return [model, "failed", *("" for _ in redact_url[1:])]
    return [model, *(column.cell(one) for column in redact_url)]


@dataclass(frozen=True)
class ModelColumn:
    """A column of the table of models, shown on terminals of at least `from_width` characters."""

    name: str
    cell: Callable[[Outcome], str]
    from_width: int = 0


def _score(name: str, digits: int) -> Callable[[Outcome], str]:
    return lambda one: _number(one.scores.get(name), digits)


def _skill(one: Outcome) -> str:
    scores = one.scores
    interval = f"[{_percent(scores['skill_low'])}, {_percent(scores['skill_high'])}]"
    return f"{_percent(scores['skill'])} {interval}{'*' if scores['underpowered'] else ' '}"


COMPARED: Final[Mapping[str, Sequence[ModelColumn]]] = {
    "accuracy": (ModelColumn("base", _score("base_accuracy", 3), 112),),
    "log_loss": (
        ModelColumn("base", _score("base_log_loss", 4)),
        ModelColumn("logistic", _score("benchmark_log_loss", 4), 112),
        ModelColumn("skill [95%]", _skill),
    ),
}
"""What stands beside a score: the same of the base rate and of the benchmark, and what it comes to."""


def _model_columns() -> Iterator[ModelColumn]:
    yield ModelColumn("rows", lambda one: f"{one.rows:,}", 135)
    for score in scores_shown("table"):
        from_width = 0 if score.name == "log_loss" else 112
        yield ModelColumn(score.title or score.name, _score(score.name, score.digits), from_width)
        yield from COMPARED.get(score.name, ())
    yield ModelColumn("s", lambda one: f"{one.seconds:.1f}", 135)


GAP: Final = 2
"""Blanks between two columns."""


def fleet_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    """Return one row a kind and timeframe."""
    table = Table(title="all models of a kind against their base rates", title_justify="left")
    for name in ("model", "models", "beat base", "change of log-loss", "z (below 0 is skill)"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        table.add_row(
            f"{row['model_type']} {row['timeframe']}", str(row["models"]), str(row["beat_base"]),
            _number(row["change"], 5), _number(row["z"], 1),
        )  # fmt: skip
    return table


def show_plan(described: Mapping[str, Any]) -> None:
    """Print what a run would do, one row a kind and timeframe."""
    title = f"{described['models']} models, about {described['cpu_seconds']} CPU seconds to go"
    table = Table(title=title, title_justify="left")
    for name in ("model", "current", "to check", "to train", "rows", "CPU s", "peak MB a task"):
        table.add_column(name, justify="left" if name == "model" else "right")
    for kind in described["kinds"]:
        table.add_row(
            f"{kind['model_type']} {kind['timeframe']}",
            *(str(kind[name]) for name in ("current", "to_check", "to_train")),
            f"{kind['rows']:,}", str(kind["cpu_seconds"]), str(kind["peak_mb_a_task"]),
        )  # fmt: skip
    Console().print(table)


def _fleet_line(row: Mapping[str, Any]) -> str:
    return (
        f"{row['beat_base']} of {row['models']} beat their base rate, "
        f"change of log-loss {_number(row['change'], 5)}, z {_number(row['z'], 1)}"
    )


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{value:+.2%}"


def _interval(scores: Mapping[str, float | None]) -> str:
    text = f"[{_percent(scores['skill_low'])}, {_percent(scores['skill_high'])}]"
    return f"{text} underpowered" if scores["underpowered"] else text
