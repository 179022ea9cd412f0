"""One model by itself: its facts, its folds, and the bars that were rejected."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from html import escape
from typing import Any, Final

import polars as pl

from job.learning.metrics import scores_shown
from job.report import values
from job.report.contents import Contents, Described
from job.report.holdout import draw_folds
from job.report.markup import MINUS, interval, table
from job.report.pictures import PICTURES, Picture
from job.report.work import NO_RULES

PERCENT: Final = 100
MOST_WARNINGS: Final = 20
MOST_FOLDS: Final = 30


def folds(contents: Contents) -> pl.DataFrame:
    """Return the skill of a model on each walk-forward fold and on the holdout.

    Returns:
        where: `fold 1`, …, `holdout`; held: `fold` or `holdout`; skill, low, high: Float64, percent.
    """
    rows: list[dict[str, Any]] = []
    for one in contents.described:
        stability = values.at(one.metadata, "stability")
        tested = enumerate(values.items(values.at(stability, "folds"))[:MOST_FOLDS], 1)
        parts = [(f"fold {number}", "fold", fold) for number, fold in tested]
        for where, held, fold in [*parts, ("holdout", "holdout", values.at(stability, "holdout"))]:
            known = [values.number(values.at(fold, name), least=-10.0, most=10.0) for name in ("value", "low", "high")]
            if known[0] is not None:
                numbers = [None if value is None else PERCENT * value for value in known]
                rows.append({"where": where, "held": held, **dict(zip(("skill", "low", "high"), numbers, strict=True))})
    schema: dict[str, Any] = {
        "where": pl.String,
        "held": pl.String,
        **dict.fromkeys(("skill", "low", "high"), pl.Float64),
    }
    return pl.DataFrame(rows, schema=schema)


FOLDS: Final = Picture(
    name="folds",
    title="Skill of each fold, and of the holdout",
    sentence=(
        "Points are the share of the base rate's log-loss that was saved on each walk-forward fold, oldest first, "
        "and on the holdout, with 95% intervals. A holdout far better than all folds is luck or a leak."
    ),
    absent="The model does not tell the skill of its folds.",
    unit="%",
    data=folds,
    draw=draw_folds,
)
MODEL_PICTURES: Final = (
    FOLDS, *(one for one in PICTURES if one.name in {"gain", "reliability", "importances", "equity"}),
)  # fmt: skip


def alone(contents: Contents, one: Described) -> Contents:
    """Return what `contents` holds of one model, so that pictures of fleets show it."""
    name = f"{one.key.folder}/{one.key.stem}"
    return replace(
        contents, models=contents.models.filter(pl.col("name") == name), described=[one], decisions=(), trials={}
    )


TIMES: Final = {
    "trained": ("created_at",),
    "first bar": ("data", "first_bar"),
    "last bar": ("data", "last_bar"),
    "holdout from": ("split", "holdout", "test_from"),
    "holdout to": ("split", "holdout", "test_to"),
}
COUNTS: Final = {
    "samples": ("data", "samples", "used"),
    "holdout samples": ("split", "holdout", "test_rows"),
    "labels ahead, bars": ("label", "definition", "horizon"),
}
TEXTS: Final = {"label": ("label", "definition", "kind"), "algorithm": ("algorithm", "name")}
LOSSES: Final = ("log_loss", "base_log_loss", "benchmark_log_loss")
"""Where metadata has the facts of a model; losses are in nats."""
TRADING: Final = {
    "sharpe": ("Sharpe ratio, a year", 1),
    "probabilistic_sharpe": ("probabilistic Sharpe", 1),
    "deflated_sharpe": ("deflated Sharpe", 1),
    "max_drawdown": ("deepest drawdown, % of the capital", PERCENT),
    "net_return": ("net return, % of the capital a year", PERCENT),
}
"""What is told of trading, and by what it is multiplied."""


def facts(one: Described) -> Iterator[tuple[str, str]]:
    """Yield what is most worth knowing about a version, as name and text, as far as it is known."""
    metadata = one.metadata
    yield "version", one.version
    yield from ((name, told) for name, path in TEXTS.items() if (told := values.text(values.at(metadata, *path))))
    yield "features", str(len(values.items(metadata.get("features"))))
    for name, path in TIMES.items():
        if (at := values.time(values.at(metadata, *path))) is not None:
            yield name, f"{at:%Y-%m-%d %H:%M} UTC"
    for name, path in COUNTS.items():
        if (counted := values.count(values.at(metadata, *path))) is not None:
            yield name, f"{counted:,}"
    scores, trading = metadata.get("scores"), metadata.get("trading")
    skills = {
        name: values.number(values.at(scores, name), least=-10.0, most=10.0)
        for name in ("skill", "skill_low", "skill_high")
    }
    if skills["skill"] is not None:
        weak = ", underpowered" if values.at(scores, "underpowered") is True else ""
        yield "skill, % [95%]", interval({**skills, "underpowered": False}) + weak
    for name in dict.fromkeys((*LOSSES, *(score.name for score in scores_shown("details")))):
        if name not in skills and (known := values.number(values.at(scores, name), least=-1e6, most=1e6)) is not None:
            yield name.replace("_", " ") + (", nats" if name in LOSSES else ""), f"{known:.4f}"
    for name, (title, factor) in TRADING.items():
        if (known := values.number(values.at(trading, name), least=-1e6, most=1e6)) is not None:
            yield title, f"{factor * known:,.2f}".replace("-", MINUS)
    warnings = map(values.text, values.items(metadata.get("warnings"))[:MOST_WARNINGS])
    yield from (("warning", warning) for warning in warnings if warning)


def decisions(contents: Contents, one: Described) -> str:
    """Return the decisions on a model's aliases as a table, oldest first."""
    names = ("at", "alias", "before", "after", "command", "reason")
    own = [decision for decision in contents.decisions if decision.get("key") == asdict(one.key)]
    rows = [{name: values.text(decision.get(name)) for name in names} for decision in own]
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String)).sort("at")
    return '<p class="absent">No alias was ever set.</p>' if frame.is_empty() else table(frame)


def describe(one: Described) -> str:
    """Return the facts of a model, and how many rows of its files broke each rule, as HTML."""
    told = dict.fromkeys(facts(one))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in told)
    counts = values.pairs(values.at(one.metadata, "data", "counts"))
    rejected = {
        values.text(name) or "": values.count(value) or 0 for name, value in counts.items() if name not in NO_RULES
    }
    broken = ", ".join(f"{escape(rule.replace('_', ' '))} {rows:,}" for rule, rows in rejected.items() if rows)
    return f"<dl>{listed}<dt>rows rejected</dt><dd>{broken or 'none'}</dd></dl>"
