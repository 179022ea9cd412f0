"""Comparing two versions: oracles, worked examples, and how often equal ones are told apart by mistake."""

import json
import math
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom, ttest_1samp
from scipy.stats import t as student_t
from statsmodels.stats.contingency_tables import mcnemar as mcnemar_of_statsmodels
from statsmodels.tsa.stattools import diebold_mariano_test

from job.learning.comparison import (
    Comparison,
    compare,
    diebold_mariano,
    false_discovery,
    mcnemar,
    verdict,
)
from job.learning.fleet import fleet_test, log_loss_delta_by_cluster
from job.learning.metrics import accuracy, log_loss, predicted, row_log_loss

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
HORIZON = 10
DRAWS = 300
HOUR_US = 3_600_000_000


def overlapping(random: np.random.Generator, rows: int) -> tuple[Labels, Floats]:
    """Return direction(`HORIZON`) labels of a random walk and the log-odds that know a little of each."""
    path = random.standard_normal(rows + HORIZON).cumsum()
    move = path[HORIZON:] - path[:-HORIZON]
    return (move > 0).astype(np.int8), 0.05 * move


def persistent(random: np.random.Generator, rows: int) -> Floats:
    """Return noise that stays, as what a model says of neighbouring bars does: the mean of 20 draws, scaled to 1."""
    sums = random.standard_normal(rows + 20).cumsum()
    noise: Floats = (sums[20:] - sums[:-20]) / math.sqrt(20)
    return noise


def versions(seed: int, rows: int = 3_000) -> tuple[Labels, Floats, Floats]:
    """Return labels and two versions' probabilities that differ by noise of equal size."""
    random = np.random.default_rng(seed)
    up, odds = overlapping(random, rows)
    p_a, p_b = (expit(odds + 0.1 * persistent(random, rows)) for _ in range(2))
    return up, p_a, p_b


@cache
def equal_versions() -> tuple[tuple[Comparison, float], ...]:
    """Return repeated comparisons of versions that are equally good, each with the p of McNemar's test on all rows."""
    drawn = []
    for seed in range(DRAWS):
        up, p_a, p_b = versions(seed)
        all_rows = mcnemar(predicted(p_a) == (up == 1), predicted(p_b) == (up == 1))
        drawn.append((compare(up, p_a, p_b, horizon=HORIZON), all_rows))
    return tuple(drawn)


def test_equal_versions_are_called_equal() -> None:
    told = [verdict(found, found.p) for found, _ in equal_versions()]
    assert told.count("better") + told.count("worse") <= binom.ppf(0.999, DRAWS, 0.05)


def test_each_test_rejects_about_as_often_as_it_says() -> None:
    found = [found for found, _ in equal_versions()]
    fewest, most = int(binom.ppf(0.001, DRAWS, 0.02)), int(binom.ppf(0.999, DRAWS, 0.08))
    rejections = {
        "dm": sum(one.dm_p is not None and one.dm_p < 0.05 for one in found),
        "p": sum(one.p is not None and one.p < 0.05 for one in found),
        "interval": sum(one.low is not None and one.high is not None and not one.low <= 0 <= one.high for one in found),
        "mcnemar": sum(one.mcnemar_p is not None and one.mcnemar_p < 0.05 for one in found),
    }
    assert all(count <= most for count in rejections.values()), rejections
    assert min(rejections["dm"], rejections["interval"]) >= fewest
    assert rejections["p"] == rejections["interval"], "they agree"


def test_mcnemar_on_all_rows_rejects_far_too_often() -> None:
    rejections = sum(all_rows < 0.05 for _, all_rows in equal_versions())
    assert rejections > 0.2 * DRAWS


@pytest.mark.parametrize("swapped", [False, True])
def test_a_version_without_skill_is_worse(*, swapped: bool) -> None:
    random = np.random.default_rng(3)
    up, odds = overlapping(random, 5_000)
    skilled, noise = expit(odds), expit(0.1 * persistent(random, 5_000))
    p_a, p_b = (noise, skilled) if swapped else (skilled, noise)
    found = compare(up, p_a, p_b, horizon=HORIZON)
    assert verdict(found, found.p) == ("better" if swapped else "worse")
    assert (found.difference < 0) is (found.accuracy_difference > 0) is swapped


