"""Cleaning, digests and resampling."""

import hashlib
import itertools
import struct
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.oracles_transforms import MINUTE, bar_rows, bars_frame, oracle_resample, random_bars
from transforms.bars import RULES, TIME, clean, duration_us, timeframe_name
from transforms.digest import content_digest
from transforms.resampling import resample

NAN = float("nan")
GOOD: dict[str, Any] = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 5.0}
AT = 30 * MINUTE

OFFENDERS: dict[str, list[dict[str, Any]]] = {
    "no_timestamp": [{**GOOD, "timestamp": None}],
    "conflicting_duplicate": [{**GOOD, "timestamp": AT}, {**GOOD, "timestamp": AT, "volume": 6.0}],
    "not_finite": [{**GOOD, "timestamp": AT, "close": NAN}],
    "non_positive_price": [{**GOOD, "timestamp": AT, "low": 0.0}],
    "negative_volume": [{**GOOD, "timestamp": AT, "volume": -1.0}],
    "high_below_low": [{**GOOD, "timestamp": AT, "high": 8.0}],
    "outside_range": [{**GOOD, "timestamp": AT, "close": 12.5}],
    "absurd_price": [{**GOOD, "timestamp": 9 * MINUTE + 1, "high": 1200.0}],  # between bars, whose closes judge it
    "off_grid": [{**GOOD, "timestamp": AT + 1}],
}


def series(count: int = 20) -> list[dict[str, Any]]:
    return [{"timestamp": number * MINUTE, **GOOD} for number in range(count)]


@pytest.mark.parametrize(
    ("timeframe", "microseconds"),
    [("1s", 1_000_000), ("1m", MINUTE), ("15m", 15 * MINUTE), ("4h", 240 * MINUTE), ("1d", 1440 * MINUTE)],
)
def test_duration_and_name_are_inverse(timeframe: str, microseconds: int) -> None:
    assert duration_us(timeframe) == microseconds
    assert timeframe_name(microseconds) == timeframe


def test_name_uses_the_largest_unit() -> None:
    assert timeframe_name(duration_us("60m")) == "1h"
    assert timeframe_name(duration_us("90m")) == "90m"


@pytest.mark.parametrize("timeframe", ["", "m", "0m", "01m", "1", "-1m", "1.5h", "1w", "1M", "1m ", "1m\n", "\u0661m"])
def test_duration_refuses(timeframe: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number and one of s, m, h, d, such as '15m' or '1h'"):
        duration_us(timeframe)


@pytest.mark.parametrize("step", [0, -MINUTE, 500_000])
def test_name_refuses(step: int) -> None:
    with pytest.raises(ValueError, match="no timeframe in whole seconds; set the timeframe of the data"):
        timeframe_name(step)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_each_rule_rejects_its_offender_and_nothing_else(rule: str) -> None:
    offenders = OFFENDERS[rule]
    cleaned = clean(bars_frame([*series(), *offenders]).sort("timestamp", nulls_last=True))
    assert cleaned.rejected["rule"].to_list() == [rule] * len(offenders)
    assert {name: count for name, count in cleaned.counts.items() if count} == {
        "rows_read": 20 + len(offenders),
        rule: len(offenders),
        "rows_kept": 20,
    }
    assert_frame_equal(cleaned.bars, bars_frame(series()))


@pytest.mark.parametrize(
    ("column", "value"), [("open", None), ("volume", None), ("high", float("inf")), ("volume", NAN)]
)
def test_numbers_must_be_finite(column: str, value: float | None) -> None:
    cleaned = clean(bars_frame([*series(), {**GOOD, "timestamp": AT, column: value}]))
    assert cleaned.counts["not_finite"] == 1


@pytest.mark.parametrize("column", ["open", "close"])
@pytest.mark.parametrize("value", [8.9, 12.1])
def test_open_and_close_lie_within_the_range(column: str, value: float) -> None:
    assert clean(bars_frame([*series(), {**GOOD, "timestamp": AT, column: value}])).counts["outside_range"] == 1


def test_a_row_is_rejected_under_the_first_rule_it_breaks() -> None:
    worst = {"timestamp": AT + 1, "open": -1.0, "high": 1.0, "low": 2.0, "close": 9.0, "volume": -1.0}
    assert clean(bars_frame([*series(), worst])).rejected["rule"].to_list() == ["non_positive_price"]


def test_exact_duplicates_collapse_and_are_counted() -> None:
    cleaned = clean(bars_frame([*series(), *series()]))
    assert (cleaned.counts["duplicate"], cleaned.counts["rows_kept"], cleaned.counts["out_of_order"]) == (20, 20, 1)
    assert cleaned.rejected.is_empty()


def test_a_zero_has_no_sign() -> None:
    zero, minus = ({**GOOD, "timestamp": AT, "volume": volume} for volume in (0.0, -0.0))
    cleaned = [clean(bars_frame([*series(), *rows])) for rows in ([zero], [minus], [zero, minus], [minus, zero])]
    assert [each.counts["duplicate"] for each in cleaned] == [0, 0, 1, 1]
    assert len({content_digest(each.bars) for each in cleaned}) == 1


def test_volume_may_be_absent() -> None:
    bars = bars_frame(series()).drop("volume")
    cleaned = clean(bars)
    assert_frame_equal(cleaned.bars, bars)
    assert cleaned.counts["negative_volume"] == 0


def test_other_columns_are_left_behind() -> None:
    assert clean(bars_frame(series()).with_columns(funding=pl.lit(1))).bars.columns == ["timestamp", *GOOD]


def test_timeframe_is_the_most_common_step_and_the_grid_the_most_common_residue() -> None:
    half_past = [{**GOOD, "timestamp": AT + number * 60 * MINUTE} for number in range(8) if number != 3]
    stray = {**GOOD, "timestamp": 10 * 60 * MINUTE}
    cleaned = clean(bars_frame([*half_past, stray]))
    assert (cleaned.timeframe, cleaned.offset_us) == ("1h", AT)
    assert cleaned.rejected["rule"].to_list() == ["off_grid"]


def test_times_before_1970_keep_their_grid() -> None:
    old = [{**GOOD, "timestamp": (number - 100) * 60 * MINUTE + AT} for number in range(20)]
    cleaned = clean(bars_frame(old))
    assert (cleaned.timeframe, cleaned.offset_us, cleaned.counts["rows_kept"]) == ("1h", AT, 20)


def test_given_timeframe_wins() -> None:
    cleaned = clean(bars_frame(series()), timeframe="5m")
    assert (cleaned.timeframe, cleaned.counts["rows_kept"], cleaned.counts["off_grid"]) == ("5m", 4, 16)


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_times_to_infer_a_timeframe(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} distinct bar times: .* set the timeframe of the data"):
        clean(bars_frame(series(count)))
    assert clean(bars_frame(series(count)), timeframe="1m").counts["rows_kept"] == count


def test_steps_below_a_second_are_refused() -> None:
    ticks = [{**GOOD, "timestamp": number * 1000} for number in range(5)]
    with pytest.raises(ValueError, match="bars 1000 microseconds apart"):
        clean(bars_frame(ticks))


def messy_rows(seed: int) -> pl.DataFrame:
    """Good bars, exact and conflicting duplicates, and one offender of each rule."""
    good = random_bars(seed, 60, missing=0.1)
    offenders = bars_frame([row for rows in OFFENDERS.values() for row in rows])
    return pl.concat([good, good.head(7), good.head(3).with_columns(pl.col("volume") + 1), offenders])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 5), order=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 60), max_size=3))
