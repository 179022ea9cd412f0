"""One model by itself: its facts, its folds, and the bars that were rejected."""

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from typing import Any, Final

import polars as pl

from job.learning.metrics import scores_shown
from job.report import values
from job.report.contents import Contents, Described
from job.report.heat_map import percent
from job.report.holdout import draw_folds
from job.report.pictures import PICTURES, Picture
from job.report.work import NO_RULES

PERCENT: Final = 100


def folds(contents: Contents) -> pl.DataFrame:
    """Return the skill of a model on each walk-forward fold and on the holdout.

    Returns:
        where: `fold 1`, …, `holdout`; held: `fold` or `holdout`; skill, low, high: Float64, percent.
    """
    rows: list[dict[str, Any]] = []
    for one in contents.described:
        stability = values.at(one.metadata, "stability")
        tested = [
            (f"fold {number}", "fold", fold)
            for number, fold in enumerate(values.items(values.at(stability, "folds")), 1)
        ]
        for where, held, fold in [*tested[:30], ("holdout", "holdout", values.at(stability, "holdout"))]:
            known = [values.number(values.at(fold, name), least=-10.0, most=10.0) for name in ("value", "low", "high")]
            if known[0] is not None:
                numbers = [None if value is None else PERCENT * value for value in known]
                rows.append({"where": where, "held": held, **dict(zip(("skill", "low", "high"), numbers, strict=True))})
    numbers = dict.fromkeys(("skill", "low", "high"), pl.Float64)
    return pl.DataFrame(rows, schema={"where": pl.String, "held": pl.String, **numbers})


FOLDS: Final = Picture(
    name="folds",
    title="Skill of each fold, and of the holdout",
    sentence="Points are the share of the base rate's log-loss that was saved on each walk-forward fold, oldest first, and "
    "on the holdout, with 95% intervals. A holdout far better than all folds is luck or a leak.",
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


def facts(one: Described) -> Iterator[tuple[str, str]]:
    """Yield what is most worth knowing about a version, as name and text."""
    metadata = one.metadata
    yield "version", one.version
    for name, path in {
        "trained": ("created_at",),
        "first bar": ("data", "first_bar"),
        "last bar": ("data", "last_bar"),
        "holdout from": ("split", "holdout", "test_from"),
        "holdout to": ("split", "holdout", "test_to"),
    }.items():
        if (at := values.time(values.at(metadata, *path))) is not None:
            yield name, f"{at:%Y-%m-%d %H:%M} UTC"
    label = values.at(metadata, "label", "definition")
    if kind := values.text(values.at(label, "kind")):
        yield "label", f"{kind}, {one.horizon()} bars ahead"
    if algorithm := values.text(values.at(metadata, "algorithm", "name")):
        yield "algorithm", algorithm
    if features := values.items(metadata.get("features")):
        yield "features", str(len(features))
    for name, path in {
        "samples": ("data", "samples", "used"),
        "holdout samples": ("split", "holdout", "test_rows"),
    }.items():
        if (counted := values.count(values.at(metadata, *path))) is not None:
            yield name, f"{counted:,}"
    scores = values.at(metadata, "scores")
    skill, low, high = (
        values.number(values.at(scores, name), least=-10.0, most=10.0) for name in ("skill", "skill_low", "skill_high")
    )
    if skill is not None:
        between = "" if low is None or high is None else f" [{percent(low)}%, {percent(high)}%]"
        yield (
            "skill",
            f"{percent(skill)}%{between}" + (" underpowered" if values.at(scores, "underpowered") is True else ""),
        )
    for score in ("log_loss", "base_log_loss", "benchmark_log_loss", *(each.name for each in scores_shown("details"))):
        known = values.number(values.at(scores, score), least=-1e6, most=1e6)
        if known is not None and score not in {"skill", "skill_low", "skill_high"}:
            yield score.replace("_", " "), f"{known:.4f}"
    trading = values.at(metadata, "trading")
    for name in ("sharpe", "probabilistic_sharpe", "deflated_sharpe", "max_drawdown", "net_return"):
        if (known := values.number(values.at(trading, name), least=-1e6, most=1e6)) is not None:
            yield name.replace("_", " "), f"{known:.4g}"
    for warning in values.items(metadata.get("warnings"))[:20]:
        if told := values.text(warning):
            yield "warning", told


def rejected(one: Described) -> dict[str, int]:
    """Return how many rows of a model's files broke each rule, where any did."""
    counts = values.pairs(values.at(one.metadata, "data", "counts"))
    found = {
        values.text(name) or "": values.count(value) or 0 for name, value in counts.items() if name not in NO_RULES
    }
    return {name: counted for name, counted in found.items() if counted}


def describe(one: Described) -> str:
    """Return the facts of a model, and its rejected bars, as HTML."""
    told = dict.fromkeys(facts(one))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in told)
    broken = ", ".join(f"{escape(rule.replace('_', ' '))} {counted:,}" for rule, counted in rejected(one).items())
    return f"<dl>{listed}<dt>rows rejected</dt><dd>{broken or 'none'}</dd></dl>"
