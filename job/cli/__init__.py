"""The command line: one file per command, listed in `COMMANDS`; errors become one line and an exit status."""

import argparse
import gc
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Final

from job.cli import compare, doctor, features, html_report, models, plan, predict, reindex, synth, train, tune, watch
from job.cli.arguments import COMMON, Command, CommandGroup
from job.cli.logs import FORMAT_VARIABLE, configure_logging, log
from job.core.errors import ConfigError, JobError

COMMANDS: Final = (
    train.COMMAND,
    plan.COMMAND,
    tune.COMMAND,
    doctor.COMMAND,
    predict.COMMAND,
    watch.COMMAND,
    models.COMMANDS,
    html_report.COMMAND,
    features.COMMANDS,
    reindex.COMMAND,
    compare.COMMAND,
    synth.COMMAND,
)

EPILOG: Final = """exit status: 0 all of it is done, or was before; 1 some of it failed, the rest is done and kept;
2 bad usage or configuration; 3 no usable data; 130 interrupted"""
INTERRUPTED: Final = 130
PROGRAM: Final = "python job/main.py"
NEW_OBJECTS: Final = 100_000
"""How many objects are made before Python looks for cycles among them: at its own 700, a sixth of a plan of 50,000
models is spent looking at tasks and summaries, which hold none."""


def main(arguments: Sequence[str], *, program: str = PROGRAM) -> int:
    """Run one command and return its exit status; user errors become one line on stderr.

    `program` is what the help calls the program.
    """
    gc.set_threshold(NEW_OBJECTS)
    options = parse(arguments, program=program)
    configure_logging("info", options.log_format or os.environ.get(FORMAT_VARIABLE))
    try:
        for argument in options.command.arguments:
            value = getattr(options, argument.attribute)
            if isinstance(value, str) and value != argument.more.get("default") and not value.strip(" ,"):
                # An empty variable of a shell must not mean everything.
                raise ConfigError(f"{argument.names[0]} is empty: give a value, or leave the argument out")
        status: int = options.command.run(options)
    except JobError as error:
        log.error("%s", error, exc_info=log.isEnabledFor(logging.DEBUG))
        return error.exit_status
    except KeyboardInterrupt:
        log.error("interrupted")
        return INTERRUPTED
    return status


def parse(arguments: Sequence[str], *, program: str = PROGRAM) -> argparse.Namespace:
    """Return the options, with `command` the `Command` to run; a bare call trains."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train, score and version models of OHLCV bars.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add(parser, COMMANDS, what="command")
    named = arguments and (not arguments[0].startswith("-") or arguments[0] in {"-h", "--help"})
    return parser.parse_args(arguments if named else [train.COMMAND.name, *arguments])


def _add(parser: argparse.ArgumentParser, commands: Iterable[Command | CommandGroup], *, what: str) -> None:
    """Let `parser` take one of `commands`."""
    added = parser.add_subparsers(metavar=what, required=True)
    for command in commands:
        own = added.add_parser(
            command.name,
            help=command.summary,
            description=command.text or command.summary,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if isinstance(command, CommandGroup):
            _add(own, command.commands, what="action")
            continue
        own.set_defaults(command=command)
        for argument in (*command.arguments, *COMMON):
            more = argument.more if argument.metavar is None else {**argument.more, "metavar": argument.metavar}
            own.add_argument(*argument.names, help=argument.help, **more)
