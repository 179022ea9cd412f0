"""Which params a blend takes: the names of its members, and the params of each."""

from collections.abc import Mapping
from typing import Any

from job.core.entries import EntryError
from job.core.wording import did_you_mean
from job.learning.estimators import algorithm_named
from job.learning.spec import (
    BLEND,
    DEFAULT_MEMBERS,
    DEFAULT_POOL_ALGORITHM,
    MEMBERS,
    POOL,
    POOL_ALGORITHM,
)


def check_blend(params: Mapping[str, Any]) -> None:
    """Check the kinds of a blend's params, and that it is one of several known algorithms.

    Whether an estimator knows a param of that name and value is found when it is built.

    Raises:
        EntryError: they are not, a member is unknown, or there is no blend of these members.
    """
    members = params.get(MEMBERS, [*DEFAULT_MEMBERS])
    if not isinstance(members, list):
        raise EntryError(f"{MEMBERS}: expected a list of algorithms, such as [{', '.join(DEFAULT_MEMBERS)}]")
    if BLEND in members:
        raise EntryError(f"{MEMBERS}: a {BLEND} is no member of a {BLEND}: name its members instead")
    if twice := [name for name in members if members.count(name) > 1]:
        raise EntryError(f"{MEMBERS}: {twice[0]} is named twice: leave one out")
    if len(members) < 2:
        raise EntryError(f"{MEMBERS}: a {BLEND} is of two algorithms or more, got [{''.join(members)}]: name another")
    for name, value in params.items():
        if name not in {MEMBERS, *members}:
            raise EntryError(
                f"{name} is no member of this {BLEND}{did_you_mean(name, [MEMBERS, *members])} "
                f"(members: {', '.join(members)})"
            )
        if name != MEMBERS and not isinstance(value, dict):
            raise EntryError(f"{name}: expected a mapping of parameters, such as {{max_depth: 6}}")
    own = params.get(POOL, {}).get(POOL_ALGORITHM, DEFAULT_POOL_ALGORITHM)
    if POOL in members and (own in {BLEND, POOL} or not isinstance(own, str)):
        raise EntryError(f"{POOL}.{POOL_ALGORITHM}: expected an algorithm of one model, got {own}")
    for name in members:
        algorithm_named(own if name == POOL else name)
