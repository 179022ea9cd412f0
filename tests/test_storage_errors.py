"""What goes wrong while writing: tried again where that helps, else explained, never half done, no secret shown."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from job.core.errors import RegistryError
from job.storage import errors as remote
from job.storage.files import ExistingFileError, Storage
from job.storage.messages import masked
from tests.registries import SECRET, s3_options


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "RETRY_DELAYS_S", (0.0, 0.0, 0.0))


def files_below(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


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
    folder: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    monkeypatch.setattr(os, "fsync", refuse(number))
    with pytest.raises(RegistryError, match=f"cannot create {folder.url}/a/x: {message}"):
        folder.create("a/x", b"one")
    with pytest.raises(RegistryError, match=f"cannot write {folder.url}/a/x: {message}"):
        folder.replace("a/x", b"one")
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_without_hard_links_it_refuses_to_write(
    folder: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refuse(number))
    with pytest.raises(RegistryError, match=r"this file system has no hard links .*choose a folder on another disk"):
        folder.create("a/x", b"one")
    assert files_below(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that even root cannot write to")
def test_an_unwritable_output_is_named() -> None:
    with pytest.raises(RegistryError, match=r"cannot create /proc/models: .*; choose another output"):
        Storage("/proc/models").check_writable()
    with pytest.raises(
        RegistryError, match=r"cannot create /sys/models: .*; make the folder writable or choose another"
    ):
        Storage("/sys/models").check_writable()


@pytest.mark.parametrize("below", ["", "/models"])
def test_a_file_where_the_output_should_be_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(
        RegistryError, match=rf"cannot create .*/taken{below}: .*; a file stands where a folder is needed"
    ):
        Storage(f"{tmp_path}/taken{below}").check_writable()
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("unknown://x", "cannot open unknown://x: Protocol not known: unknown"),
        ("ftp://me:hunter2@host/x", "credentials do not belong in the output's URL"),
    ],
)
def test_a_url_that_cannot_be_opened_is_refused(url: str, message: str) -> None:
    with pytest.raises(RegistryError, match=message) as raised:
        Storage(url)
    assert "hunter2" not in str(raised.value)


class TwoStepFileSystem(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system that cannot create exclusively."""

    protocol = "twostep"
    registry: ClassVar[dict[str, Any]] = {}


def test_a_file_system_without_exclusive_writes_is_refused() -> None:
    fsspec.register_implementation("twostep", TwoStepFileSystem, clobber=True)
    with pytest.raises(RegistryError, match=r"twostep://x: this file system cannot create files exclusively"):
        Storage("twostep://x").check_writable()
    assert TwoStepFileSystem.registry == {}


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
) -> tuple[Storage, Flaky]:
    registry = Storage(
        "memory://flaky", options={"skip_instance_cache": True, "global_store": False, "password": SECRET}
    )
    flaky = Flaky(registry._files.pipe_file, error, failures=failures, after=after)
    monkeypatch.setattr(registry._files, "pipe_file", flaky)
    return registry, flaky


TRANSIENT = [OSError(errno.EBUSY, "SlowDown"), OSError(errno.EIO, "conflict"), ConnectionResetError("reset by peer")]


@pytest.mark.parametrize("error", TRANSIENT, ids=str)
def test_a_transient_failure_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    registry, flaky = make_flaky(monkeypatch, error, failures=3)
    registry.create("a/x", b"one")
    assert (flaky.calls, registry.read("a/x")) == (4, b"one")


@pytest.mark.parametrize("error", TRANSIENT, ids=str)
def test_a_reply_lost_after_the_write_is_recognised(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    registry, _ = make_flaky(monkeypatch, error, after=True)
    registry.create("a/x", b"one")
    assert registry.read("a/x") == b"one"


def test_a_lasting_failure_ends_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, flaky = make_flaky(monkeypatch, OSError(errno.EBUSY, "please reduce your request rate"), failures=99)
    with pytest.raises(RegistryError, match=r"cannot create memory://flaky/a/x: please reduce your request rate"):
        registry.create("a/x", b"one")
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
    registry, flaky = make_flaky(monkeypatch, error, failures=99)
    with pytest.raises(RegistryError, match=rf"cannot create memory://flaky/a/x: .*{message}"):
        registry.create("a/x", b"one")
    assert flaky.calls == 1


def test_absent_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    exceptions = pytest.importorskip("botocore.exceptions", reason="the s3 extra is not installed")
    registry, _ = make_flaky(monkeypatch, exceptions.NoCredentialsError(), failures=99)
    with pytest.raises(RegistryError, match=r"Unable to locate credentials; check the credentials \(environment"):
        registry.create("a/x", b"one")


def test_a_refused_precondition_in_other_words_means_that_the_file_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, flaky = make_flaky(monkeypatch, OSError(errno.EINVAL, "At least one of the pre-conditions did not hold"))
    flaky.after = True
    registry.create("a/x", b"one")
    flaky.calls = 0
    with pytest.raises(ExistingFileError, match="with other content"):
        registry.create("a/x", b"two")


def test_a_store_that_ignores_conditions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Storage("memory://careless")
    overwrite = registry._files.pipe_file
    monkeypatch.setattr(registry._files, "pipe_file", lambda path, data, mode: overwrite(path, data))  # noqa: ARG005
    with pytest.raises(RegistryError, match=r"memory://careless: this object store ignores conditional writes"):
        registry.check_writable()
    assert registry.list() == []


def test_secrets_show_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, _ = make_flaky(monkeypatch, PermissionError(f"bad signature for {SECRET}"), failures=99)
    with pytest.raises(RegistryError, match=r"bad signature for \*\*\*") as raised:
        registry.create("a/x", b"one")
    assert SECRET not in f"{raised.value}{registry}{registry!r}{registry.url}"


@pytest.mark.parametrize("options", [{"secret": SECRET}, {"client_kwargs": {"aws_secret_access_key": SECRET}}])
def test_nested_secrets_are_masked(options: dict[str, Any]) -> None:
    assert masked(f"x {SECRET} y", options) == "x *** y"


@pytest.mark.slow
def test_a_missing_bucket_is_named(s3_endpoint: str) -> None:
    registry = Storage("s3://absent/models", options=s3_options(s3_endpoint))
    with pytest.raises(
        RegistryError, match=r"cannot create s3://absent/models: .*; create the bucket or correct the URL"
    ):
        registry.check_writable()


@pytest.mark.slow
def test_a_dead_endpoint_is_named() -> None:
    registry = Storage("s3://models/x", options=s3_options("http://127.0.0.1:1"))
    with pytest.raises(RegistryError, match=r"Could not connect to the endpoint URL.*check the URL, the endpoint"):
        registry.check_writable()
