"""Pictures of what happened over time: champions, studies, and how bars moved away from what models were trained on."""

from typing import Any, Final

import altair as alt
import polars as pl

from job.report import values
from job.report.contents import Contents
from job.report.shapes import rule_at, spread_of
from job.report.theme import BLUE, GREEN, GREY, INK, VERMILLION, WIDE

CHANGES: Final = {
    "champion promoted": BLUE, "champion rolled back": VERMILLION, "challenger named": GREEN,
    "challenger released": GREY,
}  # fmt: skip
PERIODS: Final = {"1d": 1, "1w": 7, "1mo": 31, "1q": 92, "1y": 366}
MOST_PERIODS: Final = 40
STATES: Final = {"complete": BLUE, "given up": GREY}
MILLI: Final = 1_000
FEATURES: Final = {"furthest off": VERMILLION, "middle one": BLUE}


def champions(contents: Contents) -> pl.DataFrame:
    """Return how often aliases were changed.

    Returns:
        since: Date, the first day of a period of one length, so long that there are at most about `MOST_PERIODS`;
        change: one of `CHANGES`; changes: UInt32.
    """
    rows = []
    for one in contents.decisions:
        at, alias = values.time(one.get("at")), one.get("alias")
        if alias == "champion":
            change = "champion rolled back" if one.get("command") == "rollback" else "champion promoted"
        else:
            change = "challenger named" if one.get("after") else "challenger released"
        if at is not None and alias in ("champion", "challenger"):
            rows.append({"at": at.date(), "change": change})
    frame = pl.DataFrame(rows, schema={"at": pl.Date, "change": pl.Enum([*CHANGES])})
    days = (frame["at"].max() - frame["at"].min()).days if rows else 0  # type: ignore[operator,union-attr]
    period = next((name for name, length in PERIODS.items() if days / length <= MOST_PERIODS), "1y")
    return (
        frame.group_by(since=pl.col("at").dt.truncate(period), change="change")
        .agg(changes=pl.len())
        .sort("since", "change")
    )


