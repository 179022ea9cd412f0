"""What stands in for Ray's agents says what Ray waits for, becomes the agent later, and never outlives Ray."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from job.cluster import late_agent

AGENT = "import json, os, sys; open(sys.argv[1] + '.said', 'w').write(json.dumps([os.getpid(), *sys.argv[1:]]))"


def command(folder: Path, seconds: float) -> list[str]:
    agent = folder / "agent.py"
    agent.write_text(f"import sys\nsys.argv[1] = sys.argv[1].partition('=')[2] + '/it'\n{AGENT}\n")
    given = [f"--session-dir={folder}", "--node-id=abc", "--node-ip-address=127.0.0.1", "--head"]
    return [sys.executable, "-I", "-S", late_agent.__file__, str(seconds), str(agent), *given]


def wait_for(file: Path) -> str:
    deadline = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < deadline, f"{file.name} was never written"
        time.sleep(0.05)
    return file.read_text()


def test_the_agent_for_environments_starts_late_on_the_port_that_was_named(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path, 0.5)) as process:
        port = wait_for(tmp_path / "runtime_env_agent_port_abc")
        said = json.loads(wait_for(tmp_path / "it.said"))
        assert process.wait(timeout=30) == 0
    assert said[0] == process.pid, "Ray ends the process that it started"
    assert said[-2:] == ["--head", f"--runtime-env-agent-port={port}"]
    assert {file.suffix for file in tmp_path.iterdir()} == {"", ".py", ".said"}


def test_no_dashboard_listens(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path, -1)) as process:
        for name in ("metrics_agent", "metrics_export", "dashboard_agent_listen"):
            assert wait_for(tmp_path / f"{name}_port_abc") == "-1"
        assert process.poll() is None
        process.kill()
    assert not (tmp_path / "it.said").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="a process of Windows has no other parent when its own ends")
def test_it_ends_when_ray_is_gone(tmp_path: Path) -> None:
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen({command(tmp_path, -1)!r}, stdout=sys.stdout)\n"
        "sys.stdin.readline()\n"
    )
    ray = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    wait_for(tmp_path / "dashboard_agent_listen_port_abc")
    ray.communicate(b"\n", timeout=30)  # returns when nobody holds the pipe any more, the agent neither