def test_order_and_files_do_not_matter(seed: int, order: int, cuts: list[int]) -> None:
    rows = messy_rows(seed)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=order)
    bounds = [0, *sorted(cuts), rows.height]
    files = [shuffled.slice(start, end - start) for start, end in itertools.pairwise(bounds)]
    one, other = clean(rows), clean(pl.concat(files, rechunk=False))
    assert_frame_equal(one.bars, other.bars, check_exact=True)
    assert_frame_equal(one.rejected, other.rejected, check_exact=True)
    assert content_digest(one.bars) == content_digest(other.bars)
    assert {**one.counts, "out_of_order": 0} == {**other.counts, "out_of_order": 0}
    assert (one.timeframe, one.offset_us) == (other.timeframe, other.offset_us)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_row_is_kept_rejected_or_a_duplicate(seed: int) -> None:
    cleaned = clean(messy_rows(seed))
    counts = cleaned.counts
    assert counts["rows_read"] == counts["duplicate"] + counts["rows_kept"] + sum(counts[rule.name] for rule in RULES)
    assert cleaned.rejected.height == sum(counts[rule.name] for rule in RULES)
    again = clean(cleaned.bars, timeframe=cleaned.timeframe)
    assert_frame_equal(again.bars, cleaned.bars, check_exact=True)


def test_digest_sees_every_column_value_and_name() -> None:
    bars = random_bars(1, 30)
    digests = {
        content_digest(bars),
        content_digest(bars.drop("volume")),
        content_digest(bars.rename({"volume": "amount"})),
    }
    for name in bars.columns:
        changed = pl.when(pl.int_range(pl.len()) == 17).then(pl.col(name).shift(1)).otherwise(name)
        digests.add(content_digest(bars.with_columns(changed.alias(name))))
    assert len(digests) == 3 + len(bars.columns)


def test_digest_is_of_the_values_not_of_the_memory() -> None:
    bars = random_bars(1, 30)
    parts = pl.concat([bars.head(11), bars.tail(19)], rechunk=False)
    assert content_digest(parts) == content_digest(bars)


