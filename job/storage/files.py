"""One folder on any file system that fsspec knows, with one way to write: create, whole and exclusively."""

import errno
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from job.core.errors import RegistryError
from job.storage import local
from job.storage.backends import connect
from job.storage.errors import remote_errors, retry
from job.storage.messages import one_line, output_remedy

CONCURRENT_READS: Final = 16
FOLDERS_AT_ONCE: Final = 1024
"""Folders whose files are held at the same time while many are listed."""

EXCLUSIVE: Final = frozenset({"memory", "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az"})
"""Protocols, beside local files, whose fsspec implementation creates exclusively in one request."""

_memory_lock: Final = threading.Lock()
"""The memory file system looks and writes in two steps."""

T = TypeVar("T")


class MissingFileError(RegistryError):
    """A file that the registry does not hold."""


class ExistingFileError(RegistryError):
    """A file that exists with other content than the one to be created."""


class Storage:
    """Files below one URL. Paths are relative, with `/`; nothing is cached, so other writers are always seen.

    Args:
        url: a local folder or an fsspec URL (`s3://bucket/models`, `memory://x`).
        options: passed to the file system: endpoint, credentials. They never show in a message or in `repr`.
        writer: the run that writes; it is part of the names of unfinished files.

    Raises:
        RegistryError: the URL's protocol is unknown or its package is not installed, or the URL holds a password.
    """

    def __init__(self, url: str, *, options: Mapping[str, Any] | None = None, writer: str = "") -> None:
        absolute = url if "://" in url else str(Path(url).expanduser().absolute())
        self.url = re.sub(r"(?<=[^:/])/+$", "", absolute)
        self._options = dict(options or {})
        self._writer = writer
        if re.search(r"://[^/@]*:[^/@]*@", self.url):
            raise RegistryError("credentials do not belong in the output's URL: use the environment or storage.options")
        try:
            self._files, root = connect(self.url, {"use_listings_cache": False, **self._options})
        except (ValueError, ImportError, TypeError) as error:
            raise RegistryError(f"cannot open {self.url}: {one_line(error, self._options)}") from None
        self._root = root.rstrip("/")
        self._local = isinstance(self._files, LocalFileSystem)
        self._lock = _memory_lock if isinstance(self._files, MemoryFileSystem) else nullcontext()

    def __repr__(self) -> str:
        return f"Storage({self.url!r})"

    def __reduce__(self) -> tuple[Callable[..., "Storage"], tuple[()]]:
        return partial(Storage, self.url, options=self._options, writer=self._writer), ()

    def create(self, path: str, data: bytes) -> None:
        """Write a new file; it appears whole or not at all, and of several writers one wins.

        If the file exists with the same bytes, an earlier attempt of ours succeeded and only its reply was lost.

        Raises:
            ExistingFileError: the file exists with other bytes.
            RegistryError: it cannot be written.
        """
        try:
            self._attempt("create", path, lambda: self._create(path, data))
        except FileExistsError:
            if self.read(path) != data:
                raise ExistingFileError(f"{self.url}/{path} exists already, with other content") from None

    def replace(self, path: str, data: bytes) -> None:
        """Write a file whole in place of what was there; for files that are caches or records of one writer."""
        target = self._at(path)
        if self._local:
            self._attempt("write", path, lambda: local.replace(Path(target), data, writer=self._writer))
        else:
            self._attempt("write", path, lambda: self._files.pipe_file(target, data))

    @property
    def appends(self) -> bool:
        """Whether `append` can be called: object stores only write files whole."""
        return self._local

    def append(self, path: str, data: bytes) -> None:
        """Add bytes to the end of a local file, which is made if need be; what was added outlives this process.

        Raises:
            RegistryError: it cannot be written.
        """
        self._attempt("write", path, lambda: local.append(Path(self._at(path)), data))

    def read(self, path: str) -> bytes:
        """Return a file's bytes.

        Raises:
            MissingFileError: there is no such file.
        """
        data: bytes = self._attempt("read", path, lambda: self._files.cat_file(self._at(path)))
        return data

    def look_into(self, path: str, look: Callable[[IO[bytes]], T]) -> T:
        """Return what `look` finds in an open file; only the parts that it asks for are read.

        Raises:
            MissingFileError: there is no such file.
        """

        def opened() -> T:
            with self._files.open(self._at(path), "rb") as file:
                return look(file)

        return self._attempt("read", path, opened)

    def read_many(self, paths: Iterable[str]) -> dict[str, bytes]:
        """Return the bytes of every file that exists, read at the same time."""
        with ThreadPoolExecutor(CONCURRENT_READS) as pool:
            reads = {path: pool.submit(self.read, path) for path in paths}
        found: dict[str, bytes] = {}
        for path, read in reads.items():
            with suppress(MissingFileError):
                found[path] = read.result()
        return found

    def exists(self, path: str) -> bool:
        """Return whether there is a file (not a folder) at `path`."""
        try:
            info = self._attempt("look at", path, lambda: self._files.info(self._at(path)))
        except (FileNotFoundError, NotADirectoryError):
            return False
        return bool(info["type"] == "file")

    def list(self, *prefixes: str) -> list[str]:
        """Return the sorted paths of all whole files below the folders `prefixes` (default: all)."""
        return sorted({path for listing in self.listings(*prefixes) for path in listing})

    def listings(self, *prefixes: str) -> Iterator[Sequence[str]]:
        """Yield the paths of all whole files below the folders `prefixes` (default: all), part by part, unsorted.

        The files of a folder are in one part. Who wants little of each path needs not hold all of them at once.
        """
        for listing in self._listings(prefixes):
            yield [path for path, _ in listing if not local.is_temporary(path.rpartition("/")[2])]

    def sizes(self, *prefixes: str) -> dict[str, int]:
        """Return the bytes of all whole files below the folders `prefixes` (default: all), by path, sorted."""
        found = {path: size for listing in self._listings(prefixes, sizes=True) for path, size in listing}
        return {path: found[path] for path in sorted(found) if not local.is_temporary(path.rpartition("/")[2])}

    def unfinished(self) -> dict[str, str]:
        """Return the writer of every file that is being written, or was when its writer died, by path."""
        names = {path: path.rpartition("/")[2] for listing in self._listings(()) for path, _ in listing}
        # Behind the dot stands the writer, see `temporary_name`.
        return {path: name[1:].partition("-")[0] for path, name in names.items() if local.is_temporary(name)}

    def remove(self, path: str) -> None:
        """Delete a file; it is no error if it is gone already."""
        try:
            self._attempt("delete", path, lambda: self._files.rm_file(self._at(path)))
        except FileNotFoundError:
            return

    def remove_folder(self, path: str) -> None:
        """Delete a folder with all below it; it is no error if it is gone already."""
        with suppress(FileNotFoundError):
            self._attempt("delete", path, lambda: self._files.rm(self._at(path), recursive=True))

    def check_writable(self) -> None:
        """Create and delete a file, and check that a second writer of it is refused.

        Raises:
            RegistryError: saying what is wrong with the output and what to do about it.
        """
        probe = local.temporary_name(self._writer)
        self.create(probe, b"first writer")
        try:
            self.create(probe, b"second writer")
        except ExistingFileError:
            return
        finally:
            self.remove(probe)
        raise RegistryError(
            f"{self.url}: this object store ignores conditional writes (If-None-Match), so that two runs could "
            "overwrite each other; upgrade it or choose another output"
        )

    def _at(self, path: str) -> str:
        """Return the file system's path of `path`, which must not lead out of the registry."""
        if not path or any(part in {"", ".", ".."} for part in path.split("/")):
            raise RegistryError(f"{path!r} is no path inside a registry")
        return f"{self._root}/{path}"

    def _create(self, path: str, data: bytes) -> None:
        target = self._at(path)
        if self._local:
            local.create(Path(target), data, writer=self._writer)
            return
        protocols = [self._files.protocol] if isinstance(self._files.protocol, str) else self._files.protocol
        if EXCLUSIVE.isdisjoint(protocols):
            raise RegistryError(
                f"{self.url}: this file system cannot create files exclusively, so that two runs could overwrite "
                "each other; choose a local or mounted folder, s3://, gs:// or az://"
            )
        try:
            with self._lock:
                self._files.pipe_file(target, data, mode="create")
        except OSError as error:
            # Only AWS says which precondition failed; from others it comes as an invalid argument.
            if error.errno == errno.EINVAL and self.exists(path):
                raise FileExistsError(path) from error
            raise

    def _listings(self, prefixes: Sequence[str], *, sizes: bool = False) -> Iterator[Sequence[tuple[str, int]]]:
        """Yield all files below `prefixes` (default: all), unfinished ones too, listing by listing, with their bytes.

        Many folders of an object store are found by listing the folders above them: one request names a thousand files,
        and one for each folder would be as many as there are series.
        """
        wanted = frozenset(prefixes)
        folders = [one for one in dict.fromkeys(prefixes) if wanted.isdisjoint([*_folders_of(one)][:-1])] or [""]
        apart = self._local or len(folders) <= CONCURRENT_READS
        if not apart:
            folders = sorted({prefix.partition("/")[0] for prefix in prefixes})

        def listed(share: Sequence[str]) -> Sequence[tuple[str, int]]:
            return [one for folder in share for one in self._list(folder, sizes=sizes)]

        with ThreadPoolExecutor(CONCURRENT_READS) as pool:
            for start in range(0, len(folders), FOLDERS_AT_ONCE):
                part = folders[start : start + FOLDERS_AT_ONCE]
                for listing in pool.map(listed, [part[first::CONCURRENT_READS] for first in range(CONCURRENT_READS)]):
                    yield listing if apart else [one for one in listing if not wanted.isdisjoint(_folders_of(one[0]))]

    def _list(self, prefix: str, *, sizes: bool) -> Iterable[tuple[str, int]]:
        """Return the files below a folder with their bytes; on local disks these are 0 unless `sizes` are asked for."""
        folder = (self._at(prefix) if prefix else self._root) or "/"

        def found() -> dict[str, int]:
            if self._local:
                return local.walk(folder, sizes=sizes)
            return {path: int(about["size"]) for path, about in self._files.find(folder, detail=True).items()}

        try:
            listed = self._attempt("list", prefix, found)
        except (FileNotFoundError, NotADirectoryError):
            return ()
        cut = len(self._root)
        return ((path[cut:].lstrip("/"), size) for path, size in listed.items())

    def _attempt(self, action: str, path: str, call: Callable[[], T]) -> T:
        """Return what `call` returns, trying again where that may help.

        Raises:
            MissingFileError: the file to read does not exist.
            FileExistsError, FileNotFoundError, NotADirectoryError: other answers, which the caller understands.
            RegistryError: every other failure, naming the URL, the cause and a remedy.
        """
        try:
            return retry(call)
        except remote_errors() as error:
            absent = isinstance(error, FileNotFoundError | NotADirectoryError)
            if action == "read" and absent:
                raise MissingFileError(f"{self.url}/{path} does not exist") from None
            if isinstance(error, FileExistsError) if action == "create" else (absent and action != "write"):
                raise
            where = self.url if not path or local.is_temporary(path) else f"{self.url}/{path}"
            remedy = output_remedy(error, local=self._local)
            cause = one_line(error, self._options) + (f"; {remedy}" if remedy else "")
            raise RegistryError(f"cannot {action} {where}: {cause}") from error


def _folders_of(path: str) -> Iterator[str]:
    """Yield every folder that a file lies in, and the file: `binance`, `binance/BTCUSDT`."""
    return accumulate(path.split("/"), "{}/{}".format)
