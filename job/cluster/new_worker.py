"""Stands in for the script by which Ray starts a worker: becomes the worker at once, where it needs no environment.

Ray starts a script that imports Ray, reads which environment a worker is to have, and becomes the worker, which imports
Ray once more: .4 s of CPU for nothing on a machine where all workers have the environment that is there. This file runs
as a process of its own, imports nothing of this project, and takes the script's command line:
`new_worker.py DEFAULT_WORKER.PY … --language=PYTHON`, with `--serialized-runtime-env-context=…` where there is one.

Where there is a process that has imported what workers need (`worker_parent`), the worker is a fork of that.
"""

import gc
import json
import os
import runpy
import socket
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

ENVIRONMENT = "--serialized-runtime-env-context="
LANGUAGE = "--language=PYTHON"
PARENT = "OHLCV_WORKER_PARENT"
"""Environment variable that names the socket of the process that forks workers."""
PATIENCE_S = 40.0
"""How long that may take to import; Ray gives a worker up after 60 s."""
TAKEN = b"1"


def main(arguments: list[str]) -> None:
    """Become a worker, by Ray's own script, which lies beside that of workers, where an environment is asked for."""
    command = [one for one in arguments if one != LANGUAGE]
    worker = Path(arguments[0])
    if len(command) == len(arguments) or any(one.startswith(ENVIRONMENT) for one in command):
        os.execv(sys.executable, [sys.executable, str(worker.with_name("setup_worker.py")), *arguments])  # noqa: S606 - as Ray does
    if PARENT in os.environ:  # there, a worker of this command line, folder, environment and output is asked for
        with suppress(OSError), socket.socket(socket.AF_UNIX) as parent:
            parent.settimeout(PATIENCE_S)
            parent.connect(os.environ[PARENT])
            socket.send_fds(parent, [b" "], [1, 2])
            parent.sendall(json.dumps([command, str(Path.cwd()), dict(os.environ)]).encode())
            parent.shutdown(socket.SHUT_WR)
            if parent.recv(1) == TAKEN:
                return
    sys.argv, sys.path[0] = command, str(worker.parent)  # as if Python had been started with it
    gc.disable()  # what modules make while they load stays: looking for garbage would take a fifth of the time
    import_module("ray")
    gc.enable()
    runpy.run_path(str(worker), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
