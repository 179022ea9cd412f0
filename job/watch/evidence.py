"""What the outcomes of a round add to what is known of every model."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from job.core.keys import Key
from job.learning.blocks import merge
from job.registry.watching import State, WatchedModel
from job.sources.known import Reading
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
            readings[f"{outcome.exchange}/{outcome.symbol}"] = Reading.of_record(outcome.reading)
    wanted = Counter(models.values())
    found = {key: _added(plan.models[key], scored, wanted[key]) for key, scored in own.items()}
    return replace(state, models={**state.models, **found}, readings=readings)


def _added(model: WatchedModel, scored: list[Scored], wanted: int) -> WatchedModel:
    if len(scored) < wanted or any(one.status == "failed" or one.revised for one in scored):
        return replace(model, again=True)
    blocks = [one.found for one in scored if one.found is not None]
    if not blocks:
        return replace(model, again=False)
    if wanted > 1:  # series that lag behind have rows of later blocks to come
        together = min(one.sums[-1][0] for one in blocks)
        blocks = [replace(one, sums=tuple(sums for sums in one.sums if sums[0] <= together)) for one in blocks]
    return replace(model, evidence=model.evidence.add(merge(blocks)), again=False)
