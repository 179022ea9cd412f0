"""Commands on the versions of a registry: models list, show, promote, rollback, prune, export."""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any, Final

from job.cli.arguments import DRY_RUN, JSON, VERSION, Argument, Command, CommandGroup, flag
from job.cli.logs import log
from job.cli.options import settings
from job.cli.report import print_json
from job.cli.selection import FILTERS, SELECTION, selected
from job.cli.tables import DECISIONS, VERSIONS, console, text_table, version_facts
from job.core.errors import ConfigError, JobError, RegistryError
from job.core.keys import Key
from job.export.run import CHAMPION, export
from job.export.targets import TARGETS, connect
from job.registry.aliases import ALIASES, Aliases, history, last_decisions, read_aliases, read_all_aliases
from job.registry.catalog import Summary, key_of, keys, list_summaries, open_registry
from job.registry.ledger import scored_versions, tried
from job.registry.promote import AliasChange, promote, restore_champion
from job.registry.prune import prunable, prune
from job.registry.scored import holdout_range
from job.registry.shared import MOST_MODELS, shared_holdout
from job.registry.versions import new_run_id, read_metadata, resolve_version
from job.storage.files import Storage

PAGE: Final = 50
"""Models in a table of `models list`."""
TEXT: Final = """List and describe the versions of models, and say which of them is in use.
The aliases `champion` and `challenger` name a version of a model; who loads `champion` gets what was promoted last."""


def list_models(options: argparse.Namespace) -> int:
    """Print each model with its latest version, its aliases, and the scores of both.

    Tables come page by page, each as soon as its aliases are read. A terminal shows the first page unless more is asked
    for; elsewhere, and in the JSON, is every model.

    In the JSON, `latest`, `champion` and `challenger` are summaries of versions, or null; a version that an alias names
    and that is gone has a summary of its name alone.

    Raises:
        ConfigError: `--limit` is less than 1.
    """
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"--limit {options.limit}: show at least 1 model")
    registry = open_registry(settings(options))
    by_key: dict[Key, list[Summary]] = {}
    for summary in list_summaries(registry):
        by_key.setdefault(key_of(summary), []).append(summary)
    wanted = selected(by_key, options, where=registry.url)
    screen, last = console(), last_decisions(registry)
    everything = options.all or options.json or not screen.is_terminal
    shown = wanted[: options.limit or (len(wanted) if everything else PAGE)]
    rows: list[dict[str, Any]] = []
    for start in range(0, len(shown), PAGE):
        page = shown[start : start + PAGE]
        aliases = read_all_aliases(registry, page, last)
        described = [_row(key, by_key[key], aliases.get(key, Aliases())) for key in page]
        if options.json:
            rows += described
        else:
            screen.print(text_table(VERSIONS, described))
    if left := len(wanted) - len(shown):
        log.info("%s more models: --all shows them, --limit N that many, --symbols and other filters some", f"{left:,}")
    print_json(options, {"models": registry.url, "keys": rows})
    return 0


def _row(key: Key, versions: Sequence[Summary], aliases: Aliases) -> dict[str, Any]:
    """Return what `models list` says of a model, given the summaries of its versions, oldest first."""
    by_name = {one["version"]: {name: one[name] for name in one if name != "key"} for one in versions}
    row = {**asdict(key), "versions": len(versions), "latest": by_name[versions[-1]["version"]]}
    named = {"champion": aliases.champion, "challenger": aliases.challenger}
    return row | {
        alias: name and by_name.get(name, {"version": name, "missing": True}) for alias, name in named.items()
    }