def draw_champions(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a bar per period, of how many changes of each kind there were."""
    present = [name for name in CHANGES if name in frame["change"].to_list()]
    scale = alt.Scale(domain=present, range=[CHANGES[name] for name in present])
    most = int(frame.group_by("since").agg(pl.col("changes").sum())["changes"].max() or 1)  # type: ignore[arg-type]
    labelled = frame.with_columns(pl.col("since").dt.to_string("%Y-%m-%d"))
    return (
        alt.Chart(labelled)
        .mark_bar(size=min(26, (width - 80) / max(1, frame["since"].n_unique()) * 0.7))
        .encode(
            x=alt.X("since:O", title=None, axis=alt.Axis(labelAngle=-45, labelOverlap=True)),
            y=alt.Y("changes:Q", title="changes", axis=alt.Axis(format="d", tickCount=min(4, most))),
            color=alt.Color(
                "change:N", title=None, sort=present, scale=scale, legend=alt.Legend(columns=1 if width < WIDE else 0)
            ),
        )
        .properties(width=width - 60, height=160)
    )


def trials(contents: Contents) -> pl.DataFrame:
    """Return what trials of studies saved out of fold against the default, trial 0.

    Returns:
        study: such as `analyst 1h`, with a number where there are several of a name; trial: Int64; saved: Float64,
        thousandths of a nat per row, on the same folds; state: one of `STATES`; chosen: Boolean, whether the study
        took it last.
    """
    rows: list[dict[str, Any]] = []
    names: dict[str, int] = {}
    for path, documents in (contents.trials or {}).items():
        folder = path.rpartition("/")[2].rpartition("_")[0].replace("_", " ")
        names[folder] = names.get(folder, 0) + 1
        study = folder if names[folder] == 1 else f"{folder} ({names[folder]})"
        by_number = {number: one for one in documents if (number := values.count(one.get("number"))) is not None}
        choices = [(made, one.get("winner")) for one in documents if (made := values.count(one.get("trials")))]
        chosen = values.count(max(choices, key=lambda choice: choice[0])[1]) if choices else None
        for number, one in by_number.items():
            state, part = ("complete", "losses") if one.get("state") == "complete" else ("given up", "first")
            own, base = (mean_loss(trial.get(part)) for trial in (one, by_number.get(0, {})))
            if own is not None and base is not None:
                saved = MILLI * (base - own)
                known = {"study": study, "trial": number, "saved": saved, "state": state, "chosen": number == chosen}
                rows.append(known)
    schema: dict[str, Any] = {
        "study": pl.String,
        "trial": pl.Int64,
        "saved": pl.Float64,
        "state": pl.String,
        "chosen": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema).sort("study", "trial", maintain_order=True)


def mean_loss(losses: object) -> float | None:
    """Return the mean log-loss of a row from sums by series and block of days."""
    total = [0.0, 0.0]
    for series in values.pairs(losses).values():
        for entry in values.pairs(series).values():
            numbers = [values.number(value, least=0.0) for value in values.items(entry)[:2]]
            if len(numbers) != 2 or None in numbers:
                return None
            total = [before + (value or 0.0) for before, value in zip(total, numbers, strict=True)]
    return total[1] / total[0] if total[0] else None


def draw_trials(frame: pl.DataFrame, width: int) -> alt.TopLevelMixin:
    """Return a panel per study: what each trial saved, the chosen one ringed, and the default at zero."""
    in_a_row = min(frame["study"].n_unique(), 3 if width >= WIDE else 1)
    scale = alt.Scale(domain=[*STATES], range=[*STATES.values()])
    base = alt.Chart().encode(
        x=alt.X("trial:Q", title="trial", axis=alt.Axis(tickMinStep=1, grid=False)),
        y=alt.Y("saved:Q", title="mnat per bar"),
    )
    layers = alt.layer(
        rule_at(0, along="y"),
        base.mark_point(filled=True, size=50, opacity=0.9).encode(
            color=alt.Color("state:N", title=None, scale=scale),
            shape=alt.Shape("state:N", title=None, scale=alt.Scale(domain=[*STATES], range=["circle", "cross"])),
        ),
        base.mark_point(color=INK, size=190, strokeWidth=1.5).transform_filter("datum.chosen"),
    )
    own = (width - 64) // in_a_row - (44 if in_a_row > 1 else 0)
    return (
        layers.properties(data=frame, width=own, height=130)
        .facet(facet=alt.Facet("study:N", title=None, sort=None), columns=in_a_row)
        .resolve_scale(x="independent", y="independent")
    )


def drift(contents: Contents) -> pl.DataFrame:
    """Return by how much the share of labels that are up differs between the training rows and the holdout after them.

    Returns:
        kind; change: `holdout less training`; low, middle, high: quartiles over models, in percentage points; models.
    """
    found = []
    for one in contents.described:
        shares = values.at(one.metadata, "class_shares")
        before, after = (values.share(values.at(shares, part, "up")) for part in ("training", "holdout"))
        if before is not None and after is not None:
            found.append({"kind": one.kind, "change": "holdout less training", "value": 100 * (after - before)})
    return spread_of(contents, found, "change")


def newest(contents: Contents) -> pl.DataFrame:
    """Return how far the newest bars are from training rows, by the last run that predicted or scored.

    Returns:
        kind; feature: `furthest off` or `middle one`; low, middle, high: quartiles over series of the population
        stability index of this feature; models: UInt32, series with models of the kind; drifted: UInt32, how many of
        these have a feature beyond what is usual.
    """
    kinds = set(contents.kinds)
    rows, found = [], []
    for event in contents.newest:
        kind = f"{event.get('model_type')} {event.get('timeframe')}"
        worst = values.items(next(iter(values.items(values.at(event, "drift", "worst"))), None))
        told = (worst[1] if len(worst) > 1 else None, values.at(event, "drift", "median"))
        indices = [values.number(one, least=0.0, most=1e3) for one in told]
        if kind in kinds and None not in indices:
            rows += [{"kind": kind, "feature": name, "value": one} for name, one in zip(FEATURES, indices, strict=True)]
            found.append({"kind": kind, "drifted": bool(values.count(values.at(event, "drift", "unusual")))})
    schema: dict[str, Any] = {"kind": pl.String, "drifted": pl.Boolean}
    drifted = contents.in_order(pl.DataFrame(found, schema=schema))
    counts = drifted.group_by("kind").agg(pl.col("drifted").sum())
    return spread_of(contents, rows, "feature").join(counts, on="kind", how="left", maintain_order="left")
