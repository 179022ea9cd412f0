"""Small pieces of HTML: numbers, tables, texts; all that comes from a registry is escaped here or by who calls."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from html import escape
from typing import Any, Final

import polars as pl

from job.report.heat_map import percent

MOST_ROWS: Final = 60
"""Rows of a table of numbers."""
MINUS: Final = "\N{MINUS SIGN}"


def prose(told: str) -> str:
    """Return a text of this package, with what stands between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(told))


def cell(value: Any) -> str:
    """Return a value as tables show it."""
    if value is None:
        return "n/a"
    if isinstance(value, float):
        return f"{value:,.4g}".replace("-", MINUS) if abs(value) < 1e6 else f"{value:.3g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, bool | date):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def loss(value: float | None) -> str:
    """Return a log-loss, which is compared in its fourth digit."""
    return "n/a" if value is None else f"{value:.4f}"


def interval(row: Mapping[str, Any]) -> str:
    """Return a model's skill in percent, with its interval, and a star where it is underpowered."""
    low, high = row["skill_low"], row["skill_high"]
    between = "" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"
    return percent(row["skill"]) + between + ("*" if row["underpowered"] else "")


def table(frame: pl.DataFrame) -> str:
    """Return the first rows of a frame as a table."""
    head = "".join(f"<th scope=col>{escape(name.replace('_', ' '))}" for name in frame.columns)
    rows = "".join("<tr>" + "".join(f"<td>{cell(value)}" for value in row) for row in frame.head(MOST_ROWS).rows())
    more = f"<p>and {frame.height - MOST_ROWS:,} more rows</p>" if frame.height > MOST_ROWS else ""
    inner = f"<table><thead><tr>{head}</thead><tbody>{rows}</tbody></table>"
    return f"<div class=over tabindex=0 role=region aria-label=Numbers>{inner}</div>{more}"
