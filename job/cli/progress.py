"""What a person sees while a run goes on: a progress bar on a terminal, plain log lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from job.cli.logs import log
from job.cli.report import training_line
from job.registry.outcome import Outcome

LineOf: TypeAlias = Callable[[Outcome], tuple[int, str]]
"""Gives the log level and the text for an outcome."""


@contextmanager
def watching(
    total: int, *, step: str = "training", line_of: LineOf = training_line
) -> Iterator[Callable[[Outcome], None]]:
    """Give a function that shows each outcome: on a progress bar if stderr is a terminal, else as a log line."""
    console = Console(stderr=True)
    if not console.is_terminal:
        done = 0

        def log_outcome(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            level, text = line_of(outcome)
            log.log(level, "%s", f"{done}/{total} {text}")
            for line in _traceback(outcome):
                log.error("%s", line)

        yield log_outcome
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
                for text in (line_of(outcome)[1], *_traceback(outcome)):
                    progress.console.print(Text(text, style="red"), soft_wrap=True)

        yield advance


def _traceback(outcome: Outcome) -> list[str]:
    """Return the lines of an error's traceback, which is kept under `logging_level: debug`."""
    return (outcome.error or {}).get("traceback", "").splitlines()