def test_scores_are_those_of_metrics_and_differences_theirs() -> None:
    up, p_a, p_b = versions(1)
    found = compare(up, p_a, p_b, horizon=HORIZON)
    assert found.rows == len(up)
    assert (found.log_loss_a, found.log_loss_b) == (log_loss(up, p_a), log_loss(up, p_b))
    assert found.difference == pytest.approx(log_loss(up, p_b) - log_loss(up, p_a))
    assert found.accuracy_difference == pytest.approx(accuracy(up, p_b) - accuracy(up, p_a))
    assert json.loads(json.dumps(found.record()))["underpowered"] is False


def test_intervals_are_those_of_a_t_test_over_blocks() -> None:
    up, p_a, p_b = versions(2, rows=600)
    found = compare(up, p_a, p_b, horizon=HORIZON)
    gained = (predicted(p_b) == (up == 1)).astype(float) - (predicted(p_a) == (up == 1))
    for change, low, high in (
        (row_log_loss(up, p_b) - row_log_loss(up, p_a), found.low, found.high),
        (gained, found.accuracy_low, found.accuracy_high),
    ):
        expected = ttest_1samp(change.reshape(12, 5 * HORIZON).mean(axis=1), 0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high))
    assert found.blocks == 12


@pytest.mark.parametrize("rows", [1, 30, 3_000])
@pytest.mark.parametrize("horizon", [1, HORIZON])
def test_a_version_is_no_better_than_itself(rows: int, horizon: int) -> None:
    up, p, _ = versions(4, rows=rows)
    found = compare(up, p, p, horizon=horizon)
    assert (found.difference, found.dm_statistic, found.dm_p, found.mcnemar_p) == (0.0, 0.0, 1.0, 1.0)
    assert found.p == (None if found.blocks < 2 else 1.0)
    assert verdict(found, found.p) == ("cannot tell" if found.underpowered else "not worse")
    assert all(math.isfinite(value) for value in found.record().values() if isinstance(value, float))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 80), st.integers(1, 12), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 10]))
def test_swapping_the_versions_mirrors_everything(rows: int, horizon: int, seed: int, digits: int) -> None:
    random = np.random.default_rng(seed)
    up = random.integers(0, 2, rows).astype(np.int8)
    p_a, p_b = np.round(random.uniform(0, 1, (2, rows)), digits)
    ab, ba = compare(up, p_a, p_b, horizon=horizon), compare(up, p_b, p_a, horizon=horizon)
    assert ba.difference == pytest.approx(-ab.difference)
    assert ba.dm_p == pytest.approx(ab.dm_p)
    assert ba.p == pytest.approx(ab.p)
    assert ba.mcnemar_p == pytest.approx(ab.mcnemar_p)
    mirror = {"better": "worse", "worse": "better"}
    told = [verdict(one, one.p, margin=math.inf) for one in (ab, ba)]
    assert mirror.get(told[0], told[0]) == told[1]
    assert all(math.isfinite(value) for value in ab.record().values() if isinstance(value, float))


def slow_diebold_mariano(change: list[float], horizon: int) -> tuple[float, float]:
    """Harvey, Leybourne and Newbold (1997), eq. 3 to 9, one product after the other."""
    n = len(change)
    mean = sum(change) / n
    total = 0.0
    for t in range(n):
        for s in range(n):
            if abs(t - s) < horizon:
                total += (change[t] - mean) * (change[s] - mean) / n
    statistic = mean / math.sqrt(total / n) * math.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    return statistic, float(2 * student_t.cdf(-abs(statistic), n - 1))


