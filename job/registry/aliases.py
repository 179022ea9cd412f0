"""Aliases of a model's versions, as a history of decisions: each a file of its own, created once, never rewritten.

    aliases/<exchange>/<symbol>/analyst_1h/00000001.json

The file with the highest number holds now. Creating the next number exclusively is the decision: that is
compare-and-swap, history and rollback at once, and an interruption leaves either the old state or the new one.
"""

import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, get_args

from job.core.errors import RegistryError
from job.core.keys import Key
from job.storage.files import ExistingFileError, Storage

Alias = Literal["champion", "challenger"]
ALIASES: Final[tuple[Alias, ...]] = get_args(Alias)

FOLDER: Final = "aliases"
ALIASES_SCHEMA: Final = 1
DIGITS: Final = 8
"""Numbers are padded with zeros, so that a listing sorts as the decisions were made."""
NAME: Final = re.compile(rf"(?P<seq>\d{{{DIGITS}}})\.json")
MOST_PREVIOUS: Final = 20
"""How many earlier champions a decision remembers for rollbacks; the history has all of them."""


class ConflictError(RegistryError):
    """Another decision came first, and changed what this one was based on."""


@dataclass(frozen=True)
class Aliases:
    """What the aliases of a model name after decision number `seq`; before the first one, 0, they name nothing.

    `previous` are earlier champions, the last one first: what rollbacks go back to.
    """

    seq: int = 0
    champion: str | None = None
    challenger: str | None = None
    previous: tuple[str, ...] = ()

    @property
    def undecided(self) -> str | None:
        """The challenger, None where that is the champion itself."""
        return None if self.challenger == self.champion else self.challenger

    def named(self, alias: Alias) -> str | None:
        """Return the version that an alias names."""
        return self.champion if alias == "champion" else self.challenger

    def moved(self, alias: Alias, version: str) -> Self:
        """Return the aliases with one of them on another version; the champion so far becomes the previous one.

        A challenger that becomes the champion is no challenger any more.
        """
        if alias == "challenger":
            return replace(self, challenger=version)
        before = () if self.champion is None else (self.champion,)
        challenger = None if self.challenger == version else self.challenger
        previous = (*before, *self.previous)[:MOST_PREVIOUS]
        return replace(self, champion=version, challenger=challenger, previous=previous)

    def rolled_back(self, version: str) -> Self:
        """Return the aliases with the champion back on one of `previous`, as if it had never been replaced."""
        _, *older = self.previous[self.previous.index(version) :] if version in self.previous else (version,)
        return replace(self, champion=version, previous=tuple(older))


@dataclass(frozen=True)
class Decision:
    """One entry of the history: what the aliases name since, what was changed, how, when (UTC) and why.

    `numbers` are JSON values that the decision is based on; `decision_id` makes two equal decisions distinct.
    """

    aliases: Aliases
    alias: Alias
    before: str | None
    after: str | None
    command: str
    at: str
    reason: str
    numbers: Mapping[str, Any]
    decision_id: str

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def read_aliases(registry: Storage, key: Key) -> Aliases:
    """Return what a model's aliases name now.

    Raises:
        RegistryError: the last decision is damaged, or newer than this code reads.
    """
    numbers = _numbers(registry, key)
    if not numbers:
        return Aliases()
    path = _path(key, numbers[-1])
    return _parse(registry.read(path), key, path, registry).aliases


def last_decisions(registry: Storage) -> dict[str, str]:
    """Return the path of the last decision on every model that has any, by the folder of its decisions; one listing."""
    last: dict[str, str] = {}
    for path in registry.list(FOLDER):
        folder, _, name = path.rpartition("/")
        if NAME.fullmatch(name):
            last[folder] = path
    return last


