"""The last bar of a series is used where it is known to be finished, and left out where it may be running still."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from job.config.settings import Config, load_config
from job.core.environment import versions
from job.core.errors import DataError
from job.core.synth import make_bars
from job.sources.finding import find_series
from job.sources.finished import Written, without_unfinished
from job.storage.listing import list_files
from job.train.plan import plan
from job.worker.load_bars import load_series, read_bars, read_clean
from job.worker.messages import Bundle, Job, pack, unpack
from tests.test_traded_versions import FAST, FAST_ANALYST, metadata_of
from transforms.bars import Cleaned, clean

BARS = make_bars(seed=3, days=5)
LAST: datetime = BARS["timestamp"][-1]
END = LAST + timedelta(minutes=1)
NOTE = "left out the last bar, "


def written(folder: Path, bars: pl.DataFrame = BARS, *, at: datetime, name: str = "A-1m.parquet") -> Path:
    """Write a file that was last changed at a time."""
    bars.write_parquet(folder / name)
    os.utime(folder / name, (at.timestamp(), at.timestamp()))
    return folder / name


def config_of(folder: Path, **data: Any) -> Config:
    trainer = {"model_directory": str(folder / "store"), "analyst_models": FAST_ANALYST}
    return load_config({"data": {"input": str(folder), **data}, "model_trainer": trainer}, list(FAST))


def job_of(folder: Path, **data: Any) -> Job:
    config = config_of(folder, **data)
    return Job(run_id="20240101_000000_aaaaaa", config=config, output=str(folder / "store"), versions=versions())


def last_read(folder: Path, **data: Any) -> tuple[datetime, int, bool]:
    """Return the last bar that is read, how many were left out as unfinished, and whether a note says so."""
    config = config_of(folder, **data)
    (series,) = find_series(config.data).series
    cleaned, notes = read_clean(series, config.data)
    return cleaned.bars["timestamp"][-1], cleaned.counts["unfinished"], any(NOTE in note for note in notes)


USED, LEFT_OUT = (LAST, 0, False), (LAST - timedelta(minutes=1), 1, True)


@pytest.mark.parametrize(
    ("changed_s", "end_s", "expected"),
    [
        (-0.5, None, LEFT_OUT),
        (-50, None, LEFT_OUT),
        (0, None, USED),
        (0.5, None, USED),
        (86_400 * 400, None, USED),
        (-0.5, 0, USED),
        (-0.5, -30, USED),
        (-0.5, 60, LEFT_OUT),
        (0.5, 60, USED),
    ],
)
def test_it_is_used_only_if_known_to_be_finished(
    tmp_path: Path, changed_s: float, end_s: float | None, expected: tuple[datetime, int, bool]
) -> None:
    """Seconds are after the bar's end: when the file was changed, and `data.end`."""
    written(tmp_path, at=END + timedelta(seconds=changed_s))
    data = {} if end_s is None else {"end": (END + timedelta(seconds=end_s)).isoformat()}
    assert last_read(tmp_path, **data) == expected


def test_a_bar_before_the_end_that_is_asked_for_has_a_later_one(tmp_path: Path) -> None:
    written(tmp_path, at=LAST)
    job = job_of(tmp_path, end=(LAST - timedelta(minutes=10)).isoformat())
    (series,) = find_series(job.config.data).series
    _, info = load_series(series, job)
    assert info.last == LAST - timedelta(minutes=11)
    assert not any(NOTE in warning for warning in info.warnings)


def test_a_later_row_shows_it_to_be_finished_even_if_it_is_rejected(tmp_path: Path) -> None:
    bad = BARS.tail(1).with_columns(pl.col("timestamp") + timedelta(minutes=1), low=pl.col("high") * 2)
    written(tmp_path, pl.concat([BARS, bad]), at=LAST)
    assert last_read(tmp_path) == USED


@pytest.mark.parametrize(("first_s", "second_s", "expected"), [(60, -1, LEFT_OUT), (-600, 1, USED)])
def test_the_file_that_holds_it_counts(
    tmp_path: Path, first_s: float, second_s: float, expected: tuple[datetime, int, bool]
) -> None:
    for number, (rows, seconds) in enumerate(((BARS[:3000], first_s), (BARS[3000:], second_s))):
        written(tmp_path, rows, at=END + timedelta(seconds=seconds), name=f"A-1m-2024-01-0{number + 1}.parquet")
    assert last_read(tmp_path) == expected


