"""The test over a fleet: as rare as it says however few the clusters, and never against a model's own interval."""

import math

import numpy as np
import pytest
from scipy.stats import binom, norm
from scipy.stats import t as student_t

from job.config.settings import load_config
from job.learning.fleet import HOUR_US, FleetSkill, fleet_of_one, fleet_skill, fleet_test, log_loss_delta_by_cluster
from job.learning.metrics import Skill, skill
from job.registry.outcome import Outcome
from job.storage.files import Storage
from job.train.record import TrainingRecord

HORIZON = 10
CLUSTER = 5 * HORIZON
DRAWS = 2_000


def losses(random: np.random.Generator, rows: int) -> np.ndarray:
    """Return changes of log-loss without skill: labels of `HORIZON` bars times what a model persists in."""
    labels = np.convolve(random.standard_normal(rows + HORIZON), np.ones(HORIZON), "valid")[:rows]
    leaning = np.convolve(random.standard_normal(rows + 2 * HORIZON), np.ones(2 * HORIZON), "valid")[:rows]
    changes: np.ndarray = labels * leaning
    return changes


def without_skill(seed: int, clusters: int) -> FleetSkill:
    """Return the test over three symbols that move together, on so many clusters, the outer ones incomplete."""
    random = np.random.default_rng(seed)
    first, last = int(random.integers(CLUSTER)), int(random.integers(CLUSTER * (clusters - 1), CLUSTER * clusters))
    times, common = np.arange(first, last), losses(random, last - first)
    changes = [common + losses(random, last - first) for _ in range(3)]
    return fleet_test(
        log_loss_delta_by_cluster(times * HOUR_US, one, horizon_bars=HORIZON, timeframe_us=HOUR_US) for one in changes
    )


@pytest.mark.parametrize("clusters", [4, 12, 35])
def test_no_skill_is_found_as_rarely_as_the_normal_distribution_says(clusters: int) -> None:
    found = [without_skill(seed, clusters) for seed in range(DRAWS)]
    rare = sum(one.z < -2 for one in found)
    assert binom.ppf(0.001, DRAWS, 0.01) <= rare <= binom.ppf(0.999, DRAWS, 0.04)
    assert 0.01 <= rare / DRAWS <= 0.04
    if clusters == 4:
        assert sum(one.t < -2 for one in found) > 0.05 * DRAWS, "read as normal, t is far too often below -2"


@pytest.mark.parametrize("t", [-30.0, -2.5, -0.1, 0.4, 3.0])
@pytest.mark.parametrize("clusters", [2, 5, 40])
def test_p_and_z_are_those_of_students_distribution(t: float, clusters: int) -> None:
    found = fleet_skill(0.1, t, clusters)
    assert found.p == pytest.approx(2 * student_t.sf(abs(t), clusters - 1))
    assert norm.cdf(-abs(found.z)) == pytest.approx(found.p / 2)
    assert math.copysign(1, found.z) == math.copysign(1, t)
    assert found.underpowered is (clusters < 10)


def test_what_is_beyond_floating_point_is_finite_and_what_is_unknown_null() -> None:
    assert fleet_skill(-1.0, -500.0, 1_000).z == pytest.approx(-37.0, abs=0.1)
    assert fleet_skill(0.0, math.nan, 40).record() == {
        "t": None, "p": None, "z": None, "clusters": 40, "underpowered": False,
    }  # fmt: skip
    assert fleet_skill(0.0, 3.0, 1).record()["p"] is None


def drawn(seed: int) -> tuple[Skill, FleetSkill]:
    """Return the skill of one model with its interval, and the test of a fleet that is this model."""
    random = np.random.default_rng(seed)
    loss, base = 0.69 + 0.02 * losses(random, 600) - 0.03, np.full(600, 0.69)
    own = skill(np.arange(600), loss, base, horizon_bars=HORIZON)
    scores: dict[str, float | bool | None] = {
        "skill": own.value, "skill_low": own.low, "skill_high": own.high,
    }  # fmt: skip
    record = TrainingRecord("20240101_000000_abcdef", load_config({}), Storage("memory://fleet"), planned=1)
    deltas = log_loss_delta_by_cluster(
        np.arange(600) * HOUR_US, loss - base, horizon_bars=HORIZON, timeframe_us=HOUR_US
    )
    record.add(Outcome("x", "A", "1h", "analyst", "trained", scores=scores, blocks=own.blocks, log_loss_delta=deltas))
    (fleet,) = record.as_dict()["fleet"]
    assert fleet["clusters"] == own.blocks
    return own, FleetSkill(*(fleet[name] for name in ("change", "t", "p", "z", "clusters")))


def test_one_model_never_contradicts_its_own_interval() -> None:
    found = [drawn(seed) for seed in range(60)]
    for own, fleet in found:
        assert own.low is not None
        assert own.high is not None
        assert (fleet.p < 0.05) is not (own.low <= 0 <= own.high)
        assert fleet.t * own.value < 0
    assert 0 < sum(fleet.p < 0.05 for _, fleet in found) < 60


def test_one_model_without_an_interval_has_no_test() -> None:
    assert math.isnan(fleet_of_one(0.1, None, 1).t)