def test_digest_is_that_of_little_endian_buffers() -> None:
    buffers = [
        struct.pack("<3q", 0, MINUTE, 2 * MINUTE),
        *(struct.pack("<3d", *[value] * 3) for value in GOOD.values()),
    ]
    headers = ["timestamp:int64:3;", *(f"{name}:float64:3;" for name in GOOD)]
    content = b"".join(header.encode() + buffer for header, buffer in zip(headers, buffers, strict=True))
    assert content_digest(bars_frame(series(3))) == hashlib.sha256(content).hexdigest()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 200),
    times=st.sampled_from([2, 5, 15, 60]),
    offset=st.sampled_from([0, 1, 30]),
    coverage=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
)
def test_resampling_agrees_with_the_oracle(seed: int, count: int, times: int, offset: int, coverage: float) -> None:
    bars = random_bars(seed, count, missing=0.3)
    if bars.is_empty():
        return
    gaps, least = ("segment", coverage) if coverage else ("ignore", 0.8)
    made = resample(
        bars,
        source="1m",
        timeframe=f"{times}m",
        offset_us=offset * MINUTE,
        min_coverage=least,
        gaps=gaps,  # type: ignore[arg-type]
    )
    step = times * MINUTE
    expected = oracle_resample(bar_rows(bars), MINUTE, step, offset * MINUTE, coverage)
    finished = oracle_resample(bar_rows(bars), MINUTE, step, offset * MINUTE, 0)
    assert_frame_equal(
        made.bars, bars_frame(expected).select(made.bars.columns) if expected else bars.clear(), rel_tol=1e-12
    )
    assert made.counts["low_coverage"] == len(finished) - len(expected)


@pytest.mark.parametrize(("last_minute", "unfinished"), [(13, 1), (14, 0), (15, 1), (29, 0)])
def test_a_bar_is_finished_by_its_last_source_bar_or_a_later_one(last_minute: int, unfinished: int) -> None:
    made = resample(bars_frame(series(last_minute + 1)), source="1m", timeframe="15m")
    assert made.counts["unfinished"] == unfinished
    assert made.bars.height == (last_minute + 1) // 15


def test_a_later_bar_finishes_one_whose_last_source_bar_is_missing() -> None:
    rows = [row for row in series(45) if row["timestamp"] not in (14 * MINUTE, 29 * MINUTE)]
    made = resample(bars_frame(rows), source="1m", timeframe="15m")
    assert made.counts == {"unfinished": 0, "low_coverage": 0}
    assert made.bars["volume"].to_list() == [70.0, 70.0, 75.0]


@pytest.mark.parametrize(("kept", "valid"), [(12, True), (11, False)])
def test_four_fifths_of_the_source_bars_must_be_real(kept: int, valid: bool) -> None:
    rows = [row for row in series(30) if row["timestamp"] < kept * MINUTE or row["timestamp"] >= 15 * MINUTE]
    assert resample(bars_frame(rows), source="1m", timeframe="15m").bars.height == 1 + valid
    assert resample(bars_frame(rows), source="1m", timeframe="15m", gaps="ignore").bars.height == 2


def test_the_same_timeframe_is_left_alone() -> None:
    bars = random_bars(3, 50, missing=0.2)
    made = resample(bars, source="60m", timeframe="1h")
    assert_frame_equal(made.bars, bars, check_exact=True)
    assert made.counts == {"unfinished": 0, "low_coverage": 0}


def test_resampling_in_steps_is_the_same_as_at_once() -> None:
    bars = random_bars(4, 600)
    twice = resample(resample(bars, source="1m", timeframe="5m").bars, source="5m", timeframe="1h")
    assert_frame_equal(twice.bars, resample(bars, source="1m", timeframe="1h").bars, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("source", "timeframe", "message"),
    [
        ("15m", "1m", "timeframe 1m is finer than the data's 15m; use 15m or a multiple of it"),
        ("15m", "40m", "timeframe 40m is no multiple of the data's 15m; use one that is"),
    ],
)
def test_resampling_refuses(source: str, timeframe: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resample(bars_frame(series()), source=source, timeframe=timeframe)


@pytest.mark.parametrize(
    ("file", "timeframe", "expected"),
    [
        ("UNIUSDT_M15.csv", "15m", {"rows_read": 87596, "duplicate": 57, "rows_kept": 87539, "out_of_order": 4}),
        ("SOLUSDT_M30.csv", "30m", {"rows_read": 53746, "duplicate": 28, "rows_kept": 53718, "out_of_order": 4}),
        ("LINKUSDT_M30.csv", "30m", {"rows_read": 78836, "non_positive_price": 1, "rows_kept": 78835}),
        ("AAPLUSUSD_M15.csv", "15m", {"rows_read": 43105, "rows_kept": 43105}),
    ],
)
def test_real_bars_with_quirks(shared_data: Path, file: str, timeframe: str, expected: dict[str, int]) -> None:
    raw = pl.read_csv(shared_data / "quirks" / file, separator="\t", infer_schema_length=None)
    raw = (
        raw.rename(str.lower)
        .rename({"time": "timestamp"})
        .with_columns(pl.col("timestamp").str.to_datetime().cast(TIME))
    )
    cleaned = clean(raw)
    assert cleaned.timeframe == timeframe
    assert {name: count for name, count in cleaned.counts.items() if count} == expected


def test_the_digest_tells_the_timeframe_of_the_bars() -> None:
    bars = clean(bars_frame(series(3))).bars
    assert len({content_digest(bars), *(content_digest(bars, timeframe=name) for name in ("1m", "5m"))}) == 3
