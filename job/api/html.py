"""A run as plain HTML for notebooks: what became of it, its fleets, and a heat map of skill. No script, no network."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from statistics import median
from typing import Any, Final

from job.core.keys import by_kind
from job.registry.outcome import Outcome

MOST_SERIES: Final = 60
"""Rows of the heat map; of more series, those whose mean skill is best and worst."""
FULL_COLOR: Final = 0.05
"""The skill, either way, that has the full colour."""
BLUE, ORANGE = (33, 102, 172), (217, 95, 2)
"""Of skill above and below 0: told apart by eyes that see no red or no green, too."""
CELL: Final = "padding:2px 8px;text-align:right"


def run_as_html(record: Mapping[str, Any], outcomes: Sequence[Outcome]) -> str:
    """Return a run as HTML; whatever names and messages hold is text in it.

    A row for each kind and timeframe says how many models there are, how many beat their base rate, and the median
    skill.
    """
    counts = ", ".join(f"{number:,} {status}" for status, number in record["counts"].items() if number)
    title = f"<p><b>Run {escape(record['run_id'])}</b> {escape(record['status'])}: {escape(counts or 'no models')}</p>"
    kinds = by_kind(one for one in outcomes if isinstance(one.scores.get("skill"), int | float))
    fleets = []
    for kind, own in kinds.items():
        skills = [_skill(one) for one in own]
        cells = (kind, f"{len(own):,}", f"{sum(skill > 0 for skill in skills):,}", f"{median(skills):+.2%}")
        fleets.append("".join(f"<td style='{CELL}'>{escape(cell)}</td>" for cell in cells))
    tables = f"{_table(('model', 'models', 'beat base', 'median skill'), fleets)}{_heat_map(kinds)}" if kinds else ""
    failed = [f"<li>{escape(str(one.key))}: {escape(one.error_message)}</li>" for one in outcomes if one.error]
    errors = f"<p>failed:</p><ul>{''.join(failed[:MOST_SERIES])}</ul>" if failed else ""
    return f"<div>{title}{tables}{errors}</div>"


def _heat_map(kinds: Mapping[str, Sequence[Outcome]]) -> str:
    """Return a row for each series, best first, and a cell for each model: its skill, coloured; `*` if underpowered."""
    series: dict[str, dict[str, Outcome]] = {}
    for kind, own in kinds.items():
        for one in own:
            series.setdefault(f"{one.exchange}/{one.symbol}", {})[kind] = one
    means = {name: sum(_skill(one) for one in own.values()) / len(own) for name, own in series.items()}
    ordered = sorted(series, key=lambda name: (-means[name], name))
    half = MOST_SERIES // 2
    shown = ordered if len(ordered) <= MOST_SERIES else [*ordered[:half], *ordered[-half:]]
    rows = [
        f"<td style='{CELL}'>{escape(name)}</td>" + "".join(_cell(series[name].get(kind)) for kind in kinds)
        for name in shown
    ]
    left_out = len(ordered) - len(shown)
    note = f"; {left_out:,} series between the best and the worst are left out" if left_out else ""
    table = _table(("skill", *kinds), rows)
    return f"{table}<p>skill is what is saved of the base rate's log-loss; * is underpowered{note}</p>"


def _cell(one: Outcome | None) -> str:
    if one is None:
        return "<td></td>"
    skill = _skill(one)
    share = min(abs(skill) / FULL_COLOR, 1)
    color = ",".join(map(str, BLUE if skill > 0 else ORANGE))
    mark = "*" if one.scores.get("underpowered") else ""
    return f"<td style='{CELL};background:rgba({color},{0.6 * share:.2f})'>{skill:+.2%}{mark}</td>"


def _skill(one: Outcome) -> float:
    return float(one.scores["skill"] or 0.0)


def _table(head: Iterable[str], rows: Iterable[str]) -> str:
    top = "".join(f"<th scope='col' style='{CELL}'>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
