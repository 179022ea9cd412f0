"""What is known of champions and challengers: day by day as at once, in any order of series, and small."""

import json
import math
from dataclasses import astuple, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, norm

from job.core.keys import Key
from job.learning.anytime import log_e, sequences
from job.learning.blocks import Blocks, block_us, merge
from job.learning.comparison import SeedVariance, false_discovery, sequential_test, verdict
from job.learning.decay import BLOCKS_BETWEEN, STAKES, Skill, log_e_of_decay, log_share
from job.learning.judging import judge
from job.learning.metrics import MIN_BLOCKS
from job.learning.sequential import CLIP
from job.learning.watching import SCALE, Watched
from tests.test_comparison import comparison
from tests.test_sequential import evidence_of, wealth_of

Floats = npt.NDArray[np.float64]
HORIZON = 2
BAR_US = 300_000_000
LENGTH = block_us(HORIZON, BAR_US)
PER_BLOCK = LENGTH // BAR_US
LUCK = (SeedVariance(2e-4**2, 9.0), SeedVariance(1e-4**2, 14.0))
LONG = "tactician_15m_20261124_190846_c248e3"


def losses(seed: int, rows: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return times with gaps, and log-losses of base rate, champion and challenger, of which some rows have none."""
    random = np.random.default_rng(seed)
    times = (1_000_000 + np.sort(random.choice(2 * rows, rows, replace=False))) * BAR_US
    found = np.full((3, rows), 0.69) + np.cumsum(random.normal(0, 0.01, (3, rows)), axis=0)
    found[2, random.random(rows) < 0.2] = np.nan
    return times, found


def blocks_of(times: npt.NDArray[np.int64], rows: Floats, **changes: Any) -> Blocks:
    about: dict[str, Any] = {"versions": ("a", "b"), "length": LENGTH, "seeds": LUCK}
    return Blocks.of(times, *rows, **about | changes)


def numbers(record: Any) -> list[Any]:
    """Return all values of a nested record in order."""
    if isinstance(record, dict):
        record = list(record.values())
    return [leaf for one in record for leaf in numbers(one)] if isinstance(record, list | tuple) else [record]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 900), st.lists(st.integers(1, 300), max_size=8))
def test_rounds_in_any_cut_are_all_at_once(seed: int, rows: int, cuts: list[int]) -> None:
    times, values = losses(seed, rows)
    ends = sorted({min(end, rows) for end in np.cumsum([0, *cuts]).tolist()} | {rows})
    parts = [blocks_of(times[start:end], values[:, start:end]) for start, end in pairwise(ends)]
    found = Watched.of(parts[0])
    for one in parts[1:]:
        found = Watched.of_record(json.loads(json.dumps(found.record()))).add(one)
    together = Watched.of(blocks_of(times, values))
    assert numbers(found.record()) == [
        pytest.approx(one, rel=1e-12, abs=1e-12) if isinstance(one, float) else one
        for one in numbers(together.record())
    ]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 200), min_size=1, max_size=6))
def test_series_of_a_pooled_model_merge_in_any_order(seed: int, sizes: list[int]) -> None:
    random = np.random.default_rng(seed)
    parts = []
    for number, rows in enumerate(sizes):
        seeds = (SeedVariance(1e-8 * random.random(), 1.0 + number), SeedVariance(0.0, 1.0))
        parts.append(blocks_of(*losses(seed + number, rows), seeds=seeds))
    merged = merge(parts)
    assert merge([parts[place] for place in random.permutation(len(parts))]) == merged
    assert merge([merged]) == merged
    assert Blocks.of_record(json.loads(json.dumps(merged.record()))) == merged
    times, values = (np.concatenate(some, axis=-1) for some in zip(*(
        losses(seed + number, rows) for number, rows in enumerate(sizes)), strict=True))  # fmt: skip
    whole = blocks_of(times, values, seeds=merged.seeds)
    assert numbers(whole.record()) == [
        pytest.approx(one, abs=1e-12) if isinstance(one, float) else one for one in numbers(merged.record())
    ]


def test_blocks_of_different_versions_do_not_merge() -> None:
    times, values = losses(0, 50)
    one, other = blocks_of(times, values), blocks_of(times, values, versions=("a", "c"))
    for parts in ([one, other], []):
        with pytest.raises(ValueError, match="blocks of one model are of one champion"):
            merge(parts)


def test_a_state_is_small() -> None:
    times, values = losses(1, 30_000)
    found = Watched.of(blocks_of(times + 2**50, values, versions=(LONG, LONG[:-1] + "4")))
    text = json.dumps(found.record())
    assert len(text) <= 1_500
    assert Watched.of_record(json.loads(text)) == found


def test_a_block_is_complete_once_a_later_one_has_rows() -> None:
    times, rows = np.arange(3 * PER_BLOCK) * BAR_US, np.full((3, 3 * PER_BLOCK), 0.69)
    found = Watched.of(blocks_of(times[:PER_BLOCK], rows[:, :PER_BLOCK]))
    assert found.skill.blocks == 0
    found = found.add(blocks_of(times[-1:], rows[:, -1:]))
    assert (found.skill.blocks, found.rows) == (1, PER_BLOCK + 1)
    assert found.challenge is not None
    assert (found.challenge.bets.blocks, found.challenge.rows) == (1, PER_BLOCK + 1)


def test_rows_of_complete_blocks_are_passed_over() -> None:
    times, values = losses(2, 200)
    found = Watched.of(blocks_of(times, values))
    assert found.add(blocks_of(times[:20], values[:, :20])) == found


def test_means_are_those_of_rows_clipped_over_blocks() -> None:
    times, values = np.arange(4 * PER_BLOCK) * BAR_US, np.full((3, 4 * PER_BLOCK), 0.5)
    values[1] += np.repeat([0.001, 0.5, -0.002, 0.0], PER_BLOCK)
    values[2] += np.repeat([0.004, 0.4, -0.022, 0.0], PER_BLOCK)
    found = Watched.of(blocks_of(times, values))
    assert found.skill.total == pytest.approx(SCALE * 0.001 + CLIP - SCALE * 0.002)
    assert found.challenge is not None
    assert found.challenge.bets.total == pytest.approx(0.003 - CLIP - CLIP)
    assert found.loss - found.base == pytest.approx(PER_BLOCK * (0.001 + 0.5 - 0.002))


def test_new_versions_begin_from_nothing() -> None:
    times, values = losses(3, 600)
    first, later = (slice(None, 400), slice(400, None))
    known = Watched.of(blocks_of(times[first], values[:, first]))
    rest = times[later], values[:, later]
    promoted = known.add(blocks_of(*rest, versions=("b", None)))
    assert promoted == replace(Watched.of(blocks_of(*rest, versions=("b", None))))
    assert (promoted.challenge, promoted.challengers) == (None, 0)
    other = known.add(blocks_of(*rest, versions=("a", "c")))
    assert other.skill == known.add(blocks_of(*rest)).skill
    alone = Watched.of(blocks_of(*rest, versions=("a", "c"))).challenge
    assert other.challenge is not None
    assert alone is not None
    assert numbers(vars(other.challenge)["bets"].__dict__) == pytest.approx(numbers(alone.bets.__dict__))
    assert other.challengers == 2
    released = known.add(blocks_of(*rest, versions=("a", None)))
    assert (released.challenge, released.challengers) == (None, 1)


def test_seeds_that_are_not_known_stay_so() -> None:
    times, values = losses(4, 600)
    known = Watched.of(blocks_of(times[:300], values[:, :300], seeds=None))
    found = known.add(blocks_of(times[300:], values[:, 300:]))
    assert found.challenge is not None
    assert found.challenge.seeds is None
    (judged,) = judge({Key("x", "A", "5m", "analyst"): found}).values()
    assert (judged.verdict, judged.q) == ("cannot tell", None)


@pytest.mark.parametrize("blocks", [1, BLOCKS_BETWEEN, BLOCKS_BETWEEN + 1, 5 * BLOCKS_BETWEEN + 7])
def test_decay_adds_up_bets_of_all_beginnings(blocks: int) -> None:
    means = np.random.default_rng(blocks).normal(0.001, 0.008, blocks)
    wealth = 0.0
    for stake in STAKES:
        for number, begun in enumerate(range(0, blocks, BLOCKS_BETWEEN), 1):
            own = math.exp(log_share(number))
            for mean in means[begun:]:
                own *= 1 + stake * min(CLIP, max(-CLIP, mean))
            wealth += own / len(STAKES)
    (found,) = log_e_of_decay([Skill().with_means(means.tolist())])
    assert found == pytest.approx(math.log(wealth))


def test_all_beginnings_together_have_a_wealth_of_one() -> None:
    shares = np.exp([log_share(number) for number in range(1, 100_000)])
    assert shares.sum() < 1
    assert (np.diff(shares) < 0).all()


def fleet(*shifts: float, blocks: int = 400, seeds: Any = ()) -> dict[Key, Watched]:
    """Return models whose challengers differ by so much in the mean."""
    states = {}
    for number, shift in enumerate(shifts):
        random = np.random.default_rng(number)
        rows = np.full((3, blocks * PER_BLOCK), 0.69) + random.normal(0, 0.01, (3, blocks * PER_BLOCK))
        rows[2] += shift
        one = blocks_of(np.arange(rows.shape[1]) * BAR_US, rows, seeds=seeds)
        states[Key("x", f"S{number}", "5m", "analyst")] = Watched.of(one)
    return states


@pytest.mark.parametrize("seeds", [(), LUCK])
def test_verdicts_follow_the_rule_of_comparisons(seeds: Any) -> None:
    states = fleet(-0.004, 0.004, 0.0, -0.0002, seeds=seeds)
    judged = judge(states, margin=0.003)
    assert [one.verdict for one in judged.values()] == ["better", "worse", *["not worse"] * 2]
    for key, one in judged.items():
        known, found = states[key].challenge, one.challenge
        assert known is not None
        assert found is not None
        told = comparison(
            **{name: getattr(found, name) for name in ("rows", "difference", "low", "high", "p", "blocks")}
        )
        assert verdict(told, one.q, margin=0.003) == one.verdict
        assert json.loads(json.dumps(one.record()))["challenge"]["p"] == found.p


@pytest.mark.parametrize("seeds", [(), LUCK])
@pytest.mark.parametrize("shift", [-0.004, 0.0005])
def test_intervals_are_those_of_comparisons(shift: float, seeds: Any) -> None:
    differences = np.random.default_rng(0).normal(shift, 0.01, 5_000)
    evidence = evidence_of(differences)
    assert evidence.running is not None
    length = evidence.running.length * BAR_US
    rows = np.stack([np.full(5_000, 0.69), np.full(5_000, 0.69), 0.69 + differences])
    state = Watched.of(blocks_of(np.arange(5_000) * BAR_US, rows, length=length, seeds=seeds))
    assert state.challenge is not None
    known = replace(evidence, running=replace(evidence.running, **vars(state.challenge.bets)))
    (found,) = judge({Key("x", "A", "5m", "analyst"): state}).values()
    assert found.challenge is not None
    *expected, _ = sequential_test(known, seeds, alpha=0.05)
    assert (found.challenge.low, found.challenge.high, found.challenge.p) == pytest.approx(tuple(expected))


def test_too_few_blocks_tell_nothing() -> None:
    (one,) = judge(fleet(-0.5, blocks=MIN_BLOCKS)).values()
    assert (one.verdict, one.q, one.standing) == ("cannot tell", None, "unproven")
    (one,) = judge(fleet(-0.5, blocks=1)).values()
    assert one.skill == one.challenge is not None
    assert (one.skill.difference, one.skill.p) == (None, None)


def test_nothing_is_known_of_no_models() -> None:
    assert judge({}) == {}


def test_q_is_of_the_fleet_and_of_how_many_challengers_there_were() -> None:
    states = fleet(*np.linspace(-0.0012, -0.0004, 12))
    wealth = [
        float(log_e(*(np.array([one]) for one in (bets.blocks, -bets.total, bets.spread)),
            variance=np.zeros(1), freedom=np.ones(1))[0])
        for bets in (one.challenge.bets for one in states.values() if one.challenge is not None)
    ]  # fmt: skip
    for attempts in (1, 4):
        p = np.minimum(1, attempts * (attempts + 1) * np.exp(-np.array(wealth)))
        judged = judge({key: replace(one, challengers=attempts) for key, one in states.items()})
        assert [one.q for one in judged.values()] == pytest.approx(false_discovery_control(p).tolist())


def test_a_champion_may_be_better_or_become_worse() -> None:
    def champion(*shifts: float) -> Watched:
        rows = np.full((2, 400 * len(shifts) * PER_BLOCK), 0.69)
        rows += np.random.default_rng(0).normal(0, 0.03, rows.shape)
        rows[1] += np.repeat(shifts, 400 * PER_BLOCK)
        times = np.arange(rows.shape[1]) * BAR_US
        return Watched.of(Blocks.of(times, *rows, versions=("a", None), length=LENGTH))

    keys = [Key("x", name, "5m", "analyst") for name in "ABCD"]
    states = dict(zip(keys, map(champion, *zip((-0.01, -0.01), (-0.01, 0.01), (0.0, 0.0), strict=True)), strict=False))
    assert [one.standing for one in judge(states).values()] == ["better", "decayed", "unproven"]
    for one in judge(states).values():
        assert (one.verdict, one.challenge, one.q) == (None, None, None)


@given(st.lists(st.floats(0, 1) | st.none(), max_size=30))
def test_false_discoveries_are_those_of_scipy(p_values: list[float | None]) -> None:
    known = [p for p in p_values if p is not None]
    expected = iter(false_discovery_control(known).tolist() if known else [])
    found = false_discovery(p_values)
    assert found == [None if p is None else pytest.approx(next(expected)) for p in p_values]


def test_e_values_stay_so_with_the_luck_of_seeds_and_1_over_p_does_not() -> None:
    """Equal kinds of models, whose seeds make them differ: with many blocks, this luck is all that is found."""
    random, draws, blocks, error = np.random.default_rng(0), 200_000, 5_000.0, 3e-4
    noise, luck = 0.002 * np.sqrt(blocks) * random.standard_normal(draws), error * random.standard_normal(draws)
    total, spread = blocks * luck + noise, np.full(draws, 0.002**2 * blocks)
    about: dict[str, Floats] = {"variance": np.full(draws, error**2), "freedom": np.full(draws, 1e6)}
    counts = np.full(draws, blocks)
    e = np.exp(log_e(counts, -total, spread, **about))
    assert e.mean() + 3 * e.std() / math.sqrt(draws) < 1
    few = slice(50_000)  # which take a second
    sums, given = (counts[few], total[few], spread[few], (total / counts)[few]), {k: v[few] for k, v in about.items()}
    found = sequences(*sums, alpha=0.05, **given)
    assert (1 / found.p).mean() > 1.2
    assert (e[luck < error * norm.ppf(1e-4)]).mean() > 100, "it does win where there is more than luck"


def test_without_luck_e_values_are_the_wealth() -> None:
    known = fleet(-0.001, 0.001)
    bets = [one.challenge.bets for one in known.values() if one.challenge is not None]
    blocks, total, spread = np.array([astuple(one) for one in bets]).T
    found = log_e(blocks, -total, spread, variance=np.array([0.0, 1e-8]), freedom=np.array([1.0, 9.0]))
    assert found[0] == pytest.approx(wealth_of(bets[0], 0.0, below=True))
    assert found[1] < wealth_of(bets[1], 0.0, below=True) + math.log(2)
