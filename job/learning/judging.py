"""Whether champions are better than their base rate, and challengers better than them, over all models together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from job.core.keys import Key
from job.learning.anytime import log_e, sequences
from job.learning.comparison import ALPHA, MARGIN, Verdict, false_discovery, variance_and_freedom, verdict_of
from job.learning.decay import log_e_of_decay
from job.learning.metrics import MIN_BLOCKS, FloatArray
from job.learning.sequential import Betting
from job.learning.watching import SCALE, Watched

Standing = Literal["better", "unproven", "decayed"]


@dataclass(frozen=True)
class Estimate:
    """Mean difference of log-loss on `rows`, in nats, its confidence sequence and p; null where nothing is known yet.

    The interval of 1 - alpha and the two-sided p agree, and are right whenever one looks.
    """

    rows: int
    blocks: int
    difference: float | None
    low: float | None
    high: float | None
    p: float | None


@dataclass(frozen=True)
class Judged:
    """What a model's champion and challenger are known to be.

    `skill` is of the champion's log-loss less that of its base rate, `challenge` of the challenger's less that of the
    champion. `decay_q` and `q` are for the claims that the champion has become worse than its base rate, and that the
    challenger is better: p after false discoveries of all models are controlled (e-BH).
    """

    standing: Standing
    skill: Estimate
    decay_q: float | None
    verdict: Verdict | None = None
    challenge: Estimate | None = None
    q: float | None = None

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)


def judge(states: Mapping[Key, Watched], *, alpha: float = ALPHA, margin: float = MARGIN) -> dict[Key, Judged]:
    """Return what is known of each model's champion and challenger, by all that is known of all models.

    A champion is `decayed` where that is found with q below `alpha`, else `better` where its interval lies below 0. It
    is memoryless: bars that speak for the champion again may end it. A challenger has the verdict of
    `comparison.verdict`, by its interval and q.

    Both q are by e-BH (Wang and Ramdas 2022): Benjamini and Hochberg's q of 1 / e, right however models depend on each
    other, and at any time at which one looks and acts. A champion's n-th challenger bets 1 / (n (n + 1)) of a wealth of
    1: with a probability of `alpha` at most, one of all that it will ever have is found better by chance.
    """
    if not states:
        return {}
    held = {key: one.challenge for key, one in states.items() if one.challenge is not None}
    skills = [_Tested(one.skill, one.rows, one.loss - one.base, scale=SCALE) for one in states.values()]
    challenges = [
        _Tested(one.bets, one.rows, one.challenger - one.champion, variance_and_freedom(one.seeds or ()))
        for one in held.values()
    ]
    estimates = _estimates([*skills, *challenges], alpha=alpha)
    blocks, total, spread, variance, freedom = _arrays(challenges)
    attempts = np.array([states[key].challengers for key in held])
    log_wealth = log_e(blocks, -total, spread, variance=variance, freedom=freedom) - np.log(attempts * (attempts + 1))
    # Those of which nothing can be told yet have no p, and do not count.
    tellable = [one.bets.blocks >= MIN_BLOCKS and one.seeds is not None for one in held.values()]
    q_values = false_discovery([p if yes else None for p, yes in zip(_p_of(log_wealth), tellable, strict=True)])
    told = {
        key: ("cannot tell" if q is None else verdict_of(one.low, one.high, q, alpha=alpha, margin=margin), one, q)
        for key, one, q in zip(held, estimates[len(skills) :], q_values, strict=True)
    }
    decays = false_discovery(_p_of(log_e_of_decay([one.skill for one in states.values()])))
    return {
        key: Judged(_standing(one, q, alpha=alpha), one, q, *told.get(key, ()))
        for key, one, q in zip(states, estimates[: len(skills)], decays, strict=True)
    }


class _Tested(NamedTuple):
    """A difference of log-loss, whose sum over `rows` is `change`, bet upon times `scale`; `luck` is that of seeds."""

    bets: Betting
    rows: int
    change: float
    luck: tuple[float, float] = (0.0, 1.0)
    scale: float = 1.0


def _standing(skill: Estimate, decay_q: float | None, *, alpha: float) -> Standing:
    if decay_q is not None and decay_q < alpha:
        return "decayed"
    return "better" if skill.high is not None and skill.high < 0 else "unproven"


def _estimates(tested: Sequence[_Tested], *, alpha: float) -> list[Estimate]:
    """Return what is known of each difference."""
    blocks, total, spread, variance, freedom = _arrays(tested)
    scale = np.array([one.scale for one in tested])
    means = np.array([one.change / max(one.rows, 1) for one in tested])
    found = sequences(blocks, total, spread, scale * means, variance=variance, freedom=freedom, alpha=alpha)
    numbers = np.column_stack([means, found.low / scale, found.high / scale, found.p]).tolist()
    return [
        Estimate(one.rows, one.bets.blocks, *(told if one.bets.blocks else (None, None, None, None)))
        for one, told in zip(tested, numbers, strict=True)
    ]


def _arrays(tested: Sequence[_Tested]) -> FloatArray:
    """Return blocks, totals, spreads, variances and freedoms: float64 [5, tests]."""
    numbers = [(one.bets.blocks, one.bets.total, one.bets.spread, *one.luck) for one in tested]
    return np.array(numbers, np.float64).reshape(-1, 5).T


def _p_of(log_e_values: FloatArray) -> list[float]:
    """Return 1 / e, at most 1."""
    p: list[float] = np.exp(-np.maximum(log_e_values, 0.0)).tolist()
    return p