@pytest.mark.parametrize("horizon", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_diebold_mariano_agrees_with_a_slow_version(horizon: int, seed: int) -> None:
    sums = np.random.default_rng(seed).standard_normal(200 + horizon).cumsum()
    change = 0.2 + sums[horizon:] - sums[:-horizon]
    assert diebold_mariano(change, horizon=horizon) == pytest.approx(slow_diebold_mariano(change.tolist(), horizon))


def test_diebold_mariano_of_a_worked_example() -> None:
    """Forecasts 11, 21, 29, 42, 53 and 13, 26, 24, 40, 59 of 10, 20, 30, 40, 50, squared errors, horizon 1.

    The differences 8, 35, 35, -4, 72 have mean 29.2 and variance (n) 690.16, so the statistic is
    29.2 / sqrt(690.16 / 5) · sqrt(4 / 5) = 2.22299.
    """
    truth, first, second = np.array([[10, 20, 30, 40, 50], [11, 21, 29, 42, 53], [13, 26, 24, 40, 59]])
    change = (np.square(second - truth) - np.square(first - truth)).astype(np.float64)
    statistic, p = diebold_mariano(change, horizon=1)
    assert statistic == pytest.approx(2.22299229)
    assert p == pytest.approx(2 * 0.04515566)


@pytest.mark.parametrize("horizon", [2, 3, 10])
def test_where_autocovariances_add_up_to_nothing_bartlett_weighs_them(horizon: int) -> None:
    change = np.tile([1.0, -0.9], 30) + 0.01 * np.random.default_rng(0).standard_normal(60)
    with np.errstate(invalid="raise"), pytest.raises(ValueError, match="math domain error"):
        slow_diebold_mariano(change.tolist(), 2)
    zero = np.zeros_like(change)
    expected = diebold_mariano_test(
        zero, zero, change, lags=horizon - 1, criterion=lambda _, loss: -loss, harvey_adj=True, horizon=horizon
    )
    found = diebold_mariano(change, horizon=horizon)
    if horizon % 2 == 0:
        assert found == pytest.approx((expected.statistic, expected.pvalue))
    else:
        assert found == pytest.approx(slow_diebold_mariano(change.tolist(), horizon))


@pytest.mark.parametrize(("change", "horizon"), [(np.full(50, 0.1), 3), (np.full(50, -2.0), 1), (np.ones(3), 3)])
def test_what_never_varies_cannot_be_tested(change: Floats, horizon: int) -> None:
    assert diebold_mariano(change, horizon=horizon) == (None, None)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (3, 9), (9, 3), (40, 41), (200, 260)])
def test_mcnemar_agrees_with_statsmodels(only_a: int, only_b: int) -> None:
    right_a = np.repeat([True, False, True, False], [only_a, only_b, 7, 5])
    right_b = np.repeat([False, True, True, False], [only_a, only_b, 7, 5])
    expected = mcnemar_of_statsmodels([[7, only_a], [only_b, 5]], exact=True).pvalue
    assert mcnemar(right_a, right_b) == pytest.approx(expected)


def test_mcnemar_takes_every_hth_row() -> None:
    up, p_a, p_b = versions(5)
    thinned = compare(up[::HORIZON], p_a[::HORIZON], p_b[::HORIZON], horizon=1)
    assert compare(up, p_a, p_b, horizon=HORIZON).mcnemar_p == thinned.mcnemar_p


def test_rows_of_one_time_count_as_one() -> None:
    up, p_a, p_b = versions(6)
    one = compare(up, p_a, p_b, horizon=HORIZON)
    twice = compare(
        up.repeat(2), p_a.repeat(2), p_b.repeat(2), horizon=HORIZON, times=np.arange(len(up)).repeat(2).astype(np.int64)
    )
    ignored = ("rows", "mcnemar_p")
    assert {name: value for name, value in twice.record().items() if name not in ignored} == pytest.approx(
        {name: value for name, value in one.record().items() if name not in ignored}
    )
    assert twice.mcnemar_p is None


def test_times_weigh_by_their_rows() -> None:
    """Of mean 4: the three rows of the first time are 6 below it in sum, the one row of the second 6 above it."""
    values, times = np.array([1.0, 2.0, 3.0, 10.0]), np.array([0, 0, 0, 7])
    found = diebold_mariano(values, horizon=1, times=times)
    assert found == pytest.approx(diebold_mariano(4.0 + np.array([-3.0, 3.0]), horizon=1))
    assert found[0] == pytest.approx(4.0 / 3.0)


