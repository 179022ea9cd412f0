"""A watcher that looks each day and acts whenever it may is rarely wrong, and finds what there is."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binom

from job.learning.comparison import ALPHA, interval_and_p
from tests.test_sequential import evidence_of
from tests.watchers import (
    BAR_US,
    BLOCKS,
    DAY,
    DAYS,
    HORIZON,
    LENGTH,
    SERIES,
    YEAR,
    World,
    days_until_flagged,
    days_until_promoted,
    drawn,
    fixed_test,
    fixed_test_promotes,
    mirrored_pieces,
    pieces,
    year_of_challengers,
    year_of_equals,
)
from tests.worlds import in_two_processes

FLEETS = 60


def test_rows_have_heavy_tails_and_hang_together() -> None:
    pool = pieces(World())
    means = np.concatenate([one.differences for one in pool])
    kurtosis = float(((means - means.mean()) ** 4).mean() / means.var() ** 2)
    assert kurtosis > 4
    assert len(means) == len(pool) * BLOCKS
    independent = 0.03 * 0.5 * np.sqrt(2 / (DAY * DAYS / BLOCKS))
    assert means.std() > 1.5 * independent
    assert abs(float(np.corrcoef(means[1:], means[:-1])[0, 1])) < 0.1, "blocks are long enough"


def test_mirror_images_differ_by_nothing() -> None:
    pool = mirrored_pieces(World())
    assert sum(one.differences.sum() for one in pool) == pytest.approx(0, abs=1e-12)
    sums = np.array([one[1:] for piece in pool for day in piece.days for one in day])
    assert sums[:, 1].sum() == pytest.approx(sums[:, 2].sum())
    assert sums[:, 4].sum() == pytest.approx(sums[:, 5].sum())


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_in_a_year_of_daily_looks_few_fleets_have_a_wrong_promotion_or_alarm() -> None:
    """Challengers as good as champions, and these as good as their base rate; the fixed test is the contrast."""
    promoted, alarmed, fixed = (np.array(in_two_processes(year_of_equals, range(FLEETS))) > 0).sum(axis=0)
    assert promoted <= ALPHA * FLEETS
    assert alarmed <= ALPHA * FLEETS
    assert fixed > binom.ppf(0.999, FLEETS, ALPHA)


@pytest.mark.slow
def test_new_challengers_again_and_again_are_no_more_often_promoted_by_chance() -> None:
    promoted = np.array(in_two_processes(year_of_challengers, range(12))) > 0
    assert promoted.sum() <= binom.ppf(0.99, 12, ALPHA)


@pytest.mark.slow
def test_a_challenger_better_by_two_thousandths_is_promoted_within_months() -> None:
    world = World(extra=0.126, lasting=1)
    assert np.concatenate([one.differences for one in pieces(world)]).mean() == pytest.approx(-0.002, abs=0.0003)
    found = np.concatenate(in_two_processes(partial(days_until_promoted, world=world), range(3)))
    assert np.median(found) <= 160
    assert (found <= YEAR).sum() >= binom.ppf(0.01, 3 * SERIES, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize(("skill", "most"), [(0.283, 150), (0.4, 100)])
def test_a_champion_whose_signal_is_turned_off_is_flagged(skill: float, most: int) -> None:
    found = np.concatenate(in_two_processes(partial(days_until_flagged, world=World(skill=skill)), range(3)))
    assert found.min() > 0, "none before"
    assert np.median(found) <= most
    assert (found <= YEAR).sum() >= binom.ppf(0.01, 3 * SERIES, 0.95)


def test_the_contrast_is_the_fixed_test() -> None:
    fleet = drawn(np.random.default_rng(3), pieces(World(extra=0.126, lasting=1)), 40)
    assert fixed_test_promotes(fleet), "what is better is found"
    blocks = np.concatenate([[one.differences for one in own] for own in fleet], axis=1)
    mean, p = fixed_test(blocks)
    evidence = evidence_of(blocks[0].repeat(LENGTH // BAR_US), horizon=HORIZON)
    _, _, expected = interval_and_p(evidence, "difference", (), alpha=ALPHA)
    assert evidence.complete_blocks == blocks.shape[1]
    assert p[0, -1] == pytest.approx(expected)
    assert mean[0, -1] == pytest.approx(evidence.mean("difference"))
