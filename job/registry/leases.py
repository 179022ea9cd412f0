"""Leases: how others know that a run that has not closed its record is still alive."""

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import psutil

START_TOLERANCE_S = 1.0
"""Rounding of a process's start time, which shows that its number was given to another process since."""


@dataclass(frozen=True)
class Lease:
    """A run's claim to be alive: renewed by its driver, void from `expires_at` on (UTC, the driver's clock).

    `host` names the machine or container, `pid` and `process_started` (seconds since the epoch) the driver on it.
    """

    host: str
    pid: int
    process_started: float
    expires_at: datetime

    @classmethod
    def of_this_process(cls, seconds: float) -> Self:
        """Return a lease that this process holds from now on."""
        started = psutil.Process().create_time()
        return cls(this_host(), os.getpid(), started, datetime.now(UTC) + timedelta(seconds=seconds))

    def live(self, now: datetime) -> bool:
        """Return whether it still holds: it has not expired, and its process, if it ran on this host, is there."""
        if now >= self.expires_at:
            return False
        if self.host != this_host():  # what runs there cannot be seen from here
            return True
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process_started) < START_TOLERANCE_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def record(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "expires_at": self.expires_at.isoformat(timespec="milliseconds")}

    @classmethod
    def from_record(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of `record`; raises ValueError, LookupError or TypeError for anything else."""
        expires_at = datetime.fromisoformat(values["expires_at"])
        return cls(str(values["host"]), int(values["pid"]), float(values["process_started"]), expires_at)


def this_host() -> str:
    """Return the host's name, and the number of the process namespace where there is one: containers share names."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {namespace.readlink()}" if namespace.exists() else socket.gethostname()
