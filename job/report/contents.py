"""What a report shows, read from a registry: bounded, and lenient, since others may have written it."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Final

import polars as pl

from job.core.errors import DataError, RegistryError
from job.core.keys import Key, kind_order
from job.core.paths import redact_url
from job.registry import aliases, studies
from job.registry.catalog import Summary, key_of, list_summaries, scores_of
from job.registry.events import read_events
from job.registry.names import RUN_ID
from job.registry.runs import record_path
from job.report import values
from job.storage.files import Storage

MOST_DESCRIBED: Final = 600
"""Metadata of so many models is read, evenly spread; catalog and run record tell of the others."""
MOST_DECISIONS: Final = 2_000
MOST_STUDIES: Final = 12
MOST_RECORDS: Final = 20
"""So many run records are looked through for the last one of training, so many logs for the last predictions."""
FIRST_LINE: Final = 4_096
MOST_EVENTS: Final = 100_000
RECORD: Final = re.compile(rf"runs/({RUN_ID})\.json")
LOG: Final = re.compile(rf"runs/({RUN_ID})\.events\.jsonl")
OUTCOMES: Final = re.compile(rf"runs/{RUN_ID}/outcomes-\d+\.jsonl")
DECISION: Final = re.compile(rf"{aliases.FOLDER}/(?P<model>[^/]+/[^/]+/[^/]+)/(?P<seq>\d+)\.json")
TRIAL: Final = re.compile(rf"(?P<study>{studies.FOLDER}/[^/]+/[^/]+/[^/]+)/(?:trials/\d+|winner-\d+)\.json")

MODELS: Final[dict[str, Any]] = {
    "name": pl.String, "series": pl.String, "model_type": pl.String, "timeframe": pl.String, "version": pl.String,
    "created_at": pl.Datetime("us", "UTC"), "rows": pl.Int64, "log_loss": pl.Float64, "base_log_loss": pl.Float64,
    "skill": pl.Float64, "skill_low": pl.Float64, "skill_high": pl.Float64, "underpowered": pl.Boolean,
}  # fmt: skip
"""Columns of the fleet: `name` is what a command line takes, `kind` (model type and timeframe) is added in order."""


@dataclass(frozen=True)
class Described:
    """A model and the metadata of one of its versions, which may hold anything."""

    key: Key
    version: str
    metadata: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Such as `analyst 1h`."""
        return kind_of(self.key)

    def horizon(self) -> int:
        """Return how many bars its label looks ahead, 1 where that is not known."""
        return values.count(values.at(self.metadata, "label", "definition", "horizon")) or 1


