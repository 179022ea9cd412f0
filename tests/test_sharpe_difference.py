"""Sharpe ratios of returns that depend on each other, and the test of whether two of them differ."""

import math

import numpy as np
import pytest
import scipy

from job.learning.metrics import FloatArray
from job.learning.sharpe import dependent_error, long_run_covariance, sharpe_error, sharpe_scores, sharpe_slope
from job.learning.sharpe_difference import sharpe_difference

RUNS = 400


def drawn_books(random: np.random.Generator, *, days: int, lead: float) -> tuple[FloatArray, FloatArray]:
    """Return daily returns of two books with skewed, clustered volatility; the first has the Sharpe ratio `lead`."""
    noise: FloatArray = np.asarray(random.standard_t(6, (3, days)), np.float64) * math.sqrt(4 / 6)
    state = np.zeros(days)
    for day in range(1, days):
        state[day] = 0.9 * state[day - 1] + 0.15 * random.standard_normal()
    scale = 0.01 * np.exp(state - state.var())
    one, other = (scale * (noise[0] + own) / math.sqrt(2) for own in noise[1:])
    return one + 0.01 * lead, other


def p_of(books: tuple[FloatArray, FloatArray]) -> float:
    found = sharpe_difference(*books, days_per_year=365.25, held_days=0.1)["sharpe_difference_p"]
    assert found is not None
    return found


@pytest.mark.parametrize("days", [60, 250])
def test_equal_ratios_are_called_different_in_one_run_of_twenty(days: int) -> None:
    random = np.random.default_rng(11)
    found = [p_of(drawn_books(random, days=days, lead=0.0)) for _ in range(RUNS)]
    wrong = sum(p < 0.05 for p in found)
    assert scipy.stats.binom.ppf(0.001, RUNS, 0.05) <= wrong <= scipy.stats.binom.ppf(0.999, RUNS, 0.05)


def test_a_difference_is_found_where_there_is_one() -> None:
    random = np.random.default_rng(12)
    found = [p_of(drawn_books(random, days=250, lead=0.25)) for _ in range(RUNS // 4)]
    assert sum(p < 0.05 for p in found) > 0.7 * len(found)


def test_the_difference_is_that_of_the_ratios_and_its_sign_follows_the_order() -> None:
    one, other = drawn_books(np.random.default_rng(13), days=120, lead=0.3)
    found = sharpe_difference(one, other, days_per_year=252.0, held_days=0.1)
    back = sharpe_difference(other, one, days_per_year=252.0, held_days=0.1)
    expected = (one.mean() / one.std() - other.mean() / other.std()) * math.sqrt(252)
    assert found["sharpe_difference"] == pytest.approx(expected)
    assert back["sharpe_difference"] == pytest.approx(-expected)
    assert back["sharpe_difference_p"] == found["sharpe_difference_p"]
    low, high = found["sharpe_difference_low"], found["sharpe_difference_high"]
    assert low is not None
    assert high is not None
    assert low + high == pytest.approx(2 * expected)
    assert sharpe_difference(one, other, days_per_year=252.0, held_days=0.1) == found


def test_what_cannot_be_compared_has_no_difference() -> None:
    one, other = drawn_books(np.random.default_rng(14), days=120, lead=0.0)
    for pair in ((one[:59], other[:59]), (one, np.zeros(120)), (np.full(120, 0.1), other), (one, one)):
        assert set(sharpe_difference(*pair, days_per_year=252.0, held_days=1.0).values()) == {None}


def test_without_lags_the_error_is_that_of_independent_days() -> None:
    daily = 0.01 * (np.random.default_rng(15).gamma(1.0, 1.0, 400) - 0.9)
    shape = {"skew": float(scipy.stats.skew(daily)), "kurtosis": float(scipy.stats.kurtosis(daily, fisher=False))}
    written_out = sharpe_error(float(daily.mean() / daily.std()), days=400, **shape)
    assert dependent_error(daily, lags=0) == pytest.approx(written_out)


def test_the_slope_is_the_derivative() -> None:
    moments, step = np.array([0.02, 0.03]), 1e-7

    def ratio(mean: float, square: float) -> float:
        return mean / math.sqrt(square - mean**2)

    expected = [(ratio(*(moments + way)) - ratio(*(moments - way))) / (2 * step) for way in step * np.eye(2)]
    assert sharpe_slope(*moments[:, None])[0] == pytest.approx(expected)


def test_the_long_run_covariance_is_that_of_newey_and_west() -> None:
    values = np.random.default_rng(16).standard_normal((30, 2))
    away = values - values.mean(axis=0)
    expected = np.zeros((2, 2))
    for first in range(30):
        for second in range(30):
            if abs(first - second) <= 3:
                expected += (1 - abs(first - second) / 4) * np.outer(away[first], away[second])
    assert long_run_covariance(values, lags=3) == pytest.approx(expected / 30)


@pytest.mark.parametrize(("held_days", "share"), [(3.0, (0.02, 0.13)), (0.1, (0.17, 1.0))])
def test_the_interval_covers_returns_that_depend_on_each_other(held_days: float, share: tuple[float, float]) -> None:
    """Returns that add up three shocks: the interval for independent days misses the truth far too often."""
    random, true = np.random.default_rng(17), 0.1
    missed = 0
    for _ in range(RUNS):
        shocks = random.standard_normal(252)
        daily = 0.01 * ((shocks[2:] + shocks[1:-1] + shocks[:-2]) / math.sqrt(3) + true)
        found = sharpe_scores(daily, days_per_year=365.25, versions_scored=1, held_days=held_days)
        assert found["sharpe_low"] is not None
        assert found["sharpe_high"] is not None
        missed += not found["sharpe_low"] <= true * math.sqrt(365.25) <= found["sharpe_high"]
    assert share[0] * RUNS <= missed <= share[1] * RUNS
