"""The best of several models: against arch, in simulations, and where little can be said."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from arch.bootstrap import SPA, StationaryBootstrap, StepM

from job.learning import multiplicity
from job.learning.fleet import HOUR_US, MIN_CLUSTERS, log_loss_delta_by_cluster
from job.learning.multiplicity import Clusters, best_of, draws, long_run_variance, shared_gains, simulate, step_down

ALPHA = 0.05


def correlated(
    rng: np.random.Generator, blocks: int, models: int, *, shared: float = 0.7, after: float = 0.05
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return gains [blocks, models] without any skill: heavy tails, alike, and each block a little like the last."""
    drawn = rng.standard_t(5, (blocks + 20, models + 1))
    gains = np.sqrt(shared) * drawn[:, :1] + np.sqrt(1 - shared) * drawn[:, 1:]
    for row in range(1, len(gains)):
        gains[row] += after * gains[row - 1]
    found: np.ndarray[Any, np.dtype[np.float64]] = gains[20:]
    return found


def clusters_of(gains: np.ndarray[Any, np.dtype[np.float64]], *, rows: int = 60) -> list[Clusters]:
    """Return models of these mean gains per row, by hours."""
    return [(HOUR_US, {str(block): [rows, -rows * gain] for block, gain in enumerate(one)}) for one in gains.T]


@pytest.mark.parametrize("mean_length", [1, 2, 5])
@pytest.mark.parametrize("edge", [0.3, 0.5])
def test_p_is_that_of_arch(mean_length: int, edge: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arch takes the largest mean, so its models are in units of their errors; resamples are its own, with one error.

    Without standard errors for each resample ours is its test of superior predictive ability, to the last resample.
    """
    gains = correlated(np.random.default_rng(3), 80, 6) + np.array([edge, 0, 0, edge / 2, -1, -0.5])
    gains /= np.sqrt(long_run_variance(gains, mean_length))
    bootstrap = StationaryBootstrap(mean_length, np.arange(80), seed=7)
    drawn = np.array([data[0][0] for data in bootstrap.bootstrap(999)])
    monkeypatch.setattr(multiplicity, "spread", lambda gains, times: np.ones((len(times), gains.shape[1])))
    statistic, simulated = simulate(gains, drawn, mean_length=mean_length)
    theirs = SPA(np.zeros(80), -gains, block_size=mean_length, reps=999, seed=7)
    theirs.compute()
    assert np.allclose(theirs._loss_diff_var, long_run_variance(gains, mean_length))
    adjusted = step_down(statistic, simulated)
    assert min(adjusted) == pytest.approx((1 + 999 * theirs.pvalues["consistent"]) / 1000)
    for size in (0.05, 0.2, 0.5):
        steps = StepM(np.zeros(80), -gains, size=size, block_size=mean_length, reps=999, seed=7)
        steps.compute()
        assert [*steps.superior_models] == [place for place, p in enumerate(adjusted) if p < size]


def test_standard_errors_of_each_resample_matter_little_where_blocks_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    gains = correlated(np.random.default_rng(5), 250, 6) + 0.1
    found = best_of(clusters_of(gains))
    monkeypatch.setattr(multiplicity, "spread", lambda gains, times: np.ones((len(times), gains.shape[1])))
    assert found.p == pytest.approx(best_of(clusters_of(gains)).p, abs=0.02)


@pytest.mark.parametrize("mean_length", [1.0, 3.0])
def test_the_variance_is_that_of_stationary_bootstraps(mean_length: float) -> None:
    gains = correlated(np.random.default_rng(1), 50, 3, after=0.6)
    means = gains[np.concatenate([draws(50, mean_length)] * 1)].mean(axis=1)
    assert np.allclose(50 * means.var(axis=0), long_run_variance(gains, mean_length), rtol=0.12)


def test_runs_of_drawn_blocks_are_as_long_as_they_should_be() -> None:
    drawn = draws(40, 4.0)
    follows = (drawn[:, 1:] - drawn[:, :-1]) % 40 == 1
    assert 1 / (1 - follows.mean()) == pytest.approx(4.0, rel=0.12)
    assert np.allclose(np.bincount(drawn.ravel()) / drawn.size, 1 / 40, rtol=0.1)


def limit(expected: float, worlds: int) -> float:
    """Return the share of worlds that is exceeded by chance once in a thousand times."""
    return expected + 3.1 * float(np.sqrt(expected * (1 - expected) / worlds))


@pytest.mark.parametrize(("blocks", "models"), [(12, 8), (30, 3), (30, 8), (80, 8)])
def test_noise_is_not_taken_for_skill(blocks: int, models: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The level under the null, of models that are alike, is .06 to .08; the best one's own t is the contrast."""
    monkeypatch.setattr(multiplicity, "RESAMPLES", 299)
    rng, worlds = np.random.default_rng(11), 500
    drawn, p = [correlated(rng, blocks, models) for _ in range(worlds)], []
    for seed, gains in enumerate(drawn):  # of few resamples the same ones would be off in the same way in each world
        monkeypatch.setattr(multiplicity, "SEED", seed)
        p.append(best_of(clusters_of(gains)).p or 0.0)
    alone = np.array([(gains.mean(axis=0) / gains.std(axis=0, ddof=1)).max() * np.sqrt(blocks) for gains in drawn])
    wrong, naive = (float(np.mean(found)) for found in (np.array(p) <= ALPHA, alone > 1.65))
    assert wrong <= limit(0.08, worlds)
    assert naive > 1.5 * wrong


def test_a_better_model_is_found_and_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplicity, "RESAMPLES", 299)
    rng, worlds = np.random.default_rng(12), 300
    found = [best_of(clusters_of(correlated(rng, 60, 5) + np.array([0, 0, 0.8, 0, 0]))) for _ in range(worlds)]
    assert np.mean([one.best == 2 and (one.p or 1) < ALPHA for one in found]) > 0.9
    others = [min(p for place, p in enumerate(one.adjusted) if place != 2 and p is not None) for one in found]
    assert np.mean(np.array(others) <= ALPHA) <= limit(0.08, worlds)


