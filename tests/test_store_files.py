"""Files of a store: whole or not there, one winner, nothing outside, and failures that say what to do."""

import errno
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from job.errors import StoreError
from job.store import ExistingFileError, MissingFileError, Store, files, local
from job.store.failures import scrub
from tests.stores import KINDS, SECRET, open_store, s3_options, s3_server


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Store:
    return open_store(request.param, request)


@pytest.fixture
def folder(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


def files_below(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def test_what_was_created_can_be_read_listed_and_removed(store: Store) -> None:
    store.create("a/b%2Fc/x.json", b"one")
    store.create("a/y.json", b"")
    assert store.read("a/b%2Fc/x.json") == b"one"
    assert store.read_many(["a/y.json", "a/absent", "a/b%2Fc/x.json"]) == {"a/y.json": b"", "a/b%2Fc/x.json": b"one"}
    assert store.list() == ["a/b%2Fc/x.json", "a/y.json"]
    assert store.list("a/b%2Fc") == ["a/b%2Fc/x.json"]
    assert store.list("absent") == []
    assert [store.exists(path) for path in ("a/y.json", "a", "a/absent", "a/y.json/z")] == [True, False, False, False]
    store.remove("a/y.json")
    store.remove("a/y.json")
    assert store.list() == ["a/b%2Fc/x.json"]


@pytest.mark.parametrize("path", ["absent", "a/absent", "a/x/below_a_file"])
def test_a_missing_file_is_named(store: Store, path: str) -> None:
    store.create("a/x", b"")
    with pytest.raises(MissingFileError, match=f"{store.url}/{path} does not exist"):
        store.read(path)


def test_creating_the_same_bytes_again_is_our_own_lost_reply(store: Store) -> None:
    store.create("a/x", b"one")
    store.create("a/x", b"one")
    with pytest.raises(ExistingFileError, match=f"{store.url}/a/x exists already, with other content"):
        store.create("a/x", b"two")
    assert store.read("a/x") == b"one"


def test_replacing_keeps_one_file(store: Store) -> None:
    store.replace("runs/x.json", b"one")
    store.replace("runs/x.json", b"two")
    assert store.read("runs/x.json") == b"two"
    assert store.list() == ["runs/x.json"]


def test_of_many_writers_one_wins(store: Store) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait()
        try:
            store.create("a/x", b"%d" % number * 100_000)
        except ExistingFileError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert store.read("a/x") == b"%d" % won.index(True) * 100_000
    assert store.list() == ["a/x"]


def test_memory_looks_and_writes_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = MemoryFileSystem.exists

    def slow(self: MemoryFileSystem, path: str) -> bool:
        found = bool(exists(self, path))
        time.sleep(0.02)
        return found

    monkeypatch.setattr(MemoryFileSystem, "exists", slow)
    test_of_many_writers_one_wins(Store("memory://slow"))


def test_a_store_travels_to_other_processes(store: Store) -> None:
    store.create("a/x", b"one")
    assert pickle.loads(pickle.dumps(store)).read("a/x") == b"one"


def test_other_writers_are_seen_at_once(store: Store) -> None:
    other = Store(store.url, options={**store._options, "skip_instance_cache": True})
    assert store.list("a") == []
    assert not store.exists("a/x")
    other.create("a/x", b"one")
    assert store.list("a") == store.list() == ["a/x"]
    other.create("a/y", b"two")
    assert store.list("a") == store.list() == ["a/x", "a/y"]
    other.remove("a/x")
    assert not store.exists("a/x")
    other.create("a/x", b"other")
    assert store.read("a/x") == b"other"
    assert store.exists("a/x")


def test_a_writable_store_is_left_as_it_was(store: Store) -> None:
    store.check_writable()
    assert store.list() == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a//x", "", ".", "a/./x", "a/.."])
@pytest.mark.parametrize("action", ["create", "replace", "read", "exists", "remove"])
def test_no_path_leads_out_of_the_store(folder: Store, tmp_path: Path, action: str, path: str) -> None:
    arguments = (b"x",) if action in {"create", "replace"} else ()
    with pytest.raises(StoreError, match="is no path inside a store"):
        getattr(folder, action)(path, *arguments)
    assert files_below(tmp_path) == []


def test_a_folder_in_any_spelling_is_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store("my [models]").create("a/x", b"one")
    for url in (str(tmp_path / "my [models]"), f"file://{tmp_path}/my [models]/", "./my [models]//"):
        assert Store(url).read_many(Store(url).list()) == {"a/x": b"one"}
    assert Store("my [models]").url == str(tmp_path / "my [models]")


def test_a_killed_writer_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from job.store import local\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from job.store import Store\n"
        "Store(sys.argv[1]).create('a/x', b'1' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(files_below(tmp_path)) == 1
    assert Store(str(tmp_path)).list() == []
    assert not Store(str(tmp_path)).exists("a/x")


def test_readers_of_a_replaced_file_see_all_of_it(folder: Store) -> None:
    contents = {b"a" * 300_000, b"b" * 200_000}
    folder.replace("x", b"a" * 300_000)
    stop = threading.Event()
    seen: set[bytes] = set()

    def read() -> None:
        while not stop.is_set():
            seen.add(folder.read("x"))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(20):
        for content in contents:
            folder.replace("x", content)
    stop.set()
    reader.join()
    assert seen <= contents


def refuse(number: int) -> Callable[..., Any]:
    def fail(*arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "No space left on device; free some space or choose another output"),
        (errno.EROFS, "Read-only file system; the file system is read-only: choose another output"),
        (errno.EACCES, "Permission denied; make the folder writable or choose another output"),
    ],
)
def test_a_failed_write_says_why_and_leaves_nothing(
    folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(StoreError, match=f"cannot create {folder.url}/a/x: {message}"):
        folder.create("a/x", b"one")
    with pytest.raises(StoreError, match=f"cannot write {folder.url}/a/x: {message}"):
        folder.replace("a/x", b"one")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_without_hard_links_it_refuses_to_write(
    folder: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    with pytest.raises(StoreError, match=r"this file system has no hard links .*choose a folder on another disk"):
        folder.create("a/x", b"one")
    assert files_below(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that even root cannot write to")
def test_an_unwritable_output_is_named() -> None:
    with pytest.raises(StoreError, match=r"cannot create /proc/models: .*; choose another output"):
        Store("/proc/models").check_writable()
    with pytest.raises(StoreError, match=r"cannot create /sys/models: .*; make the folder writable or choose another"):
        Store("/sys/models").check_writable()


@pytest.mark.parametrize("below", ["", "/models"])
def test_a_file_where_the_output_should_be_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(StoreError, match=rf"cannot create .*/taken{below}: .*; a file stands where a folder is needed"):
        Store(f"{tmp_path}/taken{below}").check_writable()
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("unknown://x", "cannot open unknown://x: Protocol not known: unknown"),
        ("ftp://me:hunter2@host/x", "credentials do not belong in the output's URL"),
    ],
)
def test_a_url_that_cannot_be_opened_is_refused(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as raised:
        Store(url)
    assert "hunter2" not in str(raised.value)


class TwoStepFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system that cannot create exclusively."""

    protocol = "twostep"
    store: ClassVar[dict[str, Any]] = {}


def test_a_file_system_without_exclusive_writes_is_refused() -> None:
    fsspec.register_implementation("twostep", TwoStepFileSystem, clobber=True)
    with pytest.raises(StoreError, match=r"twostep://x: this file system cannot create files exclusively"):
        Store("twostep://x").check_writable()
    assert TwoStepFileSystem.store == {}


class Flaky:
    """Stands before a file system's writes and fails the first ones, before or after they are done."""

    def __init__(self, write: Callable[..., Any], error: Exception, *, failures: int, after: bool) -> None:
        self.write, self.error, self.failures, self.after = write, error, failures, after
        self.calls = 0

    def __call__(self, *arguments: Any, **named: Any) -> None:
        self.calls += 1
        if self.calls > self.failures or self.after:
            self.write(*arguments, **named)
        if self.calls <= self.failures:
            raise self.error


def make_flaky(
    monkeypatch: pytest.MonkeyPatch, error: Exception, *, failures: int = 1, after: bool = False
) -> tuple[Store, Flaky]:
    store = Store("memory://flaky", options={"skip_instance_cache": True, "global_store": False, "password": SECRET})
    flaky = Flaky(store._files.pipe_file, error, failures=failures, after=after)
    monkeypatch.setattr(store._files, "pipe_file", flaky)
    return store, flaky


TRANSIENT = [OSError(errno.EBUSY, "SlowDown"), OSError(errno.EIO, "conflict"), ConnectionResetError("reset by peer")]


@pytest.mark.parametrize("error", TRANSIENT, ids=str)
def test_a_passing_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    store, flaky = make_flaky(monkeypatch, error, failures=3)
    store.create("a/x", b"one")
    assert (flaky.calls, store.read("a/x")) == (4, b"one")


@pytest.mark.parametrize("error", TRANSIENT, ids=str)
def test_a_reply_lost_after_the_write_is_recognised(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    store, _ = make_flaky(monkeypatch, error, after=True)
    store.create("a/x", b"one")
    assert store.read("a/x") == b"one"


def test_a_lasting_failure_ends_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    store, flaky = make_flaky(monkeypatch, OSError(errno.EBUSY, "please reduce your request rate"), failures=99)
    with pytest.raises(StoreError, match=r"cannot create memory://flaky/a/x: please reduce your request rate"):
        store.create("a/x", b"one")
    assert flaky.calls == 4


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError("Access Denied"), "Access Denied; check the credentials"),
        (FileNotFoundError("The specified bucket does not exist"), "create the bucket or correct the URL"),
        (OSError(errno.EINVAL, "The authorization header is malformed"), "header is malformed"),
    ],
)
def test_a_permanent_failure_is_not_repeated(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    store, flaky = make_flaky(monkeypatch, error, failures=99)
    with pytest.raises(StoreError, match=rf"cannot create memory://flaky/a/x: .*{message}"):
        store.create("a/x", b"one")
    assert flaky.calls == 1


def test_absent_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = pytest.importorskip("botocore.exceptions", reason="the s3 extra is not installed")
    store, _ = make_flaky(monkeypatch, exceptions.NoCredentialsError(), failures=99)
    with pytest.raises(StoreError, match=r"Unable to locate credentials; check the credentials \(environment"):
        store.create("a/x", b"one")


def test_a_refused_precondition_in_other_words_means_that_the_file_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    store, flaky = make_flaky(monkeypatch, OSError(errno.EINVAL, "At least one of the pre-conditions did not hold"))
    flaky.after = True
    store.create("a/x", b"one")
    flaky.calls = 0
    with pytest.raises(ExistingFileError, match="with other content"):
        store.create("a/x", b"two")


def test_a_store_that_ignores_conditions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store("memory://careless")
    overwrite = store._files.pipe_file
    monkeypatch.setattr(store._files, "pipe_file", lambda path, data, mode: overwrite(path, data))  # noqa: ARG005
    with pytest.raises(StoreError, match=r"memory://careless: this object store ignores conditional writes"):
        store.check_writable()
    assert store.list() == []


def test_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = make_flaky(monkeypatch, PermissionError(f"bad signature for {SECRET}"), failures=99)
    with pytest.raises(StoreError, match=r"bad signature for \*\*\*") as raised:
        store.create("a/x", b"one")
    assert SECRET not in f"{raised.value}{store}{store!r}{store.url}"


@pytest.mark.parametrize("options", [{"secret": SECRET}, {"client_kwargs": {"aws_secret_access_key": SECRET}}])
def test_nested_secrets_are_masked(options: dict[str, Any]) -> None:
    assert scrub(f"x {SECRET} y", options) == "x *** y"


def test_temporary_names_say_who_writes() -> None:
    name = local.temporary_name()
    assert local.is_temporary(name)
    assert name.startswith(f".{os.getpid()}-")
    assert not local.is_temporary("analyst_1h_20231201_120000_a1b2c3.json")


@pytest.mark.slow
def test_a_missing_bucket_is_named(s3_endpoint: str) -> None:
    store = Store("s3://absent/models", options=s3_options(s3_endpoint))
    with pytest.raises(StoreError, match=r"cannot create s3://absent/models: .*; create the bucket or correct the URL"):
        store.check_writable()


@pytest.mark.slow
def test_a_dead_endpoint_is_named() -> None:
    store = Store("s3://models/x", options=s3_options("http://127.0.0.1:1"))
    with pytest.raises(StoreError, match=r"Could not connect to the endpoint URL.*check the URL, the endpoint"):
        store.check_writable()
