"""Models that need no training yet: which version they have, whether its bars are still the same, how many are new.

A model that sees other series is judged by its own bars: what is new or corrected in the others counts when it is
trained next. A model over several series by all of them: the one with the most new bars says how many there are.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

import polars as pl

from job.config.policies import RetrainSettings
from job.config.settings import Config
from job.core.keys import POOLED, Key
from job.core.wording import first_of
from job.registry.catalog import BASIS_DIGITS, Summary, key_of
from job.registry.fingerprints import bare_digest, listing_fingerprint, listing_fingerprints
from job.registry.listings import Growth, read_growth, write_listing
from job.sources.reading import as_listed
from job.sources.series import Series
from job.storage.files import Storage
from job.train.policy import NO_VERSION, Decision, Held, TrainedOn, decide, minute
from job.train.task import Task
from job.worker.load_bars import with_digests
from job.worker.messages import Job, SeriesInfo
from transforms.bars import duration_us

UNREAD: Final = "its bars must be read"

Growths = Mapping[tuple[Series, bool], Sequence[Growth]]
"""What files hold more than before, by series and whether flow is one of the columns."""


def with_decisions(
    tasks: Sequence[Task],
    summaries: Iterable[Summary],
    config: Config,
    registry: Storage,
    *,
    alarms: Mapping[Key, datetime],
    verify: bool,
) -> tuple[list[Task], dict[Key, Decision]]:
    """Return the tasks with why each is left, and by key the decisions on those that listings show to be fresh enough.

    A task that must be read to know keeps the version that it is `held` against: the worker that reads decides.

    Args:
        tasks: that no version is current for.
        summaries: of the registry's versions, in order of age.
        config: with a retrain policy.
        registry: of the models.
        alarms: since when the champions of models are flagged.
        verify: trust no listing.
    """
    # The newest version of each that was made as its task would make it, whatever its bars.
    wanted = {task.key: task.recipe(config).definition()[:BASIS_DIGITS] for task in tasks if task.known}
    named = ((key_of(one), one) for one in summaries)
    newest = {key: one for key, one in named if key in wanted and one.get("basis", "")[:BASIS_DIGITS] == wanted[key]}
    places = {(one, task.flow) for task in tasks if task.key in newest and not verify for one in task.series}
    listings = listing_fingerprints(places, config.data)
    noted = read_growth(registry, {listing for listing in listings.values() if listing})
    growths = {place: noted[listing] for place, listing in listings.items() if listing in noted}
    held = _held_versions(tasks, newest, growths, registry, alarms)
    left: list[Task] = []
    fresh: dict[Key, Decision] = {}
    for task in tasks:
        known = held.get(task.key)
        if known is None:
            left.append(replace(task, why=NO_VERSION))
            continue
        decision = _listed_decision(config.retrain, task, known, growths)
        if decision is None:
            # Any new bar will do where the clock or an alarm has decided already.
            likely = decide(config.retrain, task.key.timeframe, known, added=timedelta(microseconds=1))
            left.append(replace(task, held=known, why=likely.why if likely.train else UNREAD))
        elif decision.train:
            left.append(replace(task, why=decision.why))
        else:
            fresh[task.key] = decision
    return left, fresh


def _held_versions(
    tasks: Iterable[Task],
    newest: Mapping[Key, Summary],
    growths: Growths,
    registry: Storage,
    alarms: Mapping[Key, datetime],
) -> dict[Key, Held]:
    """Return by key what the newest versions were trained on: from listings where these tell, else from their metadata.

    A version without its metadata is none.
    """
    asked = datetime.now(UTC)
    trained_on: dict[Key, dict[str, TrainedOn]] = {}
    for task in tasks:
        bars = newest.get(task.key, {}).get("basis", "")[BASIS_DIGITS:]
        if task.key.exchange != POOLED and bars:
            for one in growths.get((task.series[0], task.flow), ()):
                if one.bars.startswith(bars):
                    trained_on[task.key] = {str(task.series[0]): TrainedOn(one.bars, one.end)}
    paths = {f"{key.folder}/{one['version']}.json": key for key, one in newest.items() if key not in trained_on}
    for path, data in registry.read_many(paths).items():
        try:
            stored = json.loads(data)["trained_on"]
            trained_on[paths[path]] = {
                series: TrainedOn(bars["digest"], _utc(bars["end"])) for series, bars in stored.items()
            }
        except (ValueError, LookupError, TypeError, AttributeError):
            continue
    return {
        key: Held(
            version=newest[key]["version"],
            created=_utc(newest[key]["created_at"]),
            asked=asked,
            alarm=alarms.get(key),
            trained_on=bars,
        )
        for key, bars in trained_on.items()
        if bars
    }


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _listed_decision(policy: RetrainSettings, task: Task, held: Held, growths: Growths) -> Decision | None:
    """Return what is to be done as far as listings know the bars of a task; None where they do not."""
    added: dict[str, timedelta | None] = {}
    for series, content in zip(task.series, task.cached_digests, strict=True):
        seen = held.trained_on.get(str(series))
        known = {one.bars: one.added for one in growths.get((series, task.flow), ())}
        if content is not None and task.trust_listing:
            known[bare_digest(content)] = timedelta(0)
        if seen is None and known:
            added[str(series)] = timedelta(0)
        elif seen is None or seen.digest not in known:
            return None
        else:
            added[str(series)] = known[seen.digest]
    return decide_on(policy, task, held, added)


def decide_on(policy: RetrainSettings, task: Task, held: Held, added: Mapping[str, timedelta | None]) -> Decision:
    """Return what is to be done, given how long the new bars of each series last; None where earlier ones are others.

    Series that could not be read are absent.
    """
    if joined := sorted(added.keys() - held.trained_on.keys()):
        return Decision.to_train(f"it was not trained on {first_of(joined)}")
    if gone := sorted(held.trained_on.keys() - {str(one) for one in task.series}):
        return Decision.to_train(f"it was trained on {first_of(gone)}, too")
    if others := [name for name, one in added.items() if one is None]:
        end = held.trained_on[min(others)].end
        return Decision.to_train(f"bars before {minute(end)}, which it was trained on, are others now")
    longest = max((one for one in added.values() if one is not None), default=timedelta(0))
    return decide(policy, task.key.timeframe, held, added=longest)


Grown = Callable[[Task], timedelta | None]
"""Returns how long the bars last that a series has beyond those that the version was trained on which is held.

