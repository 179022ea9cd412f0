"""The page of a report: what it lets in, how large it is, and what hostile registries make of it."""

import base64
import hashlib
import json
import math
import re
import resource
import time
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest

from job.core.errors import DataError, RegistryError
from job.core.keys import Key
from job.registry.runs import events_path
from job.storage.files import Storage
from tests.fleets import KINDS, PREDICTED, RUN_ID, START, synthetic_fleet, write_decision, write_run

pytest.importorskip("altair", reason="altair is absent, which reports need: pip install '.[report]'")

from job.report import values
from job.report.contents import Contents, read_contents
from job.report.model import describe
from job.report.page import MOST_PARTS, Report
from job.report.pictures import PICTURES
from job.report.summary import about, problems, tiles
from job.report.theme import ATTRIBUTES, DARK, ELEMENTS
from job.report.write import report_of

VOID: Final = {"meta", "link"}
CLOSED_BY_OTHERS: Final = {"tr", "td", "th", "li", "thead", "tbody", "dt", "dd"}
OWN: Final = {
    "class", "id", "href", "role", "aria-label", "aria-hidden", "tabindex", "scope", "title", "lang", "charset", "name",
    "http-equiv", "content", "rel",
}  # fmt: skip
"""Attributes of a page beside those of its charts: none of them runs anything, and `href` is looked at."""


