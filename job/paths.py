"""Local paths made absolute once, on the driver, and kept out of places that vanish."""

import os
from pathlib import Path
from typing import Final

from job.errors import ConfigError

RAY_COPY: Final = "working_dir_files"
"""Folder under which Ray keeps its copies of submitted working directories."""


def is_url(path: str) -> bool:
    """Tell whether a path names its file system: `s3://…`, `memory://…`, `simplecache::https://…`."""
    return "://" in path


def resolve_input(path: str) -> str:
    """Return a URL as it is, a local path absolute."""
    return path if is_url(path) else os.path.abspath(Path(path).expanduser())  # noqa: PTH100 - keeps globs and links


def resolve_output(path: str, *, chosen: bool) -> str:
    """Return a URL as it is, a local path absolute; `chosen` tells that the user named it.

    Inside Ray's own copy of the working directory, which Ray deletes, the default becomes ~/models.

    Raises:
        ConfigError: the user chose a folder inside Ray's copy.
    """
    if is_url(path):
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
