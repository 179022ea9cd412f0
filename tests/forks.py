"""Fresh processes at the price of a fork: of one that has imported what takes seconds, but nothing of any test."""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PARENT: Final = f"""
import os, sys, traceback

sys.path.insert(1, {str(ROOT)!r})
import skops.io

import job.learning.training
import job.worker.scorer

for line in sys.stdin:
    folder, files = line.rstrip("\\n").split("\\0")
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    os.chdir(folder)
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for number, (path, mode) in enumerate(zip((os.devnull, files + "/out", files + "/err"), modes)):
        os.dup2(os.open(path, mode), number)
    status = 0
    try:
        exec(open(files + "/script").read(), {{"__name__": "__main__"}})
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # whatever it is, the child must not go on as its parent
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
os._exit(0)
"""
"""It runs a script for each line of its input, in a folder, with what it prints in files."""
Fresh = Callable[[str, Path], subprocess.CompletedProcess[str]]
"""Runs a script in a folder, from which it can import, as from the project; returns its status and what it printed."""


@contextmanager
def fresh_processes() -> Iterator[Fresh]:
    """Give a way to run scripts, each in a process of its own."""
    if sys.platform != "linux":  # elsewhere, libraries may not outlive a fork
        yield lambda script, folder: _started(f"import sys; sys.path.insert(1, {str(ROOT)!r})\n{script}", folder)
        return
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin is not None
    assert parent.stdout is not None
    requests, answers = parent.stdin, parent.stdout

    def forked(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
        with tempfile.TemporaryDirectory() as files:
            Path(files, "script").write_text(script)
            requests.write(f"{folder}\0{files}\n")
            requests.flush()
            status = int(answers.readline())
            out, err = (Path(files, name).read_text() for name in ("out", "err"))
        return subprocess.CompletedProcess(script, status, out, err)

    with parent:
        yield forked
        requests.close()


def _started(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
