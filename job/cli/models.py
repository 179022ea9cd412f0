"""Commands on a registry of models: models list, show, promote, rollback, prune; and reindex."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from job.cli import aliases as aliases_
from job.cli.options import Commands, add_command
from job.cli.report import log
from job.cli.selection import add_keys, add_store, selected, store_settings
from job.cli.tables import console, history_table, version_facts, versions_table
from job.core.errors import DataError
from job.core.keys import Key
from job.registry.aliases import Aliases, history, read_aliases, read_all_aliases
from job.registry.catalog import Summary, key_of, keys, list_summaries, open_registry, rebuild
from job.registry.versions import read_metadata, resolve_version
from job.storage.files import Storage

REINDEX: Final = """Make the catalog of a model registry again from the metadata of every version.
It is a cache: nothing is lost with it, and the next run needs it only to be fast."""

MODELS: Final = """List and describe the versions of models, and say which of them is in use.
The aliases `champion` and `challenger` name a version of a model; who loads `champion` gets what was promoted last."""


def register(commands: Commands) -> None:
    """Add the commands to the command line."""
    parser = add_command(commands, "reindex", reindex, summary="make the registry's catalog again", text=REINDEX)
    parser.add_argument("--output", metavar="URL", dest="models", help="the model registry (default: ./models)")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings, such as storage.options")
    summary = "list, show, promote, roll back and prune versions"
    group = commands.add_parser(
        "models", help=summary, description=MODELS, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = group.add_subparsers(metavar="action", required=True)
    _add(actions, "list", list_models, summary="every model with its latest version, aliases and scores")
    show = _add(actions, "show", show_models, summary="a version's metadata, and the history of the model's aliases")
    show.add_argument("--version", metavar="NAME", default="latest", help="latest (default), champion, or a version")
    aliases_.register(actions)


def _add(actions: Commands, name: str, run: Any, *, summary: str) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, summary=summary)
    add_store(parser)
    add_keys(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object, the last line of stdout")
    return parser


def reindex(options: argparse.Namespace) -> int:
    """Make the catalog of a registry again and count its versions; 1 if some have damaged metadata, which is named."""
    registry = open_registry(store_settings(options))
    if not registry.list():
        raise DataError(f"{registry.url} holds nothing: name the model registry with --output")
    rebuilt = rebuild(registry)
    for problem in rebuilt.problems:
        log.error(problem)
    found = {key_of(one) for one in rebuilt.summaries}
    log.info("%s: %d versions of %d models", registry.url, len(rebuilt.summaries), len(found))
    return 1 if rebuilt.problems else 0


def list_models(options: argparse.Namespace) -> int:
    """Print each model with its latest version, its aliases, and the scores of both."""
    registry = open_registry(store_settings(options))
    by_key: dict[Key, list[Summary]] = {}
    for summary in list_summaries(registry):
        by_key.setdefault(key_of(summary), []).append(summary)
    wanted = selected(by_key, options, where=registry.url)
    aliases = read_all_aliases(registry, wanted)
    rows = [describe_model(key, by_key[key], aliases.get(key, Aliases())) for key in wanted]
    if options.json:
        print(json.dumps({"models": registry.url, "keys": rows}))  # noqa: T201 - the promised last line
    else:
        console().print(versions_table(rows))
    return 0


def describe_model(key: Key, summaries: list[Summary], aliases: Aliases) -> dict[str, Any]:
    """Return what a list shows of a model, from the summaries of its versions, oldest first.

    `latest`, `champion` and `challenger` are summaries, without the key, or None; a version that an alias names and
    that is gone has a summary of its name alone.
    """
    by_name = {one["version"]: {name: value for name, value in one.items() if name != "key"} for one in summaries}
    named = {"champion": aliases.champion, "challenger": aliases.challenger}
    return {
        **asdict(key),
        "versions": len(summaries),
        "latest": by_name[summaries[-1]["version"]],
        **{alias: name and by_name.get(name, {"version": name, "missing": True}) for alias, name in named.items()},
    }


def show_models(options: argparse.Namespace) -> int:
    """Print one version of each selected model, and how its aliases came to be where they are."""
    registry = open_registry(store_settings(options))
    redact_url = [
        describe_version(registry, key, options.version)
        for key in selected(keys(registry), options, where=registry.url)
    ]
    if options.json:
        print(json.dumps({"models": registry.url, "keys": redact_url}))  # noqa: T201 - the promised last line
        return 0
    for one in redact_url:
        for name, text in version_facts(one):
            console().print(f"{name:<12} {text}", markup=False, highlight=False, soft_wrap=True)
        console().print(history_table(one["history"]) if one["history"] else "no alias was ever set")
    return 0


def describe_version(registry: Storage, key: Key, name: str) -> dict[str, Any]:
    """Return a version's metadata, the aliases that name it, and the history of its model's aliases."""
    version = resolve_version(registry, key, name)
    aliases = read_aliases(registry, key)
    metadata: Mapping[str, Any] = read_metadata(registry, key, version)
    return {
        **asdict(key),
        "version": version,
        "aliases": {"champion": aliases.champion, "challenger": aliases.challenger},
        "metadata": metadata,
        "history": [decision.record() for decision in history(registry, key)],
    }
