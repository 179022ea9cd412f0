"""Open the file systems that fsspec knows, each with the number of attempts that it makes by itself."""

from collections.abc import Mapping
from typing import Any, Final

import fsspec
from fsspec import AbstractFileSystem

S3: Final = ("s3://", "s3a://")
REQUEST_ATTEMPTS: Final = 3


def connect(url: str, options: Mapping[str, Any]) -> tuple[AbstractFileSystem, str]:
    """Return the file system of `url` and the path on it.

    Two libraries try again on S3, one inside the other: botocore each request, s3fs each call of botocore. Left as they
    are, one read from a server that drops connections takes 50 requests, each up to its timeout; with three attempts
    each, they give up on a reply that is cut off three times. So botocore tries a request three times and s3fs does
    not, and `errors.retry` begins the whole read or write again, as on storages whose library never does.
    """
    if not url.startswith(S3):
        return fsspec.url_to_fs(url, **options)  # type: ignore[no-any-return]
    retries = {"mode": "standard", "total_max_attempts": REQUEST_ATTEMPTS}
    config = {"retries": retries, **options.get("config_kwargs", {})}
    files, path = fsspec.url_to_fs(url, **{**options, "config_kwargs": config})
    files.retries = 1
    return files, path
