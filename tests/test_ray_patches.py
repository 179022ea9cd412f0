"""The job needs none of the names that are private to Ray: without the patches of them it is slower, no more."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from job.cluster import ray_patches
from job.config.settings import load_config
from job.core.environment import ROOT
from job.core.synth import write_world
from tests.here import run_here

FAST = (
    "--timeframes",
    "15m",
    "--set",
    "model_trainer.cv_folds=2",
    "--set",
    "model_trainer.analyst_models.n_estimators=5",
)
TABLES = ("PROCESSES", "AGENTS", "WORKERS", "ACTORS", "PREFETCHING", "POLLING", "WORKER_LOGS")
CHANGES = {
    "all off": "".join(f"ray_patches.{table} = {{}}\n" for table in TABLES),
    "names, a module and a class are gone": (
        "ray_patches.PROCESSES = {\n"
        "    place: {**names, 'gone_from_here': None} for place, names in ray_patches.PROCESSES.items()\n"
        "}\n"
        "ray_patches.AGENTS = {'ray._private.gone': {'name': None}}\n"
        "ray_patches.ACTORS = {**ray_patches.ACTORS, 'ray.data._internal.gone': {'Name': None}}\n"
        "ray_patches.PREFETCHING = {**ray_patches.PREFETCHING, 'ray._private.node:Gone': {'name': None}}\n"
    ),
}
"""What is done to the patches before the job starts."""
SCRIPT = """
import sys

from job.cluster import ray_patches

{change}
from job.main import main

sys.exit(main())
"""


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bars")
    write_world(folder, symbols=1, days=3, seed=3)
    return folder


@pytest.fixture(scope="module")
def outcome(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The outcome of the one model, without Ray."""
    trainer = {
        "analyst_models": {"timeframes": ["15m"], "n_estimators": 5},
        "enable_tactician_models": False,
        "cv_folds": 2,
        "model_directory": str(tmp_path_factory.mktemp("models")),
    }
    (outcome,) = run_here(load_config({"data": {"input": str(bars)}, "model_trainer": trainer})).outcomes
    return asdict(outcome)


def train(change: str, bars: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", SCRIPT.format(change=change), "--input", str(bars), *FAST, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (outcome,) = json.loads(done.stdout.splitlines()[-1])["outcomes"]
    assert isinstance(outcome, dict)
    return outcome


@pytest.mark.parametrize("change", CHANGES)
def test_the_job_runs_where_rays_private_names_differ(
    change: str, bars: Path, outcome: dict[str, Any], tmp_path: Path
) -> None:
    other = train(CHANGES[change], bars, tmp_path)
    assert other["status"] == outcome["status"] == "trained"
    assert other["scores"] == outcome["scores"]


def test_every_table_of_patches_is_switched_off_above() -> None:
    tables = {name for name, value in vars(ray_patches).items() if name.isupper() and isinstance(value, dict)}
    assert tables == set(TABLES)
