"""Which files of predictions to make: those that are asked for, by which versions, except those that are current."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from job.config.settings import Config
from job.core.errors import DataError, RegistryError
from job.core.keys import ALL, POOLED, Key, kind_order
from job.core.wording import did_you_mean
from job.predict.task import Predicted, PredictionTask, path_of
from job.registry.catalog import keys
from job.registry.definition import Definition
from job.registry.fingerprints import bare_digest, listing_fingerprint, prediction_fingerprint
from job.registry.listings import read_listings
from job.registry.predictions import Footer, read_footers
from job.registry.versions import LATEST, read_metadata, resolve_version
from job.sources.estimates import estimate_rows
from job.sources.finding import find_series
from job.sources.problems import as_one
from job.sources.series import Series
from job.storage.files import Storage
from job.worker.memory import estimate_memory

AT_ONCE: Final = 16
SECONDS_PER_ROW: Final = 1e-5
SECONDS_PER_TASK: Final = 0.2
"""CPU seconds of a prediction, and of loading a model; for how work is shared out."""
MAX_NAMED: Final = 10

T = TypeVar("T")


@dataclass(frozen=True)
class Request:
    """What `predict` is asked for, beside the settings: where to, by which versions, of which kinds (empty: of all)."""

    output: str
    version: str = LATEST
    model_types: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    allow_pickle: bool = False


@dataclass(frozen=True)
class PredictionPlan:
    """The files to make, the outcomes of those that are current or cannot be made, and what else a user should know."""

    tasks: tuple[PredictionTask, ...]
    settled: tuple[Predicted, ...] = ()
    problems: tuple[DataError, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """How many files are asked for."""
        return len(self.tasks) + len(self.settled)


@dataclass(frozen=True)
class _Wanted:
    """A file that is asked for: its key, the model and the version that predict, and what stands there already."""

    key: Key
    model: Key
    series: Series
    version: str = ""
    fingerprint: str = ""
    listing: str | None = None
    held: Footer | None = None


def plan(config: Config, request: Request) -> PredictionPlan:
    """Find the series of the input and the models of the registry, and say what is left to predict.

    Every series is predicted by every kind of model that the registry holds for any of them; where one lacks a kind,
    that is a failure of its own.

    Raises:
        ConfigError: a kind or timeframe that is asked for is none.
        DataError: nothing in the input can be read.
        RegistryError: the registry holds nothing to predict with.
    """
    models = Storage(config.model_trainer.model_directory, options=config.storage.options)
    held = keys(models)
    if not held:
        raise RegistryError(f"{models.url} holds no models: train some, or name the registry with --models")
    found = find_series(config.data, registry=models.url)
    if not found.series:
        raise as_one(found.problems)
    asked = _asked(found.series, held, config, request, models)
    wanted, unknown = _with_versions(asked, request, models)
    wanted = _with_footers(wanted, config, request)
    told = read_listings(models) if any(one.held for one in wanted) else {}
    current = {one.key: one.held for one in wanted if one.held and _tells(one.held, one.listing, told)}
    tasks, refused = _tasks([one for one in wanted if one.key not in current], config, request, models)
    failures = [*unknown, *refused]
    if failures and not tasks and not current:
        raise _summarize_failures(failures)
    stand = [Predicted.of(key, footer, status="current") for key, footer in current.items()]
    return PredictionPlan(tuple(tasks), (*stand, *failures), tuple(found.problems), tuple(found.notes))


def _asked(
    series: Sequence[Series], held: Sequence[Key], config: Config, request: Request, models: Storage
) -> list[_Wanted]:
    """Return a file for every series and every kind of model that is asked for and held for any of the series."""
    group_by = config.model_trainer.group_by
    owners = {(owner.exchange, owner.symbol) for owner in (_model(_key(one), group_by) for one in series)}
    own = [key for key in held if (key.exchange, key.symbol) in owners]
    if not own:
        raise RegistryError(_no_model(series, held, models))
    kinds = {(key.model_type, key.timeframe): key for key in _of_kinds(own, request, models)}
    keys_ = [
        (replace(_key(one), timeframe=kind.timeframe, model_type=kind.model_type), one)
        for one in series
        for kind in sorted(kinds.values(), key=kind_order)
    ]
    return [_Wanted(key, _model(key, group_by), one) for key, one in keys_]


def _key(series: Series) -> Key:
    return Key(series.exchange, series.symbol, "", "")


def _model(key: Key, group_by: Sequence[str]) -> Key:
    """Return the key of the model that predicts the series of `key`, which is another one where models are pooled."""
    if "symbol" in group_by:
        return key
    return replace(key, exchange=POOLED, symbol=key.exchange if "exchange" in group_by else ALL)


def _no_model(series: Sequence[Series], held: Sequence[Key], models: Storage) -> str:
    owners = sorted({f"{key.exchange}/{key.symbol}" for key in held})
    pooled = any(key.exchange == POOLED for key in held)
    hint = "; models over all series are asked for with --group-by timeframe" if pooled else ""
    return f"{models.url} holds no model of {_some(map(str, series))}; it has models of {_some(owners)}{hint}"


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:MAX_NAMED]) + (f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else "")


def _of_kinds(held: Sequence[Key], request: Request, models: Storage) -> list[Key]:
    """Return the keys of the kinds that are asked for, of which there must be some.

    The name of a version belongs to one kind of model.
    """
    for flag, names, known in (
        ("--model-types", request.model_types, {key.model_type for key in held}),
        ("--timeframes", request.timeframes, {key.timeframe for key in held}),
    ):
        if absent := [name for name in names if name not in known]:
            hint = did_you_mean(absent[0], sorted(known))
            raise RegistryError(
                f"{flag}: {models.url} holds no {absent[0]} model of these series{hint} "
                f"(known: {', '.join(sorted(known))})"
            )
    chosen = [
        key
        for key in held
        if (not request.model_types or key.model_type in request.model_types)
        and (not request.timeframes or key.timeframe in request.timeframes)
    ]
    named = [key for key in chosen if request.version.startswith(f"{key.stem}_")]
    if not chosen:
        asked = f"{', '.join(request.model_types)} model of {', '.join(request.timeframes)}"
        raise RegistryError(f"{models.url} holds no {asked} of these series")
    return named or chosen


def _with_versions(
    wanted: Sequence[_Wanted], request: Request, models: Storage
) -> tuple[list[_Wanted], list[Predicted]]:
    """Return what is wanted with the versions that the request's name stands for, and the failures of the others."""

    def resolve(model: Key) -> str | RegistryError:
        try:
            return resolve_version(models, model, request.version)
        except RegistryError as error:
            return error

    found = _at_once(resolve, {one.model for one in wanted})
    good = [replace(one, version=version) for one in wanted if isinstance(version := found[one.model], str)]
    bad = [Predicted.refused(one.key, error) for one in wanted if isinstance(error := found[one.model], RegistryError)]
    return good, bad


