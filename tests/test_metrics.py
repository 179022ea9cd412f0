"""Scores agree with scikit-learn's, intervals cover, shrinking finds the least loss."""

import math

import numpy as np
import numpy.typing as npt
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from scipy.stats import t as student_t

from job.learning.fleet import fleet_test, log_loss_delta_by_cluster
from job.learning.metrics import (
    SCORES,
    base_rate,
    block_length,
    fit_shrink,
    log_loss,
    roc_auc,
    row_log_loss,
    shrink,
    skill,
)
from tests.oracles_training import circular_block_bootstrap, expected_weight

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int8]
HOUR_US = 3_600_000_000

REFERENCE = {
    "accuracy": lambda label, p: reference.accuracy_score(label, p > 0.5),
    "precision": lambda label, p: reference.precision_score(label, p > 0.5, zero_division=0),
    "recall": lambda label, p: reference.recall_score(label, p > 0.5, zero_division=0),
    "f1": lambda label, p: reference.f1_score(label, p > 0.5, zero_division=0),
    "log_loss": lambda label, p: reference.log_loss(label, np.column_stack([1 - p, p]), labels=[0, 1]),
    "roc_auc": reference.roc_auc_score,
    "brier": reference.brier_score_loss,
}


def scored(seed: int, rows: int = 500) -> tuple[Labels, Floats]:
    random = np.random.default_rng(seed)
    p = np.round(random.uniform(0.02, 0.98, rows), 2)
    return (random.uniform(size=rows) < p).astype(np.int8), p


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("label", [[0, 1], [1], [0] * 9, [0, 1, 1, 0, 1]])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1.0])
def test_a_score_is_a_finite_number_or_null(name: str, label: list[int], p: float) -> None:
    score = SCORES[name].function(np.array(label, dtype=np.int8), np.full(len(label), p))
    assert score is None or (type(score) is float and math.isfinite(score))


@pytest.mark.parametrize("name", SCORES)
def test_the_order_of_rows_changes_no_score(name: str) -> None:
    label, p = scored(5)
    order = np.random.default_rng(1).permutation(len(p))
    score = SCORES[name].function
    assert score(label[order], p[order]) == pytest.approx(score(label, p), rel=1e-12)


@pytest.mark.parametrize("name", REFERENCE)
@pytest.mark.parametrize("seed", range(3))
def test_score_agrees_with_scikit_learn(name: str, seed: int) -> None:
    label, p = scored(seed)
    assert SCORES[name].function(label, p) == pytest.approx(REFERENCE[name](label, p), rel=1e-12)


@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_nothing_predicted_up_scores_zero(name: str) -> None:
    assert SCORES[name].function(np.array([0, 1, 1], dtype=np.int8), np.full(3, 0.5)) == 0.0


def test_auc_is_null_with_one_class() -> None:
    assert roc_auc(np.ones(4, dtype=np.int8), np.linspace(0.1, 0.9, 4)) is None


def test_certain_and_wrong_costs_a_finite_loss() -> None:
    assert log_loss(np.array([1, 0], dtype=np.int8), np.array([0.0, 1.0])) == pytest.approx(-math.log(1e-15), rel=1e-2)


@pytest.mark.parametrize(("label", "rate"), [([], 0.5), ([1], 2 / 3), ([0, 0, 1], 0.4), ([1, 1], 0.75)])
def test_base_rate_is_laplace_rule(label: list[int], rate: float) -> None:
    assert base_rate(np.array(label, dtype=np.int8)) == pytest.approx(rate)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.001, 0.999), st.floats(0, 1))
def test_shrinking_moves_between_base_and_model(p: float, base: float, weight: float) -> None:
    between = float(shrink(np.array([p]), base, weight)[0])
    assert min(p, base) - 1e-12 <= between <= max(p, base) + 1e-12
    assert shrink(np.array([p]), base, 0.0)[0] == pytest.approx(base)
    assert shrink(np.array([p]), base, 1.0)[0] == pytest.approx(p)


@pytest.mark.parametrize("rows", [10, 40, 1_000])
@pytest.mark.parametrize("true_weight", [-1.0, 0.0, 0.2, 0.9, 2.0])
def test_shrinking_is_what_the_rows_lead_to_expect(true_weight: float, rows: int) -> None:
    random = np.random.default_rng(3)
    p = random.uniform(0.2, 0.8, rows)
    label = (random.uniform(size=rows) < shrink(p, 0.5, true_weight)).astype(np.int8)
    found = fit_shrink(label, p, np.full(rows, 0.45))
    assert found == pytest.approx(expected_weight(label, p, 0.45), abs=1e-3)


def test_shrinking_finds_the_true_weight() -> None:
    random = np.random.default_rng(3)
    p = random.uniform(0.05, 0.95, 20_000)
    label = (random.uniform(size=20_000) < shrink(p, 0.5, 0.4)).astype(np.int8)
    assert fit_shrink(label, p, np.full(20_000, 0.5)) == pytest.approx(0.4, abs=0.05)


def test_a_model_worse_than_the_base_rate_is_shrunk_away() -> None:
    label, p = scored(0)
    assert fit_shrink(label, 1 - p, np.full(len(p), 0.5)) < 0.01


def test_an_underconfident_model_is_not_stretched() -> None:
    label, p = scored(0, rows=2_000)
    assert 0.95 < fit_shrink(label, shrink(p, 0.5, 0.3), np.full(len(p), 0.5)) <= 1.0


