"""Storage: what is listed, what goes wrong, and that no secret is ever shown."""

import gzip
import os
import sys
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from job.config.settings import DataSettings
from job.core.errors import DataError
from job.core.paths import redact_url
from job.sources.finding import find_series
from job.sources.reading import read_series
from job.storage import errors as remote
from job.storage.listing import list_files
from job.storage.messages import input_errors
from job.storage.opening import content, opened, zip_members

SECRET = "hunter2-very-secret"


class Refusing(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A storage that fails with its options in the message, as some do."""

    protocol = "refusing"
    cachable = False
    failure: ClassVar[type[Exception]] = OSError

    def info(self, path: str) -> dict[str, Any]:  # noqa: ARG002 - the signature of fsspec
        raise self.failure(f"cannot sign in to https://me:{SECRET}@host\nwith {self.storage_options}")


@pytest.fixture
def refusing() -> Iterator[type[Refusing]]:
    fsspec.register_implementation("refusing", Refusing, clobber=True)
    yield Refusing
    Refusing.failure = OSError


OPTIONS: dict[str, Any] = {
    "key": "AKIAEXAMPLE",
    "client_kwargs": {"headers": {"Authorization": SECRET}, "region_name": "eu-west-3"},
    "anon": False,
}


@pytest.mark.parametrize("failure", [OSError, ValueError, PermissionError, ImportError, FileNotFoundError])
def test_no_secret_is_shown_whatever_fails(refusing: type[Refusing], failure: type[Exception]) -> None:
    refusing.failure = failure
    settings = DataSettings(input=f"refusing://user:{SECRET}@bucket/bars", options=OPTIONS)
    with pytest.raises(DataError) as caught:
        find_series(settings)
    text = str(caught.value)
    assert SECRET not in text
    assert "AKIAEXAMPLE" not in text
    assert "\n" not in text
    assert caught.value.__cause__ is None
    assert text.startswith("refusing://bucket/bars: ")
    assert ("eu-west-3" in text) == (failure is not FileNotFoundError)


def test_errors_of_backends_are_known_by_name(refusing: type[Refusing], monkeypatch: pytest.MonkeyPatch) -> None:
    """Backends raise errors that are no OSError, such as botocore's for absent credentials."""
    module: Any = types.ModuleType("azure.core.exceptions")
    module.AzureError = type("AzureError", (Exception,), {})
    monkeypatch.setitem(sys.modules, "azure.core.exceptions", module)
    refusing.failure = module.AzureError
    with pytest.raises(DataError, match=r"cannot be read: cannot sign in .*; check data.input and data.options"):
        list_files("refusing://bucket/bars", {})


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("file:///data/a b.csv", "/data/a b.csv"),
        ("/data/a.csv", "/data/a.csv"),
        ("s3://bucket/a.csv", "s3://bucket/a.csv"),
        ("https://me:pw@host/a.csv?sig=abc&x=1", "https://host/a.csv"),
        ("http://host/a.csv?token=abc", "http://host/a.csv"),
        ("ftp://me:pw@host/a.csv", "ftp://host/a.csv"),
    ],
)
def test_urls_are_shown_without_secrets(url: str, text: str) -> None:
    assert redact_url(url) == text


def test_unknown_protocol() -> None:
    with pytest.raises(
        DataError, match=r"nonesuch://x/y: cannot be read: Protocol not known: nonesuch; check data.input"
    ):
        list_files("nonesuch://x/y", {})


def test_listing_has_sizes_and_stamps_and_no_hidden_files(tmp_path: Path) -> None:
    for name in ("a-10.csv", "a-9.csv", ".secret.csv", "_temporary/b.csv", "sub/c.csv", ".ipynb_checkpoints/d.csv"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    listed = list_files(str(tmp_path), {})
    assert [file.path.removeprefix(f"{tmp_path}/") for file in listed] == ["a-9.csv", "a-10.csv", "sub/c.csv"]
    assert [file.size for file in listed] == [7, 8, 9]
    assert all(file.stamp for file in listed)


def test_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1")
    before = list_files(str(path), {})[0]
    os.utime(path, ns=(10**18, 10**18))
    assert list_files(str(path), {})[0].stamp != before.stamp


def test_input_below_a_hidden_folder_is_not_hidden(tmp_path: Path) -> None:
    path = tmp_path / ".cache" / "_bars" / "a.csv"
    path.parent.mkdir(parents=True)
    path.write_text("x")
    assert [file.path for file in list_files(str(path.parent), {})] == [str(path)]
    assert [file.path for file in list_files(str(path), {})] == [str(path)]
    assert [file.path for file in list_files(f"{path.parent}/*.csv", {})] == [str(path)]


def test_natural_order(tmp_path: Path) -> None:
    for name in ("b", "a10", "a9", "a", "10", "9"):
        (tmp_path / name).touch()
    names = [file.path.rpartition("/")[2] for file in list_files(str(tmp_path), {})]
    assert names == ["9", "10", "a", "a9", "a10", "b"]


def test_content_of_plain_and_packed_files(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"hello")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"hel") + gzip.compress(b"lo"))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/a.csv", b"hello")
        archive.writestr("__MACOSX/folder/._a.csv", b"junk")
    for name in ("a.csv", "a.csv.gz", "a.zip"):
        assert content(str(tmp_path / name), None, {}) == b"hello"
        assert content(str(tmp_path / name), None, {}, limit=2) == b"he"
    assert zip_members(str(tmp_path / "a.zip"), {}) == (("folder/a.csv", 5),)
    assert content(str(tmp_path / "a.zip"), "folder/a.csv", {}) == b"hello"


