"""What a person sees while a run goes on: a progress bar on a terminal, plain log lines elsewhere."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

from job.cli.logs import JsonLine, log
from job.cli.report import outcome_line
from job.core.log_fields import of_model
from job.registry.outcome import Outcome


@contextmanager
def watching(total: int, *, step: str = "training") -> Iterator[Callable[[Outcome], None]]:
    """Yield a function that shows each outcome: on a progress bar if stderr is a terminal, else as a log line."""
    console = Console(stderr=True)
    in_json = any(isinstance(handler.formatter, JsonLine) for handler in logging.getLogger().handlers)
    on_terminal = console.is_terminal and not in_json  # beside lines of JSON, stderr shows nothing else
    columns = (
        TextColumn(step), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
    )  # fmt: skip
    done = 0
    with Progress(*columns, console=console, transient=True, disable=not on_terminal) as progress:
        bar = progress.add_task("starting Ray", total=total)

        def show(outcome: Outcome) -> None:
            nonlocal done
            done += 1
            progress.update(bar, advance=1, description=str(outcome.key))
            level, text = outcome_line(outcome)
            traceback = (outcome.error or {}).get("traceback", "").splitlines()  # kept under `logging_level: debug`
            if on_terminal:
                for line in (text, *traceback) if outcome.status == "failed" else ():
                    console.print(Text(line, style="red"), soft_wrap=True)
                return
            about = of_model(outcome.key, status=outcome.status, attempt=outcome.attempts)
            log.log(level, "%s", f"{done}/{total} {text}", extra=about)
            for line in traceback:
                log.error("%s", line, extra=about)

        yield show
