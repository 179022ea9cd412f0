"""Remote file systems: what they raise, which of it passes by itself, trying again, and one line without secrets."""

import errno
import random
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

from job.config.settings import MASK, SECRET_WORDS
from job.core.errors import DataError

T = TypeVar("T")
Table = Mapping[str, tuple[str, ...]]

RETRY_DELAYS_S: Final = (0.2, 0.5, 1.0, 2.0)
"""Mean waits before an operation is tried again."""

RETRIES_EXHAUSTED: Final = "it failed again and again: check the storage and the network, or try later"
"""Remedy where what should have passed did not."""

LIBRARY_ERRORS: Final[Table] = {
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "botocore.parsers": ("ResponseParserError",),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "http.client": ("HTTPException",),
    "urllib3.exceptions": ("HTTPError",),
}
"""Error classes that storage libraries let through although they are no OSError, by module."""

INTERRUPTED: Final[Table] = {
    "aiohttp": ("ClientPayloadError", "ServerDisconnectedError"),
    "azure.core.exceptions": ("ServiceResponseError",),
    "botocore.exceptions": ("HTTPClientError", "IncompleteReadError"),
    "botocore.parsers": ("ResponseParserError",),
    "http.client": ("IncompleteRead",),
    "urllib3.exceptions": ("ProtocolError",),
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

S3: Final = ("s3://", "s3a://")
REQUEST_ATTEMPTS: Final = 3

PLACES: Final = frozenset({"endpoint_url", "region_name", "project", "host", "port"})
"""Options that are no secrets and help to understand an error."""

SHORT: Final = 8
"""Values of fewer characters are words such as `auto`, not secrets, unless their option's name says so."""


def connect(open_url: Callable[..., tuple[Any, str]], url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """Return the file system and the path of `url`; `open_url` is fsspec's `url_to_fs`.

    S3 is asked by two libraries that both try again: botocore each request, s3fs each request of botocore and some of
    its own calls once more, up to 125 times together, each up to its timeout. Here botocore alone does, three times.
    """
    if not url.startswith(S3):
        return open_url(url, **options)
    retries = {"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS}
    config = {"retries": retries, **options.get("config_kwargs", {})}
    files, path = open_url(url, **{**options, "config_kwargs": config})
    files.retries = 1
    return files, path


def retry(call: Callable[[], T]) -> T:
    """Return what `call` returns, trying again with growing, random delays as long as it fails by what passes."""
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
    """Return what lies behind an error and passes by itself, so that trying again may help; None where nothing does."""
    causes = [*_causes(error)]
    if any(isinstance(one, (ConnectionRefusedError, *_loaded(UNREACHABLE))) for one in causes):
        return None
    return next((one for one in causes if _passes(one)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _passes(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError, *_loaded(INTERRUPTED))):
        return True
    if isinstance(error, OSError) and error.errno in TRANSIENT_ERRNOS:
        return True
    return any(isinstance(error, kind) and status(error) in BUSY for kind, status in _statuses())


def _statuses() -> Iterator[tuple[type[Exception], Callable[[Any], Any]]]:
    for module, (name, attribute) in STATUSES.items():
        for kind in _loaded({module: (name,)}):
            yield kind, attrgetter(attribute)


def _loaded(table: Table) -> tuple[type[Exception], ...]:
    """Return the classes of `table` that loaded modules hold: no other can have been raised."""
    loaded = ((sys.modules[module], names) for module, names in table.items() if module in sys.modules)
    return tuple(vars(module)[name] for module, names in loaded for name in names if name in vars(module))


def one_line(error: BaseException, options: Mapping[str, Any]) -> str:
    """Return what an error says, on one line, without any secret of `options`."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return masked(" ".join(text.split()) or type(error).__name__, options)


def masked(text: str, options: Mapping[str, Any]) -> str:
    """Replace every secret of `options` in `text`, and what URLs hold before `@` and after `?`."""
    for secret in sorted(_secrets(options), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = re.sub(r"(?<=://)[^/@\s]*@", "", text)
    return re.sub(r"(://[^\s?'\"]*\?)[^\s'\"]+", rf"\1{MASK}", text)


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values that a name calls secret, and every longer text under a name that is no place."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif _is_secret(name, value):
            yield str(value)


def _is_secret(name: str, value: object) -> bool:
    if not value or value is True or name in PLACES:
        return False
    if any(word in name.lower() for word in SECRET_WORDS):
        return True
    return isinstance(value, str) and len(value) >= SHORT