None where the earlier bars are others now, or not all there.
"""


def grown_of(series: Series, bars: pl.DataFrame, info: SeriesInfo, job: Job) -> Grown:
    """Return how the tasks of a bundle learn by how much their series has grown; tasks that ask alike share the answer.

    What is found is noted in a listing of the registry, so that the next plan knows it without reading.

    Args:
        series: whose files were read.
        bars: all that they hold.
        info: what is known of these.
        job: of the run.
    """
    step = timedelta(microseconds=duration_us(info.timeframe))

    @cache
    def added_since(seen: TrainedOn, *, flow: bool) -> timedelta | None:
        earlier = bars.filter(pl.col("timestamp") <= seen.end - step)
        if info.last < seen.end - step or bare_digest(with_digests(info, earlier).content(flow=flow)) != seen.digest:
            return None
        added = (bars.height - earlier.height) * step
        listing = listing_fingerprint(series, job.config.data, flow=flow)
        if listing is not None and as_listed(series, job.config.data):
            about = {"exchange": series.exchange, "symbol": series.symbol, "last_bar": info.last.isoformat()}
            write_listing(job.registry(), listing, Growth(seen.digest, seen.end, added), about)
        return added

    def grown(task: Task) -> timedelta | None:
        seen = task.held.trained_on.get(str(series)) if task.held else None
        return timedelta(0) if seen is None else added_since(seen, flow=task.flow)

    return grown
