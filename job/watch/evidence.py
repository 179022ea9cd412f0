"""What the outcomes of a round add to what is known of every model."""

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce

from job.core.keys import Key
from job.learning.watching import Blocks
from job.registry.watching import State, WatchedModel
from job.watch.plan import ScoringPlan
from job.watch.task import Scored


def updated(state: State, plan: ScoringPlan, outcomes: Iterable[Scored]) -> State:
    """Return the state with what was scored added to it; it has the same number, since it is not written yet.

    Where a series failed, or where bars have changed since they were scored, nothing is added to its models, and their
    evidence is to be counted again: what was read of the series is noted for all of its models alike.
    """
    models = {task.key: task.model for task in plan.tasks}
    own: dict[Key, list[Scored]] = {}
    readings = dict(state.readings)
    for outcome in outcomes:
        own.setdefault(models[outcome.key], []).append(outcome)
        if outcome.reading is not None:
            readings[f"{outcome.exchange}/{outcome.symbol}"] = outcome.reading
    wanted = {key: sum(one == key for one in models.values()) for key in own}
    found = {key: _added(plan.models[key], scored, whole=len(scored) == wanted[key]) for key, scored in own.items()}
    return replace(state, models={**state.models, **found}, readings=readings)


def _added(model: WatchedModel, scored: list[Scored], *, whole: bool) -> WatchedModel:
    if not whole or any(one.status == "failed" or one.revised for one in scored):
        return replace(model, again=True)
    blocks = [one.blocks for one in sorted(scored, key=lambda one: one.key) if one.blocks is not None]
    if not blocks:
        return replace(model, again=False)
    return replace(model, evidence=model.evidence.add(reduce(Blocks.merge, blocks)), again=False)