def read_all_aliases(
    registry: Storage, keys: Iterable[Key], last: Mapping[str, str] | None = None
) -> dict[Key, Aliases]:
    """Return what the aliases of many models name; raises as `read_aliases` does.

    `last` are `last_decisions`, for who asks page by page; without, they are listed.
    """
    last = last_decisions(registry) if last is None else last
    wanted = {key: last[_folder(key)] for key in keys if _folder(key) in last}
    read = registry.read_many(wanted.values())
    return {key: _parse(read[path], key, path, registry).aliases for key, path in wanted.items() if path in read}


def history(registry: Storage, key: Key) -> list[Decision]:
    """Return all decisions about a model's aliases, oldest first; raises as `read_aliases` does."""
    paths = [_path(key, seq) for seq in _numbers(registry, key)]
    read = registry.read_many(paths)
    return [_parse(read[path], key, path, registry) for path in paths if path in read]


def change_alias(
    registry: Storage,
    key: Key,
    alias: Alias,
    change: Callable[[Aliases], Aliases],
    *,
    seen: Aliases,
    command: str,
    reason: str,
    numbers: Mapping[str, Any] | None = None,
) -> Decision:
    """Write the next decision about an alias, and return it.

    Args:
        registry: where.
        key: the model.
        alias: `champion` or `challenger`.
        change: turns the aliases of that moment into the new ones: `moved` or `rolled_back`, to a version that the
            caller has checked.
        seen: the aliases that the caller decided upon. If others have decided meanwhile, this decision is made upon
            theirs, provided that the alias is still where the caller saw it.
        command: by which it is changed.
        reason: for people.
        numbers: JSON values that the decision rests on.

    Raises:
        ConflictError: the alias was moved meanwhile.
        RegistryError: the registry cannot be read or written.
    """
    now = seen
    while now.named(alias) == seen.named(alias):
        then = replace(change(now), seq=now.seq + 1)
        decision = Decision(
            aliases=then,
            alias=alias,
            before=now.named(alias),
            after=then.named(alias),
            command=command,
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            reason=reason,
            numbers=dict(numbers or {}),
            decision_id=secrets.token_hex(8),
        )
        document = {"schema_version": ALIASES_SCHEMA, "key": asdict(key), **decision.record()}
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        try:
            registry.create(_path(key, then.seq), text.encode())
        except ExistingFileError:  # another decision has this number
            now = read_aliases(registry, key)
        else:
            return decision
    raise ConflictError(
        f"{key}: the {alias} was moved from {seen.named(alias)} to {now.named(alias)} while this was decided; "
        "look at it with `models show` and decide again"
    )


def _folder(key: Key) -> str:
    return f"{FOLDER}/{key.folder}/{key.stem}"


def _path(key: Key, seq: int) -> str:
    return f"{_folder(key)}/{seq:0{DIGITS}d}.json"


def _numbers(registry: Storage, key: Key) -> list[int]:
    names = (path.rpartition("/")[2] for path in registry.list(_folder(key)))
    return sorted(int(match["seq"]) for match in map(NAME.fullmatch, names) if match)


def _parse(data: bytes, key: Key, path: str, registry: Storage) -> Decision:
    where = f"{registry.url}/{path}"
    try:
        document = json.loads(data)
        schema, owner, state = (document.pop(name) for name in ("schema_version", "key", "aliases"))
        newer = not isinstance(schema, int) or schema > ALIASES_SCHEMA
        decision = None if newer else Decision(aliases=_state(**state), **document)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise RegistryError(
            f"{where} is damaged ({error}); restore it from a backup, or delete it, which undoes its decision"
        ) from None
    if decision is None:
        raise RegistryError(f"{where} has schema {schema!r:.80}, newer than the {ALIASES_SCHEMA} read here; upgrade")
    if owner != asdict(key) or path != _path(key, decision.aliases.seq):
        raise RegistryError(f"{where} is a decision about another model or of another number; it was moved or altered")
    return decision


def _state(seq: int, champion: str | None, challenger: str | None, previous: Iterable[str]) -> Aliases:
    state = Aliases(int(seq), champion, challenger, tuple(previous))
    if not all(isinstance(name, str | None) for name in (champion, challenger, *state.previous)):
        raise TypeError("versions are named by texts")
    return state