def test_gains_of_equal_rows_are_means_by_block() -> None:
    gains = correlated(np.random.default_rng(2), 30, 2)
    assert np.allclose(shared_gains(clusters_of(gains)), gains)


def test_only_time_that_all_share_counts_by_the_longest_clusters() -> None:
    hours = {str(hour): [60, -0.6] for hour in range(5, 40)}
    days: Mapping[str, Sequence[float]] = {"0": [4, -0.2], "1": [8, 0.0], "2": [9, 1.0]}
    found = shared_gains([(HOUR_US, hours), (24 * HOUR_US, days)])
    assert np.allclose(found[:, 0], 0.01)
    assert found.shape == (2, 2)
    assert found[:, 1].mean() == pytest.approx(0.2 / 12)


def test_many_blocks_are_joined() -> None:
    gains = correlated(np.random.default_rng(2), 1_500, 2)
    found = shared_gains(clusters_of(gains))
    assert 128 <= len(found) <= multiplicity.MOST_BLOCKS
    assert np.allclose(found.mean(axis=0), gains.mean(axis=0))


def test_few_blocks_have_no_p() -> None:
    gains = correlated(np.random.default_rng(2), 9, 3)
    assert best_of([]).record() == {"models": 0, "blocks": 0, "p": None, "underpowered": True}
    few = best_of(clusters_of(gains[:7]))
    assert (few.best, few.p, few.adjusted) == (None, None, (None,) * 3)
    assert (few.models, few.blocks) == (0, 0)
    some = best_of([*clusters_of(gains[:7, :1]), *clusters_of(gains)])
    assert (some.models, some.blocks, some.adjusted[0]) == (3, 9, None), (
        "a model of few blocks leaves the others theirs"
    )
    assert some.adjusted[1:] == best_of(clusters_of(gains)).adjusted
    nine = best_of(clusters_of(gains))
    assert nine.p is not None
    assert nine.underpowered
    assert nine.blocks == 9 < MIN_CLUSTERS
    apart = [(HOUR_US, {str(block): [1, 0.1] for block in range(start, start + 20)}) for start in (0, 100)]
    assert best_of(apart).blocks == 0


def test_models_that_never_leave_their_base_rate_are_no_better() -> None:
    nothing = np.zeros((20, 2))
    assert best_of(clusters_of(nothing)).adjusted == (1.0, 1.0)
    one = np.column_stack([np.zeros(20), correlated(np.random.default_rng(2), 20, 1)[:, 0] + 2])
    found = best_of(clusters_of(one))
    assert (found.best, found.adjusted[0]) == (1, 1.0)
    assert (found.p or 1) < 0.01


def test_clusters_of_the_clock_are_what_it_takes() -> None:
    times = np.arange(3_000) * 60_000_000
    made = log_loss_delta_by_cluster(times, np.full(3_000, -0.01), horizon_bars=10, timeframe_us=60_000_000)
    assert np.allclose(shared_gains([(HOUR_US, made)]), 0.01)
