"""The probability of backtest overfitting: against a slow oracle, in simulations, and from what metadata keep."""

import json
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from job.learning.fleet import HOUR_US
from job.learning.overfitting import (
    MOST_BLOCKS,
    loss_by_block,
    overfitting_of,
    probability_of_overfitting,
    shared_losses,
)

Floats = np.ndarray[Any, np.dtype[np.float64]]


def oracle(loss: Floats, groups: int) -> float:
    """Return PBO as its definition says, group by group, of blocks of equally many rows."""
    parts = np.array_split(np.arange(len(loss)), groups)
    found = []
    for chosen in combinations(range(groups), groups // 2):
        inside = np.concatenate([parts[group] for group in chosen])
        outside = np.setdiff1d(np.arange(len(loss)), inside)
        best = loss[inside].mean(axis=0).argmin()
        rank = (loss[outside].mean(axis=0) >= loss[outside].mean(axis=0)[best]).sum() / (loss.shape[1] + 1)
        logit = np.log(rank / (1 - rank))
        found.append(1.0 if logit < -1e-12 else 0.5 if logit < 1e-12 else 0.0)
    return float(np.mean(found))


@pytest.mark.parametrize(("blocks", "versions", "groups"), [(8, 4, 8), (11, 7, 10), (24, 5, 16)])
def test_it_is_what_its_definition_says(blocks: int, versions: int, groups: int) -> None:
    loss = np.random.default_rng(blocks).normal(0.69, 0.01, (blocks, versions))
    assert probability_of_overfitting(loss, np.full(blocks, 50.0)) == pytest.approx(oracle(loss, groups))


def worlds(number: int, *, edge: float) -> Floats:
    """Return the PBO of worlds in which six versions are alike, but for the edge of one of them."""
    rng = np.random.default_rng(21)
    found = []
    for _ in range(number):
        level = rng.normal(0.69, 0.02, (12, 1))
        loss = level + rng.normal(0, 0.002, (12, 6))
        loss[:, 3] -= edge
        found.append(probability_of_overfitting(loss, np.full(12, 100.0)))
    return np.array(found)


def test_noise_is_overfitted_half_of_the_time_and_a_better_version_is_not() -> None:
    noise, better = worlds(200, edge=0.0), worlds(60, edge=0.003)
    error = float(noise.std() / np.sqrt(len(noise)))
    assert abs(noise.mean() - 0.5) < 3.1 * error < 0.1
    assert better.mean() < 0.05


def described(
    rng: np.random.Generator, *, first: int = 0, rows: int = 2_400, edge: float = 0.0, timeframe_us: int = HOUR_US
) -> dict[str, Any]:
    """Return the blocks of a version that was scored on hours from `first` on."""
    hours = np.arange(first, first + rows)
    loss = 0.69 + np.random.default_rng(5).normal(0, 0.02, 5_000)[hours] + rng.normal(0, 0.01, rows) - edge
    return loss_by_block(hours * timeframe_us, loss, horizon_bars=10, timeframe_us=timeframe_us)


def test_metadata_keep_little_of_it() -> None:
    rng = np.random.default_rng(0)
    for rows in (30, 1_000, 1_601, 4_999):
        made = described(rng, rows=rows)
        assert len(json.dumps(made, indent=1)) <= 1_024
        assert len(made["rows"]) == len(made["loss"]) <= MOST_BLOCKS
        assert sum(made["rows"]) == rows
    gap = np.concatenate([np.arange(500), np.arange(2_000, 2_500)]) * HOUR_US
    made = loss_by_block(gap, np.full(1_000, 0.5), horizon_bars=10, timeframe_us=HOUR_US)
    assert {loss for count, loss in zip(made["rows"], made["loss"], strict=True) if count} == {0.5}
    assert 0 in made["rows"]


def test_blocks_line_up_whatever_the_holdouts() -> None:
    rng = np.random.default_rng(1)
    rows, loss = shared_losses([described(rng), described(rng, first=700, rows=3_300), described(rng, rows=2_000)])
    assert loss.shape == (len(rows), 3)
    assert set(rows) == {200.0}, "blocks that a holdout cuts are left out"
    assert shared_losses([described(rng, rows=400), described(rng, first=2_000, rows=400)])[1].shape[0] == 0
    mean = np.array(described(np.random.default_rng(7), rows=1_600)["loss"]).mean()
    alone = shared_losses([described(np.random.default_rng(7), rows=1_600)])
    assert (alone[0] @ alone[1]) / alone[0].sum() == pytest.approx(mean)


def test_versions_that_share_a_holdout_are_judged() -> None:
    rng = np.random.default_rng(2)
    noise = overfitting_of([described(rng) for _ in range(5)])
    assert (noise.versions, noise.blocks) == (5, 24)
    assert noise.pbo is not None
    better = overfitting_of([described(rng, edge=0.01 * (number == 2)) for number in range(5)])
    assert (better.pbo or 0) < 0.02
    assert better.record() == {"versions": 5, "blocks": 24, "pbo": better.pbo}


@pytest.mark.parametrize("versions", [0, 1, 3])
def test_few_versions_or_blocks_have_none(versions: int) -> None:
    rng = np.random.default_rng(3)
    assert overfitting_of([described(rng) for _ in range(versions)]).pbo is None
    assert overfitting_of([described(rng, rows=300) for _ in range(6)]).pbo is None


def test_a_version_that_was_made_again_is_the_same_version() -> None:
    rng = np.random.default_rng(4)
    three = [described(rng) for _ in range(3)]
    found = overfitting_of([*three, three[0], three[2]])
    assert (found.versions, found.pbo) == (3, None)
