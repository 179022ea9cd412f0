"""Stands in for one of Ray's agents: says which port the agent will have, and starts it once the run is under way.

Ray starts no worker before its agents have started, which takes them two seconds of CPU, and a local run needs neither.
This file runs as a process of its own, imports nothing but the standard library, and takes the agent's command line:
`late_agent.py SECONDS AGENT.PY --node-id=… --session-dir=…`. With SECONDS below 0 the agent never starts.
"""

import os
import socket
import sys
import time
from pathlib import Path


def main(seconds: float, agent: list[str]) -> None:
    """Write the agent's ports where Ray looks for them, wait, and become the agent; end as soon as Ray is gone."""
    given = dict(one[2:].split("=", 1) for one in agent if one.startswith("--") and "=" in one)
    port = socket.socket()
    ports = {"metrics_agent": -1, "metrics_export": -1, "dashboard_agent_listen": -1}  # -1: there is no such service
    if seconds >= 0:
        port.bind((given["node-ip-address"], 0))  # held, but not open: Ray asks again while nobody answers
        ports = {"runtime_env_agent": port.getsockname()[1]}
    for name, number in ports.items():
        file = Path(given["session-dir"]) / f"{name}_port_{given['node-id']}"
        unfinished = file.with_suffix(".tmp")
        unfinished.write_text(str(number), encoding="ascii")
        unfinished.replace(file)
    raylet, begun = os.getppid(), time.monotonic()
    while os.getppid() == raylet:
        time.sleep(0.5)
        if 0 <= seconds < time.monotonic() - begun:
            command = [sys.executable, "-u", *agent, f"--runtime-env-agent-port={port.getsockname()[1]}"]
            os.execv(command[0], command)  # noqa: S606 - what Ray would have started


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
