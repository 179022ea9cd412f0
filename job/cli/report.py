"""What a person sees of a run, before and after: tables on a terminal, plain log lines elsewhere."""

import argparse
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich import box
from rich.table import Table
from rich.text import Text

from job.cli.logs import log
from job.cli.tables import (
    FLEET_IN_WORDS,
    best_in_words,
    console,
    fleet_table,
    number,
    percent,
    show_table,
    totals_table,
    tried_in_words,
)
from job.core.keys import by_kind, kind_order, sums_by_kind
from job.core.wording import once_per_kind
from job.learning.metrics import scores_shown
from job.predict.task import Predicted
from job.registry.outcome import Outcome
from job.registry.record import RunRecord
from job.registry.spool import Outcomes, OutcomeT
from job.sources.problems import summarize
from job.train.record import TrainingRecord

MAX_ROWS: Final = 40
"""Models that are all shown; of more, the most telling are, unless all are asked for. The run record has them all."""
TELLING: Final = 10
"""How many of the best, the worst and the failed models are shown where there are too many to show all."""
SCORES_TITLE: Final = "holdout scores, shrunk probabilities"
PREDICTIONS_IN_WORDS: Final = "{}: {} predicted, {} current, {} failed, {} rows, {} bars left out, {} drifted"
WORTH_A_LINE: Final = 0.05
"""Share of a kind's bars from which on what gaps cost is told even where nothing is odd about the market."""
GAP: Final = 2
"""Blanks between two columns of the table of models."""


def print_json(options: argparse.Namespace, value: object) -> None:
    """Print the result of a command as JSON where `--json` asks for it: the promised last line of stdout."""
    if options.json:
        print(json.dumps(value))  # noqa: T201


def print_record(options: argparse.Namespace, record: RunRecord[OutcomeT]) -> None:
    """Print a run record as `print_json` does, but with few of its outcomes in memory at a time."""
    if not options.json:
        return
    summary = record.as_dict(first=len(record.outcomes))
    del summary["outcomes"]
    print(json.dumps(summary)[:-1], end=', "outcomes": [')  # noqa: T201
    for position, outcome in enumerate(record.outcomes):
        print(", " if position else "", json.dumps(outcome.record()), sep="", end="")  # noqa: T201
    print("]}")  # noqa: T201


def count_in_words(counts: Mapping[str, int]) -> str:
    """Return the counts that are not zero, in words: `75 current, 5 to train`; empty if all are zero."""
    return ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items() if count)


def outcome_line(outcome: Outcome) -> tuple[int, str]:
    """Return the log level and the text for a model that was trained, a file that was predicted, or what failed."""
    if outcome.error is not None:
        return logging.ERROR, f"failed {outcome.key}: {outcome.error_message}"
    rows, seconds, scores = f"{outcome.rows} rows", f"{outcome.seconds:.1f} s", outcome.scores
    if outcome.status == "tuned":
        return logging.INFO, f"tuned on {outcome.key}: {rows}, {seconds}"
    if not scores:
        return logging.INFO, f"{outcome.status} {outcome.key}: {rows} by {outcome.version}, {seconds}"
    underpowered = " underpowered" if scores["underpowered"] else ""
    status, why = outcome.status.replace("_", " "), f"; {outcome.why}" if outcome.why else ""
    return logging.INFO, (
        f"{status} {outcome.key}: log-loss {number(scores['log_loss'], 4)} "
        f"(base {number(scores['base_log_loss'], 4)}), "
        f"skill {skill_in_words(scores)}{underpowered}, {rows}, {seconds}{why}"
    )


def skill_in_words(scores: Mapping[str, float | None]) -> str:
    """Return the skill with its interval."""
    return f"{percent(scores['skill'])} [{percent(scores['skill_low'])}, {percent(scores['skill_high'])}]"


