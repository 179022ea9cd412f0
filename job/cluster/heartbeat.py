"""Health checks of a cluster while a run is going on: Ray ends a process whose cluster is gone without a message."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from job.core.errors import ClusterError, JobError

log = logging.getLogger("job")

INTERVAL_S: Final = 2.0
LONG_S: Final = 60.0
"""A check that may fail for longer than this is logged as soon as it fails."""
GRACE_S: Final = 10.0
"""How long a run may take to end on a dead cluster."""

OnDeath = Callable[[str], None]


@dataclass(frozen=True)
class HealthCheck:
    """What a run cannot go on without: a check, what to say when it fails, and for how many seconds it may fail."""

    message: str
    is_healthy: Callable[[], bool]
    timeout_s: float


@contextmanager
def monitored(checks: Sequence[HealthCheck], on_death: OnDeath) -> Iterator[None]:
    """Where a check fails for too long, call `on_death` with the reason and raise ClusterError in the body.

    A body that cannot be interrupted, since it runs in another thread than the main one or waits for a dead head, is
    ended with the process, as Ray would do soon.
    """
    main, caller, over = threading.main_thread(), threading.current_thread(), threading.Event()
    reasons: list[str] = []

    def interrupt(*_: object) -> None:
        raise ClusterError(reasons[0])

    def monitor() -> None:
        failing = first_failing(checks, over)
        if failing is None:
            return
        reasons.append(f"{failing.message}: what is committed stays, and a rerun trains the rest")
        with suppress(JobError):
            on_death(reasons[0])
        if caller is main:
            signal.pthread_kill(main.ident or 0, signal.SIGUSR1)
        if not over.wait(GRACE_S):
            log.error(reasons[0])
            os._exit(ClusterError.exit_status)

    before = signal.signal(signal.SIGUSR1, interrupt) if caller is main else None
    thread = threading.Thread(target=monitor, name="heartbeat of the cluster", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        if caller is main:
            signal.signal(signal.SIGUSR1, before)


def first_failing(checks: Sequence[HealthCheck], over: threading.Event) -> HealthCheck | None:
    """Wait until a check has failed for too long and return it; None once `over` is set.

    They are made in order, up to the first that fails: later ones may rely on earlier ones.
    """
    since: dict[HealthCheck, float] = {}
    while not over.wait(INTERVAL_S):
        failing = next((check for check in checks if not check.is_healthy()), None)
        since = {check: began for check, began in since.items() if check == failing}
        if failing is None:
            continue
        now = time.monotonic()
        if failing not in since and failing.timeout_s > LONG_S:
            log.warning("%s: waiting %.0f s for it", failing.message, failing.timeout_s)
        if now - since.setdefault(failing, now) > failing.timeout_s:
            return failing
    return None


def is_reachable(place: str) -> bool:
    """Return whether something answers at `host:port`."""
    return connection_error(place, INTERVAL_S) is None


def connection_error(place: str, timeout_s: float) -> OSError | None:
    """Return why nothing answers at `host:port`, or None if something does."""
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=timeout_s).close()
    except OSError as error:
        return error
    return None
