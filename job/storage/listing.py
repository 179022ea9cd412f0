"""Files of any storage that fsspec knows: list, open, decompress, and say in one line what went wrong."""

import gzip
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Final, TypeVar

import fsspec
from fsspec.utils import glob_translate

from job.core.errors import DataError
from job.core.paths import redact_url, without_query
from job.storage.errors import RETRIES_EXHAUSTED, connect, one_line, remote_errors, retry, transient_cause

T = TypeVar("T")
Infos = dict[str, dict[str, Any]]

HEAD: Final = 1 << 16
"""Bytes that are looked at to tell a text file's layout."""

_WILD: Final = re.compile(r"[*?\[]")
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile)
_UNKNOWN_PACKING: Final = (NotImplementedError, RuntimeError)
"""What zipfile raises on members that it cannot unpack although nothing is wrong with them: methods, passwords."""


@dataclass(frozen=True)
class Listed:
    """One listed file; `path` is its readable path, without protocol or query."""

    url: str
    path: str
    size: int
    stamp: str


def list_files(url: str, options: Mapping[str, Any]) -> tuple[Listed, ...]:
    """List a file, all files below a folder, or what a glob matches, sorted by path with numbers in order.

    Raises:
        DataError: nothing is there, or the storage refuses.
    """
    listed = with_retries(url, options, lambda: _listed(url, options))
    if not listed:
        raise DataError(
            f"{redact_url(url)}: no such file, or no files there; set data.input to a file, a folder or a pattern"
        )
    return tuple(sorted(listed, key=lambda file: natural(file.path)))


def _listed(url: str, options: Mapping[str, Any]) -> list[Listed]:
    with reported(url, options):
        fs, path = connect(fsspec.url_to_fs, url, options)
        fs.invalidate_cache()
        infos = _infos(fs, path)
    return [
        Listed(fs.unstrip_protocol(name), without_query(name), int(info.get("size") or 0), _stamp(info))
        for name, info in infos.items()
        if info["type"] == "file" and not _hidden(name, _root(path))
    ]


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Sort key by which part-2 comes before part-10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", text))


def _infos(fs: Any, path: str) -> Infos:
    """Details of the files by name; none where nothing is there and the storage says no more than that."""
    try:
        return _found(fs, path)
    except (FileNotFoundError, NotADirectoryError) as error:
        if error.__cause__ is not None:
            raise
        return {}


def _found(fs: Any, path: str) -> Infos:
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
    if "**" in pattern:
        return _any_level(fs, folders, pattern)
    entries = _entries(fs, folders, pattern)
    files = {name: info for name, info in entries.items() if info["type"] != "directory"}
    return files | {name: info for folder in entries.keys() - files for name, info in _below(fs, folder).items()}


def _entries(fs: Any, folders: list[str], pattern: str) -> Infos:
    """Files and folders in `folders` that match."""
    wanted = re.compile(glob_translate(pattern))
    listings = [fs.ls(folder, detail=True) for folder in folders]
    named = ((info["name"].rstrip("/"), info) for listing in listings for info in listing)
    return {name: info for name, info in named if wanted.match(name)}


def _any_level(fs: Any, folders: list[str], pattern: str) -> Infos:
    """Files below `folders` of which the name, or that of a folder above, matches a pattern with `**`."""
    wanted = re.compile(glob_translate(pattern))
    files = {name: info for folder in folders for name, info in _below(fs, folder).items()}
    return {name: info for name, info in files.items() if any(map(wanted.match, _prefixes(name)))}


