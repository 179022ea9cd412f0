"""The command that writes synthetic bars."""

import argparse
from pathlib import Path

from job.cli.options import Commands, add_command
from job.cli.report import log
from job.core.errors import ConfigError
from job.core.paths import is_url


def register(commands: Commands) -> None:
    """Add the command to the command line."""
    add = add_command(
        commands, "synth", synth, summary="write synthetic bars", text="Write synthetic 1-minute bars."
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
    """Write synthetic bars and name the files."""
    from job.core.synth import write_world  # noqa: PLC0415

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
    return 0
