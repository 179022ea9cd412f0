"""What a case measures at an earlier commit and here, one after the other, line by line.

The commit is checked out in a temporary folder and runs the case as it was there, in this environment. Lines that only
one of the two prints, or that are no quantities, are left out.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from job.core.environment import ROOT
from tests.bench.table import WIDTH, Table

Name = tuple[str, int]
"""What a line names, and how many lines before it name the same."""
QUANTITY: Final = re.compile(r" *([\d,]+(?:\.\d+)?) +(\S+)")


class AbsentCaseError(Exception):
    """The commit has no such case, or the case does not run there."""


def full_name(commit: str, *, repository: Path = ROOT) -> str:
    """Return a commit's full name; ValueError where there is no such commit."""
    return git("rev-parse", "--verify", f"{commit}^{{commit}}", repository=repository)


@contextmanager
def checked_out(commit: str, *, repository: Path = ROOT) -> Iterator[Path]:
    """Give a folder with the commit's files."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "before")
        Path(folder, "shared").symlink_to(repository.parent / "shared")  # real bars lie beside the project
        git("worktree", "add", "--detach", str(tree), commit, repository=repository)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree), repository=repository)


def git(*arguments: str, repository: Path) -> str:
    """Return what git prints; ValueError with what it says where it fails."""
    done = subprocess.run(["git", *arguments], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


def quantities(text: str) -> dict[Name, tuple[float, str]]:
    """Return the median and the unit of each line of a printed table."""
    found: dict[Name, tuple[float, str]] = {}
    for each in text.splitlines()[1:]:
        what, figures = each[2 : WIDTH + 2].rstrip(), QUANTITY.match(each[WIDTH + 2 :])
        if figures:
            number = sum(what == other for other, _ in found)
            found[what, number] = float(figures[1].replace(",", "")), figures[2]
    return found


def measured_in(tree: Path, name: str, *, quick: bool) -> str:
    """Return what the case prints in the tree of another commit.

    Raises:
        AbsentCaseError: there it is not, or fails.
    """
    command = [sys.executable, "-m", "tests.bench", name, *(["--quick"] if quick else [])]
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or f"{name}: skipped" in done.stdout:
        raise AbsentCaseError((done.stderr or done.stdout).strip().splitlines()[-1])
    return done.stdout[done.stdout.index(f"{name}:") :]


def before_and_after(name: str) -> str:
    """Return the name of the table that compares a case."""
    return f"{name} before and after"


def compared(case: str, before: str, after: str, *, commit: str) -> Table:
    """Return a table of each quantity before and after, and of the ratio."""
    earlier, now = quantities(before), quantities(after)
    return Table(
        before_and_after(case),
        f"medians at {commit[:7]} and now",
        tuple(
            f"{name[0]:{WIDTH}} {earlier[name][0]:9,.4g} {value:9,.4g} {unit:5} {value / earlier[name][0]:5.2f} x"
            for name, (value, unit) in now.items()
            if name in earlier and earlier[name][0] and earlier[name][1] == unit
        ),
    )
