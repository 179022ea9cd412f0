"""What stands at the head and the foot of the pictures of a fleet: the run, the first numbers, and what went wrong."""

from collections import Counter
from html import escape
from typing import Final

import polars as pl

from job.report import values
from job.report.contents import Contents
from job.report.heat_map import percent
from job.report.markup import table

MOST_KINDS: Final = 20
"""Kinds of failures and notes that are told."""


def about(contents: Contents) -> str:
    """Return a line about the run."""
    run = contents.run
    if run is None:
        return '<p class="muted">No record of a run that trained is there.</p>'
    begun, ended = (values.time(run.get(name)) for name in ("started_at", "finished_at"))
    told = [f"run {values.text(run.get('run_id')) or 'unknown'} {values.text(run.get('status')) or ''}"]
    if begun:
        told.append(f"begun {begun:%Y-%m-%d %H:%M:%S} UTC")
    if begun and ended and ended >= begun:
        told.append(f"took {(ended - begun).total_seconds():,.0f} s")
    nodes, cpus = (values.count(values.at(run, "cluster", name)) for name in ("nodes", "cpus"))
    if nodes:
        told.append(f"nodes: {nodes:,}, CPUs: {cpus or 0:,}")
    return f'<p class="muted">{escape(", ".join(told))}</p>'


def tiles(contents: Contents) -> str:
    """Return the numbers that one wants to see first."""
    models = contents.models
    skills = models["skill"].drop_nulls()
    middle = skills.median()
    failed = values.count(values.at(contents.run, "counts", "failed")) or 0
    shown = {
        "models": f"{models.height:,}",
        "series": f"{models['series'].n_unique():,}",
        "versions kept": f"{contents.versions:,}",
        f"of {len(skills):,} beat their base rate": f"{(skills > 0).sum():,}",
        "median skill": "n/a" if not isinstance(middle, float) else f"{percent(middle)}%",
        "underpowered": f"{models.filter('underpowered').height:,}",
        "failed in the run": f"{failed:,}",
    }
    bad = {"failed in the run"} if failed else set()
    listed = (f"<li{' class=bad' if what in bad else ''}><b>{number}</b>{what}" for what, number in shown.items())
    return f'<ul class="tiles">{"".join(listed)}</ul>'


def problems(contents: Contents) -> str:
    """Return what the run failed at and noted, each kind once; nothing where there is nothing."""
    errors = [one.get("error") for one in contents.outcomes if one.get("status") == "failed"]
    told = Counter(
        tuple(values.text(values.at(one, name)) or "" for name in ("type", "message"))
        for one in [*errors, *values.items(values.at(contents.run, "problems"))]
    )
    if not told:
        return ""
    rows = [
        {"what": what, "times": times, "message": message} for (what, message), times in told.most_common(MOST_KINDS)
    ]
    more = f"<p class=muted>and {len(told) - MOST_KINDS:,} more kinds</p>" if len(told) > MOST_KINDS else ""
    shown = table(pl.DataFrame(rows))
    return f"<section id=problems class=words><h2>Failures and notes of the run</h2>{shown}{more}</section>"
