"""Pictures of skill: what models gained over time, and against the benchmark."""

from collections.abc import Iterator
from typing import Any, Final

import altair as alt
import numpy as np
import polars as pl
import scipy

from job.core.keys import by_kind
from job.learning.fleet import HOUR_US
from job.learning.metrics import CONFIDENCE
from job.report import values
from job.report.contents import Contents
from job.report.shapes import panels, rule_at, spread_of
from job.report.theme import BLUE
from transforms.bars import duration_us

MOST_POINTS: Final = 60
"""Points of a curve."""
MILLI: Final = 1_000


def gain(contents: Contents) -> pl.DataFrame:
    """Return what each kind has gained on its holdouts so far, from `excess_log_loss` of its models.

    Returns:
        kind; time: Datetime, when a cluster of the clock ends; gain: Float64, log-loss saved against the base rate so
        far, in thousandths of a nat per row of all; low, high: its 95% band, by Student's t over clusters as in
        `fleet.fleet_test`, null with fewer than two clusters. At most `MOST_POINTS` rows per kind.
    """
    rows: list[dict[str, Any]] = []
    for kind, own in by_kind(contents.described).items():
        clusters: dict[int, list[float]] = {}
        length = max(HOUR_US, 5 * own[0].horizon() * duration_us(own[0].key.timeframe))
        for one in own:
            for name, entry in values.pairs(values.at(one.metadata, "excess_log_loss")).items():
                if not (name.isascii() and name.isdecimal() and len(name) <= 12 and len(values.items(entry)) == 2):
                    continue
                counted, change = (values.number(value, least=-1e9, most=1e9) for value in entry)
                if counted and counted > 0 and change is not None and int(name) * length < 7e15:  # before 2191
                    total = clusters.setdefault(int(name), [0.0, 0.0])
                    total[0] += counted
                    total[1] += change
        rows += _gain_curve(kind, clusters, length)
    schema: dict[str, Any] = {
        "kind": pl.String,
        "time": pl.Datetime("us", "UTC"),
        **dict.fromkeys(("gain", "low", "high"), pl.Float64),
    }
    return contents.in_order(pl.DataFrame(rows, schema=schema))


def _gain_curve(kind: str, clusters: dict[int, list[float]], length: int) -> Iterator[dict[str, Any]]:
    if not clusters:
        return
    numbers = np.array(sorted(clusters))
    counted, sums = np.array([clusters[number] for number in numbers.tolist()]).T
    gained, total, many = -np.cumsum(sums) / counted.sum(), counted.sum(), len(numbers)
    band = np.full(many, np.nan)
    if many > 1:
        apart = np.square(sums - sums.sum() / total * counted).cumsum() * many / (many - 1)
        band = float(scipy.special.stdtrit(many - 1, (1 + CONFIDENCE) / 2)) * np.sqrt(apart) / total
    for place in np.unique(np.linspace(0, many - 1, MOST_POINTS).round().astype(int)).tolist():
        known = {"gain": gained[place], "low": gained[place] - band[place], "high": gained[place] + band[place]}
        yield {
            "kind": kind,
            "time": np.datetime64(int((numbers[place] + 1) * length), "us").item(),
            **{name: float(value) * MILLI if np.isfinite(value) else None for name, value in known.items()},
        }


def draw_gain(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a panel per kind: the gain so far as a line, its band, and zero."""
    base = alt.Chart().encode(x=alt.X("time:T", title=None, axis=alt.Axis(format="%d %b %y", tickCount=3, grid=False)))
    title = "mnat per bar"
    layers = alt.layer(
        base.mark_area(color=BLUE, opacity=0.22).encode(y=alt.Y("low:Q", title=title), y2="high:Q"),
        rule_at(0, along="y"),
        base.mark_line(color=BLUE).encode(y=alt.Y("gain:Q", title=title)),
    )
    return panels(layers, frame, width=width, height=130)


def learners(contents: Contents) -> pl.DataFrame:
    """Return what models and the logistic benchmark save of the base rate's log-loss, in percent.

    Returns:
        kind; who: `model` or `logistic regression`; low, middle, high: quartiles over models; models: how many.
    """
    found = []
    for one in contents.described:
        scores = values.at(one.metadata, "scores")
        base = values.number(values.at(scores, "base_log_loss"), least=1e-6, most=100.0)
        for who, name in (("model", "log_loss"), ("logistic regression", "benchmark_log_loss")):
            loss = values.number(values.at(scores, name), least=0.0, most=100.0)
            if base is not None and loss is not None:
                found.append({"kind": one.kind, "who": who, "value": 100 * (1 - loss / base)})
    return spread_of(contents, found, "who")
