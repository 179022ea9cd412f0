"""What a file system may raise, which of it passes by itself, and how it reads as one line with a remedy."""

import errno
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from job.config import MASK, SECRET_WORDS

LIBRARY_ERRORS: Final = {
    "aiohttp": ("ClientError",),
    "azure.core.exceptions": ("AzureError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError",),
    "google.auth.exceptions": ("GoogleAuthError",),
}
"""Error classes that object-store libraries let through although they are no OSError, by module."""

TRANSIENT: Final = frozenset({errno.EBUSY, errno.EIO, getattr(errno, "EREMOTEIO", errno.EIO)})
"""Error numbers that s3fs gives to 503 (slow down), to codes it does not know (409 conflicts) and to 500."""

NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})
"""Error numbers with which file systems refuse hard links."""

REMEDIES: Final = {
    errno.EROFS: "the file system is read-only: choose another output",
    errno.ENOSPC: "free some space or choose another output",
    errno.EDQUOT: "free some space or choose another output",
    errno.ENAMETOOLONG: "the name is too long for this file system: use an object store",
}

CREDENTIALS: Final = "check the credentials (environment, profile or storage.options) and the bucket's policy"


def storage_errors() -> tuple[type[Exception], ...]:
    """Return the error classes of the libraries that are loaded by now."""
    loaded = ((sys.modules[module], names) for module, names in LIBRARY_ERRORS.items() if module in sys.modules)
    return (OSError, *(getattr(module, name) for module, names in loaded for name in names))


def is_transient(error: Exception) -> bool:
    """Tell whether trying again may help. Dropped connections were tried again by the libraries already."""
    return isinstance(error, ConnectionError) or (isinstance(error, OSError) and error.errno in TRANSIENT)


def explain(error: Exception, *, local: bool, options: Mapping[str, Any]) -> str:
    """Return the cause in one line, without any secret of `options`, and what to do about it."""
    remedy = _remedy(error, local=local)
    return scrub(_cause(error), options) + (f"; {remedy}" if remedy else "")


def scrub(text: str, options: Mapping[str, Any]) -> str:
    """Replace every secret value of `options` that occurs in `text`."""
    for secret in _secrets(options):
        text = text.replace(secret, MASK)
    return text


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif value and any(word in name.lower() for word in SECRET_WORDS):
            yield str(value)


def _cause(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _remedy(error: Exception, *, local: bool) -> str:
    if isinstance(error, NotADirectoryError):
        return "a file stands where a folder is needed: choose another output"
    if isinstance(error, PermissionError):
        return "make the folder writable or choose another output" if local else CREDENTIALS
    if isinstance(error, FileNotFoundError):
        return "choose another output" if local else "create the bucket or correct the URL"
    if isinstance(error, OSError):
        return REMEDIES.get(error.errno or 0, "")
    return CREDENTIALS if "Credentials" in type(error).__name__ else "check the URL, the endpoint and the network"
