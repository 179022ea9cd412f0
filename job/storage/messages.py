"""Messages for what file systems raise: one line without secrets, and a remedy."""

import errno
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from job.config.settings import MASK, SECRET_WORDS
from job.core.errors import DataError
from job.core.paths import redact_url
from job.core.wording import on_one_line
from job.storage.errors import remote_errors, retry, transient_cause

T = TypeVar("T")

RETRIES_EXHAUSTED: Final = "it failed again and again: check the storage and the network, or try later"
"""Remedy where a transient failure did not end."""

OUTPUT_REMEDIES: Final = {
    errno.EROFS: "the file system is read-only: choose another output",
    errno.ENOSPC: "free some space or choose another output",
    errno.EDQUOT: "free some space or choose another output",
    errno.ENAMETOOLONG: "the name is too long for this file system: use an object store",
}

CREDENTIALS: Final = "check the credentials (environment, profile or storage.options) and the bucket's policy"

HARMLESS_OPTIONS: Final = frozenset({"endpoint_url", "region_name", "project", "host", "port"})
"""Options that are no secrets and help to understand an error."""

SHORT: Final = 8
"""Values of fewer characters are words such as `auto`, not secrets, unless their option's name says so."""


@contextmanager
def input_errors(url: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn what fsspec and its backends raise into a `DataError` that names the file and shows no secret."""
    try:
        yield
    except FileNotFoundError as error:
        reason = f" ({one_line(error.__cause__, options)})" if error.__cause__ else ""
        raise DataError(f"{redact_url(url)}: no such file{reason}; check data.input") from None
    except PermissionError as error:
        raise DataError(
            f"{redact_url(url)}: permission denied ({one_line(error, options)}); "
            "check the credentials or the rights of the file"
        ) from None
    except ImportError as error:
        raise DataError(
            f"{redact_url(url)}: {one_line(error, options)}; install the package for this storage"
        ) from None
    except remote_errors(ValueError) as error:  # asked for only now: opening may have loaded the backend
        raise _unreadable(url, error, "check data.input and data.options", options) from None


def with_retries(url: str, options: Mapping[str, Any], read: Callable[[], T]) -> T:
    """Return what `read` makes of a file, reading it again while the storage fails by what is transient.

    Raises:
        DataError: as `read` raises it; but where the storage failed under a reader that takes this for a damaged file,
            the error names the failure of the storage.
    """
    try:
        return retry(read)
    except DataError as error:
        if cause := transient_cause(error):
            raise _unreadable(url, cause, RETRIES_EXHAUSTED, options) from None
        raise


def _unreadable(url: str, error: BaseException, remedy: str, options: Mapping[str, Any]) -> DataError:
    return DataError(f"{redact_url(url)}: cannot be read: {one_line(error, options)}; {remedy}")


def output_remedy(error: Exception, *, local: bool) -> str:
    """Return what to do where a file of the output cannot be used, empty where the error alone must do."""
    if isinstance(error, NotADirectoryError):
        return "a file stands where a folder is needed: choose another output"
    if isinstance(error, PermissionError):
        return "make the folder writable or choose another output" if local else CREDENTIALS
    if isinstance(error, FileNotFoundError):
        return "choose another output" if local else "create the bucket or correct the URL"
    if transient_cause(error):
        return RETRIES_EXHAUSTED
    if isinstance(error, OSError):
        return OUTPUT_REMEDIES.get(error.errno or 0, "")
    return CREDENTIALS if "Credentials" in type(error).__name__ else "check the URL, the endpoint and the network"


def one_line(error: BaseException, options: Mapping[str, Any]) -> str:
    """Return what an error says, on one line, without any secret of `options`."""
    reason = error.strerror if isinstance(error, OSError) else None
    return masked(" ".join(reason.split()) if reason else on_one_line(error), options)


def masked(text: str, options: Mapping[str, Any]) -> str:
    """Replace every secret of `options` in `text`, and what URLs hold before `@` and after `?`."""
    for secret in sorted(_secrets(options), key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = re.sub(r"(?<=://)[^/@\s]*@", "", text)
    return re.sub(r"(://[^\s?'\"]*\?)[^\s'\"]+", rf"\1{MASK}", text)


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values that a name calls secret, and every longer text under a name that is not known as harmless."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif value and value is not True and name not in HARMLESS_OPTIONS:
            long_text = isinstance(value, str) and len(value) >= SHORT
            if long_text or any(word in name.lower() for word in SECRET_WORDS):
                yield str(value)
