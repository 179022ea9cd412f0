"""The documents as data, for `test_documents`: commands and the lines they print, Python, links."""

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from job.core.environment import ROOT

DOCUMENTS: Final = tuple(
    path.relative_to(ROOT).as_posix()
    for pattern in ("README.md", "data/README.md", "job/**/README.md", "transforms/README.md", "tests/README.md")
    for path in sorted(ROOT.glob(pattern))
)
PROGRAMS: Final = (("python", "job/main.py"), ("python", "-m", "job"), ("ohlcv-models",))
"""How documents start the job."""
COLUMNS: Final = {"README.md": 90}
"""Width of the terminal that a document shows; of the others, `WIDE`."""
WIDE: Final = 140

VERSION: Final = re.compile(r"\d{8}_\d{6}_[0-9a-f]{6}")
CLOCK: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|\b\d\d:\d\d:\d\d\b")
LOG_PREFIX: Final = re.compile(r"^(TIME )?(INFO|WARNING|ERROR) +")
RULE: Final = re.compile(r"^ *─+$")
CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Command:
    """A command in a document; if `shown`, it has a `$` before it, and below it the lines that it prints."""

    document: str
    text: str
    shown: bool
    printed: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """The command as a shell splits it."""
        return tuple(shlex.split(self.text, comments=True))

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """What the job is given, also where Ray is to submit it; None where something else is started."""
        words = self.words
        if words[:3] == ("ray", "job", "submit"):
            words = words[words.index("--") + 1 :]
        return next((words[len(start) :] for start in PROGRAMS if words[: len(start)] == start), None)

    @property
    def is_local(self) -> bool:
        """Whether it starts the job on this machine, with files of this machine."""
        return self.arguments is not None and self.words[0] != "ray" and "s3://" not in self.text


def commands(document: str) -> Iterator[Command]:
    """Yield the commands of a document's indented blocks: lines after `$`, or all lines of a block without any `$`.

    Blocks that start with something else than a command (a tree of folders, figures) have none.
    """
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", _without_code(document), flags=re.MULTILINE):
        lines = [line.rstrip() for line in textwrap.dedent(block).splitlines()]
        starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in pairwise([*starts, len(lines)]):
            printed = tuple(line for line in lines[start + 1 : end] if line)
            yield Command(document, lines[start].removeprefix("$ "), shown=True, printed=printed)
        if not starts:
            known = ("python", "ohlcv-models", "make", "ray", "pip", "export")
            yield from (Command(document, line, shown=False) for line in lines if line.split(" ")[0] in known)


def python_blocks(document: str) -> list[str]:
    """Return the Python of a document."""
    return re.findall(r"```python\n(.*?)```", read(document), flags=re.DOTALL)


def links(document: str) -> list[str]:
    """Return the paths that a document links to, relative to its folder."""
    found = re.findall(r"\]\(([^)]+)\)", read(document))
    return [link for link in found if not link.startswith(("http", "#"))]


def read(document: str) -> str:
    """Return the text of a document."""
    return (ROOT / document).read_text(encoding="utf-8")


def _without_code(document: str) -> str:
    return re.sub(r"```.*?```", "", read(document), flags=re.DOTALL) + "\n"


def run_on_terminal(command: Command, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command in `folder` on a terminal as wide as its document's; return its exit status and what it printed."""
    ours, theirs = pty.openpty()
    width = COLUMNS.get(command.document, WIDE)
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    with subprocess.Popen(
        ["bash", "-c", command.text], cwd=folder, env=dict(environment), stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        printed = b""
        while chunk := _read(ours):
            printed += chunk
        os.close(ours)
        status = process.wait(600)
    return status, printed.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # what Linux answers once the last process has left the terminal
        return b""


def normalized(lines: list[str], *folders: Path) -> list[str]:
    """Return lines without what no two runs share: ids by their order, clocks, folders, log levels, trailing blanks.

    Rules count as equal whatever their length, for a table's may depend on columns that a run fills differently.
    """
    text = CONTROL.sub("", "\n".join(lines)).replace("\r", "\n")
    for folder in folders:
        text = text.replace(f"{folder}/", "")
    ids = {found: f"ID{number}" for number, found in enumerate(dict.fromkeys(VERSION.findall(text)))}
    text = CLOCK.sub("TIME", VERSION.sub(lambda match: ids[match[0]], text))
    return [RULE.sub("─", LOG_PREFIX.sub("", line).rstrip()) for line in text.splitlines() if line.strip()]


def python_environment(home: Path) -> dict[str, str]:
    """Return an environment in which `python` is the one of these tests, and `~` is `home`."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **os.environ,
        "PATH": path,
        "HOME": str(home),
        "TERM": "xterm",
        "NO_COLOR": "1",
        "RAY_AUTH_MODE": "disabled",
    }
