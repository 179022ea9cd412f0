"""Whether champions are better than their base rate, and challengers better than them, over all models together."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

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
    watched = list(states.values())
    decays = false_discovery(_p_of(log_e_of_decay([one.skill for one in watched])))
    skills = _estimates(
        [one.skill for one in watched],
        rows=[one.rows for one in watched],
        means=[(one.loss - one.base) / max(one.rows, 1) for one in watched],
        luck=[(0.0, 1.0)] * len(watched),
        alpha=alpha,
        scale=SCALE,
    )
    challengers = _judge_challengers(states, alpha=alpha, margin=margin)
    judged = {}
    for key, skill, decay_q in zip(states, skills, decays, strict=True):
        standing: Standing = "unproven"
        if decay_q is not None and decay_q < alpha:
            standing = "decayed"
        elif skill.high is not None and skill.high < 0:
            standing = "better"
        judged[key] = Judged(standing, skill, decay_q, *challengers.get(key, ()))
    return judged


def _judge_challengers(
    states: Mapping[Key, Watched], *, alpha: float, margin: float
) -> dict[Key, tuple[Verdict, Estimate, float | None]]:
    """Return the verdict of each challenger, what it rests on, and q."""
    known = {key: one.challenge for key, one in states.items() if one.challenge is not None}
    if not known:
        return {}
    held = list(known.values())
    luck = [variance_and_freedom(one.seeds or ()) for one in held]
    found = _estimates(
        [one.bets for one in held],
        rows=[one.rows for one in held],
        means=[one.difference or 0.0 for one in held],
        luck=luck,
        alpha=alpha,
    )
    blocks, total, spread = _arrays([one.bets for one in held])
    variance, freedom = np.array(luck).T
    order = np.array([states[key].challengers for key in known])
    e = log_e(blocks, -total, spread, variance=variance, freedom=freedom) - np.log(order * (order + 1))
    tellable = [one.bets.blocks >= MIN_BLOCKS and one.seeds is not None for one in held]
    q_values = false_discovery([p if told else None for p, told in zip(_p_of(e), tellable, strict=True)])
    return {
        key: (verdict_of(one.low, one.high, q, alpha=alpha, margin=margin) if told else "cannot tell", one, q)
        for key, one, q, told in zip(known, found, q_values, tellable, strict=True)
    }


def _estimates(
    bets: Sequence[Betting],
    *,
    rows: Sequence[int],
    means: Sequence[float],
    luck: Sequence[tuple[float, float]],
    alpha: float,
    scale: float = 1.0,
) -> list[Estimate]:
    """Return what is known of each difference, which was bet upon times `scale`; `luck` is variance and freedom."""
    blocks, total, spread = _arrays(bets)
    variance, freedom = np.array(luck).T
    found = sequences(
        blocks, total, spread, scale * np.array(means), variance=variance, freedom=freedom, alpha=alpha
    )  # fmt: skip
    ends = zip(*((part / scale).tolist() for part in (found.low, found.high)), found.p.tolist(), strict=True)
    return [
        Estimate(count, one.blocks, mean if count else None, *(told if one.blocks else (None, None, None)))
        for count, one, mean, told in zip(rows, bets, means, ends, strict=True)
    ]


def _arrays(bets: Sequence[Betting]) -> tuple[FloatArray, FloatArray, FloatArray]:
    blocks, total, spread = np.array([(one.blocks, one.total, one.spread) for one in bets]).T
    return blocks, total, spread


def _p_of(log_e_values: FloatArray) -> list[float]:
    """Return 1 / e, at most 1."""
    return [float(p) for p in np.exp(-np.maximum(log_e_values, 0.0))]
