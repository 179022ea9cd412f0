"""The command that shows a registry as pictures, in one HTML file."""

import argparse
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Final

from job.cli.arguments import CONFIG, JSON, MODELS, Argument, Command, flag
from job.cli.logs import log
from job.cli.options import settings
from job.cli.report import print_json
from job.cli.selection import named
from job.core.errors import ConfigError
from job.core.paths import is_url
from job.registry.catalog import keys, open_registry

TEXT: Final = """Show a model registry as pictures, each with what would be suspicious, in one HTML file that needs no
network. The file is made from the registry alone, so of whatever trained there."""


def report(options: argparse.Namespace) -> int:
    """Write the report of a registry, of one of its runs, or of one of its models, and open it where that is asked."""
    from job.report.theme import check_extra  # noqa: PLC0415 - only this command, and `train --report`, need it

    check_extra()
    from job.report.write import report_of  # noqa: PLC0415 - altair takes half a second to import

    if is_url(options.output):
        raise ConfigError(f"--output {options.output}: give a local file; `train --report` writes into the registry")
    registry = open_registry(settings(options))
    key = named(keys(registry), [options.key], where=registry.url)[0] if options.key else None
    made = report_of(registry, run_id=options.run, key=key)
    target = Path(options.output).expanduser().absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(made.html, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--output {target} cannot be written: {error.strerror}") from None
    size = target.stat().st_size
    log.info("%s: %s bytes", target, f"{size:,}")
    if options.open and not webbrowser.open(target.as_uri()):
        log.warning("no browser could be started: open %s by yourself", target)
    print_json(options, {"models": registry.url, "report": str(target), "bytes": size})
    return 0


COMMAND: Final = Command(
    "report",
    report,
    "show a registry as pictures, in one HTML file",
    (
        MODELS,
        replace(CONFIG, help="settings, such as storage.options"),
        Argument(("--run",), "the models of this run, by its id (default: the latest of each model)", "ID"),
        Argument(("--key",), "one model, as `models list` names it: binance/BTCUSDT/analyst_1h", "KEY"),
        Argument(("--output",), "file to write (default: report.html)", "FILE", more={"default": "report.html"}),
        flag("--open", "open it in a browser"),
        JSON,
    ),
    TEXT,
)