class Page(HTMLParser):
    """What a browser makes of a page, as far as tests ask."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID | CLOSED_BY_OTHERS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in CLOSED_BY_OTHERS:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def attributes(self, name: str) -> list[str]:
        return [value or "" for _, attributes in self.tags for own, value in attributes.items() if own == name]


def checked(html: str, *, whole: bool = True) -> Page:
    """Return a page, or a part of one, that loads and runs nothing but its own, and leads nowhere but into itself."""
    page = Page(html)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert names.count("script") == names.count("style") == whole
    assert not {"img", "iframe", "object", "embed", "form", "base", "a:", "foreignobject", "image", "use"} & {*names}
    for tag, attributes in page.tags:
        lowered = {name.lower() for name in ATTRIBUTES}
        assert not {*attributes} - OWN - lowered - {"viewbox"}, tag
        if "href" in attributes:
            assert (tag, attributes["href"]) == ("link", "data:,") or (attributes["href"] or "").startswith("#")
    odd = [character for character in html if ord(character) < 32 and character not in "\n\t"]
    assert not odd
    if not whole:
        return page
    ids = page.attributes("id")
    assert len(ids) == len({*ids})
    assert {link.removeprefix("#") for link in page.attributes("href") if link.startswith("#")} <= {*ids}
    (policy,) = (one["content"] or "" for tag, one in page.tags if tag == "meta" and "http-equiv" in one)
    assert policy.startswith("default-src 'none'; ")
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (own,) = page.texts[tag]
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}';" in policy
    assert "unsafe" not in policy
    return page


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of ten models."""
    return report_of(synthetic_fleet(tmp_path_factory.mktemp("small") / "models", 10))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of eighty models, which have no parts of their own."""
    return report_of(synthetic_fleet(tmp_path_factory.mktemp("large") / "models", 80))


def test_a_page_holds_every_picture_with_its_name(small: Report) -> None:
    report = small
    page = checked(report.html)
    assert "Nothing to show" not in report.html
    figures = [attributes["id"] for tag, attributes in page.tags if tag == "figure"]
    assert figures == [one.name for one in PICTURES]
    charts = [attributes["aria-label"] for tag, attributes in page.tags if tag == "svg"]
    for one in PICTURES:
        assert charts.count(f"{one.title}. {one.sentence}") == (2 if one.chart else 0)
    assert all(attributes["role"] == "img" for tag, attributes in page.tags if tag == "svg")
    assert {tag for tag, _ in page.tags} >= {"svg", "path", "text", "line"}
    assert len(re.findall(r"<section id=m\d+>", report.html)) == 10, "a part for each model of a small fleet"


def test_the_cells_of_the_heat_map_lead_to_their_models(large: Report) -> None:
    report = large
    for row in report.frames["fleet"].to_dicts():
        shown = f"{100 * row['skill']:+.2f}".replace("-", "\N{MINUS SIGN}")
        weak = " u" if row["underpowered"] else ""
        assert re.search(rf'<td class="[npz]\d?{weak}"><a href=#{row["id"]}>{re.escape(shown)}</a>', report.html)
        assert f"<tr id={row['id']}><th scope=row>{row['name']}<" in report.html


def test_a_page_of_one_model(tmp_path: Path) -> None:
    registry = synthetic_fleet(tmp_path / "models", 10)
    key = Key("synthetic", "COIN0001USDT", "15m", "analyst")
    report = report_of(registry, key=key)
    page = checked(report.html)
    assert page.texts["h1"] == [str(key)]
    assert [*report.frames] == ["folds", "gain", "reliability", "importances", "equity"]
    metadata = json.loads((tmp_path / "models" / key.folder / f"{key.stem}_{RUN_ID}.json").read_text())
    folds = report.frames["folds"]
    assert folds["where"].to_list() == [*(f"fold {number}" for number in range(1, 6)), "holdout"]
    assert folds["skill"].to_list() == pytest.approx(
        [100 * one["value"] for one in (*metadata["stability"]["folds"], metadata["stability"]["holdout"])]
    )
    assert f"{metadata['scores']['log_loss']:.4f}" in page.texts["dl"]
    assert "promote" in page.texts["table"]


def test_a_run_is_shown_by_its_own_versions(tmp_path: Path) -> None:
    registry = synthetic_fleet(tmp_path / "models", 10)
    outcomes = [
        {"status": "trained", "version": f"analyst_1h_{RUN_ID}", "exchange": "synthetic", "symbol": "COIN0000USDT"}
    ]
    other = "20260401_000000_000000"
    write_run(registry, outcomes, run_id=other)
    registry.replace(f"runs/{other}.json", registry.read(f"runs/{RUN_ID}.json"))
    made = report_of(registry, run_id=other)
    assert made.frames["fleet"].height == 1
    checked(made.html)
    key = Key("synthetic", "COIN0001USDT", "1h", "analyst")
    with pytest.raises(RegistryError, match="run 20260401_000000_000000 made no synthetic/COIN0001USDT analyst 1h"):
        report_of(registry, run_id=other, key=key)
    with pytest.raises(DataError, match="has no record of a run '20300101_000000_000000'"):
        report_of(registry, run_id="20300101_000000_000000")


def test_a_registry_of_an_earlier_release_has_a_report() -> None:
    folder = Path(__file__).parent / "old_registry"
    report = report_of(Storage(str(folder)))
    checked(report.html)
    for row in report.frames["fleet"].to_dicts():
        metadata = json.loads((folder / row["series"] / f"{row['version']}.json").read_text())
        assert row["skill"] == metadata["scores"]["skill"]
        assert row["underpowered"] == metadata["scores"]["underpowered"]
    assert {name for name, frame in report.frames.items() if frame.height} >= {
        "fleet", "gain", "learners", "importances", "quality", "drift",
    }  # fmt: skip
    assert not report.frames["reliability"].height, "which was not kept then"


def test_an_empty_registry_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no model: name the model registry with --models"):
        report_of(Storage(str(tmp_path / "models")))


def bare(metadata: dict[str, Any]) -> dict[str, Any]:
    return {name: metadata[name] for name in ("schema_version", "key", "version")}


def test_metadata_that_tells_nothing_leaves_placeholders(tmp_path: Path) -> None:
    registry = synthetic_fleet(tmp_path / "models", 10, spoil=bare)
    registry.remove("model_metadata.json")
    registry.remove(f"runs/{RUN_ID}.json")
    registry.remove_folder("aliases")
    registry.remove_folder("tuning")
    registry.remove(events_path(PREDICTED))
    report = report_of(registry)
    page = checked(report.html)
    assert report.html.count("Nothing to show") == len(PICTURES)
    assert "svg" not in {tag for tag, _ in page.tags}
    assert "No record of a run that trained is there." in report.html


def everywhere(value: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what puts `value` in place of every leaf of a document, but for what names its version."""

    def spoil(document: dict[str, Any]) -> dict[str, Any]:
        return {**leaves(document, value), **bare(document)}

    return spoil


