"""Commands run as a user runs them, and what they cost: wall time, CPU time of all their processes, peak memory."""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from tests.bench.fits import FIGURES, FITS
from tests.bench.measured import DRIVER

ROOT: Final = Path(__file__).resolve().parents[2]
SAMPLE_S: Final = 0.25
SETTLE_S: Final = 30.0
"""How long a run's last processes may take to end before the next run starts."""

CpuSeconds = dict[psutil.Process, float]


@dataclass(frozen=True)
class Command:
    """What a command printed, and its seconds: wall, and CPU of it and of all processes that it started."""

    stdout: str
    wall: float
    cpu: float


@dataclass(frozen=True)
class Run:
    """A run of the job: its command, its record, its driver's peak memory, and CPU seconds of fits and predictions."""

    command: Command
    record: dict[str, Any]
    driver_mb: float
    fits_cpu: float

    @property
    def worker_mb(self) -> float:
        """The most memory that a worker held while it made a model."""
        return max(float(outcome["peak_rss_mb"]) for outcome in self.record["outcomes"])


def shell(*command: str, **environment: str) -> Command:
    """Run a command in the project's folder; SystemExit with the end of its stderr where it fails.

    CPU time is read four times a second, so that it misses at most a quarter of a second of a process that ends at
    work. Returns once all the processes are gone. Python may keep what it compiles, as it does by default: without,
    each process compiles all modules again.
    """
    own = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **environment}
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=own, stdout=stdout, stderr=stderr)
        with sampled(process.pid) as seen:
            status = process.wait()
            wall = time.perf_counter() - started
        skip_completed(seen)
        stdout.seek(0)
        stderr.seek(0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed with {status}:\n{stderr.read()[-2000:]}")
        return Command(stdout.read(), wall, sum(seen.values()))


def train(*arguments: str, models: int) -> Run:
    """Run the job, which must train `models` models, in a process that notes what only it can know (`measured`)."""
    with tempfile.TemporaryDirectory() as figures:
        command = shell(
            sys.executable, "-m", "tests.bench.measured", *arguments, "--json", "--force", **{FIGURES: figures}
        )
        fits = [float(file.read_text()) for file in Path(figures).glob(f"{FITS}*")]
        driver = float(Path(figures, DRIVER).read_text())
    record = json.loads(command.stdout.splitlines()[-1])
    if record["counts"]["trained"] != models:
        raise SystemExit(f"expected {models} trained models, got {record['counts']}")
    return Run(command, record, driver, sum(fits))


@contextmanager
def sampled(pid: int) -> Iterator[CpuSeconds]:
    """Give the CPU seconds of a process and its descendants, kept up to date until the end."""
    seen: CpuSeconds = {}
    ended = threading.Event()
    thread = threading.Thread(target=_sample, args=(psutil.Process(pid), seen, ended))
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def _sample(root: psutil.Process, seen: CpuSeconds, ended: threading.Event) -> None:
    while not ended.wait(SAMPLE_S):
        with suppress(psutil.NoSuchProcess):
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                    times = process.cpu_times()
                    seen[process] = times.user + times.system


def skip_completed(processes: Iterable[psutil.Process]) -> None:
    """Wait until none of the processes works any more."""
    deadline = time.monotonic() + SETTLE_S
    while any(map(working, processes)) and time.monotonic() < deadline:
        time.sleep(SAMPLE_S)


def working(process: psutil.Process) -> bool:
    """Whether a process is there and is no zombie."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False
