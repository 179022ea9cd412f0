"""Listings: what a set of files was found to hold, so that a rerun need not read them. A cache; losing it costs reads.

The name alone answers: `listings/<listing fingerprint>-<content digest>.json`. A digest is marked where the bars have
sessions, see `fingerprints.mark_sessions`.

By how much files have grown is told by names, too:
`listings/<listing fingerprint>-<digest of earlier bars>-<when the last of them closed>-<µs that later bars last>.json`.
So a plan knows without reading that the bars which a version was trained on are the same, and how many are new.
"""

import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from job.registry.fingerprints import SESSIONS, bare_digest, mark_sessions
from job.registry.names import time_of, time_text
from job.storage.files import ExistingFileError, Storage

FOLDER: Final = "listings"
NAME: Final = re.compile(rf"{FOLDER}/(?P<listing>[0-9a-f]{{64}})-(?P<content>[0-9a-f]{{64}}({SESSIONS})?)\.json")
GROWN: Final = re.compile(
    rf"{FOLDER}/(?P<listing>[0-9a-f]{{64}})-(?P<bars>[0-9a-f]{{64}})-(?P<end>\d{{8}}T\d{{6}}Z)-(?P<added>\d+)\.json"
)


@dataclass(frozen=True)
class Growth:
    """What files hold beyond bars that were there before: those are the same, and later ones make up the time `added`.

    `bars` is the digest of the earlier bars, of which the last one closed at `end`.
    """

    bars: str
    end: datetime
    added: timedelta


def read_listings(registry: Storage) -> dict[str, str]:
    """Return the content digest by listing fingerprint; one that files were found to hold in two ways is left out."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for match in filter(None, map(NAME.fullmatch, registry.list(FOLDER))):
        if found.setdefault(match["listing"], match["content"]) != match["content"]:
            twice.add(match["listing"])
    return {listing: content for listing, content in found.items() if listing not in twice}


def read_growth(registry: Storage, listings: Iterable[str]) -> dict[str, list[Growth]]:
    """Return by listing what files hold more than before; what is told of the same bars in two ways is left out."""
    wanted = set(listings)
    found: dict[tuple[str, str], list[Growth]] = {}
    for match in filter(None, map(GROWN.fullmatch, registry.list(FOLDER) if wanted else ())):
        if match["listing"] in wanted:
            end = time_of(match["end"])
            growth = Growth(match["bars"], end, timedelta(microseconds=int(match["added"])))
            found.setdefault((match["listing"], growth.bars), []).append(growth)
    told: dict[str, list[Growth]] = {}
    for (listing, _), growths in found.items():
        if len(growths) == 1:
            told.setdefault(listing, []).append(growths[0])
    return told


@dataclass(frozen=True)
class Continued:
    """Files of which only the new bars were read, since the earlier ones are as they were.

    `before` and `after` are the fingerprints of the listings. The last bar of `before` closed at `end`; those that came
    after it last `added`.
    """

    before: str
    after: str
    end: datetime
    added: timedelta


def carry_growth(registry: Storage, continued: Iterable[Continued]) -> None:
    """Note by how much files have grown of which only new bars were read; what is known of those before is moved.

    So whoever reads nothing but new bars spares the next plan the reading of all.
    """
    steps = list(continued)
    contents, growths = read_listings(registry), read_growth(registry, {one.before for one in steps})
    for one in steps:
        known = growths.get(one.before, [])
        for growth in known:
            write_listing(registry, one.after, replace(growth, added=growth.added + one.added), {})
        if one.before in contents:
            write_listing(registry, one.after, Growth(bare_digest(contents[one.before]), one.end, one.added), {})
        for growth in known:
            registry.remove(_path(one.before, growth))


def write_listing(
    registry: Storage, listing: str, held: str | Growth, about: Mapping[str, Any], *, instead_of: str | None = None
) -> None:
    """Keep what files hold, or hold more than before; `about` (JSON values) is for people who look at the registry.

    All is removed that was known of files which were noted to hold bars of the digest `instead_of`, and do no more,
    although names, sizes and stamps stayed.
    """
    if instead_of is not None:
        for digest in (bare_digest(instead_of), mark_sessions(instead_of)):
            registry.remove(_path(listing, digest))
        for path in registry.list(FOLDER):
            if (match := GROWN.fullmatch(path)) and match["listing"] == listing:
                registry.remove(path)
    with suppress(ExistingFileError):  # another run or worker found the same
        registry.create(_path(listing, held), json.dumps(about, indent=1, ensure_ascii=False).encode())


def _path(listing: str, held: str | Growth) -> str:
    if isinstance(held, Growth):
        held = f"{held.bars}-{time_text(held.end)}-{held.added // timedelta(microseconds=1)}"
    return f"{FOLDER}/{listing}-{held}.json"
