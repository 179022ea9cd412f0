"""Files of a registry: whole or not there, one winner, nothing outside, and failures that say what to do."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from job.core.errors import RegistryError
from job.storage import local
from job.storage.files import ExistingFileError, MissingFileError, Storage


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "store"))


def files_below(path: Path) -> list[str]:
    return sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())


def test_what_was_created_can_be_read_listed_and_removed(registry: Storage) -> None:
    registry.create("a/b%2Fc/x.json", b"one")
    registry.create("a/y.json", b"")
    assert registry.read("a/b%2Fc/x.json") == b"one"
    assert registry.read_many(["a/y.json", "a/absent", "a/b%2Fc/x.json"]) == {"a/y.json": b"", "a/b%2Fc/x.json": b"one"}
    assert registry.list() == ["a/b%2Fc/x.json", "a/y.json"]
    assert registry.list("a/b%2Fc") == ["a/b%2Fc/x.json"]
    assert registry.list("absent") == []
    assert registry.list("a/b%2Fc", "absent", "a") == registry.list()
    assert [registry.exists(path) for path in ("a/y.json", "a", "a/absent", "a/y.json/z")] == [
        True,
        False,
        False,
        False,
    ]
    registry.remove("a/y.json")
    registry.remove("a/y.json")
    assert registry.list() == ["a/b%2Fc/x.json"]


@pytest.mark.parametrize("path", ["absent", "a/absent", "a/x/below_a_file"])
def test_a_missing_file_is_named(registry: Storage, path: str) -> None:
    registry.create("a/x", b"")
    with pytest.raises(MissingFileError, match=f"{registry.url}/{path} does not exist"):
        registry.read(path)


def test_creating_the_same_bytes_again_is_our_own_lost_reply(registry: Storage) -> None:
    registry.create("a/x", b"one")
    registry.create("a/x", b"one")
    with pytest.raises(ExistingFileError, match=f"{registry.url}/a/x exists already, with other content"):
        registry.create("a/x", b"two")
    assert registry.read("a/x") == b"one"


def test_replacing_keeps_one_file(registry: Storage) -> None:
    registry.replace("runs/x.json", b"one")
    registry.replace("runs/x.json", b"two")
    assert registry.read("runs/x.json") == b"two"
    assert registry.list() == ["runs/x.json"]


def check_one_writer_wins(registry: Storage) -> None:
    """Check that of eight who create one file at once one does, and that what it wrote is there."""
    start = threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait()
        try:
            registry.create("a/x", b"%d" % number * 100_000)
        except ExistingFileError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert registry.read("a/x") == b"%d" % won.index(True) * 100_000
    assert registry.list() == ["a/x"]


def test_of_many_writers_one_wins(registry: Storage) -> None:
    check_one_writer_wins(registry)


def test_memory_looks_and_writes_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    exists = MemoryFileSystem.exists

    def slow(self: MemoryFileSystem, path: str) -> bool:
        found = bool(exists(self, path))
        time.sleep(0.02)
        return found

    monkeypatch.setattr(MemoryFileSystem, "exists", slow)
    check_one_writer_wins(Storage("memory://slow"))


def test_a_store_travels_to_other_processes(registry: Storage) -> None:
    registry.create("a/x", b"one")
    assert pickle.loads(pickle.dumps(registry)).read("a/x") == b"one"


def test_other_writers_are_seen_at_once(registry: Storage) -> None:
    other = Storage(registry.url, options={**registry._options, "skip_instance_cache": True})
    assert registry.list("a") == []
    assert not registry.exists("a/x")
    other.create("a/x", b"one")
    assert registry.list("a") == registry.list() == ["a/x"]
    other.create("a/y", b"two")
    assert registry.list("a") == registry.list() == ["a/x", "a/y"]
    other.remove("a/x")
    assert not registry.exists("a/x")
    other.create("a/x", b"other")
    assert registry.read("a/x") == b"other"
    assert registry.exists("a/x")


def test_a_writable_store_is_left_as_it_was(registry: Storage) -> None:
    registry.check_writable()
    assert registry.list() == []


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a//x", "", ".", "a/./x", "a/.."])
@pytest.mark.parametrize("action", ["create", "replace", "read", "exists", "remove"])
def test_no_path_leads_out_of_the_store(folder: Storage, tmp_path: Path, action: str, path: str) -> None:
    arguments = (b"x",) if action in {"create", "replace"} else ()
    with pytest.raises(RegistryError, match="is no path inside a registry"):
        getattr(folder, action)(path, *arguments)
    assert files_below(tmp_path) == []


def test_a_folder_in_any_spelling_is_the_same_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Storage("my [models]").create("a/x", b"one")
    for url in (str(tmp_path / "my [models]"), f"file://{tmp_path}/my [models]/", "./my [models]//"):
        assert Storage(url).read_many(Storage(url).list()) == {"a/x": b"one"}
    assert Storage("my [models]").url == str(tmp_path / "my [models]")


def test_a_killed_writer_leaves_no_part_of_a_file(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from job.storage import local\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from job.storage.files import Storage\n"
        "Storage(sys.argv[1]).create('a/x', b'1' * 1000)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=Path(__file__).parents[1], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(files_below(tmp_path)) == 1
    assert Storage(str(tmp_path)).list() == []
    assert not Storage(str(tmp_path)).exists("a/x")


def test_readers_of_a_replaced_file_see_all_of_it(folder: Storage) -> None:
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


def test_temporary_names_say_who_writes(tmp_path: Path) -> None:
    name = local.temporary_name("20231201_120000_a1b2c3")
    assert local.is_temporary(name)
    assert name.startswith(f".20231201_120000_a1b2c3-{os.getpid()}-")
    nobodys = local.temporary_name()
    for one in (name, nobodys):
        (tmp_path / one).touch()
    assert Storage(str(tmp_path)).unfinished() == {name: "20231201_120000_a1b2c3", nobodys: ""}
    assert not local.is_temporary("analyst_1h_20231201_120000_a1b2c3.json")
