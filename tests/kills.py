"""Runs that are killed: from a shell at a chosen moment, or in one process before a chosen change of the registry."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psutil

from job.config.settings import Config

ROOT: Final = Path(__file__).resolve().parents[1]
MODELS: Final = 8
LEASE_S: Final = 1.0
SETTINGS: Final = (
    "model_trainer.cv_folds=2",
    "model_trainer.analyst_models.timeframes=[15m,5m,1m]",
    "ray.num_cpus=2",
    f"storage.lease_s={LEASE_S}",
)
"""Two symbols give eight models; the lease is so short that most reruns outlast that of the dead run."""

LOOK_S: Final = 0.003
LONGEST_RUN_S: Final = 300.0
LONGEST_DEATH_S: Final = 30.0
AGENTS_OUTLIVE_S: Final = 120.0
"""Ray's two agents of a node that was killed try for a minute to report this, idle, before they end."""

Victim = Literal["driver", "group", "worker", "trainer"]

SPREAD: Final[dict[Victim, tuple[int, float, float]]] = {
    "driver": (2, 0.0, 7.75),
    "group": (2, 0.0, 7.75),
    "worker": (1, 1.0, 7.0),
    "trainer": (2, 2.0, 7.0),
}
"""How many cases a victim gets, and the moments between which they lie.

Most workers do nothing at any time or serve Ray Data; a trainer is one that is at a step of the pipeline.
"""


@dataclass(frozen=True)
class Case:
    """Whom to kill and when. `moment` counts stages (`stage_of`): 2.5 is half way through stage 2."""

    number: int
    victim: Victim
    moment: float

    def __str__(self) -> str:
        return f"{self.number:02d}-{self.victim}-{self.moment:.2f}"


def cases(seed: int) -> list[Case]:
    """Draw the cases: of each victim's range every equal part has one, somewhere in it."""
    draw = random.Random(seed)
    moments: list[tuple[Victim, float]] = [
        (victim, first + (last - first) * (part + draw.random()) / count)
        for victim, (count, first, last) in SPREAD.items()
        for part in range(count)
    ]
    return [Case(number, victim, moment) for number, (victim, moment) in enumerate(moments)]


def stage_of(registry: Path) -> int:
    """Return how far a run has come, by what stands in its store.

    0 nothing, 1 its marker, 2 a worker's note, 3 a file of a first model, 4 to 6 two, four and six models, 7 all.
    """
    names = [path.name for path in registry.glob("synthetic/*/*") if not path.name.startswith(".")]
    if names:
        return 3 + sum(name.endswith(".json") for name in names) // 2
    if any(registry.glob("runs/*.attempts/*")):
        return 2
    return 1 if any(registry.glob("runs/*.open")) else 0


LATE_THREAD: Final = "The core worker has already been shutdown."
"""What Ray says when it ends a driver because one of its own threads was late while it shut down."""


class EndedByRayError(Exception):
    """Ray ended a driver while it shut down: all its models are committed, but its record is not closed."""


@dataclass
class Launched:
    """A run of the job that leads a session of its own, by which all of its processes are known.

    Once they are gone it is `over`: the session's number may then be given to strangers, who must not be killed.
    """

    process: subprocess.Popen[str]
    registry: Path
    log: Path
    over: bool = False

    @property
    def running(self) -> bool:
        """Whether the driver has not ended."""
        return self.process.poll() is None

    def alive(self) -> list[psutil.Process]:
        """Return the processes of the session."""
        found = [] if self.over else [process for process in psutil.process_iter() if self._holds(process)]
        self.over = not found and not self.running
        return found

    def workers(self) -> list[psutil.Process]:
        """Return Ray's workers, also those that are starting, that are idle, and the actors of Ray Data."""
        return [process for process in self.alive() if _is_worker(process)]

    def finish(self) -> str:
        """Wait until the driver ends by itself, with status 0, and nothing of it is alive; return its log."""
        status = self.process.wait(LONGEST_RUN_S)
        text = self.log.read_text(encoding="utf-8")
        if status == 1 and LATE_THREAD in text:
            raise EndedByRayError(text)
        assert status == 0, f"exit status {status}\n{text}"
        self.be_gone()
        return text

    def be_gone(self) -> None:
        """Wait until nothing of the run is alive."""
        assert becomes(lambda: not self.alive(), LONGEST_DEATH_S), f"left behind: {self.alive()}"

    def be_idle(self) -> list[psutil.Process]:
        """Wait until nothing of the run is alive but the agents of a killed node, and return these."""
        assert becomes(lambda: all(map(_is_agent, self.alive())), LONGEST_DEATH_S), f"left behind: {self.alive()}"
        return self.alive()

    def kill(self, victim: Victim, draw: random.Random) -> bool:
        """Kill with SIGKILL and return True; False where the driver had ended before."""
        if victim in {"worker", "trainer"}:
            return self._kill_worker(draw, title="ray::MapBatches" if victim == "trainer" else "")
        if not self.running:
            return False
        self.process.kill()
        if victim == "group":
            self.kill_all()
        return self.process.wait() == -signal.SIGKILL

    def kill_all(self) -> None:
        """Kill every process of the session, also those with a process group of their own, as Ray's workers have."""
        if self.running:
            os.killpg(self.process.pid, signal.SIGKILL)
        while left := self.alive():
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()

    def _kill_worker(self, draw: random.Random, title: str) -> bool:
        while self.running:
            if found := [worker for worker in self.workers() if _command(worker)[0].startswith(title)]:
                draw.choice(found).kill()
                return True
            time.sleep(LOOK_S)
        return False

    def _holds(self, process: psutil.Process) -> bool:
        try:
            return os.getsid(process.pid) == self.process.pid and lives(process)
        except ProcessLookupError:
            return False