def cleaned_of(bars: pl.DataFrame) -> Cleaned:
    return clean(bars, timeframe="1m")


def test_what_no_listing_tells_is_not_known() -> None:
    cleaned, (note,) = without_unfinished(cleaned_of(BARS), [Written(LAST, None)], end=None)
    assert (cleaned.bars.height, cleaned.counts["unfinished"]) == (BARS.height - 1, 1)
    assert note.endswith(f"with data.end: {END:%Y-%m-%dT%H:%M:%SZ} it is used")


def test_a_day_ends_when_its_clocks_say_so() -> None:
    """On the day on which clocks go back in New York, a bar of a day lasts 25 hours."""
    days = pl.datetime_range(
        datetime(2024, 1, 1), datetime(2024, 11, 3), "1d", time_zone="America/New_York", eager=True
    )
    price = pl.lit(1.0)
    bars = pl.DataFrame({"timestamp": days.dt.convert_time_zone("UTC")}).with_columns(
        open=price, high=price, low=price, close=price
    )
    cleaned = clean(bars, timeframe="1d", zones=("America/New_York",))
    ends = datetime(2024, 11, 4, 5, tzinfo=UTC)
    for seconds, unfinished in ((-1, 1), (0, 0)):
        files = [Written(bars["timestamp"][-1], ends.timestamp() + seconds)]
        assert without_unfinished(cleaned, files, end=None)[0].counts["unfinished"] == unfinished


def test_a_series_of_one_running_bar_is_refused_with_the_remedy(tmp_path: Path) -> None:
    written(tmp_path, BARS.tail(1), at=LAST)
    config = config_of(tmp_path)
    (series,) = find_series(config.data).series
    with pytest.raises(
        DataError, match=r"unknown/A: left out the last bar.* with data\.end: .*; there is no other bar"
    ):
        read_clean(series, config.data)
    assert read_clean(series, config_of(tmp_path, end=END.isoformat()).data)[0].bars.height == 1


def test_training_and_prediction_leave_out_the_same_and_plan_says_so(tmp_path: Path) -> None:
    written(tmp_path, at=LAST)
    job = job_of(tmp_path)
    (task,) = plan(job.config).tasks
    (table,) = read_bars(pack(Bundle(task.series[0], (task,))), job=job)
    ((row, predicted),) = unpack(table)
    trained, info = load_series(task.series[0], job)
    assert trained.equals(predicted)
    assert (info.last, info.digest, info.counts["unfinished"]) == (LEFT_OUT[0], row.info.digest, 1)
    metadata = metadata_of(job)
    assert metadata["data"]["counts"]["unfinished"] == 1
    assert any(NOTE in warning for warning in metadata["warnings"])
    assert "unknown/A: without a last bar that nothing showed to be finished" in plan(job.config).notes
    written(tmp_path, at=END)
    (task,) = plan(job.config).tasks
    assert task.to_check
    assert not plan(job.config).current


@pytest.mark.parametrize(
    ("info", "modified"),
    [
        ({"mtime": 1_704_067_200.5, "created": 1.0}, 1_704_067_200.5),
        ({"LastModified": datetime(2024, 1, 1, tzinfo=UTC)}, 1_704_067_200.0),
        ({"last_modified": datetime(2024, 1, 1)}, 1_704_067_200.0),
        ({"updated": "2024-01-01T00:00:00.000Z"}, 1_704_067_200.0),
        ({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, 1_704_067_200.0),
        ({"ETag": "abc", "updated": "yesterday"}, None),
        ({"Last-Modified": "yesterday, in the evening"}, None),
        ({"ETag": "abc"}, None),
    ],
)
def test_storages_tell_in_their_own_way_when_a_file_was_changed(
    info: dict[str, Any], modified: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, at=END)
    assert list_files(str(path), {})[0].modified == END.timestamp()
    monkeypatch.setattr("job.storage.listing._infos", lambda _fs, name: {name: {"type": "file", "size": 1, **info}})
    assert list_files(str(path), {})[0].modified == modified
