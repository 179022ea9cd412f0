"""What file systems raise, which of it is transient, and trying again."""

import errno
import random
import sys
import time
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from job.core.errors import DataError

T = TypeVar("T")
Table = Mapping[str, tuple[str, ...]]

RETRY_DELAYS_S: Final = (0.2, 0.5, 1.0, 2.0)
"""Mean waits before an operation is tried again."""

LIBRARY_ERRORS: Final[Table] = {
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "botocore.parsers": ("ResponseParserError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}
"""Error classes that storage libraries let through although they are no OSError, by module."""

INTERRUPTED: Final[Table] = {
    "aiohttp": ("ClientPayloadError", "ServerDisconnectedError"),
    "azure.core.exceptions": ("ServiceResponseError",),
    "botocore.exceptions": ("HTTPClientError", "IncompleteReadError"),
    "botocore.parsers": ("ResponseParserError",),
}
"""Errors of a reply that was cut off, came too late, or was no reply of the storage but of a busy server before it."""

UNREACHABLE: Final[Table] = {
    "aiohttp": ("ClientConnectorError", "ConnectionTimeoutError"),
    "botocore.exceptions": ("ConnectTimeoutError", "ProxyConnectionError"),
}
"""Errors of an endpoint that takes no connection. The libraries tried it several times already; more is only delay."""

STATUSES: Final = {
    "aiohttp": ("ClientResponseError", "status"),
    "azure.core.exceptions": ("HttpResponseError", "status_code"),
    "gcsfs.retry": ("HttpError", "code"),
}
"""Errors that carry the status of the reply, and the attribute that holds it."""

BUSY: Final = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses of a server that may answer the next time."""

TRANSIENT_ERRNOS: Final = frozenset(
    {
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EIO,
        errno.EPIPE,
        getattr(errno, "EREMOTEIO", errno.EIO),
        errno.ETIMEDOUT,
    }
)
"""Error numbers of lost connections, and those of s3fs for 503 (EBUSY), 500 (EREMOTEIO) and codes it does not know,
such as 409, 502 and 504 (EIO)."""


def retry(call: Callable[[], T]) -> T:
    """Return what `call` returns; after transient failures, try again with growing, random delays."""
    for delay in RETRY_DELAYS_S:
        try:
            return call()
        except remote_errors(DataError) as error:
            if transient_cause(error) is None:
                raise
        time.sleep(delay * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
    return call()


def remote_errors(*more: type[Exception]) -> tuple[type[Exception], ...]:
    """Return OSError, the error classes of the libraries that are loaded by now, and `more`."""
    return (OSError, *_loaded(LIBRARY_ERRORS), *more)


def transient_cause(error: BaseException) -> BaseException | None:
    """Return the transient error behind an error, after which trying again may help; None if there is none."""
    found: BaseException | None = None
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, (ConnectionRefusedError, *_loaded(UNREACHABLE))):
            return None
        interrupted = isinstance(behind, (ConnectionError, TimeoutError, *_loaded(INTERRUPTED)))
        lost = isinstance(behind, OSError) and behind.errno in TRANSIENT_ERRNOS
        busy = any(
            isinstance(behind, _loaded({module: (name,)})) and getattr(behind, attribute) in BUSY
            for module, (name, attribute) in STATUSES.items()
        )
        if found is None and (interrupted or lost or busy):
            found = behind
        behind = behind.__cause__ or behind.__context__
    return found


def _loaded(table: Table) -> tuple[type[Exception], ...]:
    """Return the classes of `table` that loaded modules hold: no other can have been raised."""
    loaded = ((sys.modules[module], names) for module, names in table.items() if module in sys.modules)
    return tuple(vars(module)[name] for module, names in loaded for name in names if name in vars(module))
