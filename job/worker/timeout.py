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
"""How long after the limit a process is ended that cannot even say where it stands: C code may hold all threads."""
TRACE_LINES: Final = 20


@contextmanager
def time_limit(seconds: float | None, on_timeout: Callable[[str], None]) -> Iterator[None]:
    """End this process where the body takes longer than `seconds`, after `tell(trace)` with the stack of the body.

    A thread cannot be stopped and C code does not look for signals; a process can be ended always. Nothing is limited
    where `seconds` is None.
    """
    if seconds is None:
        yield
        return
    body = threading.get_ident()

    def give_up() -> None:
        try:
            on_timeout(_stack_of(body))
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


def _stack_of(thread: int) -> str:
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)[-TRACE_LINES:]) if frame else ""