def test_a_model_that_says_nothing_keeps_half() -> None:
    label, p = scored(0)
    assert fit_shrink(label, np.full(len(p), 0.5), np.full(len(p), 0.5)) == pytest.approx(0.5)


def test_certain_rows_are_weighed_too() -> None:
    label = np.array([0, 1] * 50, dtype=np.int8)
    assert fit_shrink(label, np.tile([0.0, 0.0, 1.0, 1.0], 25), np.full(100, 0.5)) < 0.05


@pytest.mark.parametrize(
    ("times", "horizon", "length"), [(8_600, 10, 50), (8_600, 1, 21), (86, 10, 14), (600, 30, 100), (4, 1, 1)]
)
def test_block_length(times: int, horizon: int, length: int) -> None:
    assert block_length(times, horizon) == length


@pytest.mark.parametrize("distinct", [70, 300])
def test_interval_is_that_of_many_resamples(distinct: int) -> None:
    random = np.random.default_rng(5)
    times = np.sort(np.concatenate([np.arange(distinct), random.integers(0, distinct, 500 - distinct)]))
    loss, base_loss = random.uniform(0.4, 1.0, 500), random.uniform(0.6, 0.8, 500)
    found = skill(times, loss, base_loss, horizon_bars=2)
    draws = circular_block_bootstrap(
        times, lambda rows: 1 - loss[rows].sum() / base_loss[rows].sum(), block=10, draws=4_000, random=random
    )
    blocks = distinct // 10
    half_width = student_t.ppf(0.975, blocks - 1) * draws.std() * math.sqrt(blocks / (blocks - 1))
    assert found.value == pytest.approx(1 - loss.sum() / base_loss.sum())
    assert found.low is not None
    assert found.high is not None
    assert (found.high - found.low) / 2 == pytest.approx(half_width, rel=0.05)
    assert (found.high + found.low) / 2 == pytest.approx(found.value)


@pytest.mark.parametrize(("rows", "horizon"), [(2_000, 1), (2_000, 10), (200, 5)])
def test_interval_covers_no_skill_95_times_in_100(rows: int, horizon: int) -> None:
    random, runs, misses = np.random.default_rng(7), 600, 0
    for _ in range(runs):
        noise = random.standard_normal(rows + horizon).cumsum()
        change = 0.01 * (noise[horizon:] - noise[:-horizon])
        found = skill(np.arange(rows), 0.69 + change, np.full(rows, 0.69), horizon_bars=horizon)
        assert found.low is not None
        assert found.high is not None
        misses += not found.low <= 0 <= found.high
    assert binom.ppf(0.001, runs, 0.025) <= misses <= binom.ppf(0.999, runs, 0.08)


@pytest.mark.parametrize(("rows", "horizon", "underpowered"), [(86, 10, True), (8_600, 10, False), (390, 10, True)])
def test_few_blocks_are_flagged(rows: int, horizon: int, *, underpowered: bool) -> None:
    loss = np.linspace(0.6, 0.8, rows)
    assert skill(np.arange(rows), loss, loss, horizon_bars=horizon).underpowered is underpowered


def test_one_time_has_no_interval() -> None:
    one = skill(np.zeros(3, dtype=np.int64), np.full(3, 0.6), np.full(3, 0.7), horizon_bars=1)
    assert (one.low, one.high, one.underpowered) == (None, None, True)


def test_clusters_of_the_clock_hold_rows_and_sums() -> None:
    times = np.array([0, HOUR_US - 1, HOUR_US, 5 * HOUR_US])
    change = np.array([1.0, 2.0, 4.0, 8.0])
    short = log_loss_delta_by_cluster(times, change, horizon_bars=1, timeframe_us=60_000_000)
    assert short == {"0": [2, 3.0], "1": [1, 4.0], "5": [1, 8.0]}
    long = log_loss_delta_by_cluster(times, change, horizon_bars=1, timeframe_us=HOUR_US)
    assert long == {"0": [3, 7.0], "1": [1, 8.0]}


def test_fleet_test_agrees_with_the_cluster_robust_formula() -> None:
    random = np.random.default_rng(0)
    cluster = random.integers(0, 40, 900)
    change = random.standard_normal(40)[cluster] + random.standard_normal(900) + 0.3
    models = [
        log_loss_delta_by_cluster(cluster[i::3] * HOUR_US, change[i::3], horizon_bars=1, timeframe_us=1)
        for i in range(3)
    ]
    found = fleet_test(models)
    residual = change - change.mean()
    squares = sum(residual[cluster == c].sum() ** 2 for c in np.unique(cluster))
    assert found.clusters == 40
    assert found.mean == pytest.approx(change.mean())
    assert found.t == pytest.approx(change.mean() / (math.sqrt(squares * 40 / 39) / 900))


def test_copies_of_one_model_add_no_evidence() -> None:
    change = np.random.default_rng(1).standard_normal(600)
    one = log_loss_delta_by_cluster(np.arange(600) * HOUR_US // 10, change, horizon_bars=1, timeframe_us=60_000_000)
    assert fleet_test([one] * 16).t == pytest.approx(fleet_test([one]).t)


@pytest.mark.parametrize(("models", "clusters"), [([], 0), ([{"3": [2, 0.5]}], 1)])
def test_fleet_test_needs_two_clusters(models: list[dict[str, list[float]]], clusters: int) -> None:
    found = fleet_test(models)
    assert math.isnan(found.z)
    assert found.clusters == clusters


def test_row_losses_average_to_log_loss() -> None:
    label, p = scored(2)
    assert row_log_loss(label, p).mean() == pytest.approx(log_loss(label, p))
