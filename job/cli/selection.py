"""Arguments that choose models of a registry, and the keys that they stand for."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from job.cli.arguments import CONFIG, EXCHANGE, KEYS, MODEL_TYPES, MODELS, SYMBOLS, TIMEFRAMES
from job.cli.options import split_names, timeframe_names
from job.core.errors import DataError, RegistryError
from job.core.keys import Key
from job.core.wording import did_you_mean, first_of

MODEL_SYMBOLS: Final = replace(SYMBOLS, help="only models of these symbols", setting=None)
FILTERS: Final[dict[str, Callable[[Key], str]]] = {
    "symbols": lambda key: key.symbol,
    "exchange": lambda key: key.exchange,
    "timeframes": lambda key: key.timeframe,
    "model_types": lambda key: key.model_type,
}
"""Arguments that keep some of the keys, and what each looks at."""

FILTER_ARGUMENTS: Final = (MODEL_SYMBOLS, EXCHANGE, TIMEFRAMES, MODEL_TYPES)
SELECTION: Final = (MODELS, replace(CONFIG, help="settings, such as storage.options"), KEYS, *FILTER_ARGUMENTS)
"""Arguments that choose the registry, and the models that a command works on."""


def selected(known: Iterable[Key], options: argparse.Namespace, *, where: str) -> list[Key]:
    """Return the keys of a registry that the arguments name and the filters keep, in order.

    Raises:
        DataError: the registry holds no model, or a value of a filter is met by none of its models.
        RegistryError: it does not hold a model that is named.
    """
    kept = sorted(known, key=lambda key: key.parts)
    if not kept:
        raise DataError(f"{where} holds no model: name the model registry with --models")
    if names := getattr(options, "keys", ()):
        kept = named(kept, names, where=where)
    for argument, part in FILTERS.items():
        if (text := getattr(options, argument)) is None:
            continue
        values = timeframe_names(text) if argument == "timeframes" else split_names(text)
        there = sorted({part(key) for key in kept})
        if unknown := sorted(set(values).difference(there)):
            flag = argument.replace("_", "-")
            raise DataError(f"{where}: --{flag}: no model has {unknown[0]!r}; those left have {first_of(there)}")
        kept = [key for key in kept if part(key) in values]
    return kept


def named(known: Iterable[Key], names: Iterable[str], *, where: str) -> list[Key]:
    """Return the keys of a registry that have the `names`, in order.

    Raises:
        RegistryError: it does not hold one of them.
    """
    there = {shell_name(key): key for key in known}
    by_name = {name: key for key in there.values() for name in (f"{key.exchange}/{key.symbol}/{key.stem}", str(key))}
    by_name |= there
    for name in names:
        if name not in by_name:
            hint = did_you_mean(name, [*there]) or f"; there are {first_of(there)}"
            raise RegistryError(f"{where} holds no model {name!r}{hint}")
    return sorted({by_name[name] for name in names})


def shell_name(key: Key) -> str:
    """Return the name of a model on a command line, safe in a shell: `binance/BTC%2FUSDT/analyst_1h`."""
    return f"{key.folder}/{key.stem}"
