"""The outcomes of a run in a temporary file of the driver, so that its memory does not grow with their number."""

import json
import threading
import weakref
from array import array
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Final, Generic, TypeAlias, TypeVar

from job.registry.outcome import Outcome

OutcomeT = TypeVar("OutcomeT", bound=Outcome)

READ_AT_ONCE: Final = 200
"""Outcomes that are in memory together while all are gone through."""


class Spool(Generic[OutcomeT]):
    """Outcomes of one kind in the order in which they came, as far as the run record keeps them: a line of JSON each.

    Whoever looks at one gets it made again from its line, without the fields of `outcome.NOT_KEPT`. Several threads may
    read and add.
    """

    def __init__(self, kind: type[OutcomeT]) -> None:
        self._kind = kind
        self._file = TemporaryFile()  # noqa: SIM115 - open as long as the spool is there
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        self._lock = threading.Lock()

    def append(self, outcome: OutcomeT) -> None:
        """Add an outcome, whose record must be JSON values."""
        line = json.dumps(outcome.record()).encode() + b"\n"
        with self._lock:
            self._file.seek(self._ends[-1])
            self._file.write(line)
            self._ends.append(self._ends[-1] + len(line))

    def lines(self, chosen: slice) -> bytes:
        """Return the lines of the outcomes with the numbers of a slice."""
        first, last, _ = chosen.indices(len(self))
        with self._lock:
            self._file.seek(self._ends[first])
            return self._file.read(self._ends[max(first, last)] - self._ends[first])

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._ends) - 1

    def __getitem__(self, chosen: slice) -> list[OutcomeT]:
        """Return the outcomes with the numbers of a slice, whose step is 1."""
        return [self._kind.from_json(line) for line in self.lines(chosen).decode().splitlines()]

    def __iter__(self) -> Iterator[OutcomeT]:
        """Yield all of them, few in memory at a time."""
        for first in range(0, len(self), READ_AT_ONCE):
            yield from self[first : first + READ_AT_ONCE]


Outcomes: TypeAlias = list[OutcomeT] | Spool[OutcomeT]
"""What a run record has: all outcomes in memory, or few of them."""
