"""Which files of predictions to make: those that are asked for, by which versions, except those that are current."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Final, TypeVar

from job.config.settings import Config
from job.core.errors import DataError, JobError, RegistryError
from job.core.keys import POOLED, Key, kind_order, model_owner
from job.core.wording import did_you_mean, first_of
from job.predict.task import Predicted, PredictionTask, path_of
from job.registry.catalog import key_of, keys, list_summaries
from job.registry.definition import Definition
from job.registry.fingerprints import bare_digest, listing_fingerprints, prediction_fingerprints
from job.registry.listings import read_listings
from job.registry.model_age import check_age, label_end_of
from job.registry.predictions import Footer, read_footers
from job.registry.versions import LATEST, read_metadata, resolve_version
from job.sources.estimates import estimate_rows
from job.sources.finding import find_fleet, find_series
from job.sources.problems import as_one
from job.sources.series import Series
from job.storage.files import Storage
from job.storage.snapshot import Snapshot
from job.worker.context import needs_of
from job.worker.memory import estimate_memory

AT_ONCE: Final = 16
SECONDS_PER_ROW: Final = 1e-5
SECONDS_PER_TASK: Final = 0.2
"""CPU seconds of a prediction, and of loading a model, by which work is shared out."""

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What `predict` is asked for beside the settings: output, version, and kinds of model (empty: all)."""

    output: str
    version: str = LATEST
    model_types: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    allow_pickle: bool = False


@dataclass(frozen=True)
class PredictionPlan:
    """The files to make, the outcomes of those that are current or cannot be made, and notes for the user.

    `fleet` are all series of the input where a model sees others beside its own.
    """

    tasks: tuple[PredictionTask, ...]
    settled: tuple[Predicted, ...] = ()
    problems: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()
    fleet: tuple[Series, ...] = ()

    @property
    def total(self) -> int:
        """How many files are asked for."""
        return len(self.tasks) + len(self.settled)


@dataclass(frozen=True)
class _Wanted:
    """A file that is asked for: its key, the model and version that predict, and the footer of the file in place."""

    key: Key
    model: Key
    series: Series
    version: str = ""
    fingerprint: str = ""
    listing: str | None = None
    held: Footer | None = None


def plan(config: Config, request: Request) -> PredictionPlan:
    """Find the series of the input and the models of the registry, and return what is left to predict.

    Every series is predicted by every kind of model that the registry holds for any of them; where one lacks a kind,
    that is a failure of its own.

    Raises:
        DataError: nothing in the input can be read.
        RegistryError: the registry holds nothing to predict with, or no model of a kind or timeframe that is asked for.
    """
    models: Storage = Snapshot(Storage(config.model_trainer.model_directory, options=config.storage.options))
    known = keys(models)
    if not known:
        raise RegistryError(f"{models.url} holds no models: train some, or name the registry with --models")
    found = find_series(config.data, registry=models.url)
    if not found.series:
        raise as_one(found.problems)
    asked = _asked(found.series, known, config, request, models)
    resolved, failures = _answers(asked, lambda model: resolve_version(models, model, request.version))
    wanted = _with_footers([replace(one, version=version) for one, version in resolved], config, request)
    # A file is current if it was made from these bars: by its own footer, or by what a training run noted of them.
    listings = read_listings(models) if any(one.held for one in wanted) else {}
    current: dict[Key, Footer] = {}
    for one in wanted:
        held, listing = one.held, one.listing
        if held and listing and (held.listing == listing or bare_digest(listings.get(listing, "")) == held.content):
            current[one.key] = held
    fleet = cache(lambda: find_fleet(found, config.data, registry=models.url))
    tasks, refused = _tasks([one for one in wanted if one.key not in current], config, request, models, fleet)
    failures += refused
    stand, too_old = _current([one for one in wanted if one.key in current], config, models)
    failures += too_old
    if failures and not tasks and not stand:
        others = f" ({len(failures) - 1} other models fail likewise)" if len(failures) > 1 else ""
        raise RegistryError(f"{failures[0].error_message}{others}")
    beside = fleet() if any(task.needs for task in tasks) else ()
    return PredictionPlan(tuple(tasks), (*stand, *failures), tuple(found.problems), tuple(found.notes), beside)


def _current(wanted: Sequence[_Wanted], config: Config, models: Storage) -> tuple[list[Predicted], list[Predicted]]:
    """Return the outcomes of the files that are current, and of those whose model is too old for their newest bar."""
    limited = config.predictions.max_model_age is not None and wanted
    summaries = list_summaries(models, *{one.model.folder for one in wanted}) if limited else []
    described = {(key_of(one), one["version"]): one for one in summaries}
    stand, too_old = [], []
    for one in wanted:
        if one.held is None:
            continue
        label_end = label_end_of(described.get((one.model, one.version), {}))
        last, where = datetime.fromisoformat(one.held.last), f"{one.model}: {one.version}"
        try:
            aged = check_age(label_end, last, config.predictions, version=where)
        except RegistryError as error:
            too_old.append(Predicted.refused(one.key, error))
        else:
            stand.append(replace(Predicted.of(one.key, one.held, status="current"), warnings=aged))
    return stand, too_old