def show_result(record: TrainingRecord, *, everything: bool = False) -> None:
    """Print what a run has trained: tables if stdout is a terminal, log lines elsewhere, and every warning once.

    Of more than `MAX_ROWS` models, the best, the worst and those that failed stand in tables, unless `everything` does.
    """
    log_problems(record)
    summary = record.as_dict(first=len(record.outcomes))
    screen = console()
    if screen.is_terminal:
        whole = everything or len(record.outcomes) <= MAX_ROWS
        groups = {SCORES_TITLE: record.outcomes} if whole else telling(record.outcomes)
        for title, members in groups.items():
            screen.print(models_table(members, width=screen.width, title=title, sort=whole))
    show_table(fleet_table(summary["fleet"]), FLEET_IN_WORDS)
    for line in filter(None, (best_in_words(summary["best"]), tried_in_words(summary["tried"]))):
        log.info("%s", line)
    for line in gap_lines(record.outcomes):
        log.info("%s", line)
    if record.reason:
        log.error("%s: %s", record.status, record.reason)
    counts = count_in_words(summary["counts"]) or "nothing to do"
    log.info("run %s %s: %s; models in %s", record.run_id, record.status, counts, summary["output"])


def show_predictions(record: RunRecord[Predicted]) -> None:
    """Print what a run has predicted: a table if stdout is a terminal, log lines elsewhere, and every warning once."""
    log_problems(record)
    for outcome in record.failures:
        if outcome.attempts == 1 and (outcome.error or {}).get("where") == "planning":  # others were seen as they came
            log.error("%s", outcome_line(outcome)[1])
    counted = (
        (
            one.key,
            {
                one.status: 1,
                "rows": one.rows,
                "bars left out": sum(one.counts.get(what, 0) for what in ("warmup", "not_finite", "low_coverage")),
                "drifted": int(bool(one.drift and one.drift["unusual"])),
            },
        )
        for one in record.outcomes
    )
    columns = {"predicted": "", "current": "", "failed": "", "rows": ",", "bars left out": ",", "drifted": ""}
    rows = [
        (kind, *(f"{total[name]:{how}}" for name, how in columns.items()))
        for kind, total in sums_by_kind(counted).items()
    ]
    show_table(totals_table("predictions", ("model", *columns), rows), PREDICTIONS_IN_WORDS)
    for line in drift_lines(record.outcomes):
        log.info("%s", line)
    done = count_in_words(record.counts) or "nothing to do"
    log.info("run %s %s: %s; predictions in %s", record.run_id, record.status, done, record.about["output"])


def drift_lines(outcomes: Iterable[Predicted]) -> Iterator[str]:
    """Yield for each kind of model how many series have unusual newest bars, and the worst of them."""
    drifted = [one for one in outcomes if one.drift and one.drift["unusual"]]
    for kind, own in by_kind(drifted).items():
        worst, drift = max(
            ((one, one.drift) for one in own if one.drift), key=lambda pair: float(pair[1]["worst"][0][1])
        )
        name, index, usual = drift["worst"][0]
        usually = "" if usual is None else f", usually below {usual:.2f}"
        yield (
            f"{kind}: the newest bars of {len(own)} series are unlike those of training, "
            f"most so of {worst.exchange}/{worst.symbol}: stability index {index:.2f} of {name} over {drift['rows']:,} "
            f"bars{usually}; whether the model still is right, only scores tell"
        )


def log_problems(record: RunRecord[OutcomeT]) -> None:
    """Log what the outcomes of a run warn of, once per kind, and what could not be read."""
    for warning in once_per_kind(record.warnings()):
        log.warning("%s", warning)
    for message in summarize(record.problems):
        log.error("%s", message)


def gap_lines(outcomes: Iterable[Outcome]) -> Iterator[str]:
    """Yield the shares of bars that gaps cost each kind of model, where it has sessions, or they are worth a line."""
    counted = (
        (one.key, {**one.counts, "models": 1, "sessions": one.gaps in {"sessions", "auto"}})
        for one in outcomes
        if one.counts.get("bars")
    )
    for kind, total in sums_by_kind(counted).items():
        shares = {
            "filled flat": total["filled"] / (total["bars"] + total["filled"]),
            "lost for too few source bars": total["low_coverage"] / (total["bars"] + total["low_coverage"]),
            "never predicted, as they warm up": total["warmup"] / total["bars"],
        }
        cut = total["segments"] > total["models"] and shares["never predicted, as they warm up"] >= WORTH_A_LINE
        lost = max(share for what, share in shares.items() if what != "never predicted, as they warm up")
        if cut or lost >= WORTH_A_LINE or total["sessions"]:
            said = ", ".join(f"{share:.1%} {what}" for what, share in shares.items())
            yield f"{kind}: of {total['bars']:,} bars {said}"


