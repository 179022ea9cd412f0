"""Files of a local folder that appear whole or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from job.core.errors import RegistryError

NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV})
"""Error numbers with which file systems refuse hard links."""

TEMPORARY: Final = ".tmp"
"""Suffix of files that are being written; they are no part of the registry."""


def create(target: Path, data: bytes, *, writer: str = "") -> None:
    """Write a file that did not exist before: a temporary file beside it, synced, gets its name by a hard link.

    An empty file is whole as soon as it exists, and is made without.

    Raises:
        FileExistsError: the target exists.
        NotADirectoryError: a file stands where a folder is needed.
        RegistryError: the file system has no hard links, without which two writers could overwrite each other.
    """
    if not data:
        _make_folder(target.parent)
        target.touch(exist_ok=False)
        _sync_folder(target.parent)
        return
    with _staged(target, data, writer) as staged:
        try:
            os.link(staged, target)
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            raise RegistryError(
                f"{target.parent}: this file system has no hard links ({error.strerror}), which exclusive writes need; "
                "choose a folder on another disk, or an object store"
            ) from error
    _sync_folder(target.parent)


def replace(target: Path, data: bytes, *, writer: str = "") -> None:
    """Write a file in place of what was there: readers see the old bytes or the new ones, never a part."""
    with _staged(target, data, writer) as staged:
        staged.replace(target)
    _sync_folder(target.parent)


def append(target: Path, data: bytes) -> None:
    """Add bytes to the end of a file, which is made if need be."""
    _make_folder(target.parent)
    with target.open("ab") as file:
        file.write(data)


def walk(folder: str, *, sizes: bool) -> dict[str, int]:
    """Return the path of every file below a folder, and of every link, which is not followed, with its bytes.

    The bytes are 0 unless `sizes` are asked for, which takes a look at each file. What is removed meanwhile is left
    out.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder.
    """
    found: dict[str, int] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    found |= walk(entry.path, sizes=sizes)
                else:
                    found[entry.path] = entry.stat(follow_symlinks=False).st_size if sizes else 0
    return found


def is_temporary(name: str) -> bool:
    """Return whether a file's name is one that a writer uses until its file is whole."""
    return name.startswith(".") and name.endswith(TEMPORARY)


def temporary_name(writer: str = "") -> str:
    """Return a new name that says which run and process is writing: `.20231201_120000_a1b2c3-4711-0a1b2c3d.tmp`."""
    return f".{writer}-{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY}"


@contextmanager
def _staged(target: Path, data: bytes, writer: str) -> Iterator[Path]:
    """Yield a synced temporary file beside `target` that holds `data`, and remove it if it is still there."""
    _make_folder(target.parent)
    staged = target.parent / temporary_name(writer)
    try:
        with staged.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield staged
    finally:
        staged.unlink(missing_ok=True)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(error.errno, "Not a directory", str(folder)) from error


def _sync_folder(folder: Path) -> None:
    """Make a new name survive a power failure; only POSIX can sync a folder."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
