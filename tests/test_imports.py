"""What commands and workers import, in fresh processes: a second that nothing needs is paid by each of them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from job.cli import main
from job.cluster import new_worker
from job.core.environment import ROOT
from job.core.synth import write_world
from tests.here import without_ray

HEAVY: Final = ("ray", "sklearn", "skops", "pandas", "scipy.special", "scipy.stats", "altair", "torch")
"""What takes a tenth of a second and more."""
COMMAND: Final = """
import sys

from job.cli import main

status = main(sys.argv[1:])
sys.stderr.write(" ".join(name for name in {heavy} if name in sys.modules) + "\\n")
sys.exit(status)
"""
NEW_WORKER: Final = """
import gc, sys

from job.cluster.worker_imports import MODULES

print(sum(one["collections"] for one in gc.get_stats()), gc.get_freeze_count())
print(gc.isenabled(), {*MODULES} <= {*sys.modules})

from tests.registries import fitted
from job.registry.artifacts import dump, parse

for name in ("random_forest", "hist_gradient_boosting", "scaler"):
    parse(dump(fitted(name), format="skops"), format="skops", where="here")
print(*(name for name in ("skops", "altair", "torch", "fastparquet") if name in sys.modules))
"""


def python(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Arguments by which a model has been trained."""
    folder = tmp_path_factory.mktemp("imports")
    write_world(folder / "bars", symbols=1, days=3, seed=3)
    few = ("--timeframes", "15m", "--set", "model_trainer.cv_folds=2", "--output", str(folder / "models"))
    arguments = ("--input", str(folder / "bars"), *few)
    with without_ray():
        assert main([*arguments]) == 0
    return arguments


@pytest.mark.parametrize("command", ["plan", "train"], ids=["plan", "a rerun with nothing to do"])
def test_a_command_that_trains_nothing_imports_nothing_heavy(
    command: str, trained: tuple[str, ...], tmp_path: Path
) -> None:
    done = python("-c", COMMAND.format(heavy=HEAVY), command, *trained, folder=tmp_path)
    assert done.stderr.splitlines()[-1] == ""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a worker prints that starts, fits, stores and loads."""
    return python("-c", NEW_WORKER, folder=tmp_path_factory.mktemp("worker")).stdout.splitlines()


def test_a_worker_imports_neither_skops_nor_pictures(worker: list[str]) -> None:
    assert worker[2:] == [""]


def test_a_new_worker_imports_what_training_needs_and_looks_for_no_garbage_meanwhile(worker: list[str]) -> None:
    looked, frozen = map(int, worker[0].split())
    assert looked < 50
    assert frozen > 100_000
    assert worker[1] == "True True"


@pytest.mark.skipif(sys.platform == "win32", reason="there, no process can become another")
@pytest.mark.parametrize(
    ("more", "script"),
    [
        (("--language=PYTHON",), "default_worker.py"),
        (("--serialized-runtime-env-context={}", "--language=PYTHON"), "setup_worker.py"),
        (("--language=JAVA",), "setup_worker.py"),
    ],
    ids=["none", "one", "another language"],
)
def test_a_worker_starts_at_once_unless_it_wants_an_environment(
    more: tuple[str, ...], script: str, tmp_path: Path
) -> None:
    for name in ("default_worker.py", "setup_worker.py"):
        (tmp_path / name).write_text("import sys; print(*sys.argv)")
    done = python(new_worker.__file__, "default_worker.py", "--worker-id=1", *more, folder=tmp_path)
    given = ["--worker-id=1"] if script == "default_worker.py" else ["default_worker.py", "--worker-id=1", *more]
    assert done.stdout.split() == [script, *given]
