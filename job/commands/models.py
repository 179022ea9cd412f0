"""Commands on a store of models: reindex."""

import argparse
from pathlib import Path
from typing import Final

from job.commands.options import Commands, add_command
from job.config import load_config, merge, read_settings
from job.errors import DataError
from job.report import log
from job.runs.resuming import open_store
from job.store import key_of, rebuild
from job.trainer import resolved

REINDEX: Final = """Make the catalogue of a model store anew from the metadata of every version.
It is a cache: nothing is lost with it, and the next run needs it only to be fast."""


def register(commands: Commands) -> None:
    """Add the commands to the command line."""
    parser = add_command(commands, "reindex", reindex, summary="make the store's catalogue anew", text=REINDEX)
    parser.add_argument("--output", metavar="URL", help="folder or URL of the model store (default: ./models)")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings, such as storage.options")


def reindex(options: argparse.Namespace) -> int:
    """Make the catalogue of a store anew and count its versions; 1 if some have damaged metadata, which is named."""
    values = read_settings(Path(options.config)) if options.config else {}
    if options.output:
        values = merge(values, "model_trainer.model_directory", options.output)
    store = open_store(resolved(load_config(values)))
    if not store.list():
        raise DataError(f"{store.url} holds nothing: name the model store with --output")
    rebuilt = rebuild(store)
    for problem in rebuilt.problems:
        log.error(problem)
    found = {key_of(one) for one in rebuilt.summaries}
    log.info("%s: %d versions of %d models", store.url, len(rebuilt.summaries), len(found))
    return 1 if rebuilt.problems else 0
