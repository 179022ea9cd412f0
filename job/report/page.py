"""The page: pictures, tables and style in one HTML file that loads nothing and runs only its own few lines."""

import base64
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from typing import Final

import polars as pl

from job.report import values
from job.report.contents import Contents, Described
from job.report.markup import cell, interval, loss, prose, table
from job.report.model import FOLDS, MODEL_PICTURES, alone, decisions, describe
from job.report.pictures import PICTURES, RELIABILITY, Picture
from job.report.summary import about, problems, tiles
from job.report.theme import DARK, NARROW, WIDE, to_html

MOST_PARTS: Final = 12
"""Fleets of at most so many models have a part for each."""


@dataclass(frozen=True)
class Report:
    """A page, and the numbers behind its pictures by their names."""

    html: str
    frames: Mapping[str, pl.DataFrame]


def report(contents: Contents, one: Described | None = None, *, made_at: datetime) -> Report:
    """Return the report of a registry, or of one of its models; `made_at` is for its foot."""
    pictures, own = (PICTURES, contents) if one is None else (MODEL_PICTURES, alone(contents, one))
    frames = {picture.name: picture.data(own) for picture in pictures}
    figures = "\n".join(figure(picture, frames[picture.name], own) for picture in pictures)
    where = values.text(contents.url) or ""
    if one is None:
        few = contents.models.height <= MOST_PARTS
        models = model_parts(contents, frames["fleet"]) if few else model_rows(contents, frames["fleet"])
        title, last = f"Models in {where}", "models"
        above, below = f"{about(contents)}{tiles(contents)}", f"{problems(contents)}{models}"
    else:
        title, last = values.text(str(one.key)) or "", "history"
        above = f"<p class=muted>in {escape(where)}</p>{describe(one)}"
        past = f"<h2>Champions and challengers</h2>{decisions(contents, one)}"
        below = f"<section id=history class=words>{past}</section>"
    links = "".join(f'<li><a href="#{name}">{name}</a>' for name in (*frames, last))
    navigation = f'<nav aria-label="Pictures"><ul>{links}</ul></nav>'
    head = f"<header><h1>{escape(title)}</h1>{above}</header>{navigation}"
    return Report(_document(title, f"{head}<main>{figures}{below}</main>", made_at), frames)


def figure(picture: Picture, frame: pl.DataFrame, contents: Contents) -> str:
    """Return a picture with its title, its sentence and its numbers; what is missing, where there are none."""
    title = f"<h2>{escape(picture.title)}</h2>"
    if frame.is_empty():
        absent = f'<p class="absent">Nothing to show. {prose(picture.absent)}</p>'
        return f'<figure id="{picture.name}"><figcaption>{title}</figcaption>{absent}</figure>'
    label = f"{picture.title}. {picture.sentence}"
    if picture.chart:  # for a wide page and for a narrow one, of which a page shows one; a table fits both
        charts = {
            name: to_html(picture.draw(frame, width), name=f"{picture.name}-{name}", label=label)
            for name, width in (("wide", WIDE), ("narrow", NARROW))
        }
        inner = "".join(f'<div class="{name}">{svg}</div>' for name, svg in charts.items())
    else:
        inner = to_html(picture.draw(frame, WIDE), name=picture.name, label=label)
    if picture.sampled and contents.sampled:
        read, there = len(contents.described), contents.models.height
        inner += f'<p class="muted">From {read:,} of the {there:,} models, spread evenly over them.</p>'
    if picture.chart:
        unit = f" ({escape(picture.unit)})" if picture.unit else ""
        inner += f"<details><summary>Numbers{unit}</summary>{table(frame)}</details>"
    caption = f"<figcaption>{title}<p>{prose(picture.sentence)}</p></figcaption>"
    return f'<figure id="{picture.name}">{caption}{inner}</figure>'


def model_rows(contents: Contents, models: pl.DataFrame) -> str:
    """Return a row per model of the heat map: its scores, and the name by which a page of its own is asked for."""
    columns = ("name", "log-loss, nats", "base, nats", "skill, % [95%]", "samples", "trained, UTC")
    head = "".join(f"<th scope=col>{name}" for name in columns)
    rows = "\n".join(
        f"<tr id={row['id']}><th scope=row>{escape(row['name'])}"
        f"<td>{loss(row['log_loss'])}<td>{loss(row['base_log_loss'])}<td>{interval(row)}"
        f"<td>{cell(row['rows'])}<td>{cell(row['created_at'])}"
        for row in models.to_dicts()
    )
    there, command = (
        contents.models.height,
        f"python job/main.py report --models {shlex.quote(contents.url)} --key NAME",
    )
    part = (
        f" Of {there:,} models, {models.height:,} are shown: those of the best and of the worst series, with a skill."
    )
    return (
        f"<section id=models><h2>Models</h2><p>A page of one model: <code>{escape(command)}</code>."
        f"{'' if models.height == there else part} * underpowered</p>"
        f"<div class=scroll tabindex=0 role=region aria-label=Models><table><thead><tr>{head}</thead>"
        f"<tbody>\n{rows}\n</tbody></table></div></section>"
    )


def model_parts(contents: Contents, models: pl.DataFrame) -> str:
    """Return a part per model of a small fleet: its facts, its folds and its calibration."""
    described = {f"{one.key.folder}/{one.key.stem}": one for one in contents.described}
    parts = []
    for row in models.to_dicts():
        inner = '<p class="absent">Its metadata cannot be read.</p>'
        if (one := described.get(row["name"])) is not None:
            own, charts = alone(contents, one), ""
            for picture in (FOLDS, RELIABILITY):
                if not (frame := picture.data(own)).is_empty():
                    label = values.text(f"{picture.title}: {one.key}") or ""
                    svg = to_html(picture.draw(frame, NARROW), name=f"{row['id']}-{picture.name}", label=label)
                    charts += f"<h4>{escape(picture.title)}</h4>{svg}"
            inner = f"<div class=parts><div>{describe(one)}</div><div>{charts}</div></div>"
        parts.append(f"<section id={row['id']}><h3>{escape(row['series'])} {escape(row['kind'])}</h3>{inner}</section>")
    return f"<section id=models><h2>Models</h2>{''.join(parts)}</section>"


def _document(title: str, body: str, made_at: datetime) -> str:
    """Return a whole document whose policy lets nothing in but its own style and script, by their digests."""
    here = files("job.report")
    style = here.joinpath("page.css").read_text(encoding="utf-8")
    dark = "".join(
        f'svg [fill="{light}"]{{fill:{color}}}svg [stroke="{light}"]{{stroke:{color}}}' for light, color in DARK.items()
    )
    style += f"@media screen and (prefers-color-scheme:dark){{{dark}}}"
    script = here.joinpath("page.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    made = f"{made_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    foot = f"Made {made} from the registry alone. Scores are of holdouts, after shrinking; intervals are of 95%."
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>{style}</style></head>\n<body>{body}\n<footer>{foot}</footer>\n<script>{script}</script></body></html>\n"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
