"""The command line: arguments to settings, one function a command, errors to one line and an exit status."""

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from job.config import Config, TrainerSettings, load_config, merge, of_a_year_at_most, overlay, read_settings
from job.config.values import did_you_mean
from job.environment import ROOT
from job.errors import ConfigError, DataError, JobError
from job.paths import is_url, shown
from job.planning import describe_plan, make_plan
from job.report import configure_logging, log, show_plan, show_result, to_do, watching
from job.runs.resuming import open_store, settle
from job.runs.running import run
from job.store import key_of, rebuild
from job.trainer import resolved
from transforms.bars import duration_us

INTERRUPTED: Final = 130

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

REINDEX: Final = """Make the catalogue of a model store anew from the metadata of every version.
It is a cache: nothing is lost with it, and the next run needs it only to be fast."""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; user errors become one line on stderr."""
    options = parse(arguments)
    configure_logging("info")
    try:
        status: int = options.command(options)
    except JobError as error:
        log.error("%s", error, exc_info=log.isEnabledFor(logging.DEBUG))
        return error.exit_status
    except KeyboardInterrupt:
        log.error("interrupted")
        return INTERRUPTED
    return status


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options, with `command` the function to call; a bare call trains."""
    parser = argparse.ArgumentParser(
        prog="python job/main.py",
        description="Train, score and version models of OHLCV bars.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="command", required=True)
    for name, command, text in (
        ("train", train, "train every model that the store does not hold (the default)"),
        ("plan", plan, "say what train would do: models, rows, seconds and memory; trains nothing"),
        ("doctor", doctor, "check the cluster, the input and the store, and say what to mend"),
    ):
        sub = commands.add_parser(name, help=text, description=text, epilog=EPILOG)
        _add_run_options(sub)
        sub.set_defaults(command=command)
    sub = commands.add_parser("reindex", help="make the store's catalogue anew", description=REINDEX, epilog=EPILOG)
    sub.add_argument("--output", metavar="URL", help="folder or URL of the model store (default: ./models)")
    sub.add_argument("--config", metavar="FILE.yaml", help="settings, such as storage.options")
    sub.set_defaults(command=reindex)
    sub = commands.add_parser("synth", help="write made-up bars", description="Write made-up 1-minute bars.")
    _add_synth_options(sub)
    sub.set_defaults(command=synth)
    named = arguments and (not arguments[0].startswith("-") or arguments[0] in {"-h", "--help"})
    return parser.parse_args(arguments if named else ["train", *arguments])


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", metavar="URL", help="file, folder, glob or URL of bars (default: the bundled sample)")
    add("--output", metavar="URL", help="folder or URL of the model store (default: ./models)")
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


def _add_synth_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
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


def settings(options: argparse.Namespace) -> Config:
    """Return the settings of a command: file, then flags, then --set; paths absolute, logging as they say.

    Raises:
        ConfigError: naming the key or argument.
    """
    for flag in (*FLAGS, "config", "timeframes", "model_types"):  # an empty shell variable must not mean everything
        if (given := getattr(options, flag)) is not None and not given.strip(" ,"):
            raise ConfigError(f"--{flag.replace('_', '-')} is empty: give a value, or leave the argument out")
    values: dict[str, Any] = {"data": {"input": str(ROOT / "data" / "sample")}}
    if options.config:
        values = overlay(values, read_settings(Path(options.config)))
    for flag, key in FLAGS.items():
        if (value := getattr(options, flag)) is not None:
            values = merge(values, key, value)
    config = resolved(narrowed(load_config(values, options.set), options.model_types, options.timeframes))
    log.setLevel(config.ray.logging_level.upper())
    return config


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
        wanted = sorted({of_a_year_at_most(name) for name in names}, key=duration_us, reverse=True)
    except ValueError as error:
        raise ConfigError(f"--timeframes: {error}") from None
    configured = {kind: getattr(trainer, f"{kind}_models").timeframes for kind in kinds}
    new = [name for name in wanted if not any(name in own for own in configured.values())]
    return {
        kind: tuple(name for name in wanted if name in own or (name in new and kind == kinds[0]))
        for kind, own in configured.items()
    }


def train(options: argparse.Namespace) -> int:
    """Train, show the result, and return the run's exit status."""
    config = settings(options)
    plan = settle(make_plan(config), config, force=options.force, verify=options.verify)
    for note in plan.notes:
        log.info(note)
    log.info("%s into %s: %s", shown(config.data.input or ""), config.model_trainer.model_directory, to_do(plan))
    with watching(len(plan.tasks)) as watch:
        record = run(config, watch=watch, plan=plan)
    show_result(record)
    if options.json:
        print(json.dumps(record.as_dict()))  # noqa: T201 - the promised last line
    return record.exit_status


def plan(options: argparse.Namespace) -> int:
    """Print what train would do."""
    config = settings(options)
    planned = settle(make_plan(config), config, force=options.force, verify=options.verify)
    for note in planned.notes:
        log.info(note)
    for warning in sorted({warning for outcome in planned.current for warning in outcome.warnings}):
        log.warning(warning)
    for problem in planned.problems:
        log.error(problem)
    described = describe_plan(planned)
    show_plan(described)
    if options.json:
        print(json.dumps(described))  # noqa: T201
    return 1 if planned.problems else 0


def doctor(options: argparse.Namespace) -> int:
    """Print every check and its remedy; 0 when all are good, 2 otherwise."""
    from job.doctor import examine  # noqa: PLC0415 - starts Ray

    findings = examine(settings(options))
    for finding in findings:
        log.log(logging.INFO if finding.good else logging.ERROR, "%-7s %s", finding.subject, finding.text)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings]))  # noqa: T201
    return 0 if all(finding.good for finding in findings) else ConfigError.exit_status


def reindex(options: argparse.Namespace) -> int:
    """Make the catalogue of a store anew and count its versions; 1 if some have damaged metadata, which is named."""
    values = read_settings(Path(options.config)) if options.config else {}
    if options.output:
        values = merge(values, "model_trainer.model_directory", options.output)
    store = open_store(resolved(load_config(values)))
    if not store.list():
        raise DataError(f"{store.url} holds nothing: name the model store with --output")
    rebuilt = rebuild(store)
    for problem in rebuilt.problems:
        log.error(problem)
    found = {key_of(one) for one in rebuilt.summaries}
    log.info("%s: %d versions of %d models", store.url, len(rebuilt.summaries), len(found))
    return 1 if rebuilt.problems else 0


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
