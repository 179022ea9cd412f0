"""The command that keeps models current: rounds of scoring, training, promoting and predicting as bars come in."""

import argparse
import signal
from typing import Final

from job.cli.arguments import (
    CONFIG,
    DRY_RUN,
    GROUP_BY,
    INPUT,
    JSON,
    LOOKBACK_DAYS,
    METRICS,
    MODEL_TYPES,
    OUTPUT,
    SET,
    START,
    SYMBOLS,
    TIMEFRAMES,
    Argument,
    Command,
    flag,
)
from job.cli.logs import log
from job.cli.options import run_settings
from job.cli.progress import watching
from job.cli.report import count_in_words, print_json
from job.core.errors import ConfigError
from job.core.log_fields import set_run
from job.core.paths import redact_url, require_disjoint, resolve_output
from job.core.wording import first_of
from job.registry.catalog import open_registry
from job.registry.watching import read_heartbeat, read_state
from job.sources.finding import find_series
from job.train.plan import plan as plan_training
from job.watch.loop import as_before, digest_of
from job.watch.loop import watch as watch_rounds
from job.watch.plan import plan as plan_scoring
from job.watch.record import Round

TEXT: Final = """Look for new bars every so often, and keep models current: score champions and challengers on bars
that are new to them, promote and give up by a test that may be looked at as often as one likes, train what the settings
under retrain ask for, let a new version challenge the champion, and predict. A round without new bars does nothing.
What a round left undone is done by the next one. With --once one round, for cron and Kubernetes."""
MOST_LINES: Final = 20
"""Changes that are told one by one; the record has them all."""


def watch(options: argparse.Namespace) -> int:
    """Watch until it is interrupted, or for one round, and return the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: clean, between commits
    config = run_settings(options)
    if config.promotion.test == "fixed" and "test" in config.promotion.model_fields_set:
        raise ConfigError(
            "promotion.test: fixed is right at one look, and watch looks again and again: leave it out, or set it to "
            "sequential"
        )
    models, source = config.model_trainer.model_directory, redact_url(config.data.input or "")
    if config.watch.predictions is not None:
        output = require_disjoint(resolve_output(config.watch.predictions, chosen=True), models, source)
        config = config.model_copy(update={"watch": config.watch.model_copy(update={"predictions": output})})
    if options.dry_run:  # what a round would begin with, as far as listings tell; nothing if it would wait
        registry, counts = open_registry(config), dict[str, int]()
        found = find_series(config.data, registry=registry.url)
        if not as_before(config, registry, read_heartbeat(registry), digest_of(config, found)):
            training = plan_training(config)
            counts = {
                "series to score": len(plan_scoring(config, registry, read_state(registry), found).tasks),
                "models to train or check": len(training.tasks),
                "current": len(training.current),
                "fresh enough": len(training.fresh),
            }
        log.info("%s into %s: %s", source, models, count_in_words(counts) or "nothing to do")
        print_json(options, counts)
        return 0
    often = "once" if options.once else f"every {config.watch.every}"
    log.info("watching %s for models in %s, %s", source, models, often)
    status = 0
    for done in watch_rounds(config, once=options.once, progress=lambda total, step: watching(total, step=step)):
        show(done)
        status = done.exit_status
        print_json(options, done.record())
    return status


def show(done: Round) -> None:
    """Log what a round did."""
    set_run(done.run_id)
    if done.status == "idle":
        log.info("; ".join(["no new bars", *done.failures]))
        return
    for note in done.notes:
        log.info("%s", note)
    for change in done.changes[:MOST_LINES]:
        log.info("%s: %s %s: %s", change.key, change.action, change.version, change.reason)
    if (more := len(done.changes) - MOST_LINES) > 0:
        log.info("%d more champions and challengers: see the record, or `models list`", more)
    if decayed := sorted(str(key) for key, one in done.judged.items() if one.standing == "decayed"):
        log.warning("%s: the champion has decayed: it does worse than its base rate", first_of(decayed))
    if done.drift:
        log.info("%d series have bars unlike those of training; see drift in the record", len(done.drift))
    for failure in done.failures:
        log.error("%s", failure)
    for stage, error in done.problems:
        log.error("%s: %s; the next round tries again", stage, error)
    log.info("round %s %s: %s", done.run_id, done.status, count_in_words(done.counts) or "nothing to do")


COMMAND: Final = Command(
    "watch",
    watch,
    "keep models current as new bars come in",
    (
        INPUT,
        OUTPUT,
        Argument(("--every",), "how often to look for new bars (default: 15m)", "15m", "watch.every"),
        flag("--once", "one round, then end"),
        Argument(
            ("--predictions",), "folder or URL that champions predict into (default: none)", "URL", "watch.predictions"
        ),
        CONFIG,
        SYMBOLS,
        TIMEFRAMES,
        MODEL_TYPES,
        LOOKBACK_DAYS,
        START,
        GROUP_BY,
        DRY_RUN,
        SET,
        METRICS,
        JSON,
    ),
    TEXT,
)
