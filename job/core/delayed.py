"""What is done some time after it was first asked for, once, however often it was asked for meanwhile."""

import threading
from collections.abc import Callable


class Delayed:
    """Calls `act` in a thread of its own, `delay_s` after the first `ask` since it last did.

    Args:
        act: what to do; it may come at any time, also just after `close`.
        delay_s: how long to wait for more to do at once.
    """

    def __init__(self, act: Callable[[], None], delay_s: float) -> None:
        self._act = act
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def ask(self) -> None:
        """Have it done, unless that is coming already."""
        with self._lock:
            if self._timer is None:
                self._timer = threading.Timer(self._delay_s, self._fire)
                self._timer.daemon = True
                self._timer.start()

    def close(self) -> None:
        """Wait for nothing any more; it can be asked again."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        with self._lock:
            self._timer = None
        self._act()
