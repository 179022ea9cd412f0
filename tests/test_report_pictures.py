"""The numbers behind the pictures of a report, recomputed from the files of a registry by plain loops."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Any

import polars as pl
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from job.core.keys import Key
from job.predict.task import Predicted
from job.registry.events import EventLog
from job.registry.outcome import of
from job.registry.runs import events_path
from job.report.contents import Contents, read_contents
from job.storage.files import Storage
from tests.fleets import RUN_ID, synthetic_fleet

pytest.importorskip("altair", reason="altair is absent, which reports need: pip install '.[report]'")

from job.report.heat_map import MOST_CELLS
from job.report.history import CHANGES
from job.report.model import MODEL_PICTURES
from job.report.page import report
from job.report.pictures import PICTURES

MODELS = 60


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of 60 models."""
    folder = tmp_path_factory.mktemp("report") / "models"
    synthetic_fleet(folder, MODELS)
    return folder


@pytest.fixture(scope="module")
def contents(folder: Path) -> Contents:
    return read_contents(Storage(str(folder)))


@pytest.fixture(scope="module")
def written(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The metadata of all models by their kind, as it is on disk."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted((folder / "synthetic").rglob("*.json")):
        metadata = json.loads(path.read_text())
        found[f"{metadata['key']['model_type']} {metadata['key']['timeframe']}"].append(metadata)
    return found


def frame_of(contents: Contents, name: str) -> pl.DataFrame:
    return next(one for one in PICTURES if one.name == name).data(contents)


def rows_of(contents: Contents, name: str) -> list[dict[str, Any]]:
    rows = frame_of(contents, name).to_dicts()
    assert rows, "a picture without data would agree with anything"
    return rows


def same_spread(row: dict[str, Any], values: Iterable[float]) -> None:
    """Check that a row has the quartiles of `values`."""
    known = [*values]
    low, middle, high = quantiles(known, n=4, method="inclusive")
    assert (row["low"], row["middle"], row["high"]) == pytest.approx((low, middle, high))
    assert row["models"] == len(known)


def test_pictures_have_names_of_their_own_and_say_what_is_suspicious() -> None:
    assert len({one.name for one in PICTURES}) == len(PICTURES)
    for one in (*PICTURES, *MODEL_PICTURES):
        assert one.title
        assert one.sentence.endswith(".")
        assert one.absent.endswith((".", "them."))


def test_the_order_of_pictures() -> None:
    order = ["fleet", "gain", "learners", "reliability", "importances", "equity", "odds", "champions", "quality"]
    assert [one.name for one in PICTURES] == [*order, "workers", "cost", "memory", "trials", "drift", "newest"]


def test_kinds_are_in_the_order_in_which_people_read_them(contents: Contents) -> None:
    assert contents.kinds == ["analyst 1h", "analyst 15m", "analyst 5m", "analyst 1m", "tactician 1m"]


def test_the_heat_map_has_the_scores_of_every_model(
    contents: Contents, written: dict[str, list[dict[str, Any]]]
) -> None:
    frame = frame_of(contents, "fleet")
    assert frame.height == MODELS
    assert frame["id"].to_list() == [f"m{number}" for number in range(MODELS)]
    scores = {
        (f"synthetic/{one['key']['symbol']}", kind): one["scores"] for kind, own in written.items() for one in own
    }
    for row in frame.to_dicts():
        own = scores[row["series"], row["kind"]]
        for name in ("skill", "skill_low", "skill_high", "log_loss", "base_log_loss", "underpowered"):
            assert row[name] == own[name]
    means = [
        sum(scores[series, kind]["skill"] for kind in contents.kinds) / 5
        for series in frame["series"].unique(maintain_order=True)
    ]
    assert means == sorted(means, reverse=True)


def test_gain_over_time(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    frame = frame_of(contents, "gain")
    hours = {"analyst 1h": 5, "analyst 15m": 1.25}
    for kind, own in written.items():
        sums: dict[int, float] = defaultdict(float)
        counted: dict[int, int] = defaultdict(int)
        for one in own:
            for cluster, (rows, change) in one["excess_log_loss"].items():
                counted[int(cluster)] += rows
                sums[int(cluster)] += change
        total, clusters = sum(counted.values()), len(counted)
        mean = sum(sums.values()) / total
        t = stats.t.ppf(0.975, clusters - 1)
        points = frame.filter(pl.col("kind") == kind).to_dicts()
        assert 2 <= len(points) <= 60
        for row in points:
            until = [one for one in counted if (one + 1) * hours.get(kind, 1) * 3600 <= row["time"].timestamp() + 1e-3]
            spread = sum((sums[one] - mean * counted[one]) ** 2 for one in until) * clusters / (clusters - 1)
            gain, half = -1000 * sum(sums[one] for one in until) / total, 1000 * t * math.sqrt(spread) / total
            assert (row["gain"], row["low"], row["high"]) == pytest.approx((gain, gain - half, gain + half))
        assert points[-1]["gain"] == pytest.approx(-1000 * mean)


def test_models_against_the_benchmark(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    for row in rows_of(contents, "learners"):
        name = "log_loss" if row["who"] == "model" else "benchmark_log_loss"
        scores = [one["scores"] for one in written[row["kind"]]]
        same_spread(row, (100 * (1 - one[name] / one["base_log_loss"]) for one in scores))


def test_reliability(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    frame = frame_of(contents, "reliability")
    for kind, own in written.items():
        bins = frame.filter(pl.col("kind") == kind).to_dicts()
        deciles = sorted(
            ((one["p"], one["up"], one["rows"]) for model in own for one in model["calibration"]["reliability"]),
            key=lambda one: one[0],
        )
        assert len(bins) == 10
        each = len(deciles) // 10  # deciles of equally many rows fall into bins of equally many deciles
        for number, row in enumerate(bins):
            inside = deciles[number * each : (number + 1) * each]
            rows = sum(one[2] for one in inside)
            up = sum(one[1] * one[2] for one in inside) / rows
            assert row["rows"] == rows
            assert row["p"] == pytest.approx(sum(one[0] * one[2] for one in inside) / rows)
            assert row["up"] == pytest.approx(up)
            effective = rows * 0.5  # label.uniqueness
            wilson = proportion_confint(up * effective, effective, method="wilson")
            assert (row["low"], row["high"]) == pytest.approx(wilson)


def test_importances(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    frame = frame_of(contents, "importances")
    for row in frame.to_dicts():
        weights = [one["importances"]["values"] for one in written[row["kind"]]]
        assert row["share"] == pytest.approx(median(100 * one[row["feature"]] / sum(one.values()) for one in weights))
    sums = frame.group_by("feature", maintain_order=True).agg(pl.col("share").sum())["share"].to_list()
    assert sums == sorted(sums, reverse=True)


def test_equity_and_drawdown(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    for kind, own in written.items():
        points = frame_of(contents, "equity").filter(pl.col("kind") == kind).to_dicts()
        assert len(points) == 59
        total, base, peak = 0.0, 0.0, 0.0
        for day, row in enumerate(points):
            total += 100 * sum(one["trading"]["daily"]["net"][day] for one in own) / len(own)
            base += 100 * sum(one["trading"]["daily"]["base_net"][day] for one in own) / len(own)
            peak = max(peak, total)
            assert f"{row['day']}" == own[0]["trading"]["daily"]["dates"][day]
            assert (row["equity"], row["base"]) == pytest.approx((total, base))
            assert row["drawdown"] == pytest.approx(total - peak)


def test_odds_of_trading(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    for row in rows_of(contents, "odds"):
        name = row["score"].lower().replace(" ", "_")
        same_spread(row, (one["trading"][name] for one in written[row["kind"]]))


def test_changes_of_champions(contents: Contents, folder: Path) -> None:
    decisions = [json.loads(path.read_text()) for path in (folder / "aliases").rglob("*.json")]
    days = Counter(one["at"][:10] for one in decisions)
    found = {f"{row['since']}": row["changes"] for row in rows_of(contents, "champions")}
    assert found == days
    assert set(frame_of(contents, "champions")["change"]) == {"champion promoted"}
    assert sum(found.values()) == 40


def test_bars_that_were_lost(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    by_series = {f"synthetic/{one['key']['symbol']}": one["data"] for one in written["analyst 1m"]}
    frame = frame_of(contents, "quality").pivot("cause", index=["series", "gaps", "bars"], values="share")
    assert set(frame["series"]) == set(by_series)
    minutes = 365 * 24 * 60 + 1
    for row in frame.to_dicts():
        data = by_series[row["series"]]
        counts, samples = data["counts"], data["samples"]
        assert row["rejected"] == pytest.approx(100 * counts["high_below_low"] / counts["rows_read"])
        assert row["missing"] == pytest.approx(100 * (1 - counts["rows_kept"] / minutes))
        assert row["filled"] == pytest.approx(100 * samples["filled"] / (samples["bars"] + samples["filled"]))
        assert row["thin"] == pytest.approx(100 * samples["low_coverage"] / (samples["bars"] + samples["low_coverage"]))
        assert row["warm-up"] == pytest.approx(100 * samples["warmup"] / samples["bars"])
        assert row["gaps"] == samples["segments"] - 1
        assert row["bars"] == samples["bars"]


def test_times_of_workers_add_up(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    seconds: dict[str, float] = defaultdict(float)
    for own in written.values():
        for one in own:
            timing = one["timing"]
            spent = datetime.fromisoformat(timing["finished_at"]) - datetime.fromisoformat(timing["started_at"])
            seconds[timing["worker"]] += spent / timedelta(seconds=1)
    frame = frame_of(contents, "workers").with_columns(
        spent=pl.col("busy") * (pl.col("until") - pl.col("begun")).dt.total_microseconds() / 1e6
    )
    found = dict(frame.group_by("worker").agg(pl.col("spent").sum()).rows())
    assert found == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(("picture", "names"), [("cost", ("seconds", "cpu_seconds")), ("memory", ("peak_rss_mb",))])
def test_costs(contents: Contents, folder: Path, picture: str, names: tuple[str, ...]) -> None:
    outcomes = json.loads((folder / "runs" / f"{RUN_ID}.json").read_text())["outcomes"]
    for row in rows_of(contents, picture):
        name = row["what"] if picture == "cost" else names[0]
        own = [one for one in outcomes if f"{one['model_type']} {one['timeframe']}" == row["kind"]]
        same_spread(row, (one[name] for one in own if one["status"] == "trained"))


def test_trials_of_studies(contents: Contents, folder: Path) -> None:
    paths = sorted((folder / "tuning").rglob("trials/*.json"))
    losses = []
    for path in paths:
        one = json.loads(path.read_text())
        blocks = one["losses" if one["state"] == "complete" else "first"]["synthetic/COIN0000USDT"].values()
        losses.append(sum(block[1] for block in blocks) / sum(block[0] for block in blocks))
    rows = rows_of(contents, "trials")
    assert [row["saved"] for row in rows] == pytest.approx([1000 * (losses[0] - loss) for loss in losses])
    assert {row["study"] for row in rows} == {"analyst 15m"}
    assert [row["state"] for row in rows] == ["given up" if number % 4 == 3 else "complete" for number in range(12)]
    complete = {number: loss for number, loss in enumerate(losses) if number % 4 != 3}
    assert [row["trial"] for row in rows if row["chosen"]] == [min(complete, key=complete.__getitem__)]


def test_drift_of_labels(contents: Contents, written: dict[str, list[dict[str, Any]]]) -> None:
    for row in rows_of(contents, "drift"):
        shares = [one["class_shares"] for one in written[row["kind"]]]
        same_spread(row, (100 * (one["holdout"]["up"] - one["training"]["up"]) for one in shares))


def test_the_report_gives_the_frames_that_it_shows(contents: Contents) -> None:
    frames = report(contents, made_at=datetime.fromisoformat("2026-03-02T00:00:00+00:00")).frames
    assert {name: frame.height for name, frame in frames.items()} == {
        one.name: one.data(contents).height for one in PICTURES
    }
    assert all(frame.height for frame in frames.values())
    assert max(frame.height for frame in frames.values()) < MOST_CELLS


@pytest.mark.parametrize(
    ("decision", "change"),
    [
        ({"alias": "champion", "command": "promote"}, "champion promoted"),
        ({"alias": "champion", "command": "rollback"}, "champion rolled back"),
        ({"alias": "challenger", "command": "compare", "after": "b"}, "challenger named"),
        ({"alias": "challenger", "command": "compare", "after": None}, "challenger released"),
    ],
)
def test_every_change_has_a_name(decision: dict[str, Any], change: str, contents: Contents) -> None:
    one = replace(contents, decisions=[{**decision, "at": "2026-03-01T00:00:00+00:00"}])
    assert frame_of(one, "champions")["change"].to_list() == [change]
    assert change in CHANGES


def test_the_timeline_has_every_task_of_the_log(folder: Path) -> None:
    """Also those that failed, and those whose worker died; in slots that are told by plain loops."""
    registry = Storage(str(folder))
    log = EventLog(registry, RUN_ID)
    ran = datetime(2024, 1, 1, 12, tzinfo=UTC)
    spans: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    log.run_began("train", planned=30, settled=0)
    for number in range(30):
        begun, seconds, pid = 7.0 * (number // 3), 5.0 + number % 3, 100 + number % 3
        key = Key("synthetic", f"COIN{number:04d}USDT", "1h", "analyst")
        started, ended = (
            (ran + timedelta(seconds=at)).isoformat(timespec="milliseconds") for at in (begun, begun + seconds)
        )
        one = of(key, "failed" if number == 4 else "trained")
        error = {"type": "X", "message": "x", "where": ""} if number == 4 else None
        log.task_ended(
            replace(one, node="box", pid=pid, started_at=started, finished_at=ended, seconds=seconds,
                    cpu_seconds=0.5 * seconds, peak_rss_mb=300.0 + number, error=error)
        )  # fmt: skip
        spans[f"box/{pid}"].append((begun, begun + seconds, 300.0 + number))
    log.close()
    try:
        frame = frame_of(read_contents(registry, run_id=RUN_ID), "workers")
    finally:
        registry.remove(events_path(RUN_ID))
    end = max(until for own in spans.values() for _, until, _ in own)
    slot = end / 60
    assert frame["tasks"].sum() == 30
    assert frame["failed"].sum() == 1
    for row in frame.to_dicts():
        opens = (row["begun"] - ran) / timedelta(seconds=1)
        shares = [(max(0.0, min(until, opens + slot) - max(begun, opens)), peak)
                  for begun, until, peak in spans[row["worker"]]
                  if begun < opens + slot + 1e-6 and until > opens - 1e-6]  # fmt: skip
        busy = sum(spent for spent, _ in shares) / slot
        assert row["busy"] == pytest.approx(busy, abs=1e-4)
        assert row["cpus"] == pytest.approx(0.5 * busy, abs=1e-4)
        assert row["memory"] in {peak for _, peak in shares}


def test_new_bars_are_those_of_the_last_run_that_predicted(folder: Path) -> None:
    registry, random = Storage(str(folder)), Random(3)
    other, later = "20990101_000000_abcdef", "20990102_000000_abcdef"
    psi: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    for run_id, operation in ((other, "predict"), (later, "train")):
        log = EventLog(registry, run_id)
        log.run_began(operation, planned=20, settled=0)
        for number in range(20 if operation == "predict" else 0):
            key = Key("synthetic", f"COIN{number:04d}USDT", ("1h", "15m")[number % 2], "analyst")
            worst, middle, unusual = random.uniform(0, 2), random.uniform(0, 0.3), number % 3
            drift = {"rows": 900, "features": 3, "worst": [["a", worst, None], ["b", middle, None]],
                     "median": middle, "unusual": unusual}  # fmt: skip
            log.task_ended(Predicted(*key.parts, "predicted", drift=drift))
            psi[f"analyst {key.timeframe}"].append((worst, middle, unusual))
        log.close()
    try:
        frame = frame_of(read_contents(registry), "newest")
    finally:
        for run_id in (other, later):
            registry.remove(events_path(run_id))
    assert frame.height == 4
    for row in frame.to_dicts():
        own = psi[row["kind"]]
        same_spread(row, (one[row["feature"] == "middle one"] for one in own))
        assert row["drifted"] == sum(unusual > 0 for *_, unusual in own)
