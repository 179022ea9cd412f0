"""Which module may import what."""

import ast
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for package in ("job", "transforms") for path in (ROOT / package).rglob("*.py"))
LAYERS = (
    {"commands"},
    {"trainer"},
    {"report"},
    {"running", "prediction_run", "comparison_run"},
    {"doctor"},
    {"pipeline", "cluster", "training_data", "frames", "sweeping", "pruning", "promoting", "limits"},
    {"datasets"},
    {"record", "rounds", "pooling"},
    {"predicting"},
    {"scoring", "comparing", "steps", "versions", "resuming", "prediction_plan", "comparison_plan"},
    {"loading"},
    {"rows"},
    {"bundles"},
    {"planning", "predictions"},
    {"definitions", "outcomes", "fingerprints", "notes", "compared"},
    {"training", "comparison", "trading", "seeds", "store", "sources", "synth"},
    {"fitting", "importances", "splits", "metrics", "fleet", "sharpe"},
    {"remote"},
    {"settings"},
    {"overrides"},
    {"mistakes"},
    {"values"},
    {"estimators"},
    {"onedal"},
    {"forest"},
    {"trees"},
    {"engines"},
    {"errors", "keys", "yaml_text", "environment", "paths", "leases", "memory", "pulse", "sparing", "watchdog"},
)
"""From the top down: a module of job/ imports from its own layer or a lower one."""
WHOLE = {"commands", "sources", "store"}
"""Packages that stand in LAYERS as one; of others, each module does."""


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_ray_and_fsspec_stay_where_they_belong(path: Path) -> None:
    tops = {name.partition(".")[0] for name in imports(path)}
    name = name_of(path)
    assert "ray" not in tops or name in {"job/pipeline.py", "job/datasets.py", "job/cluster.py", "job/sparing.py"}
    assert "fsspec" not in tops or name.startswith(("job/sources/", "job/store/"))
    if name.startswith("transforms/"):
        assert tops <= {"polars", "numpy", "transforms", *sys.stdlib_module_names}


def layer(module: str) -> int:
    (number,) = [number for number, names in enumerate(LAYERS) if module in names]
    return number


def module_of(parts: Sequence[str]) -> str:
    """Return the name by which LAYERS know a module below job/."""
    facade = {"config": "settings"}
    return parts[0] if parts[0] in WHOLE else facade.get(parts[-1], parts[-1])


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path).startswith("job/")], ids=name_of)
def test_imports_go_one_way(path: Path) -> None:
    own = module_of(path.relative_to(ROOT / "job").with_suffix("").parts)
    if own in {"__init__", "main"}:
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "job" and len(parts) > 1 and (module := module_of(parts[1:])) != own:
            assert layer(module) >= layer(own), f"{name_of(path)} imports {name}, which lies above it"


def test_every_module_of_job_has_a_layer() -> None:
    names = {module_of(path.relative_to(ROOT / "job").with_suffix("").parts) for path in (ROOT / "job").rglob("*.py")}
    assert names - {"__init__", "main"} == set().union(*LAYERS)


def test_files_stay_short() -> None:
    long = {name_of(path): lines for path in MODULES if (lines := path.read_text(encoding="utf-8").count("\n")) > 350}
    assert not long


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("job.commands", {"ray", "pandas", "sklearn", "scipy.stats", "scipy.optimize", "skops"}),
        ("job.commands, job.cluster, job.pipeline", {"sklearn", "scipy.stats", "scipy.optimize", "skops"}),
    ],
    ids=["what every command imports", "what the driver imports"],
)
def test_imports_that_take_long_wait_until_they_are_needed(modules: str, absent: set[str]) -> None:
    script = f"import sys; import {modules}; print(sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
