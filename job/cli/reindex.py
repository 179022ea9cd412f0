"""The command that rebuilds a registry's catalog."""

import argparse
from typing import Final

from job.cli.arguments import CONFIG, JSON, OUTPUT, Command
from job.cli.logs import log
from job.cli.options import settings
from job.cli.report import print_json
from job.core.errors import DataError
from job.registry.catalog import key_of, open_registry, rebuild

TEXT: Final = """Rebuild the catalog of a model registry from the metadata of every version.
It is a cache: nothing is lost with it, and the next run needs it only to be fast."""


def reindex(options: argparse.Namespace) -> int:
    """Rebuild the catalog of a registry and count its versions; 1 if some have damaged metadata, which is named."""
    registry = open_registry(settings(options))
    if not registry.list():
        raise DataError(f"{registry.url} holds nothing: name the model registry with --output")
    rebuilt = rebuild(registry)
    for problem in rebuilt.problems:
        log.error(problem)
    found = {key_of(one) for one in rebuilt.summaries}
    log.info("%s: %d versions of %d models", registry.url, len(rebuilt.summaries), len(found))
    counts = {"versions": len(rebuilt.summaries), "keys": len(found)}
    print_json(options, {"models": registry.url, **counts, "problems": [str(problem) for problem in rebuilt.problems]})
    return 1 if rebuilt.problems else 0


COMMAND: Final = Command("reindex", reindex, "rebuild the registry's catalog", (OUTPUT, CONFIG, JSON), TEXT)
