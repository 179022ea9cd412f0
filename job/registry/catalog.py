"""The catalog: a summary of every version in one file. It is a cache; the metadata files are the truth."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from sys import intern
from typing import Any, Final

from job.config.settings import Config
from job.core.errors import RegistryError
from job.core.keys import Key, encode
from job.learning.metrics import scores_shown
from job.registry.names import ListedVersion, listed_versions
from job.registry.scored import text_of
from job.registry.versions import DamagedMetadataError, parse_metadata
from job.storage.files import MissingFileError, Storage

CATALOG: Final = "model_metadata.json"
CATALOG_SCHEMA: Final = 1
FINGERPRINT_DIGITS: Final = 16
BASIS_DIGITS: Final = 7
SIGNIFICANT_DIGITS: Final = 4
WRITE_ATTEMPTS: Final = 5

SKILL_SCORES: Final = ("skill", "skill_low", "skill_high")
KEPT: Final = {
    "created_at": ("created_at",),
    "label_end": ("label_end",),
    "fingerprint": ("fingerprint",),
    "rows": ("data", "samples", "used"),
    "seconds": ("seconds", "training"),
    "peak_mb": ("peak_rss_mb",),
    "sharpe": ("trading", "sharpe"),
    "weak": ("scores", "underpowered"),
}
"""What a summary keeps beside version, key and scores, and where the metadata has it."""

Summary = dict[str, Any]

log = logging.getLogger("job")


def open_registry(config: Config, *, writer: str = "") -> Storage:
    """Open the model registry of a configuration."""
    return Storage(config.model_trainer.model_directory, options=config.storage.options, writer=writer)


def summary_scores() -> tuple[str, ...]:
    """Return the names of the scores that a summary keeps."""
    return (*(score.name for score in scores_shown("catalog")), *SKILL_SCORES)


def summarize(metadata: Mapping[str, Any]) -> Summary:
    """Return what the catalog keeps of a version, in at most 400 bytes of JSON for names of usual length.

    `key` is (exchange, symbol, timeframe, model type); the rest is `KEPT`, where the metadata has it: times, the
    first 16 digits of the fingerprint, what the training cost, and scores to four significant digits. `basis` are the
    first 7 digits of the fingerprint of the definition, and of a model of one series the first 7 of its bars' digest.
    `tried` is the text of `scored.text_of`. A study that chose settings and a Sharpe ratio come on top.
    """
    key = metadata["key"]
    summary: Summary = {
        "version": metadata["version"],
        "key": [key["exchange"], key["symbol"], key["timeframe"], key["model_type"]],
    }
    for name, path in (KEPT | {name: ("scores", name) for name in summary_scores()}).items():
        value: Any = metadata
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, float):
            value = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
        if value is None or value is False:  # what is true of few is kept for these
            continue
        summary[name] = SHORT.get(name, lambda known: known)(value)
    with suppress(LookupError, TypeError, AttributeError):  # versions of early releases have none
        digests = [one["digest"] for one in metadata["trained_on"].values()]
        parts = [metadata["definition"], *(digests if len(digests) == 1 else [])]
        summary["basis"] = "".join(part[:BASIS_DIGITS] for part in parts)
    if text := text_of(metadata):
        summary["tried"] = text
    return summary


def scores_of(summary: Mapping[str, Any], names: Sequence[str] = ()) -> dict[str, Any]:
    """Return the scores that a summary keeps, and `base_log_loss`, which follows: skill is 1 - loss / base.

    `names` are `summary_scores()`, for who asks for many thousands.
    """
    scores = {name: summary.get(name) for name in names or summary_scores()}
    loss, skill = scores["log_loss"], scores["skill"]
    base = None
    if loss is not None and skill is not None and skill < 1:
        base = float(f"{loss / (1 - skill):.{SIGNIFICANT_DIGITS}g}")
    return {**scores, "base_log_loss": summary.get("base_log_loss", base)}


def short_time(text: str) -> str:
    """Return a time as 20240131T1200Z, as it is if it is none."""
    try:
        return f"{datetime.fromisoformat(text).astimezone(UTC):%Y%m%dT%H%MZ}"
    except ValueError:
        return text


SHORT: Final[Mapping[str, Callable[[Any], Any]]] = {
    "fingerprint": lambda digest: digest[:FINGERPRINT_DIGITS],
    "created_at": short_time,
    "label_end": short_time,
    "peak_mb": round,
    "weak": int,
}
"""How a summary writes what it keeps, where that is not how the metadata has it."""


def key_of(summary: Summary) -> Key:
    """Return the key of the version that `summary` is about."""
    return Key(*summary["key"])


def keys(registry: Storage) -> list[Key]:
    """Return the key of every model with a committed version, in order."""
    return sorted({one.key for one in _committed(registry, ())}, key=lambda key: key.parts)


@dataclass(frozen=True)
class Rebuilt:
    """Summaries of all versions, and what is wrong with the metadata of those left out.

    `read` are those of the summaries that the catalog lacked, and that were made of metadata.
    """

    summaries: list[Summary]
    problems: list[RegistryError]
    read: list[Summary]


def list_summaries(registry: Storage, *prefixes: str, catalog: Iterable[Summary] | None = None) -> list[Summary]:
    """Return a summary of each committed version below the folders `prefixes` (default: all), by key and then by age.

    What is committed is what a listing shows; summaries come from `catalog` (default: the stored one), and only
    the metadata of versions that it lacks is read. Versions with damaged metadata are left out, with a warning.

    Raises:
        RegistryError: metadata that is not in the catalog is newer than this code reads.
    """
    return find_summaries(registry, *prefixes, catalog=catalog).summaries


def find_summaries(registry: Storage, *prefixes: str, catalog: Iterable[Summary] | None = None) -> Rebuilt:
    """Return what `list_summaries` returns, and which of it the catalog lacks; arguments and errors are the same."""
    cached = read_catalog(registry) if catalog is None else catalog
    found = _summaries(registry, prefixes, cached)
    for problem in found.problems:
        log.warning("%s", problem)
    return found


def _summaries(registry: Storage, prefixes: Iterable[str], catalog: Iterable[Summary]) -> Rebuilt:
    cached = {_path(one): one for one in catalog}
    known: list[Summary] = []
    unknown: dict[str, ListedVersion] = {}
    for one in _committed(registry, prefixes):
        path = one.files[".json"]
        if path in cached:
            known.append(cached.pop(path))
        else:
            unknown[path] = one
    found, problems = list[Summary](), list[RegistryError]()
    for path, data in registry.read_many(unknown).items():
        one = unknown[path]
        try:
            found.append(summarize(parse_metadata(data, one.key, one.version, where=f"{registry.url}/{path}")))
        except DamagedMetadataError as error:
            problems.append(error)
    return Rebuilt(sorted([*known, *found], key=_order), problems, found)


def read_catalog(registry: Storage) -> list[Summary]:
    """Return the stored summaries; none if there is no catalog, or if it is damaged, which is logged.

    Raises:
        RegistryError: the catalog is newer than this code reads.
    """
    try:
        document = json.loads(registry.read(CATALOG))
        schema, summaries = document["schema_version"], list(document["versions"])
        for one in summaries:
            exchange, symbol, timeframe, model_type = map(intern, one["key"])
            one["key"] = [exchange, symbol, timeframe, model_type]
            _path(one)
    except MissingFileError:
        return []
    except (ValueError, LookupError, TypeError) as error:
        log.warning("%s/%s is damaged (%s) and is rebuilt", registry.url, CATALOG, error)
        return []
    if schema > CATALOG_SCHEMA:
        raise RegistryError(f"{registry.url}/{CATALOG} has schema {schema}, newer than this release reads; upgrade")
    return summaries


def write_catalog(registry: Storage, summaries: Iterable[Summary]) -> None:
    """Add `summaries` to the catalog.

    Another run may rewrite it at the same moment, so that it is read again afterwards, and written again if a summary
    of ours is lost. One that is lost all the same costs the next run a read.
    """
    ours = {_path(one): one for one in summaries}
    if not ours:
        return
    for _ in range(WRITE_ATTEMPTS):
        stored = {_path(one): one for one in read_catalog(registry)}
        if ours.keys() <= stored.keys():
            return
        replace_catalog(registry, (stored | ours).values())


def rebuild(registry: Storage) -> Rebuilt:
    """Rebuild the catalog from the metadata of every version, and return what it holds.

    Raises:
        RegistryError: metadata is newer than this code reads.
    """
    rebuilt = _summaries(registry, (), ())
    replace_catalog(registry, rebuilt.summaries)
    return rebuilt


def replace_catalog(registry: Storage, summaries: Iterable[Summary]) -> None:
    """Write the catalog in place of what was there, one summary per line."""
    compact = partial(json.dumps, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    lines = ",\n".join(map(compact, sorted(summaries, key=_order)))
    text = f'{{"schema_version":{CATALOG_SCHEMA},"versions":[\n{lines}\n]}}\n'
    registry.replace(CATALOG, text.encode())


def _committed(registry: Storage, prefixes: Iterable[str]) -> Iterator[ListedVersion]:
    """Yield every committed version below `prefixes`."""
    for listing in registry.listings(*prefixes):
        yield from (one for one in listed_versions(listing) if one.committed)


def _path(summary: Summary) -> str:
    """Return where the metadata of a summary's version stands."""
    exchange, symbol, _, _ = summary["key"]
    return f"{encode(exchange)}/{encode(symbol)}/{summary['version']}.json"


def _order(summary: Summary) -> tuple[str, ...]:
    return (*summary["key"], summary["version"])
