"""Pictures of data and work: what bars were lost, and what tasks cost."""

from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import altair as alt
import polars as pl

from job.report import values
from job.report.contents import Contents
from job.report.shapes import spread_of
from job.report.theme import BLUE, GREEN, INK, VERMILLION, WIDE
from transforms.bars import duration_us

MOST_SERIES: Final = 25
"""Series that are shown: those that lose most."""
CAUSES: Final = ("rejected", "missing", "filled", "thin", "warm-up")
NO_RULES: Final = frozenset({"rows_read", "rows_kept", "out_of_order"})
"""Counts of rows that no rule rejected."""


def quality(contents: Contents) -> pl.DataFrame:
    """Return what share of its bars each series loses, and why, by its model with the most bars.

    Returns:
        series; cause: `rejected` (of the rows of its files, by a rule), `missing` (of the rows that there would be from
        its first bar to its last if the market never closed), `filled` flat (of bars), `thin` (too few source bars, of
        bars), `warm-up` (of bars); share: Float64, percent; gaps: Int64, gaps too long to fill; bars: Int64. The
        `MOST_SERIES` series whose shares add up to the most, the worst first.
    """
    rows: dict[str, dict[str, Any]] = {}
    for one in contents.described:
        found = _losses(values.at(one.metadata, "data"))
        series = values.text(f"{one.key.exchange}/{one.key.symbol}") or ""
        if found and found["bars"] > rows.get(series, {"bars": 0})["bars"]:
            rows[series] = {"series": series, **found}
    schema: dict[str, Any] = {
        "series": pl.String,
        **dict.fromkeys(CAUSES, pl.Float64),
        "gaps": pl.Int64,
        "bars": pl.Int64,
    }
    worst = (
        pl.DataFrame([*rows.values()], schema=schema)
        .with_columns(total=pl.sum_horizontal(CAUSES))
        .sort("total", "series", descending=[True, False])
        .head(MOST_SERIES)
        .drop("total")
    )
    return worst.unpivot(CAUSES, index=["series", "gaps", "bars"], variable_name="cause", value_name="share").select(
        "series", "cause", "share", "gaps", "bars"
    )


def _losses(data: object) -> dict[str, Any] | None:
    """Return the shares that are lost, in percent, with gaps and bars; None where that is not known."""
    counts = {name: values.count(value) or 0 for name, value in values.pairs(values.at(data, "counts")).items()}
    bars, filled, thin, warmup, segments, jumps = (
        values.count(values.at(data, "samples", name)) or 0
        for name in ("bars", "filled", "low_coverage", "warmup", "segments", "jumps")
    )
    if not bars:
        return None
    read, kept = counts.get("rows_read", 0), counts.get("rows_kept", 0)
    first, last = (values.time(values.at(data, name)) for name in ("first_bar", "last_bar"))
    missing = None
    with suppress(ValueError, TypeError, AttributeError, OverflowError):  # where the timeframe is none
        length = timedelta(microseconds=duration_us(values.at(data, "timeframe")))
        if first is not None and last is not None and last >= first and kept:
            missing = max(0.0, 1 - kept / ((last - first) / length + 1))
    rejected = sum(found for name, found in counts.items() if name not in NO_RULES)
    shares = {
        "rejected": rejected / read if read else None,
        "missing": missing,
        "filled": filled / (bars + filled),
        "thin": thin / (bars + thin),
        "warm-up": warmup / bars,
    }
    percent = {name: None if share is None else 100 * min(share, 1.0) for name, share in shares.items()}
    return {**percent, "gaps": max(0, segments - jumps - 1), "bars": bars}


def draw_quality(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a row per series and a column per cause; the more is lost, the fuller the cell."""
    wide = width >= WIDE
    limit = 260 if wide else 120
    letters = min(limit, 7 * max(map(len, frame["series"])))
    base = alt.Chart(frame).encode(
        x=alt.X(
            "cause:N",
            title=None,
            sort=[*CAUSES],
            axis=alt.Axis(orient="top", labelAngle=0 if wide else -45, labelColor=INK),
        ),
        y=alt.Y("series:N", title=None, sort=None, axis=alt.Axis(labelColor=INK, labelLimit=limit)),
    )
    scale = alt.Scale(type="sqrt", domain=[0, 100], range=[0.02, 1], clamp=True)
    cells = base.mark_rect(color=VERMILLION).encode(opacity=alt.Opacity("share:Q", legend=None, scale=scale))
    numbers = base.mark_text().encode(text=alt.Text("share:Q", format=".2~f"))
    return alt.layer(cells, numbers).properties(width=width - letters - 30, height=alt.Step(20))


COSTS: Final = {"seconds": BLUE, "cpu_seconds": GREEN}


def cost(contents: Contents) -> pl.DataFrame:
    """Return what a model of each kind cost in the run.

    Returns:
        kind; what: `seconds` or `cpu_seconds` of its task; low, middle, high: quartiles over models; models.
    """
    found = [
        {"kind": f"{one.get('model_type')} {one.get('timeframe')}", "what": what, "value": known}
        for one in contents.outcomes
        if one.get("status") == "trained"
        for what in COSTS
        if (known := values.number(one.get(what), least=0.0, most=1e9)) is not None
    ]
    kinds = set(contents.kinds)
    return spread_of(contents, [one for one in found if one["kind"] in kinds], "what")


def memory(contents: Contents) -> pl.DataFrame:
    """Return the memory of a run's workers by the time a model of each kind was done.

    Returns:
        kind; what: `worker`; low, middle, high: quartiles over models of the peak resident memory, MB; models.
    """
    kinds = set(contents.kinds)
    found = [
        {"kind": kind, "what": "worker", "value": known}
        for one in contents.outcomes
        if (known := values.number(one.get("peak_rss_mb"), least=1.0, most=1e8)) is not None
        and (kind := f"{one.get('model_type')} {one.get('timeframe')}") in kinds
        and one.get("status") == "trained"
    ]
    return spread_of(contents, found, "what")
