"""From parsed arguments to settings: a config file, then arguments, then --set, the later winning."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from job.cli.arguments import COMMON
from job.cli.logs import FORMAT_VARIABLE, configure_logging
from job.config.models import ModelSettings
from job.config.overrides import merge, overlay
from job.config.settings import Config, load_config, read_settings
from job.config.values import check_timeframe
from job.core.environment import BUNDLED_SAMPLE
from job.core.errors import ConfigError
from job.core.wording import did_you_mean
from transforms.bars import duration_us


def settings(options: argparse.Namespace) -> Config:
    """Return the settings of a command: those of its config file, its arguments and --set, the later winning.

    Local paths are absolute, and logging is as the settings say.

    Raises:
        ConfigError: naming the key or argument.
    """
    values: dict[str, Any] = {"data": {"input": str(BUNDLED_SAMPLE)}}
    if form := os.environ.get(FORMAT_VARIABLE):
        values["ray"] = {"logging_format": form}
    if options.config:
        values = overlay(values, read_settings(Path(options.config)))
    for argument in (*options.command.arguments, *COMMON):
        if argument.setting and (value := getattr(options, argument.attribute)) is not None:
            values = merge(values, argument.setting, value)
    config = load_config(values, getattr(options, "set", ())).with_absolute_paths()
    configure_logging(config.ray.logging_level, config.ray.logging_format)
    return config


def run_settings(options: argparse.Namespace) -> Config:
    """Return the settings of a command that trains, or says what training would do: of the models asked for only.

    Raises:
        ConfigError: as `settings`; or an unknown kind of model, or not a timeframe.
    """
    config = settings(options)
    trainer = config.model_trainer
    kinds: Mapping[str, ModelSettings] = trainer.kinds
    if options.model_types is not None:
        names, known = split_names(options.model_types), trainer.all_kinds
        if unknown := sorted(set(names) - set(known)):
            hint = f"{did_you_mean(unknown[0], known)} (known: {', '.join(known)})"
            raise ConfigError(f"--model-types: unknown {unknown[0]!r}{hint}")
        kinds = {name: kind for name, kind in known.items() if name in names}
    if options.timeframes is not None:
        distinct = set(timeframe_names(options.timeframes))
        chosen = {name: distinct.intersection(kind.timeframes) for name, kind in kinds.items()}
        # A timeframe that no kind is configured for goes to the first kind.
        chosen[next(iter(kinds))] |= distinct.difference(*chosen.values())
        kinds = {
            name: kind.model_copy(update={"timeframes": tuple(sorted(chosen[name], key=duration_us, reverse=True))})
            for name, kind in kinds.items()
        }
    return config.model_copy(update={"model_trainer": trainer.with_kinds(kinds)})


def split_names(text: str | None) -> tuple[str, ...]:
    """Return the names in `A,B`; none where the argument was not given."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def timeframe_names(text: str | None) -> tuple[str, ...]:
    """Return the timeframes in `1h,60min,1w`, each as the registry calls it.

    Raises:
        ConfigError: one is a month, or no timeframe.
    """
    try:
        return tuple(dict.fromkeys(map(check_timeframe, split_names(text))))
    except ValueError as error:
        raise ConfigError(f"--timeframes: {error}") from None
