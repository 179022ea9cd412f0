"""What holds for every command and every argument of the command line, because it is there."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from job.cli import COMMANDS, EPILOG, main, parse
from job.cli.arguments import CONFIG, JSON, Argument, Command, CommandGroup
from job.cli.options import run_settings, settings
from job.config.settings import Config
from tests.test_settings import LEAVES

EVERY: dict[str, Command] = {}
"""Every command, by how it is called."""
for entry in COMMANDS:
    if isinstance(entry, CommandGroup):
        EVERY |= {f"{entry.name} {command.name}": command for command in entry.commands}
    else:
        EVERY[entry.name] = entry
GROUPS = [entry.name for entry in COMMANDS if isinstance(entry, CommandGroup)]


def arguments(wanted: Callable[[Argument], bool]) -> pytest.MarkDecorator:
    """Parametrize over commands and those of their arguments that are wanted."""
    found = [(name, one) for name, command in EVERY.items() for one in command.arguments if wanted(one)]
    return pytest.mark.parametrize(
        ("name", "argument"), [pytest.param(*pair, id=f"{pair[0]} {pair[1].names[0]}") for pair in found]
    )


def must_not_be_empty(argument: Argument) -> bool:
    is_text = argument.names[0].startswith("-") and not {"action", "type", "choices"} & set(argument.more)
    return is_text and argument.more.get("default") != ""


VALUES = {
    "tune.trials": "7",
    "tune.series": "7",
    "data.lookback_days": "3",
    "watch.every": "5m",
    "data.start": "2024-01-01",
    "data.end": "2024-01-01",
    "model_trainer.group_by": "timeframe",
    "model_trainer.max_failures": "5%",
    "metrics.textfile": "figures.prom",
}
"""Values of arguments that are short for these settings; elsewhere any text is one."""


def call(name: str, *given: str) -> list[str]:
    """Return the arguments of a call, with what the command must have."""
    required = [one.names[0] for one in EVERY[name].arguments if one.more.get("required")]
    return [*name.split(), *(part for one in required if one not in given for part in (one, "1")), *given]


def help_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([*name.split(), "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [*EVERY, *GROUPS, ""])
def test_every_command_has_help_that_tells_its_exit_statuses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert EPILOG in help_of(name, capsys)


@pytest.mark.parametrize("name", EVERY)
def test_help_describes_the_command_and_each_of_its_arguments(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = EVERY[name]
    text = help_of(name, capsys)
    assert (command.text or command.summary) in text
    words = " ".join(text.split())
    for argument in command.arguments:
        assert (argument.names[0] if argument.names[0].startswith("-") else str(argument.metavar)) in words
        assert " ".join(argument.help.replace("%%", "%").split()) in words
    parent, _, own = name.rpartition(" ")
    assert f"{own} {command.summary}" in " ".join(help_of(parent, capsys).split())


@pytest.mark.parametrize("name", EVERY)
def test_every_command_can_answer_in_json(name: str) -> None:
    assert JSON in EVERY[name].arguments


@pytest.mark.parametrize("name", EVERY)
def test_an_unknown_argument_ends_with_status_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(call(name, "--no-such-argument"))
    assert stopped.value.code == 2
    assert "--no-such-argument" in capsys.readouterr().err


@arguments(must_not_be_empty)
def test_a_text_that_is_empty_is_refused(
    name: str, argument: Argument, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(call(name, argument.names[0], "")) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert f"{argument.names[0]} is empty: give a value, or leave the argument out" in printed.err
    assert not [*tmp_path.iterdir()]


@arguments(lambda argument: argument.setting is not None)
def test_an_argument_that_is_short_for_a_setting_sets_it_and_nothing_else(
    name: str, argument: Argument, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = VALUES.get(str(argument.setting), "given")
    given = (argument.names[0],) if "const" in argument.more else (argument.names[0], value)
    before, after = (settings(parse(call(name, *more))) for more in ((), given))
    assert {key for key in LEAVES if ".scalper." not in key and at(before, key) != at(after, key)} == {argument.setting}


def at(config: Config, key: str) -> object:
    """Return the value of a dotted key; None below a section that is switched off."""
    found: object = config
    for part in key.split("."):
        found = getattr(found, part, None)
    return found


@arguments(lambda argument: argument.names == CONFIG.names)
def test_a_settings_file_that_is_absent_costs_one_line(
    name: str, argument: Argument, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(call(name, "--json", "--config", "absent.yaml")) == 2
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert "config file absent.yaml: No such file" in printed.err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), {"analyst": ("1h", "15m", "5m", "1m"), "tactician": ("1m",), "scalper": ("1m", "5m")}),
        (("--model-types", "scalper"), {"scalper": ("1m", "5m")}),
        (("--model-types", "scalper,tactician", "--timeframes", "5m"), {"tactician": (), "scalper": ("5m",)}),
        (("--timeframes", "5m"), {"analyst": ("5m",), "tactician": (), "scalper": ("5m",)}),
        (("--model-types", "scalper", "--timeframes", "4h,1m"), {"scalper": ("4h", "1m")}),
    ],
)
def test_kinds_of_ones_own_are_chosen_like_the_others(
    given: tuple[str, ...], expected: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    file = tmp_path / "job.yaml"
    kind = {"timeframes": ["1m", "5m"], "algorithm": "extra_trees", "label": "direction(5)"}
    file.write_text(json.dumps({"model_trainer": {"models": {"scalper": kind}}}))
    config = run_settings(parse(["plan", "--config", str(file), *given]))
    assert {name: one.timeframes for name, one in config.model_trainer.kinds.items()} == expected


def test_a_kind_that_is_unknown_is_named_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "model_trainer: {models: {scalper: {timeframes: [1m], algorithm: extra_trees, label: direction(5)}}}"
    )
    assert main(["plan", "--config", str(file), "--model-types", "skalper"]) == 2
    message = "--model-types: unknown 'skalper'; did you mean 'scalper'? (known: analyst, tactician, scalper)"
    assert message in capsys.readouterr().err
