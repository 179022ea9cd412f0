"""Listings: what a set of files was found to hold, so that a rerun need not read them. A cache; losing it costs reads.

The name alone answers: `listings/<listing fingerprint>-<content digest>.json`. A digest is marked where the bars have
sessions, see `fingerprints.mark_sessions`.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from job.registry.fingerprints import SESSIONS, bare_digest, mark_sessions
from job.storage.files import ExistingFileError, Storage

FOLDER: Final = "listings"
NAME: Final = re.compile(rf"{FOLDER}/(?P<listing>[0-9a-f]{{64}})-(?P<content>[0-9a-f]{{64}}({SESSIONS})?)\.json")


def read_listings(registry: Storage) -> dict[str, str]:
    """Return the content digest by listing fingerprint; one that files were found to hold in two ways is left out."""
    found: dict[str, str] = {}
    twice: set[str] = set()
    for match in filter(None, map(NAME.fullmatch, registry.list(FOLDER))):
        if found.setdefault(match["listing"], match["content"]) != match["content"]:
            twice.add(match["listing"])
    return {listing: content for listing, content in found.items() if listing not in twice}


def write_listing(registry: Storage, listing: str, content: str, about: Mapping[str, Any]) -> None:
    """Keep what files hold; `about` (JSON values) is for people who look into the registry."""
    with suppress(ExistingFileError):  # another run found the same
        registry.create(_path(listing, content), json.dumps(about, indent=1, ensure_ascii=False).encode())


def forget_listing(registry: Storage, listing: str, content: str) -> None:
    """Remove what is not so any more: the files changed although names, sizes and stamps stayed."""
    for digest in (bare_digest(content), mark_sessions(content)):
        registry.remove(_path(listing, digest))


def _path(listing: str, content: str) -> str:
    return f"{FOLDER}/{listing}-{content}.json"
