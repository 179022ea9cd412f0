"""The page: pictures, tables and style in one HTML file that loads nothing and runs only its own few lines."""

import base64
import hashlib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from html import escape
from importlib.resources import files
from typing import Any, Final

import polars as pl

from job.report import values
from job.report.contents import Contents, Described
from job.report.heat_map import percent
from job.report.model import FOLDS, MODEL_PICTURES, alone, describe
from job.report.pictures import PICTURES, Picture
from job.report.theme import NARROW, WIDE, dark_rules

MOST_NUMBERS: Final = 60
"""Rows of a picture's numbers on the page."""
MOST_PARTS: Final = 12
"""Fleets of at most so many models have a part for each."""
MOST_FAILURES: Final = 20


@dataclass(frozen=True)
class Report:
    """A page, and the numbers behind its pictures by their names."""

    html: str
    frames: Mapping[str, pl.DataFrame]


def fleet_report(contents: Contents, *, command: str, made_at: datetime) -> Report:
    """Return the report of a registry.

    Args:
        contents: of the registry.
        command: how this report was asked for, without the argument that asks for one model.
        made_at: for its foot.
    """
    frames = {one.name: one.data(contents) for one in PICTURES}
    models = frames["fleet"]
    figures = "\n".join(figure(one, frames[one.name], contents) for one in PICTURES)
    own = contents.models.height <= MOST_PARTS
    parts = model_parts(contents, models) if own else model_rows(models, command, of=contents.models.height)
    body = (
        f"<header><h1>Models in {escape(values.text(contents.url) or '')}</h1>{_about(contents)}{_tiles(contents)}</header>"
        f"<nav aria-label='Pictures'><ul>{_links(PICTURES)}<li><a href='#models'>Models</a></ul></nav>"
        f"<main>{figures}{_problems(contents)}{parts}</main>"
    )
    return Report(_document(f"Models in {contents.url}", body, made_at), frames)


def model_report(contents: Contents, one: Described, *, made_at: datetime) -> Report:
    """Return the report of one model."""
    own = alone(contents, one)
    frames = {picture.name: picture.data(own) for picture in MODEL_PICTURES}
    figures = "\n".join(figure(picture, frames[picture.name], own) for picture in MODEL_PICTURES)
    name = values.text(str(one.key)) or ""
    history = _table(_decisions(contents, one), "")
    body = (
        f"<header><h1>{escape(name)}</h1><p class=muted>in {escape(values.text(contents.url) or '')}</p>{describe(one)}</header>"
        f"<nav aria-label='Pictures'><ul>{_links(MODEL_PICTURES)}</ul></nav><main>{figures}"
        f"<section id=history><h2>Champions and challengers</h2>{history or '<p class=absent>No alias was ever set.</p>'}</section></main>"
    )
    return Report(_document(name, body, made_at), frames)


def figure(picture: Picture, frame: pl.DataFrame, contents: Contents) -> str:
    """Return a picture with its title, its sentence and its numbers; what is missing, where there are none."""
    caption = f"<figcaption><h2>{escape(picture.title)}</h2><p>{escape(picture.sentence)}</p></figcaption>"
    if frame.is_empty():
        inner = f'<p class="absent">Nothing to show. {escape(picture.absent)}</p>'
    else:
        inner = _drawn(picture, frame)
        if picture.sampled and contents.sampled:
            read, there = len(contents.described), contents.models.height
            inner += f'<p class="muted">From {read:,} of the {there:,} models, spread evenly over them.</p>'
        if picture.name != "fleet":
            table = _table(frame, picture.unit)
            inner += f"<details><summary>Numbers{f' ({escape(picture.unit)})' if picture.unit else ''}</summary>{table}</details>"
    return f'<figure id="{picture.name}">{caption}{inner}</figure>'


def _drawn(picture: Picture, frame: pl.DataFrame) -> str:
    """Return a picture for a wide page and for a narrow one, of which a page shows one; a table fits both."""
    label = f"{picture.title}. {picture.sentence}"
    widths = {"wide": WIDE, "narrow": NARROW}
    drawn = {
        name: picture.drawn(frame, width, name=f"{picture.name}-{name}", label=label) for name, width in widths.items()
    }
    if drawn["wide"] == drawn["narrow"]:
        return drawn["wide"]
    return "".join(f'<div class="{name}">{svg}</div>' for name, svg in drawn.items())


