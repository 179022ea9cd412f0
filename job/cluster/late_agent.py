"""Stands in for one of Ray's agents: says where the agent listens, and starts it when it is first asked for something.

Ray starts no worker before its agents have started, which takes them two seconds of CPU, and most local runs need none.
This file runs as a process of its own, imports nothing but the standard library, and takes the agent's command line:
`late_agent.py AGENT.PY --node-id=… --session-dir=…`. The agent of the dashboard never starts.
"""

import os
import select
import shutil
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

CHECK_S = 0.5
"""How often the process looks whether Ray is still there."""


def main(agent: list[str]) -> None:
    """Write the agent's ports where Ray looks for them; become the agent once somebody connects, end when Ray does."""
    given = dict(one[2:].split("=", 1) for one in agent if one.startswith("--") and "=" in one)
    # Ray may be gone before this process has begun: then its parent is another one already, and stays.
    raylet, listener = int(os.environ.get("RAY_RAYLET_PID", os.getppid())), socket.socket()
    ports = {"metrics_agent": -1, "metrics_export": -1, "dashboard_agent_listen": -1}  # -1: there is no such service
    if "runtime-env-agent-port" in given:
        listener.bind((given["node-ip-address"], 0))
        listener.listen()
        ports = {"runtime_env_agent": listener.getsockname()[1]}
    for name, number in ports.items():
        file = Path(given["session-dir"]) / f"{name}_port_{given['node-id']}"
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(str(number), encoding="ascii")
        unfinished.replace(file)
    while os.getppid() == raylet:
        if -1 in ports.values():
            time.sleep(CHECK_S)
        elif select.select([listener], [], [], CHECK_S)[0]:
            become(agent, listener)


def become(agent: list[str], listener: socket.socket) -> None:
    """Start the agent on a port of its own; a child goes on listening and passes on what comes.

    The agent keeps this process, since it ends where its parent is not Ray.
    """
    with socket.socket() as free:
        free.bind((listener.getsockname()[0], 0))
        address = free.getsockname()
    process = os.getpid()
    if os.fork():
        command = [sys.executable, "-u", *agent, f"--runtime-env-agent-port={address[1]}"]
        os.execv(command[0], command)  # noqa: S606 - what Ray would have started
    while os.getppid() == process:
        if select.select([listener], [], [], CHECK_S)[0]:
            threading.Thread(target=pass_on, args=(listener.accept()[0], address), daemon=True).start()
    os._exit(0)


def pass_on(client: socket.socket, address: tuple[str, int]) -> None:
    """Pass on what a client sends, as soon as the agent listens, and what the agent answers."""
    while True:
        try:
            agent = socket.create_connection(address)
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    with client, agent:
        threading.Thread(target=copy, args=(client, agent), daemon=True).start()
        copy(agent, client)


def copy(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes from one end until either hangs up, and that this one has."""
    with suppress(OSError), source.makefile("rb", 0) as coming, target.makefile("wb", 0) as going:
        shutil.copyfileobj(coming, going)
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main(sys.argv[1:])
