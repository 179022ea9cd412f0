"""One model to train, what becomes of its bars on the way, and how a version that the registry holds is recognized."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from job.config.settings import Config
from job.core.errors import DataError
from job.core.keys import POOLED, Key
from job.learning.estimators import algorithm_named, can_spread, libraries_of
from job.learning.features import split_reference
from job.learning.spec import ModelSpec
from job.registry.catalog import FINGERPRINT_DIGITS, Summary
from job.registry.fingerprints import Recipe, joined_digest, pooled_content
from job.registry.outcome import Outcome
from job.registry.scored import Scored
from job.sources.series import Series
from job.train.policy import Decision, Held, TrainedOn
from job.worker.cost import NO_COST, Cost
from job.worker.messages import SeriesInfo, Work
from transforms.sessions import Sessions

Versions = tuple[tuple[str, str], ...]
"""(short fingerprint, version) of every version of a model in the registry, latest last."""


def version_of(known: Versions, fingerprint: str) -> str | None:
    """Return the version that has a fingerprint, the latest of several, None if there is none."""
    return dict(known).get(fingerprint[:FINGERPRINT_DIGITS])


@dataclass(frozen=True, kw_only=True)
class Task(Work):
    """One model to train: from which series, by which definition, at what estimated cost."""

    spec: ModelSpec
    rows: int
    capped: bool = False
    """Whether the rows must be counted, since they may be more than `max_samples`."""
    workers: int = 1
    """Over how many workers its samples are spread, as far as the size of the files tells."""
    counted: bool = False
    """Whether they must be counted to know that."""
    known: Versions = ()
    """Of its key."""
    cached_digests: tuple[str | None, ...] = ()
    """Digest of the bars of each series according to listings, None where they do not say."""
    context_digest: str | None = None
    """Digest of the bars of other series that its model sees, None where listings do not say."""
    tuning: Mapping[str, Any] | None = None
    """What its metadata say of the study that chose its parameters; None where none did."""
    scored: tuple[Scored, ...] = ()
    """Every version that was ever scored, as far as the deflated Sharpe ratio asks for it: where trading is scored."""
    trust_listing: bool = True
    """Whether listings are relied on; otherwise the bars are read."""
    held: Held | None = None
    """The version that may be fresh enough, once the bars are read; None where they need not be read to know."""
    why: str = ""
    """Why it is to be trained or checked, where there is a retrain policy."""

    @property
    def import_paths(self) -> tuple[str, ...]:
        """Where the features, the label and the algorithm that users bring are."""
        return self.spec.import_paths

    @property
    def audited(self) -> bool:
        """Its features are."""
        return True

    @property
    def gpu(self) -> bool:
        """Whether a fit of its model uses a GPU where there is one."""
        return any(algorithm_named(one.algorithm).gpu for one in self.spec.fits)

    @property
    def spreads(self) -> bool:
        """Whether several workers can train its model together."""
        return self.key.exchange == POOLED and can_spread(self.spec)

    @property
    def flow(self) -> bool:
        """Whether its model needs the columns of `transforms.bars.FLOW`."""
        return self.spec.flow

    def of_series(self, series: Series) -> Self:
        """Return the task with one of its series only."""
        digests = dict(zip(self.series, self.cached_digests, strict=False))
        held = self.held
        if held is not None:
            held = replace(held, trained_on={name: one for name, one in held.trained_on.items() if name == str(series)})
        return replace(self, series=(series,), cached_digests=(digests.get(series),), held=held)

    @property
    def content(self) -> str | None:
        """Digest of its bars according to listings; None where they do not say."""
        return self.content_by(self.cached_digests, self.context_digest) if self.trust_listing else None

    def content_by(self, cached_digests: Sequence[str | None], context_digest: str | None) -> str | None:
        """Return the digest of its bars, given those of its series and of what it sees of others; None without all."""
        digests = [digest for digest in cached_digests if digest is not None]
        if not digests or len(digests) < len(self.series):
            return None
        own = digests[0]
        if self.key.exchange == POOLED:
            own = pooled_content(digest for _, digest in sorted(zip(map(str, self.series), digests, strict=True)))
        if not self.needs:
            return own
        return None if context_digest is None else joined_digest(own, context_digest)

    @property
    def to_check(self) -> bool:
        """Whether the registry holds versions of it, and its bars must be read to know if one of them will do."""
        return bool(self.known) and (self.content is None or self.held is not None)

    def recipe(self, config: Config) -> Recipe:
        """Return what decides its model's numbers beside its bars: the same for all tasks of its spec and timeframe."""
        trainer = config.model_trainer
        return Recipe(
            self.spec,
            timeframe=self.key.timeframe,
            data=config.data,
            max_samples=trainer.max_samples if self.key.exchange == POOLED or self.spec.pooled else None,
            samples_per_worker=trainer.samples_per_worker if self.spreads else None,
            trading=trainer.trading,
        )

    def fingerprint(self, config: Config, content: str) -> str:
        """Return the fingerprint of its model, given the digest of its bars."""
        return self.recipe(config).fingerprint(content)

    def known_version(self, config: Config, content: str | None) -> str | None:
        """Return the version of its key that was trained on bars of this digest in the same way, if there is one."""
        if content is None or not self.known:
            return None
        return version_of(self.known, self.fingerprint(config, content))


