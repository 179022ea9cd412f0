"""What the outcomes of a round add to what is known of every model."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

from job.config.settings import DataSettings
from job.core.keys import ALL, POOLED, Key
from job.learning.blocks import merge
from job.registry.fingerprints import listing_fingerprint
from job.registry.listings import Continued
from job.registry.watching import State, WatchedModel
from job.sources.known import Reading
from job.watch.plan import ScoringPlan
from job.watch.task import Scored
from transforms.bars import duration_us


def updated(state: State, plan: ScoringPlan, outcomes: Iterable[Scored], data: DataSettings) -> State:
    """Return the state with what was scored added to it; it has the same number, since it is not written yet.

    Where a series failed, nothing is added to its models: their next rows begin where these would have. Where bars have
    changed since they were scored, the evidence of all models of the series is to be counted again, of those that
    failed or are not due, too: what was read of the series is noted for all alike.
    """
    models = {task.key: task.model for task in plan.tasks}
    series = {task.key: task.series[0] for task in plan.tasks}
    own: dict[Key, list[Scored]] = {}
    revised: set[tuple[str, str]] = set()
    readings, listings = dict(state.readings), dict(state.listings)
    for outcome in outcomes:
        own.setdefault(models[outcome.key], []).append(outcome)
        if outcome.reading is not None:
            one = series[outcome.key]
            readings[str(one)] = Reading.of_record(outcome.reading)
            listed = (listing_fingerprint(one, data, flow=flow) for flow in (False, True))
            listings[str(one)] = [known for known in listed if known is not None]
        if outcome.revised:
            revised |= {(outcome.exchange, outcome.symbol), (POOLED, ALL), (POOLED, outcome.exchange)}
    wanted = Counter(models.values())
    found = {key: _added(plan.models[key], scored, wanted[key]) for key, scored in own.items()}
    after = {
        key: replace(one, again=True)
        if (key.exchange, key.symbol) in revised and not (key in plan.models and plan.models[key].again)
        else one
        for key, one in {**state.models, **found}.items()
    }
    return replace(state, models=after, readings=readings, listings=listings)


def continued(before: State, after: State, outcomes: Iterable[Scored]) -> Iterator[Continued]:
    """Yield what the plan of training can know of files of which only the new bars were read."""
    added = {f"{one.exchange}/{one.symbol}": one.added_us for one in outcomes if one.added_us is not None}
    for name, lasts in added.items():
        known = before.readings.get(name)
        if known is None:
            continue
        end = known.last + timedelta(microseconds=duration_us(known.timeframe))
        for old, new in zip(before.listings.get(name, ()), after.listings.get(name, ()), strict=False):
            if old != new:
                yield Continued(old, new, end, timedelta(microseconds=lasts))


def _added(model: WatchedModel, scored: list[Scored], wanted: int) -> WatchedModel:
    if len(scored) < wanted or any(one.status == "failed" or one.revised for one in scored):
        return model
    blocks = [one.found for one in scored if one.found is not None]
    if not blocks:
        return replace(model, again=False)
    if wanted > 1:  # series that lag behind have rows of later blocks to come
        together = min(one.sums[-1][0] for one in blocks)
        blocks = [replace(one, sums=tuple(sums for sums in one.sums if sums[0] <= together)) for one in blocks]
    return replace(model, evidence=model.evidence.add(merge(blocks)), again=False)
