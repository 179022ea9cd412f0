"""What a registry's file system may raise, as one line with a remedy."""

import errno
from collections.abc import Mapping
from typing import Any, Final

from job.storage.errors import RETRIES_EXHAUSTED, one_line, transient_cause

NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})
"""Error numbers with which file systems refuse hard links."""

REMEDIES: Final = {
    errno.EROFS: "the file system is read-only: choose another output",
    errno.ENOSPC: "free some space or choose another output",
    errno.EDQUOT: "free some space or choose another output",
    errno.ENAMETOOLONG: "the name is too long for this file system: use an object store",
}

CREDENTIALS: Final = "check the credentials (environment, profile or storage.options) and the bucket's policy"


def explain(error: Exception, *, local: bool, options: Mapping[str, Any]) -> str:
    """Return the cause in one line, without any secret of `options`, and what to do about it."""
    remedy = _remedy(error, local=local)
    return one_line(error, options) + (f"; {remedy}" if remedy else "")


def _remedy(error: Exception, *, local: bool) -> str:
    if isinstance(error, NotADirectoryError):
        return "a file stands where a folder is needed: choose another output"
    if isinstance(error, PermissionError):
        return "make the folder writable or choose another output" if local else CREDENTIALS
    if isinstance(error, FileNotFoundError):
        return "choose another output" if local else "create the bucket or correct the URL"
    if transient_cause(error):
        return RETRIES_EXHAUSTED
    if isinstance(error, OSError):
        return REMEDIES.get(error.errno or 0, "")
    return CREDENTIALS if "Credentials" in type(error).__name__ else "check the URL, the endpoint and the network"
