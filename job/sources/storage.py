"""Files of any storage that fsspec knows: list, open, decompress, and say in one line what went wrong."""

import gzip
import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Final

import fsspec

from job.config import MASK
from job.errors import DataError
from job.paths import shown, without_query

HEAD: Final = 1 << 16
"""Bytes that are looked at to tell a text file's layout."""

_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile, NotImplementedError)
_PLACES: Final = frozenset({"endpoint_url", "region_name", "project", "host", "port"})
"""Options that are no secrets and help to understand an error."""

_BACKEND_ERRORS: Final = (
    ("aiohttp", "ClientError"),
    ("azure.core.exceptions", "AzureError"),
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
)
"""Errors of storages that are no OSError; looked up only where the module is loaded."""


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
    with reported(url, options):
        fs, path = fsspec.core.url_to_fs(url, **options)
        fs.invalidate_cache()
        infos = _infos(fs, path)
    listed = [
        Listed(fs.unstrip_protocol(name), without_query(name), int(info.get("size") or 0), _stamp(info))
        for name, info in infos.items()
        if info["type"] == "file" and not _hidden(name, _root(path))
    ]
    if not listed:
        raise DataError(
            f"{shown(url)}: no such file, or no files there; set data.input to a file, a folder or a pattern"
        )
    return tuple(sorted(listed, key=lambda file: natural(file.path)))


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Sort key by which part-2 comes before part-10."""
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", text))


def _infos(fs: Any, path: str) -> dict[str, dict[str, Any]]:
    """Details of the files by name; a pattern may match folders, whose files all count."""
    if not path.endswith("/") and fs.isfile(path):
        return {path: fs.info(path)}
    if fs.isdir(path):
        return dict(fs.find(path, detail=True))
    matched = dict(fs.glob(path, detail=True)) if re.search(r"[*?\[]", path) else {}
    below = [fs.find(name, detail=True) for name, info in matched.items() if info["type"] == "directory"]
    for files in below:
        matched.update(files)
    return matched


def _root(path: str) -> str:
    """Folder below which names count as hidden: that of a file, and of the first wildcard of a pattern."""
    fixed = re.split(r"[*?\[]", path)[0]
    return path if fixed == path else fixed.rpartition("/")[0]


def _stamp(info: Mapping[str, Any]) -> str:
    names = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
    return next((str(info[name]) for name in names if info.get(name)), "")


def _hidden(name: str, root: str) -> bool:
    """Tell marker, checkpoint and resource files (`_SUCCESS`, `.ipynb_checkpoints/`, `._x.csv`) below `root`."""
    return any(part.startswith((".", "_")) for part in name.removeprefix(root).split("/") if part)


@contextmanager
def reported(url: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Turn what fsspec and its backends raise into a `DataError` that names the file and shows no secret."""
    place = shown(url)
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{place}: no such file; check data.input") from None
    except PermissionError:
        raise DataError(f"{place}: permission denied; check the credentials or the rights of the file") from None
    except ImportError as error:
        raise DataError(f"{place}: {_line(error, options)}; install the package for this storage") from None
    except _reasons() as error:  # asked for only now: opening may have loaded the backend
        raise DataError(
            f"{place}: cannot be read: {_line(error, options)}; check data.input and data.options"
        ) from None


def _reasons() -> tuple[type[Exception], ...]:
    """Return the error classes of all storages whose backends are loaded by now."""
    loaded = [(sys.modules[module], name) for module, name in _BACKEND_ERRORS if module in sys.modules]
    return (OSError, ValueError, *(vars(module)[name] for module, name in loaded))


def _line(error: BaseException, options: Mapping[str, Any]) -> str:
    """Message on one line; what stands in `options` may be secret, so it is masked wherever it turns up."""
    text = " ".join(str(error).split()) or type(error).__name__
    for value in sorted(_values(options), key=len, reverse=True):
        text = text.replace(value, MASK)
    return re.sub(r"(?<=://)[^/@\s]*@", "", text)


def _values(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of all options but those that only say where."""
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _values(value)
        elif isinstance(value, str) and value and key not in _PLACES:
            yield value


@contextmanager
def opened(url: str, options: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """Open a file for reading, errors reported by name."""
    with reported(url, options):
        fs, path = fsspec.core.url_to_fs(url, **options)
        with fs.open(path, "rb") as file:
            yield file


def content(url: str, member: str | None, options: Mapping[str, Any], limit: int = -1) -> bytes:
    """Decompressed bytes of a text file, of the one file in an archive, or of its `member`; at most `limit`.

    Raises:
        DataError: it cannot be opened, is a damaged archive, or an archive of several files without `member`.
    """
    place = f"{shown(url)}/{member}" if member else shown(url)
    with opened(url, options) as file:
        try:
            return _decompressed(file, url, member, limit)
        except _DAMAGE as error:
            reason = str(error) or "it ends too early"
            raise DataError(f"{place}: truncated or damaged archive ({reason}); download it again") from None
        except RuntimeError as error:
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
        raise DataError(f"{shown(url)}: expected one file in the archive, found {len(names)}; unpack it into a folder")
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
        except _DAMAGE as error:
            raise DataError(f"{shown(url)}: truncated or no zip archive ({error}); download it again") from None
    if not found:
        raise DataError(f"{shown(url)}: the archive is empty; download it again")
    return found
