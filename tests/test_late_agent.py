"""What stands in for Ray's agents says what Ray waits for, becomes the agent when asked, and never outlives Ray."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from job.cluster import late_agent

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no process of Windows can become another")

AGENT = """
import json, os, socket, sys
port = int(sys.argv[-1].partition("=")[2])
with socket.create_server(("127.0.0.1", port)) as server:
    while True:
        client, _ = server.accept()
        asked = client.recv(100).decode()
        client.sendall(json.dumps([asked, os.getpid(), *sys.argv[1:-1]]).encode())
        client.close()
        if asked == "end":
            break
"""


def command(folder: Path, *more: str) -> list[str]:
    (folder / "agent.py").write_text(AGENT)
    given = [f"--session-dir={folder}", "--node-id=abc", "--node-ip-address=127.0.0.1", *more]
    return [sys.executable, "-I", "-S", late_agent.__file__, str(folder / "agent.py"), *given]


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} was never written"
        time.sleep(0.05)
    return file.read_text()


def ask(port: str, what: str) -> list[str | int]:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=30) as connection:
        connection.sendall(what.encode())
        return list(json.loads(connection.makefile("rb").read()))


def test_the_agent_for_environments_starts_when_it_is_asked_and_answers(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path, "--runtime-env-agent-port=0")) as process:
        port = wait_for(tmp_path / "runtime_env_agent_port_abc")
        assert process.args[1:3] == psutil.Process(process.pid).cmdline()[1:3], "it waits"  # type: ignore[index]
        for what in ("first", "second"):
            asked, pid, *given = ask(port, what)
            assert (asked, pid) == (what, process.pid), "Ray ends the process that it started"
            assert "--node-id=abc" in given
        (child,) = psutil.Process(process.pid).children()
        assert ask(port, "end")[0] == "end"
        assert process.wait(timeout=30) == 0
        child.wait(timeout=30)


def test_no_dashboard_listens(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path)) as process:
        for name in ("metrics_agent", "metrics_export", "dashboard_agent_listen"):
            assert wait_for(tmp_path / f"{name}_port_abc") == "-1"
        assert process.poll() is None
        process.kill()


@pytest.mark.parametrize("more", [(), ("--runtime-env-agent-port=0",)])
def test_it_ends_when_ray_is_gone(tmp_path: Path, more: tuple[str, ...]) -> None:
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen({command(tmp_path, *more)!r}, stdout=sys.stdout)\n"
        "sys.stdin.readline()\n"
    )
    ray = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(tmp_path / f"{'runtime_env_agent' if more else 'metrics_agent'}_port_abc")
    ray.communicate(b"\n", timeout=30)  # returns when nobody holds the pipe any more, the agent neither
    assert ray.returncode == 0


def test_it_ends_when_ray_was_gone_before_it_began(tmp_path: Path) -> None:
    environment = {"RAY_RAYLET_PID": str(psutil.Process().ppid())}  # not that of its parent, which is this one
    assert subprocess.run(command(tmp_path), env=environment, timeout=30, check=False).returncode == 0
