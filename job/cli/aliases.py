"""Commands that change what a registry of models holds or names: models promote, rollback, prune."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

from job.cli.options import Commands, add_command
from job.cli.report import log
from job.cli.selection import add_keys, add_store, require_narrowed, selected, store_settings
from job.core.errors import ConfigError, JobError, RegistryError
from job.core.keys import Key
from job.registry.aliases import ALIASES
from job.registry.catalog import keys, open_registry
from job.registry.promote import AliasChange, promote, restore_champion
from job.registry.prune import prunable, prune
from job.registry.versions import new_run_id
from job.storage.files import Storage

PROMOTE: Final = """Let the champion of one or many models be another version, whose artifacts are verified first."""
ROLLBACK: Final = """Let the champion be what it was before it was last promoted. Once more goes one champion further
back. Nothing is deleted: what was rolled back may be promoted again."""
PRUNE: Final = """Delete old versions. Kept are the last N of each model, those that `champion` and `challenger` name,
the champion before, which a rollback restores, and those of runs that are still going on."""


def register(actions: Commands) -> None:
    """Add the actions to `models`."""
    to = _add(actions, "promote", promote_models, summary="let `champion` name another version", text=PROMOTE)
    to.add_argument(
        "--version", metavar="NAME", default="latest", help="latest (default), challenger, a version, or a run's id"
    )
    to.add_argument("--alias", choices=ALIASES, default="champion", help="the alias to move (default: champion)")
    back = _add(actions, "rollback", roll_back_models, summary="restore the previous champion", text=ROLLBACK)
    for parser in (to, back):
        parser.add_argument("--all", action="store_true", help="every model of the registry")
        parser.add_argument("--reason", metavar="TEXT", default="", help="why, for the history")
    away = _add(actions, "prune", prune_models, summary="delete old versions that nobody names", text=PRUNE)
    away.add_argument("--keep", metavar="N", type=int, required=True, help="how many versions of each model to keep")


def _add(actions: Commands, name: str, run: Any, *, summary: str, text: str) -> argparse.ArgumentParser:
    parser = add_command(actions, name, run, summary=summary, text=text)
    add_store(parser)
    add_keys(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument("--json", action="store_true", help="print one JSON object, the last line of stdout")
    return parser


def promote_models(options: argparse.Namespace) -> int:
    """Promote a version of each selected model."""

    def one(registry: Storage, key: Key) -> AliasChange:
        return promote(
            registry, key, options.version, alias=options.alias, reason=options.reason, dry_run=options.dry_run
        )

    return _move(options, one)


def roll_back_models(options: argparse.Namespace) -> int:
    """Restore the previous champion of each selected model."""
    return _move(
        options, lambda registry, key: restore_champion(registry, key, reason=options.reason, dry_run=options.dry_run)
    )


def prune_models(options: argparse.Namespace) -> int:
    """Delete the versions that nobody needs of each selected model."""
    if options.keep < 1:
        raise ConfigError(f"--keep {options.keep}: keep at least 1 version of each model")
    config = store_settings(options)
    registry = open_registry(config)
    wanted = selected(keys(registry), options, where=registry.url)
    to_delete = prunable(registry, wanted, keep=options.keep, lease_s=config.storage.lease_s)
    gone = to_delete if options.dry_run else prune(registry, to_delete)
    word = "would delete" if options.dry_run else "deleted"
    for one in gone:
        log.info("%s %s: %s, %s bytes", word, one.key, one.version, f"{one.size:,}")
    size = sum(one.size for one in gone)
    log.info("%s %d versions of %d models: %s bytes", word, len(gone), len({one.key for one in gone}), f"{size:,}")
    if options.json:
        listed = [{**asdict(one.key), "version": one.version, "bytes": one.size} for one in gone]
        print(json.dumps({"models": registry.url, "dry_run": options.dry_run, "bytes": size, "deleted": listed}))  # noqa: T201
    return 0


def _move(options: argparse.Namespace, one: Callable[[Storage, Key], AliasChange]) -> int:
    """Move an alias of every selected model; a model where that fails is named and the others are moved."""
    registry = open_registry(store_settings(options), writer=new_run_id(datetime.now(UTC)))
    known = keys(registry)
    wanted = selected(known, options, where=registry.url)
    require_narrowed(options, known)
    if not options.dry_run:
        registry.check_writable()
    moves: list[AliasChange] = []
    failures: dict[Key, RegistryError] = {}
    for key in wanted:
        try:
            moves.append(one(registry, key))
        except RegistryError as error:
            failures[key] = error
            log.error("%s", error)
        else:
            log.info("%s", line_of(moves[-1], dry_run=options.dry_run))
    if options.json:
        print(json.dumps({"models": registry.url, "dry_run": options.dry_run, **_record(moves, failures)}))  # noqa: T201
    if not failures:
        return 0
    return JobError.exit_status if moves else RegistryError.exit_status


def line_of(move: AliasChange, *, dry_run: bool) -> str:
    """Return what became of an alias, in words."""
    if not move.changes:
        return f"{move.key}: {move.alias} is {move.after} already"
    would = "would move" if dry_run else "moved"
    return f"{move.key}: {would} {move.alias} from {move.before or 'none'} to {move.after}"


def _record(moves: Sequence[AliasChange], failures: dict[Key, RegistryError]) -> dict[str, Any]:
    return {
        "moves": [
            {
                **asdict(move.key),
                "alias": move.alias,
                "before": move.before,
                "after": move.after,
                "changes": move.changes,
            }
            for move in moves
        ],
        "failures": [{**asdict(key), "message": str(error)} for key, error in failures.items()],
    }
