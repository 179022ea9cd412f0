"""A limit on how long a worker may take: past it the process ends, whatever code it is in."""

import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

GRACE_S: Final = 10.0
"""How long after the limit a process is ended that cannot even report its stack: C code may hold all threads."""
TRACE_LINES: Final = 20


@contextmanager
def time_limit(seconds: float | None, on_timeout: Callable[[str], None]) -> Iterator[None]:
    """End this process if the body takes longer than `seconds`, after `on_timeout(trace)` with the stack of the body.

    A thread cannot be stopped and C code does not look for signals; a process can always be ended. None is no limit.
    """
    if seconds is None:
        yield
        return
    body = threading.get_ident()

    def give_up() -> None:
        try:
            frame = sys._current_frames().get(body)
            on_timeout("".join(traceback.format_stack(frame)[-TRACE_LINES:]) if frame else "")
        finally:
            os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(seconds + GRACE_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        timer.cancel()