def leaves(document: Any, value: Any) -> Any:
    if isinstance(document, dict):
        return {name: leaves(inner, value) for name, inner in document.items()}
    return [leaves(inner, value) for inner in document] if isinstance(document, list) else value


def renamed(name: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what gives features and rules, whose names a registry may choose, another name."""

    def spoil(document: dict[str, Any]) -> dict[str, Any]:
        document["importances"]["values"] = {name: 1.0, f"{name}2": 2.0}
        document["data"]["counts"][name] = 7
        document["timing"]["worker"] = name
        document["warnings"] = [name]
        document["algorithm"]["name"] = document["label"]["definition"]["kind"] = name
        return document

    return spoil


SCRIPT: Final = (
    "</script></style></svg></title><script>alert(1)</script><img src=x onerror=alert(1)>\"'><a href=javascript:x>"
)
SYMBOLS: Final = (SCRIPT, "A\x00B", "\u202eB", "`${1}`", "\N{ROCKET}", "../../etc", "a" * 100, "A&B<C>\"'")
HOSTILE: Final[dict[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "script": everywhere(SCRIPT),
    "names with scripts": renamed(SCRIPT),
    "names that are odd": renamed("\x00\x1b[31m\u202eevil\ud800\ufffe` ${x} {{y}} &lt; datum.x ]]> <!--"),
    "signals of Vega": renamed("datum['x']||alert(1)"),
    "NaN": everywhere(math.nan),
    "infinity": everywhere(math.inf),
    "giants": everywhere(10**400),
    "large": everywhere(1e300),
    "tiny": everywhere(5e-324),
    "negative": everywhere(-1),
    "null": everywhere(None),
    "true": everywhere(True),
    "lists": everywhere([[[]]]),
    "mappings": everywhere({"a": {"b": "c"}}),
    "long": everywhere("x" * 2_000),
    "times": everywhere("9999-12-31T23:59:59+14:00"),
    "first times": everywhere("0001-01-01T00:00:00-14:00"),
    "nested": lambda document: {**bare(document), "scores": json.loads("[" * 900 + "]" * 900)},
    "no mapping": lambda document: {**dict.fromkeys(document, 7), **bare(document)},
}


def shown(registry: Storage) -> Contents:
    """Return what a report of a registry shows, once every number behind its pictures is a number."""
    contents = read_contents(registry)
    for one in PICTURES:
        for column in one.data(contents).select(pl.selectors.float()):
            assert column.is_finite().fill_null(value=True).all(), one.name
    assert about(contents)
    assert tiles(contents)
    return contents


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_becomes_numbers_and_texts(tmp_path: Path, name: str) -> None:
    contents = shown(synthetic_fleet(tmp_path / "models", 10, spoil=HOSTILE[name]))
    assert contents.described
    for one in contents.described:
        checked(f"<p>{describe(one)}</p>", whole=False)


def test_a_page_of_hostile_metadata_runs_nothing(tmp_path: Path) -> None:
    """Each model is hostile in another way, and its symbol, too."""
    spoilers = cycle(HOSTILE.values())

    def spoil(metadata: dict[str, Any]) -> dict[str, Any]:
        return next(spoilers)(metadata)

    registry = synthetic_fleet(
        tmp_path / "models",
        5 * len(HOSTILE),
        spoil=spoil,
        symbols=lambda number: f"{SYMBOLS[number % len(SYMBOLS)]}{number}",
    )
    report = report_of(registry)
    page = checked(report.html)
    assert report.frames["fleet"].height == 5 * len(HOSTILE), "the catalog knows their skill"
    assert "\u202e" not in report.html
    for number, symbol in enumerate(SYMBOLS):
        assert values.text(f"synthetic/{symbol}{number}") in page.texts["table"]
    assert any(text.startswith(SCRIPT[:12]) for text in page.texts["text"]), "which a chart shows as it is"


@pytest.mark.parametrize("name", ["script", "names with scripts", "names that are odd", "NaN"])
def test_a_page_of_a_hostile_model_runs_nothing(tmp_path: Path, name: str) -> None:
    registry = synthetic_fleet(tmp_path / "models", 1, spoil=HOSTILE[name])
    checked(report_of(registry, key=Key("synthetic", "COIN0000USDT", "1h", "analyst")).html)


def spoil_records(folder: Path, value: Any, *, whole: bool) -> None:
    """Put `value` in place of all that a registry says beside metadata; of the run, everything if `whole`."""
    path = folder / "runs" / f"{RUN_ID}.json"
    record = json.loads(path.read_text())
    spoiled = dict.fromkeys(record, value) if whole else {**leaves(record, value), "counts": {"trained": 1}}
    path.write_text(json.dumps(spoiled))
    key = Key("synthetic", "COIN0000USDT", "1h", "analyst")
    for seq, names in enumerate((("at",), ("alias", "command"), ("before", "after", "reason")), 2):
        write_decision(folder, key, "v", at=START, seq=seq, more=dict.fromkeys(names, value))
    for study in (folder / "tuning").rglob("*.json"):
        study.write_text(json.dumps(leaves(json.loads(study.read_text()), value)))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("value", [SCRIPT, math.nan, 10**400, 1e300, None, [], {}, -5, True], ids=range(9))
def test_hostile_records_become_numbers_and_texts(tmp_path: Path, value: Any, whole: bool) -> None:
    registry = synthetic_fleet(tmp_path / "models", 10)
    spoil_records(tmp_path / "models", value, whole=whole)
    contents = shown(registry)
    checked(f"<p>{about(contents)}{tiles(contents)}{problems(contents)}</p>", whole=False)


def spoil_logs(registry: Storage, value: Any) -> None:
    """Put `value` in place of all that logs say but of what decides whether a line is looked at."""
    predicted = [json.loads(line) for line in registry.read(events_path(PREDICTED)).splitlines()]
    kept = {"event", "operation", "model_type", "timeframe"}
    spoiled = [{name: one[name] if name in kept else leaves(one[name], value) for name in one} for one in predicted]
    registry.replace(events_path(PREDICTED), "".join(json.dumps(one) + "\n" for one in spoiled).encode())
    times = {"started_at": START.isoformat(), "time": START.replace(hour=7).isoformat()}
    told = {"event": "task_ended", "node": value, "pid": value, "cpu_seconds": value, "peak_rss_mb": value, **times}
    ended = [told, {**told, "node": SCRIPT, "pid": 7}, {**told, "node": "a", "pid": 7, "time": value}]
    registry.replace(events_path(RUN_ID), "".join(json.dumps(one) + "\n" for one in ended).encode())


@pytest.mark.parametrize("value", [SCRIPT, math.nan, 10**400, 1e300, None, [], {}, -5, True], ids=range(9))
def test_hostile_logs_become_numbers_and_texts(tmp_path: Path, value: Any) -> None:
    registry = synthetic_fleet(tmp_path / "models", 10)
    spoil_logs(registry, value)
    contents = shown(registry)
    (workers,) = (one.data(contents)["worker"].unique().to_list() for one in PICTURES if one.name == "workers")
    assert f"{values.text(SCRIPT)}/7" in workers


def test_a_page_of_hostile_records_and_logs_runs_nothing(tmp_path: Path) -> None:
    registry = synthetic_fleet(tmp_path / "models", 10)
    spoil_records(tmp_path / "models", SCRIPT, whole=False)
    spoil_logs(registry, SCRIPT)
    checked(report_of(registry).html)
    checked(report_of(registry, key=Key("synthetic", "COIN0000USDT", "1h", "analyst")).html)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"{", b"[" * 100_000, b"7"], ids=range(6))
def test_damaged_files_are_passed_over(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "models"
    registry = synthetic_fleet(folder, 10)
    for path in [*folder.glob("runs/*"), *folder.glob("aliases/**/*.json"), *folder.glob("tuning/**/*.json")]:
        path.write_bytes(data)
    next(folder.glob("synthetic/COIN0000USDT/analyst_1h_*.json")).write_bytes(data)
    contents = shown(registry)
    assert contents.models.height == 10, "the catalog knows it"
    assert len(contents.described) == 9
    assert contents.run is None


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    secret = "s3cr3t-of-the-test"
    address = f"https://user:{secret}@host/bars?X-Amz-Signature={secret}&key={secret}"
    registry = synthetic_fleet(tmp_path / "models", 10, spoil=renamed(f"cannot read {address}: gone"))
    error = {
        "type": "DataError",
        "message": f"{address} and s3://{secret}:{secret}@bucket/x?versionId={secret} are gone",
    }
    write_run(
        registry,
        [{"status": "failed", "error": error}],
        problems=[error],
        config={"storage": {"options": {"key": secret}}, "data": {"input": address}},
    )
    report = report_of(registry)
    assert secret not in report.html
    assert "https://host/bars" in report.html
    assert "s3://bucket/x" in report.html


def test_dark_pages_know_every_colour_of_charts(small: Report) -> None:
    html = small.html
    used = {*re.findall(r'(?:fill|stroke)="(#[0-9a-f]{3,6})"', html)}
    assert used <= {*DARK}
    assert "prefers-color-scheme:dark" in html


def test_pages_are_small(small: Report, large: Report) -> None:
    assert len(small.html.encode()) <= 0.7e6
    assert len(large.html.encode()) <= 0.8e6
    assert 10 <= MOST_PARTS < 80


@pytest.mark.slow
def test_five_thousand_models_fit_in_two_megabytes_and_twenty_seconds(tmp_path: Path) -> None:
    registry = synthetic_fleet(tmp_path / "models", 5_000)
    begun, spent = time.perf_counter(), time.process_time()
    report = report_of(registry)
    assert len(report.html.encode()) <= 2e6
    assert time.process_time() - spent <= 20
    assert time.perf_counter() - begun <= 60, "seconds of the clock, on a machine that does other things, too"
    page = checked(report.html)
    assert report.frames["fleet"].height == 5_000
    assert "From 600 of the 5,000 models, spread evenly over them." in report.html
    assert sum(tag == "tr" for tag, _ in page.tags) > 6_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2**21, "KiB"


def test_of_very_many_models_the_best_and_the_worst_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("job.report.heat_map.MOST_CELLS", 40)
    monkeypatch.setattr("job.report.page.PICTURES", [one for one in PICTURES if one.name == "fleet"])
    report = report_of(synthetic_fleet(tmp_path / "models", 100))
    checked(report.html)
    shown = report.frames["fleet"]
    assert shown.height == 40
    means = shown.group_by("series", maintain_order=True).agg(pl.col("skill").mean())["skill"].to_list()
    assert means == sorted(means, reverse=True)
    assert len(means) == 40 // len(KINDS)
    assert "Of 100 models, 40 are shown: those of the best and of the worst series" in report.html


def test_only_shapes_and_texts_of_charts_are_kept() -> None:
    assert not {"script", "a", "image", "use", "foreignObject", "style", "animate", "set"} & ELEMENTS
    assert not {name for name in ATTRIBUTES if name.startswith("on") or "href" in name or name == "style"}