def test_archives_that_cannot_be_used(tmp_path: Path) -> None:
    for names in ((), ("a.csv", "b.csv")):
        with zipfile.ZipFile(tmp_path / f"{len(names)}.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"x")
    with pytest.raises(DataError, match=r"0.zip: the archive is empty; download it again"):
        zip_members(str(tmp_path / "0.zip"), {})
    with pytest.raises(DataError, match=r"2.zip: expected one file in the archive, found 2; unpack it into a folder"):
        content(str(tmp_path / "2.zip"), None, {})
    (tmp_path / "page.zip").write_text("<html>404</html>")
    with pytest.raises(DataError, match=r"page.zip: truncated or no zip archive .*; download it again"):
        zip_members(str(tmp_path / "page.zip"), {})


def test_encrypted_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", b"hello")
    read_all = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        read_all[read_all.index(mark) + offset] |= 1
    path.write_bytes(read_all)
    with pytest.raises(DataError, match=r"a.zip: .*encrypted.*; unpack it first"):
        content(str(path), None, {})


def test_open_file_is_closed_and_errors_of_the_reader_pass(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(KeyError), opened(str(tmp_path / "a"), {}) as file:
        raise KeyError("mine")
    assert file.closed


class Busy(SimpleHTTPRequestHandler):
    """Serves a folder, but fails the next `failures` requests."""

    failures: ClassVar[int] = 0

    def do_GET(self) -> None:
        self._serve(super().do_GET)

    def do_HEAD(self) -> None:
        self._serve(super().do_HEAD)

    def _serve(self, serve: Callable[[], None]) -> None:
        if Busy.failures <= 0:
            serve()
            return
        Busy.failures -= 1
        self.send_error(503)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """Address of a web server on this machine that serves `tmp_path`."""
    handler = partial(Busy, directory=str(tmp_path))
    with (
        mock.patch.object(SimpleHTTPRequestHandler, "log_message"),
        ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_signed_web_addresses_are_read_and_their_signature_is_not_shown(site: str, tmp_path: Path) -> None:
    (tmp_path / "BTCUSDT.csv").write_text("time,open,high,low,close\n2024-01-01,1,2,0.5,1\n")
    (tmp_path / "ETHUSDT.csv").write_text("")
    settings = DataSettings(input=f"{site}/BTCUSDT.csv?signature={SECRET}")
    (series,) = find_series(settings).series
    assert series.symbol == "BTCUSDT"
    assert read_series(series, settings).bars.height == 1
    (problem,) = find_series(DataSettings(input=f"{site}/ETHUSDT.csv?signature={SECRET}")).problems
    assert str(problem) == f"{site}/ETHUSDT.csv: the file is empty; download it again"
    assert [one.symbol for one in find_series(DataSettings(input=f"{site}/")).series] == ["BTCUSDT"]
    with pytest.raises(DataError, match=r"/nope.csv: no such file") as caught:
        find_series(DataSettings(input=f"{site}/nope.csv?signature={SECRET}"))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("failures", [4, 99])
def test_a_busy_web_server_is_asked_again(
    site: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    monkeypatch.setattr(remote, "RETRY_DELAYS_S", (0.0,) * 4)
    (tmp_path / "BTCUSDT.csv").write_text("time,open,high,low,close\n2024-01-01,1,2,0.5,1\n")
    settings = DataSettings(input=f"{site}/BTCUSDT.csv?signature={SECRET}")
    (series,) = find_series(settings).series
    monkeypatch.setattr(Busy, "failures", failures)
    if failures == 4:
        assert read_series(series, settings).bars.height == 1
        return
    with pytest.raises(DataError, match=r"BTCUSDT.csv: cannot be read: 503.*; it failed again and again: ") as caught:
        read_series(series, settings)
    assert SECRET not in str(caught.value)


def test_errors_of_a_storage_whose_library_is_loaded_on_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.ModuleType("botocore.exceptions")
    library.BotoCoreError = type("BotoCoreError", (Exception,), {})  # type: ignore[attr-defined]
    library.ClientError = type("ClientError", (Exception,), {})  # type: ignore[attr-defined]
    monkeypatch.delitem(sys.modules, "botocore.exceptions", raising=False)
    with pytest.raises(DataError, match=r"s3://bars: cannot be read: no credentials;"), input_errors("s3://bars", {}):  # noqa: PT012
        monkeypatch.setitem(sys.modules, "botocore.exceptions", library)
        raise library.BotoCoreError("no credentials")
