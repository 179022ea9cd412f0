"""Arguments that name models in a registry, and the keys that they stand for."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from job.api.trainer import resolved
from job.cli.options import refuse_empty
from job.config.overrides import merge
from job.config.settings import Config, load_config, read_settings
from job.core.errors import ConfigError, DataError, RegistryError
from job.core.keys import Key
from job.core.wording import did_you_mean

MAX_NAMED: Final = 10

FILTERS: Final[dict[str, Callable[[Key], str]]] = {
    "symbols": lambda key: key.symbol,
    "exchange": lambda key: key.exchange,
    "timeframes": lambda key: key.timeframe,
    "model_types": lambda key: key.model_type,
}
"""Arguments that keep some of the keys, and what each looks at."""


def add_store(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where the models are."""
    parser.add_argument("--models", metavar="URL", help="folder or URL of the model registry (default: ./models)")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings, such as storage.options")


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `FILTERS`."""
    add = parser.add_argument
    add("--symbols", "--symbol", metavar="A,B", help="only models of these symbols")
    add("--exchange", metavar="NAME", help="only models of this exchange, or of several: A,B")
    add("--timeframes", "--timeframe", metavar="1h,15m", help="only models of these timeframes")
    add("--model-types", "--model-type", metavar="analyst,tactician", help="only models of these kinds")


def add_keys(parser: argparse.ArgumentParser) -> None:
    """Add the models' names as arguments, and the filters."""
    text = "a model as `models list` names it: binance/BTCUSDT/analyst_1h (default: all that the filters keep)"
    parser.add_argument("keys", metavar="KEY", nargs="*", help=text)
    add_filters(parser)


def store_settings(options: argparse.Namespace) -> Config:
    """Return the settings of a command that works on a registry: the file's, with the registry of `--models`."""
    refuse_empty(options, ("models", "config"))
    values = read_settings(Path(options.config)) if options.config else {}
    if options.models:
        values = merge(values, "model_trainer.model_directory", options.models)
    return resolved(load_config(values))


def is_narrowed(options: argparse.Namespace) -> bool:
    """Return whether the arguments name or filter models at all."""
    return bool(options.keys) or any(getattr(options, name) is not None for name in FILTERS)


def selected(known: Iterable[Key], options: argparse.Namespace, *, where: str) -> list[Key]:
    """Return the keys of a registry that the arguments name and the filters keep, in order.

    Raises:
        ConfigError: an argument is empty.
        DataError: the registry holds no model, or a value of a filter is met by none of its models.
        RegistryError: it does not hold a model that is named.
    """
    refuse_empty(options, tuple(FILTERS))
    kept = sorted(known)
    if not kept:
        raise DataError(f"{where} holds no model: name the model registry with --models")
    if names := getattr(options, "keys", ()):
        kept = _named(kept, names, where)
    for argument, part in FILTERS.items():
        if (given := getattr(options, argument)) is not None:
            kept = _filtered(kept, argument, part, given, where)
    return kept


def names_of(key: Key) -> tuple[str, ...]:
    """Return what a model may be called on a command line; the first is safe in a shell."""
    return f"{key.folder}/{key.stem}", f"{key.exchange}/{key.symbol}/{key.stem}", str(key)


def _named(known: Sequence[Key], names: Iterable[str], where: str) -> list[Key]:
    by_name = {name: key for key in known for name in names_of(key)}
    for name in names:
        if name not in by_name:
            redact_url = [names_of(key)[0] for key in known]
            hint = did_you_mean(name, redact_url) or f"; there are {some_of(redact_url)}"
            raise RegistryError(f"{where} holds no model {name!r}{hint}")
    return sorted({by_name[name] for name in names})


def _filtered(known: Sequence[Key], argument: str, part: Callable[[Key], str], given: str, where: str) -> list[Key]:
    values = {value.strip() for value in given.split(",") if value.strip()}
    there = sorted({part(key) for key in known})
    if unknown := sorted(values.difference(there)):
        flag = argument.replace("_", "-")
        raise DataError(f"{where}: --{flag}: no model has {unknown[0]!r}; those left have {some_of(there)}")
    return [key for key in known if part(key) in values]


def some_of(names: Sequence[str]) -> str:
    """Return the first names of many, and how many more there are."""
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def require_narrowed(options: argparse.Namespace, known: Iterable[Key]) -> None:
    """Refuse to change every model of a registry that has several unless that is what the arguments say.

    Raises:
        ConfigError: they name none, have no filter, and no `--all`.
    """
    if not options.all and not is_narrowed(options) and len({*known}) > 1:
        raise ConfigError("name the models to change: KEY, --symbols, --timeframes, …, or --all")
