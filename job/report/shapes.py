"""Shapes that several pictures have: panels per kind, and spreads over models."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import altair as alt
import polars as pl

from job.report.contents import Contents
from job.report.theme import INK, MUTED, WIDE

ROOM: Final = 64
"""Room for an axis of numbers beside a panel, in pixels."""
LETTER: Final = 7
"""About the width of a letter, in pixels."""


def spread_of(contents: Contents, found: Sequence[Mapping[str, Any]], by: str) -> pl.DataFrame:
    """Return the quartiles of `value` over the models of each kind and of each value of `by`.

    Returns:
        kind, `by`; low, middle, high: Float64, the quartiles (linear between values); models: UInt32.
    """
    schema: dict[str, Any] = {"kind": pl.String, by: pl.String, "value": pl.Float64}
    frame = contents.in_order(pl.DataFrame(found, schema=schema))
    quartiles = {
        name: pl.col("value").quantile(at, interpolation="linear")
        for name, at in (("low", 0.25), ("middle", 0.5), ("high", 0.75))
    }
    return frame.group_by("kind", by, maintain_order=True).agg(**quartiles, models=pl.len()).sort("kind", by)


def panels(layers: alt.LayerChart, frame: pl.DataFrame, *, width: int, height: int) -> alt.TopLevelMixin:
    """Return a panel per kind, three in a row where there is room, one above another where there is not."""
    in_a_row = min(frame["kind"].n_unique(), 3 if width >= WIDE else 1)
    own = (width - ROOM) // in_a_row - (ROOM - 20 if in_a_row > 1 else 0)
    return (
        layers.properties(data=frame, width=own, height=height)
        .facet(
            facet=alt.Facet("kind:N", title=None, sort=frame["kind"].unique(maintain_order=True).to_list()),
            columns=in_a_row,
        )
        .resolve_scale(x="independent", y="independent")
    )


def spread_chart(
    frame: pl.DataFrame, width: int, *, by: str, colors: Mapping[str, str], title: str, mark: float
) -> alt.TopLevelMixin:
    """Return a row per kind, in it for each value of `by` the median as a point and the quartiles as a bar.

    A dashed line is at `mark`.
    """
    step = alt.Step(14 * max(2, len(colors)) + 8, **{"for": "position"})
    shapes = ("circle", "diamond", "square", "triangle-up")
    scale = alt.Scale(domain=[*colors], range=[*colors.values()])
    shape = alt.Scale(domain=[*colors], range=[*shapes[: len(colors)]])
    legend = alt.Legend(columns=1 if width < WIDE else 0) if len(colors) > 1 else None
    x = alt.X("low:Q", title=title, axis=alt.Axis(tickCount=8 if width >= WIDE else 4))
    base = alt.Chart(frame).encode(
        y=alt.Y("kind:N", title=None, sort=None, axis=alt.Axis(labelColor=INK, grid=False)),
        yOffset=alt.YOffset(f"{by}:N", sort=[*colors], scale=alt.Scale(paddingOuter=0.6)),
        color=alt.Color(f"{by}:N", title=None, scale=scale, legend=legend),
    )
    layers = [
        base.mark_rule(strokeWidth=5, opacity=0.35).encode(x=x, x2="high:Q"),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=alt.X("middle:Q", title=title), shape=alt.Shape(f"{by}:N", title=None, scale=shape, legend=legend)
        ),
    ]
    layers.insert(0, rule_at(mark, along="x"))
    longest = max(map(len, frame["kind"].cast(pl.String)), default=0)
    return alt.layer(*layers).properties(width=width - LETTER * longest - 30, height=step)


def rule_at(value: float, *, along: str) -> alt.Chart:
    """Return a dashed line at a value of the axis `along`, `x` or `y`."""
    return alt.Chart().mark_rule(color=MUTED, strokeDash=[4, 3]).encode(**{along: alt.datum(value)})