def lives(process: psutil.Process) -> bool:
    """Whether a process has not ended; one that nobody waits for may stay in the list of processes."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_worker(process: psutil.Process) -> bool:
    """Tell a worker by its title, or one that has none yet by its script."""
    command = _command(process)
    starting = any(part.endswith("default_worker.py") for part in command)
    return starting or (command[0].startswith("ray::") and not _is_agent(process))


def _is_agent(process: psutil.Process) -> bool:
    """Tell the agents of a node, whose death ends the node; a process that has just ended passes for one."""
    return _command(process)[0] in {"", "ray::DashboardAgent", "ray::RuntimeEnvAgent"}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline() or [""]
    except psutil.NoSuchProcess:
        return [""]


@contextmanager
def launched(bars: Path, registry: Path) -> Iterator[Launched]:
    """Start a run, and leave nothing of it alive but what ends by itself."""
    log = registry.with_suffix(f".{time.monotonic_ns()}.log")
    command = [sys.executable, str(ROOT / "job" / "main.py"), "--input", str(bars), "--output", str(registry)]
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*command, *settings], stdout=subprocess.DEVNULL, stderr=errors, text=True, start_new_session=True
        )
    started = Launched(process, registry, log)
    try:
        yield started
    finally:
        if started.running or not all(map(_is_agent, started.alive())):
            started.kill_all()
        process.wait()


def lengths(bars: Path, registry: Path) -> list[float]:
    """Run undisturbed and return the seconds that each stage took."""
    began = [time.monotonic()]
    with launched(bars, registry) as undisturbed:
        while undisturbed.running:
            began += [time.monotonic()] * (stage_of(registry) + 1 - len(began))
            time.sleep(LOOK_S)
        undisturbed.finish()
    assert len(began) == 8, f"a run showed {len(began)} of its 8 stages"
    ends = [*began[1:], time.monotonic()]
    return [end - start for start, end in zip(began, ends, strict=True)]


def wait_for(moment: float, of: Launched, seconds: Sequence[float]) -> None:
    """Wait until a run has come to a stage, and then for a share of what that stage takes undisturbed."""
    stage = int(moment)
    becomes(lambda: stage_of(of.registry) >= stage or not of.running, LONGEST_RUN_S)
    becomes(lambda: not of.running, (moment - stage) * seconds[stage])


def becomes(true: Callable[[], bool], within_s: float) -> bool:
    """Wait until something is true and return True; False if it does not become so in time."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_S)
    return True


CHANGES: Final = frozenset({"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"})
"""Audit events of what changes a folder; `open` does where it may write."""


def die_before(change: int, go: Callable[[Config], object], config: Config, note: Path) -> None:
    """Run in this process, which kills itself before its `change`th change of the registry and notes what that was.

    What is written beside the registry, such as predictions, counts, too.
    """
    folder = str(Path(config.model_trainer.model_directory).parent)
    changes = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal changes
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if not (opened or event in CHANGES) or not str(arguments[0]).startswith(folder):
            return
        changes += 1
        if changes == change:
            os.write(file, f"{event} {arguments}".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    file = os.open(note, os.O_CREAT | os.O_WRONLY)
    sys.addaudithook(count)
    go(config)
