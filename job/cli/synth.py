"""The command that writes synthetic bars."""

import argparse
from pathlib import Path
from typing import Final

from job.cli.arguments import JSON, Argument, Command
from job.cli.logs import log
from job.cli.report import print_json
from job.core.errors import ConfigError
from job.core.paths import is_url
from job.core.synth import write_world


def synth(options: argparse.Namespace) -> int:
    """Write synthetic bars and name the files."""
    if is_url(options.output):
        raise ConfigError(
            f"--output {options.output}: synthetic bars are written to a local folder; copy them from there"
        )
    paths = write_world(
        Path(options.output),
        symbols=options.symbols,
        days=options.days,
        seed=options.seed,
        world=options.world,
        hurst=options.hurst,
    )
    log.info("wrote %d symbols of %d days to %s", len(paths), options.days, options.output)
    print_json(options, {"files": [str(path) for path in paths]})
    return 0


COMMAND: Final = Command(
    "synth",
    synth,
    "write synthetic bars",
    (
        Argument(("--output",), "folder to write to", "DIR", more={"required": True}),
        Argument(("--symbols",), "how many symbols (default 3)", "N", more={"type": int, "default": 3}),
        Argument(("--days",), "how many days (default 30)", "N", more={"type": int, "default": 30}),
        Argument(("--seed",), "same seed, same bars (default 7)", "N", more={"type": int, "default": 7}),
        Argument(
            ("--world",),
            "noise is unpredictable; signal has a trend to find",
            more={"choices": ("noise", "signal"), "default": "noise"},
        ),
        Argument(
            ("--hurst",), "persistence of the signal, 0.5 to 1 (default: the world's own)", "H", more={"type": float}
        ),
        JSON,
    ),
    "Write synthetic 1-minute bars.",
)