def _with_footers(wanted: Sequence[_Wanted], config: Config, request: Request) -> list[_Wanted]:
    """Return what is wanted with what stands in its place, if that was made in the same way."""
    output = Storage(request.output, options=config.storage.options)
    present = set(output.list(*{one.key.folder for one in wanted})) if wanted else set()
    footers = read_footers(output, [path for one in wanted if (path := path_of(one.key)) in present])
    listings = {one: listing_fingerprint(one, config.data) for one in {one.series for one in wanted}}
    found = []
    for one in wanted:
        fingerprint = prediction_fingerprint(one.model, one.version, config.data)
        footer = footers.get(path_of(one.key))
        held = footer if footer and footer.fingerprint == fingerprint else None
        found.append(replace(one, fingerprint=fingerprint, listing=listings[one.series], held=held))
    return found


def _tells(held: Footer, listing: str | None, told: Mapping[str, str]) -> bool:
    """Return whether a file was made from the bars that the listed files hold, as far as is known without reading them.

    The file itself may say so, or what a training run noted in the registry of models.
    """
    return listing is not None and (held.listing == listing or bare_digest(told.get(listing, "")) == held.content)


def _tasks(
    wanted: Sequence[_Wanted], config: Config, request: Request, models: Storage
) -> tuple[list[PredictionTask], list[Predicted]]:
    """Return the tasks, and the failures of those whose models cannot be given their features."""
    versions = {one.model: one.version for one in wanted}

    def define(model: Key) -> Definition | RegistryError:
        try:
            metadata = read_metadata(models, model, versions[model])
            return Definition.of(metadata, config.data, where=f"{model}: {versions[model]}")
        except RegistryError as error:
            return error

    found = _at_once(define, set(versions))
    tasks = [
        _task(one, definition, config, request)
        for one in wanted
        if isinstance(definition := found[one.model], Definition)
    ]
    bad = [Predicted.refused(one.key, error) for one in wanted if isinstance(error := found[one.model], RegistryError)]
    return tasks, bad


def _task(one: _Wanted, definition: Definition, config: Config, request: Request) -> PredictionTask:
    rows = estimate_rows(one.series, one.key.timeframe, config.data)
    return PredictionTask(
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
    )


def _at_once(call: Callable[[Key], T], models: Iterable[Key]) -> dict[Key, T]:
    """Return what `call` says of every model, asked at the same time: each answer waits for the storage."""
    distinct = list(models)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(distinct, pool.map(call, distinct), strict=True))


def _summarize_failures(failures: Sequence[Predicted]) -> RegistryError:
    """Return the error of a request of which nothing can be done."""
    others = f" ({len(failures) - 1} other models fail likewise)" if len(failures) > 1 else ""
    return RegistryError(f"{failures[0].error_message}{others}")