def show_models(options: argparse.Namespace) -> int:
    """Print one version of each selected model, and how its aliases came to be where they are."""
    registry = open_registry(settings(options))
    described = []
    wanted = selected(keys(registry), options, where=registry.url)
    summaries = list_summaries(registry, *sorted({key.folder for key in wanted}))
    for key, scored in scored_versions(registry, wanted, summaries).items():
        version = resolve_version(registry, key, options.version)
        aliases = read_aliases(registry, key)
        metadata = read_metadata(registry, key, version)
        shared = shared_holdout(registry, key, metadata, scored) if len(wanted) <= MOST_MODELS else None
        row: dict[str, Any] = {
            **asdict(key),
            "version": version,
            "aliases": {"champion": aliases.champion, "challenger": aliases.challenger},
            "metadata": metadata,
            "history": [decision.record() for decision in history(registry, key)],
            "tried": tried(registry, {key: scored}, {key: holdout_range(metadata)}).record(),
            "shared_holdout": None if shared is None else shared.record(),
        }
        described.append(row)
    print_json(options, {"models": registry.url, "keys": described})
    for row in described if not options.json else ():
        for name, text in version_facts(row):
            console().print(f"{name:<12} {text}", markup=False, highlight=False, soft_wrap=True)
        console().print(text_table(DECISIONS, row["history"]) if row["history"] else "no alias was ever set")
    return 0


def promote_models(options: argparse.Namespace) -> int:
    """Promote a version of each selected model."""
    how = {"alias": options.alias, "reason": options.reason, "dry_run": options.dry_run}
    return _change_aliases(options, lambda registry, key: promote(registry, key, options.version, **how))


def roll_back_models(options: argparse.Namespace) -> int:
    """Restore the previous champion of each selected model."""
    how = {"reason": options.reason, "dry_run": options.dry_run}
    return _change_aliases(options, lambda registry, key: restore_champion(registry, key, **how))


def _change_aliases(options: argparse.Namespace, change: Callable[[Storage, Key], AliasChange]) -> int:
    """Change an alias of every selected model; a model where that fails is named, and the others are changed."""
    registry = open_registry(settings(options), writer=new_run_id(datetime.now(UTC)))
    known = keys(registry)
    wanted = selected(known, options, where=registry.url)
    narrowed = options.all or options.keys or any(getattr(options, name) is not None for name in FILTERS)
    if len(known) > 1 and not narrowed:  # to change every model of a registry must have been meant
        raise ConfigError("name the models to change: KEY, --symbols, --timeframes, …, or --all")
    if not options.dry_run:
        registry.check_writable()
    moved = "would move" if options.dry_run else "moved"
    changes: list[AliasChange] = []
    failures: dict[Key, RegistryError] = {}
    for key in wanted:
        try:
            one = change(registry, key)
        except RegistryError as error:
            failures[key] = error
            log.error("%s", error)
            continue
        changes.append(one)
        if one.changes:
            log.info("%s: %s %s from %s to %s", key, moved, one.alias, one.before or "none", one.after)
        else:
            log.info("%s: %s is %s already", key, one.alias, one.after)
    names = ("alias", "before", "after", "changes")
    record = {
        "models": registry.url,
        "dry_run": options.dry_run,
        "moves": [{**asdict(one.key), **{name: getattr(one, name) for name in names}} for one in changes],
        "failures": [{**asdict(key), "message": str(error)} for key, error in failures.items()],
    }
    print_json(options, record)
    if not failures:
        return 0
    return JobError.exit_status if changes else RegistryError.exit_status


def prune_models(options: argparse.Namespace) -> int:
    """Delete the versions that nobody needs of each selected model."""
    if options.keep < 1:
        raise ConfigError(f"--keep {options.keep}: keep at least 1 version of each model")
    config = settings(options)
    registry = open_registry(config)
    wanted = selected(keys(registry), options, where=registry.url)
    to_delete = prunable(registry, wanted, keep=options.keep, lease_s=config.storage.lease_s)
    gone = to_delete if options.dry_run else prune(registry, to_delete)
    deleted = "would delete" if options.dry_run else "deleted"
    for one in gone:
        log.info("%s %s: %s, %s bytes", deleted, one.key, one.version, f"{one.size:,}")
    size = sum(one.size for one in gone)
    log.info("%s %d versions of %d models: %s bytes", deleted, len(gone), len({one.key for one in gone}), f"{size:,}")
    record = {
        "models": registry.url,
        "dry_run": options.dry_run,
        "bytes": size,
        "deleted": [{**asdict(one.key), "version": one.version, "bytes": one.size} for one in gone],
    }
    print_json(options, record)
    return 0


