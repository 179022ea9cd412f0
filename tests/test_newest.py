"""Newest bars: read in rounds they have the bits of bars that were read at once, and so have predictions."""

import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from job.cluster.bundles import by_series
from job.config.settings import Config, DataSettings, load_config
from job.core.environment import versions
from job.core.errors import DataError
from job.core.keys import Key
from job.core.synth import make_bars
from job.predict.plan import Request
from job.predict.plan import plan as plan_predictions
from job.predict.steps import predict_models, prepare_features
from job.predict.task import Predicted
from job.registry.fingerprints import reading_fingerprint
from job.registry.predictions import PLAIN, read_predictions, table_of, write_predictions
from job.sources.finding import find_series
from job.sources.known import Reading
from job.sources.series import Series
from job.storage.files import Storage
from job.train.run import run
from job.worker.load_bars import in_range, left_out, read_clean
from job.worker.messages import Bundle, Job, Work, pack
from job.worker.newest import ROWS, Newest, read_newest, read_newest_bars
from transforms.bars import duration_us
from transforms.digest import row_hashes

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def bars_of(days: int, *, seed: int = 1, step: str = "1m", dropout: float = 0.01) -> pl.DataFrame:
    """Bars of a random walk with some missing, of which one time in two holds a bar of `step`."""
    bars = make_bars(seed=seed, days=days, dropout=dropout, start=START)
    apart = duration_us(step) // 60_000_000
    shown = ((pl.col("timestamp") - START).dt.total_minutes() // apart).alias("bar")
    kept = bars.with_columns(shown).unique("bar", keep="first", maintain_order=True).drop("bar")
    return kept.with_columns(pl.col("timestamp").dt.truncate(step))


def write(path: Path, rows: pl.DataFrame, modified: datetime | None = None, zone: str = "UTC") -> None:
    """Write rows as the suffix says, text in local times of `zone`.

    The time of change is that at which the last bar is over, unless given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    local = rows.with_columns(pl.col("timestamp").dt.convert_time_zone(zone).dt.strftime("%Y-%m-%dT%H:%M:%S"))
    text = local.write_csv().encode()
    if path.suffix == ".parquet":
        rows.write_parquet(path)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo(f"{path.stem}.csv"), text)
    else:
        path.write_bytes(text)
    stamp = (modified or rows["timestamp"].sort()[-1] + timedelta(days=1)).timestamp()
    os.utime(path, (stamp, stamp))


def series_in(folder: Path, **data: Any) -> tuple[Series, DataSettings]:
    chosen = DataSettings.model_validate({"input": str(folder), **data})
    found = find_series(chosen)
    assert not found.problems
    (series,) = found.series
    return series, chosen


def again(folder: Path, known: Reading | None, since: datetime | None, *, flow: bool = False, **data: Any) -> Newest:
    """Read the newest bars and all bars, which must be equal from `since` on, and return the former."""
    series, chosen = series_in(folder, **data)
    newest = read_newest(series, chosen, since=since, known=known, flow=flow)
    cleaned, _ = read_clean(series, chosen, flow=flow)
    bars, info = in_range(series, cleaned, chosen)
    first = since or info.first
    assert_frame_equal(
        newest.bars.filter(pl.col("timestamp") >= first), bars.filter(pl.col("timestamp") >= first), check_exact=True
    )
    assert newest.whole or newest.bars.height < bars.height
    same = ("timeframe", "offset_us", "first", "last", "counts", "files", "zone", "sessions")
    assert [getattr(newest.info, name) for name in same] == [getattr(info, name) for name in same]
    assert newest.info.warnings[-1:] == left_out(series, info.counts)[-1:] or not left_out(series, info.counts)
    at_once = newest if newest.whole else read_newest(series, chosen, since=None, known=None, flow=flow)
    assert newest.reading.digest == at_once.reading.digest
    assert newest.reading.hashes == int(row_hashes(bars).sum(dtype=np.uint64))
    record = json.dumps(newest.reading.record())
    assert Reading.of_record(json.loads(record)) == newest.reading
    assert len(record) < 2100
    return newest


def days(bars: pl.DataFrame, every: str = "1d") -> list[pl.DataFrame]:
    return [part for _, part in bars.group_by(pl.col("timestamp").dt.truncate(every), maintain_order=True)]


@pytest.mark.parametrize("suffix", [*(pytest.param(one, marks=pytest.mark.slow) for one in ("csv", "zip")), "parquet"])
@pytest.mark.parametrize("step", ["1m", "1h"])
def test_a_file_a_day(suffix: str, step: str, tmp_path: Path) -> None:
    known: Reading | None = None
    parts = days(bars_of(18, step=step))
    for number, part in enumerate(parts):
        write(tmp_path / f"BTCUSDT-{step}-{part['timestamp'][0]:%Y-%m-%d}.{suffix}", part)
        if number < 8:
            continue
        newest = again(tmp_path, known, part["timestamp"][0] - timedelta(days=2))
        assert newest.whole == (number == 8), newest.why
        assert newest.revised_from is None
        known = newest.reading


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """How a history is cut into files, and what is wrong with it."""
    return {
        "seed": draw(st.integers(0, 10**6)),
        "step": draw(st.sampled_from(["1m", "5m", "1h"])),
        "days": draw(st.integers(12, 30)),
        "suffix": draw(st.sampled_from(["csv", "parquet", "zip"])),
        "every": draw(st.sampled_from(["1d", "3d", "1mo", "random"])),
        "named": draw(st.booleans()),
        "faults": draw(st.sets(st.sampled_from(FAULTS), max_size=3)),
        "data": draw(st.sampled_from(SETTINGS)),
        "back": draw(st.integers(0, 4)),
    }


FAULTS = ("late", "repeated", "contradicted", "border", "broken", "revised", "gap", "closed", "newest first", "growing")
SETTINGS: Sequence[dict[str, Any]] = (
    {},
    {},
    {"duplicates": "last"},
    {"duplicates": "fullest"},
    {"gaps": "segment"},
    {"gaps": "ignore"},
    {"end": START + timedelta(days=14, hours=3)},
    {"start": START + timedelta(days=3), "lookback_days": 5},
    {"bar_time": "close"},
    {"splits": {"BTCUSDT": {"2024-01-09": 2}}},
    {"timezone": "America/New_York"},
)


def cut(rows: pl.DataFrame, every: str, random: np.random.Generator) -> list[pl.DataFrame]:
    if every != "random":
        return days(rows, every)
    places = sorted(random.choice(np.arange(1, rows.height), min(15, rows.height - 1), replace=False).tolist())
    return [rows[first:last] for first, last in pairwise([0, *places, rows.height])]


def faulty(rows: pl.DataFrame, faults: set[str], random: np.random.Generator) -> pl.DataFrame:
    """Rows with what may be wrong in a file of them."""
    if "gap" in faults and random.random() < 0.3:
        first = int(random.integers(rows.height))
        rows = pl.concat([rows[:first], rows[first + int(random.integers(1, 400)) :]]) if first > 20 else rows
    if "repeated" in faults and random.random() < 0.5:
        rows = pl.concat([rows, rows[int(random.integers(rows.height)) :][:3]])
    if "contradicted" in faults and random.random() < 0.5:
        rows = pl.concat([rows, rows[-2:].with_columns(pl.col("volume") + 1)])
    if "broken" in faults and random.random() < 0.5:
        place = pl.int_range(pl.len()) == int(random.integers(rows.height))
        wrong = {0: pl.col("low") * 0.0, 1: pl.col("low") * 2, 2: pl.col("low") * float("nan")}[int(random.integers(3))]
        rows = rows.with_columns(low=pl.when(place).then(wrong).otherwise("low"))
    return rows.reverse() if "newest first" in faults else rows


def rounds(case: dict[str, Any], folder: Path) -> Iterator[pl.DataFrame]:
    """Write a history in rounds; yield the bars of each, as they were before anything went wrong with them."""
    random, faults = np.random.default_rng(case["seed"]), case["faults"]
    rows = bars_of(case["days"], seed=case["seed"] % 50, step=case["step"])
    if "closed" in faults:
        rows = rows.filter(pl.col("timestamp").dt.weekday() < 6)
    parts = cut(rows, case["every"], random)
    zone = case["data"].get("timezone", "UTC")
    name = f"BTCUSDT-{case['step']}-" if case["named"] else "BTCUSDT-"
    late: pl.DataFrame | None = None
    for number, part in enumerate(parts):
        path = folder / f"{name}{START + timedelta(days=number):%Y-%m-%d}.{case['suffix']}"
        held = part
        if late is not None:
            held, late = pl.concat([late, held]), None
        if "border" in faults and number:
            held = pl.concat([parts[number - 1][-1:], held])
        if "late" in faults and random.random() < 0.3 and held.height > 30:
            late, held = held[10:12], pl.concat([held[:10], held[12:]])
        if "growing" in faults and part.height > 4:
            write(path, faulty(held[: held.height // 2], faults, random), zone=zone)
            yield part[: part.height // 2]
        write(path, faulty(held, faults, random), zone=zone)
        if "revised" in faults and number > 3 and random.random() < 0.3:
            older = int(random.integers(max(0, number - 4), number))
            again_path = folder / f"{name}{START + timedelta(days=older):%Y-%m-%d}.{case['suffix']}"
            write(
                again_path,
                parts[older].with_columns(pl.col("volume") + 1),
                parts[older]["timestamp"][-1] + 3 * MINUTE,
                zone,
            )
        yield part


def one_history(case: dict[str, Any], folder: Path) -> list[str]:
    """Read a history in rounds and compare each with a reading at once; return why it was read whole."""
    known: Reading | None = None
    why = []
    for part in rounds(case, folder):
        if part["timestamp"][0] < START + timedelta(days=5):
            continue
        newest = again(folder, known, part["timestamp"][0] - timedelta(days=case["back"]), **case["data"])
        why.append(newest.why)
        known = newest.reading
    return why


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=histories())
def test_random_histories(case: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            one_history(case, Path(folder))
        except DataError:
            series, data = series_in(Path(folder), **case["data"])
            with pytest.raises(DataError, match="rows break a rule"):
                read_clean(series, data)


TRAINER = {
    "analyst_models": {"timeframes": ["15m", "1m"], "n_estimators": 10},
    "tactician_models": {"n_estimators": 10},
    "cv_folds": 2,
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """Models of the first ten days."""
    folder = tmp_path_factory.mktemp("models")
    for part in days(bars_of(40)[:14_000]):
        write(folder / "bars" / f"BTCUSDT-1m-{part['timestamp'][0]:%Y-%m-%d}.parquet", part)
    assert run(config_for(folder / "bars", folder / "models")).exit_status == 0
    return folder / "models"


def config_for(bars: Path, models: Path, **data: Any) -> Config:
    trainer = {**TRAINER, "model_directory": str(models)}
    return load_config({"data": {"input": str(bars), **data}, "model_trainer": trainer}).with_absolute_paths()


def predict(config: Config, output: Path) -> dict[str, Predicted]:
    """Predict in this process, by the steps of the pipeline."""
    plan = plan_predictions(config, Request(str(output)))
    job = Job("20240101_000000_000000", config, str(output), versions())
    found = {one.path: one for one in plan.settled}
    for bundle in by_series(plan.tasks):
        for bars in read_newest_bars(pack(bundle), job=job):
            for features in prepare_features(bars, job=job):
                for table in predict_models(features, job=job):
                    outcome = Predicted.from_json(table.column("outcome").to_pylist()[0])
                    assert outcome.status != "failed", outcome.error
                    found[outcome.path] = outcome
    return found


@pytest.mark.slow
def test_fifty_rounds_predict_as_one(models: Path, tmp_path: Path) -> None:
    bars, rounds, once = tmp_path / "bars", tmp_path / "rounds", tmp_path / "once"
    random, config, added = np.random.default_rng(3), config_for(bars, models), list[bool]()
    for number, part in enumerate(days(bars_of(40))):
        path = bars / f"BTCUSDT-1m-{part['timestamp'][0]:%Y-%m-%d}.parquet"
        if number < 23:
            write(path, part)
            continue
        for share in sorted([*random.random(2), 1.0]):
            write(path, part[: max(1, int(share * part.height))])
            in_rounds = predict(config, rounds)
            added += [content_of(rounds, one).startswith(ROWS) for one in in_rounds.values()]
            if len(added) // len(in_rounds) not in {2, 10, 11, 30, 51}:
                continue
            shutil.rmtree(once, ignore_errors=True)
            for name, one in predict(config, once).items():
                tables = [read_predictions(Storage(str(out)), name)[0].cast(PLAIN) for out in (rounds, once)]
                assert tables[0].equals(tables[1])
                same = in_rounds[name]
                assert (one.rows, one.last, one.counts) == (same.rows, same.last, same.counts)
    assert len(added) == 3 * 51
    assert np.mean(added) > 0.9


def names(folder: Path, suffix: str = "csv") -> list[Path]:
    return sorted(folder.glob(f"*.{suffix}"))


@pytest.fixture(scope="module")
def read_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reading, list[pl.DataFrame]]:
    """A folder with a file a day, what is known of it, and the bars of all days, of which it lacks the last one."""
    folder = tmp_path_factory.mktemp("history")
    parts = days(bars_of(12))
    for part in parts[:-1]:
        write(folder / f"BTCUSDT-1m-{part['timestamp'][0]:%Y-%m-%d}.csv", part)
    return folder, again(folder, None, None).reading, parts


@pytest.fixture
def history(
    read_once: tuple[Path, Reading, list[pl.DataFrame]], tmp_path: Path
) -> Iterator[tuple[Path, Reading, list[pl.DataFrame]]]:
    """The same, to be changed: files are known by their paths, so it is put back as it was."""
    folder, _, _ = read_once
    shutil.copytree(folder, tmp_path / "before")
    yield read_once
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "before", folder)


def put_last(folder: Path, rows: pl.DataFrame, _: pl.DataFrame | None = None) -> None:
    write(folder / "BTCUSDT-1m-2024-01-12.csv", rows)


def scaled(rows: pl.DataFrame, by: float) -> pl.DataFrame:
    return rows.with_columns(pl.col("open", "high", "low", "close") * by)


SINCE = START + timedelta(days=10, hours=12)
Change = Callable[[Path, pl.DataFrame, pl.DataFrame], None]
"""Writes the last day's bars, and what else changes; given these and the bars of the day before."""


def touch(folder: Path, rows: pl.DataFrame, _: pl.DataFrame) -> None:
    put_last(folder, rows)
    os.utime(names(folder)[2])


def remove(folder: Path, rows: pl.DataFrame, _: pl.DataFrame) -> None:
    put_last(folder, rows)
    names(folder)[2].unlink()


def put_first(folder: Path, rows: pl.DataFrame, _: pl.DataFrame) -> None:
    put_last(folder, rows)
    write(folder / "BTCUSDT-1m-2023-12-31.csv", rows.with_columns(pl.col("timestamp") - timedelta(days=12)))


def revise(folder: Path, rows: pl.DataFrame, before: pl.DataFrame) -> None:
    put_last(folder, rows)
    write(names(folder)[-2], pl.concat([before[:900], scaled(before[900:], 1.01)]))


def contradict(folder: Path, rows: pl.DataFrame, before: pl.DataFrame) -> None:
    put_last(folder, pl.concat([scaled(before[-9:], 1.01), rows]))


def put(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Change:
    return lambda folder, rows, _: put_last(folder, change(rows))


OF_BEFORE = "its newest files hold rows of a time that was read before"
CHANGED = "files that were read before have changed"
DOUBTS: dict[str, tuple[Change, str, dict[str, Any]]] = {
    "settings": (put_last, "files are read in another way", {"max_rejected": 0.2}),
    "sessions wanted": (put_last, "all bars tell the sessions of its market", {"gaps": "sessions"}),
    "an old file touched": (touch, CHANGED, {}),
    "an old file gone": (remove, CHANGED, {}),
    "a file before all": (put_first, CHANGED, {}),
    "a late row": (
        put(lambda rows: pl.concat([rows, rows[:1].with_columns(timestamp=START + MINUTE / 2)])),
        OF_BEFORE,
        {},
    ),
    "no time": (put(lambda rows: pl.concat([rows, rows[:1].with_columns(timestamp=None)])), OF_BEFORE, {}),
    "another grid": (
        put(lambda rows: rows.with_columns(pl.col("timestamp") + timedelta(seconds=30))),
        "its newest bars are on no grid, or on another one",
        {},
    ),
    "another volume": (
        put(lambda rows: rows.rename({"volume": "base_volume"})),
        "its newest files are understood together with all others",
        {},
    ),
    "a jump": (put(lambda rows: scaled(rows, 100)), "prices jump", {}),
    "a revision": (revise, "bars are others than before", {}),
    "a repetition that contradicts": (contradict, "bars are others than before", {}),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_doubts_have_the_whole_series_read(name: str, history: tuple[Path, Reading, list[pl.DataFrame]]) -> None:
    folder, known, parts = history
    change, why, data = DOUBTS[name]
    change(folder, parts[-1], parts[-2])
    newest = again(folder, known, SINCE, **data)
    assert newest.whole
    assert newest.why == why


def test_bars_from_before_all_cuts(history: tuple[Path, Reading, list[pl.DataFrame]]) -> None:
    folder, known, parts = history
    put_last(folder, parts[-1])
    assert again(folder, known, START).why == "bars are needed from before all places where it can be cut"
    assert again(folder, None, SINCE).why == "nothing is known of it"
    assert again(folder, known, None).why == "all bars are asked for"
    assert not again(folder, known, START + timedelta(days=7)).whole


def test_sessions_may_come_one_day(history: tuple[Path, Reading, list[pl.DataFrame]]) -> None:
    folder, known, parts = history
    put_last(folder, parts[-1])
    assert known.no_sessions_until is not None
    assert known.no_sessions_until > START + timedelta(days=50)
    soon = replace(known, no_sessions_until=parts[-1]["timestamp"][-1])
    assert again(folder, soon, SINCE).why == "all bars tell whether the market has sessions"
    assert not again(folder, replace(known, no_sessions_until=parts[-1]["timestamp"][-1] + MINUTE), SINCE).whole


def test_no_stamp_no_doubt(history: tuple[Path, Reading, list[pl.DataFrame]]) -> None:
    folder, known, _ = history
    series, data = series_in(folder)
    bare = replace(series, files=tuple(replace(file, stamp="") for file in series.files))
    newest = read_newest(bare, data, since=SINCE, known=known, flow=False)
    assert newest.why == newest.reading.whole == "the storage does not say when files change"


@pytest.mark.parametrize(
    ("rows", "every", "why", "data"),
    [
        (bars_of(10), "1mo", "one file holds it", {}),
        (bars_of(10, step="15m").with_columns(volume=0.0), "1d", "its files are understood together", {}),
        (bars_of(10, dropout=0.5), "1d", "its grid is decided by all bars", {}),
    ],
)
def test_what_is_always_read_whole(
    rows: pl.DataFrame, every: str, why: str, data: dict[str, Any], tmp_path: Path
) -> None:
    for part in days(rows, every):
        write(tmp_path / f"BTCUSDT-{part['timestamp'][0]:%Y-%m-%d}.csv", part)
    known = again(tmp_path, None, None, **data).reading
    assert known.whole == why
    assert again(tmp_path, known, START + timedelta(days=9), **data).why == why


def test_files_of_all_time_cannot_be_cut(tmp_path: Path) -> None:
    rows = bars_of(10)
    for number in range(4):
        write(tmp_path / f"BTCUSDT-1m-{START + timedelta(days=number):%Y-%m-%d}.csv", rows.gather_every(4, number))
    assert again(tmp_path, None, None).reading.whole == "no file begins where the ones before it end"


def test_days_on_the_clocks_of_a_zone_are_read_whole(tmp_path: Path) -> None:
    opened = pl.datetime_range(
        START.replace(tzinfo=None), datetime(2024, 12, 1), "1d", time_zone="America/New_York", eager=True
    )
    rows = bars_of(1)[: opened.len()].with_columns(timestamp=opened.dt.convert_time_zone("UTC"))
    for part in days(rows, "1mo"):
        write(tmp_path / f"BTCUSDT-1d-{part['timestamp'][0]:%Y-%m-%d}.csv", part)
    assert again(tmp_path, None, None).reading.whole == "its grid is decided by all bars"


def test_too_many_bad_rows_are_refused_as_ever(history: tuple[Path, Reading, list[pl.DataFrame]]) -> None:
    folder, known, parts = history
    put_last(folder, parts[-1].with_columns(low=pl.col("high") * 2))
    series, data = series_in(folder, max_rejected=0.01)
    known = replace(known, how=again_how(series, data))
    with pytest.raises(DataError, match="rows break a rule"):
        read_newest(series, data, since=SINCE, known=known, flow=False)


def test_a_new_file_that_cannot_be_read_is_refused_as_ever(history: tuple[Path, Reading, list[pl.DataFrame]]) -> None:
    folder, known, parts = history
    put_last(folder, parts[-1].with_columns(close=pl.lit("much")))
    series, data = series_in(folder)
    with pytest.raises(DataError, match="much"):
        read_newest(series, data, since=SINCE, known=known, flow=False)


def again_how(series: Series, data: DataSettings) -> str:
    return reading_fingerprint(series, data, flow=False)[:16]


@pytest.mark.parametrize("changed", [0, 3, 7, 10])
def test_revisions_are_told_by_the_part_that_they_are_in(
    changed: int, history: tuple[Path, Reading, list[pl.DataFrame]]
) -> None:
    folder, known, parts = history
    put_last(folder, parts[-1])
    write(names(folder)[changed], scaled(parts[changed], 1.001))
    revised = again(folder, known, SINCE).revised_from
    assert revised is not None
    earliest = max((cut.start for cut in known.cuts if cut.start <= parts[changed]["timestamp"][0]), default=START)
    assert earliest <= revised <= parts[changed]["timestamp"][10]


def test_what_comes_later_is_no_revision_and_other_times_are_one_of_all(
    history: tuple[Path, Reading, list[pl.DataFrame]],
) -> None:
    folder, known, parts = history
    put_last(folder, parts[-1])
    assert again(folder, known, SINCE).revised_from is None
    assert again(folder, known, SINCE, bar_time="close").revised_from == START - MINUTE


def content_of(output: Path, outcome: Predicted) -> str:
    footer = read_predictions(Storage(str(output)), outcome.path)[1]
    assert footer is not None
    return footer.content


def with_other_rows(path: Path, place: int) -> None:
    """Change one probability in a file of predictions, and leave its footer as it is."""
    registry = Storage(str(path.parent))
    table, footer = read_predictions(registry, path.name)
    assert footer is not None
    frame = pl.DataFrame(pl.from_arrow(table.cast(PLAIN)))
    up = pl.when(pl.int_range(pl.len()) == place % frame.height).then(0.123).otherwise("probability_up")
    write_predictions(registry, path.name, table_of(frame.with_columns(probability_up=up)), footer)


@pytest.mark.slow
def test_rows_are_added_where_nothing_else_changed(models: Path, tmp_path: Path) -> None:
    bars, output = tmp_path / "bars", tmp_path / "out"
    parts = days(bars_of(40))

    def put_day(number: int, rows: pl.DataFrame | None = None) -> None:
        write(
            bars / f"BTCUSDT-1m-{START + timedelta(days=number):%Y-%m-%d}.parquet",
            parts[number] if rows is None else rows,
        )

    def predicted(**data: Any) -> set[tuple[str, bool]]:
        found = predict(config_for(bars, models, **data), output)
        shutil.rmtree(tmp_path / "once", ignore_errors=True)
        for path, one in predict(config_for(bars, models, **data), tmp_path / "once").items():
            frames = [read_predictions(Storage(str(out)), path)[0].cast(PLAIN) for out in (output, tmp_path / "once")]
            assert frames[0].equals(frames[1])
            assert (one.rows, one.last, one.counts) == (found[path].rows, found[path].last, found[path].counts)
        return {(one.status, content_of(output, one).startswith(ROWS)) for one in found.values()}

    for number in range(30):
        put_day(number)
    assert predicted() == {("predicted", False)}
    put_day(30)
    assert predicted() == {("predicted", True)}
    assert predicted() == {("current", True)}
    os.utime(bars / "BTCUSDT-1m-2024-01-03.parquet")  # all is read, and nothing is others than before
    assert predicted() == {("current", True)}
    put_day(31)
    put_day(29, scaled(parts[29], 1.01))
    assert predicted() == {("predicted", False)}
    put_day(32)
    for path in output.rglob("*.parquet"):
        with_other_rows(path, -3)
    assert predicted() == {("predicted", False)}
    put_day(33)
    assert predicted(lookback_days=5) == {("predicted", False)}
    put_day(34)
    assert predicted(lookback_days=5) == {("predicted", False)}
    assert predicted(start=START + timedelta(days=3)) == {("predicted", False)}
    put_day(35)
    assert predicted(start=START + timedelta(days=3)) == {("predicted", True)}


def test_tasks_that_know_other_things_are_read_whole() -> None:
    series_bars = bars_of(3)
    reading = Reading("x", "1m", 0, "UTC", (), (), (), START, series_bars["timestamp"][-1], 1)
    other = replace(reading, hashes=2)
    key, series = Key("x", "Y", "1m", "analyst"), Series("x", "Y", "1m", ())

    def bundle(since: Sequence[datetime | None], known: Sequence[Reading | None]) -> Bundle[Work]:
        told = zip(since, known, strict=True)
        works = (Work(key=key, series=(series,), seconds=0.0, memory=0, since=at, reading=one) for at, one in told)
        return Bundle(series, tuple(works))

    later = bundle([START, START + MINUTE], [reading, reading])
    assert (later.since, later.reading) == (START, reading)
    early = bundle([START, None], [reading, reading])
    assert (early.since, early.reading) == (None, reading)
    assert bundle([START, START], [reading, other]).reading is None
    assert bundle([START, START], [reading, None]).reading is None


def test_flow_is_read_alone_as_with_all(tmp_path: Path) -> None:
    known: Reading | None = None
    whole = []
    for number, part in enumerate(days(bars_of(16))):
        traded = pl.int_range(1, pl.len() + 1)
        rows = part.with_columns(quote_volume=pl.col("volume") * pl.col("close"), trades=traded)
        put_day = tmp_path / f"BTCUSDT-1m-{part['timestamp'][0]:%Y-%m-%d}.csv"
        write(put_day, rows if number < 15 else rows.with_columns(trades=traded + 0.5))
        if number > 9:
            newest = again(tmp_path, known, part["timestamp"][0] - timedelta(days=2), flow=True)
            known = newest.reading
            whole.append(newest.whole)
            assert ("trades" in known.columns) == (number < 15)
            assert "quote_volume" in known.columns
    assert whole == [True, *[False] * 4, True]


def test_sums_of_hashes_tell_rows_wherever_they_are_cut() -> None:
    rows = bars_of(2)
    hashes = row_hashes(rows)
    assert len({*hashes.tolist()}) == rows.height
    assert (np.concatenate([row_hashes(rows[:700]), row_hashes(rows[700:])]) == hashes).all()
    swapped = rows.with_columns(pl.col("close").shift(-1, fill_value=rows["close"][0]))
    assert row_hashes(swapped).sum() != hashes.sum()
    null, nan = (rows[:1].with_columns(volume=pl.lit(value, pl.Float64)) for value in (None, float("nan")))
    assert row_hashes(null) == row_hashes(nan)
