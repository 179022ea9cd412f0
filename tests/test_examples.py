"""The example notebooks run from top to bottom, as they are stored: without outputs, each in a process of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from job.core.environment import ROOT

SHOW = """
import ast, json, sys
names = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        tree = ast.parse("".join(cell["source"]))
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "cell", "exec"), names)
        if last is not None and (shown := eval(compile(last, "cell", "eval"), names)) is not None:
            print(shown._repr_html_() if hasattr(shown, "_repr_html_") else repr(shown))
"""
"""Runs a notebook as Jupyter does, as far as these need it: cell by cell, showing what a last line is worth."""
NOTEBOOKS = sorted((ROOT / "job" / "examples").glob("*.ipynb"))
LONGEST_S = 90.0
BUSY = 2.0
"""Processes that wait for each CPU, from which on a machine says nothing about how long a notebook takes."""


def cells(notebook: Path) -> list[dict[str, Any]]:
    found: dict[str, Any] = json.loads(notebook.read_text(encoding="utf-8"))
    assert (found["nbformat"], found["nbformat_minor"]) == (4, 5)
    return list(found["cells"])


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(notebook: Path) -> None:
    found = cells(notebook)
    assert found[0]["cell_type"] == "markdown"
    assert len({cell["id"] for cell in found}) == len(found)
    for cell in found:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(notebook: Path, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", SHOW, str(notebook)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "<b>Run " in done.stdout
    if os.getloadavg()[0] < BUSY * (os.cpu_count() or 1):
        assert time.monotonic() - began < LONGEST_S