def export_models(options: argparse.Namespace) -> int:
    """Export a version of each selected model to another registry."""
    registry = open_registry(settings(options))
    wanted = selected(keys(registry), options, where=registry.url)
    target = connect(options.to, options.server)
    done = []
    for one in export(registry, wanted, target, version=options.version, dry_run=options.dry_run):
        done.append(one)
        if one.status == "failed":
            log.error("%s", one.message)
        elif one.status == "exported":
            log.info("%s: %s %s", one.key, "would export" if options.dry_run else "exported", one.version)
    counts = Counter(one.status for one in done)
    log.info("to %s: %s", options.to, ", ".join(f"{number} {status}" for status, number in counts.items()))
    record = {
        "models": registry.url,
        "to": options.to,
        "dry_run": options.dry_run,
        "counts": dict(counts),
        "versions": [
            {**asdict(one.key), "version": one.version, "status": one.status, "message": one.message} for one in done
        ],
    }
    print_json(options, record)
    if not counts["failed"]:
        return 0
    return JobError.exit_status if len(done) > counts["failed"] else RegistryError.exit_status


ALL: Final = flag("--all", "every model of the registry")
REASON: Final = Argument(("--reason",), "why, for the history", "TEXT", more={"default": ""})

LIST: Final = Command(
    "list",
    list_models,
    "every model with its latest version, aliases and scores",
    (
        *SELECTION,
        flag("--all", f"on a terminal, too, all models instead of the first {PAGE}"),
        Argument(("--limit",), "at most N models", "N", more={"type": int}),
        JSON,
    ),
)
SHOW: Final = Command(
    "show",
    show_models,
    "a version's metadata, and the history of the model's aliases",
    (*SELECTION, replace(VERSION, help="latest (default), champion, challenger, or a version"), JSON),
)
PROMOTE: Final = Command(
    "promote",
    promote_models,
    "let `champion` name another version",
    (
        *SELECTION,
        VERSION,
        Argument(
            ("--alias",),
            "the alias to move (default: champion)",
            more={"choices": ALIASES, "default": "champion"},
        ),
        ALL,
        REASON,
        DRY_RUN,
        JSON,
    ),
    "Let the champion of one or many models be another version, whose artifacts are verified first.",
)
ROLLBACK: Final = Command(
    "rollback",
    roll_back_models,
    "restore the previous champion",
    (*SELECTION, ALL, REASON, DRY_RUN, JSON),
    """Let the champion be what it was before it was last promoted. Once more goes one champion further
back. Nothing is deleted: what was rolled back may be promoted again.""",
)
PRUNE: Final = Command(
    "prune",
    prune_models,
    "delete old versions that nobody names",
    (
        *SELECTION,
        Argument(("--keep",), "how many versions of each model to keep", "N", more={"type": int, "required": True}),
        DRY_RUN,
        JSON,
    ),
    """Delete old versions. Kept are the last N of each model, those that `champion` and `challenger` name,
the champion before, which a rollback restores, and those of runs that are still going on.""",
)
EXPORT: Final = Command(
    "export",
    export_models,
    "put versions into the registry of another program, such as MLflow",
    (
        *SELECTION,
        Argument(
            ("--to",), "which program (default: mlflow)", more={"choices": [*TARGETS], "default": next(iter(TARGETS))}
        ),
        Argument(("--server",), "its address (default: what MLFLOW_TRACKING_URI says)", "URL"),
        replace(
            VERSION, help="champion (default), latest, challenger, a version, or a run's id", more={"default": CHAMPION}
        ),
        DRY_RUN,
        JSON,
    ),
    """Export a version of each model. What is exported already is not exported again; the aliases there
follow those of this registry.""",
)
COMMANDS: Final = CommandGroup(
    "models",
    "list, show, promote, roll back, prune and export versions",
    (LIST, SHOW, PROMOTE, ROLLBACK, PRUNE, EXPORT),
    TEXT,
)
