"""Which package may import what."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path for package in ("job", "transforms") for path in (ROOT / package).rglob("*.py"))
LAYERS = (
    ("cli", "api"),
    ("watch", "tune"),  # both stand on the other operations: watch calls them, tune uses train's own steps
    ("train", "predict", "compare", "export"),
    ("cluster",),
    ("worker",),
    ("report",),
    ("registry",),
    ("sources",),
    ("storage",),
    ("config",),
    ("learning",),
    ("core",),
    ("transforms",),
)
"""From the top down: a package imports from lower layers only, and never from its neighbours."""
RANKS = {package: rank for rank, layer in enumerate(LAYERS) for package in layer}


def imports(path: Path) -> set[str]:
    """Return every module that a file imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module is not None
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def package_of(module: str) -> str | None:
    """Return the package of LAYERS that a module belongs to; None for libraries and for job itself."""
    first, *rest = module.split(".")
    if first == "transforms":
        return first
    return rest[0] if first == "job" and rest else None


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_packages_are_layers(path: Path) -> None:
    own = package_of(".".join(path.relative_to(ROOT).parent.parts))
    if own is None:  # job/__init__.py and main.py stand above all
        return
    for module in imports(path):
        other = package_of(module)
        if other is not None and other != own:
            assert RANKS[other] > RANKS[own], f"{name_of(path)} imports {module}, which lies no lower"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_ray_and_fsspec_have_one_home_each(path: Path) -> None:
    tops = {module.partition(".")[0] for module in imports(path)}
    own = package_of(".".join(path.relative_to(ROOT).parent.parts))
    assert "ray" not in tops or own == "cluster"
    assert "fsspec" not in tops or own == "storage"
    if own == "transforms":
        assert tops <= {"polars", "numpy", "transforms", *sys.stdlib_module_names}


def parts_of(package: Path) -> dict[str, set[str]]:
    """Return what each part of a package, a module or a folder, imports of the other parts."""
    dotted = ".".join(package.relative_to(ROOT).parts)
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        own = path.relative_to(package).with_suffix("").parts[0]
        others = (module.removeprefix(f"{dotted}.") for module in imports(path) if module.startswith(f"{dotted}."))
        found.setdefault(own, set()).update(other.partition(".")[0] for other in others)
    return {own: others - {own} for own, others in found.items()}


@pytest.mark.parametrize("package", ["transforms", *(f"job/{name}" for name in sorted(RANKS.keys() - {"transforms"}))])
def test_the_parts_of_a_package_import_in_no_circle(package: str) -> None:
    parts = parts_of(ROOT / package)
    assert {*parts} <= {*TopologicalSorter(parts).static_order()}, "and static_order raises CycleError"


def test_a_circle_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "transforms").mkdir()
    (tmp_path / "transforms" / "one.py").write_text("from transforms import two\n")
    (tmp_path / "transforms" / "two.py").write_text("from transforms.one import NAME\n")
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(parts_of(tmp_path / "transforms")).static_order())


def test_every_package_has_a_layer() -> None:
    packages = {path.name for path in (ROOT / "job").iterdir() if (path / "__init__.py").exists()}
    assert packages | {"transforms"} == set(RANKS)
    assert len(RANKS) <= 18


def test_files_stay_short() -> None:
    long = {name_of(path): lines for path in MODULES if (lines := path.read_text(encoding="utf-8").count("\n")) > 350}
    assert not long


@pytest.mark.parametrize(
    "modules_and_absent",
    [
        [  # what every command imports, and the driver on top
            ("job.cli", {"ray", "pandas", "sklearn", "scipy.stats", "scipy.optimize", "skops"}),
            ("job.cluster.session, job.train.pipeline", {"sklearn", "scipy.stats", "scipy.optimize", "skops"}),
        ],
        [  # skops imports all of scikit-learn, with its examples and tests
            (
                "job.train.steps, job.train.commit, sklearn.ensemble, job.learning.forests.histogram",
                {"ray", "skops", "pytest", "sklearn.datasets", "sklearn.inspection", "pyarrow.dataset", "requests"},
            )
        ],
    ],
    ids=["a command", "a worker"],
)
def test_imports_that_take_long_wait_until_they_are_needed(modules_and_absent: list[tuple[str, set[str]]]) -> None:
    script = "import sys\n" + "".join(
        f"import {modules}\nprint(sorted({absent!r} & {{*sys.modules}}))\n" for modules, absent in modules_and_absent
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [*["[]"] * len(modules_and_absent), ""]
