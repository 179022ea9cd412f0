"""Which settings to try next: Optuna's sampler, made again for every trial from what is known, so that it has no state.

What a trial is depends on the study's seed, its number, and the trials of finished batches. A study that was killed and
resumed therefore tries the same settings as one that was not.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from job.learning.choice import Trial
from job.learning.spaces import Range, Space
from job.learning.spec import Scalar

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LIBRARY: Final = "optuna"
RANDOM_TRIALS: Final = 8
"""Trials at random before the sampler goes by what the others came to."""
REDRAWS: Final = 10
"""How often settings are drawn again that were tried already; small spaces run out of others."""


def ask(numbers: Iterable[int], known: Iterable[Trial], space: Space, *, seed: int) -> dict[int, dict[str, Scalar]]:
    """Return the parameters of the trials `numbers`, given those of all batches before; 0 is the default: none.

    Args:
        numbers: of the trials of one batch.
        known: all trials of the batches before.
        space: what to search.
        seed: of the study.
    """
    known = [trial for trial in known if trial.number]
    seen = [trial.params for trial in known]
    return {number: _params(number, known, seen, space, seed) if number else {} for number in numbers}


def _params(number: int, known: list[Trial], seen: list[dict[str, Any]], space: Space, seed: int) -> dict[str, Scalar]:
    import optuna  # noqa: PLC0415 - an optional library, which takes a second to import
    from optuna import distributions as kinds  # noqa: PLC0415 - as above
    from optuna.trial import TrialState, create_trial  # noqa: PLC0415 - as above

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, BaseDistribution] = {}
    for name, one in sorted(space.items()):
        if not isinstance(one, Range):
            distributions[name] = kinds.CategoricalDistribution(one)
        elif one.whole:
            distributions[name] = kinds.IntDistribution(int(one.low), int(one.high), log=one.log)
        else:
            distributions[name] = kinds.FloatDistribution(one.low, one.high, log=one.log)
    finished = [
        create_trial(value=trial.mean, params=trial.params, distributions=distributions)
        if trial.state != "pruned"  # one that was counts as worse than all complete ones
        else create_trial(
            state=TrialState.PRUNED,
            params=trial.params,
            distributions=distributions,
            intermediate_values={1: trial.mean},
        )
        for trial in known
        if trial.state != "failed"
    ]
    params: dict[str, Scalar] = {}
    for draw in range(REDRAWS):
        digest = hashlib.sha256(json.dumps([seed, number, draw]).encode()).digest()
        own_seed = int.from_bytes(digest[:4], "big")
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=own_seed, n_startup_trials=RANDOM_TRIALS))
        study.add_trials(finished)
        params = dict(sorted(study.ask(distributions).params.items()))
        if params not in seen:
            break
    return params
