"""Ray that stays up between rounds of work: started when it is first needed, given up when it has long been idle."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from job.cluster.heartbeat import is_reachable
from job.config.settings import RaySettings


class WarmRay:
    """A Ray that runs of this process share; each of them finds it running and leaves it so.

    Args:
        settings: how to start or join it.
        idle_s: how long it may be idle before `stop_if_idle` ends it.
    """

    def __init__(self, settings: RaySettings, *, idle_s: float) -> None:
        self._settings = settings
        self._idle_s = idle_s
        self._stack = ExitStack()
        self._used_at: float | None = None
        self._places: tuple[str, ...] = ()

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended since."""
        return self._used_at is not None

    @contextmanager
    def up(self) -> Iterator[None]:
        """Have Ray run inside, started or joined unless it runs; raises as `job.cluster.connect.running`."""
        from job.cluster.connect import node_and_head, running  # noqa: PLC0415 - Ray takes seconds to import

        if not self.running:
            self._stack.enter_context(running(self._settings))
            self._places = node_and_head()
        self._used_at = time.monotonic()
        try:
            yield
        finally:
            self._used_at = time.monotonic()

    def stop_if_idle(self) -> None:
        """End Ray if nothing has used it for so long, or if it died meanwhile: it would soon end this process, too."""
        if self._used_at is None:
            return
        if time.monotonic() - self._used_at >= self._idle_s or not all(map(is_reachable, self._places)):
            self.close()

    def close(self) -> None:
        """End Ray, or leave the cluster."""
        self._used_at = None
        self._stack.close()
