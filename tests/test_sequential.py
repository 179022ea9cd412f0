"""The test that may be looked at every day: block by block as at once, and wrong no more often than it says."""

import math
from functools import partial

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from job.learning.anytime import sequences
from job.learning.comparison import SeedVariance, compare, interval_and_p, row_sums, sequential_test, verdict
from job.learning.evidence import Evidence, gather
from job.learning.metrics import MIN_BLOCKS
from job.learning.sequential import BETS, CLIP, Betting, Running, log_wealth
from tests.test_evidence import HORIZON, versions
from tests.worlds import in_two_processes

Floats = npt.NDArray[np.float64]
DAY = 288
"""Bars of 5 minutes."""
DAYS = 50
LOOK = 5
"""Days between looks at what differs."""
DRAWS = 300
ALPHA = 0.05


def running(differences: Floats, *, length: int) -> Running:
    return Running(length=length).add(np.arange(len(differences)), differences)


def wealth_of(found: Betting, mean: float, *, below: bool) -> float:
    """Return the log of the wealth of bets that the mean is below `mean`, or above it."""
    gain = found.blocks * mean - found.total
    return float(log_wealth(np.array(gain if below else -gain), np.array(found.spread)))


def interval_of(found: Betting) -> tuple[float, float]:
    """Return the ends of the confidence sequence of the mean over blocks."""
    blocks, total, spread, none, one = np.array([[found.blocks], [found.total], [found.spread], [0.0], [1.0]])
    ends = sequences(blocks, total, spread, total / blocks, variance=none, freedom=one, alpha=ALPHA)
    return float(ends.low[0]), float(ends.high[0])


def oracle(differences: Floats, mean: float, *, length: int, below: bool) -> float:
    """Return the log of the wealth, one bet and one block at a time."""
    wealth = dict.fromkeys(BETS.tolist(), 1.0)
    seen: list[float] = []
    for start in range(0, len(differences) - length + 1, length):
        block = min(CLIP, max(-CLIP, float(np.mean(differences[start : start + length]))))
        before = sum(seen) / len(seen) if seen else 0.0
        for bet in wealth:
            psi = (-math.log(1 - 2 * CLIP * bet) - 2 * CLIP * bet) / (2 * CLIP) ** 2
            won = mean - block if below else block - mean
            wealth[bet] *= math.exp(bet * won - psi * (block - before) ** 2)
        seen.append(block)
    return math.log(sum(wealth.values()) / len(wealth))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 40), min_size=1, max_size=12), st.sampled_from([1, 5, 20]))
def test_day_after_day_is_all_at_once(seed: int, days: list[int], length: int) -> None:
    random = np.random.default_rng(seed)
    differences = random.normal(0.001, 0.02, sum(days))
    found, start = Running(length=length), 0
    for rows in days:
        found = found.add(np.arange(rows), differences[start : start + rows])
        start += rows
    together = running(differences, length=length)
    assert (found.blocks, found.times, found.rows) == (together.blocks, together.times, together.rows)
    for name in ("total", "spread", "difference"):
        assert getattr(found, name) == pytest.approx(getattr(together, name), abs=1e-12)
    for below in (False, True):
        expected = oracle(differences, 0.0005, length=length, below=below)
        assert wealth_of(together, 0.0005, below=below) == pytest.approx(expected, abs=1e-9)


def test_rows_of_one_time_count_together() -> None:
    differences = np.random.default_rng(0).normal(0, 0.01, 600)
    position = np.arange(600) // 3
    by_time = differences.reshape(200, 3).mean(axis=1)
    pooled, plain = Running(length=50).add(position, differences), running(by_time, length=50)
    assert pooled.blocks == plain.blocks
    assert (pooled.total, pooled.spread) == pytest.approx((plain.total, plain.spread))


@pytest.mark.parametrize("mean", [-0.004, 0.0, 0.004])
def test_the_interval_ends_where_wealth_is_enough(mean: float) -> None:
    found = running(np.random.default_rng(1).normal(mean, 0.01, 20_000), length=50)
    low, high = interval_of(found)
    assert low < mean < high
    assert high - low < 0.005
    for end, below in ((low, False), (high, True)):
        assert wealth_of(found, end, below=below) == pytest.approx(math.log(2 / ALPHA))


def evidence_of(differences: Floats, *, horizon: int = HORIZON) -> Evidence:
    sums = np.column_stack([np.ones(len(differences)), np.full(len(differences), 0.7), differences,
        np.ones(len(differences)), np.zeros(len(differences))])  # fmt: skip
    return gather(np.arange(len(differences)), sums, horizon=horizon)


@pytest.mark.parametrize("shift", [-0.003, -0.001, 0.0, 0.002])
@pytest.mark.parametrize("seeds", [(), (SeedVariance(2e-4**2, 9),)])
def test_p_and_interval_agree(shift: float, seeds: tuple[SeedVariance, ...]) -> None:
    found = evidence_of(np.random.default_rng(2).normal(shift, 0.01, 30_000))
    for alpha in (0.01, 0.05, 0.3):
        low, high, p, _ = sequential_test(found, seeds, alpha=alpha)
        assert low is not None
        assert high is not None
        assert p is not None
        assert low <= found.mean("difference") <= high
        assert (low > 0 or high < 0) == (p < alpha)


