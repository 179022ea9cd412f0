"""The command line: arguments to settings, one function a command, errors to one line and an exit status."""

import argparse
import logging
from collections.abc import Sequence
from typing import Final

from job.cli import compare, models, predict, synth
from job.cli import train as training
from job.cli.options import EPILOG
from job.cli.report import configure_logging, log
from job.core.errors import JobError

INTERRUPTED: Final = 130
PROGRAM: Final = "python job/main.py"


def main(arguments: Sequence[str], *, program: str = PROGRAM) -> int:
    """Run one command and return its exit status; user errors become one line on stderr.

    `program` is what the help calls the program.
    """
    options = parse(arguments, program=program)
    configure_logging("info")
    try:
        status: int = options.command(options)
    except JobError as error:
        log.error("%s", error, exc_info=log.isEnabledFor(logging.DEBUG))
        return error.exit_status
    except KeyboardInterrupt:
        log.error("interrupted")
        return INTERRUPTED
    return status


def parse(arguments: Sequence[str], *, program: str = PROGRAM) -> argparse.Namespace:
    """Return the options, with `command` the function to call; a bare call trains."""
    parser = argparse.ArgumentParser(
        prog=program,
        description="Train, score and version models of OHLCV bars.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for group in (training, predict, models, compare, synth):
        group.register(commands)
    named = arguments and (not arguments[0].startswith("-") or arguments[0] in {"-h", "--help"})
    return parser.parse_args(arguments if named else ["train", *arguments])