@dataclass(frozen=True)
class Contents:
    """What a registry holds, as far as pictures need it.

    `models` has a row per model, of `MODELS` and `kind`, an Enum in the order in which people read kinds; `described`
    the metadata of all of them, or of a sample. `run` is the record of the run that the report is about, without its
    `outcomes`; `events` are those of its log that end a task or an attempt, and `newest` those of the last run that
    predicted or scored. `decisions` and `trials` are documents as they are stored, the latter by study.
    """

    url: str
    models: pl.DataFrame
    described: Sequence[Described]
    versions: int = 0
    run: Mapping[str, Any] | None = None
    outcomes: Sequence[Mapping[str, Any]] = ()
    events: Sequence[Mapping[str, Any]] = ()
    newest: Sequence[Mapping[str, Any]] = ()
    decisions: Sequence[Mapping[str, Any]] = ()
    trials: Mapping[str, Sequence[Mapping[str, Any]]] | None = None

    @property
    def kinds(self) -> list[str]:
        """The kinds of models there are, in order."""
        return self.models["kind"].unique(maintain_order=True).to_list()

    @property
    def sampled(self) -> bool:
        """Whether the metadata of some models was not read."""
        return len(self.described) < self.models.height

    def in_order(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return a frame with its column `kind` in the order of kinds."""
        return frame.with_columns(pl.col("kind").cast(pl.Enum(self.kinds)))


def kind_of(key: Key) -> str:
    """Return model type and timeframe: `analyst 1h`."""
    return f"{key.model_type} {key.timeframe}"


def read_contents(registry: Storage, *, run_id: str | None = None, key: Key | None = None) -> Contents:
    """Read what the report of a registry shows: of each model its latest version.

    With `run_id` it is about the versions that this run trained or found current, all models where it did neither; with
    `key` about this model.

    Raises:
        DataError: the registry holds no model, or no such run.
        RegistryError: it cannot be read, or is newer than this code reads; or the run did not make this model.
    """
    known = list_summaries(registry)
    if not known:
        raise DataError(f"{registry.url} holds no model: name the model registry with --models")
    run, outcomes = read_run(registry, run_id)
    chosen = {key_of(one): one for one in known}
    if run_id is not None:
        named = {_identity(one) for one in outcomes}
        own = {key_of(one): one for one in known if (*one["key"][:2], one["version"]) in named}
        chosen = own or {key_of(one): one for one in known if one["version"].endswith(run_id)} or chosen
    folders = [aliases.FOLDER, studies.FOLDER]
    if key is not None:
        if key not in chosen:
            raise RegistryError(f"run {run_id} made no {key}: leave --run out for its latest version")
        chosen, folders = {key: chosen[key]}, [f"{aliases.FOLDER}/{key.folder}/{key.stem}"]
    paths = registry.list(*folders)
    contents = describe(registry, chosen, outcomes)
    by_model, by_study = _grouped(paths, DECISION), _grouped(paths, TRIAL)
    # of each model the last decision, then the last but one, and so on; the studies of the whole fleet first
    ages = sorted((age, path) for own in by_model.values() for age, path in enumerate(sorted(own, reverse=True)))
    shown = sorted(by_study, key=lambda study: (not study.startswith(f"{studies.FOLDER}/pooled/"), study))
    # of the last run that compared new bars with training rows, the ends of its tasks
    logs = sorted((match[1] for path in registry.list("runs") if (match := LOG.fullmatch(path))), reverse=True)
    begun = ((name, next(read_events(registry, name, most_bytes=FIRST_LINE), {})) for name in logs[:MOST_RECORDS])
    ends = (_ends_of(registry, name) for name, first in begun if first.get("operation") in {"predict", "watch"})
    drifts = ([one for one in own if isinstance(one.get("drift"), Mapping)] for own in ends)
    newest = next(filter(None, drifts), [])
    return replace(
        contents,
        versions=len(known),
        run=run,
        outcomes=outcomes,
        events=_ends_of(registry, values.text(values.at(run, "run_id"))),
        newest=[one for one in newest if key is None or asdict(key).items() <= one.items()],
        decisions=_documents(registry, [path for _, path in ages[:MOST_DECISIONS]]),
        trials={study: _documents(registry, by_study[study]) for study in shown[:MOST_STUDIES]},
    )


def describe(
    registry: Storage, summaries: Mapping[Key, Summary], outcomes: Iterable[Mapping[str, Any]] = ()
) -> Contents:
    """Return the models of `summaries`, and the metadata of as many as are read.

    Scores are those of the metadata, else of the run's outcome, else of the catalog, which has four digits of some.
    """
    order = sorted(summaries, key=lambda key: (*kind_order(key), key))
    step = max(1.0, len(order) / MOST_DESCRIBED)
    sample = [order[int(position * step)] for position in range(min(len(order), MOST_DESCRIBED))]
    by_path = {f"{key.folder}/{summaries[key]['version']}.json": key for key in sample}
    found = _parsed(registry, by_path)
    described = [Described(by_path[path], summaries[by_path[path]]["version"], one) for path, one in found.items()]
    scores = {_identity(one): one.get("scores") for one in outcomes}
    scores |= {(one.key.exchange, one.key.symbol, one.version): one.metadata.get("scores") for one in described}
    rows = [
        _row(key, one, scores.get((key.exchange, key.symbol, one["version"])))
        for key, one in ((key, summaries[key]) for key in order)
    ]
    kinds = pl.Enum([*dict.fromkeys(kind_of(key) for key in order)])
    models = pl.DataFrame(rows, schema=MODELS).with_columns(
        kind=pl.concat_str("model_type", "timeframe", separator=" ").cast(kinds)
    )
    return Contents(redact_url(registry.url), models, described)


def read_run(registry: Storage, run_id: str | None) -> tuple[Mapping[str, Any] | None, list[Mapping[str, Any]]]:
    """Return the record of a run (default: the last one that trained) and its outcomes; None where there is none.

    Raises:
        DataError: there is no such run.
    """
    paths = [path for path in registry.list("runs") if RECORD.fullmatch(path)]
    if run_id is not None:
        paths = [path for path in paths if path == record_path(run_id)]
        if not paths:
            raise DataError(f"{registry.url} has no record of a run {run_id!r}: `ls` its folder runs/ for those it has")
    for path in sorted(paths, reverse=True)[:MOST_RECORDS]:
        for record in _parsed(registry, [path]).values():
            if run_id is None and values.at(record, "counts", "trained") is None:
                continue
            files = [one for one in values.items(record.get("outcome_files")) if OUTCOMES.fullmatch(str(one))]
            lines = [line for data in registry.read_many(files).values() for line in data.splitlines()]
            outcomes = [*filter(None, map(_parse, lines)), *values.items(record.get("outcomes"))]
            return record, [one for one in outcomes if isinstance(one, Mapping)]
    return None, []


def _ends_of(registry: Storage, run_id: str | None) -> list[Mapping[str, Any]]:
    """Return the events of a run that end a task or an attempt at it, as far as they are read."""
    if run_id is None or not re.fullmatch(RUN_ID, run_id):
        return []
    ends = (one for one in read_events(registry, run_id) if one.get("event") in {"task_ended", "task_retried"})
    return [*islice(ends, MOST_EVENTS)]


def _identity(outcome: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what an outcome is about: exchange, symbol and version."""
    return tuple(str(outcome.get(name)) for name in ("exchange", "symbol", "version"))


def _row(key: Key, summary: Summary, scores: object) -> dict[str, Any]:
    """Return a model's row in `MODELS`."""
    kept = scores_of(summary)

    def score(name: str, *, least: float, most: float) -> float | None:
        known = values.number(values.at(scores, name), least=least, most=most)
        return values.number(kept.get(name), least=least, most=most) if known is None else known

    underpowered = values.at(scores, "underpowered")
    underpowered = bool(summary.get("weak")) if underpowered is None else underpowered
    return {
        "name": f"{key.folder}/{key.stem}",
        "series": values.text(f"{key.exchange}/{key.symbol}"),
        "model_type": key.model_type,
        "timeframe": key.timeframe,
        "version": summary["version"],
        "created_at": values.time(summary.get("created_at")),
        "rows": values.count(summary.get("rows")),
        **{name: score(name, least=0.0, most=100.0) for name in ("log_loss", "base_log_loss")},
        **{name: score(name, least=-10.0, most=10.0) for name in ("skill", "skill_low", "skill_high")},
        "underpowered": underpowered if isinstance(underpowered, bool) else None,
    }


def _grouped(paths: Iterable[str], name: re.Pattern[str]) -> dict[str, list[str]]:
    """Return the paths that a pattern matches, by its first group."""
    found: dict[str, list[str]] = {}
    for path in paths:
        if match := name.fullmatch(path):
            found.setdefault(match[1], []).append(path)
    return found


def _documents(registry: Storage, paths: Iterable[str]) -> list[Mapping[str, Any]]:
    return [*_parsed(registry, paths).values()]


def _parsed(registry: Storage, paths: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """Return the JSON objects among files, by path; what is damaged is left out."""
    read = {path: _parse(data) for path, data in registry.read_many(paths).items()}
    return {path: document for path, document in read.items() if document is not None}


def _parse(data: bytes) -> Mapping[str, Any] | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, Mapping) else None
