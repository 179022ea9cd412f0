"""Open a file of any storage, in an archive or not, and read what it holds, decompressed."""

import gzip
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any, Final

from job.core.errors import DataError
from job.core.paths import redact_url, without_query
from job.storage.backends import connect
from job.storage.listing import is_hidden
from job.storage.messages import input_errors

PACKED: Final = (".gz", ".zip")
"""Suffixes of files that are decompressed on the way."""

_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, EOFError, gzip.BadGzipFile)
_UNKNOWN_PACKING: Final = (NotImplementedError, RuntimeError)
"""What zipfile raises on members that it cannot unpack although nothing is wrong with them: methods, passwords."""


def is_packed(url: str) -> bool:
    """Return whether a file is compressed or an archive."""
    return without_query(url).lower().endswith(PACKED)


@contextmanager
def opened(url: str, options: Mapping[str, Any]) -> Iterator[IO[bytes]]:
    """Open a file for reading, errors reported by name."""
    with input_errors(url, options):
        fs, path = connect(url, options)
        with fs.open(path, "rb") as file:
            yield file


def content(url: str, member: str | None, options: Mapping[str, Any], limit: int = -1) -> bytes:
    """Decompressed bytes of a file, of the one file in an archive, or of its `member`; at most `limit`.

    Raises:
        DataError: it cannot be opened, is a damaged archive, or an archive of several files without `member`.
    """
    where = f"{redact_url(url)}/{member}" if member else redact_url(url)
    path = without_query(url).lower()
    with opened(url, options) as file:
        try:
            if path.endswith(".gz"):
                with gzip.GzipFile(fileobj=file) as inner:
                    return inner.read(limit)
            if not path.endswith(".zip"):
                return file.read(limit)
            with zipfile.ZipFile(file) as archive:
                names = [member] if member else [info.filename for info in _files_of(archive)]
                if len(names) != 1:
                    raise DataError(
                        f"{where}: expected one file in the archive, found {len(names)}; unpack it into a folder"
                    )
                with archive.open(names[0]) as unpacked:
                    return unpacked.read(limit)
        except _DAMAGE as error:
            reason = str(error) or "it ends too early"
            raise DataError(f"{where}: truncated or damaged archive ({reason}); download it again") from None
        except _UNKNOWN_PACKING as error:
            raise DataError(f"{where}: {error}; unpack it first") from None


def _files_of(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if not info.is_dir() and not is_hidden(info.filename, "")]


def zip_members(url: str, options: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
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
