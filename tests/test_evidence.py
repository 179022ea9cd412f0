"""Evidence of week after week: the test of all rows together, no row twice, and verdicts that are right in the end."""

import json
import math
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom

from job.learning.comparison import Comparison, compare, row_sums, verdict
from job.learning.evidence import MOST_BLOCKS, SUMS, Evidence, block_times, gather
from tests.worlds import in_two_processes

Floats = npt.NDArray[np.float64]
HORIZON = 10
HOUR_US = 3_600_000_000
WEEK = 168
MARGIN = 0.001


def rows_of(seed: int, count: int) -> tuple[npt.NDArray[np.int64], Floats]:
    random = np.random.default_rng(seed)
    up = random.integers(0, 2, count).astype(np.int8)
    times = np.sort(random.choice(3 * count, count, replace=False)) * HOUR_US
    return times, row_sums(up, random.uniform(0.3, 0.7, count), random.uniform(0.3, 0.7, count))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 900),
    st.lists(st.integers(1, 400), max_size=6),
    st.sampled_from([1, 2, 10]),
)
def test_week_after_week_is_all_at_once(seed: int, count: int, cuts: list[int], horizon: int) -> None:
    """Also where the input overlaps with what is known, as long as it does not reach back to the beginning."""
    times, sums = rows_of(seed, count)
    ends = sorted({min(end, count) for end in np.cumsum([1, *cuts]).tolist()} | {count})
    found = gather(times[: ends[0]], sums[: ends[0]], horizon=horizon)
    for before, end in pairwise(ends):
        start = max(1, before - 30)
        found = gather(times[start:end], sums[start:end], horizon=horizon, before=found)
    together = gather(times, sums, horizon=horizon)
    assert (found.length, found.times, found.first, found.last) == (
        together.length, together.times, together.first, together.last,
    )  # fmt: skip
    assert np.allclose(np.array(found.blocks), np.array(together.blocks), rtol=1e-12, atol=1e-12)
    assert found.looks == len(ends)
    assert found.total("rows") == count
    assert Evidence.of_record(json.loads(json.dumps(asdict(found)))) == found


def test_input_that_reaches_back_counts_alone() -> None:
    times, sums = rows_of(0, 800)
    before = gather(times[100:500], sums[100:500], horizon=HORIZON)
    alone = gather(times, sums, horizon=HORIZON)
    assert gather(times, sums, horizon=HORIZON, before=before) == replace(alone, looks=2)


def test_rows_that_are_known_add_nothing() -> None:
    times, sums = rows_of(1, 800)
    before = gather(times, sums, horizon=HORIZON)
    again = gather(times[300:], sums[300:], horizon=HORIZON, before=before)
    assert (again.blocks, again.times, again.looks) == (before.blocks, before.times, 2)


def test_rows_that_are_gone_still_count() -> None:
    times, sums = rows_of(seed=5, count=600)
    before = gather(times[:500], sums[:500], horizon=HORIZON)
    fewer = gather(times[:300], sums[:300], horizon=HORIZON, before=before)
    assert replace(fewer, looks=1) == before
    hole = np.r_[0:200, 300:600]  # a file of the middle is gone, and later bars came
    after = gather(times[hole], sums[hole], horizon=HORIZON, before=fewer)
    together = gather(times, sums, horizon=HORIZON)
    assert (after.times, after.first, after.last) == (together.times, together.first, together.last)
    assert after.mean("difference") == pytest.approx(together.mean("difference"), abs=1e-12)


@pytest.mark.parametrize("horizon", [1, 10, 60])
def test_blocks_are_bounded_long_enough_and_only_ever_joined(horizon: int) -> None:
    lengths = [block_times(times, horizon) for times in range(1, 2_000_000, 997)]
    assert lengths == sorted(lengths)
    for times, length in zip(range(1, 2_000_000, 997), lengths, strict=True):
        assert 5 * horizon <= length
        assert length >= math.floor(np.cbrt(times))
        assert times <= MOST_BLOCKS * length


def test_a_record_stays_small() -> None:
    times, sums = rows_of(2, 100_000)
    assert len(json.dumps(asdict(gather(times, sums, horizon=1)))) < 24_000


def test_rows_of_a_pooled_model_count_by_time() -> None:
    times, sums = rows_of(3, 600)
    one = gather(times, sums, horizon=HORIZON)
    three = gather(times.repeat(3), sums.repeat(3, axis=0), horizon=HORIZON)
    assert three.times == one.times
    assert three.total("rows") == 3 * one.total("rows")
    for name in SUMS[1:]:
        assert three.mean(name) == pytest.approx(one.mean(name))
        assert three.error(name) == pytest.approx(one.error(name))


