"""Commands on features: features list, features audit."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from job.cli.arguments import (
    CONFIG,
    END,
    INPUT,
    JSON,
    LOOKBACK_DAYS,
    SET,
    SYMBOLS,
    TIMEFRAMES,
    Argument,
    Command,
    CommandGroup,
)
from job.cli.logs import log
from job.cli.options import settings, split_names, timeframe_names
from job.cli.report import print_json
from job.cli.tables import Columns, console, counted, text_table
from job.config.settings import Config
from job.core.entries import source_digest
from job.core.errors import DataError
from job.learning.context import split_origin
from job.learning.features import expand_features, resolve_features, split_reference
from job.sources.finding import find_series
from job.sources.problems import as_one, summarize
from job.sources.series import Series
from job.worker.audit import SLOW_NS, bars_to_audit, examine, in_words
from job.worker.load_bars import in_range, read_clean
from transforms.bars import duration_us
from transforms.context import MARKET_FEATURES
from transforms.features import FEATURES, PACKS
from transforms.features.feature import Feature

TEXT: Final = """List the features that models may see, and audit them on bars: no value may change with later bars, nor
with bars before its warm-up or in another segment."""

WORDS: Final = {True: "yes", False: "no"}
DECLARED: Final[Columns] = (
    ("feature", lambda row: row["name"]),
    ("packs", lambda row: ", ".join(row["packs"])),
    ("inputs", lambda row: ", ".join(row["inputs"])),
    ("lookback", counted("lookback")),
    ("warm-up", counted("warmup")),
    ("scale-free", lambda row: WORDS[row["scale_free"]]),
    ("source", lambda row: row["source"]),
)
"""Of what a feature declares."""
AUDITED: Final[Columns] = (
    ("feature", lambda row: row["name"]),
    ("lookback", counted("lookback")),
    ("measured", lambda row: _measured(row, "lookback", str)),
    ("warm-up", counted("warmup")),
    ("measured", lambda row: _measured(row, "warmup", str)),
    ("scale-free", lambda row: WORDS[row["scale_free"]]),
    ("measured", lambda row: _measured(row, "scale_free", WORDS.__getitem__)),
    ("ns a value", lambda row: _measured(row, "ns_per_value", "{:.0f}".format)),
    ("verdict", lambda row: row["verdict"]),
)
"""The same beside what the audit measured."""
MEASURED: Final = (
    "measured: how many bars back the farthest one is that moves a value by more than 1e-7 (lookback) or 1e-2 "
    "(warm-up) of its deviation"
)

Row = dict[str, Any]


def list_features(options: argparse.Namespace) -> int:
    """Print every feature of the packs, and those that --features names, with what each declares."""
    rows = [describe(*one) for one in chosen(split_names(options.features)).items()]
    if not options.json:
        console().print(text_table(DECLARED, rows))
    print_json(options, {"features": rows})
    return 0


def audit_features(options: argparse.Namespace) -> int:
    """Audit all features of packs, settings and --features on all series and timeframes; 1 where one is refused."""
    config = settings(options)
    kinds = config.model_trainer.kinds.values()
    configured = [feature for kind in kinds for feature in (*kind.features, *kind.context.named)]
    features = chosen([*configured, *split_names(options.features)])
    found = find_series(config.data)
    problems = [*found.problems]
    configured_timeframes = (timeframe for kind in kinds for timeframe in kind.timeframes)
    # the one of the most bars first, on which features are timed
    timeframes = sorted({*(timeframe_names(options.timeframes) or configured_timeframes)}, key=duration_us)
    audits: list[Row] = []
    times: dict[str, float] = {}
    for series in found.series:
        try:
            audits += audit_series(series, config, timeframes, tuple(features.values()), times)
        except DataError as error:
            problems.append(error)
    for message in summarize(problems):
        log.error("%s", message)
    if not audits:
        raise as_one(problems) if problems else DataError("no bars to audit features on: choose with --timeframes")
    rows = [
        describe(reference, feature) | summed_up([one for one in audits if one["name"] == feature.name])
        for reference, feature in features.items()
    ]
    if not options.json:
        table = text_table(AUDITED, rows, caption=MEASURED)
        table.caption_justify = "left"
        console().print(table)
    refused = [row for row in rows if row["verdict"] == "refused"]
    for row in refused:
        log.error("%s", row["reason"])
    print_json(options, {"features": rows, "audits": audits})
    return 1 if refused or problems else 0


def chosen(more: Iterable[str]) -> dict[str, Feature]:
    """Return the features of all packs, and `more`, by the reference that settings name them with.

    Those of other bars are the same features; columns of the market are none.
    """
    named = (split_origin(name)[0] for name in expand_features([*FEATURES, *more]))
    references = [*dict.fromkeys(name for name in named if name not in MARKET_FEATURES)]
    return dict(zip(references, resolve_features(references), strict=True))


def audit_series(
    series: Series, config: Config, timeframes: Sequence[str], features: Sequence[Feature], times: dict[str, float]
) -> list[Row]:
    """Return one row per timeframe and feature that the bars of a series can give.

    Features are timed once, on the first bars: `times` are those that are known, by name, and are added to.

    Raises:
        DataError: the bars cannot be read, or not one of the timeframes can be made from them.
    """
    cleaned, _ = read_clean(series, config.data, flow=True)
    bars, info = in_range(series, cleaned, config.data)
    made = [one for one in timeframes if duration_us(one) % duration_us(info.timeframe) == 0]
    if not made:
        raise DataError(f"{series}: bars of {info.timeframe} do not make {', '.join(timeframes)}: use --timeframes")
    rows = []
    for timeframe in made:
        sliced = bars_to_audit(bars, info, config.data, features, timeframe=timeframe, name=str(series))
        examined = examine(features, sliced, times)
        times |= {one.audited.feature.name: one.ns_per_value for one in examined}
        log.info("%s %s: audited %d features on %d bars", series, timeframe, len(examined), sliced.height)
        for one in examined:
            why = one.audited.violation
            row = {"series": str(series), "timeframe": timeframe, "name": one.audited.feature.name, **one.record()}
            row["first_bar"] = why and why.time.isoformat()
            row["reason"] = why and f"{series} {timeframe}: {in_words(one.audited.feature, why)}"
            rows.append(row)
    return rows


def describe(reference: str, feature: Feature) -> Row:
    """Return what a feature declares, and where it comes from."""
    path, name = split_reference(reference)
    packs = [] if path else [pack for pack, features in PACKS.items() if feature in features]
    source = f"{path} ({source_digest(path)})" if path else f"transforms.features.{packs[0]}"
    return {
        "name": name, "packs": packs, "inputs": [*feature.inputs], "lookback": feature.lookback,
        "warmup": feature.warmup, "scale_free": feature.scale_free, "source": source,
    }  # fmt: skip


def summed_up(audits: Sequence[Row]) -> Row:
    """Return what all audits of one feature say: the farthest reach, the time, and a verdict.

    It is `refused` with the first reason, `not tried` where no value came after the warm-up, `slow`, `sound`, or `not
    given by these bars`.
    """
    if not audits:
        return {"measured": None, "verdict": "not given by these bars", "reason": None}
    reach = {
        name: max((one[name]["measured"] for one in audits if one[name]["measured"] is not None), default=None)
        for name in ("lookback", "warmup")
    }
    told = [one["scale_free"] for one in audits if one["scale_free"] is not None]
    refused = next((one["reason"] for one in audits if one["reason"]), None)
    speed = audits[0]["ns_per_value"]
    tried = reach["lookback"] is not None
    return {
        "measured": {
            **reach,
            "scale_free": all(told) if told else None,
            "ns_per_value": speed,
            "values": sum(one["bars"]["values"] for one in audits),
        },
        "verdict": "refused" if refused else "not tried" if not tried else "slow" if speed > SLOW_NS else "sound",
        "reason": refused,
    }


def _measured(row: Row, name: str, words: Callable[[Any], str]) -> str:
    """Return what an audit measured, in words; nothing where it measured nothing."""
    value = (row["measured"] or {}).get(name)
    return "" if value is None else words(value)


NAMED: Final = Argument(
    ("--features",), "features of your own beside those of the packs, by import path", "mypackage.alphas:FEATURES"
)

COMMANDS: Final = CommandGroup(
    "features",
    "list the features that models may see, or audit them on bars",
    (
        Command("list", list_features, "what each feature reads, and where it comes from", (NAMED, JSON)),
        Command(
            "audit",
            audit_features,
            "look for features that see the future, or more than they declare",
            (INPUT, NAMED, SYMBOLS, TIMEFRAMES, LOOKBACK_DAYS, END, CONFIG, SET, JSON),
            TEXT,
        ),
    ),
    TEXT,
)