@dataclass(frozen=True)
class Plan:
    """The tasks of a run, the files that no task can be made of, and notes for the user.

    Once compared with a registry, `tasks` are those left to train or to check, `current` are the outcomes of the
    others, or of those that the retrain policy leaves alone (`fresh`), and `uncatalogued` are summaries of the versions
    that the registry has in their folders and its catalog lacks. `fleet` are all series of the input where models see
    others beside their own.
    """

    tasks: tuple[Task, ...]
    problems: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    current: tuple[Outcome, ...] = ()
    fresh: tuple[Outcome, ...] = ()
    uncatalogued: tuple[Summary, ...] = ()
    fleet: tuple[Series, ...] = ()

    @property
    def keys(self) -> list[Key]:
        """Every model that is asked for."""
        return [*(outcome.key for outcome in self.settled), *(task.key for task in self.tasks)]

    @property
    def settled(self) -> tuple[Outcome, ...]:
        """Outcomes of the models for which nothing is to be done."""
        return (*self.current, *self.fresh)

    @property
    def libraries(self) -> tuple[str, ...]:
        """Optional libraries that the models left depend on, each once."""
        return tuple(sorted({library for task in self.tasks for library in libraries_of(task.spec)}))

    @property
    def total(self) -> int:
        """How many models are asked for."""
        return len(self.settled) + len(self.tasks)


@dataclass(frozen=True)
class SamplesRow:
    """Header of a row of samples; of a pooled model, `sessions` are those of each of its series.

    `certificates` are those of features that users bring; see `job.train.audit.certify`. `trained_on` has the bars by
    series, `decision` is what the retrain policy says once they are read, None where it was not asked.
    """

    task: Task
    info: SeriesInfo | None
    counts: dict[str, int] = field(default_factory=dict)
    label_stats: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    cost: Cost = NO_COST
    series: str = ""
    sessions: dict[str, Sessions | None] = field(default_factory=dict)
    holdout_from: int | None = None
    certificates: dict[str, Any] = field(default_factory=dict)
    trained_on: dict[str, TrainedOn] = field(default_factory=dict)
    decision: Decision | None = None
    error: dict[str, str] | None = None

    @property
    def spec(self) -> ModelSpec:
        """The spec of its task, without the features that the bars cannot give."""
        kept = tuple(one for one in self.task.spec.features if split_reference(one)[1] not in self.left_out)
        return self.task.spec.model_copy(update={"features": kept})
