"""Pictures of holdouts: whether probabilities mean what they say, and what models look at."""

import math
from typing import Any, Final

import altair as alt
import numpy as np
import polars as pl
import scipy

from job.core.keys import by_kind
from job.learning.metrics import CONFIDENCE
from job.report import values
from job.report.contents import Contents
from job.report.shapes import panels, rule_at
from job.report.theme import BLUE, INK, MUTED, VERMILLION, WIDE

BINS: Final = 10
MOST_FEATURES: Final = 20
"""Features that are shown: those that weigh most."""


def reliability(contents: Contents) -> pl.DataFrame:
    """Return how often bars went up, by what models had said, from `calibration.reliability` of their holdouts.

    The deciles of all models of a kind are put in the order of their mean probability, and cut into groups of about
    equally many rows.

    Returns:
        kind; p: Float64, mean probability of up; up: Float64, share of up; low, high: its 95% interval (Wilson 1927),
        rows counting by how unique their labels are; rows: Int64. At most `BINS` rows per kind.
    """
    rows = []
    for kind, own in by_kind(contents.described).items():
        found: list[tuple[float, float, float, float]] = []
        for one in own:
            unique = values.share(values.at(one.metadata, "label", "uniqueness")) or 1 / one.horizon()
            for entry in values.items(values.at(one.metadata, "calibration", "reliability"))[: 2 * BINS]:
                p, up = (values.share(values.at(entry, name)) for name in ("p", "up"))
                counted = values.count(values.at(entry, "rows"))
                if p is not None and up is not None and counted:
                    found.append((p, up, counted, counted * unique))
        deciles = np.array(found).reshape(-1, 4)
        deciles = deciles[np.argsort(deciles[:, 0], kind="stable")]
        weight = deciles[:, 2]
        group = np.minimum(((np.cumsum(weight) - weight / 2) / weight.sum() * BINS).astype(int), BINS - 1)
        for each in np.unique(group).tolist():
            said, went, of, effective = deciles[group == each].T
            share = float(np.average(went, weights=of))
            low, high = wilson(share, float(effective.sum()))
            mean = float(np.average(said, weights=of))
            rows.append({"kind": kind, "p": mean, "up": share, "low": low, "high": high, "rows": int(of.sum())})
    schema: dict[str, Any] = {
        "kind": pl.String,
        **dict.fromkeys(("p", "up", "low", "high"), pl.Float64),
        "rows": pl.Int64,
    }
    return contents.in_order(pl.DataFrame(rows, schema=schema))


def wilson(share: float, rows: float) -> tuple[float, float]:
    """Return the 95% score interval of a share that was found in so many rows (Wilson 1927)."""
    z = float(scipy.special.ndtri((1 + CONFIDENCE) / 2))
    middle = (share + z**2 / (2 * rows)) / (1 + z**2 / rows)
    half = z / (1 + z**2 / rows) * math.sqrt(share * (1 - share) / rows + z**2 / (4 * rows**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def draw_reliability(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a panel per kind: share of up over probability of up, with intervals, and the diagonal."""
    low = min(frame["p"].min(), frame["low"].min())  # type: ignore[type-var]
    high = max(frame["p"].max(), frame["high"].max())  # type: ignore[type-var]
    scale = alt.Scale(domain=[low, high], nice=True, zero=False)
    axis = alt.Axis(format=".0%", tickCount=4)
    x = alt.X("p:Q", title="predicted probability of up", scale=scale, axis=axis)
    ends = pl.DataFrame({"p": [low, high]})
    layers = alt.layer(
        alt.Chart(ends)
        .mark_line(color=MUTED, strokeDash=[4, 3], strokeWidth=1)
        .encode(x=x, y=alt.Y("p:Q", scale=scale)),
        alt.Chart()
        .mark_rule(color=BLUE, strokeWidth=4, opacity=0.35)
        .encode(x=x, y=alt.Y("low:Q", title="share of up", scale=scale, axis=axis), y2="high:Q"),
        alt.Chart().mark_point(color=BLUE, filled=True, size=45, opacity=1).encode(x=x, y=alt.Y("up:Q", scale=scale)),
    )
    return panels(layers, frame, width=width, height=170)


def importances(contents: Contents) -> pl.DataFrame:
    """Return how much models of each kind look at each feature.

    Returns:
        kind; feature; share: Float64, median over models of the feature's share of what all features of a model weigh
        (what weighs less than nothing counts as nothing), in percent; models: UInt32 that have it. Only the
        `MOST_FEATURES` features whose shares are largest on average over kinds, the largest first.
    """
    rows = []
    for one in contents.described:
        weights = {
            values.text(name) or "": values.number(value, least=0.0) or 0.0
            for name, value in values.pairs(values.at(one.metadata, "importances", "values")).items()
        }
        if total := sum(weights.values()):
            rows += [{"kind": one.kind, "feature": name, "share": 100 * (own / total)} for name, own in weights.items()]
    schema: dict[str, Any] = {"kind": pl.String, "feature": pl.String, "share": pl.Float64}
    shares = (
        contents.in_order(pl.DataFrame(rows, schema=schema))
        .group_by("kind", "feature", maintain_order=True)
        .agg(pl.col("share").median(), models=pl.len())
    )
    first = (
        shares.group_by("feature", maintain_order=True)
        .agg(mean=pl.col("share").sum())
        .sort("mean", descending=True, maintain_order=True)
        .head(MOST_FEATURES)
        .with_row_index("place")
    )
    return shares.join(first, on="feature").sort("place", "kind").drop("place", "mean")


def draw_importances(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a row per feature and a column per kind; the more a feature weighs, the fuller its cell."""
    letters = min(24, max(map(len, frame["feature"])))
    base = alt.Chart(frame).encode(
        x=alt.X(
            "kind:N",
            title=None,
            sort=frame.sort("kind")["kind"].unique(maintain_order=True).to_list(),
            axis=alt.Axis(orient="top", labelAngle=0 if width >= WIDE else -45, labelColor=INK),
        ),
        y=alt.Y("feature:N", title=None, sort=None, axis=alt.Axis(labelColor=INK, labelLimit=170)),
    )
    cells = base.mark_rect(color=BLUE).encode(
        opacity=alt.Opacity("share:Q", legend=None, scale=alt.Scale(range=[0.04, 0.75]))
    )
    numbers = base.mark_text().encode(text=alt.Text("share:Q", format=".0f"))
    return alt.layer(cells, numbers).properties(width=width - 7 * letters - 20, height=alt.Step(20))


def draw_folds(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return the skill of a model on each fold and on the holdout, with intervals, and zero."""
    base = alt.Chart(frame).encode(y=alt.Y("where:N", title=None, sort=None, axis=alt.Axis(labelColor=INK)))
    color = alt.Color("held:N", legend=None, scale=alt.Scale(domain=["fold", "holdout"], range=[BLUE, VERMILLION]))
    title = "skill, %"
    return alt.layer(
        rule_at(0, along="x"),
        base.mark_rule(strokeWidth=5, opacity=0.35).encode(
            x=alt.X("low:Q", title=title, axis=alt.Axis(tickCount=5)), x2="high:Q", color=color
        ),
        base.mark_point(filled=True, size=70, opacity=1).encode(x=alt.X("skill:Q", title=title), color=color),
    ).properties(width=width - 80, height=alt.Step(24))
