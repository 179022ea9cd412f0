"""Workers of a local Ray are forks of one process that has imported what they need."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from job.cluster import new_worker
from job.cluster.connect import running
from job.cluster.new_worker import PARENT
from job.cluster.worker_parent import MODULES, worker_parent
from job.config.settings import RaySettings
from job.core.environment import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, libraries may not outlive a fork")

WORKER = """
import json, os, signal, sys

loaded = [name for name in {modules} if name in sys.modules]
seen = {{
    "pid": os.getpid(), "parent": os.getppid(), "name": __name__, "argv": sys.argv, "folder": os.getcwd(),
    "path": sys.path[0], "FOO": os.environ.get("FOO"), "loaded": loaded, "input": sys.stdin.read(),
    "children": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
    "fds": sorted(map(int, os.listdir("/proc/self/fd"))),
}}
with open(sys.argv[1], "w") as file:
    json.dump(seen, file)
print("said")
print("cried", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def parent() -> Iterator[dict[str, str]]:
    """What tells a new worker of the process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        with worker_parent(None) as given:
            yield given


def start(folder: Path, given: dict[str, str]) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
    """Start a worker as Ray does; return what it saw, once it has ended, and what whoever started it printed."""
    script, seen = folder / "default_worker.py", folder / "seen.json"
    script.write_text(WORKER.format(modules=repr([*MODULES])))
    done = subprocess.run(
        [sys.executable, new_worker.__file__, str(script), str(seen), "--language=PYTHON"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **given},
        capture_output=True,  # returns once the worker has closed its output, too
        text=True,
        check=False,
        timeout=120,
    )
    return json.loads(seen.read_text()), done


def test_workers_are_forks_of_what_has_imported_all(parent: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "pandas.py").write_text("raise SystemExit('a file of the user stands in for a library')")
    seen, done = start(tmp_path, {**parent, "FOO": "bar"})
    assert seen["loaded"] == [*MODULES]
    assert seen["argv"] == [str(tmp_path / "default_worker.py"), str(tmp_path / "seen.json")]
    assert (seen["name"], seen["folder"], seen["path"]) == ("__main__", str(tmp_path), str(tmp_path))
    assert (seen["FOO"], seen["input"], seen["children"]) == ("bar", "", True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "said\n", "cried\n")
    again, _ = start(tmp_path, {**parent, "FOO": "bar"})
    assert again["parent"] == seen["parent"]
    assert again["pid"] != seen["pid"]
    assert again["fds"] == seen["fds"], "files of the one before stay open in the next"
    other, _ = start(tmp_path, {**parent, "FOO": "else"})  # Ray was imported in another environment: it starts itself
    assert (other["FOO"], other["parent"] != seen["parent"]) == ("else", True)


def test_a_worker_that_fails_says_so_and_ends(parent: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "default_worker.py"
    script.write_text("raise OSError('no worker at all')")
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **parent, "FOO": "bar"}
    command = [sys.executable, new_worker.__file__, str(script), "--language=PYTHON"]
    done = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr.splitlines()[-1] == "OSError: no worker at all"
    assert start(tmp_path, {**parent, "FOO": "bar"})[0]["loaded"] == [*MODULES], "the next one is none the worse"


def test_where_the_process_is_gone_a_worker_imports_by_itself(tmp_path: Path) -> None:
    seen, done = start(tmp_path, {PARENT: str(tmp_path / "nothing")})
    assert seen["loaded"] == []
    assert (done.returncode, done.stdout) == (0, "said\n")


def test_the_process_ends_with_the_one_that_started_it(tmp_path: Path) -> None:
    script = "from job.cluster.worker_parent import worker_parent\nwith worker_parent(None) as given:\n    "
    script += "print(*given.values(), flush=True)\n    input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        folder = Path(starter.stdout.readline().decode().strip()).parent
        (started,) = psutil.Process(starter.pid).children()
        starter.kill()
    assert psutil.wait_procs([started], timeout=60)[1] == []
    assert not folder.exists()


def test_the_workers_of_a_run_have_one_parent_and_a_dead_one_is_replaced() -> None:
    with running(RaySettings(num_cpus=2)):

        @ray.remote(num_cpus=1, max_retries=0)
        def own(wait_s: float) -> tuple[int, int]:
            time.sleep(wait_s)
            return os.getpid(), os.getppid()

        (one, parent), (two, same) = ray.get([own.remote(1), own.remote(1)])
        assert one != two
        assert parent == same
        assert "job.cluster.worker_parent" in psutil.Process(parent).cmdline()
        os.kill(one, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(two)], timeout=2)  # Ray kills all of a dead worker's process group
        left = ray.get([own.options(max_retries=3).remote(1), own.options(max_retries=3).remote(1)])
        assert two in dict(left)
        assert one not in dict(left)
        assert {of for _, of in left} == {parent}
        workers = [psutil.Process(parent), *psutil.Process(parent).children()]
    assert psutil.wait_procs(workers, timeout=60)[1] == []
