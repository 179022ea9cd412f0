"""Attempt notes: what a worker is about to do, so that a death has a name."""

import hashlib
import json
import os
import platform
from dataclasses import asdict, dataclass
from typing import Self

from job.core.clock import now
from job.core.keys import Key, encode
from job.registry.runs import attempts_folder
from job.storage.files import Storage


@dataclass(frozen=True)
class Attempt:
    """What a worker does for a model: the step (`reading bars of binance/BTCUSDT`), where and since when.

    `trace` is where it stood when its time was up; None unless that ended it.
    """

    key: tuple[str, str, str, str]
    step: str
    node: str
    pid: int
    started_at: str
    trace: str | None = None

    @classmethod
    def of_this_process(cls, key: Key, step: str) -> Self:
        """Return a note of this worker, written now."""
        whose = (key.exchange, key.symbol, key.timeframe, key.model_type)
        return cls(whose, step, platform.node(), os.getpid(), now())


def record_attempt(registry: Storage, run_id: str, round_number: int, note: Attempt) -> None:
    """Write a note in place of the one that the same model had in the same round."""
    name = hashlib.sha256(encode(str(Key(*note.key))).encode()).hexdigest()[:16]
    registry.replace(f"{attempts_folder(run_id)}/{round_number}-{name}.json", json.dumps(asdict(note)).encode())


def read_attempts(registry: Storage, run_id: str, round_number: int | None = None) -> dict[Key, Attempt]:
    """Return the last note of every model that was begun in a round, in any by default, by model."""
    rounds = {path: int(path.rpartition("/")[2].partition("-")[0]) for path in registry.list(attempts_folder(run_id))}
    paths = [path for path in sorted(rounds, key=lambda path: rounds[path]) if round_number in {None, rounds[path]}]
    notes = [json.loads(data) for data in registry.read_many(paths).values()]
    return {Key(*note["key"]): Attempt(**note | {"key": tuple(note["key"])}) for note in notes}