@pytest.mark.parametrize("shift", [-0.002, 0.0003])
def test_p_is_1_over_e_but_where_luck_is_part_of_it(shift: float) -> None:
    found = evidence_of(np.random.default_rng(5).normal(shift, 0.01, 20_000))
    _, _, p, e = sequential_test(found, (), alpha=ALPHA)
    assert e is not None
    assert p == pytest.approx(min(1.0, 1 / e))
    *_, lucky = sequential_test(found, (SeedVariance(1e-3**2, 9),), alpha=ALPHA)
    assert lucky is not None
    assert lucky < max(e, 1.0)


def test_an_e_value_beyond_all_numbers_is_one_of_json() -> None:
    *_, e = sequential_test(evidence_of(np.full(2_000_000, -0.5)), (), alpha=ALPHA)
    assert e is not None
    assert math.isfinite(e)


def test_the_luck_of_seeds_widens() -> None:
    found = evidence_of(np.random.default_rng(3).normal(-0.002, 0.01, 30_000))
    narrow, wide = (sequential_test(found, seeds, alpha=ALPHA) for seeds in ((), (SeedVariance(1e-3**2, 5),)))
    assert narrow[1] is not None
    assert narrow[1] < 0
    assert wide[1] is not None
    assert wide[1] > 0


def test_a_rare_loss_that_is_cut_off_makes_no_version_better() -> None:
    """A little better on most blocks, far worse on a few: the mean of clipped differences is for b, the mean not."""
    differences = np.full(100_000, -0.001)
    differences[::2000] += 5.0
    found = evidence_of(differences)
    assert found.running is not None
    assert interval_of(found.running)[1] < 0
    assert found.mean("difference") > 0
    _, high, p, _ = sequential_test(found, (), alpha=ALPHA)
    assert high is not None
    assert high >= found.mean("difference")
    assert p is not None


def test_evidence_of_early_releases_begins_anew() -> None:
    differences = np.random.default_rng(4).normal(0, 0.01, 5_000)
    old = {**vars(evidence_of(differences[:3_000])), "running": None}
    before = Evidence.of_record({name: value for name, value in old.items() if name != "running"})
    assert sequential_test(before, (), alpha=ALPHA) == (None, None, None, None)
    sums = row_sums(np.ones(2_000, np.int8), np.full(2_000, 0.5), np.full(2_000, 0.51))
    after = gather(np.arange(3_000, 5_000), sums, horizon=HORIZON, before=before)
    assert after.running == Running(length=after.running.length if after.running else 0).add(
        np.arange(2_000), sums[:, 2]
    )


def wrong(seed: int) -> tuple[bool, bool]:
    """Look at two equal versions each day: whether the fixed, and the sequential test ever finds them different."""
    up, p_a, p_b = versions(np.random.default_rng(seed), DAYS * DAY, apart=0.03, worse=0.0)
    sums, known = row_sums(up, p_a, p_b), None
    fixed, sequential = False, False
    for day in range(DAYS):
        rows = slice(day * DAY, (day + 1) * DAY)
        known = gather(np.arange(rows.start, rows.stop), sums[rows], horizon=HORIZON, before=known)
        if known.complete_blocks < MIN_BLOCKS:
            continue
        _, _, p = interval_and_p(known, "difference", (), alpha=ALPHA)
        fixed |= p is not None and p < ALPHA
        bets = () if known.running is None else (wealth_of(known.running, 0.0, below=below) for below in (True, False))
        sequential |= max(bets) >= math.log(2 / ALPHA)
    return fixed, sequential


def days_until(seed: int, *, worse: float) -> tuple[str, int]:
    """Return the first verdict, and its day, of version b whose log-loss is lower by -`worse` in the mean."""
    up, p_a, p_b = versions(np.random.default_rng(seed), DAYS * DAY, apart=0.01, worse=abs(worse))
    p_a, p_b = (p_b, p_a) if worse < 0 else (p_a, p_b)
    sums, known = row_sums(up, p_a, p_b), None
    for day in range(0, DAYS, LOOK):
        rows = slice(day * DAY, (day + LOOK) * DAY)
        known = gather(np.arange(rows.start, rows.stop), sums[rows], horizon=HORIZON, before=known)
        found = compare(up[rows], p_a[rows], p_b[rows], horizon=HORIZON, evidence=known, test="sequential")
        if (told := verdict(found, found.p)) in {"better", "worse"}:
            return told, day + LOOK
    return "none", DAYS


@pytest.mark.slow
def test_equal_versions_are_told_apart_no_more_often_than_alpha_says_though_looked_at_daily() -> None:
    fixed, sequential = np.array(in_two_processes(wrong, range(DRAWS))).sum(axis=0)
    assert sequential <= binom.ppf(0.99, DRAWS, ALPHA)
    assert fixed > binom.ppf(0.999, DRAWS, ALPHA), "the contrast: the fixed test is right at one look only"


@pytest.mark.slow
@pytest.mark.parametrize(("worse", "expected"), [(-0.006, "better"), (0.006, "worse")])
def test_what_differs_is_decided_within_weeks(worse: float, expected: str) -> None:
    told = in_two_processes(partial(days_until, worse=worse), range(10))
    assert [one for one, _ in told].count(expected) >= binom.ppf(0.01, 10, 0.9)
    assert np.median([day for _, day in told]) <= 45
