"""One study: which settings it asks for, batch after batch, which it gives up, and what it chooses in the end."""

import logging
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from job.config.settings import Config
from job.core.environment import installed
from job.core.errors import DataError, JobError, TrainingError
from job.core.keys import Key
from job.learning.choice import FoldLoss, Trial, by_block, choose, is_hopeless, shrink_weight
from job.learning.spaces import Space, describe_space
from job.learning.spec import ModelSpec, Scalar
from job.registry.fingerprints import Recipe
from job.registry.studies import StudyFolder, Winner, study_title
from job.storage.files import Storage
from job.tune.ask import LIBRARY, ask
from job.tune.task import Request, Tuned, TuningTask

VERSION: Final = 1
"""Version of tuning, raised whenever the same study would try or choose otherwise."""
OF_ITS_BARS: Final = frozenset({DataError.__name__, TrainingError.__name__})
"""Errors of a series that come again with the same bars: the study goes on without it."""

Requests = Generator[list[TuningTask], Mapping[Key, Tuned], Any]
"""Yields what is to be done next, and is sent what came of it, by task."""

log = logging.getLogger("job")


@dataclass(frozen=True)
class Study:
    """Settings to be tried on series: `key` is that of `registry.studies`, `spec` the default, trial 0.

    `trials` is the budget, the default included; of `folds`, the first ones tell what is hopeless.
    """

    key: Key
    spec: ModelSpec
    space: Space
    tasks: tuple[TuningTask, ...]
    trials: int
    batch: int
    first_folds: int

    def __str__(self) -> str:
        return study_title(self.key)

    def folder(self, registry: Storage, config: Config, contents: Mapping[Key, str]) -> StudyFolder:
        """Return where the study is kept: its name depends on all that decides what it tries and what comes of it."""
        models = {
            f"{key.exchange}/{key.symbol}": Recipe(self.spec, timeframe=key.timeframe, data=config.data).fingerprint(
                content
            )
            for key, content in contents.items()
        }
        definition = {
            "version": VERSION,
            "spec": self.spec.model_dump(mode="json"),
            "space": describe_space(self.space),
            "batch": self.batch,
            "first_folds": self.first_folds,
            "models": dict(sorted(models.items())),
            LIBRARY: installed(LIBRARY),
        }
        return StudyFolder(registry, self.key, definition)


def conduct(study: Study, registry: Storage, config: Config) -> Requests:
    """Try settings until the budget is spent, and return the `Winner`; a generator of requests.

    Finished trials are taken from the registry. What is asked for next depends on those of the batches before only.

    Raises:
        JobError: no series can be used, a worker died too often, or the default settings cannot be fitted. What is
            finished is kept.
    """
    made = yield [replace(task, request=Request()) for task in study.tasks]
    for task in study.tasks:
        outcome = made[task.key]
        if outcome.error is not None and outcome.error.get("type") not in OF_ITS_BARS:
            raise JobError(f"{study}: {outcome.error_message}; run it again to go on")
    contents = {task.key: made[task.key].content for task in study.tasks if made[task.key].error is None}
    if not contents:
        raise DataError(f"{study}: no series can be used: {made[study.tasks[0].key].error_message}")
    tasks = [task for task in study.tasks if task.key in contents]
    folder = study.folder(registry, config, contents)
    trials = folder.open()
    for start in range(0, study.trials, study.batch):
        wanted = range(start, min(start + study.batch, study.trials))
        if left := [number for number in wanted if number not in trials]:
            known = [trials[number] for number in range(start)]
            params = ask(left, known, study.space, seed=study.spec.random_state)
            batch = yield from try_batch(study, Batch(params, tasks, trials), config)
            for trial in batch.values():
                folder.add(trial)
            trials |= batch
            report(study, [trials[number] for number in range(wanted.stop)])
    tried = [trials[number] for number in range(study.trials)]
    return folder.choose(Winner.of(folder, tried, choose(tried)))


@dataclass(frozen=True)
class Batch:
    """Settings to be tried together: `params` by the number of their trial, on `tasks`; `known` are earlier trials."""

    params: Mapping[int, Mapping[str, Scalar]]
    tasks: Sequence[TuningTask]
    known: Mapping[int, Trial]


def try_batch(study: Study, batch: Batch, config: Config) -> Requests:
    """Try the settings of one batch, all on the first folds, the promising ones on the others; return the trials.

    Raises:
        JobError: the default settings cannot be fitted.
    """
    params = {number: dict(own) for number, own in batch.params.items()}
    specs = {number: config.spec_of(study.key.model_type, own) for number, own in params.items()}
    early, failed = yield from losses(study, batch.tasks, specs, range(study.first_folds))
    # Shrunk by what the first folds say of each series: no settings are given up for what shrinking mends.
    first = {
        number: {series: by_block(folds, shrink_weight(folds)) for series, folds in own.items()}
        for number, own in early.items()
    }
    # The first folds are compared with those of what was best in earlier batches: before the second, of the default.
    start = min(batch.params) // study.batch * study.batch
    before = [batch.known[one] for one in range(start) if batch.known[one].state == "complete"]
    default = batch.known[0].first if 0 in batch.known else first.get(0)
    best = min(before, key=lambda one: (one.mean, one.number)).first if before else default
    hopeless = {number for number, own in first.items() if number and best and is_hopeless(own, best)}
    promising = {number: specs[number] for number in first if number not in hopeless and best}
    late, more_failed = yield from losses(study, batch.tasks, promising, range(study.first_folds, study.spec.cv_folds))
    failed |= more_failed
    if 0 in failed:
        raise JobError(f"{study}: the default settings cannot be fitted: {failed[0]}")
    trials = [
        *(Trial(number, params[number], "failed", error=error) for number, error in failed.items()),
        *(Trial(number, params[number], "pruned", first=first[number]) for number in hopeless),
        *(
            Trial.complete(
                number, params[number], first[number], {one: [*early[number][one], *rest] for one, rest in own.items()}
            )
            for number, own in late.items()
        ),
    ]
    return {trial.number: trial for trial in sorted(trials, key=lambda one: one.number)}


def losses(
    study: Study, tasks: Sequence[TuningTask], specs: Mapping[int, ModelSpec], folds: Iterable[int]
) -> Generator[list[TuningTask], Mapping[Key, Tuned], tuple[dict[int, dict[str, list[FoldLoss]]], dict[int, str]]]:
    """Ask for settings on folds of all series; return the losses by trial and series, and errors of trials."""
    if not specs:
        return {}, {}
    made = yield [replace(task, request=Request(specs, tuple(folds))) for task in tasks]
    outcomes = {f"{task.key.exchange}/{task.key.symbol}": made[task.key] for task in tasks}
    for outcome in outcomes.values():
        if outcome.error is not None:
            raise JobError(f"{study}: {outcome.error_message}; run it again to go on")
    errors = {number: error for one in reversed(outcomes.values()) for number, error in one.errors.items()}
    found = {
        number: {series: one.losses[number] for series, one in outcomes.items()}
        for number in specs
        if number not in errors
    }
    return found, errors


def report(study: Study, trials: Sequence[Trial]) -> None:
    """Log how far a study has come, and the best settings so far."""
    choice = choose(trials)
    error = "" if choice.gain.error is None else f" ± {choice.gain.error:.5f}"
    saved = (
        f"trial {choice.best} saves {choice.gain.mean:+.5f}{error} nats" if choice.best else "the default is the best"
    )
    log.info("%s: %d of %d trials, %s so far", study, len(trials), study.trials, saved)