def telling(outcomes: Outcomes[Outcome]) -> dict[str, Sequence[Outcome]]:
    """Return those of many models that a person should see, by the titles of their tables.

    They are `TELLING` of the best by skill, best first, of the worst, worst first, and of the failed, by name; no table
    is without models.
    """
    scored: list[tuple[float, int]] = []
    failed: list[tuple[tuple[str, ...], int]] = []
    for position, one in enumerate(outcomes):  # which may be more than memory should hold
        if (skill := one.scores.get("skill")) is not None:
            scored.append((-skill, position))
        if one.error is not None:
            failed.append((one.key.parts, position))
    ranked, broken = ([position for _, position in sorted(found)] for found in (scored, failed))
    best, worst, first = (
        [one for position in positions for one in outcomes[position : position + 1]]
        for positions in (ranked[:TELLING], ranked[TELLING:][: -TELLING - 1 : -1], broken[:TELLING])
    )
    groups: dict[str, Sequence[Outcome]] = {
        f"the {len(best)} best of {len(ranked):,} models by skill, {SCORES_TITLE} (--all shows all)": best,
        f"the {len(worst)} worst": worst,
        f"{len(first)} of {len(broken):,} that failed": first,
    }
    return {title: members for title, members in groups.items() if members}


@dataclass(frozen=True)
class ModelColumn:
    """A column of the table of models, shown on terminals of at least `from_width` characters."""

    name: str
    cell: Callable[[Outcome], str]
    from_width: int = 0


def _score(name: str, digits: int) -> Callable[[Outcome], str]:
    return lambda one: number(one.scores.get(name), digits)


BESIDE: Final[Mapping[str, Sequence[ModelColumn]]] = {
    "accuracy": (ModelColumn("base", _score("base_accuracy", 3), 112),),
    "log_loss": (
        ModelColumn("base", _score("base_log_loss", 4)),
        ModelColumn("logistic", _score("benchmark_log_loss", 4), 112),
        ModelColumn(
            "skill [95%]", lambda one: skill_in_words(one.scores) + ("*" if one.scores.get("underpowered") else " ")
        ),
    ),
}
"""Columns beside a score: the same score of the base rate and of the benchmark, and the skill."""


def models_table(
    outcomes: Iterable[Outcome], *, width: int = 200, title: str = SCORES_TITLE, sort: bool = True
) -> Table:
    """Return one row per model; where less than `width` columns of text fit, the most telling scores only.

    Models stand in the order of people, by series and kind, unless they are not to be sorted.
    """
    columns = [ModelColumn("rows", lambda one: f"{one.rows:,}", 135)]
    for score in scores_shown("table"):
        from_width = 0 if score.name == "log_loss" else 112
        columns.append(ModelColumn(score.title or score.name, _score(score.name, score.digits), from_width))
        columns += BESIDE.get(score.name, ())
    columns.append(ModelColumn("s", lambda one: f"{one.seconds:.1f}", 135))
    columns = [column for column in columns if width >= column.from_width]
    members = [*outcomes]
    if sort:
        members.sort(key=lambda outcome: (outcome.exchange, outcome.symbol, *kind_order(outcome)))
    rows = []
    for one in members:
        good = [column.cell(one) for column in columns] if one.error is None else ["failed", *[""] * (len(columns) - 1)]
        rows.append([f"{one.model_type} {one.timeframe}", *good])
    names = ["model", *(column.name for column in columns)]
    # The numbers must be whole, so the name of the series is cut to what they leave.
    taken = sum(GAP + max(map(len, column)) for column in zip(names, *rows, strict=True))
    table = Table(
        title=title,
        title_justify="left",
        caption="* underpowered: too few independent blocks to rely on the interval",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, GAP - 1, 0, 0),
    )
    table.add_column("series", no_wrap=True)
    for name in names:
        table.add_column(name, justify="left" if name == "model" else "right", no_wrap=True)
    for one, cells in zip(members, rows, strict=True):
        series = Text(f"{one.exchange}/{one.symbol}")
        series.truncate(max(width - taken - GAP - 2, len("series")), overflow="ellipsis")
        table.add_row(series, *cells, style="red" if one.error is not None else None)
    return table
