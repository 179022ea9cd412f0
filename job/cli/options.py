"""Arguments that commands share, and the settings that they stand for."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from job.api.trainer import resolved
from job.cli.report import log
from job.config.overrides import merge, overlay
from job.config.settings import Config, TrainerSettings, check_max_timeframe, load_config, read_settings
from job.core.environment import bundled_sample
from job.core.errors import ConfigError
from job.core.wording import did_you_mean
from transforms.bars import duration_us

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

FLAGS: Final = {
    "input": "data.input",
    "output": "model_trainer.model_directory",
    "symbols": "data.symbols",
    "lookback_days": "data.lookback_days",
    "start": "data.start",
    "end": "data.end",
    "group_by": "model_trainer.group_by",
    "max_failures": "model_trainer.max_failures",
}
"""Arguments that are short for one setting."""


EPILOG: Final = """exit status: 0 every model trained or already current; 1 some failed, the others are committed;
2 bad usage or configuration; 3 no usable data; 130 interrupted"""


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], *, summary: str, text: str | None = None
) -> argparse.ArgumentParser:
    """Add a command that `run` carries out; return its parser, for its arguments."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=text or summary,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what `train`, `plan` and `doctor` take."""
    add = parser.add_argument
    add("--input", metavar="URL", help="file, folder, glob or URL of bars (default: the bundled sample)")
    add("--output", metavar="URL", help="folder or URL of the model registry (default: ./models)")
    add("--config", metavar="FILE.yaml", help="settings; flags and --set win over them")
    add("--symbols", metavar="A,B", help="only these symbols")
    add("--timeframes", metavar="1h,15m", help="only these timeframes of each kind of model")
    add("--model-types", metavar="analyst,tactician", help="only these kinds of model")
    add("--lookback-days", metavar="N", help="train on the last N days before --end, or before the series' last bar")
    add("--start", metavar="D", help="first bar, inclusive, ISO date or time, UTC unless it says otherwise")
    add("--end", metavar="D", help="last bar, exclusive")
    add("--group-by", metavar="exchange,symbol,timeframe", help="a model a series; `timeframe` alone pools all series")
    add("--max-failures", metavar="N|SHARE", help="give up when more models fail than this count, or share such as 5%%")
    add("--set", metavar="dotted.key=value", action="append", default=[], help="any setting; the value is YAML")
    add("--force", action="store_true", help="train models that are current, too")
    add("--verify", action="store_true", help="read all bars to see what is current, instead of believing file times")
    add("--json", action="store_true", help="print the run record as one JSON object, the last line of stdout")


def settings(options: argparse.Namespace) -> Config:
    """Return the settings of a command: file, then flags, then --set; paths absolute, logging as they say.

    Raises:
        ConfigError: naming the key or argument.
    """
    return narrowed(given(options, FLAGS), options.model_types, options.timeframes)


def given(options: argparse.Namespace, flags: Mapping[str, str]) -> Config:
    """Return the settings that a config file, `flags` (each short for a setting) and --set give, in this order.

    Raises:
        ConfigError: naming the key or argument.
    """
    refuse_empty(options, [flag for flag, text in vars(options).items() if isinstance(text, str)])
    values: dict[str, Any] = {"data": {"input": str(bundled_sample())}}
    if options.config:
        values = overlay(values, read_settings(Path(options.config)))
    for flag, key in flags.items():
        if (value := getattr(options, flag)) is not None:
            values = merge(values, key, value)
    config = resolved(load_config(values, options.set))
    log.setLevel(config.ray.logging_level.upper())
    return config


def refuse_empty(options: argparse.Namespace, flags: Iterable[str]) -> None:
    """Raise ConfigError where an argument is empty: an empty shell variable must not mean everything."""
    for flag in flags:
        if (given := getattr(options, flag)) is not None and not given.strip(" ,"):
            raise ConfigError(f"--{flag.replace('_', '-')} is empty: give a value, or leave the argument out")


def narrowed(config: Config, model_types: str | None, timeframes: str | None) -> Config:
    """Keep the given kinds of model and, of each, the given timeframes.

    A timeframe that no kind is configured for goes to the first kind left.

    Raises:
        ConfigError: an unknown kind, or not a timeframe.
    """
    trainer = config.model_trainer
    kinds = {"analyst": trainer.enable_analyst_models, "tactician": trainer.enable_tactician_models}
    if model_types is not None:
        wanted = {name.strip() for name in model_types.split(",") if name.strip()}
        if unknown := sorted(wanted - set(kinds)):
            hint = f"{did_you_mean(unknown[0], list(kinds))} (known: {', '.join(kinds)})"
            raise ConfigError(f"--model-types: unknown {unknown[0]!r}{hint}")
        kinds = {kind: kind in wanted for kind in kinds}
    update: dict[str, Any] = {f"enable_{kind}_models": on for kind, on in kinds.items()}
    if timeframes is not None:
        chosen = _by_kind(trainer, [kind for kind, on in kinds.items() if on], timeframes.split(","))
        for kind, own in chosen.items():
            section = getattr(trainer, f"{kind}_models")
            update[f"{kind}_models"] = section.model_copy(update={"timeframes": own})
    return config.model_copy(update={"model_trainer": trainer.model_copy(update=update)})


def _by_kind(trainer: TrainerSettings, kinds: Sequence[str], given: Sequence[str]) -> dict[str, tuple[str, ...]]:
    names = [name.strip() for name in given if name.strip()]
    try:
        wanted = sorted({check_max_timeframe(name) for name in names}, key=duration_us, reverse=True)
    except ValueError as error:
        raise ConfigError(f"--timeframes: {error}") from None
    configured = {kind: getattr(trainer, f"{kind}_models").timeframes for kind in kinds}
    new = [name for name in wanted if not any(name in own for own in configured.values())]
    return {
        kind: tuple(name for name in wanted if name in own or (name in new and kind == kinds[0]))
        for kind, own in configured.items()
    }
