"""Pictures of what trading on models would have earned, where it was scored."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import altair as alt
import numpy as np
import polars as pl

from job.core.keys import by_kind
from job.learning.trading import drawdown
from job.report import values
from job.report.contents import Contents
from job.report.shapes import panels, rule_at, spread_of
from job.report.theme import BLUE, MUTED, VERMILLION

MOST_PERIODS: Final = 60
WORTH: Final = 0.95
"""Probability of a Sharpe ratio above 0 from which on it is taken as proven."""


def equity(contents: Contents) -> pl.DataFrame:
    """Return what each kind would have earned after costs, all its models with equal shares of the capital.

    Returns:
        kind; day: Date, the first one of a period of whole days; equity, base: Float64, running sums of net returns of
        the models and of trading on the base rates, in percent of the capital; drawdown: Float64, how far the former
        is below its highest value so far, 0 or less; models: UInt32. At most `MOST_PERIODS` rows per kind.
    """
    rows: list[dict[str, Any]] = []
    for kind, own in by_kind(contents.described).items():
        books = [book for one in own if (book := _book(one.metadata))]
        days = sorted({day for book in books for day in book})
        if not days:
            continue
        place = {day: position for position, day in enumerate(days)}
        total = np.zeros((len(days), 2))
        for book in books:
            for day, returns in book.items():
                total[place[day]] += returns
        sums = 100 * np.cumsum(total, axis=0) / len(books)
        below = 0.0 - drawdown(sums[:, 0])  # which makes no -0.0
        for position in np.unique(np.linspace(0, len(days) - 1, MOST_PERIODS).round().astype(int)).tolist():
            earned, base = sums[position].tolist()
            known = {"equity": earned, "base": base, "drawdown": float(below[position]), "models": len(books)}
            rows.append({"kind": kind, "day": days[position], **known})
    numbers = dict.fromkeys(("equity", "base", "drawdown"), pl.Float64)
    schema: dict[str, Any] = {"kind": pl.String, "day": pl.Date, **numbers, "models": pl.UInt32}
    return contents.in_order(pl.DataFrame(rows, schema=schema))


def _book(metadata: Mapping[str, Any]) -> dict[date, tuple[float, float]]:
    """Return net returns of a model and of its base rate by day, none where one of them is damaged."""
    daily = values.at(metadata, "trading", "daily")
    days, net, base = (values.items(values.at(daily, name)) for name in ("dates", "net", "base_net"))
    found = {}
    for day, *returns in zip(days, net, base, strict=False):
        begun = values.time(day)
        own, others = (values.number(value, least=-10.0, most=10.0) for value in returns)
        if begun is None or own is None or others is None:
            return {}
        found[begun.date()] = (own, others)
    return found


def draw_equity(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a panel per kind: running net returns, the drawdown below zero, and the base rate's returns."""
    x = alt.X("day:T", title=None, axis=alt.Axis(format="%d %b %y", tickCount=3, grid=False))
    title = "% of the capital"
    layers = alt.layer(
        rule_at(0, along="y"),
        alt.Chart().mark_area(color=VERMILLION, opacity=0.35).encode(x=x, y=alt.Y("drawdown:Q", title=title)),
        alt.Chart().mark_line(color=MUTED, strokeWidth=1.5, strokeDash=[5, 3]).encode(x=x, y="base:Q"),
        alt.Chart().mark_line(color=BLUE).encode(x=x, y=alt.Y("equity:Q", title=title)),
    )
    return panels(layers, frame, width=width, height=130)


def odds(contents: Contents) -> pl.DataFrame:
    """Return how sure it is that models earn anything after costs.

    Returns:
        kind; score: `probabilistic Sharpe` or `deflated Sharpe`, the latter allowing for how many versions were tried;
        low, middle, high: quartiles over models of the probability that the Sharpe ratio is above 0; models.
    """
    found = [
        {"kind": one.kind, "score": name.replace("_", " ").replace("sharpe", "Sharpe"), "value": known}
        for one in contents.described
        for name in ("probabilistic_sharpe", "deflated_sharpe")
        if (known := values.share(values.at(one.metadata, "trading", name))) is not None
    ]
    return spread_of(contents, found, "score")
