"""The table of command-line arguments that several commands take, and what a command is.

A command picks from the table what it takes, and adds what it alone takes. An argument that is short for a setting says
so here, and `options.settings` does the rest.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from job.registry.versions import LATEST


@dataclass(frozen=True)
class Argument:
    """An argument: its names (the first counts, others are aliases), its help, and the setting that it is short for.

    `more` holds other arguments of `argparse`: `action`, `choices`, `default`, `nargs`, `required`, `type`.
    """

    names: tuple[str, ...]
    help: str
    metavar: str | None = None
    setting: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def attribute(self) -> str:
        """Name of its value among parsed options."""
        return self.names[0].lstrip("-").replace("-", "_")


@dataclass(frozen=True)
class Command:
    """A command: `run` carries it out and returns the exit status; `text` is what its own help says at length."""

    name: str
    run: Callable[[argparse.Namespace], int]
    summary: str
    arguments: tuple[Argument, ...]
    text: str = ""


@dataclass(frozen=True)
class CommandGroup:
    """Commands under one name, such as `models list` and `models show`."""

    name: str
    summary: str
    commands: tuple[Command, ...]
    text: str = ""


def flag(name: str, text: str) -> Argument:
    """Return an argument without a value."""
    return Argument((name,), text, more={"action": "store_true"})


REGISTRY: Final = "folder or URL of the model registry (default: ./models)"

INPUT: Final = Argument(
    ("--input",), "file, folder, glob or URL of bars (default: the bundled sample)", "URL", setting="data.input"
)
OUTPUT: Final = Argument(("--output",), REGISTRY, "URL", setting="model_trainer.model_directory")
MODELS: Final = Argument(("--models",), REGISTRY, "URL", setting="model_trainer.model_directory")
CONFIG: Final = Argument(("--config",), "settings; arguments and --set win over them", "FILE.yaml")
SET: Final = Argument(
    ("--set",), "any setting; the value is YAML", "dotted.key=value", more={"action": "append", "default": []}
)
SYMBOLS: Final = Argument(("--symbols", "--symbol"), "only these symbols", "A,B", setting="data.symbols")
EXCHANGE: Final = Argument(("--exchange",), "only models of this exchange, or of several: A,B", "NAME")
TIMEFRAMES: Final = Argument(("--timeframes", "--timeframe"), "only models of these timeframes", "1h,15m")
MODEL_TYPES: Final = Argument(("--model-types", "--model-type"), "only models of these kinds", "analyst,tactician")
LOOKBACK_DAYS: Final = Argument(
    ("--lookback-days",),
    "train on the last N days before --end, or before the series' last bar",
    "N",
    setting="data.lookback_days",
)
START: Final = Argument(
    ("--start",),
    "first bar, inclusive, ISO date or time, UTC unless it says otherwise; those before it warm up",
    "D",
    setting="data.start",
)
END: Final = Argument(("--end",), "last bar, exclusive", "D", setting="data.end")
GROUP_BY: Final = Argument(
    ("--group-by",),
    "one model per series; `timeframe` alone means models over all series",
    "exchange,symbol,timeframe",
    setting="model_trainer.group_by",
)
MAX_FAILURES: Final = Argument(
    ("--max-failures",),
    "give up when more models fail than this count, or share such as 5%%",
    "N|SHARE",
    setting="model_trainer.max_failures",
)
KEYS: Final = Argument(
    ("keys",),
    "a model as `models list` names it: binance/BTCUSDT/analyst_1h (default: all that the filters keep)",
    "KEY",
    more={"nargs": "*"},
)
VERSION: Final = Argument(
    ("--version",),
    "latest (default), champion, challenger, a version, or the id of the run that made it",
    "NAME",
    more={"default": LATEST},
)
FORCE: Final = flag("--force", "train models that are current, too")
VERIFY: Final = flag("--verify", "read all bars to see what is current, instead of trusting the times of files")
TUNED: Final = Argument(
    ("--tuned",),
    "train with what `tune` chose last",
    setting="model_trainer.tuned",
    more={"action": "store_const", "const": "latest"},
)
DRY_RUN: Final = flag("--dry-run", "say what would be done, and do nothing")
JSON: Final = flag("--json", "print the result as JSON, the last line of stdout")

LOG_FORMAT: Final = Argument(
    ("--log-format",),
    "log lines on stderr: text (default), or json, one object per line",
    setting="ray.logging_format",
    more={"choices": ("text", "json")},
)
METRICS: Final = Argument(
    ("--metrics",),
    "file to keep figures in that Prometheus reads, for the textfile collector of its node_exporter",
    "FILE.prom",
    setting="metrics.textfile",
)

COMMON: Final = (LOG_FORMAT,)
"""What every command takes."""
RUN: Final = (
    INPUT, OUTPUT, CONFIG, SYMBOLS, TIMEFRAMES, MODEL_TYPES, LOOKBACK_DAYS, START, END, GROUP_BY, MAX_FAILURES, SET,
    TUNED, FORCE, VERIFY, METRICS, JSON,
)  # fmt: skip
"""What `train`, and the commands that say what it would do, take."""