def persistent(random: np.random.Generator, rows: int) -> Floats:
    sums = random.standard_normal(rows + 20).cumsum()
    noise: Floats = (sums[20:] - sums[:-20]) / math.sqrt(20)
    return noise


def versions(random: np.random.Generator, rows: int, *, apart: float, worse: float) -> tuple[Any, Floats, Floats]:
    """Return labels of a random walk, and probabilities of two versions whose log-losses differ by `worse` in the mean.

    Both know nothing; their log-odds are `apart`, persistently. Version b's also have an error of one sign per row that
    costs `worse`: half its square times p (1 - p).
    """
    path = random.standard_normal(rows + HORIZON).cumsum()
    up = (path[HORIZON:] > path[:-HORIZON]).astype(np.int8)
    sides = random.choice([-1.0, 1.0], rows)
    a, b = (apart * persistent(random, rows) for _ in range(2))
    cost = math.sqrt(8 * worse)
    return up, expit(a), expit(b + cost * sides)


def decided(seed: int, *, rows: int, apart: float, worse: float) -> str:
    """Return the verdict of one comparison."""
    up, p_a, p_b = versions(np.random.default_rng(seed), rows, apart=apart, worse=worse)
    found = compare(up, p_a, p_b, horizon=HORIZON)
    return verdict(found, found.p, margin=MARGIN)


@pytest.mark.parametrize("rows", [60, 200, 350, 2_016])
@pytest.mark.parametrize("worse", [0.012, 0.3])
def test_what_is_clearly_worse_is_not_promoted(rows: int, worse: float) -> None:
    told = [decided(seed, rows=rows, apart=0.02, worse=worse) for seed in range(300)]
    wrong = told.count("better") + told.count("not worse")
    assert wrong <= binom.ppf(0.999, 300, 0.05) * (rows > 350)


@pytest.mark.parametrize(("rows", "apart", "least"), [(2_016, 0.005, 0.8), (8_064, 0.01, 0.8)])
def test_equal_versions_are_promoted_where_rows_can_tell(rows: int, apart: float, least: float) -> None:
    told = [decided(seed, rows=rows, apart=apart, worse=0.0) for seed in range(200)]
    assert told.count("not worse") + told.count("better") >= binom.ppf(0.01, 200, least)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [400, 2_016, 8_064])
def test_at_the_margin_promotions_are_as_rare_as_alpha(rows: int) -> None:
    """Non-inferiority is tested at alpha / 2, since the upper end is that of a two-sided interval."""
    told = in_two_processes(partial(decided, rows=rows, apart=0.03, worse=MARGIN), range(1_000))
    wrong = told.count("better") + told.count("not worse")
    assert wrong <= binom.ppf(0.999, 1_000, 0.05)


def weekly(seed: int, *, apart: float, worse: float, weeks: int = 13) -> tuple[int, str]:
    """Return after how many weekly comparisons at 1h, each of which sees its own week only, there is a verdict."""
    up, p_a, p_b = versions(np.random.default_rng(seed), weeks * WEEK, apart=apart, worse=worse)
    times, evidence, told = np.arange(weeks * WEEK) * HOUR_US, None, "undecided"
    for week in range(weeks):
        own = slice(week * WEEK, (week + 1) * WEEK)
        evidence = gather(times[own], row_sums(up[own], p_a[own], p_b[own]), horizon=HORIZON, before=evidence)
        found: Comparison = compare(up[own], p_a[own], p_b[own], horizon=HORIZON, evidence=evidence)
        told = verdict(found, found.p, margin=MARGIN)
        if told not in {"undecided", "cannot tell"}:
            return week + 1, told
    return weeks, told


def test_one_week_at_1h_decides_nothing_and_some_weeks_do() -> None:
    equal = [weekly(seed, apart=0.008, worse=0.0) for seed in range(100)]
    bad = [weekly(seed, apart=0.02, worse=0.02) for seed in range(100)]
    assert min(weeks for weeks, _ in [*equal, *bad]) >= 3, "400 rows make eight blocks"
    assert sum(told == "not worse" for _, told in equal) >= 80
    assert sum(told == "worse" for _, told in bad) >= 95
    assert not any(told in {"better", "not worse"} for _, told in bad)
    assert np.median([weeks for weeks, _ in bad]) <= 4
    assert np.median([weeks for weeks, _ in equal]) <= 8
