"""The command that writes made-up bars."""

import argparse
from pathlib import Path

from job.commands.options import Commands, add_command
from job.errors import ConfigError
from job.paths import is_url
from job.report import log


def register(commands: Commands) -> None:
    """Add the command to the command line."""
    add = add_command(
        commands, "synth", synth, summary="write made-up bars", text="Write made-up 1-minute bars."
    ).add_argument
    add("--output", metavar="DIR", required=True, help="folder to write to")
    add("--symbols", metavar="N", type=int, default=3, help="how many symbols (default 3)")
    add("--days", metavar="N", type=int, default=30, help="how many days (default 30)")
    add("--seed", metavar="N", type=int, default=7, help="same seed, same bars (default 7)")
    add(
        "--world",
        choices=("noise", "signal"),
        default="noise",
        help="noise is unpredictable; signal has a trend to find",
    )
    add("--hurst", metavar="H", type=float, help="persistence of the signal, 0.5 to 1 (default: the world's own)")


def synth(options: argparse.Namespace) -> int:
    """Write made-up bars and name the files."""
    from job.synth import write_world  # noqa: PLC0415

    if is_url(options.output):
        raise ConfigError(
            f"--output {options.output}: made-up bars are written to a local folder; copy them from there"
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
    return 0
