"""The fleet as a table of colours: a row per series, a column per kind; where scripts run, it sorts."""

from html import escape
from typing import Final

import polars as pl

from job.report.contents import Contents

MOST_CELLS: Final = 5_000
"""Models that are shown: of more, the series that are best and those that are worst."""
MOST_ROWS: Final = 40
"""Longer tables scroll by themselves."""
STEPS: Final = 5
"""Colours on either side of zero."""


def fleet(contents: Contents) -> pl.DataFrame:
    """Return the models that a page shows, those of the best series first.

    Returns:
        `MODELS` of `contents`, kind, and `id`: String, the model's place on the page. Series are in the order of their
        mean skill; where there are more than `MOST_CELLS` models, only the best and the worst series are there.
    """
    models = contents.models.filter(pl.col("skill").is_not_null())
    ranked = (
        models.group_by("series")
        .agg(mean=pl.col("skill").mean(), cells=pl.len())
        .sort("mean", "series", descending=[True, False])
        .with_columns(
            from_best=pl.col("cells").cum_sum(), from_worst=pl.col("cells").cum_sum(reverse=True), place=pl.row_index()
        )
    )
    half = pl.min_horizontal("from_best", "from_worst") <= MOST_CELLS // 2
    kept = ranked if models.height <= MOST_CELLS else ranked.filter(half)
    return (
        models.join(kept.select("series", "place"), on="series")
        .sort("place", "kind")
        .drop("place")
        .with_columns(id=pl.format("m{}", pl.row_index()))
    )


def percent(value: float, digits: int = 2) -> str:
    """Return a share in percent, with its sign."""
    return f"{100 * value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def draw_fleet(frame: pl.DataFrame, _: int) -> str:
    """Return the table, under a legend; every cell leads to its model."""
    kinds = [(kind, *kind.rsplit(" ", 1)) for kind in frame.sort("kind")["kind"].unique(maintain_order=True).to_list()]
    most = max(float(frame["skill"].abs().quantile(0.95, interpolation="higher") or 0.0), 1e-6)
    head = "".join(
        f'<th scope="col">{escape(model_type)} {escape(timeframe)}</th>' for _, model_type, timeframe in kinds
    )
    rows = []
    for (series,), own in frame.group_by("series", maintain_order=True):
        cells = {row["kind"]: _cell(row["id"], row["skill"], most, weak=row["underpowered"]) for row in own.to_dicts()}
        inner = "".join(cells.get(kind, "<td>") for kind, *_ in kinds)
        rows.append(f"<tr><th scope=row>{escape(str(series))}{inner}")
    area = "over" if len(rows) <= MOST_ROWS else "scroll"
    table = (
        f"<table id=heat><thead><tr><th scope=col>series</th>{head}</tr></thead><tbody>\n"
        + "\n".join(rows)
        + "</tbody></table>"
    )
    named = 'tabindex="0" role="region" aria-label="Skill of every model"'
    steps = [f"n{step}" for step in range(STEPS, 0, -1)] + [f"p{step}" for step in range(1, STEPS + 1)]
    squares = "".join(f'<i class="{step}"></i>' for step in steps)
    legend = (
        f'<p class="legend">skill, % of log-loss saved: {percent(-most)} <span aria-hidden="true">{squares}</span> '
        f'{percent(most)} and beyond <span><i class="u" aria-hidden="true"></i> underpowered</span></p>'
    )
    return f'{legend}<div class="{area}" {named}>{table}</div>'


def _cell(anchor: str, value: float, most: float, *, weak: bool | None) -> str:
    """Return a cell in the colour of a skill; the fullest colour is for `most` and more."""
    step = min(STEPS, int(abs(value) / most * STEPS) + 1) if most and value else 0
    color = f"{'n' if value < 0 else 'p'}{step}" if step else "z"
    return f'<td class="{color}{" u" if weak else ""}"><a href=#{anchor}>{percent(value)}</a>'
