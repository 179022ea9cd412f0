"""Attempt notes: what a worker is about to do, so that a death has a name."""

import hashlib
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

from job.keys import Key, encode
from job.store import Store


@dataclass(frozen=True)
class Note:
    """What a worker does for a model: the step (`reading bars of binance/BTCUSDT`), where and since when.

    `trace` is where it stood when its time was up; None unless that ended it.
    """

    key: tuple[str, str, str, str]
    doing: str
    node: str
    pid: int
    started_at: str
    trace: str | None = None

    @classmethod
    def of_this_process(cls, key: Key, doing: str) -> Self:
        """Return a note of this worker, written now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return cls((key.exchange, key.symbol, key.timeframe, key.model_type), doing, platform.node(), os.getpid(), now)


def folder(run_id: str) -> str:
    """Return where the notes of a run stand; they are removed with it."""
    return f"runs/{run_id}.attempts"


def leave(store: Store, run_id: str, round_number: int, note: Note) -> None:
    """Write a note in place of the one that the same model had in the same round."""
    store.replace(_path(run_id, round_number, Key(*note.key)), json.dumps(asdict(note)).encode())


def read_notes(store: Store, run_id: str, round_number: int) -> dict[Key, Note]:
    """Return the last note of every model that was begun in a round."""
    prefix = f"{folder(run_id)}/{round_number}-"
    paths = [path for path in store.list(folder(run_id)) if path.startswith(prefix)]
    notes = [_note(json.loads(data)) for data in store.read_many(paths).values()]
    return {Key(*note.key): note for note in notes}


def _path(run_id: str, round_number: int, key: Key) -> str:
    name = hashlib.sha256(encode(str(key)).encode()).hexdigest()[:16]
    return f"{folder(run_id)}/{round_number}-{name}.json"


def _note(values: Mapping[str, Any]) -> Note:
    return Note(**{**values, "key": tuple(values["key"])})