def _prefixes(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _root(path: str) -> str:
    """Folder below which names count as hidden: that of a file, and of the first wildcard of a pattern."""
    fixed = _WILD.split(path)[0]
    return path if fixed == path else fixed.rpartition("/")[0]


def _stamp(info: Mapping[str, Any]) -> str:
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
    return next((_moment(info[name]) for name in names if info.get(name)), "")


def _moment(stamp: object) -> str:
    """Return a tag or time as text; file systems give the same time as a number when listing, as a date when asked."""
    return str(stamp.timestamp() if isinstance(stamp, datetime) else stamp)


def _hidden(name: str, root: str) -> bool:
    """Tell marker, checkpoint and resource files (`_SUCCESS`, `.ipynb_checkpoints/`, `._x.csv`) below `root`."""
    return any(part.startswith((".", "_")) for part in name.removeprefix(root).split("/") if part)


def with_retries(url: str, options: Mapping[str, Any], read: Callable[[], T]) -> T:
    """Return what `read` makes of a file or folder, reading it again while the storage fails by what passes.

    Raises:
        DataError: as `read` raises it; but what a storage did to a reader is no damage of the file, so that it is told
            as what it was.
    """
    try:
        return retry(read)
    except DataError as error:
        if cause := transient_cause(error):
            raise _unreadable(url, options, cause, RETRIES_EXHAUSTED) from None
        raise


@contextmanager
def reported(url: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn what fsspec and its backends raise into a `DataError` that names the file and shows no secret."""
    place = redact_url(url)
    try:
        yield
    except FileNotFoundError as error:
        reason = f" ({one_line(error.__cause__, options)})" if error.__cause__ else ""
        raise DataError(f"{place}: no such file{reason}; check data.input") from None
    except PermissionError as error:
        reason = one_line(error, options)
        raise DataError(
            f"{place}: permission denied ({reason}); check the credentials or the rights of the file"
        ) from None
    except ImportError as error:
        raise DataError(f"{place}: {one_line(error, options)}; install the package for this storage") from None
    except remote_errors(ValueError) as error:  # asked for only now: opening may have loaded the backend
        raise _unreadable(url, options, error, "check data.input and data.options") from None


def _unreadable(url: str, options: Mapping[str, Any], error: BaseException, remedy: str) -> DataError:
    return DataError(f"{redact_url(url)}: cannot be read: {one_line(error, options)}; {remedy}")


@contextmanager
def opened(url: str, options: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """Open a file for reading, errors reported by name."""
    with reported(url, options):
        fs, path = connect(fsspec.url_to_fs, url, options)
        with fs.open(path, "rb") as file:
            yield file


def content(url: str, member: str | None, options: Mapping[str, Any], limit: int = -1) -> bytes:
    """Decompressed bytes of a text file, of the one file in an archive, or of its `member`; at most `limit`.

    Raises:
        DataError: it cannot be opened, is a damaged archive, or an archive of several files without `member`.
    """
    place = f"{redact_url(url)}/{member}" if member else redact_url(url)
    with opened(url, options) as file:
        try:
            return _decompressed(file, url, member, limit)
        except _DAMAGE as error:
            reason = str(error) or "it ends too early"
            raise DataError(f"{place}: truncated or damaged archive ({reason}); download it again") from None
        except _UNKNOWN_PACKING as error:
            raise DataError(f"{place}: {error}; unpack it first") from None


def _decompressed(file: IO[bytes], url: str, member: str | None, limit: int) -> bytes:
    path = without_query(url).lower()
    if path.endswith(".zip"):
        with zipfile.ZipFile(file) as archive, archive.open(member or _only_member(archive, url)) as inner:
            return inner.read(limit)
    if path.endswith(".gz"):
        with gzip.GzipFile(fileobj=file) as inner:
            return inner.read(limit)
    return file.read(limit)


def _only_member(archive: zipfile.ZipFile, url: str) -> str:
    names = [info.filename for info in _files_of(archive)]
    if len(names) != 1:
        raise DataError(
            f"{redact_url(url)}: expected one file in the archive, found {len(names)}; unpack it into a folder"
        )
    return names[0]


def _files_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if not info.is_dir() and not _hidden(info.filename, "")]


def members(url: str, options: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    """Names and sizes of the files in a zip archive.

    Raises:
        DataError: it cannot be opened, is damaged, or is empty.
    """
    with opened(url, options) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                found = tuple((info.filename, info.file_size) for info in _files_of(archive))
                outside = [info.filename for info in archive.infolist() if ".." in info.filename.split("/")]
        except _DAMAGE as error:
            raise DataError(f"{redact_url(url)}: truncated or no zip archive ({error}); download it again") from None
    if not found and outside:
        raise DataError(f"{redact_url(url)}: {outside[0]!r} leads out of the archive; unpack it into a folder")
    if not found:
        raise DataError(f"{redact_url(url)}: the archive is empty; download it again")
    return found