def model_rows(models: pl.DataFrame, command: str, *, of: int) -> str:
    """Return a row per model of the heat map: its scores, and the name by which a page of its own is asked for."""
    rows = "\n".join(
        f"<tr id={row['id']}><th scope=row>{escape(row['name'])}<td>{_number(row['log_loss'])}<td>{_number(row['base_log_loss'])}"
        f"<td>{_interval(row)}<td>{_number(row['rows'])}<td>{_number(row['created_at'])}"
        for row in models.to_dicts()
    )
    shown = "" if models.height == of else f" Of {of:,} models, those of the best and the worst series are shown."
    return (
        f"<section id=models><h2>Models</h2><p>A page of one model: <code>{escape(command)} --key NAME</code>.{shown}</p>"
        "<div class='scroll' tabindex=0 role=region aria-label='Models'><table><thead><tr><th scope=col>name<th scope=col>log-loss, nats"
        "<th scope=col>base, nats<th scope=col>skill, % [95%]<th scope=col>samples<th scope=col>trained, UTC</thead>"
        f"<tbody>\n{rows}\n</tbody></table></div></section>"
    )


def model_parts(contents: Contents, models: pl.DataFrame) -> str:
    """Return a part per model of a small fleet: its facts, its folds and its calibration."""
    described = {f"{one.key.folder}/{one.key.stem}": one for one in contents.described}
    reliability = next(one for one in PICTURES if one.name == "reliability")
    parts = []
    for row in models.to_dicts():
        one = described.get(row["name"])
        title = f"<h3>{escape(row['series'])} {escape(row['kind'])}</h3>"
        if one is None:
            parts.append(f"<section id={row['id']}>{title}<p class=absent>Its metadata cannot be read.</p></section>")
            continue
        own = alone(contents, one)
        charts = ""
        for picture in (FOLDS, reliability):
            if not (frame := picture.data(own)).is_empty():
                label = f"{picture.title}: {one.key}"
                svg = picture.drawn(frame, NARROW, name=f"{row['id']}-{picture.name}", label=values.text(label) or "")
                charts += f"<div><h4>{escape(picture.title)}</h4>{svg}</div>"
        parts.append(
            f"<section id={row['id']}>{title}<div class=parts><div>{describe(one)}</div>{charts}</div></section>"
        )
    return f"<section id=models><h2>Models</h2>{''.join(parts)}</section>"


def _about(contents: Contents) -> str:
    """Return a line about the run."""
    run = contents.run
    if run is None:
        return '<p class="muted">No record of a run that trained is there.</p>'
    begun, ended = (values.time(run.get(name)) for name in ("started_at", "finished_at"))
    told = [f"run {values.text(run.get('run_id')) or 'unknown'} {values.text(run.get('status')) or ''}"]
    if begun:
        told.append(f"begun {begun:%Y-%m-%d %H:%M:%S} UTC")
    if begun and ended and ended >= begun:
        told.append(f"took {str(ended - begun).partition('.')[0]} h")
    cluster = run.get("cluster")
    nodes, cpus = (values.count(values.at(cluster, name)) for name in ("nodes", "cpus"))
    if nodes:
        told.append(f"{nodes:,} nodes, {cpus or 0:,} CPUs")
    return f'<p class="muted">{escape(", ".join(told))}</p>'


def _tiles(contents: Contents) -> str:
    """Return the numbers that one wants to see first."""
    models = contents.models
    known = models.filter(pl.col("skill").is_not_null())
    beaten, weak = int((known["skill"] > 0).sum()), int(models["underpowered"].fill_null(value=False).sum())
    middle = known["skill"].median()
    failed = values.count(values.at(contents.run, "counts", "failed")) or 0
    tiles = [
        ("", f"{models.height:,}", "models"),
        ("", f"{models['series'].n_unique():,}", "series"),
        ("", f"{contents.versions:,}", "versions kept"),
        ("", f"{beaten:,} of {known.height:,}", "beat their base rate"),
        ("", "n/a" if middle is None else f"{percent(float(middle))}%", "median skill"),  # type: ignore[arg-type]
        ("", f"{weak:,}", "underpowered"),
        ("bad" if failed else "", f"{failed:,}", "failed in the run"),
    ]
    return (
        f'<ul class="tiles">{"".join(f"<li class={kind!r}><b>{shown}</b>{what}" for kind, shown, what in tiles)}</ul>'
    )


