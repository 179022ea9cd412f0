"""Has imported what workers need, and becomes one of them by a fork as often as Ray starts one: one import for all.

Libraries take 3 s of CPU to import, and as long on the clock of a run that has just begun; Ray takes one more. They
are imported by a process of its own, `python -m job.cluster.worker_parent LISTENER`, while the driver starts Ray.
Whoever starts a worker (`new_worker`) sends its standard output and error, then command line, folder and environment.
Ray reads its settings from the environment when it is imported, which is therefore done for the first request; one of
another environment is declined, and its sender goes on by itself, as it does where this process is gone.
"""

import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Final

from job.cluster.new_worker import PARENT, TAKEN

LIBRARIES: Final = ("pandas", "job.train.steps", "job.train.commit")
"""What workers import, and what Ray Data does, before Ray."""
MODULES: Final = (*LIBRARIES, "ray.data")
"""All that workers import when they start."""


@contextmanager
def worker_parent(folder: str | None) -> Iterator[dict[str, str]]:
    """Start the process, and yield what tells workers of it if it is in Ray's environment; end it at the end.

    Nothing is started but on Linux: elsewhere, libraries may not outlive a fork. `folder` is where its socket goes,
    None for the system's folder of temporary files.
    """
    if sys.platform != "linux":
        yield {}
        return
    with tempfile.TemporaryDirectory(dir=folder) as private, socket.socket(socket.AF_UNIX) as listener:
        address = str(Path(private, "workers"))
        listener.bind(address)
        listener.listen()
        number = listener.fileno()
        # -P: no folder of the user's comes before the libraries. In a group of its own, Ctrl-C does not reach it.
        process = subprocess.Popen(  # noqa: S603 - this file
            [sys.executable, "-P", "-m", __name__, str(number)],
            pass_fds=[number],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )
        listener.close()
        try:
            yield {PARENT: address}
        finally:
            process.kill()
            with process:
                pass


def main(number: int) -> None:
    """Fork a worker for each request until the process that started this one closes its input, or ends."""
    gc.disable()  # what modules make while they load stays: looking for garbage would take a fifth of the time
    for name in LIBRARIES:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # of workers that end, nothing is kept
    common: dict[str, str] = {}
    with socket.socket(fileno=number) as listener:
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            command, folder, outputs = next_worker(listener, common)
            if command and not os.fork():
                listener.close()
                become(command, folder, outputs)
            for output in outputs:
                os.close(output)
        # Who started this one may have been killed, and have left the folder of the socket.
        shutil.rmtree(Path(listener.getsockname()).parent, ignore_errors=True)


def next_worker(listener: socket.socket, common: dict[str, str]) -> tuple[list[str], str, list[int]]:
    """Return command line, folder, and output files of the worker that is asked for; no command if it is declined.

    `common` is the environment of all workers, which is that of the first one.
    """
    outputs: list[int] = []
    with listener.accept()[0] as client, suppress(OSError, ValueError):  # who hung up before all was said
        outputs = socket.recv_fds(client, 1, 2)[1]
        command, folder, environment = json.loads(client.makefile("rb").read())
        if not common:
            common.update(environment)
            os.environ.update(environment)
            import_module("job.cluster.worker_imports")
        if environment == common:
            client.sendall(TAKEN)
            return command, folder, outputs
    return [], "", outputs


def become(command: list[str], folder: str, outputs: list[int]) -> None:
    """Go on as what `python COMMAND…` would be in a folder, and end with it."""
    os.setpgid(0, 0)  # Ray kills all of a dead worker's group
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, source in enumerate([os.open(os.devnull, os.O_RDONLY), *outputs]):
        os.dup2(source, number)
    os.chdir(folder)
    sys.argv, sys.path = command, [str(Path(command[0]).parent), *sys.path]
    runpy.run_path(command[0], run_name="__main__")
    sys.exit()


if __name__ == "__main__":
    main(int(sys.argv[1]))
