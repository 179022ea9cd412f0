"""What to tune: one study per kind of model and timeframe, over a sample of series, and what is left of it to do."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from job.config.settings import Config
from job.core.environment import installed
from job.core.errors import ConfigError, DataError
from job.core.keys import Key, kind_order
from job.learning.algorithms import Window
from job.learning.choice import first_folds
from job.learning.estimators import algorithm_named, build
from job.learning.spaces import Range, Space
from job.learning.spec import ModelSpec
from job.registry.catalog import open_registry
from job.registry.listings import read_listings
from job.registry.studies import Winner, fleet_key
from job.sources.series import Series
from job.storage.files import Storage
from job.train.plan import SOME_ROWS, make_plan
from job.train.resume import known_of
from job.train.task import Task
from job.tune.ask import LIBRARY
from job.tune.study import Study
from job.tune.task import TuningTask


@dataclass(frozen=True)
class TuningPlan:
    """The studies left as far as listings say, what the finished ones chose, and notes for the user."""

    studies: tuple[Study, ...]
    finished: tuple[Winner, ...] = ()
    problems: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    fleet: tuple[Series, ...] = ()

    @property
    def tasks(self) -> list[TuningTask]:
        """The series of all studies."""
        return [task for study in self.studies for task in study.tasks]


def plan(config: Config, *, per_key: bool = False) -> TuningPlan:
    """Plan a study for every kind of model and timeframe that the settings ask for.

    Args:
        config: settings, with absolute paths.
        per_key: a study for every series by itself, instead.

    Raises:
        ConfigError: Optuna is not installed, models are pooled, there are too few folds, or an algorithm has no space
            to search; or as `train.plan.make_plan`.
        DataError: nothing in the input can be read.
        RegistryError: the registry cannot be read.
    """
    if installed(LIBRARY) is None:
        raise ConfigError(f"tune needs {LIBRARY}, which is not installed: pip install -c constraints.txt '.[tune]'")
    trainer = config.model_trainer
    if "symbol" not in trainer.group_by:
        raise ConfigError("tune tries settings on one series at a time: leave out --group-by, which pools series")
    if trainer.cv_folds < 2:
        raise ConfigError("tune needs two folds or more, of which the last shrinks the others: raise cv_folds")
    config = config.model_copy(update={"model_trainer": trainer.model_copy(update={"tuned": None})})
    made, registry = make_plan(config), open_registry(config)
    known = known_of(made.tasks, (), read_listings(registry), config, verify=False, fleet=made.fleet)
    tasks = [told.of(task) for task, told in known]
    studies = [*studies_of(tasks, config, per_key=per_key)]
    found = [(study, finished(study, registry, config)) for study in studies]
    return TuningPlan(
        studies=tuple(study for study, winner in found if winner is None),
        finished=tuple(winner for _, winner in found if winner is not None),
        problems=made.problems,
        notes=made.notes,
        fleet=made.fleet,
    )


def studies_of(tasks: Sequence[Task], config: Config, *, per_key: bool) -> Iterator[Study]:
    """Yield a study per kind of model and timeframe, or per model, in the order in which people read them.

    Each is of a sample of `tune.series` of its series at most.
    """
    groups: dict[Key, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.key if per_key else fleet_key(task.key), []).append(task)
    tune, folds = config.tune, config.model_trainer.cv_folds
    for key in sorted(groups, key=lambda key: (*kind_order(key), key)):
        own = groups[key]
        if len(own) > tune.series:  # spread evenly over the order of their keys: one at random from each part
            own = sorted(own, key=lambda task: task.key)
            draw = random.Random(config.model_trainer.random_state)  # noqa: S311 - no secret
            ends = [len(own) * part // tune.series for part in range(tune.series + 1)]
            own = [own[draw.randrange(start, stop)] for start, stop in pairwise(ends)]
        spec = own[0].spec
        space = space_of(spec, tune.space)
        # Of windows that grow by equal steps, the holdout's is the one that is never fitted.
        share = tune.trials * folds / (folds + 2)
        yield Study(
            key=key,
            spec=spec,
            space=space,
            tasks=tuple(
                TuningTask(**vars(replace(task, seconds=task.seconds * share, known=())), study=key) for task in own
            ),
            trials=tune.trials,
            batch=tune.batch,
            first_folds=first_folds(folds),
        )


def space_of(spec: ModelSpec, spaces: Mapping[str, Space]) -> Space:
    """Return what to search for a model: what the settings say of its algorithm, or else its entry.

    Raises:
        ConfigError: there is nothing, or the algorithm does not take one of its values, or an end of a range.
    """
    if spec.members:
        members = " or ".join(one.algorithm for one in spec.members)
        raise ConfigError(
            f"a blend has no parameters of its own to search: tune with algorithm: {members}, and give the blend what "
            f"wins, as params: {{{spec.members[0].algorithm}: {{PARAMETER: …}}}}"
        )
    space = spaces.get(spec.algorithm, algorithm_named(spec.algorithm).space)
    if not space:
        raise ConfigError(
            f"algorithm {spec.algorithm} has no space to search: name ranges of its parameters in "
            f"tune.space: {{{spec.algorithm}: {{PARAMETER: {{low: …, high: …}}}}}}"
        )
    values = {name: (one.low, one.high) if isinstance(one, Range) else one for name, one in space.items()}
    for at in range(max(map(len, values.values()))):
        params = {name: own[min(at, len(own) - 1)] for name, own in values.items()}
        build(spec.model_copy(update={"params": spec.params | params}), Window(SOME_ROWS))
    return space


def finished(study: Study, registry: Storage, config: Config) -> Winner | None:
    """Return what a study chose, if listings say what its bars are and its budget is spent; else None."""
    contents = {task.key: task.content for task in study.tasks}
    known = {key: content for key, content in contents.items() if content is not None}
    return study.folder(registry, config, known).winner(study.trials) if len(known) == len(contents) else None
