"""The documents: every command in them is run, or its arguments are parsed; what is said to be printed is printed."""

import re
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from job.cli import parse
from job.config.settings import Config
from job.core.environment import BUNDLED_SAMPLE, ROOT
from job.core.keys import Key
from job.learning.estimators import ALGORITHMS
from job.storage.files import Storage
from job.worker.scorer import load_scorer
from tests.algorithms import each
from tests.documents import (
    DOCUMENTS,
    Command,
    commands,
    links,
    normalized,
    python_blocks,
    python_environment,
    read,
    run_on_terminal,
)

COMMANDS = [command for document in DOCUMENTS for command in commands(document)]
MAKE_RUN = "python job/main.py"
"""What `make run` starts once everything is installed; see `test_make_run_starts_the_job`."""
LONGEST_README = 250


def named(command: Command) -> str:
    return f"{command.document}: {command.text}"


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.arguments is not None], ids=named)
def test_arguments_of_the_job_are_accepted(command: Command) -> None:
    assert command.arguments is not None
    assert callable(parse(command.arguments).command.run)


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.arguments is None], ids=named)
def test_other_commands_are_what_the_repository_offers(command: Command) -> None:
    first, *rest = command.words
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if first == "make":
        assert re.search(rf"^{rest[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    elif first == "pip":
        assert rest[:3] == ["install", "-c", "constraints.txt"]
        assert rest[3].removeprefix(".[").removesuffix("]") in project["optional-dependencies"]
    else:
        assert command.text.partition("#")[0].strip() in {
            "export RAY_AUTH_MODE=token", "ray start --head", "ray start --address=HEAD:6379",
        }  # fmt: skip


def test_make_run_starts_the_job() -> None:
    recipe = re.search(r"^run: .*\n\t@\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert recipe is not None
    assert recipe[1] == MAKE_RUN


def test_the_installed_command_is_the_documented_one() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert set(scripts) == {"ohlcv-models"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    for link in links(document):
        path, _, heading = link.partition("#")
        target = (ROOT / document).parent / path
        assert target.exists(), link
        if heading:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, link


def test_the_readme_is_a_map() -> None:
    assert len(read("README.md").splitlines()) <= LONGEST_README
    tree = dict(re.findall(r"^ {4}( *[\w-]+)/ {2,}(\S.*)$", read("README.md"), flags=re.MULTILINE))
    inner = {f"  {path.parent.name}" for path in (ROOT / "job").glob("*/__init__.py")}
    assert set(tree) == {"job", "transforms", "tests", "data", "  bench", *inner}


def test_every_document_is_reached_from_the_readme() -> None:
    reached = {(ROOT / link).resolve() for link in links("README.md")}
    assert reached >= {ROOT / document for document in DOCUMENTS if document != "README.md"}


def settings_of(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all settings; kinds of model have the same ones, which are documented once."""
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from settings_of(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_every_setting_is_documented() -> None:
    table = read("job/README.md").partition("## Settings")[2].partition("\n## ")[0]
    documented = set(re.findall(r"`([\w.]+)`", table))
    for key in settings_of(Config):
        kind, _, own = key.rpartition("_models.")
        assert {key, f".{own}" if kind else key} & documented, key


def test_models_load_without_this_code_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = python_blocks("job/registry/README.md")
    shutil.copytree(ROOT / "tests" / "old_registry", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "job/registry/README.md", "exec"), names)
    scorer = load_scorer(Storage(str(tmp_path / "models")), Key("synthetic", "SYN00USDT", "1h", "analyst"))
    assert names["up"] == pytest.approx(scorer.probabilities(names["matrix"]), abs=1e-12)


@pytest.mark.usefixtures("local_ray")
def test_the_documented_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = python_blocks("job/README.md")  # the other is a user's module, see test_user_network
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "job/README.md", "exec"), names)
    assert names["results"]["analyst_models"]["1h"]["status"] == "trained"


@pytest.fixture
def checkouts(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders that look like checkouts, so that what is written in them goes nowhere else; `~/bars` holds bars."""
    folders = (tmp_path / "commands", tmp_path / "sessions")
    for folder in folders:
        folder.mkdir()
        for name in ("job", "transforms"):
            (folder / name).symlink_to(ROOT / name)
        shutil.copytree(ROOT / "data", folder / "data")  # a command makes the sample again
    for symbol, file in zip(("BTCUSDT", "ETHUSDT"), sorted(BUNDLED_SAMPLE.rglob("*.parquet")), strict=True):
        bars = tmp_path / "home" / "bars" / "exchange=binance" / f"symbol={symbol}"
        bars.mkdir(parents=True)
        shutil.copy(file, bars / f"{symbol}-1m.parquet")
    return folders


def local(command: Command) -> bool:
    return (command.is_local or command.text == "make run") and optional(command) is None


def optional(command: Command) -> str | None:
    """Return the algorithm that a command asks for, if its library is an extra."""
    asked = re.search(r"algorithm=(\w+)", command.text)
    return asked[1] if asked and ALGORITHMS[asked[1]].extra else None


@pytest.mark.parametrize("name", each(*sorted({name for one in COMMANDS if (name := optional(one))})))
def test_commands_with_optional_algorithms_run(name: str, checkouts: tuple[Path, Path]) -> None:
    for command in [one for one in COMMANDS if optional(one) == name]:
        status, output = run_on_terminal(command, checkouts[0], python_environment(checkouts[0].parent / "home"))
        assert status == 0, f"{command.text}\n{output}"


@pytest.mark.slow
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("document", sorted({one.document for one in COMMANDS if local(one)}))
def test_commands_run_and_print_what_they_are_said_to(document: str, checkouts: tuple[Path, Path]) -> None:
    """Those shown with their output, that shuffle or look at Ray run on it; others need a third of the time."""
    environment = python_environment(checkouts[0].parent / "home") | {"PYTHONPATH": str(ROOT)}
    expected, printed = [], []
    for command in filter(local, commands(document)):
        text = command.text.replace("make run", MAKE_RUN).replace("ohlcv-models", "python -m job")
        if not command.shown and not re.search("--group-by|doctor", text):
            text = re.sub(r"^python (job/main\.py|-m job)", "python -m tests.here", text)
        folder = checkouts[command.shown]  # a session starts with no model
        status, output = run_on_terminal(replace(command, text=text), folder, environment)
        assert status == 0, f"{command.text}\n{output}"
        if command.shown:
            expected += [f"$ {command.text}", *command.printed]
            printed += [f"$ {command.text}", *output.splitlines()]
    found = iter(normalized(printed, checkouts[1].resolve(), ROOT))
    for line in normalized(expected):
        assert line in found, f"{document}: not printed, or not in this order: {line}\n" + "\n".join(printed)
