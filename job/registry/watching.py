"""What watchers know and did: the evidence on every model, the records of rounds, and who watches now.

    watch/states/00000001.json.gz    the evidence after a round that scored; created once, never rewritten
    watch/rounds/<run id>.json       what a round did; a round without new bars leaves none
    watch/heartbeat.json             who watches, since when, and how the last round ended: the only file rewritten

The state with the highest number holds. Creating the next number exclusively is compare-and-swap: of two watchers that
scored the same bars, one has its state counted and the other begins again from that.
"""

import gzip
import json
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Self

from job.core.errors import RegistryError
from job.core.keys import Key
from job.learning.watching import Watched
from job.registry.aliases import ConflictError
from job.registry.leases import Lease
from job.sources.known import Reading
from job.storage.files import ExistingFileError, MissingFileError, Storage

STATES: Final = "watch/states"
ROUNDS: Final = "watch/rounds"
HEARTBEAT: Final = "watch/heartbeat.json"
SCHEMA: Final = 1
NAME: Final = re.compile(rf"{STATES}/(?P<seq>\d{{8}})\.json\.gz")

log = logging.getLogger("job")


@dataclass(frozen=True)
class WatchedModel:
    """What is known of one model.

    `since` is the first time of which a row counts for the champion (µs, `available_at`), `challenger_since` the same
    for the challenger. `tried` is the newest version that was ever champion or challenger. `alarm` says since when the
    champion is taken to have decayed, as the time of the last row that told. With `again` its evidence is to be counted
    from `since` on once more, since bars that it rests on have changed.
    """

    evidence: Watched
    since: int
    challenger_since: int | None = None
    tried: str | None = None
    alarm: int | None = None
    again: bool = False

    @property
    def versions(self) -> tuple[str, str | None]:
        """Champion and challenger that the evidence is about."""
        return self.evidence.champion, self.evidence.challenge.version if self.evidence.challenge is not None else None

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**vars(self), "evidence": self.evidence.record()}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Inverse of `record`."""
        return cls(**{**record, "evidence": Watched.of_record(record["evidence"])})


@dataclass(frozen=True)
class State:
    """All that watchers know after decision number `seq`.

    By the name of a series, `readings` say what was read of it, and `listings` have the fingerprints of its files then,
    with flow and without.
    """

    seq: int = 0
    models: Mapping[Key, WatchedModel] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    listings: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_state(registry: Storage) -> State:
    """Return what watchers know; nothing before the first round that scored.

    Raises:
        RegistryError: the last state is damaged, or newer than this code reads.
    """
    numbers = sorted(int(match["seq"]) for match in map(NAME.fullmatch, registry.list(STATES)) if match)
    if not numbers:
        return State()
    path = _path(numbers[-1])
    try:
        document = json.loads(gzip.decompress(registry.read(path)))
        if document["schema_version"] > SCHEMA:
            raise RegistryError(f"{registry.url}/{path} is newer than this release reads; upgrade")
        models = {Key(**one["key"]): WatchedModel.of_record(one["model"]) for one in document["models"]}
        readings = {name: Reading.of_record(one) for name, one in document["readings"].items()}
        return State(numbers[-1], models, readings, document["listings"])
    except (OSError, EOFError, ValueError, LookupError, TypeError) as error:
        raise RegistryError(
            f"{registry.url}/{path} is damaged ({error}); restore it from a backup, or delete it: the state before it "
            "then holds, and rows since are scored again"
        ) from None


def write_state(registry: Storage, state: State, *, run_id: str) -> State:
    """Write the next state and return it, numbered.

    Raises:
        ConflictError: another watcher wrote one first.
    """
    seq = state.seq + 1
    document = {
        "schema_version": SCHEMA,
        "run_id": run_id,
        "models": [{"key": asdict(key), "model": one.record()} for key, one in sorted(state.models.items())],
        "listings": dict(sorted(state.listings.items())),
        "readings": {name: one.record() for name, one in sorted(state.readings.items())},
    }
    text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    try:
        registry.create(_path(seq), gzip.compress(text.encode(), mtime=0))
    except ExistingFileError:
        raise ConflictError(
            "another watcher scored these models meanwhile: the next round goes on from there"
        ) from None
    return replace(state, seq=seq)


def alarms(registry: Storage) -> dict[Key, datetime]:
    """Return the models whose champions have decayed, and the close of the last bar that told so (UTC)."""
    known = read_state(registry).models
    return {key: datetime.fromtimestamp(one.alarm / 1e6, UTC) for key, one in known.items() if one.alarm is not None}


def write_round(registry: Storage, run_id: str, record: Mapping[str, Any]) -> None:
    """Keep what a round did (JSON values)."""
    text = json.dumps({"schema_version": SCHEMA, **record}, indent=1, ensure_ascii=False, allow_nan=False)
    registry.create(f"{ROUNDS}/{run_id}.json", text.encode())


def read_heartbeat(registry: Storage) -> dict[str, Any]:
    """Return what is said of the one that watches a registry, or did last; nothing where nobody has."""
    try:
        return dict(json.loads(registry.read(HEARTBEAT)))
    except (MissingFileError, ValueError, TypeError):
        return {}


class Heartbeat:
    """The sign of life of the one that watches a registry, renewed by a thread until it is closed.

    `about` are JSON values that others may read: how often it looks, and how its last round ended.
    """

    def __init__(self, registry: Storage, *, lease_s: float) -> None:
        self.about: dict[str, Any] = {}
        self._registry = registry
        self._lease_s = lease_s
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._keeper = threading.Thread(target=self._keep, name="watch heartbeat", daemon=True)

    def take(self) -> Lease | None:
        """Begin to beat, and return None; or return the lease of another watcher that is alive.

        Two that begin at the same moment may both believe to be alone; what they decide is exclusive all the same.
        """
        before = read_heartbeat(self._registry)
        other = before.get("lease")
        try:
            lease = Lease.from_record(other) if other else None
        except (ValueError, LookupError, TypeError):
            lease = None
        if lease is not None and lease.live(datetime.now(UTC)):
            return lease
        self.about = {name: value for name, value in before.items() if name != "lease"}
        self.beat()
        self._keeper.start()
        return None

    def beat(self, **about: Any) -> None:
        """Renew the lease, and change what is said of the watcher."""
        with self._lock:
            if self._closing.is_set():
                return
            self.about |= about
            document = {**self.about, "lease": Lease.of_this_process(self._lease_s).record()}
            self._registry.replace(HEARTBEAT, json.dumps(document, indent=1).encode())

    def close(self) -> None:
        """Stop beating; who comes next need not wait until the lease expires."""
        with self._lock:
            self._closing.set()
            self._registry.replace(HEARTBEAT, json.dumps({**self.about, "lease": None}, indent=1).encode())

    def _keep(self) -> None:
        while not self._closing.wait(self._lease_s / 3):
            try:
                self.beat()
            except RegistryError as error:
                log.warning("the heartbeat could not be written, and is tried again: %s", error)


def _path(seq: int) -> str:
    return f"{STATES}/{seq:08d}.json.gz"