def _problems(contents: Contents) -> str:
    """Return what the run failed at and warned of, each kind once; nothing where there is nothing."""
    told: dict[tuple[str, str], int] = {}
    for one in values.items(values.at(contents.run, "problems")):
        kind, message = (values.text(values.at(one, name)) or "" for name in ("type", "message"))
        told[kind, message] = told.get((kind, message), 0) + 1
    for one in contents.outcomes:
        kind, message = (values.text(values.at(one, "error", name)) or "" for name in ("type", "message"))
        if one.get("status") == "failed":
            told[kind, message] = told.get((kind, message), 0) + 1
    if not told:
        return ""
    first = sorted(told.items(), key=lambda one: -one[1])[:MOST_FAILURES]
    rows = [{"what": kind, "times": times, "message": message} for (kind, message), times in first]
    more = f"<p class=muted>and {len(told) - len(first):,} more kinds</p>" if len(told) > len(first) else ""
    return (
        f"<section id=problems><h2>Failures and notes of the run</h2>{_table(pl.DataFrame(rows), '')}{more}</section>"
    )


def _decisions(contents: Contents, one: Described) -> pl.DataFrame:
    key = {
        "exchange": one.key.exchange,
        "symbol": one.key.symbol,
        "timeframe": one.key.timeframe,
        "model_type": one.key.model_type,
    }
    names = ("at", "alias", "before", "after", "command", "reason")
    rows = [
        {name: values.text(decision.get(name)) for name in names}
        for decision in contents.decisions
        if decision.get("key") == key
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String)).sort("at")


def _links(pictures: Iterable[Picture]) -> str:
    return "".join(f'<li><a href="#{one.name}">{escape(one.title)}</a>' for one in pictures)


def _table(frame: pl.DataFrame, unit: str) -> str:
    """Return the first rows of a frame as a table, empty without any."""
    if frame.is_empty():
        return ""
    head = "".join(f"<th scope=col>{escape(name.replace('_', ' '))}" for name in frame.columns)
    rows = ["".join(f"<td>{_number(value)}" for value in row) for row in frame.head(MOST_NUMBERS).rows()]
    more = f"<p>and {frame.height - MOST_NUMBERS:,} more rows</p>" if frame.height > MOST_NUMBERS else ""
    inner = "<tr>".join(["", *rows])
    return f"<div class=over><table><thead><tr>{head}</thead><tbody>{inner}</tbody></table></div>{more}"


def _number(value: Any) -> str:
    """Return a value as a table of the page shows it, escaped."""
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}".replace("-", "\N{MINUS SIGN}") if abs(value) < 1e6 else f"{value:.3g}"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, date):
        return f"{value}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))


def _interval(row: Mapping[str, Any]) -> str:
    low, high = row["skill_low"], row["skill_high"]
    between = "" if low is None or high is None else f" [{percent(low)}, {percent(high)}]"
    return percent(row["skill"]) + between + ("*" if row["underpowered"] else "")


def _document(title: str, body: str, made_at: datetime) -> str:
    """Return a whole document whose policy lets nothing in but its own style and script, by their digests."""
    here = files("job.report")
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    style += f"@media screen and (prefers-color-scheme:dark){{{dark_rules()}}}"
    script = here.joinpath("page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    made = f"{made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(values.text(title) or "")}</title>\n<style>{style}</style></head>\n'
        f"<body>{body}\n<footer>Made {made} from the registry alone. Scores are of holdouts, after shrinking; intervals are of 95%.</footer>\n"
        f"<script>{script}</script></body></html>\n"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def command_of(url: str) -> str:
    """Return how the report of a registry is asked for."""
    return f"python job/main.py report --models {shlex.quote(url)}"
