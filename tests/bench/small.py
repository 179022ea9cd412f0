"""The cold small workload: 1 symbol, 30 days of 1-minute bars, 5 models, from a shell; against the plain approach."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from job.synth import write_world

ROOT: Final = Path(__file__).resolve().parents[2]
RUNS: Final = 5
TARGET: Final = 15


def seconds(*command: str) -> float:
    """Return the wall time of a command that must succeed."""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stderr[-2000:]}")
    return time.perf_counter() - started


def run() -> None:
    """Print the seconds of both and their ratio; the plain approach takes minutes and runs once."""
    with tempfile.TemporaryDirectory() as folder:
        bars = str(write_world(Path(folder, "bars"), symbols=1, days=30, seed=1, world="noise")[0])
        ours = [
            seconds(sys.executable, "job/main.py", "--input", bars, "--output", f"{folder}/models{number}")
            for number in range(RUNS)
        ]
        plain = seconds(sys.executable, "tests/bench/plain.py", "--input", bars, "--output", f"{folder}/plain")
    ours.sort()
    median = statistics.median(ours)
    print(f"\nsmall: 1 symbol x 30 days of 1m bars, 5 models, cold (target: at most 1/{TARGET} of the plain approach)")
    print(f"  python job/main.py   median {median:6.1f} s of {RUNS} runs ({ours[0]:.1f} to {ours[-1]:.1f})")
    print(f"  plain approach       {plain:13.1f} s, once")
    print(f"  ratio                {plain / median:13.1f}")
