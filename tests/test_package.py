"""The installed package: what a wheel holds, and that it works from any folder, with nothing of the repository near."""

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import polars as pl
import pytest

from job.core.environment import BUNDLED_SAMPLE, ROOT

SETTINGS = {
    "data": {"symbols": ["SYN00USDT"], "lookback_days": 5},
    "model_trainer": {
        "cv_folds": 2,
        "analyst_models": {"timeframes": ["15m"], "n_estimators": 5},
        "tactician_models": {"timeframes": ["5m"], "n_estimators": 5},
    },
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by the build backend itself, so that nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment into which the wheel is installed, beside the libraries that run these tests."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(environment), "platbase": str(environment)}))
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    install = [sys.executable, "-m", "pip", "--python", str(programs / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    # A folder on PYTHONPATH or in sys.path would come with its .pth files, among them that of the repository.
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)))
    return programs


def started(command: list[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder outside the repository, and with nothing of it on the path."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=folder, env=inherited, capture_output=True, text=True, check=False, timeout=300)


def test_a_wheel_holds_the_code_its_types_and_the_sample(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    code = {
        path.relative_to(ROOT).as_posix() for folder in ("job", "transforms") for path in (ROOT / folder).rglob("*.py")
    }
    assert code <= names
    assert {"job/py.typed", "transforms/py.typed"} <= names
    sample = {f"job/sample/{path.relative_to(BUNDLED_SAMPLE).as_posix()}" for path in BUNDLED_SAMPLE.rglob("*.parquet")}
    assert len(sample) == 2
    assert sample <= names
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"job", "transforms"}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"Version: {version}\n" in metadata


@pytest.mark.slow
def test_an_installed_job_works_from_any_folder(programs: Path, tmp_path: Path) -> None:
    command = programs / "ohlcv-models"
    found = started(
        [programs / "python", "-c", "import job, transforms; print(job.__file__, transforms.__file__)"], tmp_path
    )
    assert found.stdout.count(str(programs.parent)) == 2, found

    for program, name in (([command], "ohlcv-models"), ([programs / "python", "-m", "job"], "python -m job")):
        shown = started([*program, "--help"], tmp_path)
        assert shown.returncode == 0, shown.stderr
        assert shown.stdout.startswith(f"usage: {name} ")

    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS))
    planned = started([command, "plan", "--config", "settings.json", "--json"], tmp_path)
    assert planned.returncode == 0, planned.stderr
    assert json.loads(planned.stdout.splitlines()[-1])["to_train"] == 2

    trained = started([command, "--config", "settings.json", "--json"], tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert json.loads(trained.stdout.splitlines()[-1])["counts"]["trained"] == 2

    predicted = started([command, "predict", "--output", "predictions", "--symbols", "SYN00USDT"], tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    files = sorted((tmp_path / "predictions").rglob("*.parquet"))
    assert len(files) == 2
    assert all(pl.read_parquet(file).height > 0 for file in files)