def _asked(
    series: Sequence[Series], held: Sequence[Key], config: Config, request: Request, models: Storage
) -> list[_Wanted]:
    """Return a file for every series and every kind of model that is asked for and held for any of the series."""
    owners = {one: model_owner(one.exchange, one.symbol, config.model_trainer.group_by) for one in series}
    there = {*owners.values()}
    own = [key for key in held if (key.exchange, key.symbol) in there]
    if not own:
        pooled = any(key.exchange == POOLED for key in held)
        hint = "; models over all series are asked for with --group-by timeframe" if pooled else ""
        known = first_of(sorted({f"{key.exchange}/{key.symbol}" for key in held}))
        raise RegistryError(
            f"{models.url} holds no model of {first_of(map(str, series))}; it has models of {known}{hint}"
        )
    kinds = _kinds(own, request, models)
    return [
        _Wanted(
            key=Key(one.exchange, one.symbol, kind.timeframe, kind.model_type),
            model=Key(*owner, kind.timeframe, kind.model_type),
            series=one,
        )
        for one, owner in owners.items()
        for kind in sorted(kinds, key=kind_order)
    ]


def _kinds(own: Sequence[Key], request: Request, models: Storage) -> list[Key]:
    """Return a key of each kind of model that is asked for; there must be some of each name.

    A version that is asked for by its full name belongs to one kind of model.
    """
    for flag, names, known in (
        ("--model-types", request.model_types, {key.model_type for key in own}),
        ("--timeframes", request.timeframes, {key.timeframe for key in own}),
    ):
        if absent := [name for name in names if name not in known]:
            hint = f"{did_you_mean(absent[0], sorted(known))} (known: {', '.join(sorted(known))})"
            raise RegistryError(f"{flag}: {models.url} holds no {absent[0]} model of these series{hint}")
    kinds = {
        key.stem: key
        for key in own
        if (not request.model_types or key.model_type in request.model_types)
        and (not request.timeframes or key.timeframe in request.timeframes)
    }
    if not kinds:
        asked = f"{', '.join(request.model_types)} model of {', '.join(request.timeframes)}"
        raise RegistryError(f"{models.url} holds no {asked} of these series")
    named = [kind for stem, kind in kinds.items() if request.version.startswith(f"{stem}_")]
    return named or list(kinds.values())


def _with_footers(wanted: Sequence[_Wanted], config: Config, request: Request) -> list[_Wanted]:
    """Return the files with the footer of the one in place, if that was made by the same version in the same way."""
    output = Storage(request.output, options=config.storage.options)
    present = set(output.list(*{one.key.folder for one in wanted})) if wanted else set()
    footers = read_footers(output, [path for one in wanted if (path := path_of(one.key)) in present])
    listings = listing_fingerprints({(one.series, False) for one in wanted}, config.data)
    fingerprints = prediction_fingerprints({(one.model, one.version) for one in wanted}, config.data)
    found = []
    for one in wanted:
        fingerprint = fingerprints[one.model, one.version]
        footer = footers.get(path_of(one.key))
        held = footer if footer and footer.fingerprint == fingerprint else None
        found.append(replace(one, fingerprint=fingerprint, listing=listings[one.series, False], held=held))
    return found


def _tasks(
    wanted: Sequence[_Wanted], config: Config, request: Request, models: Storage, fleet: Callable[[], Sequence[Series]]
) -> tuple[list[PredictionTask], list[Predicted]]:
    """Return the tasks, and the failures of those whose models cannot be given their features.

    `fleet` gives all series of the input.
    """
    versions = {one.model: one.version for one in wanted}
    defined, failures = _answers(
        wanted,
        lambda model: Definition.of(
            read_metadata(models, model, versions[model]), config.data, where=f"{model}: {versions[model]}"
        ),
    )
    tasks = []
    for one, definition in defined:
        try:
            needed = () if definition.origins.alone else needs_of(definition, fleet(), one.series.exchange)
        except JobError as error:
            failures.append(Predicted.refused(one.key, error))
            continue
        reading = None if needed or one.held is None else one.held.reading
        # Where all bars tell what their gaps mean, as for a series that the model was not trained on, all are read.
        own_gaps = definition.gaps in {"segment", "ignore"} or str(one.series) in definition.sessions
        tail = one.held.tail if one.held is not None and reading is not None and own_gaps else None
        rows = estimate_rows(one.series, one.key.timeframe, config.data)
        task = PredictionTask(
            key=one.key,
            model=one.model,
            version=one.version,
            definition=definition,
            series=(one.series,),
            fingerprint=one.fingerprint,
            listing=one.listing,
            held=one.held,
            seconds=SECONDS_PER_TASK + SECONDS_PER_ROW * rows,
            memory=estimate_memory(rows, len(definition.names)),
            allow_pickle=request.allow_pickle,
            needs=needed,
            reading=reading,
            since=None if tail is None else tail.since,
        )
        tasks.append(task)
    return tasks, failures


def _answers(wanted: Sequence[_Wanted], ask: Callable[[Key], T]) -> tuple[list[tuple[_Wanted, T]], list[Predicted]]:
    """Return the files with what `ask` says of the model of each, and the failures of those for which it raises.

    All models are asked at once, since every answer takes a while.
    """

    def answer(model: Key) -> T | RegistryError:
        try:
            return ask(model)
        except RegistryError as error:
            return error

    models = {one.model for one in wanted}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(models, pool.map(answer, models), strict=True))
    answered, failures = [], []
    for one in wanted:
        found = answers[one.model]
        if isinstance(found, RegistryError):
            failures.append(Predicted.refused(one.key, found))
        else:
            answered.append((one, found))
    return answered, failures