def test_q_values_of_a_worked_example() -> None:
    """Benjamini and Hochberg (1995), section 3.2: of 15 tests the four least likely are discoveries at 5%."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590]
    q = false_discovery([None, *reversed([*p, 1.0]), None])
    assert (q[0], q[-1]) == (None, None)
    assert [value for value in reversed(q[1:-1]) if value is not None and value <= 0.05] == pytest.approx(
        [0.0015, 0.003, 0.0095, 0.035625]
    )


@pytest.mark.parametrize("p_values", [[], [None], [None, None]])
def test_no_tests_no_discoveries(p_values: list[float | None]) -> None:
    assert false_discovery(p_values) == p_values


def comparison(**changes: Any) -> Comparison:
    """Return a comparison that b clearly wins, but for `changes`."""
    clear = {
        "rows": 1_000,
        "log_loss_a": 0.69,
        "log_loss_b": 0.68,
        "difference": -0.01,
        "low": -0.012,
        "high": -0.008,
        "dm_statistic": -5.0,
        "p": 1e-6,
        "dm_p": 1e-6,
        "accuracy_a": 0.5,
        "accuracy_b": 0.55,
        "accuracy_difference": 0.05,
        "accuracy_low": 0.04,
        "accuracy_high": 0.06,
        "mcnemar_p": 0.01,
        "blocks": 20,
    }
    return Comparison(**clear | changes)


@pytest.mark.parametrize(
    ("changes", "q", "told"),
    [
        ({}, 0.049, "better"),
        ({"difference": 0.01, "low": 0.008, "high": 0.012}, 0.049, "worse"),
        ({"difference": 0.01, "low": 0.008, "high": 0.012}, 0.9, "worse"),
        ({}, 0.05, "not worse"),
        ({"low": -0.03, "high": 0.0009}, 0.001, "not worse"),
        ({"low": -0.03, "high": 0.0011}, 0.001, "undecided"),
        ({"difference": 0.0005, "low": 0.0001, "high": 0.0009}, 0.001, "worse"),
        ({"low": None, "high": None, "p": None, "blocks": 1}, None, "cannot tell"),
        ({"low": -0.01, "high": -0.01, "p": None}, None, "cannot tell"),
        ({"seed_error": None}, 0.001, "cannot tell"),
        ({"blocks": 7}, 0.001, "cannot tell"),
    ],
)
def test_verdicts_follow_from_interval_and_margin(changes: dict[str, Any], q: float | None, told: str) -> None:
    assert verdict(comparison(**changes), q) == told


def test_alpha_is_the_level() -> None:
    assert verdict(comparison(alpha=0.01), 0.03) == "not worse"
    assert verdict(comparison(alpha=0.01), 0.003) == "better"
    up, p_a, p_b = versions(1)
    narrow, wide = (compare(up, p_a, p_b, horizon=HORIZON, alpha=alpha) for alpha in (0.2, 0.01))
    assert wide.low is not None
    assert narrow.low is not None
    assert wide.low < narrow.low
    assert wide.p == narrow.p


def test_the_fleet_sees_a_difference_that_no_model_shows() -> None:
    rows, log_loss_deltas, single = 600, [], []
    for seed in range(30):
        random = np.random.default_rng(seed)
        up, odds = overlapping(random, rows)
        p_a, p_b = expit(odds), expit(odds + 0.25 * persistent(random, rows))
        times = np.arange(rows) * HOUR_US
        found = compare(up, p_a, p_b, horizon=HORIZON)
        single.append(verdict(found, found.p))
        log_loss_deltas.append(
            log_loss_delta_by_cluster(
                times, row_log_loss(up, p_b) - row_log_loss(up, p_a), horizon_bars=HORIZON, timeframe_us=HOUR_US
            )
        )
    assert single.count("worse") < 10
    assert fleet_test(log_loss_deltas).z > 3
