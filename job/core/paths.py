"""Paths and URLs: local ones absolute, once, on the driver, kept out of places that vanish; shown without secrets."""

import os
import re
from pathlib import Path
from typing import Final

from job.core.errors import ConfigError

RAY_COPY: Final = "working_dir_files"
"""Folder under which Ray keeps its copies of submitted working directories."""


def is_url(path: str) -> bool:
    """Return whether a path names its file system: `s3://…`, `memory://…`, `simplecache::https://…`."""
    return "://" in path


def resolve_input(path: str) -> str:
    """Return a URL as it is, a local path absolute.

    Raises:
        ConfigError: the URL means the memory of one process, which workers do not share.
    """
    if is_url(path):
        _refuse_memory("input", path)
        return path
    return os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - keeps globs and links


def _refuse_memory(what: str, url: str) -> None:
    if "memory" in url.replace("::", "://").split("://")[:-1]:
        raise ConfigError(f"{what} {url}: workers do not share one process's memory: give a folder, or another URL")


def resolve_output(path: str, *, chosen: bool) -> str:
    """Return a URL as it is, a local path absolute; `chosen` if the user named it.

    Inside Ray's own copy of the working directory, which Ray deletes, the default becomes ~/models.

    Raises:
        ConfigError: the user chose a folder inside Ray's copy, or the memory of one process.
    """
    if is_url(path):
        _refuse_memory("output", path)
        return path
    absolute = resolve_input(path)
    if RAY_COPY not in Path(absolute).parts:
        return absolute
    if chosen:
        raise ConfigError(
            f"output {path} lies inside Ray's copy of the working directory, which Ray deletes: "
            "give a URL or an absolute path"
        )
    return str(Path.home() / "models")


def require_disjoint(output: str, *others: str) -> str:
    """Return `output` if it lies in none of the `others`, from which the job would later read what it wrote.

    Raises:
        ConfigError: `output` lies in one of them.
    """
    for other in others:
        if f"{redact_url(output).rstrip('/')}/".startswith(f"{redact_url(other).rstrip('/')}/"):
            raise ConfigError(f"output {output} lies in {redact_url(other)}, which is read: give another folder or URL")
    return output


def redact_url(url: str) -> str:
    """URL for messages and records: local files as plain paths, no user, password or query, where secrets may stand."""
    return without_query(re.sub(r"(?<=://)[^/@]*@", "", url)).removeprefix("file://")


def without_query(url: str) -> str:
    """Cut what follows `?` off a web address; elsewhere `?` may be part of a name."""
    return url.partition("?")[0] if url.startswith(("http://", "https://")) else url
