"""List files on any storage: one file, all below a folder, or what a pattern matches."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import accumulate
from typing import Any, Final

from fsspec.utils import glob_translate

from job.core.errors import DataError
from job.core.paths import redact_url, without_query
from job.core.wording import first_of
from job.storage.backends import connect
from job.storage.errors import transient_cause
from job.storage.links import Infos, follow, target_of
from job.storage.messages import input_errors, with_retries

_WILD: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class ListedFile:
    """A file as it was listed; `path` is its readable path, without protocol or query.

    `modified` is when it was last changed, in seconds since 1970, None where the storage does not say. `left_out` says
    why nothing can be read there: it is a link that leads nowhere, or to what is listed anyway.
    """

    url: str
    path: str
    size: int
    stamp: str
    modified: float | None = None
    left_out: str = ""


def list_files(url: str, options: Mapping[str, Any]) -> tuple[ListedFile, ...]:
    """List a file, all files below a folder, or what a glob matches, sorted by path with numbers in order.

    Raises:
        DataError: nothing is there, or the storage refuses.
    """
    listed = with_retries(url, options, lambda: _listed(url, options))
    if all(file.left_out for file in listed):
        links = first_of((f"{file.path.rpartition('/')[2]} is of the {file.left_out}" for file in listed), 3)
        raise DataError(
            f"{redact_url(url)}: no such file, or no files there{f' ({links})' if listed else ''}; "
            "set data.input to a file, a folder or a pattern"
        )
    return tuple(
        sorted(
            listed,
            key=lambda file: [  # part-2 comes before part-10
                (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", file.path)
            ],
        )
    )


def _listed(url: str, options: Mapping[str, Any]) -> list[ListedFile]:
    with input_errors(url, options):
        fs, path = connect(url, options)
        fs.invalidate_cache()
        try:
            infos = _infos(fs, path)
        except (FileNotFoundError, NotADirectoryError) as error:
            if error.__cause__ is not None:
                raise
            infos = {}  # nothing is there, and the storage says no more than that
        infos, left_out = follow(fs, infos)
    links = [
        ListedFile(fs.unstrip_protocol(name), name, 0, "", left_out=why)
        for name, why in left_out.items()
        if not is_hidden(name, _root(path))
    ]
    return links + [
        ListedFile(fs.unstrip_protocol(name), without_query(name), int(info.get("size") or 0), *_state(info))
        for name, info in infos.items()
        if info["type"] == "file" and not is_hidden(name, _root(path))
    ]


def _infos(fs: Any, path: str) -> Infos:
    if path.endswith("/"):
        return _below(fs, path) if fs.isdir(path) else {}
    try:
        info = fs.info(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if transient_cause(error) or not _WILD.search(path):
            raise
        return _matching(fs, path)
    return _below(fs, path) if info["type"] == "directory" else {path: info}


def _below(fs: Any, folder: str) -> Infos:
    return dict(fs.find(folder, detail=True))


def _matching(fs: Any, pattern: str) -> Infos:
    """Files that match, and all those below folders that do.

    Folders are listed level by level, because fsspec's own `glob` leaves out those that it fails to list.
    """
    parts = pattern.split("/")
    folders = [_root(pattern) or fs.root_marker]
    for depth in range(_root(pattern).count("/") + 2, len(parts)):
        if "**" in parts[depth - 1]:
            break
        entries = _entries(fs, folders, "/".join(parts[:depth]))
        folders = [name for name, info in entries.items() if info["type"] == "directory"]
    if "**" in pattern:  # which the name of a file matches, or that of a folder above it
        wanted = re.compile(glob_translate(pattern))
        return {
            name: info
            for folder in folders
            for name, info in _below(fs, folder).items()
            if any(map(wanted.match, accumulate(name.split("/"), "{}/{}".format)))
        }
    entries = _entries(fs, folders, pattern)
    files = {name: info for name, info in entries.items() if info["type"] != "directory"}
    return files | {name: info for folder in entries.keys() - files for name, info in _below(fs, folder).items()}


def _entries(fs: Any, folders: list[str], pattern: str) -> Infos:
    """Files and folders in `folders` that match."""
    wanted = re.compile(glob_translate(pattern))
    listings = [fs.ls(folder, detail=True) for folder in folders]
    named = ((info["name"].rstrip("/"), info) for listing in listings for info in listing)
    # A link counts as what it leads to; one that leads nowhere stays as it is.
    return {name: (info.get("islink") and target_of(fs, name)) or info for name, info in named if wanted.match(name)}


def _root(path: str) -> str:
    """Folder below which names count as hidden: that of a file, and of the first wildcard of a pattern."""
    fixed = _WILD.split(path)[0]
    return path if fixed == path else fixed.rpartition("/")[0]


def _state(info: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return what changes with a file, and when it was last changed, or made, where its storage tells no more."""
    stamps = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
    stamp = next((info[name] for name in stamps if info.get(name)), "")
    # File systems give the same time as a number when they list a folder, as a date when asked for one file.
    stamp = str(stamp.timestamp() if isinstance(stamp, datetime) else stamp)
    times = ("mtime", "LastModified", "last_modified", "Last-Modified", "updated", "created")
    value = next((info[name] for name in times if info.get(name)), None)
    if isinstance(value, str):
        try:
            value = parsedate_to_datetime(value) if "," in value else datetime.fromisoformat(value)
        except ValueError:
            return stamp, None
    if isinstance(value, datetime):
        return stamp, (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return stamp, float(value) if isinstance(value, int | float) else None


def is_hidden(name: str, root: str) -> bool:
    """Return whether a file below `root` is a marker or a checkpoint: `_SUCCESS`, `.ipynb_checkpoints/`, `._x.csv`.

    A key of Hive that begins so (`_year=2024`) is none.
    """
    parts = name.removeprefix(root).split("/")
    return any(part.startswith((".", "_")) and "=" not in part for part in parts if part)
